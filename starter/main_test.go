package starter_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/contrib/envconfig"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"pikepayouts/payout"
)

// server is the dev server's client, for tests and examples.
var server client.Client

func TestMain(m *testing.M) {
	code, err := runWithServer(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "starter:", err)
		os.Exit(1)
	}
	os.Exit(code)
}

// runWithServer runs a dev server and a worker with a stand-in for the real
// workflow; examples find them by TEMPORAL_ADDRESS, as any program would.
func runWithServer(m *testing.M) (int, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	binary := os.Getenv("PAYOUTS_TEMPORAL_BIN")
	if binary == "" {
		binary = filepath.Join("..", "bin", "temporal")
	}
	if _, err := os.Stat(binary); err != nil {
		return 0, fmt.Errorf("no Temporal CLI, run `make temporal`: %w", err)
	}
	quiet := log.NewStructuredLogger(slog.New(slog.DiscardHandler))
	options := testsuite.DevServerOptions{
		ExistingPath: binary, LogLevel: "error", Stdout: io.Discard, Stderr: os.Stderr, ClientOptions: &client.Options{Logger: quiet},
	}
	for _, attribute := range []string{
		payout.SearchAttributeState + "=Keyword", payout.SearchAttributeSession + "=Keyword", payout.SearchAttributeAttention + "=Keyword",
		payout.SearchAttributeCurrency + "=Keyword", payout.SearchAttributeAmount + "=Int",
	} {
		options.ExtraArgs = append(options.ExtraArgs, "--search-attribute", attribute)
	}
	dev, err := testsuite.StartDevServer(ctx, options)
	if err != nil {
		return 0, fmt.Errorf("starting the dev server: %w", err)
	}
	defer func() { _ = dev.Stop() }()
	server = dev.Client()
	if err := errors.Join(os.Setenv("TEMPORAL_ADDRESS", dev.FrontendHostPort()), os.Setenv("TEMPORAL_CONFIG_FILE", os.DevNull)); err != nil {
		return 0, fmt.Errorf("setting the environment: %w", err)
	}
	w := worker.New(server, payout.DefaultTaskQueue, worker.Options{})
	w.RegisterWorkflowWithOptions(standIn, workflow.RegisterOptions{Name: payout.WorkflowType})
	if err := w.Start(); err != nil {
		return 0, fmt.Errorf("starting the worker: %w", err)
	}
	defer w.Stop()
	return m.Run(), nil
}

// dial is how the tests connect, with settings of their own.
func dial(change func(*client.Options)) (client.Client, error) {
	options := envconfig.MustLoadDefaultClientOptions()
	options.Logger = log.NewStructuredLogger(slog.New(slog.DiscardHandler))
	change(&options)
	return client.Dial(options) //nolint:wrapcheck // a test
}

// standIn behaves as PayoutWorkflow does towards its clients, without Pike. An
// amount of failingAmount is a request that it refuses; one that ends in
// attentionAmount raises attention.
func standIn(ctx workflow.Context, request payout.Request) (payout.Status, error) {
	if request.AmountDetails.Amount == failingAmount {
		return payout.Status{}, temporal.NewNonRetryableApplicationError("amount: is unlucky", payout.ErrorTypeInvalidRequest, nil)
	}
	status := payout.Status{PayoutID: request.PayoutID, State: payout.StateAwaitingDecision, AmountDetails: request.AmountDetails, SessionID: "ps_" + request.PayoutID}
	err := workflow.SetQueryHandler(ctx, payout.QueryStatus, func() (payout.Status, error) { return status, nil })
	if err != nil {
		return payout.Status{}, err
	}
	err = workflow.SetUpdateHandlerWithOptions(ctx, payout.UpdateDecide, func(ctx workflow.Context, d payout.DecideRequest) (payout.Status, error) {
		status.Decision = &payout.Decision{Value: d.Decision, By: d.By, Reason: d.Reason, At: workflow.Now(ctx)}
		return status, nil
	}, workflow.UpdateHandlerOptions{Validator: func(payout.DecideRequest) error {
		if status.Decision != nil {
			return temporal.NewNonRetryableApplicationError("decided by "+status.Decision.By, payout.ErrorTypeDecisionRefused, nil)
		}
		return nil
	}})
	if err != nil {
		return payout.Status{}, err
	}
	if err := upsert(ctx, status, request.AmountDetails.Amount%1000 == attentionAmount); err != nil {
		return payout.Status{}, err
	}
	if request.Policy.Decision == payout.DecisionManual {
		if err := workflow.Await(ctx, func() bool { return status.Decision != nil }); err != nil {
			return payout.Status{}, err
		}
	} else {
		status.Decision = &payout.Decision{Value: payout.DecisionConfirm, By: "policy", At: workflow.Now(ctx)}
	}
	status.State = payout.StateSucceeded
	if status.Decision.Value == payout.DecisionCancel {
		status.State = payout.StateCancelled
	}
	if err := upsert(ctx, status, false); err != nil {
		return payout.Status{}, err
	}
	return status, workflow.Await(ctx, func() bool { return workflow.AllHandlersFinished(ctx) })
}

const (
	failingAmount   = 13
	attentionAmount = 77
)

func upsert(ctx workflow.Context, status payout.Status, attention bool) error {
	updates := []temporal.SearchAttributeUpdate{
		temporal.NewSearchAttributeKeyKeyword(payout.SearchAttributeState).ValueSet(string(status.State)),
		temporal.NewSearchAttributeKeyKeyword(payout.SearchAttributeSession).ValueSet(status.SessionID),
	}
	if attention {
		updates = append(updates, temporal.NewSearchAttributeKeyKeyword(payout.SearchAttributeAttention).ValueSet(string(payout.AttentionMismatch)))
	}
	return workflow.UpsertTypedSearchAttributes(ctx, updates...)
}
