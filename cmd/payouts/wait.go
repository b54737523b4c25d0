package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"pikepayouts/payout"
)

// watchInterval is how often a live display asks for news.
const watchInterval = 500 * time.Millisecond

func (a *app) waitCommand() *cobra.Command {
	var timeout time.Duration
	command := &cobra.Command{
		Use:   "wait ID",
		Short: "Wait until a payout has ended",
		Long: `Wait until a payout has ended, and show its end. On a terminal its changes of state show as they happen.
Exit code 0: succeeded; 3: failed or cancelled; 1: not known, as after --timeout.

` + callerHelp,
		Example: `  payouts wait inv-1042
  payouts wait inv-1042 --timeout 10m -o json`,
		Args: onePayoutID,
	}
	command.Flags().DurationVar(&timeout, "timeout", 0, "wait no longer than this; the payout goes on (default: no limit)")
	var format outputFormat
	format.addFlag(command)
	command.RunE = func(command *cobra.Command, args []string) error {
		if timeout < 0 {
			return usagef("--timeout: must be a positive duration")
		}
		ctx := command.Context()
		if timeout > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, timeout)
			defer cancel()
		}
		return a.withPayouts(ctx, func(p payouts) error { return a.wait(ctx, p, args[0], format) })
	}
	return command
}

// wait shows the end of a payout; errNotPaid if it is not the hoped-for one.
func (a *app) wait(ctx context.Context, p payouts, payoutID string, format outputFormat) error {
	live := format == formatText && isTerminal(a.stdout)
	stop := func(payout.Status) {}
	if live {
		stop = a.showTransitions(ctx, p, payoutID)
	}
	status, err := p.Wait(ctx, payoutID)
	stop(status)
	if err != nil {
		return stillRunning(ctx, payoutID, err)
	}
	show := a.writeStatus
	if live {
		show = a.writeFacts // the transitions stand above
	}
	if err := show(status, format); err != nil {
		return err
	}
	if status.State != payout.StateSucceeded {
		return errNotPaid
	}
	return nil
}

func stillRunning(ctx context.Context, payoutID string, err error) error {
	if ctx.Err() == nil {
		return err
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("payout %s has not ended in time; it goes on", payoutID)
	}
	return fmt.Errorf("stopped waiting; payout %s goes on", payoutID)
}

// showTransitions prints changes of state as they happen. The function that it
// returns ends that and prints those of the end. Failed reads are skipped: the
// wait itself reports what matters.
func (a *app) showTransitions(ctx context.Context, p payouts, payoutID string) (stop func(end payout.Status)) {
	ctx, cancel := context.WithCancel(ctx)
	shown := 0
	show := func(status payout.Status) {
		if len(status.Transitions) > shown {
			_ = write(a.stdout, transitionsText(a.palette(), status.Transitions[shown:]))
			shown = len(status.Transitions)
		}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			if status, err := p.Get(ctx, payoutID); err == nil {
				show(status)
			}
			select {
			case <-ctx.Done():
			case <-time.After(watchInterval):
			}
		}
	}()
	return func(end payout.Status) {
		cancel()
		<-done
		show(end)
	}
}
