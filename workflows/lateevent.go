package workflows

import (
	"cmp"
	"fmt"
	"time"

	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/workflow"

	"pikepayouts/activities"
	"pikepayouts/payout"
)

// lateEventFirstGap is when a late event that is not settled is looked at again: the gap doubles, up to the bounds of payouts.
const lateEventFirstGap = 30 * time.Second

// LateEventWorkflow keeps a genuine webhook that no open payout could take
// (design §3.4): it compares session/status with what is recorded of the payout,
// completes where they agree, and else raises attention until they do or a
// person has resolved it. It moves no money and changes no payout.
//
// Continued is what a run hands to the one that it continues as.
func LateEventWorkflow(ctx workflow.Context, event payout.LateEvent, continued *lateEvent) (payout.LateEventStatus, error) {
	l := &lateEventRun{
		ctx: ctx, event: continued,
		log: log.With(workflow.GetLogger(ctx), "payout_id", event.PayoutID, "session_id", event.Event.SessionID),
	}
	if l.event == nil {
		l.event = newLateEvent(event, workflow.Now(ctx))
	}
	if err := l.handle(); err != nil {
		return payout.LateEventStatus{}, err
	}
	return l.run()
}

// lateEvent is what is known of a late event. Its JSON form goes from a run to the one that it continues as.
type lateEvent struct {
	Status payout.LateEventStatus `json:"status"`
	// Phase is what session/status said last.
	Phase activities.Phase `json:"phase,omitempty"`
	// UnsettledSince is when Pike or its status first left the event open.
	UnsettledSince time.Time     `json:"unsettled_since,omitzero"`
	Gap            time.Duration `json:"gap"`
}

func newLateEvent(event payout.LateEvent, now time.Time) *lateEvent {
	return &lateEvent{Status: payout.LateEventStatus{LateEvent: event, UpdatedAt: now}, Gap: lateEventFirstGap}
}

// lateEventRun is one run of LateEventWorkflow.
type lateEventRun struct {
	ctx        workflow.Context
	log        log.Logger
	event      *lateEvent
	activities *activities.Activities // never set: names the method for ExecuteActivity

	// checkAsked: a person wants a check that begins after now; checking: one is under way. checkError is the error of the last.
	checkAsked, checking bool
	checkError           error
}

func (l *lateEventRun) handle() error {
	err := workflow.SetQueryHandlerWithOptions(l.ctx, payout.QueryStatus, func() (payout.LateEventStatus, error) { return l.event.status(), nil },
		workflow.QueryHandlerOptions{Description: "what the late event says, and how it compares with what is recorded; takes no argument"})
	if err != nil {
		return fmt.Errorf("setting the query handler: %w", err)
	}
	err = workflow.SetUpdateHandlerWithOptions(l.ctx, payout.UpdateResolve, l.resolve, workflow.UpdateHandlerOptions{
		Description: fmt.Sprintf(resolveDescription, workflow.GetInfo(l.ctx).WorkflowExecution.ID), Validator: l.validateResolve,
	})
	if err != nil {
		return fmt.Errorf("setting the update handler: %w", err)
	}
	return nil
}

// run checks until the event is closed. A cancellation of the workflow ends it as cancelled: nothing depends on it.
func (l *lateEventRun) run() (payout.LateEventStatus, error) {
	l.show()
	for !l.event.closed() {
		l.check()
		if err := l.publish(); err != nil {
			return payout.LateEventStatus{}, err
		}
		if !l.event.closed() && workflow.GetInfo(l.ctx).GetContinueAsNewSuggested() && workflow.AllHandlersFinished(l.ctx) {
			return payout.LateEventStatus{}, workflow.NewContinueAsNewError(l.ctx, payout.LateEventWorkflowType, l.event.Status.LateEvent, l.event)
		}
		if err := l.wait(); err != nil {
			return payout.LateEventStatus{}, err
		}
	}
	if err := workflow.Await(l.ctx, func() bool { return workflow.AllHandlersFinished(l.ctx) }); err != nil {
		return payout.LateEventStatus{}, fmt.Errorf("waiting for update handlers: %w", err)
	}
	l.log.Info("late event closed", "verdict", l.event.Status.Verdict)
	return l.event.Status, l.publish()
}

func (l *lateEventRun) check() {
	l.checkAsked, l.checking = false, true
	defer func() { l.checking = false }()
	var finding activities.LateEventFinding
	in := activities.LateEventInput{LateEvent: l.event.Status.LateEvent}
	ctx := workflow.WithActivityOptions(l.ctx, readingOptions("session/status, and the payout's result"))
	l.checkError = workflow.ExecuteActivity(ctx, l.activities.CheckLateEvent, in).Get(l.ctx, &finding)
	if l.checkError != nil {
		l.event.checkFailed(activities.FailureOf(l.checkError), workflow.Now(l.ctx))
	} else {
		l.event.checked(finding, workflow.Now(l.ctx))
	}
}

func (l *lateEventRun) wait() error {
	woken := func() bool { return l.checkAsked || l.event.closed() }
	if woken() {
		return nil
	}
	options := workflow.AwaitOptions{Timeout: l.event.nextGap(workflow.Now(l.ctx)), TimerOptions: workflow.TimerOptions{Summary: "look again"}}
	if _, err := workflow.AwaitWithOptions(l.ctx, options, woken); err != nil {
		return fmt.Errorf("waiting: %w", err)
	}
	return nil
}

func (e *lateEvent) closed() bool { return e.Status.Verdict != "" }

// checked takes in what session/status and the payout's record say.
func (e *lateEvent) checked(finding activities.LateEventFinding, now time.Time) {
	status := &e.Status
	status.PayoutID, status.Recorded, status.Finding = finding.PayoutID, finding.Recorded, finding.Text
	status.SessionStatus, status.PayoutStatus, status.Returned = finding.Session.SessionStatus, finding.Session.PayoutStatus, finding.Session.Returned
	status.CheckedAt, status.UpdatedAt = now, now
	e.Phase = finding.Session.Phase
	switch finding.Comparison {
	case activities.ComparisonAgrees:
		status.Verdict, status.Attention = payout.LateAgrees, nil
	case activities.ComparisonOpen:
		e.UnsettledSince, status.Attention = time.Time{}, nil
	case activities.ComparisonUnsettled:
		e.unsettled(finding.Text, now)
	default:
		e.raise(finding.Text, now)
	}
}

func (e *lateEvent) checkFailed(failure activities.Failure, now time.Time) {
	e.Status.Finding, e.Status.UpdatedAt = failure.Text, now
	if failure.Outcome == activities.Refused { // Pike knows no such session, or refuses us: waiting will not help
		e.raise(failure.Text, now)
		return
	}
	e.unsettled(failure.Text, now)
}

// unsettled raises attention only once Pike's status can be trusted: it may lag behind its webhook.
func (e *lateEvent) unsettled(text string, now time.Time) {
	if e.UnsettledSince.IsZero() {
		e.UnsettledSince = now
	}
	if e.Status.Attention != nil || now.Sub(e.UnsettledSince) >= settleDelay {
		e.raise(text, now)
	}
}

func (e *lateEvent) raise(text string, now time.Time) {
	since := now
	if e.Status.Attention != nil {
		since = e.Status.Attention.Since
	}
	e.Status.Attention = &payout.Attention{Reason: payout.AttentionLateEvent, Since: since, Detail: text}
}

// nextGap doubles with every call.
func (e *lateEvent) nextGap(now time.Time) time.Duration {
	bound := maxPollGap
	switch {
	case e.Status.Attention != nil:
		bound = maxPollGapAttention
	case !e.UnsettledSince.IsZero():
		bound = max(time.Second, e.UnsettledSince.Add(settleDelay).Sub(now))
	}
	gap := min(e.Gap, bound)
	e.Gap = min(2*gap, maxPollGapAttention)
	return gap
}

func (l *lateEventRun) validateResolve(_ workflow.Context, request payout.ResolveRequest) error {
	if err := cmp.Or(request.Validate(), payout.CheckWorkflow(request.WorkflowID, payout.LateEventWorkflowID(l.event.Status.Event))); err != nil {
		return refuse(payout.ErrorTypeInvalidResolve, err)
	}
	if err := l.event.checkResolve(); err != nil {
		return refuse(payout.ErrorTypeResolveRefused, err)
	}
	return nil
}

// checkResolve says why nothing can be resolved, nil if something can.
func (e *lateEvent) checkResolve() error {
	switch {
	case e.closed():
		return fmt.Errorf("the late event is closed: %s", e.Status.Verdict)
	case e.Status.Attention == nil:
		return errNoAttention
	}
	return nil
}

// resolve first has the event checked once more: a person's word never beats a fresh status (hazard A21).
func (l *lateEventRun) resolve(ctx workflow.Context, request payout.ResolveRequest) (payout.LateEventStatus, error) {
	if err := l.freshCheck(ctx); err != nil {
		return payout.LateEventStatus{}, err
	}
	if request.Action == payout.ResolveRecheck {
		return l.event.status(), nil
	}
	if l.checkError != nil && !l.refusedForGood() {
		return payout.LateEventStatus{}, refuse(payout.ErrorTypeResolveRefused, fmt.Errorf("Pike gave no fresh status to check against: %w", l.checkError))
	}
	if err := l.event.close(request, workflow.Now(ctx)); err != nil {
		return payout.LateEventStatus{}, refuse(payout.ErrorTypeResolveRefused, err)
	}
	return l.event.status(), nil
}

// refusedForGood: Pike answered, and has no status of this session to give.
func (l *lateEventRun) refusedForGood() bool {
	failure := activities.FailureOf(l.checkError)
	return failure.Outcome == activities.Refused && !failure.Config
}

// freshCheck waits for the end of a check that begins after now.
func (l *lateEventRun) freshCheck(ctx workflow.Context) error {
	l.checkAsked = true
	done := func() bool { return l.event.closed() || !l.checkAsked && !l.checking }
	if err := workflow.Await(ctx, done); err != nil {
		return fmt.Errorf("waiting for Pike: %w", err)
	}
	return nil
}

func (e *lateEvent) close(request payout.ResolveRequest, now time.Time) error {
	status := &e.Status
	if status.Resolution != nil && status.Resolution.Action != request.Action {
		return fmt.Errorf("it has just been closed: %s by %s", status.Resolution.Action, status.Resolution.By)
	}
	if err := e.checkClose(request.Action == payout.ResolveClosePaid); err != nil {
		return err
	}
	if e.closed() { // the check, or somebody else, has just settled it
		return nil
	}
	status.Verdict, status.Attention, status.UpdatedAt = payout.LateResolved, nil, now
	request.WorkflowID = "" // it is this one
	status.Resolution = &payout.LateResolution{ResolveRequest: request, At: now}
	return nil
}

// checkClose says why what was read last forbids to close the event as paid, or as not paid; nil if it does not.
func (e *lateEvent) checkClose(paid bool) error {
	status := e.Status
	bothTrue := status.Returned && !paid // of money that came back
	if e.Phase.SaysOpposite(paid) && !bothTrue {
		return fmt.Errorf("a fresh status says the opposite: session %s is %s, its payout %s", status.Event.SessionID, status.SessionStatus, status.PayoutStatus)
	}
	return nil
}

// publish makes the search attributes and the details true.
func (l *lateEventRun) publish() error {
	l.show()
	status := l.event.Status
	current := workflow.GetTypedSearchAttributes(l.ctx)
	updates := append(keywordChange(current, sessionKey, status.Event.SessionKeyword()), keywordChange(current, attentionKey, attentionText(status.Attention))...)
	return upsert(l.ctx, updates)
}
