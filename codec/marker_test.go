package codec_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	taskqueuepb "go.temporal.io/api/taskqueue/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	sdkworker "go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"pikepayouts/codec"
)

// TestAVersionThatCannotBeReadIsNotTakenForNone: the SDK looks over errors of this one decode, and
// would go the old way where the history went the new one.
func TestAVersionThatCannotBeReadIsNotTakenForNone(t *testing.T) {
	own := newKeyset(t)
	var version workflow.Version
	versioned := func(ctx workflow.Context) error {
		version = workflow.GetVersion(ctx, "change", workflow.DefaultVersion, 1)
		workflow.GetSignalChannel(ctx, "go on").Receive(ctx, nil)
		return nil
	}
	replay := func(history *historypb.History) error {
		o := options(func(o *client.Options) {
			codec.UseInWorker(o, own, func(workflow.Context, any, bool) bool { return true })
		})
		replayer, err := sdkworker.NewWorkflowReplayerWithOptions(sdkworker.WorkflowReplayerOptions{DataConverter: o.DataConverter, FailureConverter: o.FailureConverter})
		require.NoError(t, err)
		replayer.RegisterWorkflowWithOptions(versioned, workflow.RegisterOptions{Name: "Versioned"})
		return replayer.ReplayWorkflowHistoryWithOptions(nil, history, sdkworker.ReplayWorkflowHistoryOptions{OriginalExecution: workflow.Execution{ID: workflow1, RunID: "run"}})
	}
	require.NoError(t, replay(versionedHistory(t, own)))
	require.Equal(t, workflow.Version(1), version)
	require.Error(t, replay(versionedHistory(t, newKeyset(t))), "a missing key")
	require.Error(t, replay(versionedHistory(t, nil)), "in clear")
}

// versionedHistory took version 1 of a change and waits. Its marker is encrypted with the keyset.
func versionedHistory(t *testing.T, keyset *codec.Keyset) *historypb.History {
	t.Helper()
	o := options(func(o *client.Options) { codec.Use(o, keyset) })
	marker := with(o, converter.WorkflowSerializationContext{Namespace: "ReplayNamespace", WorkflowID: workflow1})
	payloads := func(value any) *commonpb.Payloads {
		all, err := marker.ToPayloads(value)
		require.NoError(t, err)
		return all
	}
	changes, err := converter.GetDefaultDataConverter().ToPayload([]string{"change-1"})
	require.NoError(t, err)
	queue := &taskqueuepb.TaskQueue{Name: "queue"}
	events := []*historypb.HistoryEvent{
		{EventType: enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED, Attributes: &historypb.HistoryEvent_WorkflowExecutionStartedEventAttributes{
			WorkflowExecutionStartedEventAttributes: &historypb.WorkflowExecutionStartedEventAttributes{
				WorkflowType: &commonpb.WorkflowType{Name: "Versioned"}, TaskQueue: queue, WorkflowId: workflow1, OriginalExecutionRunId: "run",
			},
		}},
		taskScheduled(queue), taskStarted(2),
		{EventType: enumspb.EVENT_TYPE_WORKFLOW_TASK_COMPLETED, Attributes: &historypb.HistoryEvent_WorkflowTaskCompletedEventAttributes{
			WorkflowTaskCompletedEventAttributes: &historypb.WorkflowTaskCompletedEventAttributes{ScheduledEventId: 2, StartedEventId: 3},
		}},
		{EventType: enumspb.EVENT_TYPE_MARKER_RECORDED, Attributes: &historypb.HistoryEvent_MarkerRecordedEventAttributes{
			MarkerRecordedEventAttributes: &historypb.MarkerRecordedEventAttributes{
				MarkerName: "Version", WorkflowTaskCompletedEventId: 4,
				Details: map[string]*commonpb.Payloads{"change-id": payloads("change"), "version": payloads(1)},
			},
		}},
		{EventType: enumspb.EVENT_TYPE_UPSERT_WORKFLOW_SEARCH_ATTRIBUTES, Attributes: &historypb.HistoryEvent_UpsertWorkflowSearchAttributesEventAttributes{
			UpsertWorkflowSearchAttributesEventAttributes: &historypb.UpsertWorkflowSearchAttributesEventAttributes{
				WorkflowTaskCompletedEventId: 4,
				SearchAttributes:             &commonpb.SearchAttributes{IndexedFields: map[string]*commonpb.Payload{"TemporalChangeVersion": changes}},
			},
		}},
		{EventType: enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED, Attributes: &historypb.HistoryEvent_WorkflowExecutionSignaledEventAttributes{
			WorkflowExecutionSignaledEventAttributes: &historypb.WorkflowExecutionSignaledEventAttributes{SignalName: "another"},
		}},
		taskScheduled(queue), taskStarted(8),
	}
	for i, event := range events {
		event.EventId = int64(i + 1)
	}
	return &historypb.History{Events: events}
}

func taskScheduled(queue *taskqueuepb.TaskQueue) *historypb.HistoryEvent {
	return &historypb.HistoryEvent{EventType: enumspb.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED, Attributes: &historypb.HistoryEvent_WorkflowTaskScheduledEventAttributes{
		WorkflowTaskScheduledEventAttributes: &historypb.WorkflowTaskScheduledEventAttributes{TaskQueue: queue},
	}}
}

func taskStarted(scheduled int64) *historypb.HistoryEvent {
	return &historypb.HistoryEvent{EventType: enumspb.EVENT_TYPE_WORKFLOW_TASK_STARTED, Attributes: &historypb.HistoryEvent_WorkflowTaskStartedEventAttributes{
		WorkflowTaskStartedEventAttributes: &historypb.WorkflowTaskStartedEventAttributes{ScheduledEventId: scheduled},
	}}
}
