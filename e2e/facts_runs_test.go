package e2e

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"
	sdkworker "go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
)

// TestFactE06ResetRunsCallsAgain: a reset of a completed workflow makes its one-attempt call again.
// Leaning on it: activities, which in a reset run look before they send (hazard A11).
func TestFactE06ResetRunsCallsAgain(t *testing.T) {
	t.Parallel()
	c := newCall(t)
	c.end()
	s, run := running(t, c, once())
	require.NoError(t, run.Get(testContext(t), nil))
	reset := s.untilCalled(c, func() string { return s.resetToFirstTask(run.GetRunID()) })
	require.NoError(t, shared.temporal.GetWorkflow(testContext(t), s.id, reset).Get(testContext(t), nil))
	require.EqualValues(t, 2, c.done.Load())
}

// TestFactR20CodeCanTellAReset: OriginalRunID stays that of the first run, over resets of resets, while the run an activity sees is the
// newest. Leaning on it: workflows.originalRunID, activities.Run.isReset.
func TestFactR20CodeCanTellAReset(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	type runs struct{ Original, Activity string }
	s.work(func(ctx workflow.Context) (seen runs, err error) {
		seen.Original = workflow.GetInfo(ctx).OriginalRunID
		ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: 20 * time.Second})
		err = workflow.ExecuteActivity(ctx, factActivity).Get(ctx, &seen.Activity)
		return seen, err
	}, func(ctx context.Context) (string, error) { return activity.GetInfo(ctx).WorkflowExecution.RunID, nil }, sdkworker.Options{})
	first := s.start().GetRunID()
	for run, resets := first, 0; resets < 3; run, resets = s.resetToFirstTask(run), resets+1 {
		var seen runs
		require.NoError(t, shared.temporal.GetWorkflow(testContext(t), s.id, run).Get(testContext(t), &seen))
		require.Equal(t, runs{Original: first, Activity: run}, seen)
	}
}

// TestFactE11ExecutionTimeoutRunsNoCode: the workflow ends without a line of its code, and the effect of its call comes afterwards,
// unrecorded. Leaning on it: workflows.checkStartOptions, starter.startOptions (hazard A19).
func TestFactE11ExecutionTimeoutRunsNoCode(t *testing.T) {
	t.Parallel()
	c := newCall(t)
	s, run := running(t, c, once(), func(o *client.StartWorkflowOptions) { o.WorkflowExecutionTimeout = 20 * time.Second })
	requireTimeout(t, run.Get(testContext(t), nil), enumspb.TIMEOUT_TYPE_START_TO_CLOSE)
	require.Equal(t, enumspb.WORKFLOW_EXECUTION_STATUS_TIMED_OUT, s.status(""))
	require.Equal(t, 1, s.events("", taskCompleted), "the first one only")
	s.requireLateEffect(c)
}

// TestFactR18TerminateFreesTheID: as E11, and by Temporal's default the same id starts again while the call still runs.
// Leaning on it: CreateInput.Unguarded, starter.startOptions (hazard A13), docs/deploy.md (who may terminate).
func TestFactR18TerminateFreesTheID(t *testing.T) {
	t.Parallel()
	c := newCall(t)
	s, run := running(t, c, once())
	terminated(s)
	require.Error(t, run.Get(testContext(t), nil))
	require.Equal(t, enumspb.WORKFLOW_EXECUTION_STATUS_TERMINATED, s.status(""))
	require.Zero(t, c.done.Load())
	again := s.startCall(c)
	c.end()
	require.NoError(t, again.Get(testContext(t), nil))
	s.eventually(func() bool { return c.done.Load() == 2 }, "no effect")
	require.Zero(t, s.events(run.GetRunID(), enumspb.EVENT_TYPE_ACTIVITY_TASK_COMPLETED))
}

// How a counting workflow ends.
func completed(s *scene) { s.last() }

func terminated(s *scene) {
	require.NoError(s.t, shared.temporal.TerminateWorkflow(testContext(s.t), s.id, "", "test"))
}

// rejectDuplicate is how package starter starts payouts.
func rejectDuplicate(o *client.StartWorkflowOptions) {
	o.WorkflowIDReusePolicy, o.WorkflowExecutionErrorWhenAlreadyStarted = enumspb.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE, true
}

// TestFactE10WhichStartsOfAnIDAreRefused: the defaults swallow a second start or make a second run, RejectDuplicate with
// WorkflowExecutionErrorWhenAlreadyStarted refuses both, and AllowDuplicateFailedOnly lets a terminated one start again.
// Leaning on it: starter.startOptions, CreateInput.Unguarded.
func TestFactE10WhichStartsOfAnIDAreRefused(t *testing.T) {
	t.Parallel()
	const existing, another, refused = "the existing run", "another run", "refused"
	defaults := func(*client.StartWorkflowOptions) {}
	failedOnly := func(o *client.StartWorkflowOptions) {
		o.WorkflowIDReusePolicy = enumspb.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE_FAILED_ONLY
		o.WorkflowExecutionErrorWhenAlreadyStarted = true
	}
	stillRunning := func(*scene) {}
	for name, tt := range map[string]struct {
		first  func(*scene)
		second func(*client.StartWorkflowOptions)
		want   string
	}{
		"running, defaults":               {stillRunning, defaults, existing},
		"completed, defaults":             {completed, defaults, another},
		"terminated, defaults":            {terminated, defaults, another},
		"running, RejectDuplicate":        {stillRunning, rejectDuplicate, refused},
		"completed, RejectDuplicate":      {completed, rejectDuplicate, refused},
		"terminated, RejectDuplicate":     {terminated, rejectDuplicate, refused},
		"completed, DuplicateFailedOnly":  {completed, failedOnly, refused},
		"terminated, DuplicateFailedOnly": {terminated, failedOnly, another},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			s.work(counting, nil, sdkworker.Options{})
			first := s.start()
			tt.first(s)
			second, err := s.tryStart(tt.second)
			if tt.want == refused {
				require.True(t, temporal.IsWorkflowExecutionAlreadyStartedError(err), "%v", err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, tt.want == existing, second.GetRunID() == first.GetRunID())
		})
	}
}

// TestFactR10DeletedHistoryFreesTheID: once the history is gone, which is what retention does, even RejectDuplicate lets the id start
// again. Leaning on it: the long retention that docs/deploy.md asks for, Pike's idempotency key of start (hazard A14).
func TestFactR10DeletedHistoryFreesTheID(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.work(counting, nil, sdkworker.Options{})
	s.start(rejectDuplicate)
	s.last()
	_, err := s.tryStart(rejectDuplicate)
	require.True(t, temporal.IsWorkflowExecutionAlreadyStartedError(err), "%v", err)
	_, err = shared.temporal.WorkflowService().DeleteWorkflowExecution(testContext(t), &workflowservice.DeleteWorkflowExecutionRequest{
		Namespace: client.DefaultNamespace, WorkflowExecution: s.execution(),
	})
	require.NoError(t, err)
	// The server deletes only once its queue has moved on, which it notes every 30s or so.
	require.Eventually(t, func() bool { _, err := s.tryStart(rejectDuplicate); return err == nil }, 3*time.Minute, 200*time.Millisecond)
}

// TestFactAbandonedChildOutlivesItsParent: a child with ParentClosePolicy ABANDON goes on however its parent has ended.
func TestFactAbandonedChildOutlivesItsParent(t *testing.T) {
	t.Parallel()
	for _, end := range []func(*scene){completed, terminated} {
		s, child := newScene(t), newScene(t)
		child.work(counting, nil, sdkworker.Options{})
		s.work(func(ctx workflow.Context) (int, error) {
			ctx = workflow.WithChildOptions(ctx, workflow.ChildWorkflowOptions{
				WorkflowID: child.id, TaskQueue: child.taskQueue, ParentClosePolicy: enumspb.PARENT_CLOSE_POLICY_ABANDON,
			})
			if err := workflow.ExecuteChildWorkflow(ctx, factWorkflow).GetChildWorkflowExecution().Get(ctx, nil); err != nil {
				return 0, err
			}
			return counting(ctx)
		}, nil, sdkworker.Options{})
		s.start()
		s.eventually(func() bool { return s.events("", enumspb.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_STARTED) == 1 }, "no child")
		end(s)
		require.NoError(t, child.signal("1"))
		require.Equal(t, 1, child.last())
	}
}
