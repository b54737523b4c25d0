package e2e

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"

	"pikepayouts/activities"
	"pikepayouts/payout"
	"pikepayouts/pike"
	"pikepayouts/pikesim"
	"pikepayouts/worker"
)

// heldPike is Pike's client that lets a test keep single answers back: Pike has done the work, and the caller never learns.
type heldPike struct {
	activities.Pike
	mu   sync.Mutex
	held map[string]*heldAnswer // by idempotency key
}

type heldAnswer struct {
	arrived chan struct{} // closed once Pike has done the work
	lost    chan struct{} // closed by the test: now the caller gets an unknown outcome
}

// startHoldingWorker starts a worker whose answers from Pike the test may hold.
func (s *stack) startHoldingWorker() *heldPike {
	s.t.Helper()
	h := &heldPike{Pike: s.pikeClient(pike.V1), held: map[string]*heldAnswer{}}
	w := worker.New(shared.temporal, s.workerOptions(h))
	require.NoError(s.t, w.Start())
	s.t.Cleanup(w.Stop)
	return h
}

// hold holds the answer to the next call with the key, which names payout and call.
func (h *heldPike) hold(key string) *heldAnswer {
	h.mu.Lock()
	defer h.mu.Unlock()
	answer := &heldAnswer{arrived: make(chan struct{}), lost: make(chan struct{})}
	h.held[key] = answer
	return answer
}

func (h *heldPike) take(key string) *heldAnswer {
	h.mu.Lock()
	defer h.mu.Unlock()
	answer := h.held[key]
	delete(h.held, key)
	return answer
}

func (h *heldPike) answered(ctx context.Context, key string, session pike.Session, err error) (pike.Session, error) {
	answer := h.take(key)
	if answer == nil || err != nil {
		return session, err
	}
	close(answer.arrived)
	select {
	case <-answer.lost:
	case <-ctx.Done():
	}
	return pike.Session{}, &pike.Error{Method: key, Outcome: pike.Unknown}
}

func (h *heldPike) StartPayout(ctx context.Context, request pike.StartPayoutRequest, key string) (pike.Session, error) {
	session, err := h.Pike.StartPayout(ctx, request, key)
	return h.answered(ctx, key, session, err)
}

func (h *heldPike) ConfirmSession(ctx context.Context, sessionID, key string) (pike.Session, error) {
	session, err := h.Pike.ConfirmSession(ctx, sessionID, key)
	return h.answered(ctx, key, session, err)
}

func (a *heldAnswer) wait(t *testing.T) {
	t.Helper()
	select {
	case <-a.arrived:
	case <-time.After(3 * time.Minute):
		require.Fail(t, "Pike never got the call")
	}
}

// operatorAct is what an operator does with `temporal activity`: running while the call is in flight, waiting once
// its answer is lost and Temporal has the activity wait to be run again.
type operatorAct struct {
	name             string
	running, waiting [][]string
}

// operatorActs end in an activity that runs again, in some as its first attempt.
func operatorActs() []operatorAct {
	type commands = [][]string
	moreAttempts := []string{"update-options", "--retry-maximum-attempts", "5"}
	muchLater := slices.Concat(moreAttempts, []string{"--retry-initial-interval", "1h", "--retry-maximum-interval", "1h"})
	return []operatorAct{
		{"more attempts", commands{moreAttempts}, nil},
		{"reset in flight", commands{{"reset"}}, nil},
		{"more attempts, reset in flight", commands{moreAttempts, {"reset"}}, nil},
		{"more attempts, reset", commands{muchLater}, commands{{"reset"}}},
		{"more attempts, reset with heartbeats", commands{muchLater}, commands{{"reset", "--reset-attempts", "--reset-heartbeats"}}},
		{"pause, unpause", commands{{"pause"}}, commands{{"unpause"}}},
		{"pause, unpause with attempts reset", commands{{"pause"}}, commands{{"unpause", "--reset-attempts"}}},
		{"pause, reset", commands{{"pause"}}, commands{{"reset"}}},
	}
}

// TestAnOperatorRepeatsAMoneyActivity: with `temporal activity` an operator can have an activity of one attempt run again, even
// as its first attempt, though Pike has the call and only its status does not show it yet. Nothing is sent twice (hazard A12, F50).
func TestAnOperatorRepeatsAMoneyActivity(t *testing.T) {
	t.Parallel()
	s := newStack(t, stackOptions{noWorker: true, keysOff: true})
	h := s.startHoldingWorker()
	var cells []*repeatedCall
	for _, act := range operatorActs() {
		for _, call := range []*repeatedCall{{name: "start", activityType: "StartPayout"}, {name: "confirm", activityType: "ConfirmSession"}} {
			call.r = order(t, pikesim.PresetConfirmed)
			s.repeat(h.hold(call.r.PayoutID+"/"+call.name), call, act)
			call.name += ", " + act.name
			cells = append(cells, call)
		}
	}
	s.control("modes", leastHelpful)
	for _, cell := range cells { // side by side they wait for what settles them
		t.Run(cell.name, func(t *testing.T) {
			s := s.in(t)
			cell.end = s.wait(cell.r)
			require.Equal(t, payout.StateSucceeded, cell.end.State)
			require.Empty(t, attention(cell.end))
			require.Equal(t, 1, s.calls(cell.r, "session/start/payout"))
			require.Equal(t, 1, s.calls(cell.r, "session/confirm"))
		})
	}
	for _, cell := range cells { // nothing has moved since
		s.agreesWithLedger(cell.r, cell.end)
	}
}

// repeatedCall is a payout of which an operator has one activity repeated.
type repeatedCall struct {
	name, activityType string
	r                  payout.Request
	end                payout.Status
}

// repeat brings a payout to the call, loses its answer, and lets the operator act.
func (s *stack) repeat(answer *heldAnswer, call *repeatedCall, act operatorAct) {
	s.t.Helper()
	s.control("modes", leastHelpful)
	s.start(call.r)
	answer.wait(s.t)
	s.operate(call, act.running)
	s.control("modes", strings.TrimSuffix(leastHelpful, "}")+`,"status_lag":"1m"}`)
	close(answer.lost)
	if act.waiting != nil {
		s.eventuallyPending(call.r, enumspb.PENDING_ACTIVITY_STATE_SCHEDULED, enumspb.PENDING_ACTIVITY_STATE_PAUSED)
		s.operate(call, act.waiting)
	}
	s.eventuallyPending(call.r, noActivity)
}

// operate does what an operator does to a pending activity of the payout, with Temporal's own tool.
func (s *stack) operate(call *repeatedCall, commands [][]string) {
	s.t.Helper()
	for _, command := range commands {
		pending := s.pendingActivity(call.r)
		require.Equal(s.t, call.activityType, pending.GetActivityType().GetName())
		arguments := append([]string{"activity", command[0], "--workflow-id", payout.WorkflowID(call.r.PayoutID), "--activity-id", pending.GetActivityId()}, command[1:]...)
		temporalCLI(s.t, arguments...)
	}
}

const noActivity = enumspb.PENDING_ACTIVITY_STATE_UNSPECIFIED

// eventuallyPending waits until the payout's activity is in one of the states.
func (s *stack) eventuallyPending(r payout.Request, states ...enumspb.PendingActivityState) {
	s.t.Helper()
	require.Eventually(s.t, func() bool { return slices.Contains(states, s.pendingActivity(r).GetState()) }, time.Minute, 20*time.Millisecond)
}
