package workflows_test

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/api/proxy"
	"go.temporal.io/sdk/client"
	sdkworker "go.temporal.io/sdk/worker"

	"pikepayouts/codec"
	"pikepayouts/workflows"
)

// replayNamespace is that of the SDK's replayer.
const replayNamespace = "ReplayNamespace"

// decidedBy are the events that say something to a workflow, without the webhooks, which are hints. The others repeat what it has decided.
var decidedBy = []enumspb.EventType{
	enumspb.EVENT_TYPE_ACTIVITY_TASK_COMPLETED, enumspb.EVENT_TYPE_ACTIVITY_TASK_FAILED, enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED,
}

// TestAHistoryWithAMissingKeyDoesNotReplay: a worker that lacks the key of any one
// payload by which a payout was decided fails the task. It skips nothing, and so decides nothing otherwise (hazard T3).
func TestAHistoryWithAMissingKeyDoesNotReplay(t *testing.T) {
	own, missing := newKeyset(t), newKeyset(t)
	replayer := replayerWith(own)
	files, err := filepath.Glob(filepath.Join("testdata", "histories", "*.json"))
	require.NoError(t, err)
	seen := map[enumspb.EventType]bool{}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			history, err := os.ReadFile(file)
			require.NoError(t, err)
			events, of := encryptedHistory(t, history, own, missing, -1)
			require.NoError(t, replayWith(replayer, events, workflows.PayoutWorkflow, io.Discard))
			for i, kind := range of {
				events, _ := encryptedHistory(t, history, own, missing, i)
				err := replayWith(replayer, events, workflows.PayoutWorkflow, io.Discard)
				for _, decides := range decidedBy {
					if kind == decides {
						seen[kind] = true
						assert.Error(t, err, "payload %d, of %s", i, kind)
					}
				}
			}
		})
	}
	for _, kind := range decidedBy {
		require.True(t, seen[kind], "no history has %s", kind)
	}
}

func replayerWith(keyset *codec.Keyset) sdkworker.WorkflowReplayerOptions {
	var options client.Options
	codec.UseInWorker(&options, keyset, workflows.Refusable)
	return sdkworker.WorkflowReplayerOptions{DataConverter: options.DataConverter, FailureConverter: options.FailureConverter}
}

func newKeyset(t *testing.T) *codec.Keyset {
	t.Helper()
	keyset, err := codec.NewKeyset()
	require.NoError(t, err)
	return keyset
}

// encryptedHistory is the recorded history encrypted with own, but for one payload that is with the other keyset, and of which event each payload is.
func encryptedHistory(t *testing.T, recorded []byte, own, other *codec.Keyset, exception int) (*historypb.History, []enumspb.EventType) {
	t.Helper()
	history, err := client.HistoryFromJSON(bytes.NewReader(recorded), client.HistoryJSONOptions{})
	require.NoError(t, err)
	workflowID := history.GetEvents()[0].GetWorkflowExecutionStartedEventAttributes().GetWorkflowId()
	var of []enumspb.EventType
	for _, event := range history.GetEvents() {
		err := proxy.VisitPayloads(t.Context(), event, proxy.VisitPayloadsOptions{
			SkipSearchAttributes: true,
			Visitor: func(_ *proxy.VisitPayloadsContext, payloads []*commonpb.Payload) ([]*commonpb.Payload, error) {
				var sealed []*commonpb.Payload
				for _, payload := range payloads {
					keys := own
					if len(of) == exception {
						keys = other
					}
					of = append(of, event.GetEventType())
					one, err := codec.New(keys).For(replayNamespace, workflowID).Encode([]*commonpb.Payload{payload})
					if err != nil {
						return nil, err
					}
					sealed = append(sealed, one...)
				}
				return sealed, nil
			},
		})
		require.NoError(t, err)
	}
	return history, of
}
