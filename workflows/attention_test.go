package workflows_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	sdkpb "go.temporal.io/api/sdk/v1"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/temporal"
	sdkworker "go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"pikepayouts/payout"
	"pikepayouts/pike"
)

const (
	day = 24 * time.Hour
	// heldFor is how long Pike leaves the truth open in TestEveryAttentionReason (hazard L2).
	heldFor = 7 * day
	// pollBound is the longest gap between two calls to Pike; the minute is for the machine that runs the test.
	pollBound = time.Hour + time.Minute
)

// attentionRow is how a reason comes about once the payout is confirmed, and goes.
type attentionRow struct {
	raise func(h *harness)
	// goesOn is what Pike shows while it is not at the end, yet the reason is gone; nil if only the end ends it.
	goesOn func(s *pike.Session)
	// truth is the end at Pike.
	truth func(s *pike.Session)
	// events bounds the history of a whole week.
	events int
}

func attentionRows() map[payout.AttentionReason]attentionRow {
	nothing := func(*pike.Session) {}
	rightAmount := func(s *pike.Session) { s.Payouts[0].AmountDetails.Amount = 10000 }
	statusFails := func(err error) func(h *harness) {
		return func(h *harness) {
			h.at(3*second, func() { h.pike.failing("status", 10000, fakeError{err: err}) })
		}
	}
	return map[payout.AttentionReason]attentionRow{
		payout.AttentionResultOverdue: {func(*harness) {}, nil, paid, 2000},
		payout.AttentionUnresolvedError: {func(h *harness) {
			h.pikeTurns(3*second, unresolved, payout.SignalPaymentFinished)
		}, func(s *pike.Session) { s.Status, s.Payouts[0].Status = pike.SessionInProgress, pike.PayoutPending }, notPaid, 2000},
		payout.AttentionMismatch: {func(h *harness) {
			h.pikeTurns(3*second, func(s *pike.Session) { s.Payouts[0].AmountDetails.Amount++ }, "")
		}, rightAmount, func(s *pike.Session) { rightAmount(s); paid(s) }, 2000},
		payout.AttentionConfirmUnknown: {func(h *harness) {
			h.pike.failing("confirm", 1000, fakeError{err: unknownError("confirm")})
		}, func(s *pike.Session) { s.NextAction = "" }, notPaid, 3000}, // an hour of confirms and status reads comes first
		payout.AttentionPikeUnreachable: {statusFails(unknownError("status")), nothing, paid, 2000},
		payout.AttentionConfigRefused: {statusFails(
			&pike.Error{Method: "status", Outcome: pike.Refused, Code: pike.CodeAuthorization}), nothing, paid, 2000},
	}
}

// TestEveryAttentionReason: whatever makes a person look is visible where people
// look, is asked about at least hourly for as long as it takes, in a history
// that stays short, and goes away by itself when Pike tells the truth (hazard L2).
func TestEveryAttentionReason(t *testing.T) {
	for _, reason := range payout.AttentionReasons() {
		if reason == payout.AttentionPaidWithoutConfirm || reason == payout.AttentionLateEvent {
			continue // raised at the end of a payout, or after it: nothing is left to ask Pike
		}
		t.Run(string(reason), func(t *testing.T) {
			row, given := attentionRows()[reason]
			require.True(t, given, "a reason that no test raises")
			h, seen := confirmedHarness(t, row)
			for _, after := range []time.Duration{20 * minute, 2 * time.Hour, heldFor - minute} {
				h.at(after, func() { seen.requireVisible(reason) })
			}
			h.at(heldFor, func() { h.pike.tellsAgain(); h.pike.change(row.truth) })
			status := h.run(request())

			require.True(t, status.State.Final())
			seen.requireNothingVisible(status)
			seen.requireCallsUntil(heldFor + pollBound)
			t.Logf("%d calls to Pike, about %d events", len(seen.calls), seen.events)
			require.Less(t, seen.events, row.events)
			require.Equal(t, 1, h.pike.count("start"))
		})
	}
}

// TestAttentionClearsWhileThePayoutGoesOn: not only the end of a payout ends a reason.
func TestAttentionClearsWhileThePayoutGoesOn(t *testing.T) {
	for reason, row := range attentionRows() {
		if row.goesOn == nil {
			continue
		}
		t.Run(string(reason), func(t *testing.T) {
			h, seen := confirmedHarness(t, row)
			h.at(20*minute, func() { seen.requireVisible(reason) })
			h.at(21*minute, func() { h.pike.tellsAgain(); h.pike.change(row.goesOn) })
			h.statusAt(2*time.Hour, func(status payout.Status) {
				require.Equal(t, payout.StateAwaitingResult, status.State)
				seen.requireNothingVisible(status)
			})
			h.pikeTurns(3*time.Hour, row.truth, payout.SignalPaymentFinished)
			h.run(request(func(r *payout.Request) { r.Policy.ResultTimeout = payout.Duration(day) }))
		})
	}
}

// confirmedHarness is ready for a payout that is confirmed after a second and gets the row's trouble.
func confirmedHarness(t *testing.T, row attentionRow) (*harness, *observation) {
	h := newHarness(t)
	h.pikeTurns(second, ready, payout.SignalReadyToConfirm)
	row.raise(h)
	return h, observe(h)
}

// TestPaidWithoutConfirmIsVisibleAtTheEnd is the one reason that comes with the end and stays.
func TestPaidWithoutConfirmIsVisibleAtTheEnd(t *testing.T) {
	h := newHarness(t)
	seen := observe(h)
	h.pikeTurns(second, paid, payout.SignalPaymentFinished)
	require.Equal(t, payout.AttentionPaidWithoutConfirm, attention(h.run(request(manual))))
	seen.requireVisible(payout.AttentionPaidWithoutConfirm)
}

// observation is what people and the history see of a payout.
type observation struct {
	h               *harness
	searchAttribute string
	calls           []time.Duration // to Pike, since the start
	// events is how long the history would be on a server, workflow tasks included.
	events int
}

var attentionKey = temporal.NewSearchAttributeKeyKeyword(payout.SearchAttributeAttention)

func observe(h *harness) *observation {
	o := &observation{h: h, events: 1 + 3 + 1} // started, the first workflow task, completed; signals are left out
	start := h.env.Now()
	h.env.SetWorkerOptions(sdkworker.Options{Interceptors: []interceptor.WorkerInterceptor{&attributeSpy{upserted: func(all temporal.SearchAttributes) {
		o.events++
		o.searchAttribute, _ = all.GetKeyword(attentionKey)
	}}}})
	h.env.SetOnActivityStartedListener(func(info *activity.Info, _ context.Context, _ converter.EncodedValues) {
		o.calls = append(o.calls, h.env.Now().Sub(start))
		if info.Attempt == 1 {
			o.events += 3 + 3 // scheduled, started, completed, and the workflow task that takes the result in
		}
	})
	h.env.SetOnTimerScheduledListener(func(string, time.Duration) { o.events++ })
	h.env.SetOnTimerFiredListener(func(string) { o.events += 1 + 3 })
	h.env.SetOnTimerCanceledListener(func(string) { o.events++ })
	return o
}

// details is what the Web UI shows for the run.
func (o *observation) details() string {
	o.h.t.Helper()
	details := o.h.metadata().GetCurrentDetails()
	require.NotRegexp(o.h.t, cardOrName, details)
	return details
}

// metadata is what the Web UI asks of a run.
func (h *harness) metadata() *sdkpb.WorkflowMetadata {
	h.t.Helper()
	value, err := h.env.QueryWorkflow("__temporal_workflow_metadata")
	require.NoError(h.t, err)
	metadata := &sdkpb.WorkflowMetadata{}
	require.NoError(h.t, value.Get(metadata))
	return metadata
}

func (o *observation) requireVisible(reason payout.AttentionReason) {
	o.h.t.Helper()
	require.Equal(o.h.t, string(reason), o.searchAttribute)
	require.Contains(o.h.t, o.details(), "| **Attention** | "+string(reason)+" since ")
}

func (o *observation) requireNothingVisible(status payout.Status) {
	o.h.t.Helper()
	require.Empty(o.h.t, attention(status), "it clears itself")
	require.Empty(o.h.t, o.searchAttribute)
	require.NotContains(o.h.t, o.details(), "**Attention**")
}

func (o *observation) requireCallsUntil(end time.Duration) {
	o.h.t.Helper()
	last := time.Duration(0)
	for _, call := range o.calls {
		require.LessOrEqual(o.h.t, call-last, pollBound, "after %s", last)
		last = call
	}
	require.GreaterOrEqual(o.h.t, last, heldFor)
	require.LessOrEqual(o.h.t, last, end)
}

// attributeSpy is told the search attributes of a workflow after each upsert. A mock of the environment would not see one unset.
type attributeSpy struct {
	interceptor.WorkerInterceptorBase
	upserted func(temporal.SearchAttributes)
}

func (s *attributeSpy) InterceptWorkflow(_ workflow.Context, next interceptor.WorkflowInboundInterceptor) interceptor.WorkflowInboundInterceptor {
	return &spyInbound{interceptor.WorkflowInboundInterceptorBase{Next: next}, s}
}

type spyInbound struct {
	interceptor.WorkflowInboundInterceptorBase
	spy *attributeSpy
}

func (i *spyInbound) Init(next interceptor.WorkflowOutboundInterceptor) error {
	return i.Next.Init(&spyOutbound{interceptor.WorkflowOutboundInterceptorBase{Next: next}, i.spy})
}

type spyOutbound struct {
	interceptor.WorkflowOutboundInterceptorBase
	spy *attributeSpy
}

func (o *spyOutbound) UpsertTypedSearchAttributes(ctx workflow.Context, updates ...temporal.SearchAttributeUpdate) error {
	err := o.Next.UpsertTypedSearchAttributes(ctx, updates...)
	o.spy.upserted(workflow.GetTypedSearchAttributes(ctx))
	return err
}

// tellsAgain ends the failures that are queued.
func (f *fakePike) tellsAgain() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.errors = map[string][]fakeError{}
}
