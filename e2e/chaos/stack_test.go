package chaos

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/log"
	"golang.org/x/sync/errgroup"

	"pikepayouts/codec"
	"pikepayouts/config"
	"pikepayouts/pikesim"
	"pikepayouts/starter"
	"pikepayouts/webhookgw"
	"pikepayouts/worker"
)

const (
	project = "chaos"
	// replicas is how many workers and how many gateways there are.
	replicas = 2
	// readyWithin is for processes that were just started, on a busy machine.
	readyWithin = 2 * time.Minute
)

// stack is everything that runs, and the links between it.
type stack struct {
	folder   string // logs, keys, the database
	lifetime context.Context
	binary   string

	temporalAddress   string
	temporal          *process
	database          *process // of Temporal on PostgreSQL; nil with the dev server
	workers, gateways []*process
	simulator         *process
	ops               []string // addresses of workers and gateways

	workersToPike, workersToTemporal, gatewaysToTemporal, pikeToGateways []*link

	pike    *pike
	client  client.Client // straight to Temporal: callers are not what is tested
	starter *starter.Starter
	// converter reads what Temporal keeps.
	converter converter.DataConverter
}

// newStack returns once everything is ready. Nothing of it outlives the test.
func newStack(t *testing.T) *stack {
	t.Helper()
	s := newTemporal(t)
	require.NoError(t, s.startPayouts())
	require.NoError(t, s.waitUntilReady(t.Context()))
	return s
}

// newTemporal is a stack of which Temporal alone runs.
func newTemporal(t *testing.T) *stack {
	t.Helper()
	folder, err := os.MkdirTemp("", "payouts-chaos-")
	require.NoError(t, err)
	t.Cleanup(func() { keepOrRemove(t, folder) })
	lifetime, cancel := context.WithCancel(context.WithoutCancel(t.Context())) // the test's own context ends before the cleanups
	s := &stack{folder: folder, lifetime: lifetime}
	t.Cleanup(s.close)
	t.Cleanup(cancel)
	require.NoError(t, s.build())
	require.NoError(t, s.startTemporal())
	return s
}

func keepOrRemove(t *testing.T, folder string) {
	if t.Failed() {
		t.Logf("logs, keys and the database are kept in %s", folder)
		return
	}
	_ = os.RemoveAll(folder)
}

// close kills what runs, by its pid.
func (s *stack) close() {
	if s.database != nil {
		_ = s.database.end(syscall.SIGQUIT) // it takes its own children along, and waits for them
	}
	for _, p := range s.processes() {
		p.close()
	}
	for _, l := range s.links() {
		l.close()
	}
	if s.client != nil {
		s.client.Close()
	}
}

// processes are those that were started.
func (s *stack) processes() []*process {
	all := slices.Concat(s.workers, s.gateways, []*process{s.simulator, s.temporal, s.database})
	return slices.DeleteFunc(all, func(p *process) bool { return p == nil })
}

func (s *stack) links() []*link {
	return slices.Concat(s.workersToPike, s.workersToTemporal, s.gatewaysToTemporal, s.pikeToGateways)
}

// build makes the binary from the source as it is, and the keys.
func (s *stack) build() error {
	s.binary = filepath.Join(s.folder, "payouts")
	for _, arguments := range [][]string{
		{"go", "build", "-o", s.binary, "pikepayouts/cmd/payouts"},
		{s.binary, "keygen", "--out", s.folder, "--name", "partner", "--bits", "2048"},
		{s.binary, "keygen", "--out", s.folder, "--name", "pike", "--bits", "2048"},
		{s.binary, "keygen", "--keyset", s.file(keysetFile)},
	} {
		if err := complete(exec.CommandContext(s.lifetime, arguments[0], arguments[1:]...)); err != nil {
			return err
		}
	}
	return nil
}

// complete runs the command to its end.
func complete(c *exec.Cmd) error {
	if output, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("%v: %w\n%s", c.Args, err, output)
	}
	return nil
}

// startTemporal returns once the server can take payouts.
func (s *stack) startTemporal() error {
	addresses, err := freeAddresses(s.lifetime, 1)
	if err != nil {
		return err
	}
	s.temporalAddress = addresses[0]
	if err := s.makeCaller(); err != nil {
		return err
	}
	start := s.startDevServer
	if *onPostgres {
		start = s.startServerOnPostgres
	}
	if err := start(); err != nil {
		return err
	}
	if err := eventually(s.lifetime, readyWithin, s.temporalAnswers); err != nil {
		return fmt.Errorf("waiting for Temporal: %w", err)
	}
	return s.linkToTemporal()
}

// keysetFile encrypts what Temporal keeps, for all processes and for the tests' own caller.
const keysetFile = "keyset.json"

// makeCaller makes the client of a service that starts payouts.
func (s *stack) makeCaller() error {
	keys, err := config.ReadKeyset(s.file(keysetFile))
	if err != nil {
		return fmt.Errorf("reading the keyset: %w", err)
	}
	options := client.Options{HostPort: s.temporalAddress, Logger: log.NewStructuredLogger(slog.New(slog.DiscardHandler))}
	codec.Use(&options, keys)
	if s.client, err = client.NewLazyClient(options); err != nil {
		return fmt.Errorf("making a Temporal client: %w", err)
	}
	s.converter = options.DataConverter
	s.starter = starter.New(s.client, starter.Options{DataConverter: s.converter})
	return nil
}

// startDevServer starts it on a file, so that it can be killed and started again.
func (s *stack) startDevServer() error {
	path := os.Getenv("PAYOUTS_TEMPORAL_BIN")
	if path == "" {
		path = filepath.Join("..", "..", "bin", "temporal")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return fmt.Errorf("finding the Temporal CLI: %w", err)
	}
	host, port, _ := strings.Cut(s.temporalAddress, ":")
	arguments := []string{"server", "start-dev", "--headless", "--ip", host, "--port", port, "--log-level", "error",
		"--db-filename", filepath.Join(s.folder, "temporal.db")}
	for name, kind := range worker.SearchAttributes() {
		arguments = append(arguments, "--search-attribute", name+"="+kind.String())
	}
	if s.temporal, err = startProcess(s.lifetime, s.folder, "temporal", command{path: path, arguments: arguments}); err != nil {
		return fmt.Errorf("is there a Temporal CLI (`make temporal`)? %w", err)
	}
	return nil
}

func (s *stack) linkToTemporal() error {
	for n := range replicas {
		for _, links := range []struct {
			name string
			of   *[]*link
		}{{"worker", &s.workersToTemporal}, {"gateway", &s.gatewaysToTemporal}} {
			l, err := newLink(s.lifetime, fmt.Sprintf("%s-%d to temporal", links.name, n), s.temporalAddress)
			if err != nil {
				return err
			}
			*links.of = append(*links.of, l)
		}
	}
	return nil
}

func (s *stack) temporalAnswers(ctx context.Context) error {
	_, err := s.client.WorkflowService().DescribeNamespace(ctx, &workflowservice.DescribeNamespaceRequest{Namespace: client.DefaultNamespace})
	return err //nolint:wrapcheck // the caller says what it waits for
}

// startPayouts starts simulator, workers and gateways. Each reaches the others by links only.
func (s *stack) startPayouts() error {
	addresses, err := freeAddresses(s.lifetime, 1+3*replicas)
	if err != nil {
		return err
	}
	simulator, webhooks := addresses[0], addresses[1:1+replicas]
	s.ops = addresses[1+replicas:]
	front, err := newLink(s.lifetime, "pike to gateways", webhooks...)
	if err != nil {
		return err
	}
	s.pikeToGateways = []*link{front}
	if err := s.startSimulator(simulator, "http://"+front.address+webhookgw.DefaultPath); err != nil {
		return err
	}
	for n := range replicas {
		if err := s.startWorker(n, simulator, s.ops[n]); err != nil {
			return err
		}
		if err := s.startGateway(n, webhooks[n], s.ops[replicas+n]); err != nil {
			return err
		}
	}
	return nil
}

// startSimulator: Pike takes a second for each of its steps, so that faults find payouts between them.
func (s *stack) startSimulator(address, webhookURL string) error {
	var err error
	s.pike = newPike(address)
	s.simulator, err = startProcess(s.lifetime, s.folder, "pikesim", command{path: s.binary, arguments: []string{
		"pikesim", "--addr", address, "--project", project, "--scale", "5", "--webhook-url", webhookURL,
		"--partner-key", s.file("partner-public.pem"), "--signing-key", s.file("pike-private.pem"),
	}, environment: []string{"PAYOUTS_LOG_LEVEL=debug"}})
	return err
}

// startWorker: Pike's timeout is short, so that a black hole is felt.
func (s *stack) startWorker(n int, simulator, ops string) error {
	toPike, err := newLink(s.lifetime, fmt.Sprintf("worker-%d to pike", n), simulator)
	if err != nil {
		return err
	}
	s.workersToPike = append(s.workersToPike, toPike)
	p, err := startProcess(s.lifetime, s.folder, fmt.Sprintf("worker-%d", n), command{path: s.binary, arguments: []string{"worker"}, environment: []string{
		"TEMPORAL_ADDRESS=" + s.workersToTemporal[n].address, "PIKE_BASE_URL=http://" + toPike.address, "PIKE_PROJECT=" + project,
		"PIKE_PRIVATE_KEY_FILE=" + s.file("partner-private.pem"), "PIKE_TIMEOUT=5s", "PAYOUTS_OPS_ADDR=" + ops,
		"PAYOUTS_ENCRYPTION_KEYSET_FILE=" + s.file(keysetFile),
	}})
	s.workers = append(s.workers, p)
	return err
}

func (s *stack) startGateway(n int, webhooks, ops string) error {
	p, err := startProcess(s.lifetime, s.folder, fmt.Sprintf("gateway-%d", n), command{path: s.binary, arguments: []string{"webhookgw"}, environment: []string{
		"TEMPORAL_ADDRESS=" + s.gatewaysToTemporal[n].address, "PIKE_WEBHOOK_PUBLIC_KEY_FILES=" + s.file("pike-public.pem"),
		"WEBHOOKGW_ADDR=" + webhooks, "PAYOUTS_OPS_ADDR=" + ops, "PAYOUTS_ENCRYPTION_KEYSET_FILE=" + s.file(keysetFile),
	}})
	s.gateways = append(s.gateways, p)
	return err
}

func (s *stack) file(name string) string { return filepath.Join(s.folder, name) }

// waitUntilReady asks the processes what any orchestrator would ask them.
func (s *stack) waitUntilReady(ctx context.Context) error {
	var group errgroup.Group
	wait := func(what string, ready func(context.Context) error) {
		group.Go(func() error {
			if err := eventually(ctx, readyWithin, ready); err != nil {
				return fmt.Errorf("waiting for %s: %w", what, err)
			}
			return nil
		})
	}
	wait("Temporal", s.temporalAnswers)
	wait("the simulator", func(ctx context.Context) error {
		_, err := s.pike.sessions(ctx)
		return err
	})
	for n, address := range s.ops {
		p := slices.Concat(s.workers, s.gateways)[n]
		wait(p.name, func(ctx context.Context) error { return answersOK(ctx, "http://"+address+"/readyz") })
	}
	return group.Wait() //nolint:wrapcheck // each wait says what for
}

func answersOK(ctx context.Context, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err //nolint:wrapcheck // the caller says what it waits for
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err //nolint:wrapcheck // as above
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("HTTP %d", response.StatusCode)
	}
	return nil
}

// eventually tries until there is no error, and returns the last one when the time is over.
func eventually(ctx context.Context, within time.Duration, try func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	for {
		attempt, done := context.WithTimeout(ctx, 10*time.Second)
		err := try(attempt)
		done()
		if err == nil {
			return nil
		}
		if !pause(ctx, 200*time.Millisecond) {
			return errors.Join(ctx.Err(), err)
		}
	}
}

// heal ends every fault: all links carry, all processes run.
func (s *stack) heal(ctx context.Context) error {
	var problems []error
	for _, l := range s.links() {
		problems = append(problems, l.become(ctx, healthy, 0))
	}
	for _, p := range s.processes() {
		problems = append(problems, p.start())
	}
	problems = append(problems, s.pike.disturb(ctx, pikesim.Chaos{}), s.waitUntilReady(ctx))
	return errors.Join(problems...)
}
