package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"pikepayouts/config"
	"pikepayouts/payout"
	"pikepayouts/pike"
)

func (a *app) tokenInfoCommand() *cobra.Command {
	var token, numberHash, recurrentToken string
	var format outputFormat
	command := &cobra.Command{
		Use: "token-info", Short: "Ask Pike which card a token stands for", Args: usage(cobra.NoArgs),
		Long: `Ask Pike for brand and last digits of a card. It starts no payout.

What is on a command line shows in the process list: give tokens as @file.
Do not store the last digits beside a number hash: together they give the card number away.

Environment: PIKE_BASE_URL, PIKE_PROJECT, PIKE_PRIVATE_KEY_FILE and the other PIKE_* variables of payouts worker.`,
		Example: `  payouts token-info --token @token.txt
  payouts token-info --number-hash @hash.txt -o json`,
	}
	flags := command.Flags()
	flags.StringVar(&token, "token", "", "card token, @file, or @- for standard input")
	flags.StringVar(&numberHash, "number-hash", "", "card number hash of Pike's widget, @file, or @- for standard input")
	flags.StringVar(&recurrentToken, "recurrent-token", "", "token for recurring payouts, @file, or @- for standard input")
	format.addFlag(command)
	command.RunE = func(command *cobra.Command, _ []string) error {
		destination, err := a.destination(token, numberHash, recurrentToken)
		if err != nil {
			return err
		}
		settings, err := config.LoadTokenInfo(command.Context(), a.lookuper)
		if err != nil {
			return err //nolint:wrapcheck // it says everything, one line per variable
		}
		provider, err := newPikeClient(settings.Pike)
		if err != nil {
			return err
		}
		info, err := provider.TokenInfo(command.Context(), pike.TokenInfoRequest{Destination: pikeDestination(destination)})
		if err != nil {
			return fmt.Errorf("asking Pike for the card: %w", err)
		}
		return a.print(format, info, func(p *printer) {
			p.fact("Type", clean(info.Type))
			p.fact("Brand", clean(info.Brand))
			p.fact("Last digits", clean(info.Last4))
		})
	}
	return command
}

func pikeDestination(d payout.Destination) pike.Destination {
	switch {
	case d.TokenizedCard != nil:
		return pike.Destination{CardToken: d.Value()}
	case d.EncryptedCard != nil:
		return pike.Destination{CardNumberHash: d.Value()}
	}
	return pike.Destination{RecurrentToken: d.Value()}
}
