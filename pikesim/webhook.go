package pikesim

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"time"
)

// Types of webhooks that the simulator sends by itself (api.md §5.2).
const (
	webhookReadyToConfirm  = "ready_to_confirm"
	webhookPaymentFinished = "payment_finished"
	webhookPaymentRefunded = "payment_refunded"
)

// DeliveryID names a webhook through all its attempts. The partner never sees it.
type DeliveryID uint64

// Delivery is one attempt to send a webhook.
type Delivery struct {
	ID        DeliveryID
	SessionID string
	Type      string
	// Attempt counts from 1.
	Attempt int
	// Body is what must be signed and sent, byte for byte. It may hold card data: never log it.
	Body []byte
}

type delivery struct {
	Delivery
	session *session
	first   time.Time // of the first attempt
}

// notify sends a webhook with the session as it is now, or as a lie has it.
func (c *Core) notify(s *session, at time.Time, kind string) {
	shown := s.view
	if kind == webhookPaymentFinished && s.phase == phasePaid && s.behaviour.Lies == LieFailedWhilePaid {
		shown = c.lie(s, at, phaseCancelled)
	}
	c.notifyWith(s, at, kind, shown)
}

// notifyOfPaid lies that a pending payout is paid.
func (c *Core) notifyOfPaid(s *session, at time.Time) {
	if s.behaviour.Lies == LiePaidWhilePending {
		c.notifyWith(s, at, webhookPaymentFinished, c.lie(s, at, phasePaid))
	}
}

// lie is the session as it would look in another phase.
func (c *Core) lie(s *session, at time.Time, p phase) view {
	v := s.view
	v.phase, v.updatedAt, v.failure, v.payouts = p, at, nil, slices.Clone(v.payouts)
	for i := range v.payouts {
		v.payouts[i].finishedAt, v.payouts[i].rrn, v.payouts[i].authCode = at, "", ""
		if p == phasePaid {
			v.payouts[i].rrn, v.payouts[i].authCode = c.digits(12), c.digits(6)
		}
	}
	if p == phaseCancelled {
		v.failure = &failure{"declined_by_issuer_bank", "the issuer declined the payout"}
	}
	return v
}

// notifyWith sends a webhook in the way of the session's behaviour, or one by chance.
func (c *Core) notifyWith(s *session, at time.Time, kind string, shown view) {
	if !c.options.Webhooks {
		return
	}
	way, delay := c.wayOf(s)
	if way == WebhooksLost {
		return
	}
	d := c.newDelivery(s, kind, shown)
	switch way {
	case WebhooksReordered:
		if kind == webhookReadyToConfirm {
			s.heldBack = d
			return
		}
		c.send(d, at)
	case WebhooksLate, WebhooksShuffled:
		c.send(d, at.Add(delay))
	case WebhooksDuplicated:
		c.send(d, at)
		for range cmp.Or(s.behaviour.WebhookCopies, duplicatedCopies) - 1 {
			c.send(c.newDelivery(s, kind, shown), at)
		}
	default:
		c.send(d, at)
	}
}

func (c *Core) newDelivery(s *session, kind string, shown view) *delivery {
	c.lastSent++
	body := objectOf(field{"type", quote(kind)}, field{"session", s.json(s.version, shown.altered(s.behaviour.Echo))})
	return &delivery{Delivery: Delivery{ID: c.lastSent, SessionID: s.id, Type: kind, Body: body}, session: s}
}

// send makes the next attempt due.
func (c *Core) send(d *delivery, at time.Time) {
	c.queue.add(at, func(at time.Time) {
		if d.Attempt == 0 {
			d.first = at
		}
		d.Attempt++
		c.outgoing = append(c.outgoing, d)
	})
}

// Delivered tells how an attempt that Advance returned ended: the HTTP status,
// or 0 for no answer. Only exactly 200 acknowledges; anything else is repeated
// until the core gives up (api.md §5.1). An id that is not under way is ignored.
func (c *Core) Delivered(now time.Time, id DeliveryID, httpStatus int) {
	now = c.catchUp(now)
	d, known := c.inFlight[id]
	if !known {
		return
	}
	delete(c.inFlight, id)
	retryAt, again := c.timing.retryAt(d.first, now, d.Attempt)
	again = again && httpStatus != http.StatusOK
	c.recordAttempt(d, now, httpStatus, !again && httpStatus != http.StatusOK)
	if again {
		c.send(d, retryAt)
		return
	}
	if held := d.session.heldBack; held != nil && d.Type == webhookPaymentFinished {
		d.session.heldBack = nil
		c.send(held, now)
	}
}

var webhookTypePattern = regexp.MustCompile(`^[a-z_]{1,64}$`)

// SendWebhook sends one more webhook of any type for a session as it is now, no
// matter how its behaviour treats webhooks.
func (c *Core) SendWebhook(now time.Time, sessionID, kind string) error {
	now = c.catchUp(now)
	if !c.options.Webhooks {
		return errors.New("webhooks are off: no webhook URL is configured")
	}
	s, known := c.sessions[sessionID]
	if !known {
		return errors.New("session_id: no such session")
	}
	if !webhookTypePattern.MatchString(kind) {
		return fmt.Errorf("type must be a-z and _, such as %s, %s, %s", webhookReadyToConfirm, webhookPaymentFinished,
			webhookPaymentRefunded)
	}
	c.send(c.newDelivery(s, kind, s.view), now)
	return nil
}
