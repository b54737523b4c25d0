// Package e2e tests payouts end to end: a real Temporal dev server, real HTTP,
// real signatures, real processes. Only Pike's host is the simulator.
package e2e

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/testsuite"
	sdkworker "go.temporal.io/sdk/worker"

	"google.golang.org/grpc"

	"pikepayouts/codec"
	"pikepayouts/payout"
	"pikepayouts/webhookgw"
	"pikepayouts/workflows"
)

// shared is what all tests of the package use: starting it costs seconds.
var shared struct {
	address    string
	temporal   client.Client // with the interceptor of the gateway
	keyset     keyset
	evidence   *evidence
	partnerKey *rsa.PrivateKey
	pikeKey    *rsa.PrivateKey
}

// stickyCache is the number of workflows that workers keep in memory; 0 makes
// them replay the history at every workflow task, the cheapest check of determinism there is.
var stickyCache = flag.Int("sticky-cache", 1000, "size of the workers' sticky cache; 0 replays at every workflow task")

// temporalServer has a namespace default with the search attributes of payouts, and has not run these tests before.
var temporalServer = flag.String("temporal", "", "address of a Temporal server to test on, instead of a dev server of its own")

// suggestContinueAsNew is the length of a history at which the server suggests to continue as new.
var suggestContinueAsNew = flag.Int("suggest-continue-as-new", 4096, "events after which the server suggests to continue as new")

func TestMain(m *testing.M) {
	flag.Parse()
	sdkworker.SetStickyWorkflowCacheSize(*stickyCache)
	code, err := runWithServer(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		os.Exit(1)
	}
	os.Exit(code)
}

func runWithServer(m *testing.M) (int, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var err error
	if shared.evidence, err = newEvidence(); err != nil {
		return 0, err
	}
	defer shared.evidence.remove()
	if shared.keyset, err = newKeyset(); err != nil {
		return 0, err
	}
	defer shared.keyset.remove()
	code, err := runOn(ctx, m)
	if code != 0 {
		shared.evidence.showServerErrors(os.Stderr)
	}
	if err != nil {
		return 0, err
	}
	if *encrypt { // after the server has stopped: its files are complete
		err = shared.evidence.search(canaries())
	}
	if *encrypt && *temporalServer == "" {
		err = errors.Join(err, shared.evidence.hasDatabase())
	}
	return code, err
}

func runOn(ctx context.Context, m *testing.M) (int, error) {
	if shared.address = *temporalServer; shared.address == "" {
		server, err := startDevServer(ctx)
		if err != nil {
			return 0, err
		}
		defer func() { _ = server.Stop() }()
		shared.address = server.FrontendHostPort()
	}
	var err error
	if shared.temporal, err = dialTemporal(shared.address); err != nil {
		return 0, err
	}
	defer shared.temporal.Close()
	for _, key := range []**rsa.PrivateKey{&shared.partnerKey, &shared.pikeKey} {
		if *key, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
			return 0, fmt.Errorf("generating a key: %w", err)
		}
	}
	return m.Run(), nil
}

func startDevServer(ctx context.Context) (*testsuite.DevServer, error) {
	return serveDatabase(ctx, shared.evidence.database())
}

// serveDatabase starts a dev server on the database, which it makes if there is none.
func serveDatabase(ctx context.Context, database string) (*testsuite.DevServer, error) {
	binary, err := temporalBinary()
	if err != nil {
		return nil, err
	}
	options := testsuite.DevServerOptions{
		ExistingPath: binary, LogLevel: "error", Stdout: shared.evidence.of("temporal.log"), Stderr: shared.evidence.of("temporal.log"), DBFilename: database,
		ClientOptions: &client.Options{Logger: quiet()},
	}
	// Files, to be searched at the end; without waiting for the disk, which made the server five times slower.
	options.ExtraArgs = []string{"--sqlite-pragma", "synchronous=OFF", "--sqlite-pragma", "journal_mode=MEMORY", "--dynamic-config-value", fmt.Sprintf("limit.historyCount.suggestContinueAsNew=%d", *suggestContinueAsNew)}
	for _, attribute := range []string{
		payout.SearchAttributeState + "=Keyword", payout.SearchAttributeSession + "=Keyword", payout.SearchAttributeAttention + "=Keyword",
		payout.SearchAttributeCurrency + "=Keyword", payout.SearchAttributeAmount + "=Int",
	} {
		options.ExtraArgs = append(options.ExtraArgs, "--search-attribute", attribute)
	}
	server, err := testsuite.StartDevServer(ctx, options)
	if err != nil {
		return nil, fmt.Errorf("starting the dev server: %w", err)
	}
	return server, nil
}

// temporalBinary is the Temporal CLI that `make temporal` leaves.
func temporalBinary() (string, error) {
	path := os.Getenv("PAYOUTS_TEMPORAL_BIN")
	if path == "" {
		path = filepath.Join("..", "bin", "temporal")
	}
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("no Temporal CLI, run `make temporal`: %w", err)
	}
	return filepath.Abs(path)
}

func dialTemporal(address string) (client.Client, error) {
	c, err := client.Dial(temporalOptions(address))
	if err != nil {
		return nil, fmt.Errorf("dialling Temporal: %w", err)
	}
	return c, nil
}

// temporalOptions are those of the worker, the gateway and the callers that run in the tests' own process.
func temporalOptions(address string) client.Options {
	options := plainOptions(address)
	codec.UseInWorker(&options, shared.keyset.keys, workflows.Refusable)
	return options
}

func plainOptions(address string) client.Options {
	return client.Options{
		HostPort: address, Logger: quiet(), Identity: "e2e",
		ConnectionOptions: client.ConnectionOptions{DialOptions: []grpc.DialOption{webhookgw.RequestIDDialOption()}},
	}
}

// quiet keeps the SDK's log as evidence; PAYOUTS_E2E_LOG=1 shows it.
func quiet() log.Logger {
	if os.Getenv("PAYOUTS_E2E_LOG") != "" {
		return log.NewStructuredLogger(slog.New(slog.NewTextHandler(os.Stderr, nil)))
	}
	return log.NewStructuredLogger(shared.evidence.logger())
}
