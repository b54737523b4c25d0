package workflows_test

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"

	"pikepayouts/payout"
	"pikepayouts/pike"
	"pikepayouts/telemetry"
	"pikepayouts/worker"
	"pikepayouts/workflows"
)

// newMetrics is what a worker process counts with.
func newMetrics(t *testing.T) (*prometheus.Registry, client.MetricsHandler) {
	registry := prometheus.NewRegistry()
	handler, err := telemetry.NewTemporalMetrics(registry, slog.New(slog.DiscardHandler), worker.MetricViews()...)
	require.NoError(t, err)
	return registry, handler
}

// scrape is what /metrics shows of the names that begin so, line by line.
func scrape(t *testing.T, registry *prometheus.Registry, prefix string) []string {
	t.Helper()
	answer := httptest.NewRecorder()
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", http.NoBody))
	require.Equal(t, http.StatusOK, answer.Code)
	var lines []string
	for line := range strings.Lines(answer.Body.String()) {
		if strings.HasPrefix(line, prefix) {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines
}

var happyTransitions = []string{
	`payouts_transitions_total{from="",to="creating"} 1`,
	`payouts_transitions_total{from="awaiting_ready",to="confirming"} 1`,
	`payouts_transitions_total{from="awaiting_result",to="succeeded"} 1`,
	`payouts_transitions_total{from="confirming",to="awaiting_result"} 1`,
	`payouts_transitions_total{from="creating",to="starting"} 1`,
	`payouts_transitions_total{from="starting",to="awaiting_ready"} 1`,
}

func TestMetricsOfAHappyPayout(t *testing.T) {
	registry, handler := newMetrics(t)
	h := newMeasuredHarness(t, newFakePike(), handler)
	h.pikeTurns(second, ready, payout.SignalReadyToConfirm)
	h.pikeTurns(3*second, paid, payout.SignalPaymentFinished)
	require.Equal(t, payout.StateSucceeded, h.run(request()).State)
	require.Equal(t, happyTransitions, scrape(t, registry, "payouts_"))
	took := scrape(t, registry, "payout_")
	require.Contains(t, took, `payout_ready_seconds_sum 1`)
	require.Contains(t, took, `payout_ready_seconds_count 1`)
	require.Contains(t, took, `payout_result_seconds_sum{result="succeeded"} 2`)
	require.Contains(t, took, `payout_result_seconds_count{result="succeeded"} 1`)
	require.Contains(t, took, `payout_end_to_end_seconds_bucket{result="succeeded",le="2"} 0`)
	require.Contains(t, took, `payout_end_to_end_seconds_bucket{result="succeeded",le="5"} 1`)
	require.Contains(t, took, `payout_end_to_end_seconds_count{result="succeeded"} 1`)
	require.Equal(t, []string{"# TYPE payouts_transitions_total counter"}, scrape(t, registry, "# TYPE payouts_"))
	require.Equal(t, []string{
		"# TYPE payout_end_to_end_seconds histogram", "# TYPE payout_ready_seconds histogram", "# TYPE payout_result_seconds histogram",
	}, scrape(t, registry, "# TYPE payout_"))
}

// TestMetricsOverContinueAsNew: the next run counts what it does, and measures from the payout's beginning.
func TestMetricsOverContinueAsNew(t *testing.T) {
	registry, handler := newMetrics(t)
	first := newMeasuredHarness(t, newFakePike(), handler)
	first.pikeTurns(second, ready, payout.SignalReadyToConfirm)
	first.pikeTurns(3*second, unresolved, payout.SignalPaymentFinished)
	arguments := first.continuesAsNew(20 * 24 * time.Hour)
	require.NotContains(t, scrape(t, registry, "payouts_"), `payouts_transitions_total{from="awaiting_result",to="succeeded"} 1`)
	require.Empty(t, scrape(t, registry, "payout_"), "it has not ended")

	continued := newMeasuredHarness(t, first.pike, handler)
	continued.follows(first)
	continued.pikeTurns(2*time.Hour, paid, "")
	continued.env.ExecuteWorkflow(payout.WorkflowType, arguments...)
	require.NoError(t, continued.env.GetWorkflowError())
	require.Equal(t, happyTransitions, scrape(t, registry, "payouts_"))
	took := scrape(t, registry, "payout_")
	require.Contains(t, took, `payout_end_to_end_seconds_bucket{result="succeeded",le="604800"} 0`)
	require.Contains(t, took, `payout_end_to_end_seconds_count{result="succeeded"} 1`)
	require.Contains(t, took, `payout_ready_seconds_sum 1`, "the next run knows when Pike was ready")
	require.Contains(t, took, `payout_result_seconds_bucket{result="succeeded",le="604800"} 0`)
}

// TestMetricsOfAConfirmTakenBack: the transitions get shorter again, the counters do not.
func TestMetricsOfAConfirmTakenBack(t *testing.T) {
	registry, handler := newMetrics(t)
	h := newMeasuredHarness(t, newFakePike(), handler)
	h.at(second, func() { h.signal(payout.SignalReadyToConfirm) }) // early, stale or forged
	h.at(2*second, func() { h.env.CancelWorkflow() })
	h.pikeTurns(minute, notPaid, payout.SignalPaymentFinished)
	require.Equal(t, "creating starting awaiting_ready cancelling cancelled", states(h.run(request())))
	require.Equal(t, []string{
		`payouts_transitions_total{from="",to="creating"} 1`,
		`payouts_transitions_total{from="awaiting_ready",to="cancelling"} 1`,
		`payouts_transitions_total{from="awaiting_ready",to="confirming"} 1`,
		`payouts_transitions_total{from="cancelling",to="cancelled"} 1`,
		`payouts_transitions_total{from="creating",to="starting"} 1`,
		`payouts_transitions_total{from="starting",to="awaiting_ready"} 1`,
	}, scrape(t, registry, "payouts_"))
	took := scrape(t, registry, "payout_")
	require.Contains(t, took, `payout_end_to_end_seconds_count{result="cancelled"} 1`)
	require.NotContains(t, strings.Join(took, " "), "payout_ready_seconds", "it was never ready")
	require.NotContains(t, strings.Join(took, " "), "payout_result_seconds", "no confirm was sent")
}

func TestMetricOfAnEndWithAttention(t *testing.T) {
	registry, handler := newMetrics(t)
	workflows.ShowZeros(handler)
	var want []string
	for _, reason := range payout.AttentionReasons() {
		if reason != payout.AttentionLateEvent { // a late event is no payout
			want = append(want, fmt.Sprintf(`payouts_ended_with_attention_total{reason=%q} 0`, reason))
		}
	}
	require.ElementsMatch(t, want, scrape(t, registry, "payouts_ended_with_attention_total"))

	h := newMeasuredHarness(t, newFakePike(), handler)
	h.pikeTurns(second, paid, payout.SignalPaymentFinished) // without our confirm
	require.Equal(t, payout.AttentionPaidWithoutConfirm, h.run(request()).Attention.Reason)
	require.Contains(t, scrape(t, registry, "payouts_ended_with_attention_total"), `payouts_ended_with_attention_total{reason="paid_without_confirm"} 1`)
}

// TestMetricOfANearDeadline: each payout counts once, and only if its confirm is still to come with less than 10 minutes left.
func TestMetricOfANearDeadline(t *testing.T) {
	decidedAfter := func(after time.Duration) func(h *harness) {
		return func(h *harness) {
			h.decide(after, payout.DecisionConfirm, "ann")
			h.pikeTurns(after+minute, paid, payout.SignalPaymentFinished)
		}
	}
	for name, tt := range map[string]struct {
		request payout.Request
		then    func(h *harness)
		want    payout.State // in which it counts, none if empty
	}{
		"decided in good time": {request(manual), decidedAfter(30 * minute), ""},
		"decided at the last":  {request(manual), decidedAfter(44 * minute), payout.StateAwaitingDecision},
		"nobody decides":       {request(manual), func(h *harness) { h.pikeTurns(46*minute, notPaid, payout.SignalPaymentFinished) }, payout.StateAwaitingDecision},
		"confirmed at once":    {request(), func(h *harness) { h.pikeTurns(20*time.Hour, paid, payout.SignalPaymentFinished) }, ""},
		"no confirm gets through": {request(), func(h *harness) {
			h.pike.failing("confirm", 1000, fakeError{err: &pike.Error{Method: "confirm", Outcome: pike.NotSent}})
			h.pikeTurns(56*minute, notPaid, payout.SignalPaymentFinished)
		}, payout.StateConfirming},
	} {
		t.Run(name, func(t *testing.T) {
			registry, handler := newMetrics(t)
			workflows.ShowZeros(handler)
			h := newMeasuredHarness(t, newFakePike(), handler)
			h.pikeTurns(second, ready, payout.SignalReadyToConfirm)
			tt.then(h)
			h.run(tt.request)
			var want []string
			for _, state := range []payout.State{payout.StateAwaitingDecision, payout.StateConfirming} {
				count := 0
				if state == tt.want {
					count = 1
				}
				want = append(want, fmt.Sprintf("payouts_confirm_deadline_near_total{state=%q} %d", state, count))
			}
			require.Equal(t, want, scrape(t, registry, "payouts_confirm_deadline_near_total"))
		})
	}
}
