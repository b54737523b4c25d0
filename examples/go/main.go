// Command go is all of a service that pays out: it starts a payout, decides it
// if told to, follows it to its end and says by its exit code what came of it.
//
//	go run ./examples/go <payout id> <amount in minor units> <currency> [confirm|cancel]
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
	"time"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/contrib/envconfig"
	sdklog "go.temporal.io/sdk/log"

	"pikepayouts/codec"
	"pikepayouts/payout"
	"pikepayouts/secret"
	"pikepayouts/starter"
)

const usage = `usage: go run ./examples/go <payout id> <amount in minor units> <currency> [confirm|cancel]
CARD_TOKEN and FULL_NAME say who is paid.`

// decider is who decides manual payouts here; in a real service the person who is logged in.
const decider = "ann@example.com"

// errNotPaid is a payout that ended without money moved: an outcome, not a fault.
var errNotPaid = errors.New("not paid")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(exitCode(err))
}

// exitCode is as of the command line `payouts`.
func exitCode(err error) int {
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errNotPaid):
		return 3
	case errors.Is(err, starter.ErrConflict): // our bug: two orders got one id. Nothing was started; a person must look
		return 4
	}
	return 1
}

func run(ctx context.Context, args []string) error {
	request, decision, err := readOrder(args)
	if err != nil {
		return err
	}
	temporal, options, err := connect(ctx)
	if err != nil {
		return err
	}
	defer temporal.Close()
	payouts := starter.New(temporal, starter.Options{TaskQueue: os.Getenv("PAYOUTS_TASK_QUEUE"), DataConverter: options.DataConverter})

	status, err := pay(ctx, payouts, request, decision)
	if err != nil {
		return err
	}
	if status.State != payout.StateSucceeded {
		return fmt.Errorf("payout %s: %s, %w", status.PayoutID, status.State, errNotPaid)
	}
	return nil
}

// pay can be repeated whenever it broke off, with the same request: it goes on where the payout is.
func pay(ctx context.Context, payouts *starter.Starter, request payout.Request, decision string) (payout.Status, error) {
	started, err := payouts.Start(ctx, request)
	if err != nil {
		return payout.Status{}, err //nolint:wrapcheck // starter says what it was doing
	}
	fmt.Printf("%s, run %s, started before: %t\n", started.WorkflowID, started.RunID, started.Existing)
	if decision != "" {
		if err := decide(ctx, payouts, request.PayoutID, decision); err != nil {
			return payout.Status{}, err
		}
	}
	return follow(ctx, payouts, request.PayoutID)
}

func decide(ctx context.Context, payouts *starter.Starter, payoutID, decision string) error {
	makeDecision := payouts.Confirm
	if decision == payout.DecisionCancel {
		makeDecision = payouts.Cancel
	}
	status, err := makeDecision(ctx, payoutID, decider, "checked against the invoice")
	if errors.Is(err, starter.ErrDecisionRefused) { // decided before or ended: what came of it is to be seen below
		fmt.Println(err)
		return nil
	}
	if err != nil {
		return err //nolint:wrapcheck // starter says what it was doing
	}
	fmt.Println("decided:", status.Decision.Value, "by", status.Decision.By)
	return nil
}

// follow waits for the end. The progress is for people, so what goes wrong with it does not matter.
func follow(ctx context.Context, payouts *starter.Starter, payoutID string) (payout.Status, error) {
	var shown progress
	ctx, stop := context.WithCancel(ctx)
	var showing sync.WaitGroup
	showing.Go(func() { shown.showUntilDone(ctx, payouts, payoutID) })

	status, err := payouts.Wait(ctx, payoutID)
	stop()
	showing.Wait()
	if err == nil {
		shown.show(status)
	}
	return status, err //nolint:wrapcheck // starter says what it was doing
}

// progress prints each transition of one payout once.
type progress struct{ transitions int }

func (p *progress) showUntilDone(ctx context.Context, payouts *starter.Starter, payoutID string) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		if status, err := payouts.Get(ctx, payoutID); err == nil {
			p.show(status)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func (p *progress) show(status payout.Status) {
	for ; p.transitions < len(status.Transitions); p.transitions++ {
		transition := status.Transitions[p.transitions]
		fmt.Printf("%s  %-17s  %s\n", transition.At.Format(time.TimeOnly), transition.State, transition.Why)
	}
}

func readOrder(args []string) (payout.Request, string, error) {
	if len(args) != 3 && len(args) != 4 {
		return payout.Request{}, "", errors.New(usage)
	}
	amount, err := strconv.ParseInt(args[1], 10, 64)
	if err != nil {
		return payout.Request{}, "", fmt.Errorf("the amount: %w", err)
	}
	request := payout.Request{
		PayoutID:      args[0], // the idempotency key: take the id of your own order, never one made for the attempt
		AmountDetails: payout.AmountDetails{Amount: amount, Currency: args[2]},
		Destination:   payout.Destination{TokenizedCard: &payout.TokenizedCard{Token: secret.String(os.Getenv("CARD_TOKEN"))}},
		Recipient:     payout.Recipient{FullName: secret.String(os.Getenv("FULL_NAME"))},
	}
	if len(args) == 3 {
		return request, "", nil
	}
	decision := args[3]
	if decision != payout.DecisionConfirm && decision != payout.DecisionCancel {
		return payout.Request{}, "", errors.New(usage)
	}
	request.Policy.Decision = payout.DecisionManual
	return request, decision, nil
}

// connect finds Temporal by the standard TEMPORAL_* variables, and encrypts with the workers' keyset if they have one.
func connect(ctx context.Context) (client.Client, client.Options, error) {
	options, err := envconfig.LoadDefaultClientOptions()
	if err != nil {
		return nil, options, fmt.Errorf("reading TEMPORAL_*: %w", err)
	}
	keyset, err := readKeyset(os.Getenv("PAYOUTS_ENCRYPTION_KEYSET_FILE"))
	if err != nil {
		return nil, options, fmt.Errorf("PAYOUTS_ENCRYPTION_KEYSET_FILE: %w", err)
	}
	codec.Use(&options, keyset)
	options.Logger = sdklog.NewStructuredLogger(slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})))
	temporal, err := client.DialContext(ctx, options)
	if err != nil {
		return nil, options, fmt.Errorf("connecting to Temporal: %w", err)
	}
	return temporal, options, nil
}

// readKeyset returns nil for no path: nothing is encrypted then.
func readKeyset(path string) (*codec.Keyset, error) {
	if path == "" {
		return nil, nil //nolint:nilnil // codec.Use takes it so
	}
	content, err := os.ReadFile(path) //nolint:gosec // the environment names the file
	if err != nil {
		return nil, err //nolint:wrapcheck // wrapped by its caller
	}
	return codec.ParseKeyset(content) //nolint:wrapcheck // as above
}
