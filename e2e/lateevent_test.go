package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"pikepayouts/payout"
	"pikepayouts/pike"
	"pikepayouts/pikesim"
	"pikepayouts/secret"
	"pikepayouts/starter"
)

// webhookOf is the body of a webhook with these statuses.
func webhookOf(kind, sessionID, payoutID, sessionStatus, payoutStatus string) string {
	return fmt.Sprintf(`{"type":%q,"session":{"id":%q,"status":%q,"payments":[
		{"id":"po_1","status":%q,"amount_details":{"amount":10000,"currency":"eur"},"metadata":%q}]}}`,
		kind, sessionID, sessionStatus, payoutStatus, payoutID)
}

// lateEvents are the records of the session that could be read.
func (s *stack) lateEvents(sessionID string) []payout.LateEventStatus {
	s.t.Helper()
	var found []payout.LateEventStatus
	for summary, err := range s.starter.List(testContext(s.t), starter.Filter{SessionID: sessionID}) {
		require.NoError(s.t, err)
		if summary.LateEvent == "" {
			continue
		}
		if status, err := s.starter.GetLateEvent(testContext(s.t), summary.LateEvent); err == nil { // else its worker is busy
			found = append(found, status)
		}
	}
	return found
}

// eventuallyLate waits for the one late event of the session to be as wanted.
func (s *stack) eventuallyLate(sessionID string, wanted func(payout.LateEventStatus) bool) payout.LateEventStatus {
	s.t.Helper()
	var last []payout.LateEventStatus
	require.Eventually(s.t, func() bool {
		last = s.lateEvents(sessionID)
		return len(last) == 1 && wanted(last[0])
	}, 3*time.Minute, 100*time.Millisecond, "late events of %s: %+v", sessionID, last)
	return last[0]
}

func agrees(late payout.LateEventStatus) bool      { return late.Verdict == payout.LateAgrees }
func needsPerson(late payout.LateEventStatus) bool { return late.Attention != nil }

// deliver sends the body three times, as a Pike that repeats would.
func (s *stack) deliver(body string) {
	s.t.Helper()
	for range 3 {
		require.Equal(s.t, http.StatusOK, post(s.t, s.gateway.URL, body, shared.pikeKey))
	}
}

func closeLate(t *testing.T, s *stack, late payout.LateEventStatus, action string) (payout.LateEventStatus, error) {
	t.Helper()
	return s.starter.ResolveLateEvent(testContext(t), payout.LateEventWorkflowID(late.Event),
		payout.ResolveRequest{Action: action, By: "ann", Reason: "looked into", Evidence: "ticket 17"})
}

// TestAWebhookAfterTheEndIsOneRecordThatAgrees: hazards W13, F33, first case.
func TestAWebhookAfterTheEndIsOneRecordThatAgrees(t *testing.T) {
	t.Parallel()
	s := newStack(t, stackOptions{})
	r := order(t, pikesim.PresetWebhooksLost)
	status := s.pay(r)
	s.deliver(webhookOf("payment_finished", status.SessionID, r.PayoutID, "accepted", "succeeded"))
	late := s.eventuallyLate(status.SessionID, agrees)
	require.Equal(t, payout.LateNoOpenPayout, late.Reason)
	require.Equal(t, payout.StateSucceeded, late.Recorded)
	require.Nil(t, late.Attention)
	require.InDelta(t, 3, metricValue(t, s.metrics, "webhooks_total", "no_open_payout"), 0)
}

// TestAFlipAfterAPersonClosedThePayoutRaisesAttention: hazards L4, W13, A21. No call that moves money is made.
func TestAFlipAfterAPersonClosedThePayoutRaisesAttention(t *testing.T) {
	t.Parallel()
	s := newStack(t, stackOptions{timing: pikesim.Timing{ErrorResolution: 45 * time.Second}})
	r := order(t, pikesim.PresetErrorThenPaid)
	s.start(r)
	s.closeUnresolved(r)
	closed, err := s.starter.Get(testContext(t), r.PayoutID)
	require.NoError(t, err)
	require.Equal(t, payout.StateFailed, closed.State)

	late := s.eventuallyLate(closed.SessionID, needsPerson) // Pike pays after all, and says so
	require.Equal(t, payout.AttentionLateEvent, late.Attention.Reason)
	require.Contains(t, late.Finding, "PAID at Pike")
	s.eventuallyListed(payout.LateEventWorkflowID(late.Event))
	_, err = closeLate(t, s, late, payout.ResolveCloseNotPaid)
	require.ErrorIs(t, err, starter.ErrResolveRefused)
	resolved, err := closeLate(t, s, late, payout.ResolveClosePaid)
	require.NoError(t, err)
	require.Equal(t, payout.LateResolved, resolved.Verdict)
	require.Equal(t, 1, s.calls(r, "session/start/payout"))
	require.Equal(t, 1, s.calls(r, "session/confirm"))
	require.Zero(t, s.calls(r, "session/cancel"))
}

// eventuallyListed waits until operators find the late event by its attention.
func (s *stack) eventuallyListed(id string) {
	s.t.Helper()
	require.Eventually(s.t, func() bool {
		for summary, err := range s.starter.List(testContext(s.t), starter.Filter{Attention: payout.AttentionLateEvent}) {
			if err == nil && summary.LateEvent == id {
				return true
			}
		}
		return false
	}, time.Minute, 50*time.Millisecond)
}

// TestMoneyThatComesBackIsKept: payment_refunded is of a type that no payout waits for.
func TestMoneyThatComesBackIsKept(t *testing.T) {
	t.Parallel()
	s := newStack(t, stackOptions{timing: pikesim.Timing{Return: time.Second}})
	r := order(t, pikesim.PresetReturned, polling(time.Hour))
	status, err := s.payWithoutLedger(r)
	require.NoError(t, err)
	late := s.eventuallyLate(status.SessionID, needsPerson)
	require.Equal(t, payout.LateRefunded, late.Reason)
	require.True(t, late.Returned)
	require.Contains(t, late.Finding, "money was returned")
	_, err = closeLate(t, s, late, payout.ResolveCloseNotPaid)
	require.NoError(t, err)
}

func (s *stack) payWithoutLedger(r payout.Request) (payout.Status, error) {
	s.start(r)
	return s.starter.Wait(testContext(s.t), r.PayoutID)
}

// TestAWebhookOfAnUnknownPayoutIsForAPerson: hazards W13, X6.
func TestAWebhookOfAnUnknownPayoutIsForAPerson(t *testing.T) {
	t.Parallel()
	s := newStack(t, stackOptions{})
	session := s.startedElsewhere("never-started-here")
	s.deliver(webhookOf("payment_finished", session, "never-started-here", "accepted", "succeeded"))
	late := s.eventuallyLate(session, needsPerson)
	require.Contains(t, late.Finding, "knows no payout never-started-here")
	_, err := closeLate(t, s, late, payout.ResolveClosePaid)
	require.NoError(t, err)
}

// startedElsewhere starts a payout at Pike that Temporal knows nothing of, and of which Pike says nothing by itself.
func (s *stack) startedElsewhere(metadata string) string {
	s.t.Helper()
	client := s.pikeClient(pike.V1)
	session, err := client.CreateSession(testContext(s.t), pike.CreateSessionRequest{Metadata: metadata}, "")
	require.NoError(s.t, err)
	_, err = client.StartPayout(testContext(s.t), pike.StartPayoutRequest{
		SessionID: session.ID, Metadata: metadata, AmountDetails: pike.AmountDetails{Amount: 100, Currency: "eur"},
		Recipient: []byte(`{"full_name":"Ivanov Ivan"}`), Destination: pike.Destination{CardToken: secret.String(pikesim.Token(pikesim.PresetNeverReadyCancellable))},
	}, "")
	require.NoError(s.t, err)
	return session.ID
}

// TestSignedGarbageIsOneRecord: hazard W15.
func TestSignedGarbageIsOneRecord(t *testing.T) {
	t.Parallel()
	s := newStack(t, stackOptions{})
	session := "ps_" + fmt.Sprint(time.Now().UnixNano())
	s.deliver(fmt.Sprintf(`{"type":"payment_finished","session":{"id":%q,"status":"accepted","payments":[{"id":"po_1","amount_details":{"amount":"all of it"}}]}}`, session))
	late := s.eventuallyLate(session, needsPerson) // the simulator knows no such session
	require.Equal(t, payout.LateUnparsable, late.Reason)
	_, err := closeLate(t, s, late, payout.ResolveCloseNotPaid)
	require.NoError(t, err)
	require.InDelta(t, 3, metricValue(t, s.metrics, "webhooks_total", "unparsable"), 0)
}

// TestASessionOfOnePayoutDeliveredForAnotherMovesNeither: hazard W25.
func TestASessionOfOnePayoutDeliveredForAnotherMovesNeither(t *testing.T) {
	t.Parallel()
	s := newStack(t, stackOptions{})
	a := order(t, pikesim.PresetNeverReadyCancellable, polling(time.Hour))
	b := order(t, pikesim.PresetNeverReadyCancellable, polling(time.Hour))
	s.start(a)
	s.start(b)
	s.eventually(a, payout.StateAwaitingReady)
	s.eventually(b, payout.StateAwaitingReady)
	ofA, err := s.starter.Get(testContext(t), a.PayoutID)
	require.NoError(t, err)
	s.deliver(webhookOf("payment_finished", ofA.SessionID, b.PayoutID, "accepted", "succeeded"))
	late := s.eventuallyLate(ofA.SessionID, needsPerson)
	require.Equal(t, payout.LateOtherSession, late.Reason)
	for _, r := range []payout.Request{a, b} {
		status, err := s.starter.Get(testContext(t), r.PayoutID)
		require.NoError(t, err)
		require.Equal(t, payout.StateAwaitingReady, status.State)
		s.cancelOnceUndecided(r)
		require.Equal(t, payout.StateCancelled, s.wait(r).State)
	}
	_, err = closeLate(t, s, late, payout.ResolveCloseNotPaid)
	require.NoError(t, err)
}

// TestNoWebhookIsLostAroundTheEnd: the simulator's own payment_finished and a
// contradicting one meet the closing workflow task at every moment (hazards F34, L8):
// each one that was answered 200 is a signal of the payout or a late event.
func TestNoWebhookIsLostAroundTheEnd(t *testing.T) {
	t.Parallel()
	const payouts, webhooks = 8, 12
	s := newStack(t, stackOptions{})
	var group errgroup.Group
	var sessions [payouts]string
	var acknowledged [payouts][]string
	orders := make([]payout.Request, payouts)
	for i := range orders {
		orders[i] = order(t, pikesim.PresetWebhooksLost, polling(time.Second))
		s.start(orders[i])
		s.eventually(orders[i], payout.StateAwaitingReady)
		status, err := s.starter.Get(testContext(t), orders[i].PayoutID)
		require.NoError(t, err)
		sessions[i] = status.SessionID
		group.Go(func() (err error) {
			acknowledged[i], err = s.deliverUntilTheEnd(orders[i], sessions[i], webhooks)
			return err
		})
	}
	require.NoError(t, group.Wait())
	for i, r := range orders {
		require.Eventually(t, func() bool { // the list of late events may lag
			have := s.eventsOf(r, sessions[i])
			return !slices.ContainsFunc(acknowledged[i], func(event string) bool { return !have[event] })
		}, time.Minute, 100*time.Millisecond, "a webhook of %s was answered 200 and is nowhere", r.PayoutID)
	}
}

// deliverUntilTheEnd delivers distinct events, the last ones after the end, and returns those answered 200 by their payout status.
func (s *stack) deliverUntilTheEnd(r payout.Request, sessionID string, least int) ([]string, error) {
	ctx := testContext(s.t)
	var delivered []string
	for ended := false; len(delivered) < least || !ended; {
		statusText := fmt.Sprintf("pending_%d", len(delivered))
		answer, err := tryPost(s.t, s.gateway.URL, webhookOf("payment_finished", sessionID, r.PayoutID, "in_progress", statusText), shared.pikeKey)
		if err != nil {
			return nil, err
		}
		if answer == http.StatusOK {
			delivered = append(delivered, statusText)
		}
		description, err := shared.temporal.DescribeWorkflowExecution(ctx, payout.WorkflowID(r.PayoutID), "")
		if err != nil {
			return nil, fmt.Errorf("describing the payout: %w", err)
		}
		ended = description.GetWorkflowExecutionInfo().GetCloseTime() != nil
	}
	return delivered, nil
}

// eventsOf are the payout statuses of all events that Temporal holds of the session.
func (s *stack) eventsOf(r payout.Request, sessionID string) map[string]bool {
	s.t.Helper()
	have := map[string]bool{}
	for _, event := range s.history(r) {
		if signal := event.GetWorkflowExecutionSignaledEventAttributes(); signal != nil {
			var signalled payout.Event
			require.NoError(s.t, temporalOptions("").DataConverter.FromPayloads(signal.GetInput(), &signalled))
			have[signalled.PayoutStatus] = true
		}
	}
	for _, late := range s.lateEvents(sessionID) {
		have[late.Event.PayoutStatus] = true
	}
	return have
}
