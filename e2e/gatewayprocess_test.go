package e2e

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	"golang.org/x/sync/errgroup"

	"pikepayouts/payout"
	"pikepayouts/pike"
	"pikepayouts/pikesim"
	"pikepayouts/webhookgw"
)

// gatewayProcess is a real `payouts webhookgw` on ports of its own choice.
type gatewayProcess struct {
	*process
	url string // where webhooks go
	ops string // address of /metrics
}

// host is the address of the webhook port.
func (g *gatewayProcess) host() string {
	return strings.TrimSuffix(strings.TrimPrefix(g.url, "http://"), webhookgw.DefaultPath)
}

// startGatewayProcess starts a gateway that knows Pike's key; environment may say otherwise.
func startGatewayProcess(t *testing.T, environment ...string) *gatewayProcess {
	t.Helper()
	binary, err := buildBinary()
	require.NoError(t, err)
	return startGatewayCommand(t, environment, binary, "webhookgw")
}

func startGatewayCommand(t *testing.T, environment []string, name string, arguments ...string) *gatewayProcess {
	t.Helper()
	defaults := []string{
		"TEMPORAL_ADDRESS=" + shared.address, "WEBHOOKGW_ADDR=127.0.0.1:0",
		"PIKE_WEBHOOK_PUBLIC_KEYS=" + publicPEM(t, &shared.pikeKey.PublicKey),
	}
	log := newStartLog("gateway runs")
	g := &gatewayProcess{process: startCommand(t, log, append(defaults, environment...), name, arguments...)}
	line := log.await(t)
	g.url, g.ops = line.Webhooks, line.Ops
	return g
}

func publicPEM(t *testing.T, key *rsa.PublicKey) string {
	t.Helper()
	encoded, err := x509.MarshalPKIXPublicKey(key)
	require.NoError(t, err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: encoded}))
}

func privatePEM(t *testing.T, key *rsa.PrivateKey) string {
	t.Helper()
	text := pemOf(key)
	require.NotEmpty(t, text)
	return text
}

// pemOf is empty for what is no key.
func pemOf(key *rsa.PrivateKey) string {
	encoded, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return ""
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded}))
}

// startLine is what a process logs once its ports are open.
type startLine struct {
	Message  string `json:"msg"`
	Webhooks string `json:"webhooks"`
	Ops      string `json:"ops"`
}

// startLog finds a process's startLine by its message and drops the rest of its log.
type startLog struct {
	message string
	started chan startLine
	pending []byte
	found   bool
}

func newStartLog(message string) *startLog {
	return &startLog{message: message, started: make(chan startLine, 1)}
}

func (l *startLog) await(t *testing.T) startLine {
	t.Helper()
	select {
	case line := <-l.started:
		return line
	case <-time.After(time.Minute):
		t.Fatalf("the process never said %q", l.message)
		return startLine{}
	}
}

func (l *startLog) Write(p []byte) (int, error) {
	if l.found {
		return len(p), nil
	}
	l.pending = append(l.pending, p...)
	for !l.found {
		text, rest, whole := bytes.Cut(l.pending, []byte("\n"))
		if !whole {
			break
		}
		l.pending = rest
		var line startLine
		if json.Unmarshal(text, &line) == nil && line.Message == l.message {
			l.started <- line
			l.found, l.pending = true, nil
		}
	}
	return len(p), nil
}

// vitals is what a process says of itself at one moment.
type vitals struct {
	memory     float64 // resident, bytes
	goroutines float64
}

func (g *gatewayProcess) vitals() (vitals, error) {
	values, err := g.metrics()
	return vitals{memory: values["process_resident_memory_bytes"], goroutines: values["go_goroutines"]}, err
}

func (g *gatewayProcess) requireVitals() vitals {
	g.t.Helper()
	now, err := g.vitals()
	require.NoError(g.t, err)
	require.Positive(g.t, now.memory, "no resident memory in the metrics of this system")
	return now
}

func (g *gatewayProcess) metrics() (map[string]float64, error) { return scrape(g.ops) }

// scrape gives the values of an ops port, by name and labels as they are printed.
func scrape(ops string) (map[string]float64, error) {
	response, err := opsClient.Get("http://" + ops + "/metrics")
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	values := map[string]float64{}
	lines := bufio.NewScanner(io.TeeReader(response.Body, shared.evidence.of("metrics.txt")))
	for lines.Scan() {
		if at := strings.LastIndexByte(lines.Text(), ' '); at > 0 && lines.Text()[0] != '#' {
			if values[lines.Text()[:at]], err = strconv.ParseFloat(lines.Text()[at+1:], 64); err != nil {
				return nil, err
			}
		}
	}
	return values, lines.Err()
}

// opsClient keeps no connection: each would be goroutines of the process that is measured.
var opsClient = &http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true}}

// sample reads the vitals again and again until the returned function is called, which gives all of them.
func (g *gatewayProcess) sample() func() []vitals {
	done, stop := make(chan struct{}), make(chan struct{})
	var samples []vitals
	go func() {
		defer close(done)
		for ticker := time.Tick(100 * time.Millisecond); ; {
			if now, err := g.vitals(); err == nil {
				samples = append(samples, now)
			}
			select {
			case <-stop:
				return
			case <-ticker:
			}
		}
	}()
	return func() []vitals {
		close(stop)
		<-done
		require.NotEmpty(g.t, samples)
		return samples
	}
}

// peak is the largest memory and the largest number of goroutines, not necessarily of one moment.
func peak(samples []vitals) vitals {
	var top vitals
	for _, s := range samples {
		top = vitals{memory: max(top.memory, s.memory), goroutines: max(top.goroutines, s.goroutines)}
	}
	return top
}

// requireCalmAgain waits until the gateway has no more goroutines than before, give or take the connections of its own work.
func (g *gatewayProcess) requireCalmAgain(before vitals) {
	g.t.Helper()
	const spare = 15
	require.Eventually(g.t, func() bool {
		now, err := g.vitals()
		return err == nil && now.goroutines <= before.goroutines+spare
	}, 2*time.Minute, 100*time.Millisecond, "goroutines stay")
}

func mebibytes(bytes float64) string { return fmt.Sprintf("%.1f MiB", bytes/(1<<20)) }

// mailbox is an open workflow under a payout's id that no worker runs: signals
// stay in its history, and nothing else gets there.
type mailbox struct {
	t        *testing.T
	payoutID string
	sent     atomic.Int64
}

func newMailbox(t *testing.T) *mailbox {
	t.Helper()
	box := &mailbox{t: t, payoutID: order(t, pikesim.PresetConfirmed).PayoutID}
	id := payout.WorkflowID(box.payoutID)
	_, err := shared.temporal.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{ID: id, TaskQueue: "no-worker"}, "mailbox")
	require.NoError(t, err)
	t.Cleanup(func() {
		_ = shared.temporal.TerminateWorkflow(context.WithoutCancel(t.Context()), id, "", "the test is over")
	})
	return box
}

// next is the webhook of an event that nobody sent before: its session is another one.
func (b *mailbox) next(key *rsa.PrivateKey) (delivery, error) {
	return signed(webhook("ready_to_confirm", fmt.Sprintf("ps_%d", b.sent.Add(1)), b.payoutID), key)
}

// stored counts the signals in the history by their session.
func (b *mailbox) stored() map[string]int {
	b.t.Helper()
	counts := map[string]int{}
	iterator := shared.temporal.GetWorkflowHistory(testContext(b.t), payout.WorkflowID(b.payoutID), "", false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for iterator.HasNext() {
		entry, err := iterator.Next()
		require.NoError(b.t, err)
		if signal := entry.GetWorkflowExecutionSignaledEventAttributes(); signal != nil {
			var event payout.Event
			require.NoError(b.t, temporalOptions("").DataConverter.FromPayloads(signal.GetInput(), &event))
			counts[event.SessionID]++
		}
	}
	return counts
}

// requireEachStoredOnce is the judge of what was sent and answered 200 in the end: nothing lost, nothing twice.
func (b *mailbox) requireEachStoredOnce() {
	b.t.Helper()
	stored := b.stored()
	for n := range b.sent.Load() {
		sessionID := fmt.Sprintf("ps_%d", n+1)
		require.Equal(b.t, 1, stored[sessionID], "signals of %s", sessionID)
	}
	require.Len(b.t, stored, int(b.sent.Load()))
}

// pikePatience is how long Pike waits for an answer.
const pikePatience = 10 * time.Second

// delivery is a signed webhook, as Pike sends it once or more.
type delivery struct{ body, signature string }

func signed(body string, key *rsa.PrivateKey) (delivery, error) {
	signature, err := pike.Sign(key, []byte(body))
	return delivery{body: body, signature: signature}, err
}

// attempt is what came of one delivery to one gateway.
type attempt struct {
	status     int // 0 without an answer
	retryAfter string
	accepted   bool // the gateway asked for the body
	err        error
	// from and to are what the load's weather was when the attempt began and ended.
	from, to string
}

// newPike is a client with Pike's patience. A connection serves one webhook: which of
// several a gateway closes is no question then.
func newPike() *http.Client {
	return &http.Client{Timeout: pikePatience, Transport: &http.Transport{DisableKeepAlives: true, ExpectContinueTimeout: pikePatience}}
}

// send asks for 100-continue, which tells that the gateway took the request in.
func (d delivery) send(ctx context.Context, pikeClient *http.Client, url string) (a attempt) {
	var accepted atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{Got100Continue: func() { accepted.Store(true) }})
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(d.body))
	if err != nil {
		return attempt{err: err}
	}
	request.Header.Set(pike.HeaderSign, d.signature)
	request.Header.Set("Expect", "100-continue")
	response, err := pikeClient.Do(request)
	if err != nil {
		return attempt{err: err, accepted: accepted.Load()}
	}
	_, err = io.Copy(io.Discard, response.Body)
	_ = response.Body.Close()
	return attempt{status: response.StatusCode, retryAfter: response.Header.Get("Retry-After"), accepted: true, err: err}
}

// load sends events like Pike: each until a gateway answers 200, trying the addresses in turn.
type load struct {
	t    *testing.T
	urls func() []string
	// weather names what is wrong at the moment.
	weather atomic.Pointer[string]

	// signing is held for reading from the signature of a webhook until its 200.
	signing sync.RWMutex
	key     *rsa.PrivateKey

	mu       sync.Mutex
	attempts []attempt
	boxes    []*mailbox // one for each client: a workflow takes 10,000 signals
}

func newLoad(t *testing.T, urls func() []string) *load {
	l := &load{t: t, urls: urls, key: shared.pikeKey}
	l.setWeather("")
	return l
}

func (l *load) setWeather(name string) { l.weather.Store(&name) }

// switchKey returns when nothing signed with the old key is on its way.
func (l *load) switchKey(key *rsa.PrivateKey) {
	l.signing.Lock()
	defer l.signing.Unlock()
	l.key = key
}

// newEventsPerSecond is how many a load makes at most, over all its clients.
const newEventsPerSecond = 200

// during sends from several clients while do runs, and returns once every event was answered 200.
func (l *load) during(clients int, do func()) {
	l.t.Helper()
	done := make(chan struct{})
	var sending errgroup.Group
	for range clients {
		box, pikeClient := newMailbox(l.t), newPike()
		l.boxes = append(l.boxes, box)
		sending.Go(func() error {
			for turn := time.Tick(time.Duration(clients) * time.Second / newEventsPerSecond); ; {
				select {
				case <-done:
					return nil
				case <-turn:
				}
				if err := l.deliver(testContext(l.t), pikeClient, box); err != nil {
					return err
				}
			}
		})
	}
	do()
	close(done)
	require.NoError(l.t, sending.Wait())
}

func (l *load) deliver(ctx context.Context, pikeClient *http.Client, box *mailbox) error {
	l.signing.RLock()
	defer l.signing.RUnlock()
	d, err := box.next(l.key)
	if err != nil {
		return err
	}
	for tries := time.Tick(10 * time.Millisecond); ; {
		for _, url := range l.urls() {
			from := *l.weather.Load()
			a := d.send(ctx, pikeClient, url)
			a.from, a.to = from, *l.weather.Load()
			l.mu.Lock()
			l.attempts = append(l.attempts, a)
			l.mu.Unlock()
			if a.status == http.StatusOK {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("never answered 200: %w, %s", ctx.Err(), d.body)
		case <-tries:
		}
	}
}

// awaitAnswered waits until that many more events were answered 200.
func (l *load) awaitAnswered(more int) {
	l.t.Helper()
	before := l.statuses()[http.StatusOK]
	require.Eventually(l.t, func() bool { return l.statuses()[http.StatusOK] >= before+more }, time.Minute, 10*time.Millisecond)
}

// sent is the number of events.
func (l *load) sent() int64 {
	var n int64
	for _, box := range l.boxes {
		n += box.sent.Load()
	}
	return n
}

func (l *load) requireEachStoredOnce() {
	l.t.Helper()
	for _, box := range l.boxes {
		box.requireEachStoredOnce()
	}
}

// count is the number of attempts that are like this.
func (l *load) count(like func(attempt) bool) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, a := range l.attempts {
		if like(a) {
			n++
		}
	}
	return n
}

func (l *load) statuses() map[int]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	counts := map[int]int{}
	for _, a := range l.attempts {
		counts[a.status]++
	}
	return counts
}

// brokenOff are attempts on a connection that a gateway had accepted, without an answer. Only it can
// have ended one in good order; those that wait to be accepted are reset when the port closes.
func brokenOff(a attempt) bool {
	return a.err != nil && (a.accepted || errors.Is(a.err, io.EOF))
}

// gatewayFleet is several gateways under one list of addresses.
type gatewayFleet struct {
	t        *testing.T
	turns    atomic.Uint64
	mu       sync.Mutex
	gateways []*gatewayProcess
}

func newGatewayFleet(t *testing.T, size int) *gatewayFleet {
	t.Helper()
	f := &gatewayFleet{t: t}
	for range size {
		f.gateways = append(f.gateways, startGatewayProcess(t))
	}
	return f
}

// urls begins with another gateway each time.
func (f *gatewayFleet) urls() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	urls := make([]string, len(f.gateways))
	turn := int(f.turns.Add(1) % uint64(len(urls)))
	for i, g := range f.gateways {
		urls[(i+turn)%len(urls)] = g.url
	}
	return urls
}

// replace starts a gateway instead of one that has ended.
func (f *gatewayFleet) replace(i int, environment ...string) {
	f.t.Helper()
	g := startGatewayProcess(f.t, environment...)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.gateways[i] = g
}
