// Package workflows carries out payouts as durable Temporal workflows: a pure
// state machine (machine.go, results.go) decides, this file executes.
package workflows

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"pikepayouts/activities"
	"pikepayouts/payout"
)

const (
	// readStartToClose bounds an activity that makes one call to Pike (at most pike.MaxTimeout) and moves no money.
	readStartToClose = 40 * time.Second
	// sendScheduleToStart: a send that no worker took up in this time is decided anew (hazard A23).
	sendScheduleToStart = 5 * time.Minute
	// minWorkflowTimeout is longer than any payout is held; start options with a shorter timeout are refused.
	minWorkflowTimeout = 365 * 24 * time.Hour
)

// PayoutWorkflow carries out one payout. Its argument is a payout.Request as
// JSON, kept raw so that a bad one gets an error which names the field. It
// returns the final payout.Status; it fails only for a bad request.
//
// Continued is no caller's business: it is what a run hands to the one that it
// continues as, when a payout has waited for weeks.
func PayoutWorkflow(ctx workflow.Context, rawRequest json.RawMessage, continued *machine) (payout.Status, error) {
	p, err := setUp(ctx, rawRequest, continued)
	if err != nil {
		return payout.Status{}, temporal.NewNonRetryableApplicationError(err.Error(), payout.ErrorTypeInvalidRequest, nil)
	}
	return p.run()
}

// payoutRun is one run of PayoutWorkflow.
type payoutRun struct {
	// ctx is not cancelled with the workflow: a cancellation is one more thing to decide on.
	ctx workflow.Context
	// root is cancelled with the workflow; cancelled says that this is recorded.
	root      workflow.Context
	cancelled bool
	// log names the workflow and its run, from which package telemetry tells the payout.
	log        log.Logger
	rawRequest json.RawMessage
	request    payout.Request
	origin     activities.Run
	machine    *machine
	activities *activities.Activities // never set: names the methods for ExecuteActivity

	// strangers are webhooks that are not known to be of the payout's session; strangersKept counts those that were not.
	strangers     []payout.Event
	strangersKept int
	// woken says that something arrived since the last decision.
	woken bool
	timer watchdog
	// deadlineNearCounted: MetricDeadlineNear has this run.
	deadlineNearCounted bool
	// calling: a call is under way. readError is the error of the last status read.
	calling   bool
	readError error
}

// watchdog is the one timer that bounds every wait. It outlives waits that end early: a timer
// that is not cancelled costs nothing, and each costs two events (design §4.3).
type watchdog struct {
	fired   workflow.Future
	firesAt time.Time
	cancel  workflow.CancelFunc
}

func setUp(ctx workflow.Context, rawRequest json.RawMessage, continued *machine) (*payoutRun, error) {
	request, err := checkedRequest(workflow.GetInfo(ctx), rawRequest)
	if err != nil {
		return nil, err
	}
	if continued == nil {
		continued = newMachine(request, workflow.Now(ctx))
	} else if workflow.GetInfo(ctx).ContinuedExecutionRunID == "" {
		return nil, errors.New("start options: the workflow takes one argument, the payout request")
	}
	disconnected, _ := workflow.NewDisconnectedContext(ctx)
	p := &payoutRun{
		ctx: disconnected, root: ctx, rawRequest: rawRequest, request: request, machine: continued,
		origin: activities.Run{OriginalRunID: originalRunID(workflow.GetInfo(ctx))},
		log:    workflow.GetLogger(ctx),
	}
	if err := p.handle(); err != nil {
		return nil, err
	}
	workflow.GoNamed(p.ctx, "record-signals", p.recordSignals)
	workflow.GoNamed(p.ctx, "record-cancellation", func(own workflow.Context) { p.recordCancellation(own, ctx.Done()) })
	return p, nil
}

// originalRunID is the run before any reset. The test environment leaves it empty.
func originalRunID(info *workflow.Info) string {
	return cmp.Or(info.OriginalRunID, info.WorkflowExecution.RunID)
}

func checkedRequest(info *workflow.Info, rawRequest json.RawMessage) (payout.Request, error) {
	if len(rawRequest) == 0 {
		return payout.Request{}, errors.New("request: the workflow needs one argument, the payout request")
	}
	request, err := payout.ParseRequest(rawRequest)
	if err != nil {
		return payout.Request{}, err
	}
	if want := payout.WorkflowID(request.PayoutID); info.WorkflowExecution.ID != want {
		return payout.Request{}, &payout.FieldError{Field: "payout_id", Problem: fmt.Sprintf("the workflow id must be %q", want)}
	}
	return request, checkStartOptions(info)
}

// checkStartOptions refuses what would end or repeat a payout without running its code (hazard A19).
func checkStartOptions(info *workflow.Info) error {
	if info.RetryPolicy != nil || info.CronSchedule != "" {
		return errors.New("start options: a payout must have no retry policy and no cron schedule")
	}
	for _, timeout := range []time.Duration{info.WorkflowExecutionTimeout, info.WorkflowRunTimeout} {
		if timeout > 0 && timeout < minWorkflowTimeout {
			return fmt.Errorf("start options: a payout must have no workflow timeout; %s could end it with money under way", timeout)
		}
	}
	return nil
}

// run alternates between deciding (pure) and doing, until the payout has ended.
func (p *payoutRun) run() (payout.Status, error) {
	for {
		p.woken = false
		p.sortStrangers()
		next := p.machine.next(workflow.Now(p.ctx))
		p.countMoves()
		p.countDeadlineNear()
		switch next.do {
		case finish:
			return p.finish()
		case wait:
			if p.mayContinueAsNew() {
				return payout.Status{}, workflow.NewContinueAsNewError(p.ctx, payout.WorkflowType, p.rawRequest, p.machine)
			}
			if err := p.wait(next); err != nil {
				return payout.Status{}, err
			}
		default:
			p.call(next.do)
		}
	}
}

// mayContinueAsNew is true once the history has grown long, which takes a
// payout weeks of waiting, and nothing is left unread or unanswered (hazards L8, L9).
func (p *payoutRun) mayContinueAsNew() bool {
	unread := p.root.Err() != nil && !p.cancelled
	if !workflow.GetInfo(p.ctx).GetContinueAsNewSuggested() || !workflow.AllHandlersFinished(p.ctx) || unread {
		return false
	}
	p.receiveSignals()
	return !p.woken && len(p.strangers) == 0
}

func (p *payoutRun) finish() (payout.Status, error) {
	if err := p.publish(); err != nil {
		return payout.Status{}, err
	}
	if err := workflow.Await(p.ctx, func() bool { return workflow.AllHandlersFinished(p.ctx) }); err != nil {
		return payout.Status{}, fmt.Errorf("waiting for update handlers: %w", err)
	}
	p.keepLateEvents()
	p.show()
	p.measureEnd()
	p.sessionLog().Info("payout ended", "state", p.machine.Status.State)
	return p.machine.Status, nil
}

func (p *payoutRun) wait(next step) error {
	if err := p.publish(); err != nil {
		return err
	}
	p.show()
	p.armWatchdog(next)
	if err := workflow.Await(p.ctx, func() bool { return p.woken || p.timer.fired.IsReady() }); err != nil {
		return fmt.Errorf("waiting: %w", err)
	}
	return nil
}

// armWatchdog keeps a running timer that fires early enough: next decides again when it fires.
func (p *payoutRun) armWatchdog(next step) {
	running := p.timer.fired != nil && !p.timer.fired.IsReady()
	if running && !p.timer.firesAt.After(next.until) {
		return
	}
	if running {
		p.timer.cancel()
	}
	ctx, cancel := workflow.WithCancel(p.ctx)
	duration := next.until.Sub(workflow.Now(p.ctx))
	p.timer = watchdog{
		fired:   workflow.NewTimerWithOptions(ctx, duration, workflow.TimerOptions{Summary: next.why}),
		firesAt: next.until, cancel: cancel,
	}
}

// call executes one activity and hands its result to the machine.
func (p *payoutRun) call(call action) {
	p.show()
	settledSince := p.machine.calling(call, p.now())
	p.calling = true
	var err error
	switch call {
	case createSession:
		err = p.createSession("session/create", false)
	case adoptSession:
		err = p.createSession("look for a session of another run", true)
	case startPayout:
		err = p.startPayout(settledSince)
	case confirmSession:
		err = p.confirmSession(settledSince)
	case cancelSession:
		err = p.cancelSession()
	case readStatus:
		err = p.readStatus()
	}
	p.calling = false
	if call == readStatus {
		p.readError = err
	}
	if err == nil {
		return
	}
	failure := activities.FailureOf(err)
	p.sessionLog().Warn("Pike call without success", "outcome", failure.Outcome, "error", failure.Text)
	p.machine.callFailed(call, failure, p.now())
}

func (p *payoutRun) createSession(summary string, adoptOnly bool) error {
	var session activities.Session
	// Package starter leaves the memo, and has Temporal reject a second start of the id.
	_, guarded := workflow.GetInfo(p.ctx).Memo.GetFields()[payout.MemoRequestFingerprint]
	in := activities.CreateInput{Run: p.origin, PayoutID: p.request.PayoutID, Unguarded: !guarded, AdoptOnly: adoptOnly}
	err := workflow.ExecuteActivity(p.reading(summary), p.activities.CreateSession, in).Get(p.ctx, &session)
	if err == nil {
		p.machine.created(session, p.now())
	}
	return err
}

func (p *payoutRun) startPayout(settledSince time.Time) error {
	var session activities.Session
	request := p.request
	request.Policy = payout.Policy{}
	in := activities.StartInput{Run: p.origin, SessionID: p.machine.Status.SessionID, Request: request, SettledSince: settledSince}
	ctx := p.sending("session/start/payout: "+p.summary(), sendScheduleToStart)
	err := workflow.ExecuteActivity(ctx, p.activities.StartPayout, in).Get(p.ctx, &session)
	if err == nil {
		p.machine.started(session, p.now())
	}
	return err
}

func (p *payoutRun) confirmSession(settledSince time.Time) error {
	var result activities.SendResult
	in := p.sessionInput()
	in.SettledSince = settledSince
	ctx := p.sending("session/confirm: "+p.summary(), min(sendScheduleToStart, p.machine.Status.Deadline.Sub(p.now())))
	err := workflow.ExecuteActivity(ctx, p.activities.ConfirmSession, in).Get(p.ctx, &result)
	if err == nil {
		p.machine.confirmed(result, p.now())
	}
	return err
}

func (p *payoutRun) cancelSession() error {
	var result activities.SendResult
	in := p.sessionInput()
	in.Send = p.machine.CancelSends
	ctx := p.sending("session/cancel: "+p.summary(), sendScheduleToStart)
	err := workflow.ExecuteActivity(ctx, p.activities.CancelSession, in).Get(p.ctx, &result)
	if err == nil {
		p.machine.cancelled(result, p.now())
	}
	return err
}

func (p *payoutRun) readStatus() error {
	var session activities.Session
	err := workflow.ExecuteActivity(p.reading("session/status"), p.activities.SessionStatus, p.sessionInput()).Get(p.ctx, &session)
	if err == nil {
		p.machine.polled(session, p.now())
	}
	return err
}

// reading is for calls that move no money: they may be retried.
func (p *payoutRun) reading(summary string) workflow.Context {
	return workflow.WithActivityOptions(p.ctx, readingOptions(summary))
}

func readingOptions(summary string) workflow.ActivityOptions {
	return workflow.ActivityOptions{
		StartToCloseTimeout: readStartToClose, Summary: summary,
		RetryPolicy: &temporal.RetryPolicy{InitialInterval: time.Second, BackoffCoefficient: 2, MaximumInterval: 10 * time.Second, MaximumAttempts: 4},
	}
}

// sending is for calls that money depends on: one attempt, every repeat is the machine's decision (design §4.5).
func (p *payoutRun) sending(summary string, scheduleToStart time.Duration) workflow.Context {
	return workflow.WithActivityOptions(p.ctx, workflow.ActivityOptions{
		StartToCloseTimeout: moneyStartToClose, ScheduleToStartTimeout: scheduleToStart, Summary: summary,
		RetryPolicy: &temporal.RetryPolicy{MaximumAttempts: 1}, WaitForCancellation: true,
	})
}

func (p *payoutRun) sessionInput() activities.SessionInput {
	return activities.SessionInput{Run: p.origin, SessionID: p.machine.Status.SessionID, Order: activities.OrderOf(p.request)}
}

func (p *payoutRun) summary() string { return p.request.AmountDetails.String() }

func (p *payoutRun) now() time.Time { return workflow.Now(p.ctx) }

// wake has the machine asked again. While a call is under way that comes later: until then what was woken for is shown at least.
func (p *payoutRun) wake() {
	p.woken = true
	if p.calling {
		p.show()
	}
}

// sessionLog is the log with the payout's session, once there is one.
func (p *payoutRun) sessionLog() log.Logger {
	if p.machine.Status.SessionID == "" {
		return p.log
	}
	return log.With(p.log, "session_id", p.machine.Status.SessionID)
}

// recordSignals is the one coroutine that receives webhooks, in whatever order they come. It leaves them in
// their channels until it runs: a blocked selector would take one out before, and a run that ends or
// continues as new in that very workflow task could not read it any more (hazards L8, L9).
func (p *payoutRun) recordSignals(ctx workflow.Context) {
	for workflow.Await(ctx, p.signalsUnread) == nil {
		p.receiveSignals()
	}
}

func (p *payoutRun) signalsUnread() bool {
	return slices.ContainsFunc(signalNames, func(name string) bool { return workflow.GetSignalChannel(p.ctx, name).Len() > 0 })
}

var signalNames = []string{payout.SignalReadyToConfirm, payout.SignalPaymentFinished}

func (p *payoutRun) recordEvent(event payout.Event) {
	switch event.SessionID {
	case "":
		p.sessionLog().Warn("webhook without a session ignored", "type", event.Type)
		return
	case p.machine.Status.SessionID:
		p.machine.hint(event, p.now())
	default:
		p.strangers = append(p.strangers, event)
	}
	p.wake()
}

// receiveSignals takes what has arrived and no coroutine has read yet.
func (p *payoutRun) receiveSignals() {
	for _, name := range signalNames {
		p.recordEvents(workflow.GetSignalChannel(p.ctx, name))
	}
}

// recordEvents never blocks: the SDK drops a payload that is no event, and waiting for the next would stop the recording.
func (p *payoutRun) recordEvents(channel workflow.ReceiveChannel) {
	for {
		var event payout.Event
		if !channel.ReceiveAsync(&event) {
			return
		}
		event.Type = channel.Name() // whatever a forged one says
		p.recordEvent(event.Bounded())
	}
}

func (p *payoutRun) recordCancellation(ctx workflow.Context, cancelled workflow.Channel) {
	cancelled.Receive(ctx, nil)
	p.cancelled = true
	if err := p.machine.cancelRequested(p.now()); err != nil {
		p.sessionLog().Warn(err.Error())
	}
	p.wake()
}
