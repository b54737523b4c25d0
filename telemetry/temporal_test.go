package telemetry_test

import (
	"bytes"
	"log/slog"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.temporal.io/sdk/client"

	"pikepayouts/telemetry"
)

func temporalMetrics(t *testing.T, logger *slog.Logger, views ...metric.View) (*prometheus.Registry, client.MetricsHandler) {
	registry := prometheus.NewRegistry()
	handler, err := telemetry.NewTemporalMetrics(registry, logger, views...)
	require.NoError(t, err)
	return registry, handler
}

// scraped is what the ops port shows of the registry, without help and types.
func scraped(t *testing.T, registry *prometheus.Registry) []string {
	t.Helper()
	config := opsConfig()
	config.Gatherer = registry
	ops, _ := startOps(t, config)
	status, body := get(t, ops, "/metrics")
	require.Equal(t, 200, status, body)
	var lines []string
	for line := range strings.Lines(body) {
		if !strings.HasPrefix(line, "#") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines
}

// TestNamesOfTemporalMetrics: one suffix each, and no labels or metrics beside those that were asked for.
func TestNamesOfTemporalMetrics(t *testing.T) {
	registry, handler := temporalMetrics(t, slog.New(slog.DiscardHandler))
	tagged := handler.WithTags(map[string]string{"operation": "PollWorkflowTaskQueue"})
	tagged.Counter("temporal_request").Inc(2)
	tagged.Counter("things_total").Inc(3)
	tagged.Gauge("temporal_num_pollers").Update(4)
	tagged.Timer("temporal_request_latency").Record(400 * time.Millisecond)
	lines := scraped(t, registry)
	require.Contains(t, lines, `temporal_request_latency_seconds_bucket{operation="PollWorkflowTaskQueue",le="0.25"} 0`)
	require.Contains(t, lines, `temporal_request_latency_seconds_bucket{operation="PollWorkflowTaskQueue",le="0.5"} 1`)
	lines = withoutBuckets(lines)
	require.Equal(t, []string{
		`temporal_num_pollers{operation="PollWorkflowTaskQueue"} 4`,
		`temporal_request_latency_seconds_sum{operation="PollWorkflowTaskQueue"} 0.4`,
		`temporal_request_latency_seconds_count{operation="PollWorkflowTaskQueue"} 1`,
		`temporal_request_total{operation="PollWorkflowTaskQueue"} 2`,
		`things_total{operation="PollWorkflowTaskQueue"} 3`,
	}, lines)
}

func TestViewsOfTemporalMetrics(t *testing.T) {
	registry, handler := temporalMetrics(t, slog.New(slog.DiscardHandler),
		metric.NewView(metric.Instrument{Name: "work_seconds"}, metric.Stream{
			AttributeFilter: attribute.NewAllowKeysFilter("kind"),
			Aggregation:     metric.AggregationExplicitBucketHistogram{Boundaries: []float64{60, 3600}},
		}))
	handler.WithTags(map[string]string{"kind": "", "namespace": "default"}).Timer("work_seconds").Record(time.Hour)
	require.Equal(t, []string{
		`work_seconds_bucket{kind="",le="60"} 0`,
		`work_seconds_bucket{kind="",le="3600"} 1`,
		`work_seconds_bucket{kind="",le="+Inf"} 1`,
		`work_seconds_sum{kind=""} 3600`,
		`work_seconds_count{kind=""} 1`,
	}, scraped(t, registry))
}

// TestStrangersLabelsAreBounded: what is too much is pooled, and the scrape goes on.
func TestStrangersLabelsAreBounded(t *testing.T) {
	registry, handler := temporalMetrics(t, slog.New(slog.DiscardHandler))
	for i := range 1000 {
		handler.WithTags(map[string]string{"workflow_type": strconv.Itoa(i)}).Counter("temporal_workflow_failed").Inc(1)
	}
	lines := scraped(t, registry)
	require.Len(t, lines, 500)
	require.Contains(t, lines, `temporal_workflow_failed_total{otel_metric_overflow="true"} 501`)
}

// TestABadMetricIsLogged: by default it would panic, which in a workflow stops payouts.
func TestABadMetricIsLogged(t *testing.T) {
	var logged bytes.Buffer
	registry, handler := temporalMetrics(t, slog.New(slog.NewTextHandler(&logged, nil)))
	handler.Counter("no name").Inc(1)
	require.Contains(t, logged.String(), "a metric is missing")
	require.Empty(t, scraped(t, registry))
}

func withoutBuckets(lines []string) []string {
	var kept []string
	for _, line := range lines {
		if !strings.Contains(line, "_bucket{") {
			kept = append(kept, line)
		}
	}
	return kept
}
