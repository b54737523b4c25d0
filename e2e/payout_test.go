package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"pikepayouts/payout"
	"pikepayouts/pike"
	"pikepayouts/pikesim"
	"pikepayouts/secret"
	"pikepayouts/starter"
	"pikepayouts/worker"
)

func attention(status payout.Status) payout.AttentionReason {
	if status.Attention == nil {
		return ""
	}
	return status.Attention.Reason
}

func TestEveryDestinationInBothVersions(t *testing.T) {
	t.Parallel()
	token := secret.String(pikesim.Token(pikesim.PresetConfirmed))
	destinations := []payout.Destination{
		{TokenizedCard: &payout.TokenizedCard{Token: token}},
		{EncryptedCard: &payout.EncryptedCard{NumberHash: token}},
		{Recurrent: &payout.Recurrent{Token: token}},
	}
	for _, version := range []pike.Version{pike.V1, pike.V2} {
		s := newStack(t, stackOptions{version: version})
		for _, destination := range destinations {
			t.Run(fmt.Sprint(version, " ", destination.Kind()), func(t *testing.T) {
				status := s.pay(order(t, pikesim.PresetConfirmed, polling(time.Hour), func(r *payout.Request) { r.Destination = destination }))
				require.Equal(t, payout.StateSucceeded, status.State)
				require.Empty(t, attention(status))
			})
		}
	}
}

// TestBehavioursOfPike pays one payout per way in which Pike and its webhooks may behave.
func TestBehavioursOfPike(t *testing.T) {
	t.Parallel()
	s := newStack(t, stackOptions{timing: pikesim.Timing{LateWebhooks: 3 * time.Second, ErrorResolution: 3 * time.Second}})
	tests := []struct {
		preset    pikesim.Preset
		state     payout.State
		attention payout.AttentionReason
		poll      time.Duration
	}{
		{pikesim.PresetConfirmed, payout.StateSucceeded, "", time.Hour},
		{pikesim.PresetDeclinedAtChecks, payout.StateFailed, "", time.Hour},
		{pikesim.PresetDeclinedAfterConfirm, payout.StateFailed, "", time.Hour},
		{pikesim.PresetErrorThenPaid, payout.StateSucceeded, "", time.Second},
		{pikesim.PresetErrorThenCancelled, payout.StateFailed, "", time.Second},
		{pikesim.PresetAutoConfirm, payout.StateSucceeded, payout.AttentionPaidWithoutConfirm, time.Hour},
		{pikesim.PresetWebhooksLost, payout.StateSucceeded, "", time.Second},
		{pikesim.PresetWebhooksDuplicated, payout.StateSucceeded, "", time.Hour},
		{pikesim.PresetWebhooksReordered, payout.StateSucceeded, "", time.Second},
		{pikesim.PresetWebhooksEarly, payout.StateSucceeded, "", time.Hour},
		{pikesim.PresetWebhooksLate, payout.StateSucceeded, "", time.Hour},
	}
	for _, tt := range tests {
		t.Run(string(tt.preset), func(t *testing.T) {
			t.Parallel()
			r := order(t, tt.preset, polling(tt.poll))
			status := s.pay(r)
			require.Equal(t, tt.state, status.State)
			require.Equal(t, tt.attention, attention(status))
			require.Equal(t, tt.state == payout.StateFailed, status.Error != nil)
			require.Equal(t, 1, s.calls(r, "session/start/payout"))
			require.LessOrEqual(t, s.calls(r, "session/confirm"), 1)
		})
	}
}

func TestManualDecisions(t *testing.T) {
	t.Parallel()
	s := newStack(t, stackOptions{})
	t.Run("confirm", func(t *testing.T) {
		t.Parallel()
		r := order(t, pikesim.PresetConfirmed, manual, polling(time.Hour))
		s.start(r)
		s.eventually(r, payout.StateAwaitingDecision)
		require.Zero(t, s.calls(r, "session/confirm"))
		_, err := s.starter.Confirm(testContext(t), r.PayoutID, "ann", "checked")
		require.NoError(t, err)
		status := s.wait(r)
		require.Equal(t, payout.StateSucceeded, status.State)
		require.Equal(t, "ann", status.Decision.By)
		_, err = s.starter.Cancel(testContext(t), r.PayoutID, "bob", "")
		require.ErrorIs(t, err, starter.ErrDecisionRefused)
	})
	t.Run("cancel", func(t *testing.T) {
		t.Parallel()
		r := order(t, pikesim.PresetConfirmed, manual, polling(time.Hour))
		s.start(r)
		s.eventually(r, payout.StateAwaitingDecision)
		_, err := s.starter.Cancel(testContext(t), r.PayoutID, "ann", "wrong card")
		require.NoError(t, err)
		require.Equal(t, payout.StateCancelled, s.wait(r).State)
		require.Zero(t, s.calls(r, "session/confirm"))
	})
	t.Run("temporal cancellation", func(t *testing.T) {
		t.Parallel()
		r := order(t, pikesim.PresetConfirmed, manual, polling(time.Hour))
		s.start(r)
		s.eventually(r, payout.StateAwaitingDecision)
		require.NoError(t, shared.temporal.CancelWorkflow(testContext(t), payout.WorkflowID(r.PayoutID), ""))
		require.Equal(t, payout.StateCancelled, s.wait(r).State)
	})
}

func TestLostAnswersPayOnce(t *testing.T) {
	t.Parallel()
	s := newStack(t, stackOptions{})
	for _, step := range []string{"create", "start", "confirm"} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			r := order(t, pikesim.PresetConfirmed)
			s.behave(r, fmt.Sprintf(`{"lost_answers":[%q]}`, step))
			status := s.pay(r)
			require.Equal(t, payout.StateSucceeded, status.State)
			require.Empty(t, attention(status))
			require.Equal(t, 1, s.calls(r, "session/start/payout"))
			require.Equal(t, 1, s.calls(r, "session/confirm"))
		})
	}
	t.Run("cancel", func(t *testing.T) {
		t.Parallel()
		r := order(t, pikesim.PresetConfirmed, manual)
		s.behave(r, `{"lost_answers":["cancel"]}`)
		s.start(r)
		s.eventually(r, payout.StateAwaitingDecision)
		_, err := s.starter.Cancel(testContext(t), r.PayoutID, "ann", "")
		require.NoError(t, err)
		require.Equal(t, payout.StateCancelled, s.wait(r).State)
	})
}

func TestSameIDStartsOnce(t *testing.T) {
	t.Parallel()
	s := newStack(t, stackOptions{})
	r := order(t, pikesim.PresetConfirmed, polling(time.Hour))
	var starts errgroup.Group
	for range 30 {
		starts.Go(func() error {
			_, err := s.starter.Start(testContext(t), r)
			return err
		})
	}
	require.NoError(t, starts.Wait())
	require.Equal(t, payout.StateSucceeded, s.wait(r).State)
	require.Equal(t, 1, s.calls(r, "session/create"))
	s.start(r) // after the end, too

	other := r
	other.AmountDetails.Amount++
	_, err := s.starter.Start(testContext(t), other)
	require.ErrorIs(t, err, starter.ErrConflict)
}

// TestAPersonResolvesWhatPikeLeavesOpen: session error stays for ever, until a person closes the payout with evidence.
func TestAPersonResolvesWhatPikeLeavesOpen(t *testing.T) {
	t.Parallel()
	s := newStack(t, stackOptions{})
	r := order(t, pikesim.PresetDeclinedWithError)
	s.start(r)
	require.Eventually(t, func() bool {
		status, err := s.starter.Get(testContext(t), r.PayoutID)
		return err == nil && attention(status) == payout.AttentionUnresolvedError
	}, time.Minute, 50*time.Millisecond)
	rechecked, err := s.starter.Resolve(testContext(t), r.PayoutID, payout.ResolveRequest{Action: payout.ResolveRecheck, By: "ann"})
	require.NoError(t, err)
	require.Equal(t, payout.StateAwaitingResult, rechecked.State)
	closed, err := s.starter.Resolve(testContext(t), r.PayoutID,
		payout.ResolveRequest{Action: payout.ResolveCloseNotPaid, By: "ann", Reason: "support", Evidence: "ticket 17"})
	require.NoError(t, err)
	require.Equal(t, payout.StateFailed, closed.State)
	require.Equal(t, payout.StateFailed, s.wait(r).State)
	_, err = s.starter.Resolve(testContext(t), r.PayoutID, payout.ResolveRequest{Action: payout.ResolveRecheck, By: "ann"})
	require.ErrorIs(t, err, starter.ErrResolveRefused)
}

// TestAnObservingWorkerSendsNothing: status reads go on, start, confirm and cancel are held and say so (hazard A15).
func TestAnObservingWorkerSendsNothing(t *testing.T) {
	t.Parallel()
	s := newStack(t, stackOptions{noWorker: true})
	fresh := order(t, pikesim.PresetConfirmed, polling(time.Second))
	decided := order(t, pikesim.PresetConfirmed, manual, polling(time.Second))
	s.observing(func() {
		s.start(fresh)
		s.eventuallyHeld(fresh)
		require.Zero(t, s.calls(fresh, "session/start/payout"))
	})
	w := worker.New(shared.temporal, s.workerOptions(s.pikeClient(pike.V1)))
	require.NoError(t, w.Start())
	s.start(decided)
	s.eventually(decided, payout.StateAwaitingDecision)
	w.Stop()
	s.observing(func() {
		_, err := s.starter.Confirm(testContext(t), decided.PayoutID, "ann", "")
		require.NoError(t, err)
		s.eventuallyHeld(decided)
		require.Zero(t, s.calls(decided, "session/confirm"))
		require.Positive(t, s.calls(decided, "session/status"))
	})
	s.startWorker(pike.V1)
	require.Equal(t, payout.StateSucceeded, s.wait(fresh).State)
	require.Equal(t, payout.StateSucceeded, s.wait(decided).State)
}

func (s *stack) closeUnresolved(r payout.Request) {
	require.Eventually(s.t, func() bool {
		status, err := s.starter.Get(testContext(s.t), r.PayoutID)
		return err == nil && attention(status) == payout.AttentionUnresolvedError
	}, time.Minute, 50*time.Millisecond)
	_, err := s.starter.Resolve(testContext(s.t), r.PayoutID,
		payout.ResolveRequest{Action: payout.ResolveCloseNotPaid, By: "ann", Reason: "support", Evidence: "ticket 17"})
	require.NoError(s.t, err)
}
