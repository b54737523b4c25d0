package main

import (
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"go.temporal.io/sdk/client"
	"golang.org/x/sync/errgroup"

	"pikepayouts/codec"
	"pikepayouts/config"
	"pikepayouts/payout"
	"pikepayouts/pike"
	"pikepayouts/pikesim"
	"pikepayouts/webhookgw"
)

// demoStack is everything that the demo runs.
type demoStack struct {
	program   string
	temporal  *temporalServer
	simulator *pikesim.Server
	logFile   *os.File
	parts     errgroup.Group
	stopParts context.CancelFunc

	keyset *codec.Keyset

	simulatorAddr, gatewayAddr, codecAddr, workerOps, gatewayOps, codecOps string
}

// startStack returns what it started even with an error: the caller stops it.
// fail is called if a part breaks later.
func (a *app) startStack(ctx context.Context, o demoOptions, binary string, fail context.CancelCauseFunc) (*demoStack, error) {
	s := &demoStack{program: os.Args[0], stopParts: func() {}}
	ports := &portPicker{say: func(text string) { _ = write(a.stdout, text) }}
	say := func(text string) { _ = write(a.stdout, text+"\n") }
	say("Keys in " + o.folder)
	keys, err := loadDemoKeys(o.folder)
	if err != nil {
		return s, err
	}
	s.keyset = keys.keyset
	logPath := filepath.Join(o.folder, "demo.log")
	if s.logFile, err = os.Create(logPath); err != nil { //nolint:gosec // the folder is the caller's choice
		return s, fmt.Errorf("creating the demo's log: %w", err)
	}
	logger := slog.New(slog.NewTextHandler(s.logFile, nil))
	if err := s.pickAddresses(ctx, ports); err != nil { // before Temporal, whose Web UI is told where to decrypt
		return s, err
	}
	say("Temporal server")
	if s.temporal, err = startTemporal(ctx, binary, ports, o, "http://"+s.codecAddr, fail); err != nil {
		return s, err
	}
	partsCtx, stop := context.WithCancel(ctx)
	s.stopParts = stop
	run := func(name string, part func(context.Context) error) {
		s.parts.Go(func() error {
			if err := part(partsCtx); err != nil {
				fail(fmt.Errorf("%s: %w", name, err))
			}
			return nil
		})
	}
	say("Simulated Pike, worker, webhook gateway, codec server (log: " + logPath + ")")
	if err := s.startParts(ctx, keys, logger, run); err != nil {
		return s, err
	}
	err = s.waitUntilReady(ctx)
	return s, err
}

func (s *demoStack) pickAddresses(ctx context.Context, ports *portPicker) error {
	for _, wanted := range []struct {
		what string
		port int
		addr *string
	}{
		{"the webhook gateway", 8080, &s.gatewayAddr}, {"the simulated Pike", 8088, &s.simulatorAddr},
		{"the codec server", 8234, &s.codecAddr},
		{"the worker's metrics", 9090, &s.workerOps}, {"the gateway's metrics", 9091, &s.gatewayOps}, {"the codec server's metrics", 9092, &s.codecOps},
	} {
		port, err := ports.pick(ctx, wanted.what, wanted.port)
		if err != nil {
			return err
		}
		*wanted.addr = net.JoinHostPort(localhost, strconv.Itoa(port))
	}
	return nil
}

func (s *demoStack) startParts(ctx context.Context, keys demoKeys, logger *slog.Logger, run func(string, func(context.Context) error)) error {
	var err error
	s.simulator, err = pikesim.New(pikesim.Config{
		PartnerKeys: []*rsa.PublicKey{&keys.partner.PublicKey}, SigningKey: keys.pike, Project: demoProject, IdempotencyKeys: true,
		WebhookURL: "http://" + s.gatewayAddr + webhookgw.DefaultPath, Logger: logger.With("part", "pikesim"),
		Seed:   uint64(time.Now().UnixNano()),                                //nolint:gosec // any number will do
		Timing: pikesim.Timing{Checks: time.Second, Processing: time.Second}, // slow enough to be seen
	})
	if err != nil {
		return fmt.Errorf("making the simulator: %w", err)
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", s.simulatorAddr)
	if err != nil {
		return fmt.Errorf("opening the simulator's port: %w", err)
	}
	run("the simulated Pike", func(ctx context.Context) error {
		return runSimulator(ctx, s.simulator, listener, logger.With("part", "pikesim"))
	})
	run("the webhook gateway", func(ctx context.Context) error {
		return runGateway(ctx, config.Gateway{
			Temporal: s.temporal.options(), Keyset: s.keyset, OpsAddr: s.gatewayOps,
			Webhooks: config.Webhooks{Addr: s.gatewayAddr, PublicKeys: []*rsa.PublicKey{&keys.pike.PublicKey}},
		}, logger.With("part", "webhookgw"))
	})
	run("the worker", func(ctx context.Context) error {
		return runWorker(ctx, config.Worker{
			Temporal: s.temporal.options(), Keyset: s.keyset, OpsAddr: s.workerOps, TaskQueue: payout.DefaultTaskQueue,
			Pike: config.Pike{BaseURL: "http://" + s.simulatorAddr, Version: pike.V1, Project: demoProject, PrivateKey: keys.partner, Timeout: pike.MaxTimeout},
		}, logger.With("part", "worker"))
	})
	run("the codec server", func(ctx context.Context) error {
		return runCodecServer(ctx, config.CodecServer{
			Addr: s.codecAddr, OpsAddr: s.codecOps, Namespace: client.DefaultNamespace, Keyset: s.keyset, Origins: s.temporal.uiOrigins(),
		}, logger.With("part", "codec-server"))
	})
	return nil
}

// waitUntilReady asks the processes what any orchestrator would ask them.
func (s *demoStack) waitUntilReady(ctx context.Context) error {
	for _, ops := range []string{s.workerOps, s.gatewayOps, s.codecOps} {
		err := poll(ctx, 50*time.Millisecond, func(ctx context.Context) bool { return checkReady(ctx, "http://"+ops+"/readyz") == nil })
		if err != nil {
			return fmt.Errorf("waiting until all is ready: %w", err)
		}
	}
	return nil
}

// stop ends all parts, the server last: they say goodbye to it.
func (s *demoStack) stop() {
	s.stopParts()
	_ = s.parts.Wait() // what broke was told to fail
	if s.temporal != nil {
		s.temporal.child.stop()
	}
	if s.logFile != nil {
		_ = s.logFile.Close()
	}
}

// callerOptions are those of a service that starts payouts here.
func (s *demoStack) callerOptions() client.Options {
	options := s.temporal.options()
	codec.Use(&options, s.keyset)
	return options
}

func (s *demoStack) webUI() string {
	return fmt.Sprintf("%s/namespaces/%s/workflows", s.temporal.uiOrigins()[0], client.DefaultNamespace)
}

// instructions are for who wants to go on.
func (s *demoStack) instructions(folder string) string {
	environment := "  export PAYOUTS_ENCRYPTION_KEYSET_FILE=" + filepath.Join(folder, demoKeyset) + "\n"
	if s.temporal.address() != net.JoinHostPort(localhost, "7233") {
		environment += "  export TEMPORAL_ADDRESS=" + s.temporal.address() + "\n"
	}
	return fmt.Sprintf(`
Everything is running; Ctrl-C stops it.
%s
Start a payout in another terminal, where it is confirmed by you:
%s  %s start --id first-1 --amount 10000 --currency eur --full-name "Ivanov Ivan" --decision manual \
    --token %s
  %[3]s confirm first-1
  %[3]s wait first-1
Card tokens for other ends: %[3]s pikesim presets
`, table([][]string{
		{"  Web UI", s.webUI()}, {"  Temporal", s.temporal.address()}, {"  Webhooks", "http://" + s.gatewayAddr + webhookgw.DefaultPath},
		{"  Simulated Pike", "http://" + s.simulatorAddr + " (ledger: /_sim/ledger; forgotten at the end)"},
		{"  Codec server", "http://" + s.codecAddr + " (temporal ... --codec-endpoint)"},
		{"  Metrics", "http://" + s.workerOps + "/metrics, http://" + s.gatewayOps + "/metrics"},
		{"  History, logs", folder + " (delete it to begin afresh)"},
	}), environment, s.program, pikesim.Token(pikesim.PresetConfirmed))
}

// demoKeys are made on first use and kept: the partner signs calls, Pike signs webhooks.
type demoKeys struct {
	partner, pike *rsa.PrivateKey
	keyset        *codec.Keyset
}

const demoKeyset = "keyset.json"

const privateKeySuffix = "-private.pem" // as makeKeyPair names it

func loadDemoKeys(folder string) (demoKeys, error) {
	var keys demoKeys
	for name, key := range map[string]**rsa.PrivateKey{"partner": &keys.partner, "pike": &keys.pike} {
		path := filepath.Join(folder, name)
		_, err := os.Lstat(path + privateKeySuffix)
		if errors.Is(err, fs.ErrNotExist) {
			if _, err := makeKeyPair(path, demoKeyBits); err != nil {
				return demoKeys{}, err
			}
		}
		if *key, err = config.ReadPrivateKey(path + privateKeySuffix); err != nil {
			return demoKeys{}, fmt.Errorf("%s: %w", path+privateKeySuffix, err)
		}
	}
	path := filepath.Join(folder, demoKeyset)
	_, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		keys.keyset, err = makeKeyset(path)
		return keys, err
	}
	if keys.keyset, err = config.ReadKeyset(path); err != nil {
		return demoKeys{}, fmt.Errorf("%s: %w", path, err)
	}
	return keys, nil
}

// portPicker finds free ports, and says where one is not the usual.
type portPicker struct {
	say func(string)
}

func (p *portPicker) pick(ctx context.Context, what string, usual int) (int, error) {
	port, err := freePort(ctx, usual)
	if err == nil {
		return port, nil
	}
	port, err = freePort(ctx, 0)
	if err != nil {
		return 0, fmt.Errorf("finding a port for %s: %w", what, err)
	}
	p.say(fmt.Sprintf("Port %d is in use: %s takes %d\n", usual, what, port))
	return port, nil
}

func freePort(ctx context.Context, wanted int) (int, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort(localhost, strconv.Itoa(wanted)))
	if err != nil {
		return 0, fmt.Errorf("trying port %d: %w", wanted, err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().(*net.TCPAddr).Port, nil
}
