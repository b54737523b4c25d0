package webhookgw_test

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"pikepayouts/payout"
	"pikepayouts/webhookgw"
)

// fakeTemporal is the part of Temporal's frontend that a signal touches.
type fakeTemporal struct {
	workflowservice.UnimplementedWorkflowServiceServer
	listener *bufconn.Listener
	mutex    sync.Mutex
	signals  []*workflowservice.SignalWorkflowExecutionRequest
	starts   []*workflowservice.StartWorkflowExecutionRequest
	answer   func(ctx context.Context) error
}

func startFakeTemporal(t *testing.T) *fakeTemporal {
	t.Helper()
	fake := &fakeTemporal{listener: bufconn.Listen(1 << 20), answer: func(context.Context) error { return nil }}
	server := grpc.NewServer()
	workflowservice.RegisterWorkflowServiceServer(server, fake)
	go func() { _ = server.Serve(fake.listener) }()
	t.Cleanup(server.Stop)
	return fake
}

func (f *fakeTemporal) GetSystemInfo(context.Context, *workflowservice.GetSystemInfoRequest) (*workflowservice.GetSystemInfoResponse, error) {
	return &workflowservice.GetSystemInfoResponse{ServerVersion: "1.32.2", Capabilities: &workflowservice.GetSystemInfoResponse_Capabilities{}}, nil
}

func (f *fakeTemporal) SignalWorkflowExecution(ctx context.Context, request *workflowservice.SignalWorkflowExecutionRequest) (*workflowservice.SignalWorkflowExecutionResponse, error) {
	f.mutex.Lock()
	f.signals = append(f.signals, request)
	answer := f.answer
	f.mutex.Unlock()
	if err := answer(ctx); err != nil {
		return nil, err
	}
	return &workflowservice.SignalWorkflowExecutionResponse{}, nil
}

func (f *fakeTemporal) StartWorkflowExecution(_ context.Context, request *workflowservice.StartWorkflowExecutionRequest) (*workflowservice.StartWorkflowExecutionResponse, error) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	f.starts = append(f.starts, request)
	return &workflowservice.StartWorkflowExecutionResponse{RunId: "run"}, nil
}

func (f *fakeTemporal) seen() []*workflowservice.SignalWorkflowExecutionRequest {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	return append([]*workflowservice.SignalWorkflowExecutionRequest(nil), f.signals...)
}

// dial connects the real SDK client; options are the ones under test.
func (f *fakeTemporal) dial(t *testing.T, dataConverter converter.DataConverter, options ...grpc.DialOption) client.Client {
	t.Helper()
	options = append(options, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return f.listener.DialContext(ctx) }))
	temporal, err := client.NewLazyClient(client.Options{
		HostPort: "passthrough:///fake", Namespace: "payouts", DataConverter: dataConverter, Logger: discard,
		ConnectionOptions: client.ConnectionOptions{DialOptions: options},
	})
	require.NoError(t, err)
	t.Cleanup(temporal.Close)
	return temporal
}

func gatewayBefore(t *testing.T, temporal client.Client, timeout time.Duration) *harness {
	t.Helper()
	return newHarness(t, func(c *webhookgw.Config) {
		c.Temporal = webhookgw.NewTemporal(temporal, "queue")
		c.SignalTimeout = timeout
	})
}

// TestRequestIDReachesTemporal: hazards E02 and H1.
func TestRequestIDReachesTemporal(t *testing.T) {
	fake := startFakeTemporal(t)
	h := gatewayBefore(t, fake.dial(t, nil, webhookgw.RequestIDDialOption()), time.Minute)
	ready, finished := webhookBody("ready_to_confirm", `"inv-1"`), webhookBody("payment_finished", `"inv-1"`)
	for _, body := range []string{ready, ready, finished, ready} {
		require.Equal(t, 200, h.postSigned(body).Code)
	}
	signals := fake.seen()
	require.Len(t, signals, 4)
	first := signals[0]
	require.Equal(t, "payouts", first.Namespace)
	require.Equal(t, "payout/inv-1", first.WorkflowExecution.WorkflowId)
	require.Empty(t, first.WorkflowExecution.RunId, "the current run, whichever it is")
	require.Equal(t, payout.SignalReadyToConfirm, first.SignalName)
	require.Regexp(t, `^[0-9a-f]{64}$`, first.RequestId)
	require.Equal(t, first.RequestId, signals[1].RequestId)
	require.Equal(t, first.RequestId, signals[3].RequestId)
	require.Equal(t, payout.SignalPaymentFinished, signals[2].SignalName)
	require.NotEqual(t, first.RequestId, signals[2].RequestId)
	var event payout.Event
	require.NoError(t, converter.GetDefaultDataConverter().FromPayloads(first.Input, &event))
	require.Equal(t, "ps_3230", event.SessionID)
	require.NotContains(t, first.Input.String(), canary, "card data does not travel in events")
}

func TestASignalThatIsRepeatedByTheSDKKeepsItsRequestID(t *testing.T) {
	fake := startFakeTemporal(t)
	attempts := 0
	fake.answer = func(context.Context) error {
		if attempts++; attempts == 1 {
			return status.Error(codes.Unavailable, "restarting")
		}
		return nil
	}
	h := gatewayBefore(t, fake.dial(t, nil, webhookgw.RequestIDDialOption()), time.Minute)
	require.Equal(t, 200, h.postSigned(webhookBody("ready_to_confirm", `"inv-1"`)).Code)
	signals := fake.seen()
	require.Len(t, signals, 2)
	require.Equal(t, signals[0].RequestId, signals[1].RequestId)
}

func TestWithoutTheInterceptorNothingIsSignalled(t *testing.T) {
	fake := startFakeTemporal(t)
	temporal := fake.dial(t, nil)
	err := webhookgw.NewTemporal(temporal, "").Signal(t.Context(), "inv-1", payout.Event{ID: "id", Type: payout.SignalReadyToConfirm})
	require.ErrorIs(t, err, webhookgw.ErrNoRequestIDs)
	h := gatewayBefore(t, temporal, time.Minute)
	require.Equal(t, 503, h.postSigned(webhookBody("ready_to_confirm", `"inv-1"`)).Code)
	require.Equal(t, map[string]float64{"ready_to_confirm/hand_off_failed": 1}, h.counts())
	require.Contains(t, h.log.String(), "RequestIDDialOption")
	require.Empty(t, fake.seen())
}

func TestOtherCallsOfTheClientKeepTheirRequestIDs(t *testing.T) {
	fake := startFakeTemporal(t)
	temporal := fake.dial(t, nil, webhookgw.RequestIDDialOption())
	require.NoError(t, temporal.SignalWorkflow(t.Context(), "payout/inv-1", "", "ready_to_confirm", nil))
	require.NotEmpty(t, fake.seen()[0].RequestId)
}

// TestALateEventIsKeptUnderItsOwnID: one record per event, whatever is delivered how often (hazard W13).
func TestALateEventIsKeptUnderItsOwnID(t *testing.T) {
	fake := startFakeTemporal(t)
	fake.answer = func(context.Context) error { return serviceerror.ToStatus(serviceerror.NewNotFound("gone")).Err() }
	h := gatewayBefore(t, fake.dial(t, nil, webhookgw.RequestIDDialOption()), time.Minute)
	for range 2 {
		require.Equal(t, 200, h.postSigned(webhookBody("payment_finished", `"inv-1"`)).Code)
	}
	require.Len(t, fake.starts, 2)
	for _, start := range fake.starts {
		require.Regexp(t, `^payout-event/ps_3230/[0-9a-f]{64}$`, start.WorkflowId)
		require.Equal(t, fake.starts[0].WorkflowId, start.WorkflowId)
		require.Equal(t, payout.LateEventWorkflowType, start.WorkflowType.GetName())
		require.Equal(t, "queue", start.TaskQueue.GetName())
		require.Equal(t, enumspb.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE, start.WorkflowIdReusePolicy)
		require.Equal(t, enumspb.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING, start.WorkflowIdConflictPolicy)
		require.Zero(t, start.WorkflowExecutionTimeout.AsDuration()+start.WorkflowRunTimeout.AsDuration())
		require.NotContains(t, start.Input.String(), canary)
		require.Contains(t, start.SearchAttributes.GetIndexedFields(), payout.SearchAttributeSession)
	}
}

// TestTemporalErrorsOverTheWire maps what a real client makes of a server's errors.
func TestTemporalErrorsOverTheWire(t *testing.T) {
	tests := map[string]struct {
		err        error
		wantStatus int
		wantAnswer string
	}{
		"NotFound":                              {serviceerror.ToStatus(serviceerror.NewNotFound("workflow not found")).Err(), 200, "no_open_payout"},
		"NamespaceNotFound":                     {serviceerror.ToStatus(serviceerror.NewNamespaceNotFound("payouts")).Err(), 503, "hand_off_failed"},
		"InvalidArgument":                       {status.Error(codes.InvalidArgument, "exceeded"), 200, "poison"},
		"PermissionDenied":                      {status.Error(codes.PermissionDenied, "no"), 503, "hand_off_failed"},
		"Unauthenticated":                       {status.Error(codes.Unauthenticated, "who"), 503, "hand_off_failed"},
		"FailedPrecondition":                    {status.Error(codes.FailedPrecondition, "no"), 503, "hand_off_failed"},
		"Unimplemented":                         {status.Error(codes.Unimplemented, "no"), 503, "hand_off_failed"},
		"AlreadyExists":                         {status.Error(codes.AlreadyExists, "no"), 503, "hand_off_failed"},
		"DeadlineExceeded":                      {status.Error(codes.DeadlineExceeded, "slow"), 503, "unavailable"},
		"Canceled":                              {status.Error(codes.Canceled, "gone"), 503, "unavailable"},
		"Unavailable":                           {status.Error(codes.Unavailable, "down"), 503, "unavailable"},
		"ResourceExhausted":                     {status.Error(codes.ResourceExhausted, "workflow is closing"), 503, "unavailable"},
		"Internal, repeated until the deadline": {status.Error(codes.Internal, "bug"), 503, "unavailable"},
		"Unknown, repeated until the deadline":  {status.Error(codes.Unknown, "bug"), 503, "unavailable"},
		"DataLoss":                              {status.Error(codes.DataLoss, "disk"), 503, "hand_off_failed"},
		"Aborted, repeated until the deadline":  {status.Error(codes.Aborted, "busy"), 503, "unavailable"},
		"never answers at all":                  {nil, 503, "unavailable"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fake := startFakeTemporal(t)
			fake.answer = func(ctx context.Context) error {
				if tt.err == nil {
					<-ctx.Done()
					return ctx.Err()
				}
				return tt.err
			}
			h := gatewayBefore(t, fake.dial(t, nil, webhookgw.RequestIDDialOption()), 500*time.Millisecond)
			require.Equal(t, tt.wantStatus, h.postSigned(webhookBody("ready_to_confirm", `"inv-1"`)).Code)
			require.Equal(t, map[string]float64{"ready_to_confirm/" + tt.wantAnswer: 1}, h.counts())
		})
	}
}

func TestTemporalThatIsNotThere(t *testing.T) {
	fake := startFakeTemporal(t)
	require.NoError(t, fake.listener.Close())
	h := gatewayBefore(t, fake.dial(t, nil, webhookgw.RequestIDDialOption()), 100*time.Millisecond)
	require.Equal(t, 503, h.postSigned(webhookBody("ready_to_confirm", `"inv-1"`)).Code)
	require.Equal(t, map[string]float64{"ready_to_confirm/unavailable": 1}, h.counts())
}

type brokenCodec struct{}

func (brokenCodec) Encode([]*commonpb.Payload) ([]*commonpb.Payload, error) {
	return nil, errors.New("keyset: no primary key")
}
func (brokenCodec) Decode([]*commonpb.Payload) ([]*commonpb.Payload, error) { return nil, nil }

func TestCodecFaultIsOurs(t *testing.T) {
	fake := startFakeTemporal(t)
	broken := converter.NewCodecDataConverter(converter.GetDefaultDataConverter(), brokenCodec{})
	h := gatewayBefore(t, fake.dial(t, broken, webhookgw.RequestIDDialOption()), time.Minute)
	require.Equal(t, 503, h.postSigned(webhookBody("ready_to_confirm", `"inv-1"`)).Code)
	require.Equal(t, map[string]float64{"ready_to_confirm/hand_off_failed": 1}, h.counts())
	require.Empty(t, fake.seen())
}
