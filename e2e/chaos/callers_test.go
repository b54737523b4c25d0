package chaos

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"go.temporal.io/api/serviceerror"

	"pikepayouts/payout"
	"pikepayouts/starter"
)

// callers start payouts and meddle with them, as services and people do: what
// fails is tried again, until it is done or refused.
type callers struct {
	stack *stack
	seed  uint64
	busy  sync.WaitGroup

	mu       sync.Mutex // guards what follows
	started  []order    // those that Temporal has acknowledged
	problems []problem
}

// call starts orders at the rate until ctx ends. Each caller goes on until patience ends.
func (c *callers) call(ctx, patience context.Context, rate float64) {
	for n := uint64(1); pause(ctx, time.Duration(float64(time.Second)/rate)); n++ {
		c.busy.Go(func() { c.carryOut(patience, orderOf(c.seed, n)) })
	}
}

func (c *callers) carryOut(ctx context.Context, o order) {
	if err := c.start(ctx, o); err != nil {
		c.complain(o, "could not be started: %v", err)
		return
	}
	c.mu.Lock()
	c.started = append(c.started, o)
	c.mu.Unlock()
	if o.meddler.does == nothing || !pause(ctx, o.meddler.after) {
		return
	}
	if err := insist(ctx, func() error { return c.meddle(ctx, o) }); err != nil {
		c.complain(o, "%s %s after its start: %v", o.meddler.does, o.meddler.after, err)
	}
}

func (c *callers) start(ctx context.Context, o order) error {
	if o.behaviour != nil {
		if err := c.stack.pike.behave(ctx, o.request.PayoutID, *o.behaviour); err != nil {
			return err
		}
	}
	return insist(ctx, func() error {
		_, err := c.stack.starter.Start(ctx, o.request)
		return err //nolint:wrapcheck // it names the payout
	})
}

// meddle is nil if it was done, or came too late.
func (c *callers) meddle(ctx context.Context, o order) error {
	var err error
	id := o.request.PayoutID
	switch o.meddler.does {
	case confirms:
		_, err = c.stack.starter.Confirm(ctx, id, "ann", "")
	case cancels:
		_, err = c.stack.starter.Cancel(ctx, id, "ann", "")
	case cancelsInTemporal:
		err = c.stack.client.CancelWorkflow(ctx, payout.WorkflowID(id), "")
		var ended *serviceerror.NotFound // or never started: the judge would miss it
		if errors.As(err, &ended) {
			return nil
		}
	}
	if errors.Is(err, starter.ErrDecisionRefused) {
		return nil
	}
	return err //nolint:wrapcheck // it names the payout
}

// insist tries until there is no error, or one that will stay.
func insist(ctx context.Context, try func() error) error {
	for {
		err := try()
		if err == nil || errors.Is(err, starter.ErrConflict) || errors.Is(err, starter.ErrNotFound) {
			return err
		}
		if !pause(ctx, 500*time.Millisecond) {
			return fmt.Errorf("%w; the last try: %w", ctx.Err(), err)
		}
	}
}

func (c *callers) complain(o order, format string, values ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.problems = append(c.problems, problem{o.request.PayoutID, fmt.Sprintf(format, values...)})
}

// orders are those that were started so far.
func (c *callers) orders() []order {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.started)
}
