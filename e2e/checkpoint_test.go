package e2e

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/api/workflowservice/v1"

	"pikepayouts/payout"
)

// moment is a point in the life of a payout.
type moment struct {
	// events is how many the history has.
	events int
	// inFlight: the activity scheduled last has been carried out, and not reported.
	inFlight bool
}

// momentAfter is the moment right after event n of the history. What one transaction writes is
// there at once; ActivityTaskStarted alone happens before it is written, together with the report.
func momentAfter(history []*historypb.HistoryEvent, n int) moment {
	if history[n-1].GetEventType() == enumspb.EVENT_TYPE_ACTIVITY_TASK_STARTED {
		return moment{events: n - 1, inFlight: true}
	}
	for n < len(history) && !slices.Contains(firstOfTransaction, history[n].GetEventType()) {
		n++
	}
	return moment{events: n}
}

var firstOfTransaction = []enumspb.EventType{
	enumspb.EVENT_TYPE_WORKFLOW_TASK_STARTED, enumspb.EVENT_TYPE_WORKFLOW_TASK_COMPLETED, enumspb.EVENT_TYPE_ACTIVITY_TASK_STARTED,
	enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED, enumspb.EVENT_TYPE_TIMER_FIRED,
}

// missed says why a payout is not at the moment of the model history, "" if it is.
func (s *stack) missed(r payout.Request, at moment, model []*historypb.HistoryEvent) string {
	s.t.Helper()
	events := s.history(r)
	if len(events) != at.events {
		return fmt.Sprintf("the history has %d events, not %d", len(events), at.events)
	}
	for i, event := range events {
		if want := model[i].GetEventType(); event.GetEventType() != want {
			return fmt.Sprintf("event %d is %s, not %s", i+1, event.GetEventType(), want)
		}
	}
	want := enumspb.PENDING_ACTIVITY_STATE_UNSPECIFIED
	switch {
	case at.inFlight:
		want = enumspb.PENDING_ACTIVITY_STATE_STARTED
	case events[len(events)-1].GetEventType() == enumspb.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
		want = enumspb.PENDING_ACTIVITY_STATE_SCHEDULED
	}
	if got := s.pendingActivity(r); got != want {
		return fmt.Sprintf("its activity is %s, not %s", got, want)
	}
	return ""
}

// pendingActivity is the state of the one activity that the payout waits for, unspecified if it waits for none.
func (s *stack) pendingActivity(r payout.Request) enumspb.PendingActivityState {
	s.t.Helper()
	description, err := shared.temporal.DescribeWorkflowExecution(testContext(s.t), payout.WorkflowID(r.PayoutID), "")
	require.NoError(s.t, err)
	pending := description.GetPendingActivities()
	require.LessOrEqual(s.t, len(pending), 1, "a payout does one thing at a time")
	if len(pending) == 0 {
		return enumspb.PENDING_ACTIVITY_STATE_UNSPECIFIED
	}
	return pending[0].GetState()
}

// checkpoint admits a worker's calls until the payout, the only one of its task queue, is at the
// moment. A poll is let through only for a task that waits for it: one that were out already
// would take the next task past the moment.
type checkpoint struct {
	at moment

	mu     sync.Mutex // guards what follows
	events []*historypb.HistoryEvent
	taken  map[int64]bool // tasks, by the event that scheduled them
	polled bool
	// announcing counts the polls that only announce a sticky queue.
	announcing int
	// reporting: the report of the activity in flight is held.
	reporting                 bool
	workflowLifted, allLifted bool
	changed                   chan struct{} // closed at the next change of the above
}

// newCheckpoint follows the history of a payout that was started.
func newCheckpoint(t *testing.T, r payout.Request, at moment) *checkpoint {
	c := &checkpoint{at: at, taken: map[int64]bool{}, changed: make(chan struct{})}
	followed := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { defer close(followed); c.follow(ctx, r) }()
	t.Cleanup(func() { cancel(); <-followed })
	return c
}

func (c *checkpoint) follow(ctx context.Context, r payout.Request) {
	events := shared.temporal.GetWorkflowHistory(ctx, payout.WorkflowID(r.PayoutID), "", true, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for events.HasNext() {
		event, err := events.Next()
		if err != nil {
			return // the test has ended, or fails as the moment never comes
		}
		c.change(func() { c.events = append(c.events, event) })
	}
}

func (c *checkpoint) change(do func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	do()
	close(c.changed)
	c.changed = make(chan struct{})
}

// await returns once the condition, asked under the lock, is true.
func (c *checkpoint) await(ctx context.Context, condition func() bool) error {
	for {
		c.mu.Lock()
		met, changed := condition(), c.changed
		c.mu.Unlock()
		if met {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// admit is the admission of the worker's line.
func (c *checkpoint) admit(ctx context.Context, call string, request []byte, send func(context.Context) error) error {
	var admitted func() bool
	switch call {
	case "PollWorkflowTaskQueue":
		return c.pollWorkflowTask(ctx, request, send)
	case "PollActivityTaskQueue":
		admitted = func() bool { return c.allLifted || c.takeActivity() }
	case "RespondWorkflowTaskCompleted":
		admitted = func() bool { return c.workflowLifted || c.mayReportWorkflowTask() }
	case "RespondActivityTaskCompleted", "RespondActivityTaskFailed":
		if c.at.inFlight {
			c.change(func() { c.reporting = c.reporting || c.full() })
		}
		admitted = func() bool { return c.allLifted || !c.full() && c.announcing == 0 }
	default:
		return send(ctx)
	}
	if err := c.await(ctx, admitted); err != nil {
		return err
	}
	return send(ctx)
}

func (c *checkpoint) pollWorkflowTask(ctx context.Context, request []byte, send func(context.Context) error) error {
	var poll workflowservice.PollWorkflowTaskQueueRequest
	if err := poll.Unmarshal(request); err != nil {
		return err
	}
	if poll.GetTaskQueue().GetKind() == enumspb.TASK_QUEUE_KIND_STICKY {
		c.announce(ctx, send)
	}
	c.change(func() { c.polled = true })
	if err := c.await(ctx, func() bool { return c.workflowLifted || c.takeWorkflowTask(poll.GetTaskQueue().GetName()) }); err != nil {
		return err
	}
	return send(ctx)
}

// announce polls the worker's sticky queue while there can be no task in it: the server
// puts none into a queue that nobody has polled lately.
func (c *checkpoint) announce(ctx context.Context, send func(context.Context) error) {
	ctx, recall := context.WithCancel(ctx)
	defer recall()
	go func() {
		defer recall()
		_ = c.await(ctx, func() bool { return c.workflowLifted || c.workflowTasksDone() > 0 })
	}()
	c.change(func() { c.announcing++ })
	_ = send(ctx)
	c.change(func() { c.announcing-- })
}

func (c *checkpoint) full() bool { return len(c.events) >= c.at.events }

func (c *checkpoint) takeWorkflowTask(queue string) bool {
	task := c.lastWorkflowTaskEvent()
	scheduled := task.GetWorkflowTaskScheduledEventAttributes()
	if c.full() || scheduled.GetTaskQueue().GetName() != queue || c.taken[task.GetEventId()] {
		return false
	}
	c.taken[task.GetEventId()] = true
	return true
}

// mayReportWorkflowTask is false, too, as long as the start of the task has not been seen: it might be the moment.
func (c *checkpoint) mayReportWorkflowTask() bool {
	return !c.full() && c.lastWorkflowTaskEvent().GetEventType() == enumspb.EVENT_TYPE_WORKFLOW_TASK_STARTED
}

func (c *checkpoint) lastWorkflowTaskEvent() *historypb.HistoryEvent {
	for _, event := range slices.Backward(c.events) {
		switch event.GetEventType() {
		case enumspb.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED, enumspb.EVENT_TYPE_WORKFLOW_TASK_STARTED, enumspb.EVENT_TYPE_WORKFLOW_TASK_COMPLETED:
			return event
		}
	}
	return nil
}

func (c *checkpoint) takeActivity() bool {
	if c.full() && !c.at.inFlight {
		return false
	}
	for _, event := range c.events {
		if event.GetEventType() == enumspb.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED && !c.taken[event.GetEventId()] {
			c.taken[event.GetEventId()] = true
			return true
		}
	}
	return false
}

// waitUntilReached returns at the moment: from then on the worker can change nothing.
func (c *checkpoint) waitUntilReached(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	reached := func() bool { return c.full() && c.polled && c.reporting == c.at.inFlight }
	require.NoError(t, c.await(ctx, reached), "the moment never came")
}

// lift lets the worker go on. With an activity in flight the workflow first takes in what came
// meanwhile, which makes the history grow to a workflow task more.
func (c *checkpoint) lift(t *testing.T) {
	t.Helper()
	if c.at.inFlight {
		c.change(func() { c.workflowLifted = true })
		done := func() bool { return c.workflowTasksDone() > c.at.events }
		require.NoError(t, c.await(testContext(t), done), "the workflow never took it in")
	}
	c.change(func() { c.workflowLifted, c.allLifted = true, true })
}

// workflowTasksDone is the number of the event that ended the last workflow task.
func (c *checkpoint) workflowTasksDone() int {
	for i, event := range slices.Backward(c.events) {
		if event.GetEventType() == enumspb.EVENT_TYPE_WORKFLOW_TASK_COMPLETED {
			return i + 1
		}
	}
	return 0
}
