package main

import (
	"context"
	"iter"
	"strings"

	"github.com/spf13/cobra"

	"pikepayouts/codec"
	"pikepayouts/config"
	"pikepayouts/payout"
	"pikepayouts/starter"
)

// payouts is what the commands for payouts need of starter.Starter.
type payouts interface {
	Start(ctx context.Context, request payout.Request) (starter.Started, error)
	Get(ctx context.Context, payoutID string) (payout.Status, error)
	Wait(ctx context.Context, payoutID string) (payout.Status, error)
	Confirm(ctx context.Context, payoutID, by, reason string) (payout.Status, error)
	Cancel(ctx context.Context, payoutID, by, reason string) (payout.Status, error)
	Resolve(ctx context.Context, payoutID string, request payout.ResolveRequest) (payout.Status, error)
	GetLateEvent(ctx context.Context, id string) (payout.LateEventStatus, error)
	ResolveLateEvent(ctx context.Context, id string, request payout.ResolveRequest) (payout.LateEventStatus, error)
	List(ctx context.Context, filter starter.Filter) iter.Seq2[starter.Summary, error]
}

const callerHelp = `Temporal is found by TEMPORAL_ADDRESS and the other TEMPORAL_* variables; PAYOUTS_TASK_QUEUE is the workers' task queue (default payouts),
PAYOUTS_ENCRYPTION_KEYSET_FILE their keyset, if they have one.`

// withPayouts calls do with a connection to Temporal, unless the app came with its own.
func (a *app) withPayouts(ctx context.Context, do func(payouts) error) error {
	if a.payouts != nil {
		return do(a.payouts)
	}
	caller, err := config.LoadCaller(ctx, a.lookuper)
	if err != nil {
		return err //nolint:wrapcheck // it says everything, one line per variable
	}
	codec.Use(&caller.Temporal, caller.Keyset)
	traces, err := newTraces(ctx, caller.Traces, "payouts-cli", quietLogger())
	if err != nil {
		return err
	}
	defer traces.Stop(ctx)
	caller.Temporal.Interceptors = traces.Interceptors()
	temporal, err := dialTemporal(ctx, caller.Temporal, quietLogger())
	if err != nil {
		return err
	}
	defer temporal.Close()
	return do(starter.New(temporal, starter.Options{TaskQueue: caller.TaskQueue, DataConverter: caller.Temporal.DataConverter}))
}

// oneID is the argument of the commands for one payout or late event.
func oneID(command *cobra.Command, args []string) error {
	switch {
	case len(args) != 1 || !strings.HasPrefix(args[0], payout.LateEventIDPrefix):
		return onePayoutID(command, args)
	case !payout.IsLateEventWorkflowID(args[0]):
		return usagef("late event id: must be %s<session>/<64 hex digits>; payouts list --attention any shows it", payout.LateEventIDPrefix)
	}
	return nil
}

// onePayoutID is the argument of the commands for one payout.
func onePayoutID(command *cobra.Command, args []string) error {
	if len(args) != 1 {
		return usagef("%s takes one payout id, not %d arguments", command.CommandPath(), len(args))
	}
	if !payout.ValidID(args[0]) {
		return usagef("payout id: %s", payout.IDRule)
	}
	return nil
}
