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
	workflowpb "go.temporal.io/api/workflow/v1"
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
func (s *stack) missed(r payout.Request, at moment, reached bool, model []*historypb.HistoryEvent) string {
	s.t.Helper()
	events := s.history(r)
	for i, event := range events {
		if i >= len(model) || event.GetEventType() != model[i].GetEventType() {
			return fmt.Sprintf("event %d is %s", i+1, event.GetEventType())
		}
	}
	if len(events) != at.events {
		return fmt.Sprintf("the history has %d events, not %d", len(events), at.events)
	}
	want := enumspb.PENDING_ACTIVITY_STATE_UNSPECIFIED
	switch {
	case at.inFlight:
		want = enumspb.PENDING_ACTIVITY_STATE_STARTED
	case events[len(events)-1].GetEventType() == enumspb.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
		want = enumspb.PENDING_ACTIVITY_STATE_SCHEDULED
	}
	if got := s.pendingActivity(r).GetState(); got != want {
		return fmt.Sprintf("its activity is %s, not %s", got, want)
	}
	if !reached {
		return "the worker never came to it"
	}
	return ""
}

// pendingActivity is the one activity that the payout waits for, nil if it waits for none.
func (s *stack) pendingActivity(r payout.Request) *workflowpb.PendingActivityInfo {
	s.t.Helper()
	description, err := shared.temporal.DescribeWorkflowExecution(testContext(s.t), payout.WorkflowID(r.PayoutID), "")
	require.NoError(s.t, err)
	pending := description.GetPendingActivities()
	require.LessOrEqual(s.t, len(pending), 1, "a payout does one thing at a time")
	if len(pending) == 0 {
		return nil
	}
	return pending[0]
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
func (c *checkpoint) admit(ctx context.Context, call string, request frame, send send) error {
	admitted := func() bool { return true }
	switch call {
	case "PollWorkflowTaskQueue":
		return c.pollWorkflowTask(ctx, request, send)
	case "PollActivityTaskQueue":
		return c.poll(ctx, send, func() bool { return c.allLifted }, c.takeActivity)
	case "RespondWorkflowTaskCompleted":
		admitted = c.mayReportWorkflowTask
	case "RespondActivityTaskCompleted", "RespondActivityTaskFailed":
		c.change(func() { c.reporting = c.at.inFlight && c.full() })
		admitted = c.mayReportActivity
	}
	if err := c.await(ctx, admitted); err != nil {
		return err
	}
	_, err := send(ctx)
	return err
}

func (c *checkpoint) pollWorkflowTask(ctx context.Context, request frame, send send) error {
	var poll workflowservice.PollWorkflowTaskQueueRequest
	if err := poll.Unmarshal(request); err != nil {
		return err
	}
	if poll.GetTaskQueue().GetKind() == enumspb.TASK_QUEUE_KIND_STICKY {
		c.announce(ctx, send)
	}
	c.change(func() { c.polled = true })
	take := func() int64 { return c.takeWorkflowTask(poll.GetTaskQueue().GetName()) }
	return c.poll(ctx, send, func() bool { return c.workflowLifted }, take)
}

// announce polls the worker's sticky queue while there can be no task in it: the server
// puts none into a queue that nobody has polled lately.
func (c *checkpoint) announce(ctx context.Context, send send) {
	ctx, recall := context.WithCancel(ctx)
	defer recall()
	go func() {
		defer recall()
		_ = c.await(ctx, func() bool { return c.workflowLifted || c.workflowTasksDone() > 0 })
	}()
	c.change(func() { c.announcing++ })
	_, _ = send(ctx)
	c.change(func() { c.announcing-- })
}

// poll is let through once there is a task to take.
func (c *checkpoint) poll(ctx context.Context, send send, lifted func() bool, take func() int64) error {
	var task int64
	admitted := func() bool {
		if lifted() {
			return true
		}
		task = take()
		return task != 0
	}
	if err := c.await(ctx, admitted); err != nil {
		return err
	}
	answer, err := send(ctx)
	if len(answer) == 0 { // a server under load may say so though there is a task
		c.change(func() { delete(c.taken, task) })
	}
	return err
}

func (c *checkpoint) full() bool { return len(c.events) >= c.at.events }

// takeWorkflowTask is the task that the poll of a queue may have, 0 for none.
func (c *checkpoint) takeWorkflowTask(queue string) int64 {
	task := c.lastWorkflowTaskEvent()
	scheduled := task.GetWorkflowTaskScheduledEventAttributes()
	if c.full() || scheduled.GetTaskQueue().GetName() != queue || c.taken[task.GetEventId()] {
		return 0
	}
	c.taken[task.GetEventId()] = true
	return task.GetEventId()
}

// mayReportWorkflowTask is false, too, as long as the start of the task has not been seen: it might be the moment.
func (c *checkpoint) mayReportWorkflowTask() bool {
	started := c.lastWorkflowTaskEvent().GetEventType() == enumspb.EVENT_TYPE_WORKFLOW_TASK_STARTED
	return c.workflowLifted || !c.full() && started
}

func (c *checkpoint) mayReportActivity() bool {
	return c.allLifted || !c.full() && c.announcing == 0
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

// takeActivity is the activity that a poll may have, 0 for none.
func (c *checkpoint) takeActivity() int64 {
	if c.full() && !c.at.inFlight {
		return 0
	}
	for _, event := range c.events {
		if event.GetEventType() == enumspb.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED && !c.taken[event.GetEventId()] {
			c.taken[event.GetEventId()] = true
			return event.GetEventId()
		}
	}
	return 0
}

// reached waits for the moment, from which on the worker can change nothing, and says whether it came.
func (c *checkpoint) reached(t *testing.T) bool {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	return c.await(ctx, func() bool { return c.full() && c.polled && c.reporting == c.at.inFlight }) == nil
}

// lift lets the worker go on. With an activity in flight the workflow first takes in what came
// meanwhile, which makes the history grow to a workflow task more.
func (c *checkpoint) lift(t *testing.T, inFlight bool) {
	t.Helper()
	c.change(func() { c.workflowLifted = true })
	if inFlight {
		taken := func() bool { return c.workflowTasksDone() > c.at.events }
		require.NoError(t, c.await(testContext(t), taken), "the workflow never took it in")
	}
	c.change(func() { c.allLifted = true })
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
