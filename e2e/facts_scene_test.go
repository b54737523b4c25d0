package e2e

// The tests named TestFact… pin what the design believes of Temporal, with tiny
// workflows in place of payouts: an upgrade of server or SDK that changes a fact
// fails here, by name. docs/temporal-facts.md lists them.

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"
	sdkworker "go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"pikepayouts/payout"
)

const (
	factWorkflow = "Fact"
	factActivity = "Call"
	factSignal   = payout.SignalReadyToConfirm
)

// scene is where one fact is tried out: a workflow id and a task queue of its own on the shared server.
type scene struct {
	t         *testing.T
	taskQueue string
	payoutID  string // the workflow has the id of a payout, so that the service's own code can reach it
	id        string
}

func newScene(t *testing.T) *scene {
	name := fmt.Sprintf("fact-%d", stackNumber.Add(1))
	return &scene{t: t, taskQueue: name, payoutID: name, id: payout.WorkflowID(name)}
}

// work starts a worker for the workflow and the activity, one of which may be nil.
func (s *scene) work(definition, activityFunction any, options sdkworker.Options) sdkworker.Worker {
	s.t.Helper()
	options.DisableWorkflowWorker, options.LocalActivityWorkerOnly = definition == nil, activityFunction == nil
	w := sdkworker.New(shared.temporal, s.taskQueue, options)
	if definition != nil {
		w.RegisterWorkflowWithOptions(definition, workflow.RegisterOptions{Name: factWorkflow})
	}
	if activityFunction != nil {
		w.RegisterActivityWithOptions(activityFunction, activity.RegisterOptions{Name: factActivity})
	}
	require.NoError(s.t, w.Start())
	s.t.Cleanup(w.Stop)
	return w
}

func (s *scene) start(change ...func(*client.StartWorkflowOptions)) client.WorkflowRun {
	s.t.Helper()
	run, err := s.tryStart(change...)
	require.NoError(s.t, err)
	return run
}

func (s *scene) tryStart(change ...func(*client.StartWorkflowOptions)) (client.WorkflowRun, error) {
	options := client.StartWorkflowOptions{ID: s.id, TaskQueue: s.taskQueue}
	for _, c := range change {
		c(&options)
	}
	return shared.temporal.ExecuteWorkflow(testContext(s.t), options, factWorkflow)
}

// signal sends one signal as the server sees it: with the request id, and without the SDK's retries.
func (s *scene) signal(requestID string) error {
	_, err := shared.temporal.WorkflowService().SignalWorkflowExecution(testContext(s.t), &workflowservice.SignalWorkflowExecutionRequest{
		Namespace: client.DefaultNamespace, WorkflowExecution: &commonpb.WorkflowExecution{WorkflowId: s.id}, SignalName: factSignal, RequestId: requestID,
	})
	return err
}

// events counts events of a type in the run, "" being the newest.
func (s *scene) events(runID string, kind enumspb.EventType) int {
	s.t.Helper()
	n := 0
	for _, event := range history(s.t, s.id, runID) {
		if event.GetEventType() == kind {
			n++
		}
	}
	return n
}

// resetToFirstTask resets the run to its first workflow task and returns the new run's id.
func (s *scene) resetToFirstTask(runID string) string {
	s.t.Helper()
	for _, event := range history(s.t, s.id, runID) {
		if event.GetEventType() == enumspb.EVENT_TYPE_WORKFLOW_TASK_COMPLETED {
			return resetRun(s.t, s.id, runID, event.GetEventId())
		}
	}
	require.Fail(s.t, "no workflow task has completed")
	return ""
}

func (s *scene) status(runID string) enumspb.WorkflowExecutionStatus {
	s.t.Helper()
	description, err := shared.temporal.DescribeWorkflowExecution(testContext(s.t), s.id, runID)
	require.NoError(s.t, err)
	return description.GetWorkflowExecutionInfo().GetStatus()
}

func (s *scene) eventually(condition func() bool, what string) {
	s.t.Helper()
	require.Eventually(s.t, condition, time.Minute, 20*time.Millisecond, what)
}

// call is an activity with an effect that nothing calls back, like a request that Pike has got.
type call struct {
	begun, done atomic.Int32
	began       chan struct{} // one item for each that began
	// fail is how many of the first calls end with an error after their effect.
	fail int32
	// end lets calls that are under way end.
	end func()
	may context.Context
}

func newCall(t *testing.T) *call {
	may, end := context.WithCancel(context.Background())
	t.Cleanup(end)
	return &call{may: may, end: end, began: make(chan struct{}, 10)}
}

// run returns the attempt that Temporal says it is.
func (c *call) run(ctx context.Context) (int32, error) {
	number := c.begun.Add(1)
	c.began <- struct{}{}
	<-c.may.Done()
	c.done.Add(1)
	if number <= c.fail {
		return 0, errors.New("no answer")
	}
	return activity.GetInfo(ctx).Attempt, nil
}

// untilCalled returns the run that begin begins, with its call under way. On a busy machine an attempt may get lost
// between server and worker (matching gives up on it after a second), and a call with one attempt has no other: then the next run.
func (s *scene) untilCalled(c *call, begin func() (runID string)) (runID string) {
	s.t.Helper()
	for range 4 {
		runID = begin()
		select {
		case <-c.began:
			return runID
		case <-time.After(20 * time.Second):
		}
	}
	require.Fail(s.t, "the call never began")
	return ""
}

// startCall starts the workflow, with its call under way.
func (s *scene) startCall(c *call, change ...func(*client.StartWorkflowOptions)) client.WorkflowRun {
	s.t.Helper()
	runID := s.untilCalled(c, func() string {
		return s.start(append(change, func(o *client.StartWorkflowOptions) {
			o.WorkflowIDConflictPolicy = enumspb.WORKFLOW_ID_CONFLICT_POLICY_TERMINATE_EXISTING
		})...).GetRunID()
	})
	return shared.temporal.GetWorkflow(testContext(s.t), s.id, runID)
}

// once is how the service sends: one attempt.
func once() workflow.ActivityOptions {
	return workflow.ActivityOptions{StartToCloseTimeout: time.Minute, RetryPolicy: &temporal.RetryPolicy{MaximumAttempts: 1}}
}

// calling is a workflow that makes one call and returns its attempt.
func calling(options workflow.ActivityOptions) func(workflow.Context) (int32, error) {
	return func(ctx workflow.Context) (attempt int32, err error) {
		err = workflow.ExecuteActivity(workflow.WithActivityOptions(ctx, options), factActivity).Get(ctx, &attempt)
		return attempt, err
	}
}
