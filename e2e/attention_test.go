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
	require.Zero(t, attentionCounts(t, shared.temporal, s.taskQueue)[payout.AttentionUnresolvedError])
	s.start(r)
	eventuallyCounted := func(want float64) {
		t.Helper()
		require.Eventually(t, func() bool {
			return attentionCounts(t, shared.temporal, s.taskQueue)[payout.AttentionUnresolvedError] == want
		}, time.Minute, 100*time.Millisecond)
	}
	eventuallyCounted(1)
	counts := attentionCounts(t, shared.temporal, s.taskQueue)
	require.Len(t, counts, len(payout.AttentionReasons()))
	require.Zero(t, counts[payout.AttentionMismatch])

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
	require.Nil(t, attentionCounts(t, temporal, payout.DefaultTaskQueue), "no number rather than a wrong one")
}

// attentionCounts is what a new worker's first scrape shows, nil if it shows nothing.
func attentionCounts(t *testing.T, temporal client.Client, taskQueue string) map[payout.AttentionReason]float64 {
	t.Helper()
	registry := prometheus.NewRegistry()
	require.NoError(t, registry.Register(worker.NewAttentionMetrics(temporal, taskQueue, testLogger())))
	families, err := registry.Gather()
	require.NoError(t, err)
	var counts map[payout.AttentionReason]float64
	for _, family := range families {
		if family.GetName() != "payouts_attention" {
			continue
		}
		counts = map[payout.AttentionReason]float64{}
		for _, metric := range family.GetMetric() {
			counts[payout.AttentionReason(metric.GetLabel()[0].GetValue())] = metric.GetGauge().GetValue()
		}
	}
	return counts
}
