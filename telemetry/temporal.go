package telemetry

import (
	"fmt"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"
	otelprometheus "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/contrib/opentelemetry"
)

// sdkTimerBuckets are for every timer of the SDK, in seconds: from one request
// to a task that no worker took up in time.
var sdkTimerBuckets = []float64{0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800}

// maxSeries bounds the series of one metric: what is beyond goes into one series,
// otel_metric_overflow. Whoever may start a workflow chooses the label workflow_type.
const maxSeries = 500

// NewTemporalMetrics is what a Temporal client is given so that it reports to
// registerer: the SDK's own metrics (temporal_*), and those that workflows make
// through workflow.GetMetricsHandler, whose labels and buckets views may set.
// Counters are exported with _total, timers with _seconds, once each.
func NewTemporalMetrics(registerer prometheus.Registerer, logger *slog.Logger, views ...metric.View) (client.MetricsHandler, error) {
	hearOpenTelemetry(logger)
	exporter, err := otelprometheus.New(otelprometheus.WithRegisterer(registerer), otelprometheus.WithoutScopeInfo(), otelprometheus.WithoutTargetInfo())
	if err != nil {
		return nil, fmt.Errorf("making the Prometheus exporter: %w", err)
	}
	sdkTimers := metric.NewView(
		metric.Instrument{Name: "temporal_*", Kind: metric.InstrumentKindHistogram},
		metric.Stream{Aggregation: metric.AggregationExplicitBucketHistogram{Boundaries: sdkTimerBuckets}},
	)
	provider := metric.NewMeterProvider(metric.WithReader(exporter), metric.WithCardinalityLimit(maxSeries), metric.WithView(append(views, sdkTimers)...))
	return opentelemetry.NewMetricsHandler(opentelemetry.MetricsHandlerOptions{
		Meter: provider.Meter("temporal-sdk-go"), UseMonotonicCounters: true,
		OnError: func(err error) { logger.Error("a metric is missing", "error", err) }, // the default, a panic, would stop payouts
	}), nil
}
