package workflows_test

import (
	"bytes"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/log"
	sdkworker "go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
	"google.golang.org/protobuf/proto"

	"pikepayouts/payout"
	"pikepayouts/workflows"
)

// replay runs a workflow over a recorded history; an error means that it would decide otherwise (hazard T5).
func replay(history []byte, payoutWorkflow any) error {
	events, err := client.HistoryFromJSON(bytes.NewReader(history), client.HistoryJSONOptions{})
	if err != nil {
		return err
	}
	return replayEvents(events, payoutWorkflow, io.Discard)
}

func replayEvents(events *historypb.History, payoutWorkflow any, logged io.Writer) error {
	return replayWith(sdkworker.WorkflowReplayerOptions{EnableLoggingInReplay: true}, events, payoutWorkflow, logged)
}

func replayWith(options sdkworker.WorkflowReplayerOptions, events *historypb.History, payoutWorkflow any, logged io.Writer) error {
	replayer, err := sdkworker.NewWorkflowReplayerWithOptions(options)
	if err != nil {
		return err
	}
	replayer.RegisterWorkflowWithOptions(payoutWorkflow, workflow.RegisterOptions{Name: payout.WorkflowType})
	replayer.RegisterWorkflowWithOptions(workflows.LateEventWorkflow, workflow.RegisterOptions{Name: payout.LateEventWorkflowType})
	started := events.GetEvents()[0].GetWorkflowExecutionStartedEventAttributes()
	logger := log.NewStructuredLogger(slog.New(slog.NewTextHandler(logged, nil)))
	return replayer.ReplayWorkflowHistoryWithOptions(logger, events, sdkworker.ReplayWorkflowHistoryOptions{
		OriginalExecution: workflow.Execution{ID: started.GetWorkflowId(), RunID: started.GetOriginalExecutionRunId()}, // the payout checks its id
	})
}

// TestRecordedHistoriesReplay: a change that open payouts cannot survive must not pass. Recorded by `make histories`.
func TestRecordedHistoriesReplay(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", "histories", "*.json"))
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(files), 25)
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

// TestAWebhookBesideTheLastAnswerIsRead: it arrives in the workflow task that ends the payout, and says otherwise (hazard L8).
func TestAWebhookBesideTheLastAnswerIsRead(t *testing.T) {
	file, err := os.Open(filepath.Join("testdata", "histories", "happy.json"))
	require.NoError(t, err)
	defer func() { _ = file.Close() }()
	history, err := client.HistoryFromJSON(file, client.HistoryJSONOptions{})
	require.NoError(t, err)
	signalBeforeLastTask(history)
	var logged bytes.Buffer
	_ = replayEvents(history, workflows.PayoutWorkflow, &logged) // the history has no late event
	require.Contains(t, logged.String(), "webhook kept as a late event")
	require.NotContains(t, logged.String(), "unhandled signals")
}

// signalBeforeLastTask repeats the history's last signal before its last workflow task, saying that nothing was paid.
func signalBeforeLastTask(history *historypb.History) {
	var signal *historypb.HistoryEvent
	var at int
	for i, event := range history.GetEvents() {
		switch {
		case event.GetWorkflowExecutionSignaledEventAttributes() != nil:
			signal = proto.CloneOf(event)
		case event.GetWorkflowTaskScheduledEventAttributes() != nil:
			at = i
		}
	}
	input := signal.GetWorkflowExecutionSignaledEventAttributes().GetInput().GetPayloads()[0]
	input.Data = bytes.Replace(input.GetData(), []byte(`"payout_status":"succeeded"`), []byte(`"payout_status":"failed"`), 1)
	signal.EventId = history.Events[at].GetEventId()
	for _, event := range history.Events[at:] {
		event.EventId++
		switch attributes := event.GetAttributes().(type) {
		case *historypb.HistoryEvent_WorkflowTaskStartedEventAttributes:
			attributes.WorkflowTaskStartedEventAttributes.ScheduledEventId++
		case *historypb.HistoryEvent_WorkflowTaskCompletedEventAttributes:
			attributes.WorkflowTaskCompletedEventAttributes.ScheduledEventId++
			attributes.WorkflowTaskCompletedEventAttributes.StartedEventId++
		}
	}
	history.Events = slices.Insert(history.Events, at, signal)
}
