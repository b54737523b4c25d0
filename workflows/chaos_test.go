package workflows_test

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/testsuite"
	"golang.org/x/sync/errgroup"

	"pikepayouts/activities"
	"pikepayouts/payout"
	"pikepayouts/pike"
	"pikepayouts/pikesim"
	"pikepayouts/secret"
	"pikepayouts/worker"
)

var (
	chaosPayouts = flag.Int("chaos.payouts", 1000, "how many payouts TestChaosInMemory runs")
	chaosSeed    = flag.Uint64("chaos.seed", 1, "the seed of the first of them")
)

// chaosWorkers run payouts side by side.
const chaosWorkers = 2

// TestChaosInMemory runs payouts in Temporal's time-skipping environment against
// the simulator's core: faults on calls, webhooks, decisions and cancellations
// by chance. The simulator's ledger is the judge.
func TestChaosInMemory(t *testing.T) {
	var (
		group errgroup.Group
		mu    sync.Mutex
		ends  = map[payout.State]int{}
	)
	group.SetLimit(chaosWorkers)
	for i := range *chaosPayouts {
		seed := *chaosSeed + uint64(i)
		group.Go(func() error {
			state, err := chaosPayout(seed)
			if err != nil {
				return fmt.Errorf("%w\nreplay: go test ./workflows -run TestChaosInMemory -chaos.payouts 1 -chaos.seed %d", err, seed)
			}
			mu.Lock()
			defer mu.Unlock()
			ends[state]++
			return nil
		})
	}
	require.NoError(t, group.Wait())
	t.Logf("%d payouts from seed %d: %v", *chaosPayouts, *chaosSeed, ends)
}

// chaosPayout runs one payout to its end and judges it. Everything about it follows from the seed.
func chaosPayout(seed uint64) (payout.State, error) {
	luck := rand.New(rand.NewPCG(seed, seed)) //nolint:gosec // reproducible on purpose
	p, err := newChaosPike(seed, luck)
	if err != nil {
		return "", err
	}
	p.env.ExecuteWorkflow(payout.WorkflowType, request(func(r *payout.Request) {
		r.Destination.TokenizedCard.Token = secret.String(pikesim.Token(pikesim.PresetConfirmed))
		r.Policy.Decision = pick(luck, payout.DecisionAuto, payout.DecisionManual)
	}))
	if err := p.env.GetWorkflowError(); err != nil {
		return "", fmt.Errorf("the workflow failed: %w", err)
	}
	var status payout.Status
	if err := p.env.GetWorkflowResult(&status); err != nil {
		return "", fmt.Errorf("no result: %w", err)
	}
	return status.State, p.judge(status)
}

// judge compares our end with the ledger, long after everything that could still happen at Pike.
func (p *chaosPike) judge(status payout.Status) error {
	p.core.Advance(p.env.Now().Add(30 * 24 * time.Hour))
	paid := 0
	for _, movement := range p.core.Ledger().Movements {
		if movement.Kind == pikesim.MovementPaid {
			paid++
		}
	}
	switch {
	case paid > 1:
		return fmt.Errorf("paid %d times", paid)
	case (status.State == payout.StateSucceeded) != (paid == 1):
		return fmt.Errorf("ended %s, paid %d times: %v", status.State, paid, status.Transitions)
	}
	return nil
}

// chaosPike is the simulator's core in the environment's time.
type chaosPike struct {
	env *testsuite.TestWorkflowEnvironment

	mu      sync.Mutex // activities and callbacks are goroutines of their own
	core    *pikesim.Core
	pumpDue time.Time
}

func newChaosPike(seed uint64, luck *rand.Rand) (*chaosPike, error) {
	var suite testsuite.WorkflowTestSuite
	suite.SetLogger(log.NewStructuredLogger(slog.New(slog.DiscardHandler)))
	p := &chaosPike{env: suite.NewTestWorkflowEnvironment()}
	p.env.SetStartWorkflowOptions(client.StartWorkflowOptions{ID: payout.WorkflowID("p1"), TaskQueue: payout.DefaultTaskQueue})
	p.env.SetTestTimeout(time.Minute)
	p.env.SetWorkflowRunTimeout(366 * 24 * time.Hour) // a payout that never ends is a failure, too
	worker.Register(p.env, activities.New(activities.Config{Pike: p, Runs: onlyRun{}}))
	p.env.OnWorkflow(payout.LateEventWorkflowType, mock.Anything, mock.Anything, mock.Anything).Return(payout.LateEventStatus{}, nil).Maybe()
	p.core = pikesim.NewCore(pikesim.Options{Webhooks: true, Rand: luck, Timing: pikesim.Timing{
		Checks: pick(luck, time.Second, time.Minute, 10*time.Minute), Processing: pick(luck, time.Second, time.Minute, 10*time.Minute),
	}})
	modes := pikesim.Modes{ // the least helpful Pike, half of the time
		SecondStart:     pick(luck, pikesim.SecondStartRefuse, pikesim.SecondStartAddPayout),
		SecondConfirm:   pick(luck, pikesim.SecondConfirmRefuse, pikesim.SecondConfirmPayAgain),
		IdempotencyKeys: pick(luck, pikesim.On, pikesim.Off),
	}
	p.disturb(luck)
	return p, errors.Join(p.core.SetModes(modes), p.core.SetChaos(chaosMix(seed)))
}

// chaosMix is the fault mix. Delays and lag of Pike add up to less than the
// settle delay: beyond that no repeat could be safe (docs/workflow.md).
func chaosMix(seed uint64) pikesim.Chaos {
	faults := map[pikesim.FaultKind]float64{
		pikesim.FaultNeverArrives: 0.04, pikesim.FaultWorksLater: 0.03, pikesim.FaultHTTP429: 0.02, pikesim.FaultUnknownCode: 0.02,
		pikesim.FaultLost: 0.05, pikesim.FaultCut: 0.02, pikesim.FaultHTML: 0.02, pikesim.FaultEmpty: 0.02, pikesim.FaultNoStatus: 0.02,
		pikesim.FaultHTTP500: 0.02, pikesim.FaultHTTP503: 0.02, pikesim.FaultUnknownWorked: 0.02,
	}
	chaos := pikesim.Chaos{
		Seed: seed,
		Faults: map[pikesim.Step]map[pikesim.FaultKind]float64{
			pikesim.StepCreate: faults, pikesim.StepStart: faults, pikesim.StepConfirm: faults, pikesim.StepCancel: faults, pikesim.StepStatus: faults,
		},
		Webhooks: map[pikesim.Webhooks]float64{pikesim.WebhooksLost: 0.2, pikesim.WebhooksDuplicated: 0.1, pikesim.WebhooksShuffled: 0.2, pikesim.WebhooksEarly: 0.1},
		Outcomes: map[pikesim.Outcome]float64{
			pikesim.OutcomeDeclinedAtChecks: 0.1, pikesim.OutcomeDeclinedAfterConfirm: 0.1, pikesim.OutcomeAutoConfirm: 0.05,
		},
		DeclineWith: map[pikesim.DeclineWith]float64{pikesim.DeclineErrorThenPaid: 0.3, pikesim.DeclineErrorThenCancelled: 0.3},
		Cancel:      map[pikesim.Cancel]float64{pikesim.CancelAnyTime: 0.3, pikesim.CancelPaid: 0.1},
		Balance:     map[pikesim.Balance]float64{pikesim.BalanceShortAtConfirm: 0.05, pikesim.BalanceShortAtEnd: 0.05},
		Lies:        map[pikesim.Lie]float64{pikesim.LiePaidWhilePending: 0.1, pikesim.LieFailedWhilePaid: 0.1},
		StatusLag:   0.3, MaxStatusLag: pikesim.Duration(60 * time.Second), MaxDelay: pikesim.Duration(25 * time.Second),
	}
	if seed%4 == 0 { // what Pike holds is not what was ordered; where it pays that by itself, only a person can end the payout
		chaos.TwoPayouts = 0.3
		chaos.Echo = map[pikesim.Echo]float64{
			pikesim.EchoAmount: 0.1, pikesim.EchoCurrency: 0.1, pikesim.EchoDestination: 0.1, pikesim.EchoRecipient: 0.1, pikesim.EchoMetadata: 0.1,
		}
		delete(chaos.Outcomes, pikesim.OutcomeAutoConfirm)
		delete(chaos.DeclineWith, pikesim.DeclineErrorThenPaid)
		delete(chaos.Cancel, pikesim.CancelPaid)
	}
	return chaos
}

// disturb lets people decide, cancel and forge at random times.
func (p *chaosPike) disturb(luck *rand.Rand) {
	for n := range luck.IntN(4) {
		decision := payout.DecideRequest{Decision: pick(luck, payout.DecisionConfirm, payout.DecisionCancel), By: "ann"}
		forged := pick(luck, payout.SignalReadyToConfirm, payout.SignalPaymentFinished)
		cancel, after := luck.IntN(8) == 0, time.Duration(luck.Int64N(int64(pick(luck, 10*time.Second, 10*time.Minute, 3*time.Hour))))
		p.env.RegisterDelayedCallback(func() {
			if p.env.IsWorkflowCompleted() {
				return
			}
			p.env.UpdateWorkflow(payout.UpdateDecide, fmt.Sprint("d", n), &updateResult{}, decision)
			p.env.SignalWorkflow(forged, payout.Event{Type: forged, SessionID: "ps_1"})
			if cancel {
				p.env.CancelWorkflow()
			}
		}, after)
	}
}

// call is one exchange with the core; what a real client could not read or trust is an error with its outcome.
func (p *chaosPike) call(method string, body any, key string) (pike.Session, error) {
	encoded, err := json.Marshal(body)
	if err != nil {
		return pike.Session{}, err
	}
	p.mu.Lock()
	now := p.env.Now()
	answer := p.core.Handle(now, pikesim.Call{Version: "v1", Method: method, Body: encoded, IdempotencyKey: key})
	p.mu.Unlock()
	p.pump()
	if answer.Lost || answer.Cut || answer.Delay > pike.MaxTimeout {
		return pike.Session{}, &pike.Error{Method: method, Outcome: pike.Unknown}
	}
	return pike.DecodeSession(method, answer.HTTPStatus, answer.Body)
}

// pump delivers the webhooks that are due, and comes again when the next ones are.
func (p *chaosPike) pump() {
	p.mu.Lock()
	now := p.env.Now()
	deliveries := p.core.Advance(now)
	for _, delivery := range deliveries {
		p.core.Delivered(now, delivery.ID, 200)
	}
	due, more := p.core.NextDue()
	schedule := more && (p.pumpDue.IsZero() || !p.pumpDue.After(now) || due.Before(p.pumpDue))
	if schedule {
		p.pumpDue = due
	}
	p.mu.Unlock()
	for _, delivery := range deliveries {
		p.deliver(delivery)
	}
	if schedule {
		p.env.RegisterDelayedCallback(p.pump, max(due.Sub(now), time.Millisecond))
	}
}

// deliver does what the gateway does with a genuine webhook.
func (p *chaosPike) deliver(delivery pikesim.Delivery) {
	signalled := delivery.Type == payout.SignalReadyToConfirm || delivery.Type == payout.SignalPaymentFinished
	if signalled {
		p.env.RegisterDelayedCallback(func() {
			if !p.env.IsWorkflowCompleted() {
				p.env.SignalWorkflow(delivery.Type, payout.Event{Type: delivery.Type, SessionID: delivery.SessionID})
			}
		}, 0)
	}
}

func (p *chaosPike) CreateSession(_ context.Context, request pike.CreateSessionRequest, key string) (pike.Session, error) {
	return p.call("session/create", map[string]any{"metadata": request.Metadata}, key)
}

func (p *chaosPike) StartPayout(_ context.Context, request pike.StartPayoutRequest, key string) (pike.Session, error) {
	return p.call("session/start/payout", map[string]any{
		"session_id": request.SessionID, "metadata": request.Metadata, "amount_details": request.AmountDetails,
		"participant_details": map[string]any{"recipient": request.Recipient},
		"payment_method": map[string]any{"type": "card", "card": map[string]any{
			"type": "tokenized_card", "tokenized_card": map[string]any{"token": request.Destination.CardToken},
		}},
	}, key)
}

func (p *chaosPike) ConfirmSession(_ context.Context, sessionID, key string) (pike.Session, error) {
	return p.call("session/confirm", map[string]any{"session_id": sessionID}, key)
}

func (p *chaosPike) CancelSession(_ context.Context, sessionID, key string) (pike.Session, error) {
	return p.call("session/cancel", map[string]any{"session_id": sessionID}, key)
}

func (p *chaosPike) SessionStatus(_ context.Context, sessionID string) (pike.Session, error) {
	return p.call("session/status", map[string]any{"session_id": sessionID}, "")
}

func pick[T any](luck *rand.Rand, values ...T) T { return values[luck.IntN(len(values))] }
