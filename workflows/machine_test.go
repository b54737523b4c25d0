package workflows

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"pikepayouts/activities"
	"pikepayouts/payout"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func testMachine(policy payout.Policy) *machine {
	return newMachine(payout.Request{PayoutID: "p1", AmountDetails: payout.AmountDetails{Amount: 1, Currency: "eur"}, Policy: policy}, epoch)
}

func session(phase activities.Phase) activities.Session {
	return activities.Session{ID: "ps_1", Phase: phase}
}

// inState brings a machine into a state by the shortest way.
func inState(t *testing.T, state payout.State, policy payout.Policy) *machine {
	m := testMachine(policy)
	advance := []func(){
		func() { m.created(session(activities.PhaseNotStarted), epoch) },
		func() { m.started(session(activities.PhaseInProgress), epoch) },
		func() { m.polled(session(activities.PhaseReady), epoch) },
		func() {
			m.confirmed(activities.SendResult{Session: session(activities.PhaseInProgress), Sent: true}, epoch)
		},
	}
	for _, step := range advance {
		if m.Status.State == state {
			return m
		}
		step()
	}
	require.Equal(t, state, m.Status.State)
	return m
}

func TestNext(t *testing.T) {
	auto, manual := payout.Policy{}, payout.Policy{Decision: payout.DecisionManual}
	unknown := activities.Failure{Outcome: activities.Unknown}
	notSent := activities.Failure{Outcome: activities.NotSent}
	settled := epoch.Add(settleDelay)
	tests := []struct {
		name      string
		state     payout.State
		policy    payout.Policy
		happens   func(m *machine)
		now       time.Time
		want      action
		wantState payout.State
	}{
		{"a new payout creates its session", payout.StateCreating, auto, nil, epoch, createSession, payout.StateCreating},
		{"create not sent waits", payout.StateCreating, auto, func(m *machine) { m.callFailed(createSession, notSent, epoch) }, epoch, wait, payout.StateCreating},
		{"a created session is started", payout.StateStarting, auto, nil, epoch, startPayout, payout.StateStarting},
		{"an unknown start waits", payout.StateStarting, auto, func(m *machine) { m.callFailed(startPayout, unknown, epoch) }, epoch, wait, payout.StateStarting},
		{"an unknown start is looked at after the settle delay", payout.StateStarting, auto,
			func(m *machine) { m.callFailed(startPayout, unknown, epoch) }, settled, readStatus, payout.StateStarting},
		{"a status read before the settle delay settles nothing", payout.StateStarting, auto, func(m *machine) {
			m.callFailed(startPayout, unknown, epoch)
			m.polled(session(activities.PhaseNotStarted), settled.Add(-time.Second))
		}, settled.Add(time.Hour), readStatus, payout.StateStarting},
		{"a start that is ok without a payout is not repeated at once", payout.StateStarting, auto,
			func(m *machine) { m.started(session(activities.PhaseNotStarted), epoch) }, epoch, wait, payout.StateStarting},
		{"a started payout waits", payout.StateAwaitingReady, auto, nil, epoch, wait, payout.StateAwaitingReady},
		{"a hint makes auto confirm, which reads first", payout.StateAwaitingReady, auto,
			func(m *machine) { m.hint(readyEvent, epoch) }, epoch, confirmSession, payout.StateConfirming},
		{"a hint makes manual read the status", payout.StateAwaitingReady, manual,
			func(m *machine) { m.hint(readyEvent, epoch) }, epoch, readStatus, payout.StateAwaitingReady},
		{"ready_timeout cancels", payout.StateAwaitingReady, auto, nil, epoch.Add(2 * time.Hour), cancelSession, payout.StateCancelling},
		{"ready waits for people", payout.StateAwaitingDecision, manual, nil, epoch, wait, payout.StateAwaitingDecision},
		{"decision_timeout cancels", payout.StateAwaitingDecision, manual, nil, epoch.Add(45 * time.Minute), cancelSession, payout.StateCancelling},
		{"a confirm not sent is not repeated after confirm_timeout", payout.StateConfirming, auto,
			func(m *machine) { m.callFailed(confirmSession, notSent, epoch) }, epoch.Add(55 * time.Minute), cancelSession, payout.StateCancelling},
		{"an unknown confirm is never cancelled", payout.StateConfirming, auto, func(m *machine) {
			m.callFailed(confirmSession, unknown, epoch)
			m.polled(session(activities.PhaseReady), settled)
		}, epoch.Add(55 * time.Minute), readStatus, payout.StateConfirming},
		{"a webhook during the wait for the result reads the status", payout.StateAwaitingResult, auto,
			func(m *machine) { m.hint(readyEvent, epoch) }, epoch, readStatus, payout.StateAwaitingResult},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := inState(t, tt.state, tt.policy)
			if tt.happens != nil {
				tt.happens(m)
			}
			require.Equal(t, tt.want, m.next(tt.now).do)
			require.Equal(t, tt.wantState, m.Status.State)
		})
	}
}

var readyEvent = payout.Event{Type: payout.SignalReadyToConfirm, SessionID: "ps_1"}

func TestFinalStatesAbsorb(t *testing.T) {
	m := inState(t, payout.StateAwaitingResult, payout.Policy{})
	m.polled(session(activities.PhasePaid), epoch)
	require.Equal(t, finish, m.next(epoch).do)
	require.Error(t, m.checkDecision(payout.DecideRequest{Decision: payout.DecisionCancel, By: "ann"}))
	require.NoError(t, m.cancelRequested(epoch))
	require.Equal(t, payout.StateSucceeded, m.Status.State)
}

func TestEveryMoveIsTakenOnce(t *testing.T) {
	m := inState(t, payout.StateAwaitingReady, payout.Policy{})
	require.Equal(t, []move{
		{"", payout.StateCreating}, {payout.StateCreating, payout.StateStarting}, {payout.StateStarting, payout.StateAwaitingReady},
	}, m.takeMoves())
	require.Empty(t, m.takeMoves())

	noted := len(m.Status.Transitions)
	for range 2 { // confirming comes and goes, and leaves no trace
		m.hint(readyEvent, epoch)
		m.call(t, confirmSession, epoch)
		m.confirmed(activities.SendResult{Session: session(activities.PhaseInProgress)}, epoch)
		require.Len(t, m.Status.Transitions, noted)
	}
	toConfirming := move{payout.StateAwaitingReady, payout.StateConfirming}
	require.Equal(t, []move{toConfirming, toConfirming}, m.takeMoves())

	m = inState(t, payout.StateConfirming, payout.Policy{})
	m.takeMoves()
	require.ErrorIs(t, m.cancelRequested(epoch), errTooLate)
	require.Equal(t, []move{{payout.StateConfirming, payout.StateConfirming}}, m.takeMoves(), "a refused cancellation is noted, too")
}

func TestEveryRankedReasonIsPublic(t *testing.T) {
	require.Subset(t, payout.AttentionReasons(), attentionRank)
}

func TestTheGravestAttentionIsShown(t *testing.T) {
	m := testMachine(payout.Policy{})
	m.raise(payout.AttentionPikeUnreachable, "a", epoch)
	m.raise(payout.AttentionMismatch, "b", epoch)
	m.raise(payout.AttentionResultOverdue, "c", epoch)
	require.Equal(t, payout.AttentionMismatch, m.Status.Attention.Reason)
}

// call lets a machine make a call at a time, as the workflow does.
func (m *machine) call(t *testing.T, want action, now time.Time) {
	t.Helper()
	require.Equal(t, want, m.next(now).do)
	m.calling(want, now)
}

func TestACancellationOutlivesAConfirmThatIsTakenBack(t *testing.T) {
	m := inState(t, payout.StateAwaitingReady, payout.Policy{})
	m.hint(readyEvent, epoch) // early, stale or forged
	m.call(t, confirmSession, epoch)
	require.ErrorIs(t, m.cancelRequested(epoch), errTooLate)
	m.confirmed(activities.SendResult{Session: session(activities.PhaseInProgress)}, epoch)
	require.Equal(t, cancelSession, m.next(epoch).do)
}

func TestADecisionDuringSessionErrorIsActedOnOnceTheSessionLivesAgain(t *testing.T) {
	for decision, want := range map[string]action{payout.DecisionConfirm: confirmSession, payout.DecisionCancel: cancelSession} {
		m := inState(t, payout.StateAwaitingReady, payout.Policy{Decision: payout.DecisionManual})
		m.polled(session(activities.PhaseUnresolved), epoch)
		require.Equal(t, payout.StateAwaitingResult, m.Status.State)
		m.decideBy(payout.DecideRequest{Decision: decision, By: "ann"}, epoch)
		m.polled(session(activities.PhaseReady), epoch)
		require.Equal(t, want, m.next(epoch).do)
	}
}

// TestErrorCodesForEverRaiseAttention: answers that help nobody are no better than silence (hazard L2).
func TestErrorCodesForEverRaiseAttention(t *testing.T) {
	failure := activities.Failure{Outcome: activities.Unknown, Error: &payout.Error{Code: "internal_error"}}
	for _, state := range []payout.State{payout.StateCreating, payout.StateStarting, payout.StateConfirming} {
		m := inState(t, state, payout.Policy{})
		calls, now := 0, epoch
		for now.Before(epoch.Add(7 * 24 * time.Hour)) {
			next := m.next(now)
			if next.do == wait {
				now = next.until
				continue
			}
			calls++
			m.calling(next.do, now)
			m.callFailed(next.do, failure, now)
		}
		require.NotNil(t, m.Status.Attention, "a week in %s", state)
		require.GreaterOrEqual(t, calls, 7*24-5, "at least hourly")
		require.Less(t, calls, 260, "backed off to hourly: 11 events each")
		require.Equal(t, "internal_error", m.Status.Error.Code)
	}
}

// TestACancelledResetLooksFirst: an earlier run may have done what this history no longer shows (hazard A11).
func TestACancelledResetLooksFirst(t *testing.T) {
	m := inState(t, payout.StateStarting, payout.Policy{})
	require.NoError(t, m.cancelRequested(epoch))
	m.call(t, cancelSession, epoch)
	m.callFailed(cancelSession, activities.Failure{Outcome: activities.NotSent}, epoch)
	require.Equal(t, wait, m.next(epoch).do, "nobody has looked in this run")

	m.calling(cancelSession, epoch)
	earlier := session(activities.PhasePaid)
	earlier.Reset = true
	m.cancelled(activities.SendResult{Session: earlier}, epoch)
	require.Equal(t, payout.StateSucceeded, m.Status.State)
	require.Nil(t, m.Status.Attention)
}

// TestAReadCountsFromWhenItWasAskedFor: its answer may have waited for a worker.
func TestAReadCountsFromWhenItWasAskedFor(t *testing.T) {
	m := inState(t, payout.StateStarting, payout.Policy{})
	m.call(t, startPayout, epoch)
	m.callFailed(startPayout, activities.Failure{Outcome: activities.Unknown}, epoch)
	m.hint(readyEvent, epoch)
	m.call(t, readStatus, epoch.Add(time.Second))
	late := epoch.Add(settleDelay + time.Second)
	m.polled(session(activities.PhaseNotStarted), late)
	for now := late; ; {
		next := m.next(now)
		if next.do != wait {
			require.Equal(t, readStatus, next.do)
			return
		}
		now = next.until
	}
}

// TestAfterAnOutageSomebodyLooksSoon: the long gaps of the outage end with it (hazard L1).
func TestAfterAnOutageSomebodyLooksSoon(t *testing.T) {
	m := inState(t, payout.StateAwaitingReady, payout.Policy{ReadyTimeout: payout.Duration(6 * time.Hour)})
	back := epoch.Add(40 * time.Minute)
	var lastRead time.Time
	for now := epoch; now.Before(epoch.Add(150 * time.Minute)); {
		next := m.next(now)
		if next.do == wait {
			now = next.until
			continue
		}
		m.calling(next.do, now)
		if now.Before(back) {
			m.callFailed(next.do, activities.Failure{Outcome: activities.Unknown}, now)
			continue
		}
		if !lastRead.IsZero() {
			require.LessOrEqual(t, now.Sub(lastRead), maxPollGap)
		}
		lastRead = now
		m.polled(session(activities.PhaseInProgress), now)
		require.Nil(t, m.Status.Attention)
	}
}

func TestNothingIsConfirmedLongAfterReadyTimeout(t *testing.T) {
	m := inState(t, payout.StateAwaitingReady, payout.Policy{})
	m.polled(session(activities.PhaseUnresolved), epoch)
	later := epoch.Add(72 * time.Hour) // support brings the session back to life
	m.polled(session(activities.PhaseReady), later)
	require.Equal(t, cancelSession, m.next(later).do)
}

func TestADecisionIsRefusedWhereItCouldNotBeActedOn(t *testing.T) {
	m := inState(t, payout.StateAwaitingReady, payout.Policy{Decision: payout.DecisionManual})
	unresolved := session(activities.PhaseUnresolved)
	unresolved.Reset = true // an earlier run may have confirmed
	m.polled(unresolved, epoch)
	require.ErrorContains(t, m.checkDecision(payout.DecideRequest{Decision: payout.DecisionCancel, By: "ann"}), "may be under way")
	require.NotContains(t, m.actions(epoch), payout.ActionCancel)
}

func TestACancelGoesOutWhenPikeBecomesReady(t *testing.T) {
	m := inState(t, payout.StateAwaitingReady, payout.Policy{})
	require.NoError(t, m.cancelRequested(epoch))
	m.call(t, cancelSession, epoch)
	m.cancelled(activities.SendResult{Session: session(activities.PhaseInProgress)}, epoch) // not yet: session_wrong_state
	m.hint(readyEvent, epoch)
	m.call(t, readStatus, epoch.Add(time.Second))
	m.polled(session(activities.PhaseReady), epoch.Add(time.Second))
	require.Equal(t, cancelSession, m.next(epoch.Add(time.Second)).do)
	require.Nil(t, m.Status.Attention)
}

func TestARepeatedForgedHintLeavesNoTrace(t *testing.T) {
	m := inState(t, payout.StateAwaitingReady, payout.Policy{})
	before := len(m.Status.Transitions)
	for range 100 {
		m.hint(readyEvent, epoch)
		m.call(t, confirmSession, epoch)
		m.confirmed(activities.SendResult{Session: session(activities.PhaseInProgress)}, epoch)
	}
	require.Len(t, m.Status.Transitions, before)
	require.Equal(t, payout.StateAwaitingReady, m.Status.State)
}

func TestTheNamesOfAllApproversAreKept(t *testing.T) {
	m := testMachine(payout.Policy{Decision: payout.DecisionManual, Approvals: 2})
	for _, by := range []string{"ann", "bob"} {
		m.decideBy(payout.DecideRequest{Decision: payout.DecisionConfirm, By: by}, epoch)
	}
	require.Equal(t, "ann, bob", m.Status.Decision.By)
}

func TestOnePersonIsOneApproval(t *testing.T) {
	m := testMachine(payout.Policy{Decision: payout.DecisionManual, Approvals: 2})
	m.decideBy(payout.DecideRequest{Decision: payout.DecisionConfirm, By: "ann"}, epoch)
	require.Error(t, m.checkDecision(payout.DecideRequest{Decision: payout.DecisionConfirm, By: "Ann "}))
}

// worstPike is a model of the least helpful Pike that the rules allow for: a
// second start adds a payout, every confirm pays, an unknown call may take
// effect later, status lags, webhooks come at random. It counts what it did.
type worstPike struct {
	t       *rapid.T
	now     time.Time
	lag     time.Duration
	pending []effect
	views   []view

	starts, movements      int
	startedAt, confirmedAt time.Time
	declines               bool
	cancelled              bool
}

type effect struct {
	at    time.Time
	apply func()
}

type view struct {
	at    time.Time
	phase activities.Phase
}

// maxInFlight and the lag together stay below the settle delay: that is what the delay is for.
const (
	maxInFlight = 25 * time.Second
	maxLag      = 60 * time.Second
	checks      = 3 * time.Minute
	processing  = 2 * time.Minute
	pikeWindow  = 240 * time.Minute
)

func (p *worstPike) ended() bool {
	return p.phase() == activities.PhasePaid || p.phase() == activities.PhaseNotPaid
}

func (p *worstPike) phase() activities.Phase {
	switch {
	case p.cancelled:
		return activities.PhaseNotPaid
	case p.movements > 0 && !p.now.Before(p.confirmedAt.Add(processing)):
		return activities.PhasePaid
	case p.movements > 0:
		return activities.PhaseInProgress
	case p.starts == 0:
		return activities.PhaseNotStarted
	case p.now.Before(p.startedAt.Add(checks)):
		return activities.PhaseInProgress
	case p.declines || p.now.After(p.startedAt.Add(pikeWindow)):
		return activities.PhaseNotPaid
	}
	return activities.PhaseReady
}

// to lets time pass: calls in flight arrive, and the lagging view is recorded.
func (p *worstPike) to(now time.Time) {
	for len(p.pending) > 0 && !p.pending[0].at.After(now) {
		p.now = p.pending[0].at
		p.pending[0].apply()
		p.pending = p.pending[1:]
		p.see()
	}
	p.now = now
	p.see()
}

func (p *worstPike) see() { p.views = append(p.views, view{p.now, p.phase()}) }

func (p *worstPike) read() activities.Session {
	seen := activities.PhaseNotStarted
	for _, v := range p.views {
		if !v.at.After(p.now.Add(-p.lag)) || v.phase == activities.PhasePaid || v.phase == activities.PhaseNotPaid {
			seen = v.phase
		}
	}
	return session(seen)
}

func (p *worstPike) start() {
	p.starts++
	p.startedAt = p.now
}

func (p *worstPike) confirm() {
	if p.phase() == activities.PhaseReady || p.movements > 0 {
		p.movements++
		p.confirmedAt = p.now
	}
}

func (p *worstPike) cancel() {
	if p.movements == 0 && !p.ended() {
		p.cancelled = true
	}
}

var errUnknown = errors.New("unknown")

// send draws what becomes of a call: done, not sent, or unknown, and then never, now or later.
func (p *worstPike) send(faults bool, work func()) error {
	if !faults {
		work()
		p.see()
		return nil
	}
	switch rapid.SampledFrom([]string{"done", "not sent", "lost answer", "lost request", "late"}).Draw(p.t, "answer") {
	case "done":
		work()
	case "not sent":
		return errNotSent
	case "lost answer":
		work()
		p.see()
		return errUnknown
	case "lost request":
		return errUnknown
	case "late":
		p.pending = append(p.pending, effect{p.now.Add(rapid.SampledFrom([]time.Duration{time.Second, maxInFlight}).Draw(p.t, "late")), work})
		return errUnknown
	}
	p.see()
	return nil
}

var errNotSent = errors.New("not sent")

func failureOf(t *rapid.T, err error) activities.Failure {
	failure := activities.Failure{Outcome: activities.Unknown}
	if errors.Is(err, errNotSent) {
		failure.Outcome = activities.NotSent
	}
	if rapid.Bool().Draw(t, "with a code") {
		failure.Error = &payout.Error{Code: "internal_error"}
	}
	return failure
}

// execute is what the activities do, over the model. An answer takes its time,
// in which webhooks and people go on.
func (p *worstPike) execute(m *machine, call action, faults bool) {
	m.calling(call, p.now)
	answer, err := p.answer(m, call, faults)
	if faults {
		p.to(p.now.Add(rapid.SampledFrom([]time.Duration{0, time.Second, moneyStartToClose}).Draw(p.t, "latency")))
		p.disturb(m)
	}
	if err != nil {
		m.callFailed(call, failureOf(p.t, err), p.now)
		return
	}
	answer()
}

// answer makes the call and returns how the machine takes it in.
func (p *worstPike) answer(m *machine, call action, faults bool) (func(), error) {
	sent := activities.SendResult{Session: session(activities.PhaseInProgress), Sent: true}
	switch call {
	case createSession:
		return func() { m.created(session(activities.PhaseNotStarted), p.now) }, p.send(faults, func() {})
	case adoptSession:
		return func() { m.created(activities.Session{}, p.now) }, p.send(faults, func() {})
	case startPayout:
		return func() { m.started(session(activities.PhaseInProgress), p.now) }, p.send(faults, p.start)
	case confirmSession:
		if seen := p.read(); seen.Phase != activities.PhaseReady {
			return func() { m.confirmed(activities.SendResult{Session: seen}, p.now) }, nil
		}
		return func() { m.confirmed(sent, p.now) }, p.send(faults, p.confirm)
	case cancelSession:
		if seen := p.read(); !seen.Phase.Cancellable() {
			return func() { m.cancelled(activities.SendResult{Session: seen}, p.now) }, nil
		}
		return func() { m.cancelled(sent, p.now) }, p.send(faults, p.cancel)
	}
	seen := p.read()
	return func() { m.polled(seen, p.now) }, p.send(faults, func() {})
}

// TestMachineAgainstTheWorstPike is the promise in one property: never two
// starts in a session, never two movements, and the end is what Pike says.
func TestMachineAgainstTheWorstPike(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		policy := payout.Policy{Decision: rapid.SampledFrom([]string{payout.DecisionAuto, payout.DecisionManual}).Draw(t, "policy")}
		p := &worstPike{t: t, now: epoch, declines: rapid.Bool().Draw(t, "declines"),
			lag: rapid.SampledFrom([]time.Duration{0, maxLag}).Draw(t, "lag")}
		m := testMachine(policy)
		faulty := rapid.IntRange(0, 40).Draw(t, "faulty steps")
		var moves []move
		for i := 0; i < 400 && !m.Status.State.Final(); i++ {
			faults := i < faulty
			if faults {
				p.disturb(m)
			}
			next := m.next(p.now)
			moves = append(moves, m.takeMoves()...)
			if next.do == wait && rapid.IntRange(0, 9).Draw(t, "continue as new") == 0 {
				m = continuedAsNew(t, m)
			}
			if next.do != wait {
				p.execute(m, next.do, faults)
			} else {
				require.True(t, next.until.After(p.now), "a wait must end in the future")
				p.to(next.until)
			}
			require.LessOrEqual(t, p.starts, 1, "starts")
			require.LessOrEqual(t, p.movements, 1, "movements")
		}
		require.True(t, m.Status.State.Final(), "still %s", m.Status.State)
		requirePath(t, append(moves, m.takeMoves()...), m.Status)
		p.to(p.now.Add(24 * time.Hour))
		paid := p.phase() == activities.PhasePaid
		require.Equal(t, paid, m.Status.State == payout.StateSucceeded, "ended %s, Pike says %s", m.Status.State, p.phase())
	})
}

// requirePath: no move is missing and none is taken twice, over all runs.
func requirePath(t *rapid.T, moves []move, status payout.Status) {
	var at payout.State
	var noted []payout.State
	for _, m := range moves {
		if at == payout.StateConfirming && m.from == payout.StateAwaitingReady { // taken back, with its trace
			noted = noted[:len(noted)-1]
			at = m.from
		}
		require.Equal(t, at, m.from, "%v", moves)
		at = m.to
		noted = append(noted, m.to)
	}
	shown := []payout.State{}
	for _, transition := range status.Transitions {
		shown = append(shown, transition.State)
	}
	require.Equal(t, shown, noted)
}

// continuedAsNew is what the next run gets to know.
func continuedAsNew(t *rapid.T, m *machine) *machine {
	encoded, err := json.Marshal(m)
	require.NoError(t, err)
	var next *machine
	require.NoError(t, json.Unmarshal(encoded, &next))
	require.Equal(t, m, next)
	return next
}

// disturb lets people and webhooks, genuine or forged, come at any time.
func (p *worstPike) disturb(m *machine) {
	switch rapid.SampledFrom([]string{"", "", "hint", "confirm", "cancel", "temporal cancel", "time"}).Draw(p.t, "event") {
	case "hint":
		m.hint(readyEvent, epoch)
	case "confirm", "cancel":
		decision := payout.DecideRequest{Decision: rapid.SampledFrom([]string{payout.DecisionConfirm, payout.DecisionCancel}).Draw(p.t, "decision"), By: "ann"}
		if m.checkDecision(decision) == nil {
			m.decideBy(decision, p.now)
		}
	case "temporal cancel":
		_ = m.cancelRequested(p.now)
	case "time":
		p.to(p.now.Add(rapid.SampledFrom([]time.Duration{time.Second, time.Minute, time.Hour}).Draw(p.t, "passes")))
	}
}

// TestBackoffOutlivesASingleFailure: where one call in five fails, a payout that waits for days
// must still poll ever less often; only an answer after an outage brings the next poll forward.
func TestBackoffOutlivesASingleFailure(t *testing.T) {
	m := inState(t, payout.StateAwaitingResult, payout.Policy{})
	var now time.Time
	for range 10 {
		now = m.NextCall
		m.polled(session(activities.PhaseInProgress), now)
	}
	require.Equal(t, maxPollGap, m.Gap)
	now = m.NextCall
	m.callFailed(readStatus, activities.Failure{Outcome: activities.Unknown}, now)
	m.polled(session(activities.PhaseInProgress), now.Add(time.Second))
	require.Equal(t, maxPollGap, m.Gap, "after one failure")

	m.callFailed(readStatus, activities.Failure{Outcome: activities.Unknown}, now)
	m.polled(session(activities.PhaseInProgress), now.Add(unreachableAfter))
	require.Equal(t, now.Add(unreachableAfter+30*time.Second), m.NextCall, "after an outage")
}
