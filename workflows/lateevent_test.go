package workflows_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/workflow"

	"pikepayouts/activities"
	"pikepayouts/payout"
	"pikepayouts/pike"
	"pikepayouts/worker"
)

// lateHarness runs one LateEventWorkflow against a Pike and a record that the test moves.
type lateHarness struct {
	onlyRun
	t      *testing.T
	env    *testsuite.TestWorkflowEnvironment
	pike   *fakePike
	record activities.Record
	checks int
}

var lateEvent = payout.LateEvent{Reason: payout.LateNoOpenPayout, PayoutID: "p1", Event: payout.Event{
	ID: strings.Repeat("ab", 32), Type: payout.SignalPaymentFinished, SessionID: "ps_1",
}}

func newLateHarness(t *testing.T, truth func(*pike.Session), recorded payout.State) *lateHarness {
	var suite testsuite.WorkflowTestSuite
	suite.SetLogger(log.NewStructuredLogger(slog.New(slog.DiscardHandler)))
	h := &lateHarness{t: t, env: suite.NewTestWorkflowEnvironment(), pike: newFakePike()}
	h.pike.session = pike.Session{ID: "ps_1", Payouts: []pike.Payout{{ID: "po_1", Metadata: json.RawMessage(`"p1"`)}}}
	truth(&h.pike.session)
	h.ended(recorded)
	h.env.SetStartWorkflowOptions(client.StartWorkflowOptions{ID: payout.LateEventWorkflowID(lateEvent.Event), TaskQueue: payout.DefaultTaskQueue})
	worker.Register(h.env, activities.New(activities.Config{Pike: h.pike, Runs: h}))
	h.env.SetTestTimeout(time.Minute)
	return h
}

func (h *lateHarness) Record(context.Context, string) (activities.Record, error) {
	h.checks++
	return h.record, nil
}

func (h *lateHarness) ended(state payout.State) {
	h.record = activities.Record{Known: true, Status: &payout.Status{State: state, SessionID: "ps_1"}}
}

func (h *lateHarness) at(after time.Duration, do func()) { h.env.RegisterDelayedCallback(do, after) }

func (h *lateHarness) resolve(after time.Duration, request payout.ResolveRequest) *updateResult {
	result := &updateResult{}
	request.By = "ann"
	h.at(after, func() {
		h.env.UpdateWorkflow(payout.UpdateResolve, fmt.Sprintf("%p", result), result, request)
	})
	return result
}

// attentionAt reads the flag from the query, and compares it with what operators filter by.
func (h *lateHarness) attentionAt(after time.Duration, want bool) {
	h.at(after, func() {
		value, err := h.env.QueryWorkflow(payout.QueryStatus)
		require.NoError(h.t, err)
		var status payout.LateEventStatus
		require.NoError(h.t, value.Get(&status))
		require.Equal(h.t, want, status.Attention != nil, status.Finding)
		if want {
			require.Equal(h.t, payout.AttentionLateEvent, status.Attention.Reason)
		}
	})
}

func (h *lateHarness) run(event payout.LateEvent) payout.LateEventStatus {
	h.t.Helper()
	h.env.ExecuteWorkflow(payout.LateEventWorkflowType, event)
	require.NoError(h.t, h.env.GetWorkflowError())
	var status payout.LateEventStatus
	require.NoError(h.t, h.env.GetWorkflowResult(&status))
	require.Nil(h.t, status.Attention, "what is closed needs nobody")
	return status
}

var closeNotPaid = payout.ResolveRequest{Action: payout.ResolveCloseNotPaid, Reason: "settled", Evidence: "ticket 17"}
var closePaid = payout.ResolveRequest{Action: payout.ResolveClosePaid, Reason: "settled", Evidence: "ticket 17"}

func TestALateEventThatAgreesIsClosedAtOnce(t *testing.T) {
	h := newLateHarness(t, paid, payout.StateSucceeded)
	status := h.run(lateEvent)
	require.Equal(t, payout.LateAgrees, status.Verdict)
	require.Equal(t, payout.StateSucceeded, status.Recorded)
	require.Equal(t, 1, h.checks)
}

func TestALateEventWaitsForAPayoutThatIsStillOpen(t *testing.T) {
	h := newLateHarness(t, paid, payout.StateSucceeded)
	h.record = activities.Record{Known: true, Open: true}
	h.attentionAt(3*24*time.Hour, false)
	h.at(3*24*time.Hour, func() { h.ended(payout.StateSucceeded) })
	require.Equal(t, payout.LateAgrees, h.run(lateEvent).Verdict)
}

// TestAContradictionIsKeptBeforeAPersonUntilItIsResolved: hazards L2, L4 and A21.
func TestAContradictionIsKeptBeforeAPersonUntilItIsResolved(t *testing.T) {
	h := newLateHarness(t, paid, payout.StateFailed)
	h.attentionAt(second, true)
	h.attentionAt(7*24*time.Hour, true)
	refused := h.resolve(24*time.Hour, closeNotPaid)
	h.resolve(7*24*time.Hour+minute, closePaid)
	status := h.run(lateEvent)
	require.ErrorContains(t, refused.err, "fresh status says the opposite")
	require.Equal(t, payout.LateResolved, status.Verdict)
	require.Equal(t, "ann", status.Resolution.By)
	require.Equal(t, "ticket 17", status.Resolution.Evidence)
	require.Greater(t, h.checks, 7*24, "looked at every hour")
	require.Less(t, h.checks, 7*24+30)
	require.Zero(t, h.pike.count("confirm")+h.pike.count("cancel")+h.pike.count("start"))
}

func TestAContradictionClearsItselfWhenTheTruthArrives(t *testing.T) {
	h := newLateHarness(t, notPaid, payout.StateSucceeded)
	h.attentionAt(second, true)
	h.at(2*time.Hour, func() { h.pike.change(paid) })
	require.Equal(t, payout.LateAgrees, h.run(lateEvent).Verdict)
}

// TestALaggingStatusIsGivenTime: Pike's webhook may be ahead of its status.
func TestALaggingStatusIsGivenTime(t *testing.T) {
	h := newLateHarness(t, ready, payout.StateSucceeded)
	h.attentionAt(minute, false)
	h.attentionAt(2*minute, true)
	h.at(20*minute, func() { h.pike.change(paid) })
	require.Equal(t, payout.LateAgrees, h.run(lateEvent).Verdict)
}

func TestALateEventSurvivesASilentPike(t *testing.T) {
	h := newLateHarness(t, paid, payout.StateSucceeded)
	h.pike.failing("status", 1000, fakeError{err: unknownError("session/status")})
	h.attentionAt(minute, false)
	h.attentionAt(time.Hour, true)
	refused := h.resolve(2*time.Hour, closePaid)
	h.at(3*time.Hour, func() { h.pike.errors["status"] = nil })
	recheck := h.resolve(3*time.Hour+second, payout.ResolveRequest{Action: payout.ResolveRecheck})
	require.Equal(t, payout.LateAgrees, h.run(lateEvent).Verdict)
	require.ErrorContains(t, refused.err, "no fresh status")
	require.NoError(t, recheck.err)
}

// TestASessionThatPikeDoesNotKnowIsForAPerson: the webhook was signed, so somebody must find out.
func TestASessionThatPikeDoesNotKnowIsForAPerson(t *testing.T) {
	h := newLateHarness(t, paid, payout.StateSucceeded)
	h.pike.failing("status", 1000, fakeError{err: &pike.Error{Outcome: pike.Refused, Code: "invalid_request"}})
	h.attentionAt(second, true)
	resolved := h.resolve(time.Hour, closeNotPaid)
	require.Equal(t, payout.LateResolved, h.run(lateEvent).Verdict)
	require.NoError(t, resolved.err)
}

func TestWhatCannotBeReadIsForAPerson(t *testing.T) {
	h := newLateHarness(t, paid, payout.StateSucceeded)
	h.attentionAt(second, true)
	h.resolve(time.Hour, closeNotPaid)
	status := h.run(payout.LateEvent{Reason: payout.LateUnparsable, Event: payout.Event{ID: strings.Repeat("cd", 32)}})
	require.Equal(t, payout.LateResolved, status.Verdict)
	require.Zero(t, h.pike.count("status"))
}

func TestMoneyThatCameBackMayBeClosedEitherWay(t *testing.T) {
	for _, request := range []payout.ResolveRequest{closePaid, closeNotPaid} {
		h := newLateHarness(t, func(s *pike.Session) { paid(s); s.Payouts[0].Returned = true }, payout.StateSucceeded)
		h.attentionAt(second, true)
		resolved := h.resolve(minute, request)
		status := h.run(lateEvent)
		require.NoError(t, resolved.err)
		require.True(t, status.Returned)
	}
}

// TestTwoPeopleWhoDisagree: both ask while Pike is asked; one is told that the late event was closed otherwise.
func TestTwoPeopleWhoDisagree(t *testing.T) {
	h := newLateHarness(t, func(s *pike.Session) { paid(s); s.Payouts[0].Returned = true }, payout.StateSucceeded)
	requests := []payout.ResolveRequest{closePaid, closeNotPaid, closePaid, closeNotPaid}
	var results []*updateResult
	for i, request := range requests {
		request.Reason = fmt.Sprint(i)
		results = append(results, h.resolve(minute, request))
	}
	status := h.run(lateEvent)
	first, err := strconv.Atoi(status.Resolution.Reason)
	require.NoError(t, err)
	require.Equal(t, requests[first].Action, status.Resolution.Action)
	for i, request := range requests {
		if request.Action == status.Resolution.Action {
			require.NoError(t, results[i].err)
		} else {
			require.ErrorContains(t, results[i].err, status.Resolution.Action+" by ann")
		}
	}
}

// TestAnEventThatSettlesItselfAgainstAPersonsWord: the check that precedes the close found agreement.
func TestAnEventThatSettlesItselfAgainstAPersonsWord(t *testing.T) {
	for _, tt := range []struct {
		request payout.ResolveRequest
		refused bool
	}{{closePaid, false}, {closeNotPaid, true}} {
		h := newLateHarness(t, notPaid, payout.StateSucceeded)
		h.at(minute-second, func() { h.pike.change(paid) })
		result := h.resolve(minute, tt.request)
		require.Equal(t, payout.LateAgrees, h.run(lateEvent).Verdict)
		require.Equal(t, tt.refused, result.err != nil, "%v", result.err)
	}
}

func TestNothingToResolveIsRefused(t *testing.T) {
	h := newLateHarness(t, paid, payout.StateSucceeded)
	h.record = activities.Record{Known: true, Open: true}
	refused := h.resolve(minute, closePaid)
	malformed := h.resolve(2*minute, payout.ResolveRequest{Action: payout.ResolveClosePaid})
	tooLong := h.resolve(2*minute, payout.ResolveRequest{Action: payout.ResolveClosePaid, Reason: "settled", Evidence: strings.Repeat("x", 1<<20)})
	h.at(time.Hour, func() { h.ended(payout.StateSucceeded) })
	h.run(lateEvent)
	var application *temporal.ApplicationError
	require.ErrorAs(t, refused.err, &application)
	require.Equal(t, payout.ErrorTypeResolveRefused, application.Type())
	require.ErrorContains(t, tooLong.err, "at most 4096 bytes")
	require.ErrorAs(t, malformed.err, &application)
	require.Equal(t, payout.ErrorTypeInvalidResolve, application.Type())
}

// TestALateEventKeptForLongContinuesAsNew: the next run knows since when a person is asked for.
func TestALateEventKeptForLongContinuesAsNew(t *testing.T) {
	first := newLateHarness(t, paid, payout.StateFailed)
	first.at(20*24*time.Hour, func() { first.env.SetContinueAsNewSuggested(true) })
	first.env.ExecuteWorkflow(payout.LateEventWorkflowType, lateEvent)
	var next *workflow.ContinueAsNewError
	require.ErrorAs(t, first.env.GetWorkflowError(), &next)
	var event, snapshot json.RawMessage
	require.NoError(t, converter.GetDefaultDataConverter().FromPayloads(next.Input, &event, &snapshot))

	second := newLateHarness(t, paid, payout.StateFailed)
	second.env.SetStartTime(first.env.Now())
	second.at(time.Minute, func() {
		value, err := second.env.QueryWorkflow(payout.QueryStatus)
		require.NoError(t, err)
		var status payout.LateEventStatus
		require.NoError(t, value.Get(&status))
		require.Greater(t, second.env.Now().Sub(status.Attention.Since), 19*24*time.Hour)
	})
	second.resolve(time.Hour, closePaid)
	second.env.ExecuteWorkflow(payout.LateEventWorkflowType, event, snapshot)
	require.NoError(t, second.env.GetWorkflowError())
}

// TestAContradictionIsKeptWhateverComesAfterIt: a webhook that agrees and is delivered late does not take its place.
func TestAContradictionIsKeptWhateverComesAfterIt(t *testing.T) {
	h := newHarness(t)
	h.pike.onStatus = func() { // while the last read is under way
		for _, said := range []string{activities.PayoutSucceeded, activities.PayoutFailed, ""} {
			h.env.SignalWorkflow(payout.SignalPaymentFinished, payout.Event{SessionID: "ps_1", PayoutStatus: said})
		}
	}
	h.pikeTurns(25*second, notPaid, "")
	require.Equal(t, payout.StateFailed, h.run(request()).State)
	require.Len(t, h.late, 1)
	require.Equal(t, activities.PayoutSucceeded, h.late[0].Event.PayoutStatus)
}

// TestAWebhookThatContradictsTheEndIsKept: it arrived after the last status read was asked for (hazards L4, L8).
func TestAWebhookThatContradictsTheEndIsKept(t *testing.T) {
	for name, tt := range map[string]struct {
		payoutStatus string
		kept         int
	}{"says the same": {activities.PayoutFailed, 0}, "says paid": {activities.PayoutSucceeded, 1}, "says nothing": {"", 0}} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t)
			h.pike.onStatus = func() { // while the last read is under way
				h.env.SignalWorkflow(payout.SignalPaymentFinished, payout.Event{SessionID: "ps_1", PayoutStatus: tt.payoutStatus})
			}
			h.pikeTurns(25*second, notPaid, "")
			require.Equal(t, payout.StateFailed, h.run(request()).State)
			require.Len(t, h.late, tt.kept)
			for _, late := range h.late {
				require.Equal(t, payout.LateContradiction, late.Reason)
				require.True(t, payout.IsLateEventWorkflowID(payout.LateEventWorkflowID(late.Event)), "it has an id, though none was given")
			}
		})
	}
}
