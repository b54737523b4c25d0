package e2e

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"

	"pikepayouts/payout"
	"pikepayouts/pikesim"
)

// maxHappyEvents is the goal for a happy auto payout: fewer events are what makes payouts cheap.
const maxHappyEvents = 42

func (s *stack) history(r payout.Request) []*historypb.HistoryEvent {
	s.t.Helper()
	return history(s.t, payout.WorkflowID(r.PayoutID), "")
}

// history reads a run, "" being the newest.
func history(t *testing.T, workflowID, runID string) []*historypb.HistoryEvent {
	t.Helper()
	var events []*historypb.HistoryEvent
	iterator := shared.temporal.GetWorkflowHistory(testContext(t), workflowID, runID, false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for iterator.HasNext() {
		event, err := iterator.Next()
		require.NoError(t, err)
		events = append(events, event)
	}
	return events
}

// TestCostOfAHappyPayout prints what one happy auto payout costs: go test ./e2e -run TestCostOfAHappyPayout -v
func TestCostOfAHappyPayout(t *testing.T) {
	t.Parallel()
	s := newStack(t, stackOptions{})
	r := order(t, pikesim.PresetConfirmed, polling(30*time.Second))
	require.Equal(t, payout.StateSucceeded, s.pay(r).State)

	counts := map[enumspb.EventType]int{}
	events := s.history(r)
	for _, event := range events {
		counts[event.GetEventType()]++
	}
	description, err := shared.temporal.DescribeWorkflowExecution(testContext(t), payout.WorkflowID(r.PayoutID), "")
	require.NoError(t, err)
	t.Logf("a happy auto payout: %d events, %d bytes of history", len(events), description.GetWorkflowExecutionInfo().GetHistorySizeBytes())
	require.LessOrEqual(t, len(events), maxHappyEvents)
	require.Equal(t, 4, counts[enumspb.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED])
	require.Equal(t, 3, counts[enumspb.EVENT_TYPE_UPSERT_WORKFLOW_SEARCH_ATTRIBUTES])
	require.Equal(t, 1, counts[enumspb.EVENT_TYPE_TIMER_STARTED])
	require.Equal(t, 2, counts[enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED])
}

// TestRunsAreStartedSafely reads from histories what hazards A5 and A19 ask for.
func TestRunsAreStartedSafely(t *testing.T) {
	t.Parallel()
	s := newStack(t, stackOptions{})
	r := order(t, pikesim.PresetConfirmed, polling(time.Hour))
	s.pay(r)
	money := map[string]bool{"StartPayout": true, "ConfirmSession": true, "CancelSession": true}
	for _, event := range s.history(r) {
		if started := event.GetWorkflowExecutionStartedEventAttributes(); started != nil {
			require.Zero(t, started.GetWorkflowExecutionTimeout().AsDuration())
			require.Zero(t, started.GetWorkflowRunTimeout().AsDuration())
			require.Nil(t, started.GetRetryPolicy())
		}
		if scheduled := event.GetActivityTaskScheduledEventAttributes(); scheduled != nil && money[scheduled.GetActivityType().GetName()] {
			require.EqualValues(t, 1, scheduled.GetRetryPolicy().GetMaximumAttempts())
			require.Positive(t, scheduled.GetScheduleToStartTimeout().AsDuration())
		}
		if scheduled := event.GetActivityTaskScheduledEventAttributes(); scheduled != nil {
			require.NotNil(t, event.GetUserMetadata().GetSummary(), "every activity has a summary")
		}
		if event.GetTimerStartedEventAttributes() != nil {
			require.NotNil(t, event.GetUserMetadata().GetSummary(), "every timer has a summary")
		}
		require.Nil(t, event.GetMarkerRecordedEventAttributes(), "no local activity, no side effect")
	}
}
