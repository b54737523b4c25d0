package workflows_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"pikepayouts/payout"
	"pikepayouts/pike"
)

// TestAUsedIdempotencyKeyMeansLook: the answer was lost and the status lags for longer than the settle delay, so the call is
// repeated; Pike refuses its key, which is neither a failure nor a success (F17).
func TestAUsedIdempotencyKeyMeansLook(t *testing.T) {
	for _, call := range []string{"start", "confirm"} {
		t.Run(call, func(t *testing.T) {
			h := newHarness(t)
			h.pike.failing(call, 1, fakeError{err: unknownError(call)})
			used := &pike.Error{Method: call, Outcome: pike.Unknown, Code: pike.CodeIdempotencyKeyExists}
			h.pike.failing(call, 1, fakeError{err: used, worked: true}) // from now on the status shows what the first call did
			if call == "start" {
				h.pikeTurns(5*minute, ready, payout.SignalReadyToConfirm)
			} else {
				h.pikeTurns(second, ready, payout.SignalReadyToConfirm)
			}
			h.pikeTurns(10*minute, paid, payout.SignalPaymentFinished)
			status := h.run(request())
			require.Equal(t, payout.StateSucceeded, status.State)
			require.Empty(t, attention(status))
			require.Nil(t, status.Error)
			require.Equal(t, 2, h.pike.count(call))
		})
	}
}

// TestStatusIsDownForHoursAfterConfirm: the payout is parked, a person is told, it is looked at every hour, and ends by itself (F20, L2).
func TestStatusIsDownForHoursAfterConfirm(t *testing.T) {
	h := newHarness(t)
	h.pikeTurns(second, ready, payout.SignalReadyToConfirm)
	h.pikeTurns(3*second, func(s *pike.Session) {
		paid(s)
		h.pike.failing("status", 1000, fakeError{err: unknownError("status")})
	}, "")
	reads := 0
	for hour := range 6 {
		h.statusAt(time.Duration(hour)*time.Hour+10*minute, func(status payout.Status) {
			require.Equal(t, payout.StateAwaitingResult, status.State)
			require.Equal(t, payout.AttentionPikeUnreachable, attention(status))
			require.Greater(t, h.pike.count("status"), reads, "hour %d", hour)
			reads = h.pike.count("status")
		})
	}
	h.pikeTurns(6*time.Hour, func(*pike.Session) { delete(h.pike.errors, "status") }, "")
	status := h.run(request())
	require.Equal(t, payout.StateSucceeded, status.State)
	require.Empty(t, attention(status))
	require.Equal(t, 1, h.pike.count("confirm"))
}
