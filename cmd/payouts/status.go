package main

import (
	"time"

	"github.com/spf13/cobra"

	"pikepayouts/payout"
)

func (a *app) statusCommand() *cobra.Command {
	command := &cobra.Command{
		Use:   "status ID",
		Short: "Show where a payout stands",
		Long:  "Show where a payout stands, and how it came there. Running payouts need a worker to answer; ended ones do not.\n\n" + callerHelp,
		Example: `  payouts status inv-1042
  payouts status inv-1042 -o json | jq -r .state`,
		Args: onePayoutID,
	}
	var format outputFormat
	format.addFlag(command)
	command.RunE = func(command *cobra.Command, args []string) error {
		return a.withPayouts(command.Context(), func(p payouts) error {
			status, err := p.Get(command.Context(), args[0])
			if err != nil {
				return err //nolint:wrapcheck // starter says what it was doing
			}
			return a.writeStatus(status, format)
		})
	}
	return command
}

func (a *app) writeStatus(status payout.Status, format outputFormat) error {
	return a.print(format, status, func(p *printer) { printStatus(p, status, time.Now()) })
}
