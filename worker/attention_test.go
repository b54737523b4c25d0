package worker_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.temporal.io/api/workflowservice/v1"

	"pikepayouts/payout"
	"pikepayouts/worker"
)

// maxAge is how long a count may be shown.
const maxAge = 15 * time.Second

// fakeVisibility counts one workflow per reason named in open, for each time it is named.
type fakeVisibility struct {
	open    []payout.AttentionReason
	err     error
	hangs   bool
	queries []string
}

func (f *fakeVisibility) CountWorkflow(ctx context.Context, request *workflowservice.CountWorkflowExecutionsRequest) (*workflowservice.CountWorkflowExecutionsResponse, error) {
	f.queries = append(f.queries, request.GetQuery())
	if f.hangs {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	var count int64
	for _, reason := range f.open {
		if strings.HasSuffix(request.GetQuery(), "PayoutAttention = '"+string(reason)+"'") {
			count++
		}
	}
	return &workflowservice.CountWorkflowExecutionsResponse{Count: count}, f.err
}

func attentionRegistry(t *testing.T, temporal *fakeVisibility) *prometheus.Registry {
	registry := prometheus.NewRegistry()
	require.NoError(t, registry.Register(worker.NewAttentionMetrics(temporal, "queue-1", slog.New(slog.DiscardHandler))))
	return registry
}

// scrape returns payouts_attention by reason, nil if there is none, and the errors so far.
func scrape(t *testing.T, registry *prometheus.Registry) (byReason map[string]int, failures int) {
	t.Helper()
	families, err := registry.Gather()
	require.NoError(t, err, "a scrape must never fail as a whole")
	failures = -1
	for _, family := range families {
		switch family.GetName() {
		case "payouts_attention":
			byReason = map[string]int{}
			for _, metric := range family.GetMetric() {
				byReason[metric.GetLabel()[0].GetValue()] = int(metric.GetGauge().GetValue())
			}
		case "payouts_attention_errors_total":
			failures = int(family.GetMetric()[0].GetCounter().GetValue())
		}
	}
	return byReason, failures
}

func TestAttentionCountsOpenPayoutsByReason(t *testing.T) {
	temporal := &fakeVisibility{open: []payout.AttentionReason{payout.AttentionMismatch, payout.AttentionMismatch, payout.AttentionPikeUnreachable}}
	byReason, failures := scrape(t, attentionRegistry(t, temporal))
	require.Len(t, byReason, len(payout.AttentionReasons()), "a reason without payouts is 0, not absent")
	require.Equal(t, 2, byReason["mismatch"])
	require.Equal(t, 1, byReason["pike_unreachable"])
	require.Zero(t, byReason["result_overdue"])
	require.Zero(t, failures)
	require.Contains(t, temporal.queries, "ExecutionStatus = 'Running' AND TaskQueue = 'queue-1' AND PayoutAttention = 'mismatch'")
}

func TestAttentionIsCountedOnlyWhenScrapedAndNotTooOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		temporal := &fakeVisibility{}
		registry := attentionRegistry(t, temporal)
		require.Empty(t, temporal.queries, "nobody asked")
		for range 5 {
			scrape(t, registry)
			time.Sleep(maxAge/5 - time.Millisecond)
		}
		require.Len(t, temporal.queries, len(payout.AttentionReasons()))
		time.Sleep(5 * time.Millisecond)
		temporal.open = []payout.AttentionReason{payout.AttentionConfirmUnknown}
		byReason, _ := scrape(t, registry)
		require.Len(t, temporal.queries, 2*len(payout.AttentionReasons()))
		require.Equal(t, 1, byReason["confirm_unknown"])
	})
}

func TestAttentionShowsNoOldCountWhileTemporalIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		temporal := &fakeVisibility{open: []payout.AttentionReason{payout.AttentionMismatch}}
		registry := attentionRegistry(t, temporal)
		scrape(t, registry)
		time.Sleep(maxAge)
		temporal.err = errors.New("unavailable")
		for range 3 {
			byReason, failures := scrape(t, registry)
			require.Nil(t, byReason)
			require.Equal(t, 1, failures)
		}
		require.Len(t, temporal.queries, len(payout.AttentionReasons())+1, "a server in trouble is not asked more often")
		time.Sleep(maxAge)
		temporal.err = nil
		byReason, failures := scrape(t, registry)
		require.Equal(t, 1, byReason["mismatch"])
		require.Equal(t, 1, failures)
	})
}

func TestAttentionDoesNotWaitForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		byReason, failures := scrape(t, attentionRegistry(t, &fakeVisibility{hangs: true}))
		require.Nil(t, byReason)
		require.Equal(t, 1, failures)
		require.Less(t, time.Since(start), 10*time.Second, "Prometheus would give up the whole scrape")
	})
}

func TestScrapesAtTheSameTimeShareOneCount(t *testing.T) {
	temporal := &fakeVisibility{}
	registry := attentionRegistry(t, temporal)
	var scrapes sync.WaitGroup
	for range 8 {
		scrapes.Go(func() { _, _ = registry.Gather() })
	}
	scrapes.Wait()
	require.Len(t, temporal.queries, len(payout.AttentionReasons()))
}
