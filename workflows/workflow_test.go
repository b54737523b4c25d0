package workflows_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/workflow"

	"pikepayouts/activities"
	"pikepayouts/payout"
	"pikepayouts/pike"
	"pikepayouts/secret"
	"pikepayouts/worker"
)

// harness runs one payout in Temporal's time-skipping environment against a fakePike.
type harness struct {
	t    *testing.T
	env  *testsuite.TestWorkflowEnvironment
	pike *fakePike
	late []payout.LateEvent // what LateEventWorkflow was started with
}

func newHarness(t *testing.T) *harness { return newHarnessWith(t, newFakePike()) }

func newHarnessWith(t *testing.T, pike *fakePike) *harness {
	return newMeasuredHarness(t, pike, client.MetricsNopHandler)
}

func newMeasuredHarness(t *testing.T, pike *fakePike, metrics client.MetricsHandler) *harness {
	h := newBareHarness(t, pike, metrics)
	h.env.OnWorkflow(payout.LateEventWorkflowType, mock.Anything, mock.Anything, mock.Anything).Return(payout.LateEventStatus{}, nil).Maybe()
	h.env.SetOnChildWorkflowStartedListener(func(_ *workflow.Info, _ workflow.Context, args converter.EncodedValues) {
		var event payout.LateEvent
		require.NoError(t, args.Get(&event))
		h.late = append(h.late, event)
	})
	return h
}

// newBareHarness has no stand-in for LateEventWorkflow: after one nothing can be registered.
func newBareHarness(t *testing.T, pike *fakePike, metrics client.MetricsHandler) *harness {
	var suite testsuite.WorkflowTestSuite
	suite.SetMetricsHandler(metrics)
	suite.SetLogger(log.NewStructuredLogger(slog.New(slog.DiscardHandler)))
	h := &harness{t: t, env: suite.NewTestWorkflowEnvironment(), pike: pike}
	h.env.SetStartWorkflowOptions(client.StartWorkflowOptions{ID: payout.WorkflowID("p1"), TaskQueue: payout.DefaultTaskQueue})
	worker.Register(h.env, activities.New(activities.Config{Pike: h.pike, Runs: onlyRun{}}))
	h.env.SetTestTimeout(time.Minute)
	return h
}

// onlyRun is a workflow id that never had another run.
type onlyRun struct{}

func (onlyRun) EarlierSession(context.Context, string, string) (string, error) { return "", nil }
func (onlyRun) ResetAt(context.Context, string, string) (time.Time, error)     { return time.Time{}, nil }
func (onlyRun) Record(context.Context, string) (activities.Record, error) {
	return activities.Record{}, nil
}
func (onlyRun) Repeated(context.Context, string, string, string, time.Time) (bool, error) {
	return false, nil
}

func request(change ...func(*payout.Request)) payout.Request {
	r := payout.Request{
		PayoutID: "p1", AmountDetails: payout.AmountDetails{Amount: 10000, Currency: "eur"},
		Destination: payout.Destination{TokenizedCard: &payout.TokenizedCard{Token: secret.String(strings.Repeat("ab", 32))}},
		Recipient:   payout.Recipient{FullName: "Ivanov Ivan"},
	}
	for _, c := range change {
		c(&r)
	}
	return r
}

func manual(r *payout.Request) { r.Policy.Decision = payout.DecisionManual }

// at does something to Pike or the workflow at a time after the start.
func (h *harness) at(after time.Duration, do func()) { h.env.RegisterDelayedCallback(do, after) }

func (h *harness) pikeTurns(after time.Duration, change func(*pike.Session), signal string) {
	h.at(after, func() {
		h.pike.change(change)
		if signal != "" {
			h.signal(signal)
		}
	})
}

func (h *harness) signal(name string) {
	h.env.SignalWorkflow(name, payout.Event{Type: name, SessionID: "ps_1"})
}

func (h *harness) decide(after time.Duration, decision, by string) *updateResult {
	result := &updateResult{}
	h.at(after, func() {
		h.env.UpdateWorkflow(payout.UpdateDecide, by+decision+after.String(), result, payout.DecideRequest{Decision: decision, By: by})
	})
	return result
}

// updateResult keeps what became of an update.
type updateResult struct{ err error }

func (u *updateResult) Accept()                   {}
func (u *updateResult) Reject(err error)          { u.err = err }
func (u *updateResult) Complete(_ any, err error) { u.err = err }

func (h *harness) run(r payout.Request) payout.Status {
	h.t.Helper()
	h.env.ExecuteWorkflow(payout.WorkflowType, r)
	require.True(h.t, h.env.IsWorkflowCompleted())
	require.NoError(h.t, h.env.GetWorkflowError())
	var status payout.Status
	require.NoError(h.t, h.env.GetWorkflowResult(&status))
	return status
}

// statusAt reads the query while the payout runs.
func (h *harness) statusAt(after time.Duration, check func(payout.Status)) {
	h.at(after, func() {
		value, err := h.env.QueryWorkflow(payout.QueryStatus)
		require.NoError(h.t, err)
		var status payout.Status
		require.NoError(h.t, value.Get(&status))
		check(status)
	})
}

func states(status payout.Status) string {
	var names []string
	for _, transition := range status.Transitions {
		names = append(names, string(transition.State))
	}
	return strings.Join(names, " ")
}

func attention(status payout.Status) payout.AttentionReason {
	if status.Attention == nil {
		return ""
	}
	return status.Attention.Reason
}

const (
	second = time.Second
	minute = time.Minute
)

func TestHappyAutoPayoutTakesFourActivities(t *testing.T) {
	h := newHarness(t)
	h.pikeTurns(second, ready, payout.SignalReadyToConfirm)
	h.pikeTurns(3*second, paid, payout.SignalPaymentFinished)
	status := h.run(request())
	require.Equal(t, "creating starting awaiting_ready confirming awaiting_result succeeded", states(status))
	require.Equal(t, []string{"create", "start", "status", "confirm", "status"}, h.pike.calls, "confirm reads the status itself")
	require.Equal(t, "ps_1", status.SessionID)
	require.Equal(t, "po_1", status.PikePayoutID)
	require.JSONEq(t, `{"rrn":"1"}`, string(status.TransactionInfo))
	require.Equal(t, "auto", status.Decision.By)
	require.Empty(t, attention(status))
}

func TestAllWebhooksLost(t *testing.T) {
	h := newHarness(t)
	h.pikeTurns(second, ready, "")
	h.pikeTurns(40*second, paid, "")
	status := h.run(request())
	require.Equal(t, payout.StateSucceeded, status.State)
	require.Equal(t, 1, h.pike.count("confirm"))
}

func TestEveryOrderOfWebhooksEndsAlike(t *testing.T) {
	const r, f = payout.SignalReadyToConfirm, payout.SignalPaymentFinished
	orders := [][]string{{r, f}, {f, r}, {r, r, f}, {r, f, f}, {f, f, r, r}, {r, f, r}, {f}, {r}, {}}
	for _, order := range orders {
		for _, offset := range []time.Duration{0, 2 * second, 5 * second, minute} {
			t.Run(fmt.Sprint(order, offset), func(t *testing.T) {
				h := newHarness(t)
				h.pikeTurns(2*second, ready, "")
				h.pikeTurns(5*second+500*time.Millisecond, func(s *pike.Session) {
					if s.NextAction == "" {
						paid(s)
					}
				}, "")
				h.pikeTurns(2*minute, func(s *pike.Session) {
					if s.NextAction == "" {
						paid(s)
					}
				}, "")
				for i, name := range order {
					h.at(offset+time.Duration(i)*second, func() { h.signal(name) })
				}
				status := h.run(request())
				require.Equal(t, payout.StateSucceeded, status.State)
				require.Equal(t, 1, h.pike.count("confirm"))
				require.Equal(t, 1, h.pike.count("start"))
			})
		}
	}
}

func TestForgedWebhooksMoveNothing(t *testing.T) {
	h := newHarness(t)
	forged := payout.Event{Type: payout.SignalPaymentFinished, SessionID: "ps_1", SessionStatus: "accepted", PayoutStatus: "succeeded"}
	for i := range 20 {
		h.at(time.Duration(i)*second, func() { h.signal(payout.SignalReadyToConfirm); h.env.SignalWorkflow(forged.Type, forged) })
	}
	h.statusAt(25*second, func(status payout.Status) {
		require.Equal(t, payout.StateAwaitingReady, status.State)
		require.Nil(t, status.Decision)
		require.Zero(t, h.pike.count("confirm"))
	})
	h.pikeTurns(30*second, notPaid, payout.SignalPaymentFinished)
	require.Equal(t, payout.StateFailed, h.run(request()).State)
}

// TestEventOfAnotherSessionMovesNothingAndIsKept: hazard W25.
func TestEventOfAnotherSessionMovesNothingAndIsKept(t *testing.T) {
	h := newHarness(t)
	stranger := payout.Event{ID: strings.Repeat("ab", 32), Type: payout.SignalPaymentFinished, SessionID: "ps_2"}
	h.at(second, func() { h.env.SignalWorkflow(payout.SignalPaymentFinished, stranger) })
	h.statusAt(20*second, func(payout.Status) { require.Zero(t, h.pike.count("status")) })
	h.pikeTurns(25*second, notPaid, payout.SignalPaymentFinished)
	h.run(request())
	require.Equal(t, []payout.LateEvent{{Reason: payout.LateOtherSession, PayoutID: "p1", Event: stranger}}, h.late)
}

// TestAFloodOfForgedWebhooksHoldsNothingUp: Temporal fails every workflow task of a parent with 2,000 open children (hazards W23, X27).
func TestAFloodOfForgedWebhooksHoldsNothingUp(t *testing.T) {
	const most = 200
	h := newHarness(t)
	h.at(second, func() {
		for i := range 2 * most {
			h.env.SignalWorkflow(payout.SignalPaymentFinished, payout.Event{SessionID: fmt.Sprint("ps_forged_", i)})
		}
	})
	h.pikeTurns(2*second, ready, payout.SignalReadyToConfirm)
	h.pikeTurns(10*second, paid, payout.SignalPaymentFinished)
	require.Equal(t, payout.StateSucceeded, h.run(request()).State)
	require.InDelta(t, most, len(h.late), 0)
}

// TestALargeForgedWebhookIsCut: Temporal ends the sender of what does not fit (hazard W23).
func TestALargeForgedWebhookIsCut(t *testing.T) {
	h := newHarness(t)
	h.at(second, func() {
		h.env.SignalWorkflow(payout.SignalPaymentFinished, payout.Event{SessionID: "ps_2", NextAction: strings.Repeat("<", 400_000)})
	})
	h.pikeTurns(25*second, notPaid, payout.SignalPaymentFinished)
	h.run(request())
	require.Len(t, h.late, 1)
	encoded, err := json.Marshal(h.late[0])
	require.NoError(t, err)
	require.Less(t, len(encoded), 64<<10)
}

func TestDeclines(t *testing.T) {
	t.Run("at checks", func(t *testing.T) {
		h := newHarness(t)
		h.pikeTurns(second, notPaid, payout.SignalPaymentFinished)
		status := h.run(request())
		require.Equal(t, payout.StateFailed, status.State)
		require.Equal(t, "operation_rejected", status.Error.Code)
		require.Zero(t, h.pike.count("confirm"))
	})
	t.Run("after confirm", func(t *testing.T) {
		h := newHarness(t)
		h.pikeTurns(second, ready, payout.SignalReadyToConfirm)
		h.pikeTurns(3*second, notPaid, payout.SignalPaymentFinished)
		require.Equal(t, payout.StateFailed, h.run(request()).State)
	})
	t.Run("with session error, flips to paid after five days", func(t *testing.T) {
		h := newHarness(t)
		h.pikeTurns(second, ready, payout.SignalReadyToConfirm)
		h.pikeTurns(3*second, unresolved, payout.SignalPaymentFinished)
		h.statusAt(4*24*time.Hour, func(status payout.Status) {
			require.Equal(t, payout.AttentionUnresolvedError, attention(status))
			require.Equal(t, payout.StateAwaitingResult, status.State)
		})
		h.pikeTurns(5*24*time.Hour, paid, "")
		status := h.run(request())
		require.Equal(t, payout.StateSucceeded, status.State)
		require.Empty(t, attention(status))
		require.Equal(t, 1, h.pike.count("confirm"))
	})
	t.Run("create refused for good", func(t *testing.T) {
		h := newHarness(t)
		h.pike.failing("create", 1, fakeError{err: &pike.Error{Method: "create", Outcome: pike.Refused, Code: pike.CodeInvalidRequest}})
		status := h.run(request())
		require.Equal(t, payout.StateFailed, status.State)
		require.Equal(t, "invalid_request", status.Error.Code)
		require.Equal(t, []string{"create"}, h.pike.calls)
	})
	t.Run("start refused for good", func(t *testing.T) {
		h := newHarness(t)
		h.pike.failing("start", 1, fakeError{err: &pike.Error{Method: "start", Outcome: pike.Refused, Code: pike.CodeInvalidRequest}})
		status := h.run(request())
		require.Equal(t, payout.StateFailed, status.State)
		require.Equal(t, "invalid_request", status.Error.Code)
		require.Equal(t, []string{"create", "start", "status"}, h.pike.calls)
	})
}

func TestManualDecision(t *testing.T) {
	t.Run("confirm", func(t *testing.T) {
		h := newHarness(t)
		h.pikeTurns(second, ready, payout.SignalReadyToConfirm)
		h.statusAt(10*minute, func(status payout.Status) {
			require.Equal(t, payout.StateAwaitingDecision, status.State)
			require.Zero(t, h.pike.count("confirm"))
		})
		confirm := h.decide(20*minute, payout.DecisionConfirm, "ann")
		again := h.decide(20*minute+second, payout.DecisionCancel, "bob")
		h.pikeTurns(21*minute, paid, payout.SignalPaymentFinished)
		status := h.run(request(manual))
		require.Equal(t, payout.StateSucceeded, status.State)
		require.Equal(t, "ann", status.Decision.By)
		require.NoError(t, confirm.err)
		require.ErrorContains(t, again.err, "already decided: confirm by ann")
	})
	t.Run("cancel", func(t *testing.T) {
		h := newHarness(t)
		h.pikeTurns(second, ready, payout.SignalReadyToConfirm)
		h.decide(minute, payout.DecisionCancel, "ann")
		h.pikeTurns(2*minute, notPaid, payout.SignalPaymentFinished)
		status := h.run(request(manual))
		require.Equal(t, payout.StateCancelled, status.State)
		require.Zero(t, h.pike.count("confirm"))
		require.Positive(t, h.pike.count("cancel"))
	})
	t.Run("before Pike is ready", func(t *testing.T) {
		h := newHarness(t)
		h.decide(second, payout.DecisionConfirm, "ann")
		h.pikeTurns(minute, ready, payout.SignalReadyToConfirm)
		h.pikeTurns(2*minute, paid, payout.SignalPaymentFinished)
		status := h.run(request(manual))
		require.Equal(t, payout.StateSucceeded, status.State)
		require.Equal(t, "ann", status.Decision.By)
	})
	t.Run("two approvals", func(t *testing.T) {
		h := newHarness(t)
		h.pikeTurns(second, ready, payout.SignalReadyToConfirm)
		h.decide(minute, payout.DecisionConfirm, "ann")
		twice := h.decide(2*minute, payout.DecisionConfirm, "ann")
		h.statusAt(3*minute, func(payout.Status) { require.Zero(t, h.pike.count("confirm")) })
		h.decide(4*minute, payout.DecisionConfirm, "bob")
		h.pikeTurns(5*minute, paid, payout.SignalPaymentFinished)
		status := h.run(request(manual, func(r *payout.Request) { r.Policy.Approvals = 2 }))
		require.Equal(t, payout.StateSucceeded, status.State)
		require.ErrorContains(t, twice.err, "ann has confirmed already")
	})
	t.Run("malformed", func(t *testing.T) {
		h := newHarness(t)
		noPerson := h.decide(second, payout.DecisionConfirm, " ")
		noDecision := h.decide(second, "yes", "ann")
		noName := h.decide(second, payout.DecisionConfirm, strings.Repeat("ann ", 500_000))
		h.pikeTurns(2*second, notPaid, payout.SignalPaymentFinished)
		h.run(request(manual))
		require.ErrorContains(t, noPerson.err, "by:")
		require.ErrorContains(t, noDecision.err, "decision:")
		require.ErrorContains(t, noName.err, "at most 4096 bytes")
	})
}

func TestTimeouts(t *testing.T) {
	t.Run("ready_timeout", func(t *testing.T) {
		h := newHarness(t)
		h.statusAt(119*minute, func(status payout.Status) { require.Equal(t, payout.StateAwaitingReady, status.State) })
		h.statusAt(121*minute, func(status payout.Status) { require.Equal(t, payout.StateCancelling, status.State) })
		h.pikeTurns(122*minute, notPaid, payout.SignalPaymentFinished)
		status := h.run(request())
		require.Equal(t, payout.StateCancelled, status.State)
		require.Equal(t, "ready_timeout", status.Decision.By)
	})
	t.Run("decision_timeout", func(t *testing.T) {
		h := newHarness(t)
		h.pikeTurns(second, ready, payout.SignalReadyToConfirm)
		h.statusAt(44*minute, func(status payout.Status) { require.Equal(t, payout.StateAwaitingDecision, status.State) })
		h.statusAt(46*minute, func(status payout.Status) { require.Equal(t, payout.StateCancelling, status.State) })
		h.pikeTurns(47*minute, notPaid, payout.SignalPaymentFinished)
		status := h.run(request(manual))
		require.Equal(t, payout.StateCancelled, status.State)
		require.Equal(t, "decision_timeout", status.Decision.By)
	})
	t.Run("confirm_timeout: no confirm could be sent", func(t *testing.T) {
		h := newHarness(t)
		h.pikeTurns(second, ready, payout.SignalReadyToConfirm)
		h.pike.failing("confirm", 1000, fakeError{err: &pike.Error{Method: "confirm", Outcome: pike.NotSent}})
		h.statusAt(54*minute, func(status payout.Status) { require.Equal(t, payout.StateConfirming, status.State) })
		h.statusAt(56*minute, func(status payout.Status) { require.Equal(t, payout.StateCancelling, status.State) })
		h.pikeTurns(57*minute, notPaid, payout.SignalPaymentFinished)
		status := h.run(request())
		require.Equal(t, payout.StateCancelled, status.State)
		require.Equal(t, "confirm_timeout", status.Decision.By)
	})
	t.Run("result_timeout", func(t *testing.T) {
		h := newHarness(t)
		h.pikeTurns(second, ready, payout.SignalReadyToConfirm)
		h.statusAt(14*minute, func(status payout.Status) { require.Empty(t, attention(status)) })
		h.statusAt(16*minute, func(status payout.Status) { require.Equal(t, payout.AttentionResultOverdue, attention(status)) })
		h.pikeTurns(5*time.Hour, paid, "")
		status := h.run(request())
		require.Equal(t, payout.StateSucceeded, status.State)
		require.Empty(t, attention(status))
	})
	t.Run("poll_interval doubles to five minutes", func(t *testing.T) {
		h := newHarness(t)
		h.statusAt(time.Hour, func(payout.Status) {
			require.InDelta(t, 15, h.pike.count("status"), 2, "30s 1m 2m 4m, then every 5m")
		})
		h.pikeTurns(time.Hour+second, notPaid, payout.SignalPaymentFinished)
		h.run(request())
	})
}

func TestLostAnswers(t *testing.T) {
	t.Run("create", func(t *testing.T) {
		h := newHarness(t)
		h.pike.lost("create", 3)
		h.pikeTurns(10*minute, ready, payout.SignalReadyToConfirm)
		h.pikeTurns(11*minute, paid, payout.SignalPaymentFinished)
		require.Equal(t, payout.StateSucceeded, h.run(request()).State)
		require.Equal(t, 1, h.pike.count("start"))
	})
	t.Run("start is not repeated", func(t *testing.T) {
		h := newHarness(t)
		h.pike.lost("start", 1)
		h.pikeTurns(5*minute, ready, payout.SignalReadyToConfirm)
		h.pikeTurns(6*minute, paid, payout.SignalPaymentFinished)
		require.Equal(t, payout.StateSucceeded, h.run(request()).State)
		require.Equal(t, 1, h.pike.count("start"))
	})
	t.Run("start that never arrived is repeated after the settle delay", func(t *testing.T) {
		h := newHarness(t)
		h.pike.failing("start", 1, fakeError{err: unknownError("start")})
		h.statusAt(80*second, func(payout.Status) { require.Equal(t, 1, h.pike.count("start")) })
		h.pikeTurns(5*minute, ready, payout.SignalReadyToConfirm)
		h.pikeTurns(6*minute, paid, payout.SignalPaymentFinished)
		require.Equal(t, payout.StateSucceeded, h.run(request()).State)
		require.Equal(t, 2, h.pike.count("start"))
	})
	t.Run("confirm pays once", func(t *testing.T) {
		h := newHarness(t)
		h.pike.lost("confirm", 1)
		h.pikeTurns(second, ready, payout.SignalReadyToConfirm)
		h.statusAt(10*second, func(status payout.Status) { require.Equal(t, payout.AttentionConfirmUnknown, attention(status)) })
		h.pikeTurns(3*minute, paid, payout.SignalPaymentFinished)
		status := h.run(request())
		require.Equal(t, payout.StateSucceeded, status.State)
		require.Equal(t, 1, h.pike.count("confirm"))
		require.Empty(t, attention(status))
	})
	t.Run("confirm that never arrived is repeated after the settle delay", func(t *testing.T) {
		h := newHarness(t)
		h.pike.failing("confirm", 1, fakeError{err: unknownError("confirm")})
		h.pikeTurns(second, ready, payout.SignalReadyToConfirm)
		h.statusAt(85*second, func(payout.Status) { require.Equal(t, 1, h.pike.count("confirm")) })
		h.pikeTurns(5*minute, paid, payout.SignalPaymentFinished)
		require.Equal(t, payout.StateSucceeded, h.run(request()).State)
		require.Equal(t, 2, h.pike.count("confirm"))
	})
	t.Run("confirm unknown until Pike's own deadline", func(t *testing.T) {
		h := newHarness(t)
		h.pike.failing("confirm", 1000, fakeError{err: unknownError("confirm")})
		h.pikeTurns(second, ready, payout.SignalReadyToConfirm)
		h.statusAt(70*minute, func(status payout.Status) {
			require.Equal(t, payout.StateConfirming, status.State, "never cancelled once a confirm may have arrived")
			require.Equal(t, payout.AttentionConfirmUnknown, attention(status))
		})
		h.pikeTurns(240*minute, notPaid, "")
		require.Equal(t, payout.StateFailed, h.run(request()).State)
		require.Zero(t, h.pike.count("cancel"))
	})
	t.Run("cancel", func(t *testing.T) {
		h := newHarness(t)
		h.pike.lost("cancel", 2)
		h.pikeTurns(second, ready, payout.SignalReadyToConfirm)
		h.decide(minute, payout.DecisionCancel, "ann")
		h.pikeTurns(2*minute, notPaid, "")
		require.Equal(t, payout.StateCancelled, h.run(request(manual)).State)
	})
}

// TestMoneyCallsAreAttemptedOnce: Temporal itself repeats nothing that moves money (hazard A5).
func TestMoneyCallsAreAttemptedOnce(t *testing.T) {
	for _, decision := range []string{payout.DecisionConfirm, payout.DecisionCancel} {
		h := newHarness(t)
		for _, method := range []string{"start", "confirm", "cancel"} {
			h.pike.failing(method, 1, fakeError{err: unknownError(method)})
		}
		h.env.SetOnActivityStartedListener(func(info *activity.Info, _ context.Context, _ converter.EncodedValues) {
			if slices.Contains([]string{"StartPayout", "ConfirmSession", "CancelSession"}, info.ActivityType.Name) {
				require.EqualValues(t, 1, info.Attempt, info.ActivityType.Name)
			}
		})
		h.pikeTurns(5*minute, ready, payout.SignalReadyToConfirm)
		h.decide(6*minute, decision, "ann")
		h.pikeTurns(20*minute, notPaid, payout.SignalPaymentFinished)
		h.run(request(manual))
	}
}

func TestTemporalCancellation(t *testing.T) {
	t.Run("before confirm", func(t *testing.T) {
		h := newHarness(t)
		h.at(second, h.env.CancelWorkflow)
		h.pikeTurns(minute, notPaid, payout.SignalPaymentFinished)
		status := h.run(request())
		require.Equal(t, payout.StateCancelled, status.State)
		require.Equal(t, "temporal cancellation", status.Decision.By)
		require.Positive(t, h.pike.count("cancel"))
	})
	t.Run("after the one-way door", func(t *testing.T) {
		h := newHarness(t)
		h.pikeTurns(second, ready, payout.SignalReadyToConfirm)
		h.at(2*second, h.env.CancelWorkflow)
		h.pikeTurns(minute, paid, payout.SignalPaymentFinished)
		status := h.run(request())
		require.Equal(t, payout.StateSucceeded, status.State)
		require.Zero(t, h.pike.count("cancel"))
		require.Contains(t, fmt.Sprint(status.Transitions), "cancellation refused")
	})
	t.Run("while Pike does not answer create", func(t *testing.T) {
		h := newHarness(t)
		h.pike.failing("create", 1000, fakeError{err: &pike.Error{Method: "create", Outcome: pike.NotSent}})
		h.statusAt(20*minute, func(status payout.Status) { require.Equal(t, payout.AttentionPikeUnreachable, attention(status)) })
		h.at(21*minute, h.env.CancelWorkflow)
		status := h.run(request())
		require.Equal(t, payout.StateCancelled, status.State)
		require.Zero(t, h.pike.count("cancel"))
	})
	t.Run("the cancel loses against a payment", func(t *testing.T) {
		h := newHarness(t)
		h.at(second, h.env.CancelWorkflow)
		h.pikeTurns(minute, paid, payout.SignalPaymentFinished)
		status := h.run(request())
		require.Equal(t, payout.StateSucceeded, status.State)
		require.Equal(t, payout.AttentionPaidWithoutConfirm, attention(status))
	})
}

func (h *harness) resolve(after time.Duration, action string) *updateResult {
	result := &updateResult{}
	h.at(after, func() {
		h.env.UpdateWorkflow(payout.UpdateResolve, action+after.String(), result,
			payout.ResolveRequest{Action: action, By: "ann", Reason: "support says so", Evidence: "ticket 17"})
	})
	return result
}

func TestResolve(t *testing.T) {
	unresolvedAfterConfirm := func(t *testing.T) *harness {
		h := newHarness(t)
		h.pikeTurns(second, ready, payout.SignalReadyToConfirm)
		h.pikeTurns(3*second, unresolved, payout.SignalPaymentFinished)
		return h
	}
	t.Run("close_paid", func(t *testing.T) {
		h := unresolvedAfterConfirm(t)
		closing := h.resolve(time.Hour, payout.ResolveClosePaid)
		status := h.run(request())
		require.NoError(t, closing.err)
		require.Equal(t, payout.StateSucceeded, status.State)
		require.Contains(t, status.Transitions[len(status.Transitions)-1].Why, "ticket 17")
		require.Empty(t, attention(status))
	})
	t.Run("close_not_paid", func(t *testing.T) {
		h := unresolvedAfterConfirm(t)
		closing := h.resolve(time.Hour, payout.ResolveCloseNotPaid)
		require.Equal(t, payout.StateFailed, h.run(request()).State)
		require.NoError(t, closing.err)
	})
	t.Run("a fresh status beats the person", func(t *testing.T) {
		h := unresolvedAfterConfirm(t)
		h.pikeTurns(time.Hour, paid, "") // no webhook: only the fresh read can know
		closing := h.resolve(time.Hour+second, payout.ResolveCloseNotPaid)
		status := h.run(request())
		require.Equal(t, payout.StateSucceeded, status.State)
		require.ErrorContains(t, closing.err, "Pike has just settled it: succeeded")
	})
	t.Run("not without an answer from Pike", func(t *testing.T) {
		h := unresolvedAfterConfirm(t)
		h.at(time.Hour, func() { h.pike.failing("status", 8, fakeError{err: unknownError("status")}) })
		closing := h.resolve(time.Hour+second, payout.ResolveClosePaid)
		h.pikeTurns(10*time.Hour, notPaid, "")
		require.Equal(t, payout.StateFailed, h.run(request()).State)
		require.ErrorContains(t, closing.err, "no fresh status")
	})
	t.Run("recheck", func(t *testing.T) {
		h := unresolvedAfterConfirm(t)
		h.pikeTurns(10*time.Hour, paid, "")
		h.resolve(10*time.Hour+second, payout.ResolveRecheck)
		h.at(10*time.Hour+minute, func() { require.True(t, h.env.IsWorkflowCompleted(), "no poll was due for an hour") })
		require.Equal(t, payout.StateSucceeded, h.run(request()).State)
	})
	t.Run("closing sends nothing, and not while a confirm may be in flight", func(t *testing.T) {
		h := newHarness(t)
		h.pike.failing("confirm", 1, fakeError{err: unknownError("confirm")})
		h.pikeTurns(second, ready, payout.SignalReadyToConfirm)
		early := h.resolve(60*second, payout.ResolveCloseNotPaid)
		closing := h.resolve(96*second, payout.ResolveCloseNotPaid) // settled, and the machine is about to confirm again
		status := h.run(request())
		require.ErrorContains(t, early.err, "may be in flight")
		require.NoError(t, closing.err)
		require.Equal(t, payout.StateFailed, status.State)
		require.Equal(t, 1, h.pike.count("confirm"))
	})
	t.Run("closing starts nothing", func(t *testing.T) {
		h := newHarness(t)
		h.pike.failing("start", 1, fakeError{err: &pike.Error{Method: "start", Outcome: pike.Refused, Code: pike.CodeAuthorization}})
		closing := h.resolve(5*second, payout.ResolveCloseNotPaid)
		require.Equal(t, payout.StateFailed, h.run(request()).State)
		require.NoError(t, closing.err)
		require.Equal(t, 1, h.pike.count("start"))
	})
	t.Run("only with attention", func(t *testing.T) {
		h := newHarness(t)
		early := h.resolve(second, payout.ResolveClosePaid)
		h.pikeTurns(minute, notPaid, payout.SignalPaymentFinished)
		h.run(request())
		require.ErrorContains(t, early.err, "no attention is raised")
	})
	t.Run("paid is refused while Pike waits for confirm", func(t *testing.T) {
		h := newHarness(t)
		h.pike.failing("confirm", 1000, fakeError{err: unknownError("confirm")})
		h.pikeTurns(second, ready, payout.SignalReadyToConfirm)
		closing := h.resolve(2*time.Hour, payout.ResolveClosePaid)
		h.pikeTurns(240*minute, notPaid, "")
		require.Equal(t, payout.StateFailed, h.run(request()).State)
		require.ErrorContains(t, closing.err, "a fresh status says the opposite")
	})
	t.Run("malformed", func(t *testing.T) {
		h := unresolvedAfterConfirm(t)
		results := map[string]*updateResult{}
		for want, r := range map[string]payout.ResolveRequest{
			"action:": {Action: "close", By: "ann"}, "by:": {Action: payout.ResolveRecheck},
			"evidence": {Action: payout.ResolveClosePaid, By: "ann", Reason: "x"},
		} {
			results[want] = &updateResult{}
			h.at(minute, func() { h.env.UpdateWorkflow(payout.UpdateResolve, want, results[want], r) })
		}
		h.pikeTurns(time.Hour, notPaid, payout.SignalPaymentFinished)
		h.run(request())
		for want, result := range results {
			require.ErrorContains(t, result.err, want)
		}
	})
}

// TestADecisionForAnotherWorkflowIsRefused: played from one payout to another, it moves neither (hazard T2).
func TestADecisionForAnotherWorkflowIsRefused(t *testing.T) {
	h := newHarness(t)
	h.pikeTurns(second, ready, payout.SignalReadyToConfirm)
	r := request()
	r.Policy.Decision = payout.DecisionManual
	own, other := &updateResult{}, &updateResult{}
	decide := func(after time.Duration, result *updateResult, workflowID string) {
		h.at(after, func() {
			h.env.UpdateWorkflow(payout.UpdateDecide, workflowID, result, payout.DecideRequest{Decision: payout.DecisionConfirm, By: "ann", WorkflowID: workflowID})
		})
	}
	decide(minute, other, payout.WorkflowID("another"))
	decide(2*minute, own, payout.WorkflowID(r.PayoutID))
	h.statusAt(minute+second, func(status payout.Status) { require.Equal(t, payout.StateAwaitingDecision, status.State) })
	h.pikeTurns(3*minute, paid, payout.SignalPaymentFinished)
	require.Equal(t, payout.StateSucceeded, h.run(r).State)
	require.ErrorContains(t, other.err, "workflow_id: names another workflow")
	require.NoError(t, own.err)
}

// TestAParkedPayoutContinuesAsNew: the next run knows everything, also a webhook that came last (hazards L8, L9).
func TestAParkedPayoutContinuesAsNew(t *testing.T) {
	first := newHarness(t)
	first.pikeTurns(second, ready, payout.SignalReadyToConfirm)
	first.pikeTurns(3*second, unresolved, payout.SignalPaymentFinished)
	arguments := first.continuesAsNew(20 * 24 * time.Hour)
	continued := newHarnessWith(t, first.pike)
	continued.follows(first)
	continued.statusAt(minute, func(status payout.Status) {
		require.Equal(t, payout.AttentionUnresolvedError, attention(status))
		require.Equal(t, payout.StateAwaitingResult, status.State)
	})
	continued.pikeTurns(2*time.Hour, paid, "")
	continued.env.ExecuteWorkflow(payout.WorkflowType, arguments...)
	require.NoError(t, continued.env.GetWorkflowError())
	var status payout.Status
	require.NoError(t, continued.env.GetWorkflowResult(&status))
	require.Equal(t, payout.StateSucceeded, status.State)
	require.Empty(t, attention(status))
	require.Equal(t, 1, first.pike.count("confirm"))
	require.Equal(t, "creating starting awaiting_ready confirming awaiting_result succeeded", states(status))
}

// continuesAsNew runs the payout until it does, and returns the arguments of the next run.
func (h *harness) continuesAsNew(after time.Duration) []any {
	h.t.Helper()
	h.at(after, func() { h.env.SetContinueAsNewSuggested(true) })
	h.env.ExecuteWorkflow(payout.WorkflowType, request())
	var next *workflow.ContinueAsNewError
	require.ErrorAs(h.t, h.env.GetWorkflowError(), &next)
	var raw, snapshot json.RawMessage
	require.NoError(h.t, converter.GetDefaultDataConverter().FromPayloads(next.Input, &raw, &snapshot))
	return []any{raw, snapshot}
}

// follows makes the run the one that first continued as.
func (h *harness) follows(first *harness) {
	h.env.SetContinuedExecutionRunID("first")
	h.env.SetStartTime(first.env.Now())
}

func TestASecondArgumentFromACallerIsRefused(t *testing.T) {
	h := newHarness(t)
	h.env.ExecuteWorkflow(payout.WorkflowType, request(), json.RawMessage(`{"status":{"state":"confirming"}}`))
	require.ErrorContains(t, h.env.GetWorkflowError(), "takes one argument")
	require.Empty(t, h.pike.calls)
}

func TestAutoConfirmAtPikeIsTheTruthAndFlagged(t *testing.T) {
	h := newHarness(t)
	h.pikeTurns(second, paid, payout.SignalPaymentFinished)
	status := h.run(request(manual))
	require.Equal(t, payout.StateSucceeded, status.State)
	require.Equal(t, payout.AttentionPaidWithoutConfirm, attention(status))
}

func TestMismatchIsNeverConfirmed(t *testing.T) {
	changes := map[string]func(*pike.Session){
		"amount":      func(s *pike.Session) { s.Payouts[0].AmountDetails.Amount = 10001 },
		"currency":    func(s *pike.Session) { s.Payouts[0].AmountDetails.Currency = "usd" },
		"metadata":    func(s *pike.Session) { s.Payouts[0].Metadata = json.RawMessage(`"p2"`) },
		"destination": func(s *pike.Session) { s.Payouts[0].Destination = pike.Destination{CardToken: "other"} },
		"recipient":   func(s *pike.Session) { s.Payouts[0].RecipientName = "Somebody Else" },
		"two payouts": func(s *pike.Session) { s.Payouts = append(s.Payouts, s.Payouts[0]) },
	}
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t)
			h.pikeTurns(second, func(s *pike.Session) {
				change(s)
				ready(s)
				for i := range s.Payouts {
					s.Payouts[i].Status = pike.PayoutPending
				}
			}, payout.SignalReadyToConfirm)
			h.pikeTurns(minute, notPaid, payout.SignalPaymentFinished)
			status := h.run(request())
			require.Equal(t, payout.StateCancelled, status.State)
			require.Equal(t, payout.AttentionMismatch, attention(status))
			require.Zero(t, h.pike.count("confirm"))
			require.NotContains(t, status.Attention.Detail, "Ivanov")
		})
	}
}

func TestConfigRefusedHoldsAndResumes(t *testing.T) {
	h := newHarness(t)
	h.pike.failing("start", 3, fakeError{err: &pike.Error{Method: "start", Outcome: pike.Refused, Code: pike.CodeAuthorization}})
	h.statusAt(second, func(status payout.Status) { require.Equal(t, payout.AttentionConfigRefused, attention(status)) })
	h.pikeTurns(30*minute, ready, payout.SignalReadyToConfirm)
	h.pikeTurns(31*minute, paid, payout.SignalPaymentFinished)
	status := h.run(request())
	require.Equal(t, payout.StateSucceeded, status.State)
	require.Empty(t, attention(status))
}

func TestBadRequestsFailTheWorkflowAndReachNothing(t *testing.T) {
	good, err := json.Marshal(request())
	require.NoError(t, err)
	with := func(old, replacement string) json.RawMessage {
		require.Contains(t, string(good), old)
		return json.RawMessage(strings.Replace(string(good), old, replacement, 1))
	}
	tests := map[string]struct {
		input json.RawMessage
		want  string
	}{
		"amount is text":     {with(`10000`, `"10000"`), "amount_details.amount"},
		"amount is a float":  {with(`10000`, `1e4`), "amount_details.amount"},
		"amount is zero":     {with(`10000`, `0`), "amount_details.amount"},
		"currency":           {with(`eur`, `euro`), "amount_details.currency"},
		"misspelled policy":  {with(`"recipient"`, `"policy":{"decided":"manual"},"recipient"`), "policy.decided: unknown field"},
		"bad duration":       {with(`"recipient"`, `"policy":{"ready_timeout":60},"recipient"`), "policy.ready_timeout"},
		"amount given twice": {with(`10000`, `10000,"amount":1`), "given twice"},
		"other id":           {with(`"p1"`, `"p2"`), "payout_id"},
		"token":              {with(`abab`, `xyxy`), "destination.tokenized_card.token"},
		"card number":        {with(`"full_name":"`, `"full_name":"4111 1111 1111 1111 `), "recipient.full_name: looks like a card number"},
		"no object":          {json.RawMessage(`17`), "request"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t)
			h.env.ExecuteWorkflow(payout.WorkflowType, tt.input)
			var failure *temporal.ApplicationError
			require.ErrorAs(t, h.env.GetWorkflowError(), &failure)
			require.Equal(t, payout.ErrorTypeInvalidRequest, failure.Type())
			require.True(t, failure.NonRetryable())
			require.ErrorContains(t, failure, tt.want)
			require.NotContains(t, failure.Error(), "1111")
			require.Empty(t, h.pike.calls)
		})
	}
}
