package e2e

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"pikepayouts/activities"
	"pikepayouts/payout"
	"pikepayouts/pike"
	"pikepayouts/pikesim"
	"pikepayouts/secret"
	"pikepayouts/starter"
	"pikepayouts/webhookgw"
	"pikepayouts/worker"
)

// stack is one worker, gateway and simulator of a test's own, on a task queue
// of its own, over the shared Temporal server.
type stack struct {
	t         *testing.T
	number    uint64
	taskQueue string
	starter   *starter.Starter
	sim       *pikesim.Server
	simURL    string
	gateway   *httptest.Server
	metrics   *prometheus.Registry
}

type stackOptions struct {
	version pike.Version
	timing  pikesim.Timing
	// noWorker leaves the worker to the test.
	noWorker bool
	// keysOff: Pike ignores idempotency keys.
	keysOff bool
	// webhooks is where Pike sends them, the stack's own gateway if empty.
	webhooks string
}

var stackNumber atomic.Uint64

const project = "e2e"

func newStack(t *testing.T, options stackOptions) *stack {
	t.Helper()
	s := (&stack{metrics: prometheus.NewRegistry()}).apart(t)
	s.startGateway()
	s.startSimulator(options)
	if !options.noWorker {
		s.startWorker(options.version)
	}
	return s
}

// apart is the same stack for a test of its own, on a task queue of its own, without a worker.
func (s *stack) apart(t *testing.T) *stack {
	own := *s
	own.t, own.number = t, stackNumber.Add(1)
	own.taskQueue = fmt.Sprintf("e2e-%d", own.number)
	own.starter = starter.New(shared.temporal, starter.Options{TaskQueue: own.taskQueue, DataConverter: temporalOptions("").DataConverter})
	return &own
}

func (s *stack) startGateway() {
	verifier, err := pike.NewVerifier(&shared.pikeKey.PublicKey)
	require.NoError(s.t, err)
	handler, err := webhookgw.New(webhookgw.Config{
		Verifier: verifier, Temporal: webhookgw.NewTemporal(shared.temporal, s.taskQueue), Registerer: s.metrics, Logger: testLogger(),
	})
	require.NoError(s.t, err)
	s.gateway = httptest.NewServer(handler)
	s.t.Cleanup(s.gateway.Close)
}

func (s *stack) startSimulator(options stackOptions) {
	sim, err := pikesim.New(pikesim.Config{
		PartnerKeys: []*rsa.PublicKey{&shared.partnerKey.PublicKey}, SigningKey: shared.pikeKey, Project: project,
		WebhookURL: cmp.Or(options.webhooks, s.gateway.URL) + webhookgw.DefaultPath, Timing: options.timing, IdempotencyKeys: !options.keysOff, Logger: testLogger(),
		Seed: s.number, // session ids of its own: late events are named by them
	})
	require.NoError(s.t, err)
	server := httptest.NewServer(sim.Handler())
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = sim.Run(ctx) }()
	s.t.Cleanup(func() { cancel(); <-done; server.Close() })
	s.sim, s.simURL = sim, server.URL
}

func (s *stack) startWorker(version pike.Version) {
	w := worker.New(shared.temporal, s.workerOptions(s.pikeClient(version)))
	require.NoError(s.t, w.Start())
	s.t.Cleanup(w.Stop)
}

func (s *stack) workerOptions(provider activities.Pike) worker.Options {
	return worker.Options{TaskQueue: s.taskQueue, Pike: provider, DataConverter: temporalOptions("").DataConverter}
}

// observing runs do while the only worker observes, and stops that worker.
func (s *stack) observing(do func()) {
	s.t.Helper()
	options := s.workerOptions(s.pikeClient(pike.V1))
	options.ObserveOnly = true
	w := worker.New(shared.temporal, options)
	require.NoError(s.t, w.Start())
	defer w.Stop()
	do()
}

func (s *stack) pikeClient(version pike.Version) *pike.Client {
	client, err := pike.NewClient(pike.Config{BaseURL: s.simURL, Version: version, Project: project, Signer: shared.partnerKey})
	require.NoError(s.t, err)
	return client
}

func testLogger() *slog.Logger {
	if os.Getenv("PAYOUTS_E2E_LOG") != "" {
		return slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	return shared.evidence.logger()
}

var payoutNumber atomic.Int64

// order is a request for the behaviour, with an id of its own.
func order(t *testing.T, preset pikesim.Preset, change ...func(*payout.Request)) payout.Request {
	name := strings.Map(func(r rune) rune {
		if strings.ContainsRune("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789", r) {
			return r
		}
		return '-'
	}, t.Name())
	r := payout.Request{
		PayoutID:      fmt.Sprintf("%.50s-%d", name, payoutNumber.Add(1)),
		AmountDetails: payout.AmountDetails{Amount: 10000, Currency: "eur"},
		Destination:   payout.Destination{TokenizedCard: &payout.TokenizedCard{Token: secret.String(pikesim.Token(preset))}},
		Recipient:     payout.Recipient{FullName: recipientName},
		Policy:        payout.Policy{PollInterval: payout.Duration(time.Second)},
	}
	for _, c := range change {
		c(&r)
	}
	return r
}

func manual(r *payout.Request) { r.Policy.Decision = payout.DecisionManual }

// polling is the interval of polls; long ones show that webhooks did the work.
func polling(interval time.Duration) func(*payout.Request) {
	return func(r *payout.Request) { r.Policy.PollInterval = payout.Duration(interval) }
}

func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func (s *stack) start(r payout.Request) {
	s.t.Helper()
	_, err := s.starter.Start(testContext(s.t), r)
	require.NoError(s.t, err)
}

// pay starts the payout and waits for its end.
func (s *stack) pay(r payout.Request) payout.Status {
	s.t.Helper()
	s.start(r)
	return s.wait(r)
}

func (s *stack) wait(r payout.Request) payout.Status {
	s.t.Helper()
	status, err := s.starter.Wait(testContext(s.t), r.PayoutID)
	require.NoError(s.t, err)
	s.agreesWithLedger(r, status)
	return status
}

// agreesWithLedger is the judge: at most one movement, and our end state says what Pike did.
func (s *stack) agreesWithLedger(r payout.Request, status payout.Status) {
	s.t.Helper()
	ledger := s.ledger(r)
	require.LessOrEqual(s.t, len(ledger.Movements), 1, "paid more than once")
	require.Equal(s.t, status.State == payout.StateSucceeded, len(ledger.Movements) == 1, "we say %s, Pike moved money %d times", status.State, len(ledger.Movements))
	for _, movement := range ledger.Movements {
		moved := payout.AmountDetails{Amount: movement.Amount, Currency: movement.Currency}
		require.Equal(s.t, r.AmountDetails, moved)
	}
}

func (s *stack) ledger(r payout.Request) pikesim.Ledger { return s.sim.Ledger().Of(r.PayoutID) }

// calls counts Pike's accepted calls of a method for the payout.
func (s *stack) calls(r payout.Request, method string) int {
	n := 0
	for _, call := range s.ledger(r).Accepted {
		if call.Method == method {
			n++
		}
	}
	return n
}

// eventually waits for a state of the payout: longer than any settle delay, on a machine that is busy with other things.
func (s *stack) eventually(r payout.Request, state payout.State) {
	s.t.Helper()
	require.EventuallyWithT(s.t, func(c *assert.CollectT) {
		status, err := s.starter.Get(testContext(s.t), r.PayoutID)
		require.NoError(c, err)
		require.Equal(c, state, status.State, status.NextStep)
	}, 5*time.Minute, 50*time.Millisecond, "never %s", state)
}

// behave sets what the simulator does with a payout to come.
func (s *stack) behave(r payout.Request, behaviour string) {
	s.t.Helper()
	body := fmt.Sprintf(`{"metadata":%q,%s`, r.PayoutID, strings.TrimPrefix(behaviour, "{"))
	s.control("behaviour", body)
}

func (s *stack) control(name, body string) {
	s.t.Helper()
	request, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, s.simURL+"/_sim/"+name, bytes.NewReader([]byte(body)))
	require.NoError(s.t, err)
	response, err := http.DefaultClient.Do(request)
	require.NoError(s.t, err)
	defer func() { _ = response.Body.Close() }()
	var answer json.RawMessage
	_ = json.NewDecoder(response.Body).Decode(&answer)
	require.Equal(s.t, http.StatusOK, response.StatusCode, string(answer))
}
