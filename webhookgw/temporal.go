package webhookgw

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"
	"google.golang.org/grpc"

	"pikepayouts/payout"
)

// ErrNoRequestIDs says that the Temporal client was built without RequestIDDialOption.
// Without it every delivery of a webhook would be an event of its own (hazard
// E02), so nothing is sent.
var ErrNoRequestIDs = errors.New("the Temporal client lacks webhookgw.RequestIDDialOption, its signals would not be deduplicated")

// NewTemporal returns the Temporal that signals payouts' workflows, and starts
// those of late events on the task queue of the workers, payout.DefaultTaskQueue
// if empty. The client must have been built with RequestIDDialOption, else every
// Signal returns ErrNoRequestIDs.
func NewTemporal(c client.Client, taskQueue string) Temporal {
	return &temporalClient{client: c, taskQueue: cmp.Or(taskQueue, payout.DefaultTaskQueue)}
}

// RequestIDDialOption belongs into client.Options.ConnectionOptions.DialOptions:
// the SDK has no other way to choose the request id of a signal (hazard H1).
func RequestIDDialOption() grpc.DialOption {
	return grpc.WithChainUnaryInterceptor(setRequestID)
}

type temporalClient struct {
	client    client.Client
	taskQueue string
	// hasInterceptor is set once the client was seen to run setRequestID.
	hasInterceptor atomic.Bool
}

func (s *temporalClient) Signal(ctx context.Context, payoutID string, event payout.Event) error {
	if err := s.checkInterceptor(ctx); err != nil {
		return err
	}
	ctx = context.WithValue(ctx, requestIDKey{}, &requestIDCarrier{id: event.ID})
	if err := s.client.SignalWorkflow(ctx, payout.WorkflowID(payoutID), "", event.Type, event); err != nil {
		return fmt.Errorf("signalling the payout: %w", err)
	}
	return nil
}

var sessionKey = temporal.NewSearchAttributeKeyKeyword(payout.SearchAttributeSession)

// Keep is done where the event was kept before, open or closed. No timeout: only the truth or a person closes it.
func (s *temporalClient) Keep(ctx context.Context, event payout.LateEvent) error {
	_, err := s.client.ExecuteWorkflow(ctx, client.StartWorkflowOptions{
		ID: payout.LateEventWorkflowID(event.Event), TaskQueue: s.taskQueue,
		WorkflowIDReusePolicy:    enumspb.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE,
		WorkflowIDConflictPolicy: enumspb.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING,
		TypedSearchAttributes:    temporal.NewSearchAttributes(sessionKey.ValueSet(event.Event.SessionKeyword())),
		StaticSummary:            payout.LateEventSummary(event.Event, event.Reason),
	}, payout.LateEventWorkflowType, event)
	if err != nil && !temporal.IsWorkflowExecutionAlreadyStartedError(err) {
		return fmt.Errorf("keeping the late event: %w", err)
	}
	return nil
}

// checkInterceptor looks, by a call that changes nothing, whether the client
// runs setRequestID: after a signal it would be too late. Once per process.
func (s *temporalClient) checkInterceptor(ctx context.Context) error {
	if s.hasInterceptor.Load() {
		return nil
	}
	var carrier requestIDCarrier
	ctx = context.WithValue(ctx, requestIDKey{}, &carrier)
	if _, err := s.client.WorkflowService().GetSystemInfo(ctx, &workflowservice.GetSystemInfoRequest{}); err != nil {
		return fmt.Errorf("asking Temporal for its version: %w", err)
	}
	if !carrier.seen {
		return ErrNoRequestIDs
	}
	s.hasInterceptor.Store(true)
	return nil
}

type requestIDKey struct{}

// requestIDCarrier brings the id of one call from Signal to setRequestID.
type requestIDCarrier struct {
	id   string
	seen bool // by setRequestID
}

func setRequestID(ctx context.Context, method string, request, reply any, connection *grpc.ClientConn, invoke grpc.UnaryInvoker, options ...grpc.CallOption) error {
	if carrier, ok := ctx.Value(requestIDKey{}).(*requestIDCarrier); ok {
		carrier.seen = true
		if signal, ok := request.(*workflowservice.SignalWorkflowExecutionRequest); ok {
			signal.RequestId = carrier.id
		}
	}
	return invoke(ctx, method, request, reply, connection, options...)
}
