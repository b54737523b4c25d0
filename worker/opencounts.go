package worker

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.temporal.io/api/workflowservice/v1"

	"pikepayouts/payout"
)

const (
	// countMaxAge is how old a count may be that a scrape still shows.
	countMaxAge = 15 * time.Second
	// countTimeout bounds all counts of one scrape; Prometheus itself gives up after 10s.
	countTimeout = 5 * time.Second
)

// WorkflowCounter is what OpenMetrics needs of a Temporal client.
type WorkflowCounter interface {
	CountWorkflow(ctx context.Context, request *workflowservice.CountWorkflowExecutionsRequest) (*workflowservice.CountWorkflowExecutionsResponse, error)
}

// OpenMetrics are the open workflows of a task queue, by state and by why a
// person should look at them. They are counted in Temporal's visibility store
// when a scrape asks and the last count is too old, so every worker shows the
// same numbers. Where Temporal does not answer there is no number: an old one
// could hide an incident.
type OpenMetrics struct {
	workflows WorkflowCounter
	taskQueue string
	logger    *slog.Logger

	gauges   []openGauge
	failures prometheus.Counter

	mu     sync.Mutex
	asked  time.Time
	counts []prometheus.Metric // nil if Temporal did not answer
}

// openGauge counts open workflows by the value of a search attribute. Each value
// is a query of its own: SQL visibility groups by ExecutionStatus alone.
type openGauge struct {
	description *prometheus.Desc
	attribute   string
	values      []string
}

// NewOpenMetrics returns a collector to register. It asks nothing yet.
func NewOpenMetrics(workflows WorkflowCounter, taskQueue string, logger *slog.Logger) *OpenMetrics {
	return &OpenMetrics{
		workflows: workflows, taskQueue: taskQueue, logger: logger,
		gauges: []openGauge{
			{
				description: prometheus.NewDesc("payouts_attention", "Open payouts that a person should look at, by reason; the same from every worker.", []string{"reason"}, nil),
				attribute:   payout.SearchAttributeAttention, values: texts(payout.AttentionReasons()),
			},
			{
				description: prometheus.NewDesc("payouts_open", "Open payouts by state; the same from every worker.", []string{"state"}, nil),
				attribute:   payout.SearchAttributeState, values: texts(openStates()),
			},
		},
		failures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "payouts_attention_errors_total", Help: "Scrapes without payouts_attention and payouts_open because Temporal gave no count.",
		}),
	}
}

// openStates are those that an open payout can be in.
func openStates() []payout.State {
	return slices.DeleteFunc(payout.States(), payout.State.Final)
}

func texts[T ~string](values []T) []string {
	list := make([]string, len(values))
	for i, value := range values {
		list[i] = string(value)
	}
	return list
}

// Describe implements prometheus.Collector.
func (o *OpenMetrics) Describe(descriptions chan<- *prometheus.Desc) {
	for _, gauge := range o.gauges {
		descriptions <- gauge.description
	}
	o.failures.Describe(descriptions)
}

// Collect implements prometheus.Collector.
func (o *OpenMetrics) Collect(metrics chan<- prometheus.Metric) {
	for _, count := range o.current() {
		metrics <- count
	}
	o.failures.Collect(metrics)
}

// current counts again if the last attempt is too old; scrapes at the same time share one.
func (o *OpenMetrics) current() []prometheus.Metric {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.asked.IsZero() || time.Since(o.asked) >= countMaxAge {
		counts, err := o.count()
		if err != nil {
			o.failures.Inc()
			o.logger.Warn("payouts_attention and payouts_open are missing", "error", err)
		}
		o.counts, o.asked = counts, time.Now()
	}
	return o.counts
}

func (o *OpenMetrics) count() ([]prometheus.Metric, error) {
	ctx, cancel := context.WithTimeout(context.Background(), countTimeout)
	defer cancel()
	var counts []prometheus.Metric
	for _, gauge := range o.gauges {
		for _, value := range gauge.values {
			response, err := o.workflows.CountWorkflow(ctx, &workflowservice.CountWorkflowExecutionsRequest{Query: o.query(gauge.attribute, value)})
			if err != nil {
				return nil, fmt.Errorf("counting the workflows with %s %s: %w", gauge.attribute, value, err)
			}
			counts = append(counts, prometheus.MustNewConstMetric(gauge.description, prometheus.GaugeValue, float64(response.GetCount()), value))
		}
	}
	return counts, nil
}

// query goes by the search attribute, not by the workflow type: whatever asks for a person counts.
func (o *OpenMetrics) query(attribute, value string) string {
	return fmt.Sprintf("ExecutionStatus = 'Running' AND TaskQueue = '%s' AND %s = '%s'", o.taskQueue, attribute, value)
}
