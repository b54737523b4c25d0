package e2e

import (
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"

	"pikepayouts/payout"
	"pikepayouts/pikesim"
)

// workerProcess is a real `payouts worker`.
type workerProcess struct {
	*process
	ops string // address of /metrics
}

func startWorkerProcess(t *testing.T, environment []string) *workerProcess {
	t.Helper()
	binary, err := buildBinary()
	require.NoError(t, err)
	log := newStartLog("worker runs")
	w := &workerProcess{process: startCommand(t, log, environment, binary, "worker")}
	w.ops = log.await(t).Ops
	return w
}

// scraped is one scrape of a process: values by name and labels.
type scraped map[string]float64

func scrapeOf(t *testing.T, ops string) scraped {
	t.Helper()
	values, err := scrape(ops)
	require.NoError(t, err)
	return values
}

// eventually scrapes until a sum is that high: some counts follow what they count.
func eventually(t *testing.T, ops, name, label string, least float64) scraped {
	t.Helper()
	var last scraped
	require.Eventually(t, func() bool {
		last = scrapeOf(t, ops)
		return last.sum(name, label) >= least
	}, time.Minute, 50*time.Millisecond, "%s with %s", name, label)
	return last
}

// named are the series whose names and labels begin so.
func (s scraped) named(prefix string) scraped {
	series := scraped{}
	for name, value := range s {
		if strings.HasPrefix(name, prefix) {
			series[name] = value
		}
	}
	return series
}

// happened are the series that are not 0.
func (s scraped) happened() scraped {
	series := maps.Clone(s)
	maps.DeleteFunc(series, func(_ string, value float64) bool { return value == 0 })
	return series
}

// sum is that of all series of the name with the label.
func (s scraped) sum(name, label string) float64 {
	var total float64
	for series, value := range s.named(name + "{") {
		if strings.Contains(series, label) {
			total += value
		}
	}
	return total
}

// TestMetricsWithoutTemporal: an outage of Temporal takes the counts that come from there, and nothing else.
func TestMetricsWithoutTemporal(t *testing.T) {
	t.Parallel()
	s := newStack(t, stackOptions{noWorker: true})
	for _, outage := range []network{networkCut, networkSilent} {
		t.Run(string(outage), func(t *testing.T) {
			t.Parallel()
			wire := newLink(t, shared.address)
			worker := startWorkerProcess(t, append(workerEnvironment(t, s, s.simURL), "TEMPORAL_ADDRESS="+wire.address))
			require.NotEmpty(t, scrapeOf(t, worker.ops).named("payouts_open{"))
			wire.become(outage)
			var last scraped
			require.Eventually(t, func() bool {
				last = scrapeOf(t, worker.ops) // the old count is shown for a while
				return last["payouts_attention_errors_total"] >= 1
			}, time.Minute, 200*time.Millisecond)
			require.Empty(t, last.named("payouts_open{"))
			require.Empty(t, last.named("payouts_attention{"))
			for _, name := range []string{"pike_request_seconds_count", "payouts_observe_only", "temporal_num_pollers", "temporal_long_request_total"} {
				require.NotEmpty(t, last.named(name), name)
			}
		})
	}
}

// TestMetricsOfRealProcesses pays one payout with two workers, one after the other: each shows
// what it did itself, though the second replays what the first did.
func TestMetricsOfRealProcesses(t *testing.T) {
	t.Parallel()
	gateway := startGatewayProcess(t)
	s := newStack(t, stackOptions{noWorker: true, webhooks: "http://" + gateway.host()})
	environment := workerEnvironment(t, s, s.simURL)
	r := order(t, pikesim.PresetConfirmed, manual, polling(time.Hour))

	worker := startWorkerProcess(t, environment)
	s.start(r)
	s.eventually(r, payout.StateAwaitingDecision)
	first := eventually(t, worker.ops, "payouts_open", `state="awaiting_decision"`, 1)
	worker.stop()
	worker = startWorkerProcess(t, environment)
	_, err := s.starter.Confirm(testContext(t), r.PayoutID, "ann", "")
	require.NoError(t, err)
	require.Equal(t, payout.StateSucceeded, s.wait(r).State)
	second := eventually(t, worker.ops, "temporal_workflow_completed_total", `workflow_type="`+payout.WorkflowType+`"`, 1)
	gate := eventually(t, gateway.ops, "webhooks_total", `answer="signalled"`, 2)

	t.Run("transitions and time", func(t *testing.T) {
		require.Equal(t, scraped{
			`payouts_transitions_total{from="",to="creating"}`:                        1,
			`payouts_transitions_total{from="creating",to="starting"}`:                1,
			`payouts_transitions_total{from="starting",to="awaiting_ready"}`:          1,
			`payouts_transitions_total{from="awaiting_ready",to="awaiting_decision"}`: 1,
		}, first.named("payouts_transitions_total"))
		require.Equal(t, scraped{
			`payouts_transitions_total{from="awaiting_decision",to="confirming"}`: 1,
			`payouts_transitions_total{from="confirming",to="awaiting_result"}`:   1,
			`payouts_transitions_total{from="awaiting_result",to="succeeded"}`:    1,
		}, second.named("payouts_transitions_total"))
		require.Empty(t, first.named("payout_end_to_end_seconds"))
		require.Equal(t, scraped{`payout_end_to_end_seconds_count{result="succeeded"}`: 1}, second.named("payout_end_to_end_seconds_count"))
		require.Positive(t, second[`payout_end_to_end_seconds_sum{result="succeeded"}`])
		ready, result := second[`payout_ready_seconds_sum`], second[`payout_result_seconds_sum{result="succeeded"}`]
		require.Positive(t, ready)
		require.Positive(t, result)
		require.Less(t, ready+result, second[`payout_end_to_end_seconds_sum{result="succeeded"}`], "between them somebody decided")
	})
	t.Run("calls to Pike", func(t *testing.T) {
		require.Equal(t, scraped{
			`pike_request_seconds_count{method="session/create",outcome="done"}`:       1,
			`pike_request_seconds_count{method="session/start/payout",outcome="done"}`: 1,
			`pike_request_seconds_count{method="session/status",outcome="done"}`:       1,
		}, first.named("pike_request_seconds_count").happened())
		require.Equal(t, scraped{
			`pike_request_seconds_count{method="session/confirm",outcome="done"}`: 1,
			`pike_request_seconds_count{method="session/status",outcome="done"}`:  2,
		}, second.named("pike_request_seconds_count").happened())
		require.Positive(t, second[`pike_request_seconds_sum{method="session/confirm",outcome="done"}`])
	})
	t.Run("the SDK's own", func(t *testing.T) {
		queue := `task_queue="` + s.taskQueue + `"`
		require.Positive(t, first.sum("temporal_workflow_task_schedule_to_start_latency_seconds_count", queue))
		require.InDelta(t, 3, first.sum("temporal_activity_schedule_to_start_latency_seconds_count", queue), 0)
		require.Positive(t, first.sum("temporal_num_pollers", `poller_type="activity_task"`))
		require.Positive(t, first.sum("temporal_request_latency_seconds_count", `operation="RespondWorkflowTaskCompleted"`))
		require.Empty(t, second.named("temporal_workflow_task_execution_failed_total"))
		require.GreaterOrEqual(t, gate.sum("temporal_request_total", `operation="SignalWorkflowExecution"`), 2.0)
		require.Positive(t, gate.sum("temporal_request_latency_seconds_count", `operation="SignalWorkflowExecution"`))
	})
	t.Run("beside what was there", func(t *testing.T) {
		require.Len(t, second.named("payouts_attention{"), len(payout.AttentionReasons()))
		require.InDelta(t, 1, first[`payouts_open{state="awaiting_decision"}`], 0)
		require.Contains(t, second, "payouts_observe_only")
		require.Contains(t, gate, "webhook_signature_failures_total")
		for _, scrape := range []scraped{first, second, gate} {
			require.Empty(t, scrape.named("target_info"))
			for series := range scrape {
				require.NotContains(t, series, "otel_scope")
			}
		}
	})
	t.Run("a workflow that the worker cannot carry out", func(t *testing.T) {
		options := client.StartWorkflowOptions{TaskQueue: s.taskQueue, WorkflowExecutionTimeout: time.Minute}
		_, err := shared.temporal.ExecuteWorkflow(testContext(t), options, "Stranger")
		require.NoError(t, err)
		eventually(t, worker.ops, "temporal_workflow_task_execution_failed_total", `workflow_type="Stranger"`, 1)
	})
	t.Run("a run that was refused", func(t *testing.T) {
		bad := order(t, pikesim.PresetConfirmed)
		options := client.StartWorkflowOptions{ID: payout.WorkflowID(bad.PayoutID), TaskQueue: s.taskQueue}
		_, err := shared.temporal.ExecuteWorkflow(testContext(t), options, payout.WorkflowType, map[string]string{"payout_id": "another"})
		require.NoError(t, err)
		eventually(t, worker.ops, "temporal_workflow_failed_total", `workflow_type="`+payout.WorkflowType+`"`, 1)
	})
	t.Run("a signal that is no event", func(t *testing.T) {
		open := order(t, pikesim.PresetNeverReadyCancellable, polling(time.Hour))
		s.start(open)
		s.eventually(open, payout.StateAwaitingReady)
		require.NoError(t, shared.temporal.SignalWorkflow(testContext(t), payout.WorkflowID(open.PayoutID), "", payout.SignalReadyToConfirm, "no event"))
		eventually(t, worker.ops, "temporal_corrupted_signals_total", `workflow_type="`+payout.WorkflowType+`"`, 1)
		s.cancelOnceUndecided(open)
		require.Equal(t, payout.StateCancelled, s.wait(open).State)
	})
	t.Run("a webhook that no payout takes", func(t *testing.T) {
		stray, err := signed(webhook("ready_to_confirm", "ps_1", r.PayoutID), shared.pikeKey)
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, stray.send(testContext(t), newPike(), gateway.url).status)
		eventually(t, gateway.ops, "temporal_request_failure_total", `status_code="NOT_FOUND"`, 1)
	})
	t.Run("as deploy/prometheus/metrics.yml says", func(t *testing.T) {
		requireCatalogued(t, map[string]map[string]*exported{"worker": exportedBy(t, worker.ops), "webhookgw": exportedBy(t, gateway.ops)})
	})
}
