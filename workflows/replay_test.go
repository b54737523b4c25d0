package workflows_test

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/log"
	sdkworker "go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"pikepayouts/payout"
	"pikepayouts/workflows"
)

// replay runs a workflow over a recorded history; an error means that it would decide otherwise (hazard T5).
func replay(history []byte, payoutWorkflow any) error {
	replayer := sdkworker.NewWorkflowReplayer()
	replayer.RegisterWorkflowWithOptions(payoutWorkflow, workflow.RegisterOptions{Name: payout.WorkflowType})
	events, err := client.HistoryFromJSON(bytes.NewReader(history), client.HistoryJSONOptions{})
	if err != nil {
		return err
	}
	started := events.GetEvents()[0].GetWorkflowExecutionStartedEventAttributes()
	return replayer.ReplayWorkflowHistoryWithOptions(log.NewStructuredLogger(slog.New(slog.DiscardHandler)), events, sdkworker.ReplayWorkflowHistoryOptions{
		OriginalExecution: workflow.Execution{ID: started.GetWorkflowId(), RunID: started.GetOriginalExecutionRunId()}, // the payout checks its id
	})
}

// TestRecordedHistoriesReplay: a change that open payouts cannot survive must not pass. Recorded by `make histories`.
func TestRecordedHistoriesReplay(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", "histories", "*.json"))
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(files), 15)
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			history, err := os.ReadFile(file)
			require.NoError(t, err)
			require.NoError(t, replay(history, workflows.PayoutWorkflow))
		})
	}
}

// TestAWrongHistoryDoesNotReplay shows that the replay can fail: histories of a workflow that decided otherwise.
func TestAWrongHistoryDoesNotReplay(t *testing.T) {
	happy, err := os.ReadFile(filepath.Join("testdata", "histories", "happy.json"))
	require.NoError(t, err)
	for old, wrong := range map[string]string{
		`"name": "ConfirmSession"`: `"name": "CancelSession"`,
		`"name": "StartPayout"`:    `"name": "SessionStatus"`,
	} {
		require.Contains(t, string(happy), old)
		require.Error(t, replay(bytes.Replace(happy, []byte(old), []byte(wrong), 1), workflows.PayoutWorkflow))
	}
}
