package pikesim

import (
	"cmp"
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
	id        string
	version   string // that created it; its webhooks use the names of it
	createdAt time.Time
	view
	past          []pastView // what session/status still shows where it lags, oldest first
	terms         terms
	behaviour     Behaviour
	timer         *event              // what will happen next by itself
	pending       int                 // what else will happen by itself: late work, second payments
	firstAccepted [changing]time.Time // by the order of changingSteps
	heldBack      *delivery
}

type payout struct {
	id            string
	terms         terms
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
	c.remember(s, at)
	c.queue.cancel(s.timer)
	s.timer, s.phase, s.updatedAt = nil, p, at
}

// later does a step by itself unless the session leaves its phase before.
func (c *Core) later(s *session, at time.Time, delay time.Duration, step func(*session, time.Time)) {
	s.timer = c.queue.add(at.Add(delay), func(at time.Time) { step(s, at) })
}

func (c *Core) create(x *exchange) *refusal {
	if x.badTerms != nil {
		return x.badTerms
	}
	s := &session{
		id: c.newID("ps_"), version: x.call.Version, createdAt: x.at, terms: x.terms, behaviour: x.behaviour,
		view: view{updatedAt: x.at},
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
	s, refused := sessionOf(x)
	if refused != nil {
		return refused
	}
	if x.badTerms != nil {
		return x.badTerms
	}
	if x.terms.destination == nil {
		return invalid("neither create nor start gave a destination")
	}
	if x.terms.amount == nil {
		return invalid("neither create nor start gave amount_details")
	}
	if len(s.payouts) > 0 {
		return c.startAgain(x, s)
	}
	if s.phase != phaseCreated {
		return wrongState("only a session that was just created can be started")
	}
	behaviour := c.drawBehaviour(x.behaviour, x.metadataKey())
	if behaviour.Balance == BalanceShortAtStart {
		return insufficientBalance()
	}
	s.terms, s.behaviour = x.terms, behaviour
	c.remember(s, x.at)
	c.addPayout(x, s)
	if s.behaviour.TwoPayouts {
		c.addPayout(x, s)
	}
	c.enter(s, x.at, phaseChecking)
	x.faithful = true
	x.answerWith(s)
	c.beginChecks(x, s)
	return nil
}

func (c *Core) addPayout(x *exchange, s *session) {
	s.payouts = append(s.payouts, payout{id: c.newID("po_"), terms: x.terms, createdAt: x.at})
}

// startAgain is a start of a session that was started already.
func (c *Core) startAgain(x *exchange, s *session) *refusal {
	switch mode := x.behaviour.Modes.over(c.modes).SecondStart; {
	case mode == SecondStartNoOp:
	case mode == SecondStartAddPayout && s.open():
		c.remember(s, x.at)
		c.addPayout(x, s)
		s.updatedAt = x.at
	default:
		return wrongState("only a session that was just created can be started")
	}
	x.answerWith(s)
	return nil
}

// open says that the session was started, and neither ended nor is about to be cancelled.
func (s *session) open() bool {
	return s.phase == phaseChecking || s.phase == phaseReady || s.phase == phaseConfirming
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
		c.later(s, at, c.timing.Processing, c.process)
	default:
		c.enter(s, at, phaseReady)
		c.later(s, at, c.confirmDeadline(s), c.missConfirm)
		c.notify(s, at, webhookReadyToConfirm)
		c.notifyOfPaid(s, at)
	}
}

func (c *Core) missConfirm(s *session, at time.Time) {
	c.fail(s, at, phaseCancelled, failure{"confirm_timeout", "not confirmed in time"})
}

func (c *Core) confirm(x *exchange) *refusal {
	s, refused := sessionOf(x)
	if refused != nil {
		return refused
	}
	if s.phase == phaseConfirming || s.phase == phasePaid {
		return c.confirmAgain(x, s)
	}
	if s.phase != phaseReady {
		return wrongState("the session does not wait for confirm")
	}
	if s.behaviour.Balance == BalanceShortAtConfirm {
		return insufficientBalance()
	}
	c.enter(s, x.at, phaseConfirming)
	c.later(s, x.at, c.timing.Processing, c.process)
	x.answerWith(s)
	c.notifyOfPaid(s, x.at)
	return nil
}

// confirmAgain is a confirm of a session that was confirmed already.
func (c *Core) confirmAgain(x *exchange, s *session) *refusal {
	switch x.behaviour.Modes.over(c.modes).SecondConfirm {
	case SecondConfirmNoOp:
	case SecondConfirmPayAgain:
		s.pending++
		c.queue.add(x.at.Add(c.timing.Processing), func(at time.Time) { c.payAgain(s, at) })
	default:
		return wrongState("the session does not wait for confirm")
	}
	x.answerWith(s)
	return nil
}

// payAgain pays what was paid once more, though no partner can see it.
func (c *Core) payAgain(s *session, at time.Time) {
	s.pending--
	if s.phase == phasePaid {
		c.move(s, at, MovementPaid)
	}
}

func (c *Core) process(s *session, at time.Time) {
	switch {
	case s.behaviour.Balance == BalanceShortAtEnd:
		c.decline(s, at, failure{codeInsufficientBalance, "the balance is too low"})
	case s.behaviour.Outcome == OutcomeDeclinedAfterConfirm:
		c.decline(s, at, failure{"declined_by_issuer_bank", "the issuer declined the payout"})
	default:
		c.pay(s, at)
	}
}

// pay is how a payout ends well.
func (c *Core) pay(s *session, at time.Time) {
	c.enter(s, at, phasePaid)
	s.failure = nil
	for i := range s.payouts {
		p := &s.payouts[i]
		p.finishedAt, p.rrn, p.authCode = at, c.digits(12), c.digits(6)
	}
	c.move(s, at, MovementPaid)
	c.notify(s, at, webhookPaymentFinished)
	if s.behaviour.Outcome == OutcomeReturned {
		c.later(s, at, c.timing.Return, c.giveBack)
	}
}

func (c *Core) giveBack(s *session, at time.Time) {
	c.remember(s, at)
	s.timer, s.updatedAt = nil, at
	for i := range s.payouts {
		s.payouts[i].returnID, s.payouts[i].returnedAt = c.newID("rf_"), at
	}
	c.move(s, at, MovementReturned)
	c.notify(s, at, webhookPaymentRefunded)
}

// decline fails the payout as its behaviour says: finally, or for support to settle.
func (c *Core) decline(s *session, at time.Time, why failure) {
	resolvesAfter := cmp.Or(time.Duration(s.behaviour.ResolvesAfter), c.timing.ErrorResolution)
	switch s.behaviour.DeclineWith {
	case DeclineError:
		c.fail(s, at, phaseError, why)
	case DeclineErrorThenPaid:
		c.fail(s, at, phaseError, why)
		c.later(s, at, resolvesAfter, c.pay)
	case DeclineErrorThenCancelled:
		c.fail(s, at, phaseError, why)
		c.later(s, at, resolvesAfter, func(s *session, at time.Time) { c.fail(s, at, phaseCancelled, why) })
	default:
		c.fail(s, at, phaseCancelled, why)
	}
}

func (c *Core) fail(s *session, at time.Time, p phase, why failure) {
	c.enter(s, at, p)
	s.failure = &why
	for i := range s.payouts {
		s.payouts[i].finishedAt = at
	}
	c.notify(s, at, webhookPaymentFinished)
}

func (c *Core) cancel(x *exchange) *refusal {
	s, refused := sessionOf(x)
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
	if s.behaviour.Cancel == CancelPaid {
		c.pay(s, at)
		return
	}
	c.fail(s, at, phaseCancelled, failure{"session_cancelled_by_partner", "cancelled by the partner"})
}

func (c *Core) status(x *exchange) *refusal {
	s, refused := sessionOf(x)
	if refused != nil {
		return refused
	}
	x.answerWithView(s, c.seenBy(s, x.at))
	return nil
}

// sessionOf is the session that the call is about.
func sessionOf(x *exchange) (*session, *refusal) {
	if _, refused := x.body.text("session_id"); refused != nil {
		return nil, refused
	}
	if x.session == nil {
		return nil, invalid("session_id: no such session")
	}
	return x.session, nil
}

// answerWith answers with the session as it is at this moment.
func (x *exchange) answerWith(s *session) { x.answerWithView(s, s.view) }

func (x *exchange) answerWithView(s *session, v view) {
	x.session = s
	if !x.faithful {
		v = v.altered(s.behaviour.Echo)
	}
	x.result = field{"session", s.json(x.call.Version, v)}
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

func insufficientBalance() *refusal {
	return &refusal{code: codeInsufficientBalance, description: "the balance is too low"}
}
