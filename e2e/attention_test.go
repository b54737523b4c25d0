package e2e

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"

	"pikepayouts/payout"
	"pikepayouts/pikesim"
	"pikepayouts/worker"
)

// TestAttentionMetric: a payout that needs a person is counted in visibility as long as it is open.
func TestAttentionMetric(t *testing.T) {
	t.Parallel()
	s := newStack(t, stackOptions{})
	r := order(t, pikesim.PresetDeclinedWithError)
	require.Zero(t, openCounts(t, shared.temporal, s.taskQueue, "payouts_attention")["unresolved_error"])
	s.start(r)
	eventuallyCounted := func(want float64) {
		t.Helper()
		require.Eventually(t, func() bool {
			return openCounts(t, shared.temporal, s.taskQueue, "payouts_attention")["unresolved_error"] == want
		}, time.Minute, 100*time.Millisecond)
	}
	eventuallyCounted(1)
	reasons := openCounts(t, shared.temporal, s.taskQueue, "payouts_attention")
	require.Len(t, reasons, len(payout.AttentionReasons()))
	require.Zero(t, reasons["mismatch"])
	require.Equal(t, map[string]float64{
		"awaiting_result": 1, "creating": 0, "starting": 0, "awaiting_ready": 0, "awaiting_decision": 0, "confirming": 0, "cancelling": 0,
	}, openCounts(t, shared.temporal, s.taskQueue, "payouts_open"))

	_, err := s.starter.Resolve(testContext(t), r.PayoutID,
		payout.ResolveRequest{Action: payout.ResolveCloseNotPaid, By: "ann", Reason: "support", Evidence: "ticket 17"})
	require.NoError(t, err)
	require.Equal(t, payout.StateFailed, s.wait(r).State)
	eventuallyCounted(0)
}

func TestAttentionMetricWithoutTemporal(t *testing.T) {
	t.Parallel()
	temporal, err := client.NewLazyClient(client.Options{HostPort: "127.0.0.1:1", Logger: quiet()})
	require.NoError(t, err)
	defer temporal.Close()
	for _, name := range []string{"payouts_attention", "payouts_open"} {
		require.Nil(t, openCounts(t, temporal, payout.DefaultTaskQueue, name), "no number rather than a wrong one")
	}
}

// openCounts is what a new worker's first scrape shows of a gauge by its one label, nil if it shows nothing.
func openCounts(t *testing.T, temporal client.Client, taskQueue, name string) map[string]float64 {
	t.Helper()
	registry := prometheus.NewRegistry()
	require.NoError(t, registry.Register(worker.NewOpenMetrics(temporal, taskQueue, testLogger())))
	families, err := registry.Gather()
	require.NoError(t, err)
	var counts map[string]float64
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		counts = map[string]float64{}
		for _, metric := range family.GetMetric() {
			counts[metric.GetLabel()[0].GetValue()] = metric.GetGauge().GetValue()
		}
	}
	return counts
}
