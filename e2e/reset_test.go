package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/workflowservice/v1"

	"pikepayouts/payout"
	"pikepayouts/pikesim"
)

// reset does what `temporal workflow reset` does, and returns the new run.
func (s *stack) reset(r payout.Request, event int64) string {
	s.t.Helper()
	response, err := shared.temporal.ResetWorkflowExecution(testContext(s.t), &workflowservice.ResetWorkflowExecutionRequest{
		Namespace: "default", Reason: "test", RequestId: uuid.NewString(), WorkflowTaskFinishEventId: event,
		WorkflowExecution: &commonpb.WorkflowExecution{WorkflowId: payout.WorkflowID(r.PayoutID)},
	})
	require.NoError(s.t, err)
	return response.GetRunId()
}

func (s *stack) resettable(r payout.Request) []int64 {
	var ids []int64
	for _, event := range s.history(r) {
		if event.GetEventType() == enumspb.EVENT_TYPE_WORKFLOW_TASK_COMPLETED {
			ids = append(ids, event.GetEventId())
		}
	}
	return ids
}

// TestResetOfAFinishedPayoutPaysOnce resets to every event that allows it (hazard A11).
func TestResetOfAFinishedPayoutPaysOnce(t *testing.T) {
	t.Parallel()
	s := newStack(t, stackOptions{})
	for number := range 7 {
		t.Run(fmt.Sprint("workflow task ", number+1), func(t *testing.T) {
			t.Parallel()
			r := order(t, pikesim.PresetConfirmed, polling(time.Second))
			require.Equal(t, payout.StateSucceeded, s.pay(r).State)
			events := s.resettable(r)
			s.reset(r, events[min(number, len(events)-1)])
			status := s.wait(r)
			require.Equal(t, payout.StateSucceeded, status.State)
			require.Empty(t, attention(status))
			require.Equal(t, 1, s.calls(r, "session/create"), "the session of the first run is adopted")
			require.Equal(t, 1, s.calls(r, "session/start/payout"))
			require.Equal(t, 1, s.calls(r, "session/confirm"))
		})
	}
}

// TestResetOfARunningPayoutAdoptsItsSession resets twice to the very beginning while people have not decided yet.
func TestResetOfARunningPayoutAdoptsItsSession(t *testing.T) {
	t.Parallel()
	s := newStack(t, stackOptions{})
	r := order(t, pikesim.PresetConfirmed, manual, polling(time.Second))
	s.start(r)
	for range 2 {
		s.eventuallyWithin(r, payout.StateAwaitingDecision, 3*time.Minute) // an adopted session is looked at after the settle delay
		s.reset(r, s.resettable(r)[0])
		s.eventually(r, payout.StateStarting)
	}
	s.eventuallyWithin(r, payout.StateAwaitingDecision, 3*time.Minute)
	_, err := s.starter.Confirm(testContext(t), r.PayoutID, "ann", "")
	require.NoError(t, err)
	require.Equal(t, payout.StateSucceeded, s.wait(r).State)
	require.Equal(t, 1, s.calls(r, "session/create"))
	require.Equal(t, 1, s.calls(r, "session/start/payout"))
	require.Equal(t, 1, s.calls(r, "session/confirm"))
}
