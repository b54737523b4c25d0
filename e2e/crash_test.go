package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"

	"pikepayouts/payout"
	"pikepayouts/pikesim"
	"pikepayouts/worker"
)

// matrix is what became of the payouts of a test, each of which was hit somewhere else.
type matrix struct {
	hitting chan struct{}

	mu    sync.Mutex // guards cells
	cells []cell
}

// hittingAtOnce is how many payouts of a matrix are on their way to the hit: processes all starting at
// once starve the server, and then everything comes too late.
const hittingAtOnce = 6

// cell is one payout that was hit.
type cell struct {
	number int // orders the table
	name   string
	// missed says why the payout was hit somewhere else than the name says, empty if it was hit there.
	missed                    string
	state                     payout.State
	starts, confirms, payings int
	recovery                  time.Duration // from the hit to the end
}

// newMatrix prints the table once all cells have ended.
func newMatrix(t *testing.T) *matrix {
	m := &matrix{hitting: make(chan struct{}, hittingAtOnce)}
	t.Cleanup(func() { t.Log(m.table()) })
	return m
}

// hit starts a payout and hits it; few cells do so at once. It returns when the payout was hit.
func (m *matrix) hit(do func()) time.Time {
	m.hitting <- struct{}{}
	defer func() { <-m.hitting }()
	do()
	return time.Now()
}

func (m *matrix) add(c cell) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.cells = append(m.cells, c)
}

func (m *matrix) table() string {
	slices.SortStableFunc(m.cells, func(a, b cell) int { return a.number - b.number })
	var text strings.Builder
	fmt.Fprintf(&text, "%d payouts were hit\n", len(m.cells))
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "hit\tend\tstarts\tconfirms\tmovements\trecovery\t")
	for _, c := range m.cells {
		missed := ""
		if c.missed != "" {
			missed = "MISSED: " + c.missed
		}
		_, _ = fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%.1fs\t%s\n", c.name, c.state, c.starts, c.confirms, c.payings, c.recovery.Seconds(), missed)
	}
	_ = w.Flush()
	return text.String()
}

// judge waits for the end of a payout that was hit at that time. Pike's ledger says whether it is right.
func (m *matrix) judge(s *stack, r payout.Request, c cell, hitAt time.Time) payout.Status {
	s.t.Helper()
	defer func() { m.add(c) }()
	status, err := s.starter.Wait(testContext(s.t), r.PayoutID)
	require.NoError(s.t, err)
	c.state, c.starts, c.confirms = status.State, s.calls(r, "session/start/payout"), s.calls(r, "session/confirm")
	c.payings, c.recovery = len(s.ledger(r).Movements), max(0, s.endedAt(r).Sub(hitAt))
	s.agreesWithLedger(r, status)
	require.LessOrEqual(s.t, c.starts, 1)
	require.LessOrEqual(s.t, c.confirms, 1)
	return status
}

func (s *stack) endedAt(r payout.Request) time.Time {
	s.t.Helper()
	description, err := shared.temporal.DescribeWorkflowExecution(testContext(s.t), payout.WorkflowID(r.PayoutID), "")
	require.NoError(s.t, err)
	return description.GetWorkflowExecutionInfo().GetCloseTime().AsTime()
}

// newUnhelpfulStack has a Pike that leaves everything to our own guards: it ignores idempotency
// keys, a second start adds a payout, and every confirm pays. It takes its time, so that no
// webhook comes between the moment for which a test waits and the hit.
func newUnhelpfulStack(t *testing.T) *stack {
	t.Helper()
	s := newStack(t, stackOptions{noWorker: true, keysOff: true, timing: pikesim.Timing{Checks: 2 * time.Second, Processing: 2 * time.Second}})
	s.control("modes", `{"second_start":"add_payout","second_confirm":"pay_again"}`)
	return s
}

// undisturbed is the history of a happy payout to which nothing happened: on a busy machine something may, such as a poll.
func (s *stack) undisturbed(t *testing.T) []*historypb.HistoryEvent {
	t.Helper()
	own := s.apart(t)
	own.startWorker("")
	for range tries {
		r := happyOrder(t)
		require.Equal(t, payout.StateSucceeded, own.pay(r).State)
		if events := own.history(r); len(events) <= maxHappyEvents {
			return events
		}
	}
	require.Fail(t, "the machine is too busy for a payout to which nothing happens")
	return nil
}

func happyOrder(t *testing.T) payout.Request {
	return order(t, pikesim.PresetConfirmed, polling(30*time.Second))
}

// quicklyPolled is ready before its first poll, and polled soon where a webhook was used up.
func quicklyPolled(t *testing.T) payout.Request {
	return order(t, pikesim.PresetConfirmed, polling(12*time.Second))
}

// play plays a cell until the payout was hit where the cell says: something else may always happen in between.
func (s *stack) play(t *testing.T, hit func(own *stack) (missed string)) {
	t.Helper()
	for try := 1; ; try++ {
		missed := hit(s.apart(t))
		if missed == "" {
			return
		}
		require.Less(t, try, tries, "never hit there: %s", missed)
	}
}

const tries = 5

// TestWorkerKilledAfterEveryEvent kills a worker process right after each event of a happy
// payout, and starts another one (hazard F01).
func TestWorkerKilledAfterEveryEvent(t *testing.T) {
	t.Parallel()
	s := newUnhelpfulStack(t)
	model := s.undisturbed(t)
	m := newMatrix(t)
	for i, event := range model {
		name := fmt.Sprintf("event %d %s", i+1, event.GetEventType())
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s.play(t, func(own *stack) string {
				return own.killAt(m, cell{number: i, name: name}, momentAfter(model, i+1), model)
			})
		})
	}
}

// killAt kills the worker of a happy payout at the moment. It says why the kill was at another one, "" if it was not.
func (s *stack) killAt(m *matrix, c cell, at moment, model []*historypb.HistoryEvent) string {
	s.t.Helper()
	r := happyOrder(s.t)
	environment := workerEnvironment(s.t, s, s.simURL)
	hitAt := m.hit(func() {
		s.start(r)
		point := newCheckpoint(s.t, r, at)
		first := startProcess(s.t, append(environment, "TEMPORAL_ADDRESS="+newLine(s.t, point.admit)), "worker")
		reached := point.reached(s.t)
		require.True(s.t, first.kill(), "the worker was gone before")
		c.missed = s.missed(r, at, reached, model)
	})
	startProcess(s.t, environment, "worker")
	require.Equal(s.t, payout.StateSucceeded, m.judge(s, r, c, hitAt).State)
	return c.missed
}

// TestWorkerKilledInEveryCall kills a worker process in each phase of each call of Pike (hazard F02).
func TestWorkerKilledInEveryCall(t *testing.T) {
	t.Parallel()
	everyPhase := []phase{phaseNotArrived, phaseUnanswered, phaseAnswered}
	calls := []struct {
		heldCall
		phases []phase
	}{
		{heldCall{method: "session/create", nth: 1, activity: "CreateSession"}, everyPhase},
		{heldCall{method: "session/start/payout", nth: 1, activity: "StartPayout"}, everyPhase},
		{heldCall{method: "session/status", nth: 1, activity: "ConfirmSession"}, everyPhase[:2]}, // once answered, confirm follows
		{heldCall{method: "session/confirm", nth: 1, activity: "ConfirmSession"}, everyPhase},
		{heldCall{method: "session/status", nth: 2, activity: "SessionStatus"}, everyPhase},
		{heldCall{method: "session/cancel", nth: 1, activity: "CancelSession"}, everyPhase},
	}
	s := newUnhelpfulStack(t)
	m := newMatrix(t)
	number := 0
	for _, call := range calls {
		for _, call.phase = range call.phases {
			number++
			c := cell{number: number, name: fmt.Sprintf("%s in %s, %s", call.method, call.activity, call.phase)}
			held := call.heldCall
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				s.play(t, func(own *stack) string { return own.killInCall(m, c, held) })
			})
		}
	}
}

// killInCall kills the worker of a payout in the call. It says why the kill was elsewhere, "" if it was not.
func (s *stack) killInCall(m *matrix, c cell, call heldCall) string {
	s.t.Helper()
	cancel := call.method == "session/cancel"
	r, want := quicklyPolled(s.t), payout.StateSucceeded
	if cancel {
		manual(&r)
		want = payout.StateCancelled
	}
	g := newGate(s.t, s.simURL)
	environment := workerEnvironment(s.t, s, g.url)
	hitAt := m.hit(func() {
		var silence silence
		call.answering = silence.begin
		held := g.hold(call)
		first := startProcess(s.t, append(environment, "TEMPORAL_ADDRESS="+newLine(s.t, silence.admit)), "worker")
		s.start(r)
		if cancel {
			s.eventually(r, payout.StateAwaitingDecision)
			_, err := s.starter.Cancel(testContext(s.t), r.PayoutID, "ann", "")
			require.NoError(s.t, err)
		}
		reached := held.wasReached()
		require.True(s.t, first.kill(), "the worker was gone before")
		c.missed = s.missedCall(r, call, reached)
	})
	startProcess(s.t, environment, "worker")
	require.Equal(s.t, want, m.judge(s, r, c, hitAt).State)
	return c.missed
}

// missedCall says why a payout is not in the call, "" if it is: as often as that Pike has
// carried it out, and the activity that made it has not reported.
func (s *stack) missedCall(r payout.Request, call heldCall, reached bool) string {
	s.t.Helper()
	worked := call.nth
	if call.phase == phaseNotArrived {
		worked--
	}
	pending := s.pendingActivity(r)
	switch activity := pending.GetActivityType().GetName(); {
	case !reached:
		return "the call never came"
	case s.calls(r, call.method) != worked:
		return fmt.Sprintf("Pike has carried it out %d times", s.calls(r, call.method))
	case activity != call.activity || pending.GetState() != enumspb.PENDING_ACTIVITY_STATE_STARTED:
		return fmt.Sprintf("the activity is %s, %s", activity, pending.GetState())
	}
	return ""
}

// silence is an admission that holds the reports of activities once it has begun.
type silence struct{ begun atomic.Bool }

func (s *silence) begin() { s.begun.Store(true) }

func (s *silence) admit(ctx context.Context, call string, _ frame, send send) error {
	if s.begun.Load() && strings.HasPrefix(call, "RespondActivityTask") {
		<-ctx.Done()
		return ctx.Err()
	}
	_, err := send(ctx)
	return err
}

// TestWorkerKilledWhileAPersonDecides: the decision is taken by another worker.
func TestWorkerKilledWhileAPersonDecides(t *testing.T) {
	t.Parallel()
	s := newUnhelpfulStack(t)
	environment := workerEnvironment(t, s, s.simURL)
	first := startProcess(t, environment, "worker")
	r := order(t, pikesim.PresetConfirmed, manual, polling(time.Hour))
	s.start(r)
	s.eventually(r, payout.StateAwaitingDecision)
	require.True(t, first.kill(), "the worker was gone before")
	startProcess(t, environment, "worker")
	_, err := s.starter.Confirm(testContext(t), r.PayoutID, "ann", "")
	require.NoError(t, err)
	require.Equal(t, payout.StateSucceeded, newMatrix(t).judge(s, r, cell{name: "awaiting_decision"}, time.Now()).State)
}

// TestCancellationAtEveryMoment cancels a happy payout through Temporal between any two of its
// transactions, and while each activity is in flight (hazards A18, F49).
func TestCancellationAtEveryMoment(t *testing.T) {
	t.Parallel()
	s := newUnhelpfulStack(t)
	model := s.undisturbed(t)
	m := newMatrix(t)
	for i, at := range openMoments(model) {
		name := fmt.Sprintf("event %d %s", at.events, model[at.events-1].GetEventType())
		if at.inFlight {
			name += ", in flight"
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s.play(t, func(own *stack) string { return own.cancelAt(m, cell{number: i, name: name}, at, model) })
		})
	}
}

// openMoments are the moments of a history until the payout has ended.
func openMoments(model []*historypb.HistoryEvent) []moment {
	var moments []moment
	for n := 1; n < len(model); n++ {
		if at := momentAfter(model, n); at.events < len(model) && !slices.Contains(moments, at) {
			moments = append(moments, at)
		}
	}
	return moments
}

func (s *stack) cancelAt(m *matrix, c cell, at moment, model []*historypb.HistoryEvent) string {
	s.t.Helper()
	r := happyOrder(s.t)
	var point *checkpoint
	hitAt := m.hit(func() {
		s.start(r)
		point = newCheckpoint(s.t, r, at)
		s.startWorkerThrough(newLine(s.t, point.admit))
		c.missed = s.missed(r, at, point.reached(s.t), model)
		if c.missed == "" {
			require.NoError(s.t, shared.temporal.CancelWorkflow(testContext(s.t), payout.WorkflowID(r.PayoutID), ""))
		}
	})
	point.lift(s.t, at.inFlight && c.missed == "")
	status := m.judge(s, r, c, hitAt)
	if s.calls(r, "session/confirm") == 0 {
		require.Equal(s.t, payout.StateCancelled, status.State)
		return c.missed
	}
	require.Equal(s.t, payout.StateSucceeded, status.State)
	require.Equal(s.t, payout.DecisionConfirm, status.Decision.Value, "a cancellation was taken after the one-way door")
	require.False(s.t, s.confirmedAfterCancellation(r), "a confirm was scheduled though the cancellation was known")
	return c.missed
}

func (s *stack) startWorkerThrough(address string) {
	s.t.Helper()
	temporal, err := dialTemporal(address)
	require.NoError(s.t, err)
	s.t.Cleanup(temporal.Close)
	w := worker.New(temporal, s.workerOptions(s.pikeClient("")))
	require.NoError(s.t, w.Start())
	s.t.Cleanup(w.Stop)
}

// confirmedAfterCancellation says whether ConfirmSession was scheduled after the cancellation came.
func (s *stack) confirmedAfterCancellation(r payout.Request) bool {
	cancelled := false
	for _, event := range s.history(r) {
		cancelled = cancelled || event.GetEventType() == enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_CANCEL_REQUESTED
		if cancelled && event.GetActivityTaskScheduledEventAttributes().GetActivityType().GetName() == "ConfirmSession" {
			return true
		}
	}
	return false
}

// TestWorkerStoppedDuringConfirmEndsTheCall: Pike takes 20 s, and the worker that is told to stop waits for it (hazards A17, F03).
func TestWorkerStoppedDuringConfirmEndsTheCall(t *testing.T) {
	t.Parallel()
	s := newUnhelpfulStack(t)
	r := order(t, pikesim.PresetConfirmed, polling(time.Hour))
	s.behave(r, `{"faults":[{"call":"confirm","kind":"late","delay":"20s"}]}`)
	environment := workerEnvironment(t, s, s.simURL)
	first := startProcess(t, environment, "worker")
	s.start(r)
	require.Eventually(t, func() bool { return s.calls(r, "session/confirm") == 1 }, time.Minute, 10*time.Millisecond)
	stoppedAt := time.Now()
	require.Zero(t, first.terminate())
	require.Nil(t, s.pendingActivity(r), "the worker reported before it ended")
	startProcess(t, environment, "worker")
	require.Equal(t, payout.StateSucceeded, newMatrix(t).judge(s, r, cell{name: "SIGTERM while Pike works on session/confirm"}, stoppedAt).State)
	require.Equal(t, []string{"CreateSession", "StartPayout", "ConfirmSession", "SessionStatus"}, s.activitiesDone(r))
}

// activitiesDone lists the activities of a payout, and fails if one had no success.
func (s *stack) activitiesDone(r payout.Request) []string {
	s.t.Helper()
	var names []string
	for _, event := range s.history(r) {
		require.NotContains(s.t, []enumspb.EventType{enumspb.EVENT_TYPE_ACTIVITY_TASK_FAILED, enumspb.EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT}, event.GetEventType())
		if scheduled := event.GetActivityTaskScheduledEventAttributes(); scheduled != nil {
			names = append(names, scheduled.GetActivityType().GetName())
		}
	}
	return names
}

// TestFrozenWorkerWakesUpAsAZombie freezes a worker in the activity ConfirmSession until another
// worker has confirmed or seen the end, then lets it go on (hazards A6, F06).
func TestFrozenWorkerWakesUpAsAZombie(t *testing.T) {
	t.Parallel()
	s := newUnhelpfulStack(t)
	m := newMatrix(t)
	tests := []heldCall{
		{method: "session/status", nth: 1, activity: "ConfirmSession", phase: phaseUnanswered}, // it would confirm next
		{method: "session/confirm", nth: 1, activity: "ConfirmSession", phase: phaseUnanswered},
	}
	for i, call := range tests {
		c := cell{number: i, name: "SIGSTOP in ConfirmSession, in " + call.method}
		t.Run(call.method, func(t *testing.T) {
			t.Parallel()
			s.play(t, func(own *stack) string { return own.freezeInCall(m, c, call) })
		})
	}
}

func (s *stack) freezeInCall(m *matrix, c cell, call heldCall) string {
	s.t.Helper()
	g := newGate(s.t, s.simURL)
	held := g.hold(call)
	environment := workerEnvironment(s.t, s, g.url)
	first := startProcess(s.t, environment, "worker")
	r := quicklyPolled(s.t)
	s.start(r)
	reached := held.wasReached()
	first.freeze()
	frozenAt := time.Now()
	held.release() // the answer waits for the frozen process
	c.missed = s.missedCall(r, call, reached)
	startProcess(s.t, environment, "worker")
	require.Eventually(s.t, func() bool { return s.calls(r, "session/confirm") > 0 && s.confirmIsKnown(r) }, 5*time.Minute, time.Second)
	first.signal(syscall.SIGCONT)
	require.Zero(s.t, first.terminate(), "it ends once its activity has")
	if c.missed == "" && !s.timedOut(r) {
		c.missed = "the activity did not time out"
	}
	require.Equal(s.t, payout.StateSucceeded, m.judge(s, r, c, frozenAt).State)
	return c.missed
}

// timedOut: Temporal gave up on an activity of the payout.
func (s *stack) timedOut(r payout.Request) bool {
	return slices.ContainsFunc(s.history(r), func(event *historypb.HistoryEvent) bool {
		return event.GetEventType() == enumspb.EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT
	})
}

// confirmIsKnown: the payout has given up on the frozen worker and learned from Pike that the confirm arrived.
func (s *stack) confirmIsKnown(r payout.Request) bool {
	status, err := s.starter.Get(testContext(s.t), r.PayoutID)
	return err == nil && (status.State == payout.StateAwaitingResult || status.State.Final())
}
