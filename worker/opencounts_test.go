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

	"pikepayouts/worker"
)

// maxAge is how long a count may be shown.
const maxAge = 15 * time.Second

// queriesOfAScrape are one for each reason and one for each state that an open payout can be in.
const queriesOfAScrape = 8 + 7

// fakeVisibility counts one workflow per value of a search attribute named in open, for each time it is named.
type fakeVisibility struct {
	open    []string
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
	for _, value := range f.open {
		if strings.HasSuffix(request.GetQuery(), value) {
			count++
		}
	}
	return &workflowservice.CountWorkflowExecutionsResponse{Count: count}, f.err
}

func openRegistry(t *testing.T, temporal *fakeVisibility) *prometheus.Registry {
	registry := prometheus.NewRegistry()
	require.NoError(t, registry.Register(worker.NewOpenMetrics(temporal, "queue-1", slog.New(slog.DiscardHandler))))
	return registry
}

// shown is what one scrape shows: gauges by "label=value", nil if there are no such series.
type shown struct {
	byReason, byState map[string]int
	failures          int
}

func scrape(t *testing.T, registry *prometheus.Registry) shown {
	t.Helper()
	families, err := registry.Gather()
	require.NoError(t, err, "a scrape must never fail as a whole")
	all := shown{failures: -1}
	for _, family := range families {
		values := map[string]int{} // of a gauge, by its one label
		for _, metric := range family.GetMetric() {
			for _, label := range metric.GetLabel() {
				values[label.GetName()+"="+label.GetValue()] = int(metric.GetGauge().GetValue())
			}
		}
		switch family.GetName() {
		case "payouts_attention":
			all.byReason = values
		case "payouts_open":
			all.byState = values
		case "payouts_attention_errors_total":
			all.failures = int(family.GetMetric()[0].GetCounter().GetValue())
		}
	}
	return all
}

func TestAttentionCountsOpenPayoutsByReason(t *testing.T) {
	temporal := &fakeVisibility{open: []string{"PayoutAttention = 'mismatch'", "PayoutAttention = 'mismatch'", "PayoutAttention = 'pike_unreachable'"}}
	scrape := scrape(t, openRegistry(t, temporal))
	require.Equal(t, map[string]int{
		"reason=mismatch": 2, "reason=pike_unreachable": 1,
		"reason=result_overdue": 0, "reason=unresolved_error": 0, "reason=paid_without_confirm": 0,
		"reason=confirm_unknown": 0, "reason=config_refused": 0, "reason=late_event": 0,
	}, scrape.byReason, "a reason without payouts is 0, not absent")
	require.Zero(t, scrape.failures)
	require.Contains(t, temporal.queries, "ExecutionStatus = 'Running' AND TaskQueue = 'queue-1' AND PayoutAttention = 'mismatch'")
}

func TestOpenPayoutsAreCountedByState(t *testing.T) {
	temporal := &fakeVisibility{open: []string{"PayoutState = 'awaiting_decision'", "PayoutState = 'confirming'", "PayoutState = 'confirming'"}}
	scrape := scrape(t, openRegistry(t, temporal))
	require.Equal(t, map[string]int{
		"state=awaiting_decision": 1, "state=confirming": 2,
		"state=creating": 0, "state=starting": 0, "state=awaiting_ready": 0, "state=awaiting_result": 0, "state=cancelling": 0,
	}, scrape.byState, "a state without payouts is 0, not absent; a final one has none")
	require.Contains(t, temporal.queries, "ExecutionStatus = 'Running' AND TaskQueue = 'queue-1' AND PayoutState = 'confirming'")
}

func TestAttentionIsCountedOnlyWhenScrapedAndNotTooOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		temporal := &fakeVisibility{}
		registry := openRegistry(t, temporal)
		require.Empty(t, temporal.queries, "nobody asked")
		for range 5 {
			scrape(t, registry)
			time.Sleep(maxAge/5 - time.Millisecond)
		}
		require.Len(t, temporal.queries, queriesOfAScrape)
		time.Sleep(5 * time.Millisecond)
		temporal.open = []string{"PayoutAttention = 'confirm_unknown'"}
		again := scrape(t, registry)
		require.Len(t, temporal.queries, 2*queriesOfAScrape)
		require.Equal(t, 1, again.byReason["reason=confirm_unknown"])
	})
}

func TestAttentionShowsNoOldCountWhileTemporalIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		temporal := &fakeVisibility{open: []string{"PayoutAttention = 'mismatch'", "PayoutState = 'confirming'"}}
		registry := openRegistry(t, temporal)
		scrape(t, registry)
		time.Sleep(maxAge)
		temporal.err = errors.New("unavailable")
		for range 3 {
			away := scrape(t, registry)
			require.Nil(t, away.byReason)
			require.Nil(t, away.byState)
			require.Equal(t, 1, away.failures)
		}
		require.Len(t, temporal.queries, queriesOfAScrape+1, "a server in trouble is not asked more often")
		time.Sleep(maxAge)
		temporal.err = nil
		back := scrape(t, registry)
		require.Equal(t, 1, back.byReason["reason=mismatch"])
		require.Equal(t, 1, back.byState["state=confirming"])
		require.Equal(t, 1, back.failures)
	})
}

func TestAttentionDoesNotWaitForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		hung := scrape(t, openRegistry(t, &fakeVisibility{hangs: true}))
		require.Nil(t, hung.byReason)
		require.Equal(t, 1, hung.failures)
		require.Less(t, time.Since(start), 10*time.Second, "Prometheus would give up the whole scrape")
	})
}

func TestScrapesAtTheSameTimeShareOneCount(t *testing.T) {
	temporal := &fakeVisibility{}
	registry := openRegistry(t, temporal)
	var scrapes sync.WaitGroup
	for range 8 {
		scrapes.Go(func() { _, _ = registry.Gather() })
	}
	scrapes.Wait()
	require.Len(t, temporal.queries, queriesOfAScrape)
}
