package telemetry

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.40.0"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

const (
	// tracesStopTimeout bounds how long a collector that does not answer can keep a process from its end.
	tracesStopTimeout = 3 * time.Second
	// maxAttributeLength is for what others choose, such as the ids in a webhook.
	maxAttributeLength = 256
	tracerName         = "pikepayouts"
)

// Traces are the spans of one process. The zero value makes none, exports none
// and runs nothing.
type Traces struct {
	provider *sdktrace.TracerProvider // nil while traces are off
	logger   *slog.Logger
}

// NewTraces exports spans over OTLP as OTEL_* says. A collector that is slow or
// gone costs spans, never a payout: they wait in a queue of bounded size, and
// what does not fit is dropped. Service is the name unless OTEL_SERVICE_NAME is set.
func NewTraces(ctx context.Context, service string, logger *slog.Logger) (*Traces, error) {
	hearOpenTelemetry(logger)
	exporter, err := otlptracehttp.New(ctx)
	if err != nil {
		return nil, fmt.Errorf("making the OTLP exporter: %w", err)
	}
	return TracesTo(ctx, exporter, service, logger)
}

// hearOpenTelemetry brings OpenTelemetry's complaints into the log; it has one place for them per process. Its own
// log is dropped: it quotes values of variables, credentials of the collector among them.
func hearOpenTelemetry(logger *slog.Logger) {
	otel.SetLogger(logr.Discard())
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { logger.Warn("OpenTelemetry", "error", err) }))
}

// TracesTo is NewTraces with an exporter of the caller's.
func TracesTo(ctx context.Context, exporter sdktrace.SpanExporter, service string, logger *slog.Logger) (*Traces, error) {
	// Not the process's own attributes: its command line may hold a token.
	attributes, err := resource.New(ctx, resource.WithAttributes(semconv.ServiceName(service)), resource.WithTelemetrySDK(), resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	limits := sdktrace.NewSpanLimits()
	if limits.AttributeValueLengthLimit < 0 {
		limits.AttributeValueLengthLimit = maxAttributeLength
	}
	provider := sdktrace.NewTracerProvider(
		sdktrace.WithBatcher(&calmExporter{SpanExporter: exporter, logger: logger}),
		sdktrace.WithResource(attributes), sdktrace.WithRawSpanLimits(limits), sdktrace.WithIDGenerator(runIDs{}),
	)
	return &Traces{provider: provider, logger: logger}, nil
}

// Tracer makes the spans.
func (t *Traces) Tracer() trace.Tracer {
	if t.provider == nil {
		return noop.NewTracerProvider().Tracer(tracerName)
	}
	return t.provider.Tracer(tracerName)
}

// Stop exports what is left, for a bounded time, also after the end of ctx.
func (t *Traces) Stop(ctx context.Context) {
	if t.provider == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tracesStopTimeout)
	defer cancel()
	if err := t.provider.Shutdown(ctx); err != nil {
		t.logger.Warn("the last traces may be lost", "error", err)
	}
}

// calmExporter logs when exporting begins to fail and when it works again: a
// collector that is down must not fill the log.
type calmExporter struct {
	sdktrace.SpanExporter
	logger  *slog.Logger
	failing atomic.Bool
}

// ExportSpans implements sdktrace.SpanExporter.
func (e *calmExporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	err := e.SpanExporter.ExportSpans(ctx, spans)
	failed := err != nil
	switch wasFailing := e.failing.Swap(failed); {
	case failed && !wasFailing:
		e.logger.Warn("traces cannot be exported, payouts go on without", "error", fmt.Sprintf("%.300s", err))
	case !failed && wasFailing:
		e.logger.Info("traces are exported again")
	}
	return nil //nolint:nilerr // it was told; the SDK would tell it each time
}
