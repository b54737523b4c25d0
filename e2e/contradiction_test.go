package e2e

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	sdkworker "go.temporal.io/sdk/worker"

	"pikepayouts/activities"
	"pikepayouts/payout"
	"pikepayouts/pike"
	"pikepayouts/pikesim"
	"pikepayouts/starter"
	"pikepayouts/worker"
)

// contradiction is a payout whose Pike says one thing and does another.
type contradiction struct {
	name      string
	behaviour string
	change    []func(*payout.Request)
	cancel    bool // a person cancels once Pike is ready
	want      payout.State
	attention payout.AttentionReason
	confirms  int

	r   payout.Request
	end payout.Status
}

// TestPikeContradictsTheOrderOrItself: what is not the order is never confirmed (hazard A22; F24, F25), a webhook alone ends
// nothing (F21), a status that lags leads to no second start or confirm (F22), and the end is what Pike did (F19, F27, F28).
func TestPikeContradictsTheOrderOrItself(t *testing.T) {
	t.Parallel()
	s := newStack(t, stackOptions{keysOff: true})
	s.control("modes", leastHelpful)
	cells := []*contradiction{
		{name: "two payouts in one session", behaviour: `{"two_payouts":true}`, want: payout.StateCancelled, attention: payout.AttentionMismatch},
		{name: "webhook says paid", behaviour: `{"lies":"paid_while_pending"}`, want: payout.StateSucceeded, confirms: 1},
		{name: "webhook says failed", behaviour: `{"lies":"failed_while_paid"}`, want: payout.StateSucceeded, confirms: 1},
		{name: "start lost, status lags", behaviour: `{"lost_answers":["start"],"status_lag":"1m"}`, want: payout.StateSucceeded, confirms: 1},
		{name: "confirm lost, status lags", behaviour: `{"lost_answers":["confirm"],"status_lag":"1m"}`, want: payout.StateSucceeded, confirms: 1},
		{name: "confirmed, and answered session_wrong_state", want: payout.StateSucceeded, confirms: 1,
			behaviour: `{"faults":[{"call":"confirm","kind":"unknown_code_worked","code":"session_wrong_state"}]}`},
		{name: "Pike's deadline passes while people think", behaviour: `{"confirm_deadline":"2s"}`, change: []func(*payout.Request){manual}, want: payout.StateFailed},
		{name: "cancel is answered ok, and it is paid", behaviour: `{"cancel":"paid"}`, change: []func(*payout.Request){manual}, cancel: true,
			want: payout.StateSucceeded, attention: payout.AttentionPaidWithoutConfirm},
	}
	for _, echo := range []pikesim.Echo{pikesim.EchoAmount, pikesim.EchoCurrency, pikesim.EchoDestination, pikesim.EchoRecipient, pikesim.EchoMetadata} {
		cells = append(cells, &contradiction{name: "altered " + string(echo), behaviour: `{"echo":"` + string(echo) + `"}`,
			want: payout.StateCancelled, attention: payout.AttentionMismatch})
	}
	for _, cell := range cells {
		cell.r = order(t, pikesim.PresetConfirmed, cell.change...)
		s.behave(cell.r, cell.behaviour)
		s.start(cell.r)
		if cell.cancel {
			s.eventually(cell.r, payout.StateAwaitingDecision)
			_, err := s.starter.Cancel(testContext(t), cell.r.PayoutID, "ann", "")
			require.NoError(t, err)
		}
	}
	for _, cell := range cells {
		t.Run(cell.name, func(t *testing.T) {
			s := s.in(t)
			cell.end = s.wait(cell.r)
			require.Equal(t, cell.want, cell.end.State)
			require.Equal(t, cell.attention, attention(cell.end))
			require.Equal(t, 1, s.calls(cell.r, "session/start/payout"))
			require.Equal(t, cell.confirms, s.calls(cell.r, "session/confirm"))
			_, err := s.starter.Confirm(testContext(t), cell.r.PayoutID, "bob", "late")
			require.ErrorIs(t, err, starter.ErrDecisionRefused)
		})
	}
	for _, cell := range cells { // nothing has moved since
		s.agreesWithLedger(cell.r, cell.end)
	}
}

// TestAConfirmThatWaitedInTheQueueIsNotSent: nobody took it up before confirm_timeout, so it is decided anew (hazard A23).
func TestAConfirmThatWaitedInTheQueueIsNotSent(t *testing.T) {
	t.Parallel()
	s := newStack(t, stackOptions{noWorker: true})
	r := order(t, pikesim.PresetConfirmed, manual, polling(time.Hour), // a poll would wait in the queue too, and the confirm behind it
		func(r *payout.Request) { r.Policy.ConfirmTimeout = payout.Duration(20 * time.Second) })
	w := worker.New(shared.temporal, s.workerOptions(s.pikeClient(pike.V1)))
	require.NoError(t, w.Start())
	s.start(r)
	s.eventually(r, payout.StateAwaitingDecision)
	w.Stop()
	s.withoutActivities(func() {
		_, err := s.starter.Confirm(testContext(t), r.PayoutID, "ann", "")
		require.NoError(t, err)
		s.eventually(r, payout.StateCancelling)
	})
	s.startWorker(pike.V1)
	status := s.wait(r)
	require.Equal(t, payout.StateCancelled, status.State)
	require.Equal(t, "confirm_timeout", status.Decision.By)
	require.Zero(t, s.calls(r, "session/confirm"))
}

// withoutActivities runs do while the only worker decides and calls nobody.
func (s *stack) withoutActivities(do func()) {
	s.t.Helper()
	w := sdkworker.New(shared.temporal, s.taskQueue, sdkworker.Options{LocalActivityWorkerOnly: true, DisableRegistrationAliasing: true})
	worker.Register(w, activities.New(activities.Config{}))
	require.NoError(s.t, w.Start())
	defer w.Stop()
	do()
}
