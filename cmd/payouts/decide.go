package main

import (
	"context"
	"os/user"

	"github.com/spf13/cobra"

	"pikepayouts/payout"
)

func (a *app) confirmCommand() *cobra.Command {
	command := &cobra.Command{
		Use:   "confirm ID",
		Short: "Decide that a payout may be paid",
		Long: `Decide that a payout whose policy says "manual" may be paid. There is no way back.
The same decision by the same person again changes nothing; with --approvals 2 a second person must confirm.

` + callerHelp,
		Example: `  payouts confirm inv-1042 --reason "checked against the invoice"
  payouts confirm inv-1042 --by ann@example.com -o json`,
	}
	return a.decision(command, payout.DecisionConfirm, payouts.Confirm)
}

func (a *app) cancelCommand() *cobra.Command {
	command := &cobra.Command{
		Use:   "cancel ID",
		Short: "Decide that a payout must not be paid",
		Long: `Decide that a payout must not be paid. It works until the payout is confirmed; later it is refused (exit code 1).

` + callerHelp,
		Example: `  payouts cancel inv-1042 --reason "customer withdrew"
  payouts cancel inv-1042 --by ann@example.com -o json`,
	}
	return a.decision(command, payout.DecisionCancel, payouts.Cancel)
}

type decide func(p payouts, ctx context.Context, payoutID, by, reason string) (payout.Status, error)

func (a *app) decision(command *cobra.Command, decision string, decide decide) *cobra.Command {
	var by, reason string
	command.Args = onePayoutID
	command.Flags().StringVar(&by, "by", "", "who decides (default: the user of this machine)")
	command.Flags().StringVar(&reason, "reason", "", "why, for the record; Temporal keeps it, so no card or personal data")
	var format outputFormat
	format.addFlag(command)
	command.RunE = func(command *cobra.Command, args []string) error {
		if !command.Flags().Changed("by") {
			by = operator()
		}
		if err := (payout.DecideRequest{Decision: decision, By: by, Reason: reason}).Validate(); err != nil {
			return usagef("--%w", err)
		}
		return a.withPayouts(command.Context(), func(p payouts) error {
			status, err := decide(p, command.Context(), args[0], by, reason)
			if err != nil {
				return err
			}
			return a.writeStatus(status, format)
		})
	}
	return command
}

// operator is the name of the OS user, "" if the machine knows none, as in a minimal container.
func operator() string {
	current, err := user.Current()
	if err != nil {
		return ""
	}
	return current.Username
}
