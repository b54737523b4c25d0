package e2e

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	activitypb "go.temporal.io/api/activity/v1"
	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"
	sdkworker "go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"pikepayouts/activities"
)

// running starts a workflow with one call that is under way.
func running(t *testing.T, c *call, options workflow.ActivityOptions, change ...func(*client.StartWorkflowOptions)) (*scene, client.WorkflowRun) {
	t.Helper()
	s := newScene(t)
	s.work(calling(options), c.run, sdkworker.Options{})
	run := s.startCall(c, change...)
	return s, run
}

func (s *scene) execution() *commonpb.WorkflowExecution {
	return &commonpb.WorkflowExecution{WorkflowId: s.id}
}

// pendingAttempt is the attempt that waits or is under way, 0 if there is none.
func (s *scene) pendingAttempt() int32 {
	s.t.Helper()
	description, err := shared.temporal.DescribeWorkflowExecution(testContext(s.t), s.id, "")
	require.NoError(s.t, err)
	if pending := description.GetPendingActivities(); len(pending) > 0 {
		return pending[0].GetAttempt()
	}
	return 0
}

// TestFactR17RaisedAttemptsRunACallAgain: `temporal activity update-options` on a running call with one attempt makes a second one of it,
// which knows that it is the second. Leaning on it: activities.mayBeInFlight and StartPayout (Attempt > 1, hazard A12).
func TestFactR17RaisedAttemptsRunACallAgain(t *testing.T) {
	t.Parallel()
	c := newCall(t)
	c.fail = 1
	s, run := running(t, c, once())
	_, err := shared.temporal.WorkflowService().UpdateActivityOptions(testContext(t), &workflowservice.UpdateActivityOptionsRequest{
		Namespace: client.DefaultNamespace, Execution: s.execution(),
		Activity:        &workflowservice.UpdateActivityOptionsRequest_Type{Type: factActivity},
		ActivityOptions: &activitypb.ActivityOptions{RetryPolicy: &commonpb.RetryPolicy{MaximumAttempts: 4}},
		UpdateMask:      &fieldmaskpb.FieldMask{Paths: []string{"retry_policy.maximum_attempts"}},
	})
	require.NoError(t, err)
	c.end()
	var attempt int32
	require.NoError(t, run.Get(testContext(t), &attempt))
	require.Greater(t, attempt, int32(1))
	require.EqualValues(t, 2, c.done.Load())
}

// TestFactE07ResetOfARunningCallDoesNotRepeatIt: `temporal activity reset` on a running call with one attempt leaves it at one.
// Leaning on it: payoutRun.sending, whose one attempt is the first of the guards of hazard A12.
func TestFactE07ResetOfARunningCallDoesNotRepeatIt(t *testing.T) {
	t.Parallel()
	c := newCall(t)
	c.fail = 1
	s, run := running(t, c, once())
	s.resetActivity()
	c.end()
	require.Error(t, run.Get(testContext(t), nil))
	require.EqualValues(t, 1, c.begun.Load())
}

func (s *scene) resetActivity() {
	s.t.Helper()
	_, err := shared.temporal.WorkflowService().ResetActivity(testContext(s.t), &workflowservice.ResetActivityRequest{
		Namespace: client.DefaultNamespace, Execution: s.execution(), Activity: &workflowservice.ResetActivityRequest_Type{Type: factActivity},
	})
	require.NoError(s.t, err)
}

// TestFactA12PausedCallIsRepeatedAsAFirstAttempt: a one-attempt call that fails while paused waits for another one all the same, and a
// reset (or `unpause --reset-attempts`) hands that out as attempt 1. Leaning on it: activities.isRepeat, which does not trust the attempt.
func TestFactA12PausedCallIsRepeatedAsAFirstAttempt(t *testing.T) {
	t.Parallel()
	attempt, err := attemptAfterPause(t)
	for lost := 0; temporal.IsTimeoutError(err) && lost < 3; lost++ { // see untilCalled
		attempt, err = attemptAfterPause(t)
	}
	require.NoError(t, err)
	require.EqualValues(t, 1, attempt)
}

// attemptAfterPause pauses a call, lets it fail, resets it, and returns what attempt the next one is.
func attemptAfterPause(t *testing.T) (attempt int32, err error) {
	t.Helper()
	c := newCall(t)
	c.fail = 1
	s, run := running(t, c, once())
	_, err = shared.temporal.WorkflowService().PauseActivity(testContext(t), &workflowservice.PauseActivityRequest{
		Namespace: client.DefaultNamespace, Execution: s.execution(), Activity: &workflowservice.PauseActivityRequest_Type{Type: factActivity},
	})
	require.NoError(t, err)
	c.end()
	s.eventually(func() bool { return s.pendingAttempt() == 2 }, "the paused call did not wait for a second attempt")
	s.resetActivity()
	err = run.Get(testContext(t), &attempt)
	return attempt, err
}

// TestFactE08EffectOutlivesStartToClose: the workflow is told of a timeout while the effect is still to come.
// Leaning on it: activities.FailureOf (unknown), settleDelay, maySend (hazard A6).
func TestFactE08EffectOutlivesStartToClose(t *testing.T) {
	t.Parallel()
	c := newCall(t)
	options := once()
	options.StartToCloseTimeout = 3 * time.Second
	s, run := running(t, c, options)
	err := run.Get(testContext(t), nil)
	requireTimeout(t, err, enumspb.TIMEOUT_TYPE_START_TO_CLOSE)
	require.Equal(t, activities.Unknown, activities.FailureOf(err).Outcome)
	s.requireLateEffect(c)
}

func requireTimeout(t *testing.T, err error, kind enumspb.TimeoutType) {
	t.Helper()
	var timeout *temporal.TimeoutError
	require.ErrorAs(t, err, &timeout)
	require.Equal(t, kind, timeout.TimeoutType())
}

// requireLateEffect: the workflow has ended, the effect comes now, and no history tells of it.
func (s *scene) requireLateEffect(c *call) {
	s.t.Helper()
	require.Zero(s.t, c.done.Load())
	c.end()
	s.eventually(func() bool { return c.done.Load() == 1 }, "no effect")
	require.Zero(s.t, s.events("", enumspb.EVENT_TYPE_ACTIVITY_TASK_COMPLETED))
}

// TestFactScheduleToStartMeansNeverHandedOut: a call that timed out before a worker took it up is given to none that comes later.
// Leaning on it: activities.FailureOf, which takes this timeout for not_sent; sendScheduleToStart (hazard A23).
func TestFactScheduleToStartMeansNeverHandedOut(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	stale := once()
	stale.ScheduleToStartTimeout = time.Second
	later := workflow.ActivityOptions{StartToCloseTimeout: 20 * time.Second} // may be repeated
	s.work(func(ctx workflow.Context) error {
		timedOut := workflow.ExecuteActivity(workflow.WithActivityOptions(ctx, stale), factActivity, "stale").Get(ctx, nil)
		workflow.GetSignalChannel(ctx, lastSignal).Receive(ctx, nil)
		for range 5 { // they queue up behind the stale one
			if err := workflow.ExecuteActivity(workflow.WithActivityOptions(ctx, later), factActivity, "later").Get(ctx, nil); err != nil {
				return err
			}
		}
		return timedOut
	}, nil, sdkworker.Options{})
	run := s.start()
	s.eventually(func() bool { return s.events("", enumspb.EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT) == 1 }, "no timeout")
	var handedOut sync.Map
	s.work(nil, func(_ context.Context, which string) error { handedOut.Store(which, true); return nil }, sdkworker.Options{})
	require.NoError(t, shared.temporal.SignalWorkflow(testContext(t), s.id, "", lastSignal, nil))
	err := run.Get(testContext(t), nil)
	requireTimeout(t, err, enumspb.TIMEOUT_TYPE_SCHEDULE_TO_START)
	require.Equal(t, activities.NotSent, activities.FailureOf(err).Outcome)
	_, handed := handedOut.Load("stale")
	require.False(t, handed)
	_, handed = handedOut.Load("later")
	require.True(t, handed)
}

// TestFactE12CancelDoesNotStopACall: without WaitForCancellation the workflow goes on at once while the effect is still to come; with it,
// it sees the real result. Leaning on it: payoutRun.sending; cancellation is a decision of the machine, not of a context.
func TestFactE12CancelDoesNotStopACall(t *testing.T) {
	t.Parallel()
	for _, wait := range []bool{false, true} {
		c := newCall(t)
		options := once()
		options.WaitForCancellation = wait
		s, run := running(t, c, options)
		require.NoError(t, shared.temporal.CancelWorkflow(testContext(t), s.id, ""))
		if !wait {
			require.True(t, temporal.IsCanceledError(run.Get(testContext(t), nil)))
			s.requireLateEffect(c)
			continue
		}
		s.eventually(func() bool { return s.events("", enumspb.EVENT_TYPE_ACTIVITY_TASK_CANCEL_REQUESTED) == 1 }, "no cancel")
		c.end()
		require.NoError(t, run.Get(testContext(t), nil), "the real result")
	}
}

// TestFactE13StopTimeoutLetsCallsEnd: a worker that is stopped cuts its calls at once, unless WorkerStopTimeout lets them end.
// Leaning on it: worker.stopTimeout (hazard A17).
func TestFactE13StopTimeoutLetsCallsEnd(t *testing.T) {
	t.Parallel()
	for _, timeout := range []time.Duration{0, time.Minute} {
		s, c := newScene(t), newCall(t)
		s.work(calling(once()), nil, sdkworker.Options{})
		stopping := make(chan struct{})
		w := s.work(nil, func(ctx context.Context) error {
			c.began <- struct{}{}
			<-activity.GetWorkerStopChannel(ctx)
			close(stopping)
			select {
			case <-ctx.Done():
			case <-c.may.Done():
			}
			return ctx.Err()
		}, sdkworker.Options{WorkerStopTimeout: timeout})
		run := s.startCall(c)
		stopped := make(chan struct{})
		go func() { defer close(stopped); w.Stop() }()
		<-stopping
		if timeout > 0 {
			require.Equal(t, enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING, s.status(""), "and time for a cut to arrive")
			c.end()
		}
		ctx, cancel := context.WithTimeout(testContext(t), time.Minute/2)
		err := run.Get(ctx, nil)
		cancel()
		if timeout > 0 {
			require.NoError(t, err)
		} else {
			require.ErrorContains(t, err, context.Canceled.Error())
			require.Equal(t, activities.Unknown, activities.FailureOf(err).Outcome)
		}
		<-stopped
	}
}

// TestFactR27LocalActivityRunsAgainAfterALostTask: a local activity with one attempt runs once more for each workflow task that fails after it.
// Leaning on it: payouts use no local activities (design §4.7, TestRunsAreStartedSafely).
func TestFactR27LocalActivityRunsAgainAfterALostTask(t *testing.T) {
	t.Parallel()
	s, c := newScene(t), newCall(t)
	c.end()
	var lost atomic.Bool
	s.work(func(ctx workflow.Context) error {
		ctx = workflow.WithLocalActivityOptions(ctx, workflow.LocalActivityOptions{
			StartToCloseTimeout: time.Minute, RetryPolicy: &temporal.RetryPolicy{MaximumAttempts: 1},
		})
		err := workflow.ExecuteLocalActivity(ctx, c.run).Get(ctx, nil)
		if lost.CompareAndSwap(false, true) {
			panic("the worker is gone before it reports")
		}
		return err
	}, nil, sdkworker.Options{WorkflowPanicPolicy: sdkworker.BlockWorkflow})
	require.NoError(t, s.start().Get(testContext(t), nil))
	require.Greater(t, c.done.Load(), int32(1))
}
