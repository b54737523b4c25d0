package telemetry_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime/pprof"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"pikepayouts/telemetry"
)

// exporterFunc gets each batch.
type exporterFunc func([]sdktrace.ReadOnlySpan) error

// ExportSpans implements sdktrace.SpanExporter.
func (f exporterFunc) ExportSpans(_ context.Context, spans []sdktrace.ReadOnlySpan) error {
	return f(spans)
}

// Shutdown implements sdktrace.SpanExporter.
func (f exporterFunc) Shutdown(context.Context) error { return nil }

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func tracesTo(t *testing.T, exporter sdktrace.SpanExporter, logger *slog.Logger) *telemetry.Traces {
	t.Helper()
	traces, err := telemetry.TracesTo(t.Context(), exporter, "payouts-test", logger)
	require.NoError(t, err)
	t.Cleanup(func() { traces.Stop(t.Context()) })
	return traces
}

// goroutinesOfTheSDK says whether anything of OpenTelemetry's SDK for traces runs.
func goroutinesOfTheSDK(t *testing.T) bool {
	t.Helper()
	var stacks bytes.Buffer
	require.NoError(t, pprof.Lookup("goroutine").WriteTo(&stacks, 2))
	return strings.Contains(stacks.String(), "go.opentelemetry.io/otel/sdk/trace.")
}

func TestTracesThatAreOffDoNothing(t *testing.T) {
	var off telemetry.Traces
	require.Empty(t, off.Interceptors())
	_, span := off.Tracer().Start(t.Context(), "x")
	require.False(t, span.IsRecording())
	require.False(t, span.SpanContext().IsValid())
	require.False(t, goroutinesOfTheSDK(t))
	off.Stop(t.Context())

	on := tracesTo(t, tracetest.NewNoopExporter(), quiet())
	require.Len(t, on.Interceptors(), 2)
	require.Eventually(t, func() bool { return goroutinesOfTheSDK(t) }, time.Minute, time.Millisecond, "the test looks for the wrong goroutine")
	on.Stop(t.Context())
	require.False(t, goroutinesOfTheSDK(t))
}

func TestTracesNameTheirProcess(t *testing.T) {
	for variable, want := range map[string]string{"": "payouts-test", "other": "other"} {
		t.Setenv("OTEL_SERVICE_NAME", variable)
		t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=staging")
		var got map[attribute.Key]attribute.Value
		traces := tracesTo(t, exporterFunc(func(spans []sdktrace.ReadOnlySpan) error {
			got = map[attribute.Key]attribute.Value{}
			for _, a := range spans[0].Resource().Attributes() {
				got[a.Key] = a.Value
			}
			return nil
		}), quiet())
		_, span := traces.Tracer().Start(t.Context(), "x", trace.WithAttributes(attribute.String("long", strings.Repeat("x", 10_000))))
		span.End()
		require.Len(t, span.(sdktrace.ReadOnlySpan).Attributes()[0].Value.AsString(), 256)
		traces.Stop(t.Context())
		require.Equal(t, want, got["service.name"].AsString())
		require.Equal(t, "staging", got["deployment.environment.name"].AsString())
		for key := range got {
			require.NotContains(t, key, "process.", "a command line may hold a token")
		}
	}
}

// TestACollectorThatFailsIsToldOfOnce: and once more when it is back.
func TestACollectorThatFailsIsToldOfOnce(t *testing.T) {
	t.Setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "1")
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { t.Errorf("the SDK tells it too: %s", err) }))
	defer otel.SetErrorHandler(otel.ErrorHandlerFunc(func(error) {}))
	answers := []error{nil, errors.New("down"), errors.New("down"), errors.New("down"), nil, nil, errors.New("down")}
	var mutex sync.Mutex
	exported := 0
	var log bytes.Buffer
	traces := tracesTo(t, exporterFunc(func([]sdktrace.ReadOnlySpan) error {
		mutex.Lock()
		defer mutex.Unlock()
		exported++
		return answers[exported-1]
	}), slog.New(slog.NewTextHandler(&log, nil)))
	for range answers {
		_, span := traces.Tracer().Start(t.Context(), "x")
		span.End()
	}
	traces.Stop(t.Context())
	require.Len(t, answers, exported)
	var told []string
	for line := range strings.Lines(log.String()) {
		_, message, _ := strings.Cut(strings.TrimSpace(line), "msg=")
		told = append(told, message)
	}
	down, up := `"traces cannot be exported, payouts go on without" error=down`, `"traces are exported again"`
	require.Equal(t, []string{down, up, down}, told)
}

// TestStopDoesNotWaitForACollector: this one never answers. Without a bound the test would not end.
func TestStopDoesNotWaitForACollector(t *testing.T) {
	over := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-over }))
	defer server.Close()
	defer close(over)
	exporter, err := otlptracehttp.New(t.Context(), otlptracehttp.WithEndpointURL(server.URL+"/v1/traces"))
	require.NoError(t, err)
	traces := tracesTo(t, exporter, quiet())
	_, span := traces.Tracer().Start(t.Context(), "x")
	span.End()
	ended, cancel := context.WithCancel(t.Context())
	cancel() // as it is when a process stops
	traces.Stop(ended)
}
