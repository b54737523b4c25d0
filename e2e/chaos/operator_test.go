package chaos

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"pikepayouts/payout"
	"pikepayouts/pikesim"
	"pikepayouts/starter"
)

// List filters of Temporal.
const (
	isOpen   = "ExecutionStatus = 'Running'"
	hasEnded = "ExecutionStatus != 'Running'"
)

// operator is the person who looks at payouts with attention raised. Like a good one, it first lets
// the payout look again, and closes only what Pike's support (the ledger) is sure of.
type operator struct {
	stack     *stack
	rechecked map[string]bool
	accepted  map[string]int    // resolves, by action
	refused   map[string]string // the last refusal by payout
	last      problem           // what was open last: it says why the recovery took its time
}

func newOperator(s *stack) *operator {
	return &operator{stack: s, rechecked: map[string]bool{}, accepted: map[string]int{}, refused: map[string]string{}}
}

// waitForQuiet works until every payout has ended and Pike has nothing left to do.
// It returns what is still open if the time is over before.
func (o *operator) waitForQuiet(ctx context.Context) []problem {
	for {
		open, err := o.round(ctx)
		if err == nil && len(open) == 0 {
			return nil
		}
		if len(open) > 0 {
			o.last = open[0]
		}
		if !pause(ctx, time.Second) {
			if err != nil {
				return append(open, problem{text: fmt.Sprintf("waiting for quiet: %v", err)})
			}
			return open
		}
	}
}

// round goes once over everything that is open.
func (o *operator) round(ctx context.Context) ([]problem, error) {
	sessions, err := o.stack.pike.sessions(ctx)
	if err != nil {
		return nil, err
	}
	var open []problem
	for summary, err := range o.stack.starter.List(ctx, starter.Filter{Query: isOpen}) {
		if err != nil {
			return open, err //nolint:wrapcheck // it says that listing failed
		}
		open = append(open, problem{summary.PayoutID, fmt.Sprintf("still open: %s, attention %q; last refusal of a resolve: %q",
			summary.State, summary.Attention, o.refused[summary.PayoutID])})
		if summary.Attention != "" {
			if err := o.resolve(ctx, summary, sessions); err != nil {
				return open, err
			}
		}
	}
	late, err := o.lateEvents(ctx, sessions)
	if err != nil {
		return open, err
	}
	open = append(open, late...)
	for id, session := range sessions {
		if !settled(session) {
			open = append(open, problem{metadataOf(session.Metadata), fmt.Sprintf("Pike is not done with session %s: %s/%s", id, session.Status, session.PayoutStatus)})
		}
	}
	return open, nil
}

// resolve waits with what Pike may still settle by itself. What is refused is tried again in the next round.
func (o *operator) resolve(ctx context.Context, summary starter.Summary, sessions map[string]pikesim.SessionSummary) error {
	session, known := sessions[summary.SessionID]
	if known && !settled(session) {
		return nil
	}
	request := payout.ResolveRequest{Action: payout.ResolveRecheck, By: "ann", Reason: "Pike's support says so", Evidence: "the ledger"}
	if o.rechecked[summary.PayoutID] && known {
		ledger, err := o.stack.pike.ledgerOf(ctx, summary.PayoutID)
		if err != nil {
			return err
		}
		request.Action = payout.ResolveCloseNotPaid
		if paidBy(ledger) > 0 {
			request.Action = payout.ResolveClosePaid
		}
	}
	if _, err := o.stack.starter.Resolve(ctx, summary.PayoutID, request); err != nil {
		o.refused[summary.PayoutID] = err.Error()
		if errors.Is(err, starter.ErrResolveRefused) || errors.Is(err, starter.ErrNoWorker) {
			return nil
		}
		return err //nolint:wrapcheck // it names the payout
	}
	o.rechecked[summary.PayoutID] = true
	o.accepted[request.Action]++
	return nil
}

// lateEvents looks at the late events that are open, and closes those with attention as the ledger says.
func (o *operator) lateEvents(ctx context.Context, sessions map[string]pikesim.SessionSummary) ([]problem, error) {
	count, err := o.stack.count(ctx, payout.LateEventWorkflowType, isOpen)
	if err != nil || count == 0 {
		return nil, err
	}
	open := []problem{{text: fmt.Sprintf("%d late events are open", count)}}
	filter := starter.Filter{Attention: payout.AttentionLateEvent, Query: isOpen}
	for summary, err := range o.stack.starter.List(ctx, filter) {
		if err != nil {
			return open, err //nolint:wrapcheck // it says that listing failed
		}
		if err := o.resolveLate(ctx, summary, sessions[summary.SessionID]); err != nil {
			return open, err
		}
	}
	return open, nil
}

func (o *operator) resolveLate(ctx context.Context, summary starter.Summary, session pikesim.SessionSummary) error {
	if session.Status != "" && !settled(session) {
		return nil
	}
	ledger, err := o.stack.pike.ledgerOf(ctx, metadataOf(session.Metadata))
	if err != nil {
		return err
	}
	request := payout.ResolveRequest{Action: payout.ResolveCloseNotPaid, By: "ann", Reason: "Pike's support says so", Evidence: "the ledger"}
	if paidBy(ledger) > 0 {
		request.Action = payout.ResolveClosePaid
	}
	_, err = o.stack.starter.ResolveLateEvent(ctx, summary.LateEvent, request)
	switch {
	case errors.Is(err, starter.ErrResolveRefused), errors.Is(err, starter.ErrNoWorker):
		return nil
	case err != nil:
		return err //nolint:wrapcheck // it names the late event
	}
	o.accepted["late event "+request.Action]++
	return nil
}

// paidBy counts the movements to the card.
func paidBy(ledger pikesim.Ledger) int {
	return len(slices.DeleteFunc(slices.Clone(ledger.Movements), func(m pikesim.Movement) bool { return m.Kind != pikesim.MovementPaid }))
}
