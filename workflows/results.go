package workflows

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"pikepayouts/activities"
	"pikepayouts/payout"
)

// created takes in the answer to CreateSession. The session id is in history before anything is started in it.
func (m *machine) created(session activities.Session, now time.Time) {
	m.answered()
	m.session, m.readAt = session, now
	m.status.SessionID = session.ID
	m.enter(payout.StateStarting, now, "session created")
	m.setDeadline(now.Add(time.Duration(m.policy.ReadyTimeout)))
	m.nextCall = now
	if session.Phase == activities.PhaseUnread { // adopted from an earlier run, which may have started and confirmed it
		m.session.Phase = activities.PhaseInProgress
		m.startMayLive, m.confirmMayLive, m.sentAt, m.readAt = true, true, now, time.Time{}
	}
}

// started takes in the answer to StartPayout.
func (m *machine) started(session activities.Session, now time.Time) {
	m.startMayLive = true
	if session.Phase == activities.PhaseNotStarted { // ok, but no payout: no better than no answer
		m.sentAt = now
	}
	m.observe(session, now)
}

// confirmed takes in the answer to ConfirmSession.
func (m *machine) confirmed(result activities.SendResult, now time.Time) {
	if result.Sent {
		m.confirmMayLive = true
		m.clear(payout.AttentionConfirmUnknown)
		m.awaitResult(now, "Pike accepted the confirm")
	}
	m.observe(result.Session, now)
}

// cancelled takes in the answer to CancelSession.
func (m *machine) cancelled(result activities.SendResult, now time.Time) {
	m.observe(result.Session, now)
	if m.status.State == payout.StateCancelling {
		m.backOff(now)
	}
}

// polled takes in the answer to SessionStatus.
func (m *machine) polled(session activities.Session, now time.Time) {
	m.backOff(now)
	m.observe(session, now)
}

// callFailed takes in the error of any activity.
func (m *machine) callFailed(call action, failure activities.Failure, now time.Time) {
	m.noteSilence(failure, now)
	m.backOff(now)
	switch call {
	case createSession:
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
		m.status.Error = failure.Error
		m.enter(payout.StateFailed, now, "Pike refused to create a session")
	}
}

func (m *machine) startFailed(failure activities.Failure, now time.Time) {
	refused := failure.Outcome == activities.Refused && !failure.Config
	switch {
	case refused && !m.startMayLive:
		m.refused, m.readAt, m.nextCall = failure.Error, time.Time{}, now
	case refused, failure.Outcome == activities.Unknown:
		m.startMayLive, m.sentAt, m.nextCall = true, now, now
	}
}

func (m *machine) confirmFailed(failure activities.Failure, now time.Time) {
	if failure.Outcome == activities.Unknown {
		m.confirmMayLive, m.sentAt, m.nextCall = true, now, now
		m.raise(payout.AttentionConfirmUnknown, failure.Text, now)
	}
}

// observe takes in the truth about the session. Nothing but this ends a started payout.
func (m *machine) observe(session activities.Session, now time.Time) {
	m.answered()
	m.session, m.readAt = session, now
	m.status.PikePayoutID, m.status.TransactionInfo = session.PikePayoutID, session.TransactionInfo
	m.status.Error = session.Error
	m.status.UpdatedAt = now
	if session.Reset {
		m.startMayLive, m.confirmMayLive = true, true
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
	m.status.Attention = nil
	if !m.confirmMayLive {
		m.raise(payout.AttentionPaidWithoutConfirm, "Pike paid without our confirm (auto-confirm?)", now)
	}
	m.enter(payout.StateSucceeded, now, "session accepted, payout succeeded")
}

// notPaid ends the payout: cancelled if that was decided, else failed.
func (m *machine) notPaid(now time.Time) {
	if m.session.Mismatch == "" {
		m.status.Attention = nil
	} else {
		m.raise(payout.AttentionMismatch, m.session.Mismatch, now)
	}
	if m.cancelDecided() {
		m.enter(payout.StateCancelled, now, "session cancelled, nothing paid")
		return
	}
	m.enter(payout.StateFailed, now, "session cancelled by Pike, nothing paid")
}

// mismatched: what Pike holds is not what was ordered. Before confirm that is cancelled, after it a person must look.
func (m *machine) mismatched(now time.Time) {
	m.raise(payout.AttentionMismatch, m.session.Mismatch, now)
	if m.confirmMayLive || !m.session.Phase.Cancellable() {
		m.hold(now, "mismatch with the order")
		return
	}
	if m.status.State == payout.StateCancelling {
		return
	}
	m.decide(payout.DecisionCancel, byMismatch, m.session.Mismatch, now)
	m.cancelNow(now)
}

// hold waits for a final state without acting; a payout that is being cancelled keeps that name.
func (m *machine) hold(now time.Time, why string) {
	if m.status.State != payout.StateCancelling {
		m.awaitResult(now, why)
	}
}

func (m *machine) awaitResult(now time.Time, why string) {
	if m.status.State == payout.StateAwaitingResult {
		return
	}
	m.enter(payout.StateAwaitingResult, now, why)
	m.setDeadline(now.Add(time.Duration(m.policy.ResultTimeout)))
}

// proceed moves on where the truth shows that the state's purpose is reached.
func (m *machine) proceed(now time.Time) {
	started := m.session.Phase == activities.PhaseInProgress || m.session.Phase == activities.PhaseReady
	if m.status.State == payout.StateStarting && started {
		m.startMayLive, m.refused = true, nil
		deadline := m.deadline
		m.enter(payout.StateAwaitingReady, now, "payout started")
		m.setDeadline(deadline)
	}
	isReady := m.session.Phase == activities.PhaseReady
	switch {
	case m.status.State == payout.StateAwaitingReady && isReady && !m.cancelDecided():
		m.ready(now, "status shows ready")
	case m.status.State == payout.StateConfirming && !isReady && m.confirmMayLive:
		m.clear(payout.AttentionConfirmUnknown)
		m.awaitResult(now, "status shows that the confirm arrived")
	case m.status.State == payout.StateConfirming && !isReady,
		m.status.State == payout.StateAwaitingDecision && !isReady:
		m.notReadyAfterAll(now)
	}
}

// notReadyAfterAll takes back what an early or forged ready_to_confirm brought about; nothing was sent.
func (m *machine) notReadyAfterAll(now time.Time) {
	if m.confirmDecided() && m.status.Decision.By == byAuto {
		m.status.Decision = nil
	}
	m.readyAt = time.Time{}
	readyBy := m.startedAt().Add(time.Duration(m.policy.ReadyTimeout))
	m.enter(payout.StateAwaitingReady, now, "status shows that Pike is not ready")
	m.setDeadline(readyBy)
}

func (m *machine) startedAt() time.Time {
	for _, transition := range m.status.Transitions {
		if transition.State == payout.StateStarting {
			return transition.At
		}
	}
	return m.status.UpdatedAt
}

// hint takes in a webhook. It moves nothing; it only brings the next status read forward (design §4.2).
func (m *machine) hint(event payout.Event) error {
	if event.SessionID != m.status.SessionID || event.SessionID == "" {
		return fmt.Errorf("event %s is for session %q, this payout has %q", event.Type, event.SessionID, m.status.SessionID)
	}
	m.hinted = true
	m.readyHinted = m.readyHinted || event.Type == payout.SignalReadyToConfirm
	return nil
}

// checkDecision says why a decision can't be taken, nil if it can.
func (m *machine) checkDecision(request payout.DecideRequest) error {
	switch {
	case m.status.State.Final():
		return fmt.Errorf("the payout has ended: %s", m.status.State)
	case m.status.Decision != nil:
		return fmt.Errorf("already decided: %s by %s", m.status.Decision.Value, m.status.Decision.By)
	case request.Decision == payout.DecisionConfirm && slices.Contains(m.approvedBy, request.By):
		return fmt.Errorf("%s has confirmed already; %d different people must", request.By, m.policy.Approvals)
	}
	return nil
}

// decideBy takes in a person's decision; a confirm counts once enough different people gave it.
func (m *machine) decideBy(request payout.DecideRequest, now time.Time) {
	m.status.UpdatedAt = now
	if request.Decision == payout.DecisionConfirm {
		m.approvedBy = append(m.approvedBy, request.By)
		if missing := m.policy.Approvals - len(m.approvedBy); missing > 0 {
			m.status.NextStep = fmt.Sprintf("%d more confirmation(s) needed; confirmed by %v", missing, m.approvedBy)
			return
		}
	}
	m.decide(request.Decision, request.By, request.Reason, now)
}

func (m *machine) decide(value, by, reason string, now time.Time) {
	m.status.Decision = &payout.Decision{Value: value, By: by, Reason: reason, At: now}
}

// errTooLate refuses a cancellation after the one-way door.
var errTooLate = errors.New("cancellation refused: the confirm is under way")

// cancelRequested takes in a Temporal cancellation. After confirm it is recorded as refused.
func (m *machine) cancelRequested(now time.Time) error {
	switch m.status.State {
	case payout.StateCreating, payout.StateStarting, payout.StateAwaitingReady, payout.StateAwaitingDecision:
		m.decide(payout.DecisionCancel, byCancellation, "", now)
	case payout.StateConfirming, payout.StateAwaitingResult:
		m.note(m.status.State, now, errTooLate.Error())
		return errTooLate
	}
	return nil
}

// attentionRank orders the reasons: only one is shown, the gravest.
var attentionRank = []payout.AttentionReason{
	payout.AttentionResultOverdue, payout.AttentionPikeUnreachable, payout.AttentionConfigRefused, payout.AttentionConfirmUnknown,
	payout.AttentionUnresolvedError, payout.AttentionPaidWithoutConfirm, payout.AttentionMismatch,
}

func (m *machine) raise(reason payout.AttentionReason, detail string, now time.Time) {
	current := m.status.Attention
	if current != nil && slices.Index(attentionRank, current.Reason) >= slices.Index(attentionRank, reason) {
		return
	}
	m.status.Attention = &payout.Attention{Reason: reason, Since: now, Detail: detail}
	m.status.UpdatedAt = now
}

func (m *machine) clear(reasons ...payout.AttentionReason) {
	if m.status.Attention != nil && slices.Contains(reasons, m.status.Attention.Reason) {
		m.status.Attention = nil
	}
}

// answered: Pike spoke to us.
func (m *machine) answered() {
	m.silentSince = time.Time{}
	m.clear(payout.AttentionPikeUnreachable, payout.AttentionConfigRefused)
}

// noteSilence raises attention at once when Pike refuses our configuration, after minutes when it does not answer.
func (m *machine) noteSilence(failure activities.Failure, now time.Time) {
	if failure.Config {
		m.raise(payout.AttentionConfigRefused, failure.Text, now)
		return
	}
	if failure.Error != nil {
		m.answered()
		return
	}
	if m.silentSince.IsZero() {
		m.silentSince = now
	}
	if now.Sub(m.silentSince) >= unreachableAfter {
		m.raise(payout.AttentionPikeUnreachable, failure.Text, now)
	}
}
