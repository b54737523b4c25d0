package webhookgw

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"time"

	"pikepayouts/payout"
	"pikepayouts/pike"
)

// unparsed is what can be said of a genuine body that cannot be trusted to be read right.
func unparsed(body pike.VerifiedBody, now time.Time) payout.LateEvent {
	kind, sessionID := pike.Glance(body)
	return payout.LateEvent{Reason: payout.LateUnparsable, Event: payout.Event{
		ID: body.Digest(), Type: string(kind), SessionID: sessionID, ReceivedAt: now.UTC(),
	}}
}

// signalled says whether payouts wait for webhooks of this type.
func signalled(kind pike.WebhookType) bool {
	return kind == pike.WebhookReadyToConfirm || kind == pike.WebhookPaymentFinished
}

// onlyIncoming says that the session belongs to acquiring in the same project (design §3.4).
func onlyIncoming(session pike.Session) bool {
	return len(session.Payouts) == 0 && session.IncomingPayments > 0
}

// payoutIDOf is the payout that the session names; false if it names none, or several.
func payoutIDOf(session pike.Session) (string, bool) {
	id := session.MetadataText()
	if !payout.ValidID(id) { // metadata of another kind is nobody's business here
		return "", false
	}
	return id, true
}

// eventOf describes of several payouts the first: the workflow reads the
// session anyway and refuses more than one.
func eventOf(webhook pike.Webhook, now time.Time) payout.Event {
	session, first := webhook.Session, pike.Payout{}
	if len(session.Payouts) > 0 {
		first = session.Payouts[0]
	}
	failure := first.Error
	if failure == nil {
		failure = session.Error
	}
	event := payout.Event{
		ID: eventID(webhook), Type: string(webhook.Type), SessionID: session.ID, SessionStatus: string(session.Status), NextAction: session.NextAction,
		PikePayoutID: first.ID, PayoutStatus: string(first.Status), AmountDetails: payout.AmountDetails(first.AmountDetails),
		ReceivedAt: now.UTC(),
	}
	if failure != nil {
		event.Error = &payout.Error{Code: failure.Code, Description: failure.Description}
	}
	return event.Bounded() // a body may be larger than what Temporal takes
}

// eventID is equal for every delivery of one event. As the request id of a
// signal, and in the workflow id of a late event, it has Temporal keep one of
// each (hazards W8, W9). Nothing that dates the delivery goes into it.
func eventID(webhook pike.Webhook) string {
	parts := []string{webhook.Session.ID, string(webhook.Type), string(webhook.Session.Status)}
	for _, p := range webhook.Session.Payouts {
		parts = append(parts, p.ID, string(p.Status))
		if webhook.Type == pike.WebhookPaymentRefunded { // money may come back more than once, which changes no status
			parts = append(parts, compact(p.Refunds))
		}
	}
	hash := sha256.New()
	for _, part := range parts {
		// The length keeps ("a", "bc") apart from ("ab", "c").
		_ = binary.Write(hash, binary.BigEndian, uint64(len(part)))
		_, _ = hash.Write([]byte(part))
	}
	return hex.EncodeToString(hash.Sum(nil))
}

// compact is JSON without the spaces that Pike's next delivery may set otherwise, "" if there is none.
func compact(value json.RawMessage) string {
	var text bytes.Buffer
	_ = json.Compact(&text, value)
	return text.String()
}
