package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"pikepayouts/starter"
)

const demoHelp = `Start everything on this machine (a Temporal server with its Web UI, a worker, the webhook
gateway and a simulated Pike), pay a few payouts to their ends and show how each gets there.
Nothing leaves this machine, no money moves. Ctrl-C stops it all.

With --keep it all goes on running, for payouts of your own; Temporal then keeps its history in the folder.

It needs the Temporal CLI: --temporal, else PAYOUTS_TEMPORAL_BIN, "temporal" beside this
program, bin/temporal (make temporal), or the one on PATH.`

type demoOptions struct {
	folder, temporal string
	keep             bool
}

func (a *app) demoCommand() *cobra.Command {
	var o demoOptions
	command := &cobra.Command{
		Use: "demo", Short: "See the whole service work, on this machine alone", Long: demoHelp, Args: usage(cobra.NoArgs),
		Example: `  payouts demo
  payouts demo --keep`,
		RunE: func(command *cobra.Command, _ []string) error { return a.demo(command.Context(), o) },
	}
	flags := command.Flags()
	flags.StringVar(&o.folder, "dir", ".dev", "folder for keys and logs")
	flags.StringVar(&o.temporal, "temporal", "", "the Temporal CLI to use")
	flags.BoolVar(&o.keep, "keep", false, "keep everything running until Ctrl-C")
	return command
}

const (
	demoProject = "demo"
	// demoKeyBits is less than keygen's default: the first run should not wait for keys that protect nothing.
	demoKeyBits = 2048
	// demoTime is many times what the payouts need on a slow machine.
	demoTime = 3 * time.Minute
)

// demo runs the stack and the payouts. Everything that it started has ended when it returns.
func (a *app) demo(ctx context.Context, o demoOptions) error {
	binary, err := a.temporalBinary(o.temporal)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(o.folder, keyFolderMode); err != nil {
		return fmt.Errorf("making the demo's folder: %w", err)
	}
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	stack, err := a.startStack(ctx, o, binary, fail)
	if err == nil {
		err = a.useStack(ctx, stack, o)
	}
	// The cause is why the context ended: one part that broke, else Ctrl-C.
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		err = cause
	} else if cause != nil && err != nil {
		err = errors.New("interrupted")
	}
	_ = write(a.stdout, "\nStopping.\n")
	stack.stop()
	return err
}

func (a *app) useStack(ctx context.Context, stack *demoStack, o demoOptions) error {
	if err := write(a.stdout, fmt.Sprintf("\nWeb UI: %s\n\n", stack.webUI())); err != nil {
		return err
	}
	if err := a.payDemoPayouts(ctx, stack); err != nil {
		return err
	}
	if !o.keep {
		return write(a.stdout, fmt.Sprintf("\nThe Web UI was %s; `make dev` does the same and keeps it running.\n", stack.webUI()))
	}
	if err := write(a.stdout, stack.instructions(o.folder)); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// payDemoPayouts is an error unless every payout ends as it should, in our eyes and in Pike's.
func (a *app) payDemoPayouts(ctx context.Context, stack *demoStack) error {
	options := stack.callerOptions()
	temporal, err := dialTemporal(ctx, options, quietLogger())
	if err != nil {
		return err
	}
	defer temporal.Close()
	ctx, cancel := context.WithTimeout(ctx, demoTime)
	defer cancel()
	show := &demoScreen{app: a, palette: a.palette(), begin: time.Now()}
	outcomes, err := payAll(ctx, starter.New(temporal, starter.Options{DataConverter: options.DataConverter}), demoPayouts(time.Now()), show)
	if err != nil {
		return err
	}
	wrong := 0
	for i := range outcomes {
		outcomes[i].paidByPike = len(stack.simulator.Ledger().Of(outcomes[i].request.PayoutID).Movements)
		if !outcomes[i].asExpected() {
			wrong++
		}
	}
	if err := write(a.stdout, "\n"+outcomeTable(show.palette, outcomes)); err != nil {
		return err
	}
	if wrong > 0 {
		return fmt.Errorf("%d of %d payouts did not end as expected", wrong, len(outcomes))
	}
	return nil
}

// temporalBinary finds the Temporal CLI.
func (a *app) temporalBinary(given string) (string, error) {
	if given == "" {
		given, _ = a.lookuper.Lookup("PAYOUTS_TEMPORAL_BIN")
	}
	if given != "" {
		return existing(given)
	}
	candidates := []string{filepath.Join("bin", "temporal")}
	if self, err := os.Executable(); err == nil {
		candidates = append([]string{filepath.Join(filepath.Dir(self), "temporal")}, candidates...)
	}
	for _, candidate := range candidates {
		if found, err := existing(candidate); err == nil {
			return found, nil
		}
	}
	return onPath("temporal")
}
