package activities

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/api/serviceerror"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"

	"pikepayouts/payout"
)

const createSessionActivity = "CreateSession"

// NewRuns returns Runs over the histories of the workflow id: the run's own,
// those from which it was reset, which its own names, and all that visibility
// knows, which may lag by a moment.
func NewRuns(c client.Client, dataConverter converter.DataConverter) Runs {
	return historyReader{client: c, converter: dataConverter}
}

type historyReader struct {
	client    client.Client
	converter converter.DataConverter
}

// ResetAt implements Runs.
func (r historyReader) ResetAt(ctx context.Context, workflowID, runID string) (time.Time, error) {
	run, err := r.read(ctx, workflowID, runID)
	return run.resetAt, err
}

// Repeated implements Runs. Whatever puts an activity into the queue again, a retry or an operator, moves its
// scheduled time; servers that do not tell it of a running activity have no operator commands for activities.
func (r historyReader) Repeated(ctx context.Context, workflowID, runID, activityID string, scheduled time.Time) (bool, error) {
	description, err := r.client.DescribeWorkflowExecution(ctx, workflowID, runID)
	if err != nil {
		return false, fmt.Errorf("describing run %s: %w", runID, err)
	}
	for _, pending := range description.GetPendingActivities() {
		if pending.GetActivityId() == activityID {
			last := pending.GetScheduledTime()
			return last != nil && !last.AsTime().Equal(scheduled), nil
		}
	}
	return false, fmt.Errorf("run %s does not wait for activity %s", runID, activityID)
}

// EarlierSession implements Runs.
func (r historyReader) EarlierSession(ctx context.Context, workflowID, runID string) (string, error) {
	others, err := r.otherRuns(ctx, workflowID, runID)
	if err != nil {
		return "", err
	}
	for seen := []string{runID}; len(others) > 0; others = others[1:] {
		if slices.Contains(seen, others[0]) {
			continue
		}
		seen = append(seen, others[0])
		run, err := r.read(ctx, workflowID, others[0])
		if err != nil || run.session != "" {
			return run.session, err
		}
		if run.base != "" {
			others = append(others, run.base)
		}
	}
	return "", nil
}

// Record implements Runs.
func (r historyReader) Record(ctx context.Context, workflowID string) (Record, error) {
	description, err := r.client.DescribeWorkflowExecution(ctx, workflowID, "")
	var unknown *serviceerror.NotFound // an unknown namespace has a type of its own
	if errors.As(err, &unknown) {
		return Record{}, nil
	}
	if err != nil {
		return Record{}, fmt.Errorf("describing %s: %w", workflowID, err)
	}
	info := description.GetWorkflowExecutionInfo()
	switch info.GetStatus() {
	case enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING, enumspb.WORKFLOW_EXECUTION_STATUS_CONTINUED_AS_NEW, enumspb.WORKFLOW_EXECUTION_STATUS_PAUSED:
		return Record{Known: true, Open: true}, nil
	case enumspb.WORKFLOW_EXECUTION_STATUS_COMPLETED:
	default:
		return Record{Known: true, Ended: info.GetStatus().String()}, nil
	}
	var status payout.Status
	if err := r.client.GetWorkflow(ctx, workflowID, info.GetExecution().GetRunId()).Get(ctx, &status); err != nil {
		return Record{}, fmt.Errorf("reading the result of %s: %w", workflowID, err)
	}
	return Record{Known: true, Status: &status}, nil
}

// otherRuns lists the run that this one was reset from, then all runs that visibility knows, newest first.
func (r historyReader) otherRuns(ctx context.Context, workflowID, runID string) ([]string, error) {
	own, err := r.read(ctx, workflowID, runID)
	if err != nil {
		return nil, err
	}
	var runs []string
	if own.base != "" {
		runs = append(runs, own.base)
	}
	request := &workflowservice.ListWorkflowExecutionsRequest{Query: fmt.Sprintf("WorkflowId = '%s'", workflowID)}
	for more := true; more; more = len(request.NextPageToken) > 0 {
		page, err := r.client.ListWorkflow(ctx, request)
		if err != nil {
			return nil, fmt.Errorf("listing the runs of %s: %w", workflowID, err)
		}
		executions := page.GetExecutions()
		slices.SortStableFunc(executions, func(a, b *workflowpb.WorkflowExecutionInfo) int {
			return b.GetStartTime().AsTime().Compare(a.GetStartTime().AsTime())
		})
		for _, info := range executions {
			runs = append(runs, info.GetExecution().GetRunId())
		}
		request.NextPageToken = page.GetNextPageToken()
	}
	return runs, nil
}

// recordedRun is what a history tells: the session that CreateSession returned
// in it, and the run from which it was reset and when; each zero if there is none.
type recordedRun struct {
	session, base string
	resetAt       time.Time
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
		run.base, run.resetAt = failed.GetBaseRunId(), event.GetEventTime().AsTime() // the last one counts: a run may descend from several resets
	}
	return nil
}
