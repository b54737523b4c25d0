package pikesim

import (
	"encoding/json"
	"slices"
	"time"
)

// Ledger is what happened, in order: the judge of every test. It holds no
// token, hash or name.
type Ledger struct {
	Accepted  []CallEntry    `json:"accepted_calls"`
	Refused   []CallEntry    `json:"refused_calls"`
	Movements []Movement     `json:"movements"`
	Webhooks  []WebhookEntry `json:"webhooks"`
}

const outcomeOK = "ok"

// CallEntry is one call of a partner.
type CallEntry struct {
	At      time.Time `json:"at"`
	Version string    `json:"version"`
	Method  string    `json:"method"`
	// SessionID and Metadata are those of the session, empty if the call found none.
	SessionID      string          `json:"session_id,omitempty"`
	Metadata       json.RawMessage `json:"metadata,omitempty"`
	IdempotencyKey string          `json:"idempotency_key,omitempty"`
	// Outcome is "ok" or the error code; never_arrived or redirected if Pike did not see the call.
	Outcome     string `json:"outcome"`
	Description string `json:"description,omitempty"`
	HTTPStatus  int    `json:"http_status"`
	// AnswerLost says that the partner never got the answer.
	AnswerLost bool `json:"answer_lost,omitempty"`
	// Fault is what was wrong with the answer, empty if nothing was.
	Fault FaultKind `json:"fault,omitempty"`
	// Repeated says that a call of the same kind was accepted for this session before.
	Repeated bool `json:"repeated,omitempty"`
}

// MovementKind is the direction of money.
type MovementKind string

// The kinds of movements.
const (
	MovementPaid     MovementKind = "paid"     // to the card
	MovementReturned MovementKind = "returned" // back from the card's bank
)

// Movement is money that moved.
type Movement struct {
	At        time.Time    `json:"at"`
	Kind      MovementKind `json:"kind"`
	SessionID string       `json:"session_id"`
	PayoutID  string       `json:"payout_id"`
	// Amount is in minor units, Currency in lower case.
	Amount   int64           `json:"amount"`
	Currency string          `json:"currency"`
	Metadata json.RawMessage `json:"metadata,omitempty"`
}

// WebhookEntry is one finished attempt to deliver a webhook.
type WebhookEntry struct {
	At        time.Time       `json:"at"`
	Delivery  DeliveryID      `json:"delivery"`
	Type      string          `json:"type"`
	SessionID string          `json:"session_id"`
	Metadata  json.RawMessage `json:"metadata,omitempty"`
	Attempt   int             `json:"attempt"`
	// HTTPStatus is 0 if no answer came.
	HTTPStatus int `json:"http_status"`
	// GaveUp says that no further attempt follows although none was acknowledged.
	GaveUp bool `json:"gave_up,omitempty"`
}

func (c *Core) recordResult(x *exchange, refused *refusal, answer Answer) {
	if refused != nil {
		c.record(x, refused.code, refused.description, answer)
		return
	}
	c.record(x, outcomeOK, "", answer)
}

func (c *Core) record(x *exchange, outcome, description string, answer Answer) {
	entry := CallEntry{
		At: x.at, Version: x.call.Version, Method: x.call.Method, Metadata: x.terms.metadata,
		IdempotencyKey: x.call.IdempotencyKey, Outcome: outcome, Description: description, HTTPStatus: answer.HTTPStatus,
		AnswerLost: answer.Lost, Fault: x.fault,
	}
	if s := x.session; s != nil {
		entry.SessionID, entry.Metadata = s.id, s.terms.metadata
	}
	if outcome != outcomeOK {
		c.ledger.Refused = append(c.ledger.Refused, entry)
		return
	}
	if s := x.session; s != nil && x.step != StepStatus {
		entry.Repeated = s.accept(x.step, x.at)
	}
	c.ledger.Accepted = append(c.ledger.Accepted, entry)
}

// accept notes an accepted call, and says whether one of the kind was accepted before.
func (s *session) accept(step Step, at time.Time) (repeated bool) {
	first := &s.firstAccepted[slices.Index(changingSteps, step)]
	if first.IsZero() {
		*first = at
		return false
	}
	return true
}

// move is the one place where money moves: that of every payout of the session.
func (c *Core) move(s *session, at time.Time, kind MovementKind) {
	for _, p := range s.altered(s.behaviour.Echo).payouts {
		c.ledger.Movements = append(c.ledger.Movements, Movement{
			At: at, Kind: kind, SessionID: s.id, PayoutID: p.id, Amount: p.terms.amount.value,
			Currency: p.terms.amount.currency, Metadata: s.terms.metadata,
		})
	}
}

func (c *Core) recordAttempt(d *delivery, at time.Time, httpStatus int, gaveUp bool) {
	c.ledger.Webhooks = append(c.ledger.Webhooks, WebhookEntry{
		At: at, Delivery: d.ID, Type: d.Type, SessionID: d.SessionID, Metadata: d.session.terms.metadata,
		Attempt: d.Attempt, HTTPStatus: httpStatus, GaveUp: gaveUp,
	})
}

// Ledger returns what happened so far. It costs no copy: entries never change.
func (c *Core) Ledger() Ledger {
	return Ledger{
		Accepted: clip(c.ledger.Accepted), Refused: clip(c.ledger.Refused), Movements: clip(c.ledger.Movements),
		Webhooks: clip(c.ledger.Webhooks),
	}
}

// Of returns the part of the ledger that is about payouts with this metadata
// (the partner's own payout id).
func (l Ledger) Of(metadata string) Ledger {
	return Ledger{
		Accepted:  filter(l.Accepted, func(e CallEntry) bool { return metadataKey(e.Metadata) == metadata }),
		Refused:   filter(l.Refused, func(e CallEntry) bool { return metadataKey(e.Metadata) == metadata }),
		Movements: filter(l.Movements, func(m Movement) bool { return metadataKey(m.Metadata) == metadata }),
		Webhooks:  filter(l.Webhooks, func(e WebhookEntry) bool { return metadataKey(e.Metadata) == metadata }),
	}
}

// clip returns the entries so that what is appended later stays apart; never
// nil, so that JSON shows an empty list.
func clip[T any](entries []T) []T {
	if entries == nil {
		return []T{}
	}
	return entries[:len(entries):len(entries)]
}

func filter[T any](entries []T, keep func(T) bool) []T {
	kept := []T{}
	for _, entry := range entries {
		if keep(entry) {
			kept = append(kept, entry)
		}
	}
	return kept
}

// SessionSummary is a session without its secrets.
type SessionSummary struct {
	ID           string `json:"id"`
	Version      string `json:"version"`
	Status       string `json:"status"`
	NextAction   string `json:"next_action,omitempty"`
	PayoutID     string `json:"payout_id,omitempty"`
	PayoutStatus string `json:"payout_status,omitempty"`
	// Payouts is how many the session holds; PayoutID is the first.
	Payouts     int             `json:"payouts,omitempty"`
	Destination string          `json:"destination,omitempty"` // its kind
	Amount      int64           `json:"amount,omitempty"`      // minor units
	Currency    string          `json:"currency,omitempty"`
	Metadata    json.RawMessage `json:"metadata,omitempty"`
	ErrorCode   string          `json:"error_code,omitempty"`
	// Final: of itself no money will move any more. A partner's call may still change that.
	Final     bool      `json:"final"`
	Behaviour Behaviour `json:"behaviour"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
}

// Sessions summarises all sessions in the order of their creation.
func (c *Core) Sessions(now time.Time) []SessionSummary {
	c.catchUp(now)
	summaries := make([]SessionSummary, len(c.order))
	for i, s := range c.order {
		summaries[i] = s.summary()
	}
	return summaries
}

// Session summarises one session, false if there is none with this id.
func (c *Core) Session(now time.Time, id string) (SessionSummary, bool) {
	c.catchUp(now)
	s, known := c.sessions[id]
	if !known {
		return SessionSummary{}, false
	}
	return s.summary(), true
}

func (s *session) final() bool {
	return (s.phase == phasePaid || s.phase == phaseCancelled) && s.pending == 0 && (s.timer == nil || s.timer.index < 0)
}

func (s *session) summary() SessionSummary {
	status, payoutStatus, nextAction := s.phase.statuses()
	summary := SessionSummary{
		ID: s.id, Version: s.version, Status: status, NextAction: nextAction, Metadata: s.terms.metadata,
		Final: s.final(), Behaviour: s.behaviour, CreatedAt: s.createdAt, UpdatedAt: s.updatedAt,
	}
	if len(s.payouts) > 0 {
		summary.PayoutID, summary.PayoutStatus, summary.Payouts = s.payouts[0].id, payoutStatus, len(s.payouts)
	}
	if s.terms.destination != nil {
		summary.Destination = s.terms.destination.kind
	}
	if s.terms.amount != nil {
		summary.Amount, summary.Currency = s.terms.amount.value, s.terms.amount.currency
	}
	if s.failure != nil {
		summary.ErrorCode = s.failure.code
	}
	return summary
}
