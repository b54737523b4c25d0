package main

import (
	"time"

	"github.com/spf13/cobra"

	"pikepayouts/payout"
)

func (a *app) statusCommand() *cobra.Command {
	command := &cobra.Command{
		Use:   "status ID",
		Short: "Show where a payout or a late event stands",
		Long: `Show where a payout stands and how it came there, what happens next, and what you can do; or a late event,
by the id that payouts list shows: a webhook that no open payout took. Running ones need a worker to answer; ended ones do not.

` + callerHelp,
		Example: `  payouts status inv-1042
  payouts status inv-1042 -o json | jq -r .state`,
		Args: oneID,
	}
	var format outputFormat
	format.addFlag(command)
	command.RunE = func(command *cobra.Command, args []string) error {
		return a.withPayouts(command.Context(), func(p payouts) error {
			if payout.IsLateEventWorkflowID(args[0]) {
				status, err := p.GetLateEvent(command.Context(), args[0])
				if err != nil {
					return err //nolint:wrapcheck // starter says what it was doing
				}
				return a.writeLateEvent(status, format)
			}
			status, err := p.Get(command.Context(), args[0])
			if err != nil {
				return err //nolint:wrapcheck // starter says what it was doing
			}
			return a.writeStatus(status, format)
		})
	}
	return command
}

// writeStatus shows a status: facts, then the transitions.
func (a *app) writeStatus(status payout.Status, format outputFormat) error {
	return a.print(format, status, func(p *printer) { printStatus(p, status, time.Now()) })
}

func (a *app) writeFacts(status payout.Status, format outputFormat) error {
	return a.print(format, status, func(p *printer) { printFacts(p, status.Facts(atFrom(time.Now()))) })
}

func (a *app) writeLateEvent(status payout.LateEventStatus, format outputFormat) error {
	return a.print(format, status, func(p *printer) { printFacts(p, status.Facts(atFrom(time.Now()))) })
}
