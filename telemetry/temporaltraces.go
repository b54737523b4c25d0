package telemetry

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"go.temporal.io/sdk/contrib/opentelemetry"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"pikepayouts/payout"
)

// Names that the SDK's interceptor gives.
const (
	operationRunWorkflow  = "RunWorkflow"
	operationHandleUpdate = "HandleUpdate"
	tagWorkflowID         = "temporalWorkflowID"
	tagRunID              = "temporalRunID"
)

// Interceptors are for a Temporal client: with it, calls, workflows and
// activities get spans, of which each is the parent of what it causes. The trace
// context travels in Temporal's headers, which stand in histories in clear text,
// whatever codec the client has; it is ids and nothing else. Interceptors add no
// commands: histories with and without them replay with and without them.
func (t *Traces) Interceptors() []interceptor.ClientInterceptor {
	if t.provider == nil {
		return nil
	}
	tracer, err := newTemporalTracer(t.Tracer())
	if err != nil {
		panic("telemetry: the SDK refuses its own options: " + err.Error())
	}
	return []interceptor.ClientInterceptor{interceptor.NewTracingInterceptor(tracer), &liveEnds{}}
}

// temporalTracer is the SDK's, whose spans of workflows do not suit replays: they get an id by chance, and end,
// and are exported, each time that the workflow is replayed to its end or dropped from the cache. Here the span of a run has
// the id that the run gives it, so that what any worker makes under it has its parent, and is exported once, when the run ends.
type temporalTracer struct {
	interceptor.Tracer
	options opentelemetry.TracerOptions
}

func newTemporalTracer(tracer trace.Tracer) (temporalTracer, error) {
	options := opentelemetry.TracerOptions{
		Tracer: tracer,
		// A header that cannot be read costs the trace its parent. Otherwise it would fail the payout.
		AllowInvalidParentSpans: true,
		// Baggage may hold anything, and would stay in the history.
		TextMapPropagator: propagation.TraceContext{}, DisableBaggage: true,
		// Queries change nothing, and people and scripts repeat them without end.
		DisableQueryTracing: true,
	}
	sdkTracer, err := opentelemetry.NewTracer(options)
	if err != nil {
		return temporalTracer{}, fmt.Errorf("making the tracer: %w", err)
	}
	return temporalTracer{Tracer: sdkTracer, options: options}, nil
}

// StartSpan implements interceptor.Tracer: the SDK's own, with a SpanStarter that knows what the span is for.
func (t temporalTracer) StartSpan(of *interceptor.TracerStartSpanOptions) (interceptor.TracerSpan, error) {
	options := t.options
	options.SpanStarter = func(ctx context.Context, tracer trace.Tracer, name string, start ...trace.SpanStartOption) trace.Span {
		if of.Operation == operationRunWorkflow {
			ctx = context.WithValue(ctx, runIDKey{}, of.Tags[tagRunID])
		}
		if id, is := payout.IDFromWorkflowID(of.Tags[tagWorkflowID]); is {
			start = append(start, trace.WithAttributes(attribute.String("payout_id", id)))
		}
		_, span := tracer.Start(ctx, name, start...)
		return &temporalSpan{Span: span, live: of.Operation != operationRunWorkflow && of.Operation != operationHandleUpdate}
	}
	tracer, err := opentelemetry.NewTracer(options)
	if err != nil {
		return nil, err //nolint:wrapcheck // the SDK's, to the SDK
	}
	return tracer.StartSpan(of) //nolint:wrapcheck // the SDK's, to the SDK
}

// temporalSpan tells of an error its type alone: texts of Pike, of decoders and of other clients could hold anything.
type temporalSpan struct {
	trace.Span
	// live is false while the end could be that of a replay, or of a workflow dropped from the cache.
	live bool
}

// End implements trace.Span.
func (s *temporalSpan) End(options ...trace.SpanEndOption) {
	if s.live {
		s.Span.End(options...)
	}
}

// RecordError implements trace.Span.
func (s *temporalSpan) RecordError(err error, _ ...trace.EventOption) {
	var again *workflow.ContinueAsNewError
	if err == nil || errors.As(err, &again) {
		return
	}
	s.SetAttributes(attribute.String("error.type", errorType(err)))
	s.Span.SetStatus(codes.Error, "")
}

// SetStatus implements trace.Span. RecordError has set it.
func (s *temporalSpan) SetStatus(codes.Code, string) {}

// errorType is the type of an ApplicationError, which the workflow decides by, or else that of the innermost error.
func errorType(err error) string {
	var application *temporal.ApplicationError
	if errors.As(err, &application) && application.Type() != "" {
		return application.Type()
	}
	for inner := errors.Unwrap(err); inner != nil; inner = errors.Unwrap(err) {
		err = inner
	}
	return fmt.Sprintf("%T", err)
}

// liveEnds goes after the SDK's interceptor and tells its spans when they end for the first time.
type liveEnds struct {
	interceptor.InterceptorBase
}

// InterceptWorkflow implements interceptor.WorkerInterceptor.
func (*liveEnds) InterceptWorkflow(_ workflow.Context, next interceptor.WorkflowInboundInterceptor) interceptor.WorkflowInboundInterceptor {
	return &liveWorkflowEnds{interceptor.WorkflowInboundInterceptorBase{Next: next}}
}

type liveWorkflowEnds struct {
	interceptor.WorkflowInboundInterceptorBase
}

// ExecuteWorkflow implements interceptor.WorkflowInboundInterceptor. A workflow that is dropped from the cache never returns.
func (w *liveWorkflowEnds) ExecuteWorkflow(ctx workflow.Context, in *interceptor.ExecuteWorkflowInput) (any, error) {
	result, err := w.Next.ExecuteWorkflow(ctx, in)
	endsLive(ctx)
	return result, err //nolint:wrapcheck // the workflow's own
}

// ExecuteUpdate implements interceptor.WorkflowInboundInterceptor.
func (w *liveWorkflowEnds) ExecuteUpdate(ctx workflow.Context, in *interceptor.UpdateInput) (any, error) {
	result, err := w.Next.ExecuteUpdate(ctx, in)
	endsLive(ctx)
	return result, err //nolint:wrapcheck // the workflow's own
}

func endsLive(ctx workflow.Context) {
	span, _ := opentelemetry.SpanFromWorkflowContext(ctx)
	if own, is := span.(*temporalSpan); is && !workflow.IsReplaying(ctx) {
		own.live = true
	}
}

type runIDKey struct{}

// runIDs makes ids by chance, but those of a run's span from its run id.
type runIDs struct{}

// NewIDs implements sdktrace.IDGenerator.
func (g runIDs) NewIDs(ctx context.Context) (traceID trace.TraceID, spanID trace.SpanID) {
	if runID, is := ctx.Value(runIDKey{}).(string); is {
		sum := sha256.Sum256([]byte("trace " + runID))
		copy(traceID[:], sum[:])
	} else {
		_, _ = rand.Read(traceID[:])
	}
	return traceID, g.NewSpanID(ctx, traceID)
}

// NewSpanID implements sdktrace.IDGenerator.
func (runIDs) NewSpanID(ctx context.Context, _ trace.TraceID) (spanID trace.SpanID) {
	if runID, is := ctx.Value(runIDKey{}).(string); is {
		sum := sha256.Sum256([]byte("span " + runID))
		copy(spanID[:], sum[:])
	} else {
		_, _ = rand.Read(spanID[:])
	}
	return spanID
}
