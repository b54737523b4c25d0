package workflows_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/stretchr/testify/mock"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/testsuite"
	sdkworker "go.temporal.io/sdk/worker"

	"pikepayouts/activities"
	"pikepayouts/payout"
	"pikepayouts/pike"
	"pikepayouts/pikesim"
	"pikepayouts/worker"
)

// chaosPayoutID is that of every order: each has a Pike of its own.
const chaosPayoutID = "p1"

// chaosPike is the simulator's core in the environment's time, as far as its clock agrees.
type chaosPike struct {
	mix   mix
	env   *testsuite.TestWorkflowEnvironment
	watch *watch

	mu      sync.Mutex // activities and callbacks are goroutines of their own
	core    *pikesim.Core
	pumpDue time.Time
	calls   int
	signals int // webhooks that are due and not yet with the workflow
	// body and session are the last answer: most polls read the same once more.
	body    string
	session pike.Session

	// claims counts the operator's attempts to end the payout; resolved says that one was accepted.
	claims   int
	resolved bool
}

func newChaosPike(m mix) (*chaosPike, error) {
	var suite testsuite.WorkflowTestSuite
	suite.SetLogger(noLog{})
	p := &chaosPike{mix: m, env: suite.NewTestWorkflowEnvironment(), watch: &watch{reasons: map[payout.AttentionReason]bool{}}}
	p.watch.calling = func() { p.standBy(0) }
	p.standBy(0) // for the workflow's own begin
	p.env.SetStartWorkflowOptions(client.StartWorkflowOptions{ID: payout.WorkflowID(chaosPayoutID), TaskQueue: payout.DefaultTaskQueue})
	p.env.SetTestTimeout(time.Minute)
	p.env.SetWorkflowRunTimeout(366 * 24 * time.Hour) // a payout that never ends is a failure, too
	p.env.SetWorkerOptions(sdkworker.Options{
		Interceptors:             []interceptor.WorkerInterceptor{p.watch},
		DeadlockDetectionTimeout: time.Minute, // the machine may be busy
	})
	p.env.SetStartTime(p.mix.Clocks.Start)
	payouts := activities.New(activities.Config{Pike: p, Runs: onlyRun{}})
	worker.Register(p.env, payouts)
	p.env.OnWorkflow(payout.LateEventWorkflowType, mock.Anything, mock.Anything, mock.Anything).Return(payout.LateEventStatus{}, nil).Maybe()
	p.queue(payouts)
	p.core = pikesim.NewCore(pikesim.Options{Webhooks: true, Timing: m.Timing})
	p.disturb()
	p.visit()
	return p, errors.Join(p.core.SetModes(m.Modes), p.core.SetChaos(m.Chaos), p.core.SetBehaviour(chaosPayoutID, pikesim.Behaviour{Faults: m.Outage}))
}

// noLog costs less than a logger that discards.
type noLog struct{}

func (noLog) Debug(string, ...any) {}
func (noLog) Info(string, ...any)  {}
func (noLog) Warn(string, ...any)  {}
func (noLog) Error(string, ...any) {}

// queue lets activities wait for a worker while the payout's time goes on.
func (p *chaosPike) queue(a *activities.Activities) {
	if len(p.mix.Queueing) == 0 {
		return
	}
	for _, activity := range []any{a.CreateSession, a.StartPayout, a.ConfirmSession, a.CancelSession, a.SessionStatus} {
		p.env.OnActivity(activity, mock.Anything, mock.Anything).Return(activity).AfterFn(func() time.Duration {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.calls++
			wait := p.mix.Queueing[p.calls%len(p.mix.Queueing)]
			p.standBy(wait)
			return wait
		})
	}
}

// standBy puts a timer in front of all others for when an activity runs. The environment arms a
// wall clock timer for whichever is next, and forgets to stop it if the payout ends or cancels
// that one: one of hours would keep all of the payout in memory for hours.
func (p *chaosPike) standBy(runsAfter time.Duration) {
	p.env.RegisterDelayedCallback(func() {}, runsAfter+2*time.Second)
}

// letOthersGoFirst lets the environment's loop do what is due in this second, as activities run
// beside it: a call comes after that, and its answer after the webhooks that it brought about.
// Else a seed would tell two stories.
func (p *chaosPike) letOthersGoFirst() {
	done := make(chan struct{})
	p.env.RegisterDelayedCallback(func() { close(done) }, 0)
	<-done
}

// call is one exchange with the core; what a real client could not read or trust is an error with its outcome.
func (p *chaosPike) call(ctx context.Context, method string, body any, key string) (session pike.Session, err error) {
	defer func() {
		if err != nil { // Temporal may retry, with a doubling backoff
			p.standBy(time.Second << (activity.GetInfo(ctx).Attempt - 1))
		}
	}()
	encoded, err := json.Marshal(body)
	if err != nil {
		return pike.Session{}, err
	}
	p.letOthersGoFirst()
	p.mu.Lock()
	answer := p.core.Handle(p.mix.Clocks.atPike(p.env.Now()), pikesim.Call{Version: "v1", Method: method, Body: encoded, IdempotencyKey: key})
	p.mu.Unlock()
	p.pump()
	if p.underway() {
		p.letOthersGoFirst()
	}
	if answer.Lost || answer.Cut || answer.Delay > pike.MaxTimeout {
		return pike.Session{}, &pike.Error{Method: method, Outcome: pike.Unknown}
	}
	return p.decode(method, answer)
}

func (p *chaosPike) decode(method string, answer pikesim.Answer) (pike.Session, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if answer.HTTPStatus == 200 && string(answer.Body) == p.body {
		return p.session, nil
	}
	session, err := pike.DecodeSession(method, answer.HTTPStatus, answer.Body)
	if err == nil {
		p.body, p.session = string(answer.Body), session
	}
	return session, err
}

// pump delivers the webhooks that are due, and comes again when the next ones are.
func (p *chaosPike) pump() {
	p.mu.Lock()
	now := p.env.Now()
	atPike := p.mix.Clocks.atPike(now)
	deliveries := p.core.Advance(atPike)
	for _, delivery := range deliveries {
		p.core.Delivered(atPike, delivery.ID, 200)
	}
	p.signals += len(deliveries)
	var wait time.Duration
	if due, more := p.core.NextDue(); more {
		wait = max(p.mix.Clocks.untilPike(due, now).Truncate(time.Second)+time.Second, time.Second)
		if p.pumpDue.After(now) && !now.Add(wait).Before(p.pumpDue) {
			wait = 0 // it will come anyway
		} else {
			p.pumpDue = now.Add(wait)
		}
	}
	p.mu.Unlock()
	for _, delivery := range deliveries {
		p.env.RegisterDelayedCallback(func() { // in the loop in which the workflow runs
			p.deliver(delivery, now)
			p.mu.Lock()
			defer p.mu.Unlock()
			p.signals--
		}, 0)
	}
	if wait > 0 {
		p.env.RegisterDelayedCallback(p.pump, wait)
	}
}

// underway says that a webhook is about to reach the workflow.
func (p *chaosPike) underway() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.signals > 0
}

// deliver does what the gateway does with a genuine webhook.
func (p *chaosPike) deliver(delivery pikesim.Delivery, now time.Time) {
	if delivery.Type != payout.SignalReadyToConfirm && delivery.Type != payout.SignalPaymentFinished || p.env.IsWorkflowCompleted() {
		return
	}
	session, err := sessionOf(delivery.Body)
	if err != nil {
		p.watch.violated(fmt.Errorf("webhook %s: %w", delivery.Type, err))
		return
	}
	first := session.Payouts[0]
	if first.MetadataText() != chaosPayoutID { // the gateway would not find the payout
		return
	}
	p.env.SignalWorkflow(delivery.Type, payout.Event{
		Type: delivery.Type, SessionID: session.ID, SessionStatus: string(session.Status),
		NextAction: session.NextAction, PikePayoutID: first.ID, PayoutStatus: string(first.Status),
		AmountDetails: payout.AmountDetails(first.AmountDetails), ReceivedAt: now.Add(p.mix.Clocks.Gateway),
	})
}

// sessionOf reads the session of a webhook as that of an answer: here nothing is signed.
func sessionOf(webhook []byte) (pike.Session, error) {
	var body struct {
		Session json.RawMessage `json:"session"`
	}
	if err := json.Unmarshal(webhook, &body); err != nil {
		return pike.Session{}, err
	}
	return pike.DecodeSession("webhook", 200, fmt.Appendf(nil, `{"status":"ok","session":%s}`, body.Session))
}

type sessionCall struct {
	SessionID string `json:"session_id"`
}

func (p *chaosPike) CreateSession(ctx context.Context, request pike.CreateSessionRequest, key string) (pike.Session, error) {
	return p.call(ctx, "session/create", map[string]any{"metadata": request.Metadata}, key)
}

func (p *chaosPike) StartPayout(ctx context.Context, request pike.StartPayoutRequest, key string) (pike.Session, error) {
	return p.call(ctx, "session/start/payout", map[string]any{
		"session_id": request.SessionID, "metadata": request.Metadata, "amount_details": request.AmountDetails,
		"participant_details": map[string]any{"recipient": request.Recipient},
		"payment_method": map[string]any{"type": "card", "card": map[string]any{
			"type": "tokenized_card", "tokenized_card": map[string]any{"token": request.Destination.CardToken},
		}},
	}, key)
}

func (p *chaosPike) ConfirmSession(ctx context.Context, sessionID, key string) (pike.Session, error) {
	return p.call(ctx, "session/confirm", sessionCall{sessionID}, key)
}

func (p *chaosPike) CancelSession(ctx context.Context, sessionID, key string) (pike.Session, error) {
	return p.call(ctx, "session/cancel", sessionCall{sessionID}, key)
}

func (p *chaosPike) SessionStatus(ctx context.Context, sessionID string) (pike.Session, error) {
	return p.call(ctx, "session/status", sessionCall{sessionID}, "")
}
