package e2e

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"

	"pikepayouts/activities"
	"pikepayouts/payout"
	"pikepayouts/pike"
	"pikepayouts/pikesim"
	"pikepayouts/starter"
	"pikepayouts/worker"
)

// reset does what `temporal workflow reset` does to the newest run, and returns the new one.
func (s *stack) reset(r payout.Request, event int64) string {
	s.t.Helper()
	return s.resetRun(r, "", event)
}

func (s *stack) resetRun(r payout.Request, runID string, event int64) string {
	s.t.Helper()
	return resetRun(s.t, payout.WorkflowID(r.PayoutID), runID, event)
}

func resetRun(t *testing.T, workflowID, runID string, event int64) string {
	t.Helper()
	response, err := shared.temporal.ResetWorkflowExecution(testContext(t), &workflowservice.ResetWorkflowExecutionRequest{
		Namespace: "default", Reason: "test", RequestId: uuid.NewString(), WorkflowTaskFinishEventId: event,
		WorkflowExecution: &commonpb.WorkflowExecution{WorkflowId: workflowID, RunId: runID},
	})
	require.NoError(t, err)
	return response.GetRunId()
}

func (s *stack) resettable(r payout.Request) []int64 {
	var ids []int64
	for _, event := range s.history(r) {
		if event.GetEventType() == enumspb.EVENT_TYPE_WORKFLOW_TASK_COMPLETED {
			ids = append(ids, event.GetEventId())
		}
	}
	return ids
}

// TestResetOfAFinishedPayoutPaysOnce resets to every event that allows it (hazard A11).
func TestResetOfAFinishedPayoutPaysOnce(t *testing.T) {
	t.Parallel()
	s := newStack(t, stackOptions{})
	for number := range 7 {
		t.Run(fmt.Sprint("workflow task ", number+1), func(t *testing.T) {
			t.Parallel()
			r := order(t, pikesim.PresetConfirmed, polling(time.Second))
			require.Equal(t, payout.StateSucceeded, s.pay(r).State)
			events := s.resettable(r)
			s.reset(r, events[min(number, len(events)-1)])
			status := s.wait(r)
			require.Equal(t, payout.StateSucceeded, status.State)
			require.Empty(t, attention(status))
			require.Equal(t, 1, s.calls(r, "session/create"), "the session of the first run is adopted")
			require.Equal(t, 1, s.calls(r, "session/start/payout"))
			require.Equal(t, 1, s.calls(r, "session/confirm"))
		})
	}
}

// TestResetOfARunningPayoutAdoptsItsSession resets twice to the very beginning while people have not decided yet.
// The worker is a process: it must be able to read the histories of the earlier runs.
func TestResetOfARunningPayoutAdoptsItsSession(t *testing.T) {
	t.Parallel()
	s := newStack(t, stackOptions{noWorker: true})
	startWorkerProcess(t, workerEnvironment(t, s, s.simURL))
	r := order(t, pikesim.PresetConfirmed, manual, polling(time.Second))
	s.start(r)
	for range 2 {
		s.eventually(r, payout.StateAwaitingDecision)
		s.reset(r, s.resettable(r)[0])
	}
	s.eventually(r, payout.StateAwaitingDecision)
	_, err := s.starter.Confirm(testContext(t), r.PayoutID, "ann", "")
	require.NoError(t, err)
	require.Equal(t, payout.StateSucceeded, s.wait(r).State)
	require.Equal(t, 1, s.calls(r, "session/create"))
	require.Equal(t, 1, s.calls(r, "session/start/payout"))
	require.Equal(t, 1, s.calls(r, "session/confirm"))
}

// flakyPike is Pike's client, with failures that a test switches on and off.
type flakyPike struct {
	activities.Pike
	failCreate atomic.Bool
	dropStarts atomic.Int32 // starts that vanish without an answer
	starts     atomic.Int32 // starts that were sent
}

func (f *flakyPike) CreateSession(ctx context.Context, request pike.CreateSessionRequest, key string) (pike.Session, error) {
	if f.failCreate.Load() {
		return pike.Session{}, &pike.Error{Method: "session/create", Outcome: pike.NotSent}
	}
	return f.Pike.CreateSession(ctx, request, key)
}

func (f *flakyPike) StartPayout(ctx context.Context, request pike.StartPayoutRequest, key string) (pike.Session, error) {
	if f.dropStarts.Add(-1) >= 0 {
		return pike.Session{}, &pike.Error{Method: "session/start/payout", Outcome: pike.Unknown}
	}
	f.starts.Add(1)
	return f.Pike.StartPayout(ctx, request, key)
}

func (s *stack) startFlakyWorker() *flakyPike {
	s.t.Helper()
	f := &flakyPike{Pike: s.pikeClient(pike.V1)}
	w := worker.New(shared.temporal, s.workerOptions(f))
	require.NoError(s.t, w.Start())
	s.t.Cleanup(w.Stop)
	return f
}

// startWithFailingCreates leaves a payout that waits after a failed create, before it gets to its end.
func (s *stack) startWithFailingCreates(r payout.Request, f *flakyPike) string {
	s.t.Helper()
	f.failCreate.Store(true)
	started, err := s.starter.Start(testContext(s.t), r)
	require.NoError(s.t, err)
	require.Eventually(s.t, func() bool { return len(s.resettable(r)) > 1 }, time.Minute, 50*time.Millisecond)
	f.failCreate.Store(false)
	return started.RunID
}

// TestTwoResetsOfOneRunShareASession: the second reset descends from a run that never had a session; its sibling had.
func TestTwoResetsOfOneRunShareASession(t *testing.T) {
	t.Parallel()
	s := newStack(t, stackOptions{noWorker: true})
	r := order(t, pikesim.PresetConfirmed, polling(time.Second))
	first := s.startWithFailingCreates(r, s.startFlakyWorker())
	event := s.resettable(r)[0]
	for range 2 {
		s.resetRun(r, first, event)
		require.Equal(t, payout.StateSucceeded, s.wait(r).State)
	}
	require.Equal(t, 1, s.calls(r, "session/start/payout"))
}

// TestResetAndCancelOfAPaidPayoutLooksFirst resets to a moment before any session and cancels: Pike has paid all the same.
func TestResetAndCancelOfAPaidPayoutLooksFirst(t *testing.T) {
	t.Parallel()
	s := newStack(t, stackOptions{noWorker: true})
	r := order(t, pikesim.PresetConfirmed, polling(time.Second))
	s.startWithFailingCreates(r, s.startFlakyWorker())
	require.Equal(t, payout.StateSucceeded, s.wait(r).State)
	run := s.reset(r, s.resettable(r)[1])
	require.NoError(t, shared.temporal.CancelWorkflow(testContext(t), payout.WorkflowID(r.PayoutID), run))
	status := s.wait(r)
	require.Equal(t, payout.StateSucceeded, status.State)
}

// TestResetToASettledStartLooksFirst: the history says that start may be repeated, but that was before the reset.
func TestResetToASettledStartLooksFirst(t *testing.T) {
	t.Parallel()
	s := newStack(t, stackOptions{noWorker: true})
	f := s.startFlakyWorker()
	f.dropStarts.Store(1)
	r := order(t, pikesim.PresetConfirmed, polling(time.Second))
	require.Equal(t, payout.StateSucceeded, s.pay(r).State)
	require.EqualValues(t, 1, f.starts.Load())
	s.reset(r, s.taskBefore(r, "StartPayout", 2))
	require.Equal(t, payout.StateSucceeded, s.wait(r).State)
	require.EqualValues(t, 1, f.starts.Load())
}

// taskBefore is the workflow task that scheduled the nth activity of the type.
func (s *stack) taskBefore(r payout.Request, activity string, n int) int64 {
	s.t.Helper()
	var task int64
	for _, event := range s.history(r) {
		if event.GetEventType() == enumspb.EVENT_TYPE_WORKFLOW_TASK_COMPLETED {
			task = event.GetEventId()
		}
		if event.GetActivityTaskScheduledEventAttributes().GetActivityType().GetName() == activity {
			if n--; n == 0 {
				return task
			}
		}
	}
	require.Fail(s.t, "no such activity")
	return 0
}

// TestTheSameIDStartedAgainWithTheTemporalCLI: Temporal's default lets an ended id start again; the money moves once (hazard A13).
func TestTheSameIDStartedAgainWithTheTemporalCLI(t *testing.T) {
	t.Parallel()
	s := newStack(t, stackOptions{keysOff: true})
	r := order(t, pikesim.PresetConfirmed, polling(time.Second))
	for range 2 {
		s.startWithTheTemporalCLI(r)
		status := s.wait(r)
		require.Equal(t, payout.StateSucceeded, status.State)
	}
	require.Equal(t, 1, s.calls(r, "session/create"))
}

// waitingState is a state in which a running payout waits, and how a payout is brought there and on to its end.
type waitingState struct {
	state     payout.State
	timing    pikesim.Timing
	behaviour string
	change    []func(*payout.Request)
	decide    string // in awaiting_decision, by a person: before the reset or, for a confirm, after it
	ends      []payout.State
}

// resetCell is a payout that was reset to one of its workflow tasks while it waited.
type resetCell struct {
	s    *stack
	name string
	r    payout.Request
	ends []payout.State
	end  payout.Status
}

// TestResetOfARunningPayoutPaysOnce resets to every workflow task, in each state in which a payout waits, at the Pike
// that makes every blind repeat cost money (hazard A11, F47).
func TestResetOfARunningPayoutPaysOnce(t *testing.T) {
	t.Parallel()
	succeeded := []payout.State{payout.StateSucceeded}
	states := []waitingState{
		{state: payout.StateStarting, behaviour: `{"lost_answers":["start"]}`, ends: succeeded},
		{state: payout.StateAwaitingReady, timing: pikesim.Timing{Checks: 30 * time.Second}, ends: succeeded},
		{state: payout.StateAwaitingDecision, change: []func(*payout.Request){manual}, decide: payout.DecisionConfirm, ends: succeeded},
		{state: payout.StateConfirming, behaviour: `{"lost_answers":["confirm"]}`, timing: pikesim.Timing{Processing: 30 * time.Second}, ends: succeeded},
		{state: payout.StateAwaitingResult, timing: pikesim.Timing{Processing: 30 * time.Second}, ends: succeeded},
		{state: payout.StateCancelling, timing: pikesim.Timing{Processing: 30 * time.Second}, change: []func(*payout.Request){manual},
			decide: payout.DecisionCancel, ends: []payout.State{payout.StateCancelled, payout.StateFailed}}, // failed, where the reset forgot the decision
	}
	var cells []*resetCell
	for _, waiting := range states {
		s := newStack(t, stackOptions{keysOff: true, timing: waiting.timing})
		s.control("modes", leastHelpful)
		cells = append(cells, s.resetToEveryTask(waiting)...)
	}
	for _, cell := range cells {
		t.Run(cell.name, func(t *testing.T) {
			s := cell.s.in(t)
			cell.end = s.wait(cell.r)
			require.Contains(t, cell.ends, cell.end.State)
			require.Equal(t, 1, s.calls(cell.r, "session/create"), "the session of the first run is adopted")
			require.Equal(t, 1, s.calls(cell.r, "session/start/payout"))
			require.LessOrEqual(t, s.calls(cell.r, "session/confirm"), 1)
		})
	}
	for _, cell := range cells { // nothing has moved since
		cell.s.agreesWithLedger(cell.r, cell.end)
	}
}

// resetToEveryTask takes one payout for each workflow task that there is in the state.
func (s *stack) resetToEveryTask(waiting waitingState) []*resetCell {
	s.t.Helper()
	var cells []*resetCell
	for number, tasks := 0, 1; number < tasks; number++ {
		r := order(s.t, pikesim.PresetConfirmed, waiting.change...)
		s.behave(r, cmp.Or(waiting.behaviour, `{"outcome":"confirmed"}`))
		s.start(r)
		if waiting.decide == payout.DecisionCancel {
			s.eventually(r, payout.StateAwaitingDecision)
			s.cancelOnceUndecided(r)
		}
		s.eventually(r, waiting.state)
		events := s.resettable(r)
		tasks = len(events)
		s.reset(r, events[min(number, tasks-1)])
		if waiting.decide == payout.DecisionConfirm {
			s.confirmOnceUndecided(r)
		}
		cells = append(cells, &resetCell{s: s, name: fmt.Sprintf("%s, to workflow task %d", waiting.state, number+1), r: r, ends: waiting.ends})
	}
	return cells
}

// confirmOnceUndecided confirms as soon as the run that a reset made takes a decision.
func (s *stack) confirmOnceUndecided(r payout.Request) {
	s.t.Helper()
	require.Eventually(s.t, func() bool {
		_, err := s.starter.Confirm(testContext(s.t), r.PayoutID, "ann", "")
		return err == nil
	}, time.Minute, 20*time.Millisecond)
}

// TestResetOfADecidedPayoutWithTheTemporalCLI: what was signalled and decided comes again in the new run, or does not; the money moves once.
func TestResetOfADecidedPayoutWithTheTemporalCLI(t *testing.T) {
	t.Parallel()
	s := newStack(t, stackOptions{keysOff: true})
	s.control("modes", leastHelpful)
	var cells []*resetCell
	for _, exclude := range []string{"", "Signal", "Update", "All"} {
		for _, decision := range []string{payout.DecisionConfirm, payout.DecisionCancel} {
			r := order(t, pikesim.PresetConfirmed, manual)
			s.start(r)
			s.eventually(r, payout.StateAwaitingDecision)
			cell := &resetCell{s: s, name: fmt.Sprintf("%s, without %q", decision, exclude), r: r}
			if decision == payout.DecisionConfirm {
				s.confirmOnceUndecided(r)
				cell.ends = []payout.State{payout.StateSucceeded}
			} else {
				s.cancelOnceUndecided(r)
				cell.ends = []payout.State{payout.StateCancelled, payout.StateFailed}
			}
			s.wait(r)
			arguments := []string{"workflow", "reset", "--workflow-id", payout.WorkflowID(r.PayoutID), "--type", "FirstWorkflowTask", "--reason", "test"}
			if exclude != "" {
				arguments = append(arguments, "--reapply-exclude", exclude)
			}
			temporalCLI(t, arguments...)
			cells = append(cells, cell)
		}
	}
	for _, cell := range cells {
		t.Run(cell.name, func(t *testing.T) {
			s := cell.s.in(t)
			require.Contains(t, cell.ends, s.wait(cell.r).State)
			require.Equal(t, 1, s.calls(cell.r, "session/start/payout"))
			require.LessOrEqual(t, s.calls(cell.r, "session/confirm"), 1)
		})
	}
}

// TestTerminatedInACallAndStartedAgain: package starter starts no second run, Temporal's own tool does, and that adopts the
// session of the first (hazards A13, R18; F48).
func TestTerminatedInACallAndStartedAgain(t *testing.T) {
	t.Parallel()
	s := newStack(t, stackOptions{noWorker: true, keysOff: true})
	s.control("modes", leastHelpful)
	h := s.startHoldingWorker()
	var cells []*resetCell
	for _, call := range []string{"start", "confirm"} {
		r := order(t, pikesim.PresetConfirmed)
		answer := h.hold(r.PayoutID + "/" + call)
		s.start(r)
		answer.wait(t)
		require.NoError(t, shared.temporal.TerminateWorkflow(testContext(t), payout.WorkflowID(r.PayoutID), "", "test"))
		again, err := s.starter.Start(testContext(t), r)
		require.NoError(t, err)
		require.True(t, again.Existing)
		_, err = s.starter.Wait(testContext(t), r.PayoutID)
		require.ErrorIs(t, err, starter.ErrNoResult)
		s.startWithTheTemporalCLI(r)
		close(answer.lost)
		cells = append(cells, &resetCell{name: call, r: r})
	}
	for _, cell := range cells {
		t.Run(cell.name, func(t *testing.T) {
			s := s.in(t)
			status := s.wait(cell.r)
			require.Equal(t, payout.StateSucceeded, status.State)
			require.Empty(t, attention(status))
			require.Equal(t, 1, s.calls(cell.r, "session/create"))
			require.Equal(t, 1, s.calls(cell.r, "session/start/payout"))
			require.Equal(t, 1, s.calls(cell.r, "session/confirm"))
		})
	}
}

// startWithTheTemporalCLI starts the payout as anyone may who does not know package starter: an ended id starts again.
func (s *stack) startWithTheTemporalCLI(r payout.Request) {
	s.t.Helper()
	input, err := json.Marshal(r)
	require.NoError(s.t, err)
	temporalCLI(s.t, "workflow", "start", "--type", "PayoutWorkflow", "--task-queue", s.taskQueue, "--workflow-id", payout.WorkflowID(r.PayoutID), "--input", string(input))
}

// TestADeletedPayoutSentAgain: Temporal has forgotten the payout, as it does after the retention. Pike's idempotency key is
// the only guard that is left, and holds: the second run pays nothing (hazard A14, F51).
func TestADeletedPayoutSentAgain(t *testing.T) {
	t.Parallel()
	s := newStack(t, stackOptions{})
	s.control("modes", leastHelpful)
	r := order(t, pikesim.PresetConfirmed, func(r *payout.Request) { r.Policy.ReadyTimeout = payout.Duration(5 * time.Second) })
	require.Equal(t, payout.StateSucceeded, s.pay(r).State)
	s.forget(r)
	s.start(r)
	status, err := s.starter.Wait(testContext(t), r.PayoutID)
	require.NoError(t, err)
	require.Equal(t, payout.StateCancelled, status.State)
	require.Equal(t, string(pike.CodeIdempotencyKeyExists), status.Error.Code)
	require.Equal(t, 2, s.calls(r, "session/create"), "a session that stays empty")
	require.Equal(t, 1, s.calls(r, "session/start/payout"))
	require.Len(t, s.ledger(r).Movements, 1)
}

// forget deletes the payout's history.
func (s *stack) forget(r payout.Request) {
	s.t.Helper()
	execution := &commonpb.WorkflowExecution{WorkflowId: payout.WorkflowID(r.PayoutID)}
	_, err := shared.temporal.WorkflowService().DeleteWorkflowExecution(testContext(s.t),
		&workflowservice.DeleteWorkflowExecutionRequest{Namespace: "default", WorkflowExecution: execution})
	require.NoError(s.t, err)
	require.Eventually(s.t, func() bool {
		_, err := shared.temporal.DescribeWorkflowExecution(testContext(s.t), execution.GetWorkflowId(), "")
		var gone *serviceerror.NotFound
		return errors.As(err, &gone)
	}, time.Minute, 50*time.Millisecond)
}
