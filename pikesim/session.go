package pikesim

import (
	"time"
)

// phase is where a session stands. What a partner sees of it is in statuses.
type phase int

const (
	phaseCreated    phase = iota
	phaseChecking         // started, the provider checks
	phaseReady            // waits for confirm or cancel
	phaseConfirming       // confirmed, not yet paid
	phaseCancelling       // cancel accepted, not yet cancelled
	phasePaid
	phaseCancelled
	phaseError // failed, but not finally so
)

// statuses are what a partner sees of the phase (api.md §4.3). The payout's
// status is of no meaning for a session without payout.
func (p phase) statuses() (session, payout, nextAction string) {
	switch p {
	case phaseCreated:
		return "created", "", ""
	case phaseChecking:
		return "in_progress", "in_progress", ""
	case phaseReady:
		return "in_progress", "pending", "confirm"
	case phaseConfirming, phaseCancelling:
		return "in_progress", "pending", ""
	case phasePaid:
		return "accepted", "succeeded", ""
	case phaseCancelled:
		return "cancelled", "failed", ""
	}
	return "error", "failed", ""
}

type session struct {
	id                   string
	version              string // that created it; its webhooks use the names of it
	createdAt, updatedAt time.Time
	phase                phase
	terms                terms
	behaviour            Behaviour
	payout               *payout // nil until started
	failure              *failure
	timer                *event // what will happen next by itself
	heldBack             *delivery
}

type payout struct {
	id            string
	createdAt     time.Time
	finishedAt    time.Time // zero until it ended
	rrn, authCode string    // of a paid one
	returnID      string    // of one whose money came back
	returnedAt    time.Time
}

// failure is why a payout failed.
type failure struct {
	code, description string
}

// enter moves the session to a phase and drops what was to happen in the old one.
func (c *Core) enter(s *session, at time.Time, p phase) {
	c.queue.cancel(s.timer)
	s.timer, s.phase, s.updatedAt = nil, p, at
}

// later does a step by itself unless the session leaves its phase before.
func (c *Core) later(s *session, at time.Time, delay time.Duration, step func(*session, time.Time)) {
	s.timer = c.queue.add(at.Add(delay), func(at time.Time) { step(s, at) })
}

func (c *Core) create(x *exchange) *refusal {
	terms, refused := x.body.terms(x.call.Version)
	if refused != nil {
		return refused
	}
	s := &session{
		id: c.newID("ps_"), version: x.call.Version, createdAt: x.at, terms: terms,
		behaviour: c.behaviourOf(terms.metadata, terms.destination),
	}
	c.enter(s, x.at, phaseCreated)
	c.sessions[s.id] = s
	c.order = append(c.order, s)
	if c.timing.CreatedExpiry > 0 {
		c.later(s, x.at, c.timing.CreatedExpiry, c.expire)
	}
	x.answerWith(s)
	return nil
}

func (c *Core) expire(s *session, at time.Time) { c.enter(s, at, phaseCancelled) }

func (c *Core) start(x *exchange) *refusal {
	s, refused := c.sessionOf(x)
	if refused != nil {
		return refused
	}
	later, refused := x.body.terms(x.call.Version)
	if refused != nil {
		return refused
	}
	terms := s.terms.replacedBy(later)
	if terms.destination == nil {
		return invalid("neither create nor start gave a destination")
	}
	if terms.amount == nil {
		return invalid("neither create nor start gave amount_details")
	}
	if s.phase != phaseCreated {
		return wrongState("only a session that was just created can be started")
	}
	s.terms = terms
	s.behaviour = c.behaviourOf(terms.metadata, terms.destination)
	s.payout = &payout{id: c.newID("po_"), createdAt: x.at}
	c.enter(s, x.at, phaseChecking)
	x.answerWith(s)
	c.beginChecks(x, s)
	return nil
}

func (c *Core) beginChecks(x *exchange, s *session) {
	switch {
	case s.behaviour.Outcome == OutcomeNeverReady:
	case s.behaviour.Webhooks == WebhooksEarly:
		before := c.lastSent
		c.endChecks(s, x.at)
		if c.lastSent != before {
			x.after = c.lastSent
		}
	default:
		c.later(s, x.at, c.timing.Checks, c.endChecks)
	}
}

func (c *Core) endChecks(s *session, at time.Time) {
	switch s.behaviour.Outcome {
	case OutcomeDeclinedAtChecks:
		c.decline(s, at, failure{"operation_rejected", "the checks rejected the payout"})
	case OutcomeAutoConfirm:
		c.later(s, at, c.timing.Processing, c.pay)
	default:
		c.enter(s, at, phaseReady)
		c.later(s, at, c.timing.ConfirmDeadline, c.missConfirm)
		c.notify(s, at, webhookReadyToConfirm)
	}
}

func (c *Core) missConfirm(s *session, at time.Time) {
	c.fail(s, at, phaseCancelled, failure{"confirm_timeout", "not confirmed in time"})
}

func (c *Core) confirm(x *exchange) *refusal {
	s, refused := c.sessionOf(x)
	if refused != nil {
		return refused
	}
	if s.phase != phaseReady {
		return wrongState("the session does not wait for confirm")
	}
	c.enter(s, x.at, phaseConfirming)
	c.later(s, x.at, c.timing.Processing, c.process)
	x.answerWith(s)
	return nil
}

func (c *Core) process(s *session, at time.Time) {
	if s.behaviour.Outcome == OutcomeDeclinedAfterConfirm {
		c.decline(s, at, failure{"declined_by_issuer_bank", "the issuer declined the payout"})
		return
	}
	c.pay(s, at)
}

// pay is the one place where money moves.
func (c *Core) pay(s *session, at time.Time) {
	c.enter(s, at, phasePaid)
	s.failure = nil
	s.payout.finishedAt, s.payout.rrn, s.payout.authCode = at, c.digits(12), c.digits(6)
	c.move(s, at, MovementPaid)
	c.notify(s, at, webhookPaymentFinished)
	if s.behaviour.Outcome == OutcomeReturned {
		c.later(s, at, c.timing.Return, c.giveBack)
	}
}

func (c *Core) giveBack(s *session, at time.Time) {
	s.updatedAt = at
	s.payout.returnID, s.payout.returnedAt = c.newID("rf_"), at
	c.move(s, at, MovementReturned)
	c.notify(s, at, webhookPaymentRefunded)
}

// decline fails the payout as its behaviour says: finally, or for support to settle.
func (c *Core) decline(s *session, at time.Time, why failure) {
	switch s.behaviour.DeclineWith {
	case DeclineError:
		c.fail(s, at, phaseError, why)
	case DeclineErrorThenPaid:
		c.fail(s, at, phaseError, why)
		c.later(s, at, c.timing.ErrorResolution, c.pay)
	case DeclineErrorThenCancelled:
		c.fail(s, at, phaseError, why)
		c.later(s, at, c.timing.ErrorResolution, func(s *session, at time.Time) { c.fail(s, at, phaseCancelled, why) })
	default:
		c.fail(s, at, phaseCancelled, why)
	}
}

func (c *Core) fail(s *session, at time.Time, p phase, why failure) {
	c.enter(s, at, p)
	s.payout.finishedAt, s.failure = at, &why
	c.notify(s, at, webhookPaymentFinished)
}

func (c *Core) cancel(x *exchange) *refusal {
	s, refused := c.sessionOf(x)
	if refused != nil {
		return refused
	}
	switch {
	case s.phase == phaseCreated:
		c.enter(s, x.at, phaseCancelled)
	case s.cancellable():
		c.enter(s, x.at, phaseCancelling)
		c.later(s, x.at, c.timing.Processing, c.endCancel)
	default:
		return wrongState("the session cannot be cancelled now")
	}
	x.answerWith(s)
	return nil
}

func (s *session) cancellable() bool {
	switch s.behaviour.Cancel {
	case CancelRefused:
		return false
	case CancelAnyTime:
		return s.phase == phaseReady || s.phase == phaseChecking
	}
	return s.phase == phaseReady
}

func (c *Core) endCancel(s *session, at time.Time) {
	c.fail(s, at, phaseCancelled, failure{"session_cancelled_by_partner", "cancelled by the partner"})
}

func (c *Core) status(x *exchange) *refusal {
	s, refused := c.sessionOf(x)
	if refused != nil {
		return refused
	}
	x.answerWith(s)
	return nil
}

// sessionOf finds the session that the call is about.
func (c *Core) sessionOf(x *exchange) (*session, *refusal) {
	id, refused := x.body.text("session_id")
	if refused != nil {
		return nil, refused
	}
	s, known := c.sessions[id]
	if !known {
		return nil, invalid("session_id: no such session")
	}
	x.session = s
	return s, nil
}

// answerWith answers with the session as it is at this moment.
func (x *exchange) answerWith(s *session) {
	x.session = s
	x.result = field{"session", s.json(x.call.Version)}
}

func (c *Core) tokenInfo(x *exchange) *refusal {
	kind, refused := x.body.text("type")
	if refused != nil {
		return refused
	}
	var asked *destination
	switch kind {
	case "card":
		asked, refused = x.body.card()
	case "recurrent_token":
		asked, refused = x.body.secretOf("recurrent_token", "token")
	default:
		return invalid("type must be card or recurrent_token")
	}
	if refused != nil {
		return refused
	}
	x.result = field{"info", asked.info(x.at)}
	return nil
}

func wrongState(description string) *refusal {
	return &refusal{code: codeSessionWrongState, description: description}
}
