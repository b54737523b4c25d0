package workflows_test

import (
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/interceptor"
	sdkworker "go.temporal.io/sdk/worker"

	"pikepayouts/telemetry"
	"pikepayouts/workflows"
)

// TestRecordedHistoriesReplayWithTraces: traces may be turned on while payouts are open, and what was done before is no news.
func TestRecordedHistoriesReplayWithTraces(t *testing.T) {
	var exported spanNames
	traces, err := telemetry.TracesTo(t.Context(), &exported, "test", slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	var interceptors []interceptor.WorkerInterceptor
	for _, i := range traces.Interceptors() {
		interceptors = append(interceptors, i.(interceptor.WorkerInterceptor))
	}
	files, err := filepath.Glob(filepath.Join("testdata", "histories", "*.json"))
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(files), 25)
	for _, path := range files {
		file, err := os.Open(path)
		require.NoError(t, err)
		history, err := client.HistoryFromJSON(file, client.HistoryJSONOptions{})
		require.NoError(t, file.Close())
		require.NoError(t, err)
		require.NoError(t, replayWith(sdkworker.WorkflowReplayerOptions{Interceptors: interceptors}, history, workflows.PayoutWorkflow, io.Discard), path)
	}
	_, own := traces.Tracer().Start(t.Context(), "exported")
	own.End()
	traces.Stop(t.Context())
	require.Equal(t, spanNames{"exported"}, exported)
}

// spanNames is an exporter.
type spanNames []string

// ExportSpans implements sdktrace.SpanExporter.
func (n *spanNames) ExportSpans(_ context.Context, spans []sdktrace.ReadOnlySpan) error {
	for _, span := range spans {
		*n = append(*n, span.Name())
	}
	return nil
}

// Shutdown implements sdktrace.SpanExporter.
func (*spanNames) Shutdown(context.Context) error { return nil }
