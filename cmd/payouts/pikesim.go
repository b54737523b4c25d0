package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"pikepayouts/config"
	"pikepayouts/pikesim"
)

const simulatorHelp = `Stand in for Pike: check signatures, keep sessions and a ledger in memory, send signed
webhooks. It moves no money. The card token of a payout says what happens to it
("payouts pikesim presets" lists them); POST /_sim/behaviour and GET /_sim/ledger
steer and show it, from this machine only. PAYOUTS_LOG_LEVEL=debug
logs every call and webhook, without their bodies; PAYOUTS_LOG_FORMAT is json or text.`

// simulatorOptions are the flags of `payouts pikesim`.
type simulatorOptions struct {
	addr, project, signingKey, webhookURL string
	partnerKeys                           []string
	scale                                 float64
	seed                                  uint64
}

func (a *app) simulatorCommand() *cobra.Command {
	var o simulatorOptions
	command := &cobra.Command{
		Use: "pikesim", Short: "Stand in for Pike, for tests and first steps", Long: simulatorHelp, Args: usage(cobra.NoArgs),
		Example: `  payouts keygen --out keys --name partner && payouts keygen --out keys --name pike
  payouts pikesim --project demo --partner-key keys/partner-public.pem \
    --signing-key keys/pike-private.pem --webhook-url http://127.0.0.1:8080/webhooks/pike
  payouts pikesim presets`,
		RunE: func(command *cobra.Command, _ []string) error { return a.simulator(command.Context(), o) },
	}
	flags := command.Flags()
	flags.StringVar(&o.addr, "addr", "127.0.0.1:8088", "host:port to serve Pike's API on")
	flags.StringVar(&o.project, "project", "", "the one project id that is known (required)")
	flags.StringSliceVar(&o.partnerKeys, "partner-key", nil, "PEM file of the partner's public key (required, may be repeated)")
	flags.StringVar(&o.signingKey, "signing-key", "", "PEM file of the private key that signs webhooks")
	flags.StringVar(&o.webhookURL, "webhook-url", "", "where webhooks go; without it none are sent")
	flags.Float64Var(&o.scale, "scale", 1, "multiplies every duration: 0.1 is ten times as fast")
	flags.Uint64Var(&o.seed, "seed", 0, "determines the ids; 0 takes one from the clock")
	command.AddCommand(a.presetsCommand())
	return command
}

// presetAnswer is one line of `payouts pikesim presets`.
type presetAnswer struct {
	Name      pikesim.Preset    `json:"name"`
	Token     string            `json:"token"`
	Behaviour pikesim.Behaviour `json:"behaviour"`
}

func (a *app) presetsCommand() *cobra.Command {
	var format outputFormat
	command := &cobra.Command{
		Use: "presets", Short: "List the card tokens that make something happen", Args: usage(cobra.NoArgs),
		Long: "List what the simulator can do with a payout, and the card token that asks for it.\nThe same text works as number hash and as recurrent token.",
		Example: `  payouts pikesim presets
  payouts pikesim presets -o json | jq -r '.[] | select(.name == "webhooks_lost").token'`,
		RunE: func(*cobra.Command, []string) error {
			var presets []presetAnswer
			rows := [][]string{{"PRESET", "TOKEN"}}
			for _, preset := range pikesim.Presets() {
				presets = append(presets, presetAnswer{Name: preset.Name, Token: pikesim.Token(preset.Name), Behaviour: preset.Behaviour})
				rows = append(rows, []string{string(preset.Name), pikesim.Token(preset.Name)})
			}
			return a.print(format, presets, func(p *printer) { p.block(table(rows)) })
		},
	}
	format.addFlag(command)
	return command
}

func (a *app) simulator(ctx context.Context, o simulatorOptions) error {
	settings, err := config.LoadSimulator(ctx, a.lookuper)
	if err != nil {
		return err //nolint:wrapcheck // it says everything, one line per variable
	}
	logger, err := newLogger(a.stderr, settings.Log)
	if err != nil {
		return err
	}
	c, err := o.config(logger)
	if err != nil {
		return err
	}
	sim, err := pikesim.New(c)
	if err != nil {
		return usageError{err}
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", o.addr)
	if err != nil {
		return fmt.Errorf("--addr: %w", err)
	}
	logger.Info("simulator runs", "pike_base_url", "http://"+listener.Addr().String(), "project", o.project, "webhooks", o.webhookURL)
	return runSimulator(ctx, sim, listener, logger)
}

// config reads the keys and reports every bad flag at once.
func (o simulatorOptions) config(logger *slog.Logger) (pikesim.Config, error) {
	c := pikesim.Config{
		Project: o.project, WebhookURL: o.webhookURL, Scale: o.scale, Seed: o.seed,
		IdempotencyKeys: true, StartAlias: true, Logger: logger,
	}
	if c.Seed == 0 {
		c.Seed = uint64(time.Now().UnixNano()) //nolint:gosec // any number will do
	}
	var problems []error
	if o.project == "" {
		problems = append(problems, errors.New("--project is required"))
	}
	if len(o.partnerKeys) == 0 {
		problems = append(problems, errors.New("--partner-key is required: the PEM file of the partner's public key"))
	}
	for _, path := range o.partnerKeys {
		keys, err := config.ReadPublicKeys(path)
		if err != nil {
			problems = append(problems, fmt.Errorf("--partner-key %s: %w", path, err))
		}
		c.PartnerKeys = append(c.PartnerKeys, keys...)
	}
	if o.signingKey != "" {
		key, err := config.ReadPrivateKey(o.signingKey)
		if err != nil {
			problems = append(problems, fmt.Errorf("--signing-key %s: %w", o.signingKey, err))
		} else {
			c.SigningKey = key
		}
	} else if o.webhookURL != "" {
		problems = append(problems, errors.New("--webhook-url needs --signing-key: webhooks are signed"))
	}
	if err := errors.Join(problems...); err != nil {
		return pikesim.Config{}, usageError{err}
	}
	return c, nil
}

// runSimulator serves Pike's API and sends webhooks until ctx ends.
func runSimulator(ctx context.Context, sim *pikesim.Server, listener net.Listener, logger *slog.Logger) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		if err := sim.Run(ctx); err != nil && !errors.Is(err, context.Canceled) {
			return fmt.Errorf("sending webhooks: %w", err)
		}
		return nil
	})
	group.Go(func() error { return serveHTTP(ctx, sim.Handler(), listener, logger) })
	return group.Wait() //nolint:wrapcheck // each part says what it was doing
}
