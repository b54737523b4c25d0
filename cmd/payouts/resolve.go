package main

import (
	"strings"

	"github.com/spf13/cobra"

	"pikepayouts/payout"
)

func (a *app) resolveCommand() *cobra.Command {
	request := payout.ResolveRequest{}
	var format outputFormat
	command := &cobra.Command{
		Use:   "resolve ID --action recheck|close_paid|close_not_paid",
		Short: "Act on a payout or a late event that has attention raised",
		Long: `Act on a payout that has attention raised, or on a late event (see payouts list --attention any).
Pike is asked first in any case: recheck does only that. close_paid and close_not_paid end the payout on
your word, with reason and evidence for the record, unless Pike's fresh status says the opposite or does not come.
Of a late event they record what became of the money; the payout, which has ended, stays as it is.

` + callerHelp,
		Example: `  payouts resolve inv-1042 --action recheck
  payouts resolve inv-1042 --action close_not_paid --reason "Pike support settled it" --evidence "ticket 4711"`,
		Args: oneID,
		RunE: func(command *cobra.Command, args []string) error {
			if !command.Flags().Changed("by") {
				request.By = operator()
			}
			if err := request.Validate(); err != nil {
				return usagef("--%s", strings.ReplaceAll(err.Error(), ", ", ", --"))
			}
			return a.withPayouts(command.Context(), func(p payouts) error {
				if payout.IsLateEventWorkflowID(args[0]) {
					status, err := p.ResolveLateEvent(command.Context(), args[0], request)
					if err != nil {
						return err
					}
					return a.writeLateEvent(status, format)
				}
				status, err := p.Resolve(command.Context(), args[0], request)
				if err != nil {
					return err
				}
				return a.writeStatus(status, format)
			})
		},
	}
	command.Flags().StringVar(&request.Action, "action", "", "recheck, close_paid or close_not_paid")
	command.Flags().StringVar(&request.By, "by", "", "who resolves (default: the user of this machine)")
	command.Flags().StringVar(&request.Reason, "reason", "", "why, for the record; no card or personal data")
	command.Flags().StringVar(&request.Evidence, "evidence", "", "where it is known from, needed to close: a ticket, a bank statement")
	format.addFlag(command)
	return command
}
