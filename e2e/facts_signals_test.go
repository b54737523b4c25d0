package e2e

import (
	"context"
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	sdkworker "go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"pikepayouts/payout"
	"pikepayouts/webhookgw"
)

const (
	signalled     = enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED
	taskCompleted = enumspb.EVENT_TYPE_WORKFLOW_TASK_COMPLETED
	// lastSignal ends the workflows that wait.
	lastSignal = "last"
)

// counting is a workflow that counts its signals until the last one.
func counting(ctx workflow.Context) (n int, _ error) {
	workflow.GetSignalChannel(ctx, lastSignal).Receive(ctx, nil)
	return drain(ctx), nil
}

// drain reads what has arrived.
func drain(ctx workflow.Context) (n int) {
	for workflow.GetSignalChannel(ctx, factSignal).ReceiveAsync(nil) {
		n++
	}
	return n
}

// last ends a counting workflow and returns what it counted.
func (s *scene) last() int {
	s.t.Helper()
	require.NoError(s.t, shared.temporal.SignalWorkflow(testContext(s.t), s.id, "", lastSignal, nil))
	var n int
	require.NoError(s.t, shared.temporal.GetWorkflow(testContext(s.t), s.id, "").Get(testContext(s.t), &n))
	return n
}

// TestFactE01UnknownAndFinishedWorkflowsAreOneError: a signal to either is a NotFound, an unknown namespace is not; only Describe tells
// them apart. Leaning on it: webhookgw.answerTo (no_open_payout), starter.updateError.
func TestFactE01UnknownAndFinishedWorkflowsAreOneError(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	var notFound *serviceerror.NotFound
	_, err := shared.temporal.DescribeWorkflowExecution(testContext(t), s.id, "")
	require.ErrorAs(t, err, &notFound, "describe, unknown")
	require.ErrorAs(t, s.signal("1"), &notFound, "signal, unknown")

	s.work(counting, nil, sdkworker.Options{})
	s.start()
	s.last()
	require.ErrorAs(t, s.signal("1"), &notFound, "signal, finished")
	require.Equal(t, enumspb.WORKFLOW_EXECUTION_STATUS_COMPLETED, s.status(""))

	_, err = shared.temporal.WorkflowService().SignalWorkflowExecution(testContext(t), &workflowservice.SignalWorkflowExecutionRequest{Namespace: "no-such-namespace"})
	require.Error(t, err)
	require.NotErrorAs(t, err, &notFound, "a namespace of ours that is missing is no closed payout")
}

// TestFactE02RepeatedRequestIDIsOneSignal: the server drops a signal whose RequestId it has seen, and says so to nobody, even after
// the workflow has closed; the SDK by itself makes two of two. Leaning on it: webhookgw, whose request id is a hash of the event.
func TestFactE02RepeatedRequestIDIsOneSignal(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.work(counting, nil, sdkworker.Options{})
	s.start()
	for range 3 {
		require.NoError(t, s.signal("delivery"))
	}
	require.Equal(t, 1, s.events("", signalled))
	for range 2 {
		require.NoError(t, shared.temporal.SignalWorkflow(testContext(t), s.id, "", factSignal, "the same"))
	}
	require.Equal(t, 3, s.last())
	require.NoError(t, s.signal("delivery"), "known")
	var notFound *serviceerror.NotFound
	require.ErrorAs(t, s.signal("another delivery"), &notFound)
}

// TestFactH1InterceptorSetsTheRequestID: the gRPC interceptor is enough to choose the request id with the SDK's own client, and a reset
// applies the signal once more, once. Leaning on it: webhookgw.RequestIDDialOption.
func TestFactH1InterceptorSetsTheRequestID(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.work(counting, nil, sdkworker.Options{})
	run := s.start()
	s.eventually(func() bool { return s.events("", taskCompleted) > 0 }, "no first workflow task")
	gateway := webhookgw.NewTemporal(shared.temporal, "")
	for range 5 {
		require.NoError(t, gateway.Signal(testContext(t), s.payoutID, payout.Event{ID: "delivery", Type: factSignal}))
	}
	require.Equal(t, 1, s.events("", signalled))
	s.resetToFirstTask(run.GetRunID())
	require.Equal(t, 1, s.last())
}

// TestFactE04UnreadSignalsAreLostSilently: the sender of a signal that a workflow ends without reading is told nothing, and nor is the
// workflow. Leaning on it: workflows.finish and mayContinueAsNew, which read what has arrived.
func TestFactE04UnreadSignalsAreLostSilently(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.work(func(ctx workflow.Context) error {
		workflow.GetSignalChannel(ctx, lastSignal).Receive(ctx, nil)
		return nil
	}, nil, sdkworker.Options{})
	run := s.start()
	require.NoError(t, s.signal("unread"))
	require.NoError(t, shared.temporal.SignalWorkflow(testContext(t), s.id, "", lastSignal, nil))
	require.NoError(t, run.Get(testContext(t), nil))
	require.Equal(t, enumspb.WORKFLOW_EXECUTION_STATUS_COMPLETED, s.status(""))
	require.Equal(t, 2, s.events("", signalled))
}

// TestFactE05SignalDuringTheClosingTaskIsNotLost: the workflow cannot close over a signal that arrived during its last task; the task is
// repeated and sees it. While it is repeated, a new signal is ResourceExhausted, or taken and seen likewise if the server has reloaded the
// workflow since. Leaning on it: workflows.finish, webhookgw.answerTo (503).
func TestFactE05SignalDuringTheClosingTaskIsNotLost(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	var tasks atomic.Int32
	first, others := make(chan struct{}), make(chan struct{})
	s.work(func(ctx workflow.Context) (int, error) { // blocks outside of Temporal: holds its one task, which closes it
		if tasks.Add(1) == 1 {
			<-first
		} else {
			<-others
		}
		return drain(ctx), nil
	}, nil, sdkworker.Options{DeadlockDetectionTimeout: 5 * time.Minute})
	run := s.start(func(o *client.StartWorkflowOptions) { o.WorkflowTaskTimeout = 2 * time.Minute })
	s.eventually(func() bool { return tasks.Load() == 1 }, "no workflow task")
	require.NoError(t, s.signal("in time"))
	close(first)
	s.eventually(func() bool { return tasks.Load() == 2 }, "the task was not repeated")
	want := 2
	if err := s.signal("while closing"); err != nil {
		var exhausted *serviceerror.ResourceExhausted
		require.ErrorAs(t, err, &exhausted)
		want = 1
	}
	close(others)
	var read int
	require.NoError(t, run.Get(testContext(t), &read))
	require.Equal(t, want, read)
}

// TestFactE16SignalLimitIsInvalidArgument: the server takes 10,000 signals, then answers InvalidArgument; copies do not count.
// Leaning on it: webhookgw.answerTo (poison: not worth a repeat), payouts that get copies of a webhook without end (hazard L10).
func TestFactE16SignalLimitIsInvalidArgument(t *testing.T) {
	t.Parallel()
	const limit, senders = 10_000, 8
	s := newScene(t) // without a worker, which would only make it slower
	s.start()
	var flood errgroup.Group
	for sender := range senders {
		flood.Go(func() error {
			for i := range limit / senders {
				if err := s.signal(fmt.Sprintf("%d-%d", sender, i)); err != nil {
					return err
				}
			}
			return s.signal(fmt.Sprintf("%d-0", sender))
		})
	}
	require.NoError(t, flood.Wait())
	var invalid *serviceerror.InvalidArgument
	require.ErrorAs(t, s.signal("one more"), &invalid)
}

// TestFactH2SignalsNeedNoWorkerUpdatesDo: without a worker a signal is taken, an update is not even accepted.
// Leaning on it: webhookgw, which hands over by signal; starter, which bounds updates and queries (answerTimeout) and names the cause.
func TestFactH2SignalsNeedNoWorkerUpdatesDo(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.start()
	require.NoError(t, s.signal("1"))
	ctx, cancel := context.WithTimeout(testContext(t), 2*time.Second)
	defer cancel()
	_, err := shared.temporal.UpdateWorkflow(ctx, client.UpdateWorkflowOptions{
		WorkflowID: s.id, UpdateName: payout.UpdateDecide, WaitForStage: client.WorkflowUpdateStageAccepted,
	})
	var late *client.WorkflowUpdateServiceTimeoutOrCanceledError
	require.ErrorAs(t, err, &late)
}

// TestFactH3EarlySignalsAreKept: what arrives before the first line of a workflow is read later.
// Leaning on it: webhooks that overtake Pike's own answer (hazard W11), and payouts that wait for a worker (hazard L7).
func TestFactH3EarlySignalsAreKept(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.start()
	for _, id := range []string{"1", "2"} {
		require.NoError(t, s.signal(id))
	}
	s.work(counting, nil, sdkworker.Options{})
	require.Equal(t, 2, s.last())
}

// TestFactR14SignalReturnsBeforeItsDeadline: where Temporal falls silent, the SDK gives up at half the deadline, at the latest after 10s.
// Leaning on it: WEBHOOKGW_SIGNAL_TIMEOUT, within which Pike must get its 503 (hazard W14).
func TestFactR14SignalReturnsBeforeItsDeadline(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.start()
	var silent atomic.Bool
	temporal, err := client.Dial(client.Options{HostPort: shared.address, Logger: quiet(), ConnectionOptions: client.ConnectionOptions{
		DialOptions: []grpc.DialOption{grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			connection, err := new(net.Dialer).DialContext(ctx, "tcp", address)
			return mutedConnection{connection, &silent}, err
		})},
	}})
	require.NoError(t, err)
	t.Cleanup(temporal.Close)
	require.NoError(t, temporal.SignalWorkflow(testContext(t), s.id, "", factSignal, nil))
	silent.Store(true)
	for _, deadline := range []time.Duration{10 * time.Second, time.Minute} {
		t.Run(deadline.String(), func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), deadline)
			defer cancel()
			var late *serviceerror.DeadlineExceeded
			require.ErrorAs(t, temporal.SignalWorkflow(ctx, s.id, "", factSignal, nil), &late)
			require.NoError(t, ctx.Err())
		})
	}
}

// mutedConnection sends into a black hole while it is silent.
type mutedConnection struct {
	net.Conn
	silent *atomic.Bool
}

func (m mutedConnection) Write(p []byte) (int, error) {
	if m.silent.Load() {
		return len(p), nil
	}
	return m.Conn.Write(p)
}
