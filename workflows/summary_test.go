package workflows_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	sdkpb "go.temporal.io/api/sdk/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"

	"pikepayouts/payout"
)

// TestEveryStepHasASummary walks the recorded histories: each activity and timer
// says what it is for, and none names a card or a person. TestChaosInMemory asks the same of the code of today.
func TestEveryStepHasASummary(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", "histories", "*.json"))
	require.NoError(t, err)
	steps := map[enumspb.EventType]int{}
	for _, file := range files {
		recorded, err := os.Open(file)
		require.NoError(t, err)
		history, err := client.HistoryFromJSON(recorded, client.HistoryJSONOptions{})
		require.NoError(t, err)
		require.NoError(t, recorded.Close())
		secrets := secretsOf(t, history)
		for _, event := range history.GetEvents() {
			switch event.GetEventType() {
			case enumspb.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED, enumspb.EVENT_TYPE_TIMER_STARTED, enumspb.EVENT_TYPE_START_CHILD_WORKFLOW_EXECUTION_INITIATED:
				summary := summaryOf(t, event)
				require.NotEmpty(t, summary, "%s: event %d, %s", file, event.GetEventId(), event.GetEventType())
				for _, secret := range secrets {
					require.NotContains(t, summary, secret)
				}
				steps[event.GetEventType()]++
			}
		}
	}
	t.Log(steps)
	require.Greater(t, steps[enumspb.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED], 100)
	require.Greater(t, steps[enumspb.EVENT_TYPE_TIMER_STARTED], 40)
}

func summaryOf(t *testing.T, event *historypb.HistoryEvent) string {
	t.Helper()
	payload := event.GetUserMetadata().GetSummary()
	if payload == nil {
		return ""
	}
	var summary string
	require.NoError(t, converter.GetDefaultDataConverter().FromPayload(payload, &summary))
	return summary
}

// secretsOf are the card and the name in the request of a payout, none in a late event.
func secretsOf(t *testing.T, history *historypb.History) []string {
	t.Helper()
	started := history.GetEvents()[0].GetWorkflowExecutionStartedEventAttributes()
	if started.GetWorkflowType().GetName() != payout.WorkflowType {
		return nil
	}
	var raw json.RawMessage
	require.NoError(t, converter.GetDefaultDataConverter().FromPayload(started.GetInput().GetPayloads()[0], &raw))
	r, err := payout.ParseRequest(raw)
	require.NoError(t, err)
	return []string{r.Destination.TokenizedCard.Token.Reveal(), r.Recipient.FullName.Reveal()}
}

// TestTheWebUICanTellWhatToSend: each query, signal and update is described, updates and signals with the JSON that they take.
func TestTheWebUICanTellWhatToSend(t *testing.T) {
	h := newHarness(t)
	h.pikeTurns(second, paid, payout.SignalPaymentFinished)
	h.run(request())
	definition := h.metadata().GetDefinition()
	described := map[string]string{}
	for _, definitions := range [][]*sdkpb.WorkflowInteractionDefinition{
		definition.GetQueryDefinitions(), definition.GetSignalDefinitions(), definition.GetUpdateDefinitions(),
	} {
		for _, d := range definitions {
			described[d.GetName()] = d.GetDescription()
		}
	}
	for name, want := range map[string]string{
		payout.QueryStatus:           "no argument",
		payout.SignalReadyToConfirm:  `{"session_id": `,
		payout.SignalPaymentFinished: `{"session_id": `,
		payout.UpdateDecide:          `{"decision": "confirm"|"cancel", "by": `,
		payout.UpdateResolve:         `{"action": "recheck"|"close_paid"|"close_not_paid", "by": `,
	} {
		require.Contains(t, described[name], want, name)
		require.Less(t, len(described[name]), 200, name)
	}
	for name, description := range described {
		require.NotEmpty(t, description, name)
	}
}
