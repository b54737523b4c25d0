package workflows

import (
	"fmt"
	"slices"
	"time"

	"pikepayouts/activities"
	"pikepayouts/payout"
)

const (
	// moneyStartToClose bounds an activity that sends: a status read and the
	// send, each at most pike.MaxTimeout (30s), and a margin.
	moneyStartToClose = 75 * time.Second
	// settleDelay is how long after a send with unknown outcome a status read
	// may be trusted to show it: longer than the activity can live (hazard A6)
	// and than Pike's status has been assumed to lag (60s, F22).
	settleDelay = 90 * time.Second
	// unreachableAfter without an answer from Pike raises attention.
	unreachableAfter = 5 * time.Minute
	maxPollGap       = 5 * time.Minute
	// maxPollGapAttention applies while attention is raised, except while Pike may wait for a confirm.
	maxPollGapAttention = time.Hour
)

// The `by` of decisions that no person made.
const (
	byAuto            = "auto"
	byReadyTimeout    = "ready_timeout"
	byDecisionTimeout = "decision_timeout"
	byConfirmTimeout  = "confirm_timeout"
	byMismatch        = "mismatch"
	byCancellation    = "temporal cancellation"
)

// action is what the machine asks the workflow to do next.
type action int

const (
	wait action = iota
	createSession
	adoptSession
	startPayout
	confirmSession
	cancelSession
	readStatus
	finish
)

// step is one action; until and why belong to wait.
type step struct {
	do    action
	until time.Time
	why   string
}

// machine is the payout as a pure state machine: it holds what is known,
// next says what to do, and the methods named after results take in what
// happened. It reads no clock and calls nothing, so tables can test it. Its
// JSON form goes from a run to the one that it continues as.
type machine struct {
	Policy payout.Policy `json:"policy"`
	Status payout.Status `json:"status"`

	// Session is the last truth read from Pike. ReadAt is when the read was
	// asked for: its answer may have waited long for a worker.
	Session  activities.Session `json:"session"`
	ReadAt   time.Time          `json:"read_at,omitzero"`
	CalledAt time.Time          `json:"called_at,omitzero"`
	// Hinted: a webhook said that something changed. ReadyHinted: it said ready_to_confirm.
	Hinted      bool `json:"hinted,omitempty"`
	ReadyHinted bool `json:"ready_hinted,omitempty"`
	// Unread are the payment_finished since the last read of the status, of each payout status the last.
	Unread []payout.Event `json:"unread,omitempty"`
	// ApprovedBy are the people who confirmed, until there are Policy.Approvals of them.
	ApprovedBy []string `json:"approved_by,omitempty"`

	// SentAt is when the last send in this state ended with unknown outcome; zero if none is open.
	SentAt time.Time `json:"sent_at,omitzero"`
	// StartMayLive and ConfirmMayLive: Pike may have got such a call at any time so far.
	StartMayLive   bool `json:"start_may_live,omitempty"`
	ConfirmMayLive bool `json:"confirm_may_live,omitempty"`
	CancelSends    int  `json:"cancel_sends,omitempty"`
	// CancelAsked: a cancellation came while confirm was under way; it counts again if that is taken back.
	CancelAsked bool `json:"cancel_asked,omitempty"`
	// Refused is Pike's definite refusal of the only start that was sent.
	Refused *payout.Error `json:"refused,omitempty"`

	// NextCall is when to speak to Pike next unless a hint comes first; Gap doubles with each call.
	NextCall time.Time     `json:"next_call,omitzero"`
	Gap      time.Duration `json:"gap"`
	// SilentSince is when Pike first failed to answer, zero while it answers.
	SilentSince time.Time `json:"silent_since,omitzero"`
	ReadyAt     time.Time `json:"ready_at,omitzero"`
	// RecheckAsked: a person wants a status read before anything else.
	RecheckAsked bool `json:"recheck_asked,omitempty"`
	// ConfirmSentAt is when the last confirm was handed to an activity.
	ConfirmSentAt time.Time `json:"confirm_sent_at,omitzero"`
	// Held: the last send was held because the worker observes only.
	Held bool `json:"held,omitempty"`

	// moves are those noted since the last takeMoves. They are of this run alone: the next one must not count them again.
	moves []move
}

// move is from one state to another, or to itself where that is noted; from is empty for the first.
type move struct{ from, to payout.State }

func newMachine(request payout.Request, now time.Time) *machine {
	m := &machine{Policy: request.Policy.WithDefaults()}
	m.Status = payout.Status{PayoutID: request.PayoutID, AmountDetails: request.AmountDetails, UpdatedAt: now}
	m.enter(payout.StateCreating, now, "request accepted")
	m.NextCall = now
	return m
}

// next says what to do now. It moves on where only time or a decision is needed.
func (m *machine) next(now time.Time) step {
	if m.RecheckAsked && m.Status.SessionID != "" && !m.Status.State.Final() {
		return step{do: readStatus}
	}
	switch m.Status.State {
	case payout.StateCreating:
		return m.nextCreating(now)
	case payout.StateStarting:
		return m.nextStarting(now)
	case payout.StateAwaitingReady:
		return m.nextAwaitingReady(now)
	case payout.StateAwaitingDecision:
		return m.nextAwaitingDecision(now)
	case payout.StateConfirming:
		return m.nextConfirming(now)
	case payout.StateAwaitingResult:
		return m.nextAwaitingResult(now)
	case payout.StateCancelling:
		return m.nextCancelling(now)
	}
	return step{do: finish}
}

func (m *machine) nextCreating(now time.Time) step {
	if m.cancelDecided() {
		return m.callWhenDue(now, adoptSession) // another run may have gone further
	}
	return m.callWhenDue(now, createSession)
}

func (m *machine) nextStarting(now time.Time) step {
	switch {
	case m.Refused != nil:
		return m.nextRefused(now)
	case m.sendOpen() && !m.settledTruth():
		return m.settle(now)
	case m.cancelDecided():
		return m.cancelNow(now)
	case m.deadlinePassed(now):
		return m.cancelBy(byReadyTimeout, "Pike was not ready in time", now)
	}
	return m.callWhenDue(now, startPayout)
}

// nextRefused ends a payout whose start Pike refused for good, once status shows that there is none.
func (m *machine) nextRefused(now time.Time) step {
	if m.ReadAt.IsZero() {
		return m.callWhenDue(now, readStatus)
	}
	m.Status.Error = m.Refused
	m.enter(payout.StateFailed, now, "Pike refused the start")
	return step{do: finish}
}

func (m *machine) nextAwaitingReady(now time.Time) step {
	switch {
	case m.cancelDecided():
		return m.cancelNow(now)
	case m.ReadyHinted && (m.Policy.Decision == payout.DecisionAuto || m.confirmDecided()):
		return m.ready(now, "ready_to_confirm arrived") // ConfirmSession itself reads the truth first
	case m.deadlinePassed(now):
		return m.cancelBy(byReadyTimeout, "Pike was not ready in time", now)
	}
	return m.readWhenDue(now)
}

// ready leaves awaiting_ready for the decision or, if it is made, for confirm.
func (m *machine) ready(now time.Time, why string) step {
	m.ReadyAt = now
	if m.Policy.Decision == payout.DecisionAuto && m.Status.Decision == nil {
		m.decide(payout.DecisionConfirm, byAuto, "", now)
	}
	if m.confirmDecided() {
		return m.confirmNow(now, why)
	}
	m.enter(payout.StateAwaitingDecision, now, why)
	m.Status.Deadline = new(now.Add(min(time.Duration(m.Policy.DecisionTimeout), time.Duration(m.Policy.ConfirmTimeout))))
	return m.nextAwaitingDecision(now)
}

func (m *machine) nextAwaitingDecision(now time.Time) step {
	switch {
	case m.cancelDecided():
		return m.cancelNow(now)
	case m.confirmDecided():
		return m.confirmNow(now, "confirmed by "+m.Status.Decision.By)
	case m.deadlinePassed(now):
		return m.cancelBy(byDecisionTimeout, "nobody decided in time", now)
	}
	return m.readWhenDue(now)
}

// confirmNow goes through the one-way door: from here on a cancel is refused (design §4.6).
func (m *machine) confirmNow(now time.Time, why string) step {
	m.enter(payout.StateConfirming, now, why)
	m.Status.Deadline = new(m.ReadyAt.Add(time.Duration(m.Policy.ConfirmTimeout)))
	m.NextCall = now
	return m.nextConfirming(now)
}

func (m *machine) nextConfirming(now time.Time) step {
	switch {
	case m.sendOpen() && !m.settledTruth():
		return m.settle(now)
	case m.deadlinePassed(now) && !m.ConfirmMayLive:
		return m.cancelBy(byConfirmTimeout, "no confirm reached Pike in time", now)
	case m.deadlinePassed(now):
		m.raise(payout.AttentionConfirmUnknown, "too late to confirm again; Pike decides", now)
		return m.readWhenDue(now)
	}
	return m.callWhenDue(now, confirmSession)
}

func (m *machine) nextAwaitingResult(now time.Time) step {
	if m.cancelDecided() && !m.ConfirmMayLive {
		return m.cancelNow(now)
	}
	if m.deadlinePassed(now) {
		m.raise(payout.AttentionResultOverdue, "no final state within result_timeout", now)
	}
	return m.readWhenDue(now)
}

// cancelBy cancels on the word of the policy, not of a person.
func (m *machine) cancelBy(by, reason string, now time.Time) step {
	m.decide(payout.DecisionCancel, by, reason, now)
	return m.cancelNow(now)
}

func (m *machine) cancelNow(now time.Time) step {
	m.enter(payout.StateCancelling, now, fmt.Sprintf("cancel decided by %s", m.Status.Decision.By))
	m.Status.Deadline = new(now.Add(time.Duration(m.Policy.ResultTimeout)))
	m.NextCall, m.ReadAt = now, time.Time{}
	return m.nextCancelling(now)
}

// nextCancelling asks Pike to cancel, again at each poll while the session lives: Pike may not
// accept a cancel before it is ready (api.md §3.5), and a repeat moves no money.
func (m *machine) nextCancelling(now time.Time) step {
	if m.Session.Phase == activities.PhaseNotStarted && !m.StartMayLive && !m.ReadAt.IsZero() {
		m.enter(payout.StateCancelled, now, "cancelled before the payout was started")
		return step{do: finish}
	}
	if m.deadlinePassed(now) {
		m.raise(payout.AttentionResultOverdue, "the cancel has no final state within result_timeout", now)
	}
	if m.Session.Phase.Cancellable() && !m.Hinted {
		return m.callWhenDue(now, cancelSession)
	}
	return m.readWhenDue(now)
}

// settle waits until an unknown send can no longer be in flight, then reads the truth. Reading on a hint is always safe.
func (m *machine) settle(now time.Time) step {
	settledAt := m.SentAt.Add(settleDelay)
	if m.Hinted || !now.Before(settledAt) && !now.Before(m.NextCall) {
		return step{do: readStatus}
	}
	return step{do: wait, until: later(settledAt, m.NextCall), why: "settle delay after an unknown answer"}
}

func (m *machine) callWhenDue(now time.Time, call action) step {
	if now.Before(m.NextCall) {
		return m.waitForNextCall(now, "next call to Pike")
	}
	return step{do: call}
}

// readWhenDue reads the status on a hint or when a poll is due.
func (m *machine) readWhenDue(now time.Time) step {
	if m.Hinted || !now.Before(m.NextCall) {
		return step{do: readStatus}
	}
	return m.waitForNextCall(now, "poll session/status")
}

// waitForNextCall waits for the next call, but not past the state's deadline.
func (m *machine) waitForNextCall(now time.Time, why string) step {
	if deadline := m.Status.Deadline; deadline != nil && deadline.After(now) && deadline.Before(m.NextCall) {
		return step{do: wait, until: *deadline, why: "deadline of " + string(m.Status.State)}
	}
	return step{do: wait, until: m.NextCall, why: why}
}

func (m *machine) cancelDecided() bool {
	return m.Status.Decision != nil && m.Status.Decision.Value == payout.DecisionCancel
}

func (m *machine) confirmDecided() bool {
	return m.Status.Decision != nil && m.Status.Decision.Value == payout.DecisionConfirm
}

func (m *machine) deadlinePassed(now time.Time) bool {
	return m.Status.Deadline != nil && !now.Before(*m.Status.Deadline)
}

// sendOpen: the last send of this state has an unknown outcome.
func (m *machine) sendOpen() bool { return !m.SentAt.IsZero() }

// settledTruth: status was read after the settle delay of the open send.
func (m *machine) settledTruth() bool { return !m.ReadAt.Before(m.SentAt.Add(settleDelay)) }

// calling takes note that a call is about to be made. It returns since when
// earlier sends of the call are settled, zero if there was none; a hint that
// arrives from now on asks for another read.
func (m *machine) calling(call action, now time.Time) (settledSince time.Time) {
	if m.sendOpen() && m.settledTruth() {
		settledSince = m.SentAt
	}
	m.CalledAt = now
	switch call {
	case startPayout:
		m.SentAt = time.Time{}
	case confirmSession:
		m.SentAt, m.ConfirmSentAt = time.Time{}, now
		m.hintsRead()
	case cancelSession:
		m.CancelSends++
		m.hintsRead()
	case readStatus:
		m.RecheckAsked = false
		m.hintsRead()
	}
	return settledSince
}

func (m *machine) hintsRead() { m.Hinted, m.ReadyHinted, m.Unread = false, false, nil }

func (m *machine) enter(state payout.State, now time.Time, why string) {
	m.note(state, now, why)
	m.become(state, now)
}

// become is enter without a trace in the transitions.
func (m *machine) become(state payout.State, now time.Time) {
	m.Status.State, m.Status.Since = state, now
	m.SentAt = time.Time{}
	m.Gap = time.Duration(m.Policy.PollInterval)
	m.NextCall = now.Add(m.Gap)
	m.Status.Deadline = nil
	m.Status.NextStep = nextSteps[state]
}

func (m *machine) note(state payout.State, now time.Time, why string) {
	m.Status.Transitions = append(slices.Clip(m.Status.Transitions), payout.Transition{State: state, At: now, Why: why})
	m.Status.UpdatedAt = now
	m.moves = append(m.moves, move{from: m.Status.State, to: state})
}

// takeMoves hands out every move once, also one whose trace in the transitions was taken back since.
func (m *machine) takeMoves() []move {
	moves := m.moves
	m.moves = nil
	return moves
}

// backOff schedules the next call to Pike: the gap doubles, up to a bound.
func (m *machine) backOff(now time.Time) {
	bound := maxPollGap
	if m.Status.Attention != nil && !m.urgent(now) {
		bound = maxPollGapAttention
	}
	m.NextCall = now.Add(min(m.Gap, bound))
	m.Gap = min(2*m.Gap, bound)
}

// urgent: Pike may be waiting for a confirm that a deadline bounds.
func (m *machine) urgent(now time.Time) bool {
	switch m.Status.State {
	case payout.StateStarting, payout.StateAwaitingReady, payout.StateAwaitingDecision, payout.StateConfirming:
		return !m.deadlinePassed(now)
	}
	return false
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// nextSteps says in plain words what happens next in each state.
var nextSteps = map[payout.State]string{
	payout.StateCreating:         "a session is created at Pike",
	payout.StateStarting:         "the payout is started in the session",
	payout.StateAwaitingReady:    "Pike checks the payout and asks for confirm",
	payout.StateAwaitingDecision: "a person decides: confirm or cancel",
	payout.StateConfirming:       "the confirm is sent; a cancel is no longer possible",
	payout.StateAwaitingResult:   "Pike reports the result",
	payout.StateCancelling:       "Pike cancels the session",
}
