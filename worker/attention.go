package worker

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.temporal.io/api/workflowservice/v1"

	"pikepayouts/payout"
)

const (
	// attentionMaxAge is how old a count may be that a scrape still shows.
	attentionMaxAge = 15 * time.Second
	// attentionTimeout bounds all counts of one scrape; Prometheus itself gives up after 10s.
	attentionTimeout = 5 * time.Second
)

// WorkflowCounter is what AttentionMetrics needs of a Temporal client.
type WorkflowCounter interface {
	CountWorkflow(ctx context.Context, request *workflowservice.CountWorkflowExecutionsRequest) (*workflowservice.CountWorkflowExecutionsResponse, error)
}

// AttentionMetrics are the open workflows of a task queue that a person should
// look at, by reason. They are counted in Temporal's visibility store when a
// scrape asks and the last count is too old, so every worker shows the same
// numbers. Where Temporal does not answer there is no number: an old one could
// hide an incident.
type AttentionMetrics struct {
	workflows WorkflowCounter
	taskQueue string
	logger    *slog.Logger

	open     *prometheus.Desc
	failures prometheus.Counter

	mu     sync.Mutex
	asked  time.Time
	counts map[payout.AttentionReason]int64 // nil if Temporal did not answer
}

// NewAttentionMetrics returns a collector to register. It asks nothing yet.
func NewAttentionMetrics(workflows WorkflowCounter, taskQueue string, logger *slog.Logger) *AttentionMetrics {
	return &AttentionMetrics{
		workflows: workflows, taskQueue: taskQueue, logger: logger,
		open: prometheus.NewDesc("payouts_attention", "Open payouts that a person should look at, by reason; the same from every worker.", []string{"reason"}, nil),
		failures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "payouts_attention_errors_total", Help: "Scrapes without payouts_attention because Temporal gave no count.",
		}),
	}
}

// Describe implements prometheus.Collector.
func (a *AttentionMetrics) Describe(descriptions chan<- *prometheus.Desc) {
	descriptions <- a.open
	a.failures.Describe(descriptions)
}

// Collect implements prometheus.Collector.
func (a *AttentionMetrics) Collect(metrics chan<- prometheus.Metric) {
	for reason, count := range a.current() {
		metrics <- prometheus.MustNewConstMetric(a.open, prometheus.GaugeValue, float64(count), string(reason))
	}
	a.failures.Collect(metrics)
}

// current counts again if the last attempt is too old; scrapes at the same time share one.
func (a *AttentionMetrics) current() map[payout.AttentionReason]int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.asked.IsZero() || time.Since(a.asked) >= attentionMaxAge {
		counts, err := a.count()
		if err != nil {
			a.failures.Inc()
			a.logger.Warn("payouts_attention is missing", "error", err)
		}
		a.counts, a.asked = counts, time.Now()
	}
	return a.counts
}

func (a *AttentionMetrics) count() (map[payout.AttentionReason]int64, error) {
	ctx, cancel := context.WithTimeout(context.Background(), attentionTimeout)
	defer cancel()
	counts := map[payout.AttentionReason]int64{}
	for _, reason := range payout.AttentionReasons() {
		response, err := a.workflows.CountWorkflow(ctx, &workflowservice.CountWorkflowExecutionsRequest{Query: a.query(reason)})
		if err != nil {
			return nil, fmt.Errorf("counting the workflows with attention %s: %w", reason, err)
		}
		counts[reason] = response.GetCount()
	}
	return counts, nil
}

// query goes by the search attribute, not by the workflow type: whatever asks for a person counts.
func (a *AttentionMetrics) query(reason payout.AttentionReason) string {
	return fmt.Sprintf("ExecutionStatus = 'Running' AND TaskQueue = '%s' AND %s = '%s'", a.taskQueue, payout.SearchAttributeAttention, reason)
}
