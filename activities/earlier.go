package activities

import (
	"context"
	"fmt"

	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
)

const createSessionActivity = "CreateSession"

// NewEarlierSession returns an EarlierSession that reads the histories of the
// runs from which the run was reset, nearest first. Histories are consistent,
// while visibility and search attributes may lag behind a reset.
func NewEarlierSession(c client.Client, dataConverter converter.DataConverter) EarlierSession {
	reader := historyReader{client: c, converter: dataConverter}
	return func(ctx context.Context, workflowID, runID string) (string, error) {
		for base := runID; ; {
			run, err := reader.read(ctx, workflowID, base)
			if err != nil {
				return "", err
			}
			if run.session != "" && base != runID || run.base == "" || run.base == base {
				return run.session, nil
			}
			base = run.base
		}
	}
}

type historyReader struct {
	client    client.Client
	converter converter.DataConverter
}

// recordedRun is what a history tells: the session that CreateSession returned
// in it, and the run from which it was reset, each "" if there is none.
type recordedRun struct {
	session, base string
}

func (r historyReader) read(ctx context.Context, workflowID, runID string) (recordedRun, error) {
	var run recordedRun
	creates := map[int64]bool{}
	events := r.client.GetWorkflowHistory(ctx, workflowID, runID, false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for events.HasNext() {
		event, err := events.Next()
		if err != nil {
			return recordedRun{}, fmt.Errorf("reading the history of run %s: %w", runID, err)
		}
		if err := r.note(&run, creates, event); err != nil {
			return recordedRun{}, fmt.Errorf("run %s, event %d: %w", runID, event.GetEventId(), err)
		}
	}
	return run, nil
}

func (r historyReader) note(run *recordedRun, creates map[int64]bool, event *historypb.HistoryEvent) error {
	if scheduled := event.GetActivityTaskScheduledEventAttributes(); scheduled.GetActivityType().GetName() == createSessionActivity {
		creates[event.GetEventId()] = true
	}
	if completed := event.GetActivityTaskCompletedEventAttributes(); completed != nil && creates[completed.GetScheduledEventId()] {
		var session Session
		if err := r.converter.FromPayloads(completed.GetResult(), &session); err != nil {
			return fmt.Errorf("decoding the result of %s: %w", createSessionActivity, err)
		}
		run.session = session.ID
	}
	if failed := event.GetWorkflowTaskFailedEventAttributes(); failed.GetCause() == enumspb.WORKFLOW_TASK_FAILED_CAUSE_RESET_WORKFLOW {
		run.base = failed.GetBaseRunId() // the last one counts: the run may descend from several resets
	}
	return nil
}
