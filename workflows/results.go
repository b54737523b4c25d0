package workflows

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"pikepayouts/activities"
	"pikepayouts/payout"
)

// created takes in the answer to CreateSession. The session id is in history before anything is started in it.
func (m *machine) created(session activities.Session, now time.Time) {
	m.answered(now)
	if session.ID == "" { // cancelled, and no other run of the payout has a session
		m.enter(payout.StateCancelled, now, "cancelled before anything was sent")
		return
	}
	m.Session, m.ReadAt = session, now
	m.Status.SessionID = session.ID
	m.enter(payout.StateStarting, now, "session created")
	m.Status.Deadline = new(now.Add(time.Duration(m.Policy.ReadyTimeout)))
	m.NextCall = now
	if session.Phase == activities.PhaseUnread { // adopted from an earlier run, which may have started and confirmed it
		m.Session.Phase = activities.PhaseInProgress
		m.StartMayLive, m.ConfirmMayLive, m.SentAt, m.ReadAt = true, true, now, time.Time{}
	}
}

// started takes in the answer to StartPayout.
func (m *machine) started(session activities.Session, now time.Time) {
	m.StartMayLive = true
	if session.Phase == activities.PhaseNotStarted { // ok, but no payout: no better than no answer
		m.SentAt = now
	}
	m.observe(session, now)
}

// confirmed takes in the answer to ConfirmSession.
func (m *machine) confirmed(result activities.SendResult, now time.Time) {
	if result.Sent {
		m.ConfirmMayLive = true
		m.clear(payout.AttentionConfirmUnknown)
		m.awaitResult(now, "Pike accepted the confirm")
	}
	m.observe(result.Session, now)
}

// cancelled takes in the answer to CancelSession.
func (m *machine) cancelled(result activities.SendResult, now time.Time) {
	m.observe(result.Session, now)
	if m.Status.State == payout.StateCancelling {
		m.backOff(now)
	}
}

// polled takes in the answer to SessionStatus.
func (m *machine) polled(session activities.Session, now time.Time) {
	state, phase := m.Status.State, m.Session.Phase
	m.observe(session, now)
	if m.Status.State == state {
		m.backOff(now)
	}
	becameReady := session.Phase == activities.PhaseReady && phase != activities.PhaseReady
	if m.Status.State == payout.StateCancelling && becameReady { // now Pike takes a cancel
		m.NextCall = now
	}
}

// callFailed takes in the error of any activity.
func (m *machine) callFailed(call action, failure activities.Failure, now time.Time) {
	m.backOff(now)
	if failure.Held {
		m.Held, m.Status.NextStep = true, failure.Text
		return
	}
	m.noteSilence(failure, now)
	if failure.Error != nil {
		m.Status.Error = failure.Error
	}
	switch call {
	case createSession, adoptSession:
		m.createFailed(failure, now)
	case startPayout:
		m.startFailed(failure, now)
	case confirmSession:
		m.confirmFailed(failure, now)
	}
}

// createFailed ends the payout if Pike refused the session for good: nothing was started.
func (m *machine) createFailed(failure activities.Failure, now time.Time) {
	if failure.Outcome == activities.Refused && !failure.Config {
		m.enter(payout.StateFailed, now, "Pike refused to create a session")
	}
}

func (m *machine) startFailed(failure activities.Failure, now time.Time) {
	refused := failure.Outcome == activities.Refused && !failure.Config
	switch {
	case refused && !m.StartMayLive:
		m.Refused, m.ReadAt, m.NextCall = failure.Error, time.Time{}, now
	case refused, failure.Outcome == activities.Unknown:
		m.StartMayLive, m.SentAt, m.NextCall = true, now, now
	}
}

func (m *machine) confirmFailed(failure activities.Failure, now time.Time) {
	if failure.Outcome == activities.Unknown {
		m.ConfirmMayLive, m.SentAt, m.NextCall = true, now, now
		m.raise(payout.AttentionConfirmUnknown, failure.Text, now)
	}
}

// observe takes in the truth about the session. Nothing but this ends a started payout.
func (m *machine) observe(session activities.Session, now time.Time) {
	m.answered(now)
	m.Session, m.ReadAt = session, m.CalledAt
	m.Status.LastStatusRead = &payout.StatusRead{SessionStatus: session.SessionStatus, PayoutStatus: session.PayoutStatus, At: m.CalledAt}
	m.Status.PikePayoutID, m.Status.TransactionInfo = session.PikePayoutID, session.TransactionInfo
	if session.Error != nil {
		m.Status.Error = session.Error
	}
	m.Status.UpdatedAt = now
	if session.Reset {
		m.StartMayLive, m.ConfirmMayLive = true, true
	}
	switch {
	case session.Phase == activities.PhasePaid && session.Mismatch == "":
		m.paid(now)
	case session.Phase == activities.PhaseNotPaid:
		m.notPaid(now)
	case session.Mismatch != "":
		m.mismatched(now)
	case session.Phase == activities.PhaseUnresolved:
		m.raise(payout.AttentionUnresolvedError, "payout failed, but session error is not final at Pike", now)
		m.hold(now, "session error")
	default:
		m.clear(payout.AttentionUnresolvedError, payout.AttentionMismatch)
		m.proceed(now)
	}
}

// paid ends the payout as succeeded. Paid without our confirm is the truth too, and a person should know (hazard A20).
func (m *machine) paid(now time.Time) {
	m.Status.Attention, m.Status.Error = nil, nil
	if !m.ConfirmMayLive {
		m.raise(payout.AttentionPaidWithoutConfirm, "Pike paid without our confirm (auto-confirm?)", now)
	}
	m.enter(payout.StateSucceeded, now, "session accepted, payout succeeded")
}

// notPaid ends the payout: cancelled if that was decided, else failed.
func (m *machine) notPaid(now time.Time) {
	if m.Session.Mismatch == "" {
		m.Status.Attention = nil
	} else {
		m.raise(payout.AttentionMismatch, m.Session.Mismatch, now)
	}
	if m.cancelDecided() {
		m.enter(payout.StateCancelled, now, "session cancelled, nothing paid")
		return
	}
	m.enter(payout.StateFailed, now, "session cancelled by Pike, nothing paid")
}

// mismatched: what Pike holds is not what was ordered. Before confirm that is cancelled, after it a person must look.
func (m *machine) mismatched(now time.Time) {
	m.raise(payout.AttentionMismatch, m.Session.Mismatch, now)
	if m.ConfirmMayLive || !m.Session.Phase.Cancellable() {
		m.hold(now, "mismatch with the order")
		return
	}
	if m.Status.State == payout.StateCancelling {
		return
	}
	m.cancelBy(byMismatch, m.Session.Mismatch, now)
}

// hold waits for a final state without acting; a payout that is being cancelled keeps that name.
func (m *machine) hold(now time.Time, why string) {
	if m.Status.State != payout.StateCancelling {
		m.awaitResult(now, why)
	}
}

func (m *machine) awaitResult(now time.Time, why string) {
	if m.Status.State == payout.StateAwaitingResult {
		return
	}
	m.enter(payout.StateAwaitingResult, now, why)
	m.Status.Deadline = new(now.Add(time.Duration(m.Policy.ResultTimeout)))
}

// proceed moves on where the truth shows that the state's purpose is reached.
func (m *machine) proceed(now time.Time) {
	started := m.Session.Phase == activities.PhaseInProgress || m.Session.Phase == activities.PhaseReady
	if m.Status.State == payout.StateStarting && started {
		m.StartMayLive, m.Refused, m.Status.Error = true, nil, nil
		readyBy := m.Status.Deadline
		m.enter(payout.StateAwaitingReady, now, "payout started")
		m.Status.Deadline = readyBy
	}
	isReady := m.Session.Phase == activities.PhaseReady
	switch {
	case m.Status.State == payout.StateAwaitingReady && isReady && !m.cancelDecided() && !m.deadlinePassed(now):
		m.ready(now, "status shows ready")
	case m.Status.State == payout.StateConfirming && !isReady && m.ConfirmMayLive:
		m.clear(payout.AttentionConfirmUnknown)
		m.awaitResult(now, "status shows that the confirm arrived")
	case m.Status.State == payout.StateConfirming && !isReady,
		m.Status.State == payout.StateAwaitingDecision && !isReady:
		m.notReadyAfterAll(now, "status shows that Pike is not ready")
	case m.Status.State == payout.StateAwaitingResult && !m.ConfirmMayLive: // held in error before confirm, now alive again
		m.notReadyAfterAll(now, "the session is no longer in error")
		m.proceed(now)
	}
}

// notReadyAfterAll takes back what an early or forged ready_to_confirm brought about; nothing was sent.
func (m *machine) notReadyAfterAll(now time.Time, why string) {
	if m.confirmDecided() && m.Status.Decision.By == byAuto {
		m.Status.Decision = nil
	}
	if m.CancelAsked {
		m.decide(payout.DecisionCancel, byCancellation, "", now)
	}
	m.ReadyAt = time.Time{}
	readyBy := m.startedAt().Add(time.Duration(m.Policy.ReadyTimeout))
	if last := len(m.Status.Transitions) - 1; m.Status.State == payout.StateConfirming && last > 0 {
		m.Status.Transitions = m.Status.Transitions[:last:last] // a hint can be repeated for ever, its trace must not grow
		m.become(payout.StateAwaitingReady, now)
	} else {
		m.enter(payout.StateAwaitingReady, now, why)
	}
	m.Status.Deadline = new(readyBy)
}

func (m *machine) startedAt() time.Time {
	for _, transition := range m.Status.Transitions {
		if transition.State == payout.StateStarting {
			return transition.At
		}
	}
	return m.Status.UpdatedAt
}

// hint takes in a webhook of the payout's session. It moves nothing; it only brings the next status read forward (design §4.2).
func (m *machine) hint(event payout.Event, now time.Time) {
	m.Status.LastWebhook = &payout.Webhook{Type: event.Type, SessionStatus: event.SessionStatus, PayoutStatus: event.PayoutStatus, At: now}
	m.Hinted = true
	m.ReadyHinted = m.ReadyHinted || event.Type == payout.SignalReadyToConfirm
	if event.Type == payout.SignalPaymentFinished && (event.PayoutStatus == activities.PayoutSucceeded || event.PayoutStatus == activities.PayoutFailed) {
		m.Unread = append(slices.DeleteFunc(m.Unread, saysAs(event)), event)
	}
}

func saysAs(event payout.Event) func(payout.Event) bool {
	return func(other payout.Event) bool { return other.PayoutStatus == event.PayoutStatus }
}

// contradiction is the webhook that says otherwise than the end, and that no status read has followed; nil if there is none.
func (m *machine) contradiction() *payout.Event {
	opposite := activities.PayoutSucceeded
	if m.Status.State == payout.StateSucceeded {
		opposite = activities.PayoutFailed
	}
	for _, event := range m.Unread {
		if event.PayoutStatus == opposite {
			return &event
		}
	}
	return nil
}

// checkDecision says why a decision can't be taken, nil if it can.
func (m *machine) checkDecision(request payout.DecideRequest) error {
	switch {
	case m.Status.State.Final():
		return fmt.Errorf("the payout has ended: %s", m.Status.State)
	case m.Status.Decision != nil:
		return fmt.Errorf("already decided: %s by %s", m.Status.Decision.Value, m.Status.Decision.By)
	case m.Status.State == payout.StateAwaitingResult && m.ConfirmMayLive:
		return errors.New("the confirm may be under way")
	case request.Decision == payout.DecisionConfirm && slices.ContainsFunc(m.ApprovedBy, samePerson(request.By)):
		return fmt.Errorf("%s has confirmed already; %d different people must", request.By, m.Policy.Approvals)
	}
	return nil
}

func samePerson(by string) func(string) bool {
	return func(other string) bool { return strings.EqualFold(strings.TrimSpace(by), strings.TrimSpace(other)) }
}

// decideBy takes in a person's decision; a confirm counts once enough different people gave it.
func (m *machine) decideBy(request payout.DecideRequest, now time.Time) {
	m.Status.UpdatedAt = now
	if request.Decision == payout.DecisionConfirm {
		m.ApprovedBy = append(m.ApprovedBy, request.By)
		if missing := m.Policy.Approvals - len(m.ApprovedBy); missing > 0 {
			m.Status.NextStep = fmt.Sprintf("%d more confirmation(s) needed; confirmed by %s", missing, strings.Join(m.ApprovedBy, ", "))
			return
		}
	}
	by := request.By
	if len(m.ApprovedBy) > 1 && request.Decision == payout.DecisionConfirm {
		by = strings.Join(m.ApprovedBy, ", ")
	}
	m.decide(request.Decision, by, request.Reason, now)
}

func (m *machine) decide(value, by, reason string, now time.Time) {
	m.Status.Decision = &payout.Decision{Value: value, By: by, Reason: reason, At: now}
}

// checkResolve says why nothing can be resolved, nil if something can.
func (m *machine) checkResolve() error {
	switch {
	case m.Status.State.Final():
		return fmt.Errorf("the payout has ended: %s", m.Status.State)
	case m.Status.Attention == nil:
		return errNoAttention
	}
	return nil
}

var errNoAttention = errors.New("no attention is raised, there is nothing to resolve")

// recheck asks for a status read before anything else; without a session, for the next attempt to get one.
func (m *machine) recheck(now time.Time) {
	m.RecheckAsked = true
	if m.Status.SessionID == "" {
		m.NextCall = now
	}
}

// close ends the payout on a person's word, unless the truth just read says the opposite.
func (m *machine) close(request payout.ResolveRequest, now time.Time) error {
	paid := request.Action == payout.ResolveClosePaid
	if m.Status.State.Final() {
		if paid == (m.Status.State == payout.StateSucceeded) {
			return nil
		}
		return fmt.Errorf("Pike has just settled it: %s", m.Status.State)
	}
	if err := m.checkClose(paid, now); err != nil {
		return err
	}
	state := payout.StateFailed
	switch {
	case paid:
		state = payout.StateSucceeded
	case m.cancelDecided():
		state = payout.StateCancelled
	}
	m.Status.Attention = nil
	m.enter(state, now, fmt.Sprintf("%s by %s: %s (evidence: %s)", request.Action, request.By, request.Reason, request.Evidence))
	return nil
}

// checkClose says why what was read last forbids to close the payout as paid, or as not paid; nil if it does not.
func (m *machine) checkClose(paid bool, now time.Time) error {
	phase := m.Session.Phase
	switch {
	case m.raised(payout.AttentionPikeUnreachable, payout.AttentionConfigRefused):
		return errors.New("Pike gives no fresh status to check against")
	case phase.SaysOpposite(paid) || m.Status.SessionID == "":
		return fmt.Errorf("a fresh status says the opposite: session %q is %q, its payout %q", m.Status.SessionID, m.Session.SessionStatus, m.Session.PayoutStatus)
	case !paid && phase.Cancellable() && m.ConfirmMayLive && now.Before(m.ConfirmSentAt.Add(settleDelay)):
		return fmt.Errorf("a confirm may be in flight until %s; try again then", clock(m.ConfirmSentAt.Add(settleDelay)))
	}
	return nil
}

// errTooLate refuses a cancellation after the one-way door.
var errTooLate = errors.New("cancellation refused: the confirm is under way")

// cancelRequested takes in a Temporal cancellation. After confirm it is recorded as refused.
func (m *machine) cancelRequested(now time.Time) error {
	switch {
	case m.Status.State.Final() || m.Status.State == payout.StateCancelling:
		return nil
	case m.confirmUnderWay():
		m.CancelAsked = true
		m.note(m.Status.State, now, errTooLate.Error())
		return errTooLate
	}
	m.decide(payout.DecisionCancel, byCancellation, "", now)
	return nil
}

// confirmUnderWay: the one-way door is behind the payout.
func (m *machine) confirmUnderWay() bool {
	return m.Status.State == payout.StateConfirming || m.Status.State == payout.StateAwaitingResult && m.ConfirmMayLive
}

// mayBeCancelled: a Temporal cancellation, of which a run gets only one, would change something.
func (m *machine) mayBeCancelled() bool {
	return !m.Status.State.Final() && !m.cancelDecided() && !m.confirmUnderWay() && !m.CancelAsked
}

// attentionRank orders the reasons: only one is shown, the gravest.
var attentionRank = []payout.AttentionReason{
	payout.AttentionResultOverdue, payout.AttentionPikeUnreachable, payout.AttentionConfigRefused, payout.AttentionConfirmUnknown,
	payout.AttentionUnresolvedError, payout.AttentionPaidWithoutConfirm, payout.AttentionMismatch,
}

func (m *machine) raise(reason payout.AttentionReason, detail string, now time.Time) {
	current := m.Status.Attention
	if current != nil && slices.Index(attentionRank, current.Reason) >= slices.Index(attentionRank, reason) {
		return
	}
	m.Status.Attention = &payout.Attention{Reason: reason, Since: now, Detail: detail}
	m.Status.UpdatedAt = now
}

func (m *machine) clear(reasons ...payout.AttentionReason) {
	if m.raised(reasons...) {
		m.Status.Attention = nil
	}
}

func (m *machine) raised(reasons ...payout.AttentionReason) bool {
	return m.Status.Attention != nil && slices.Contains(reasons, m.Status.Attention.Reason)
}

// answered: Pike spoke to us.
func (m *machine) answered(now time.Time) {
	if !m.SilentSince.IsZero() && now.Sub(m.SilentSince) >= unreachableAfter { // a single failure is no outage, and must not undo the backoff
		m.Gap = time.Duration(m.Policy.PollInterval)
	}
	m.SilentSince = time.Time{}
	if m.Held {
		m.Held, m.Status.NextStep = false, nextSteps[m.Status.State]
	}
	m.clear(payout.AttentionPikeUnreachable, payout.AttentionConfigRefused)
}

// noteSilence raises attention at once when Pike refuses our configuration, after minutes when it gives no answer of use.
func (m *machine) noteSilence(failure activities.Failure, now time.Time) {
	if failure.Config {
		m.raise(payout.AttentionConfigRefused, failure.Text, now)
		return
	}
	if m.SilentSince.IsZero() {
		m.SilentSince = now
	}
	if now.Sub(m.SilentSince) >= unreachableAfter {
		m.raise(payout.AttentionPikeUnreachable, failure.Text, now)
	}
}
