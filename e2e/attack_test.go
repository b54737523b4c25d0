package e2e

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"flag"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"pikepayouts/payout"
	"pikepayouts/pike"
	"pikepayouts/pikesim"
	"pikepayouts/webhookgw"
)

// attackScale makes attacks and outages longer: go test ./e2e -run 'TestAttack|TestOutage' -v -attack.scale 10
var attackScale = flag.Int("attack.scale", 1, "how many times longer or more the attacks on the gateway are")

// The tests that fill the machine are not parallel: they run before all that are.

// genuineUntil sends one new event after another until done is closed; each must be answered 200 at once.
func genuineUntil(ctx context.Context, done <-chan struct{}, g *gatewayProcess, box *mailbox) (int, error) {
	pikeClient := newPike()
	for n, turn := 0, time.Tick(20*time.Millisecond); ; n++ {
		select {
		case <-done:
			return n, nil
		case <-turn:
		}
		d, err := box.next(shared.pikeKey)
		if err != nil {
			return n, err
		}
		if a := d.send(ctx, pikeClient, g.url); a.err != nil || a.status != http.StatusOK {
			return n, fmt.Errorf("genuine webhook %d was answered %d: %w", n+1, a.status, a.err)
		}
	}
}

// genuineDuring sends genuine webhooks while the attack runs, and returns how many were answered.
func genuineDuring(t *testing.T, g *gatewayProcess, box *mailbox, attack func()) int {
	t.Helper()
	done := make(chan struct{})
	answered := 0
	var genuine errgroup.Group
	genuine.Go(func() (err error) {
		answered, err = genuineUntil(testContext(t), done, g, box)
		return err
	})
	attack()
	close(done)
	require.NoError(t, genuine.Wait())
	require.Positive(t, answered)
	return answered
}

func needsMemoryMetrics(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the resident memory of a process is known on Linux only")
	}
}

const (
	halfAHead = "POST " + webhookgw.DefaultPath + " HTTP/1.1\r\nHost: gateway\r\nX-Slow: "
	halfABody = "POST " + webhookgw.DefaultPath + " HTTP/1.1\r\nHost: gateway\r\nContent-Length: 1000\r\n\r\n{\"type\":"
)

// openSlow opens connections that send half a head or half a body, and nothing more.
func openSlow(t *testing.T, g *gatewayProcess, n int) []net.Conn {
	t.Helper()
	connections := make([]net.Conn, n)
	var opening errgroup.Group
	opening.SetLimit(64)
	for i := range n {
		opening.Go(func() error {
			connection, err := new(net.Dialer).DialContext(testContext(t), "tcp", g.host())
			if err != nil {
				return err
			}
			connections[i] = connection
			half := halfABody
			if i%2 == 1 {
				half = halfAHead
			}
			_, err = io.WriteString(connection, half)
			return err
		})
	}
	require.NoError(t, opening.Wait())
	return connections
}

// requireClosedByServer reads until the end that the server makes.
func requireClosedByServer(t *testing.T, connections []net.Conn) {
	t.Helper()
	for _, connection := range connections {
		require.NoError(t, connection.SetReadDeadline(time.Now().Add(time.Minute)))
		_, err := io.Copy(io.Discard, connection)
		var timeout net.Error
		require.False(t, errors.As(err, &timeout) && timeout.Timeout(), "a slow connection stays open")
		require.NoError(t, connection.Close())
	}
}

// openFiles is how many files this process and those that it starts may have open: a smaller limit makes a smaller attack.
func openFiles(t *testing.T) int {
	t.Helper()
	var limit syscall.Rlimit
	require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit))
	return int(limit.Cur)
}

// TestAttackBySlowConnections: hazards W7, F36. They are closed, and others are served meanwhile.
func TestAttackBySlowConnections(t *testing.T) {
	needsMemoryMetrics(t)
	const maxPerConnection, maxGrowth = 64 << 10, 16 << 10
	slow := min(5000, openFiles(t)-1000)
	g, box := startGatewayProcess(t), newMailbox(t)
	d, err := box.next(shared.pikeKey)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, d.send(testContext(t), newPike(), g.url).status)
	before := g.requireVitals()
	var last vitals
	for wave := range 1 + *attackScale {
		sampled := g.sample()
		answered := genuineDuring(t, g, box, func() { requireClosedByServer(t, openSlow(t, g, slow)) })
		top := peak(sampled())
		held := top.goroutines - before.goroutines
		perConnection := (top.memory - before.memory) / held
		t.Logf("wave %d: %.0f slow connections at once, %.1f KiB each, %s in all; %d genuine webhooks answered meanwhile",
			wave+1, held, perConnection/1024, mebibytes(top.memory), answered)
		require.Greater(t, held, float64(slow)/2, "the attack was none")
		require.LessOrEqual(t, perConnection, float64(maxPerConnection))
		if wave > 0 {
			require.LessOrEqual(t, top.memory-last.memory, float64(slow*maxGrowth), "memory grows from wave to wave")
		}
		last = top
		g.requireCalmAgain(before)
	}
	box.requireEachStoredOnce()
}

// TestAttackByMoreConnectionsThanFiles: a gateway out of file descriptors waits and goes on (hazard W7).
func TestAttackByMoreConnectionsThanFiles(t *testing.T) {
	t.Parallel()
	binary, err := buildBinary()
	require.NoError(t, err)
	const files, slow = 64, 100
	g := startGatewayCommand(t, nil, "sh", "-c", fmt.Sprintf(`ulimit -n %d && exec "$0" webhookgw`, files), binary)
	box := newMailbox(t)
	d, err := box.next(shared.pikeKey)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, d.send(testContext(t), newPike(), g.url).status)
	connections := openSlow(t, g, slow)
	d, err = box.next(shared.pikeKey)
	require.NoError(t, err)
	require.Eventually(t, func() bool { return d.send(testContext(t), newPike(), g.url).status == http.StatusOK }, 2*time.Minute, time.Millisecond)
	requireClosedByServer(t, connections)
	_, err = g.vitals()
	require.NoError(t, err, "the ops port answers again")
	box.requireEachStoredOnce()
}

// forger is one client with one connection, which sends a forged webhook again and again.
type forger struct {
	request  []byte
	answered map[int]int // by status
}

// TestAttackByForgedFlood: hazards W1, W22, F37.
func TestAttackByForgedFlood(t *testing.T) {
	needsMemoryMetrics(t)
	const clients, spare = 64, 16 << 20
	g, box := startGatewayProcess(t), newMailbox(t)
	before := g.requireVitals()
	forged, err := box.next(shared.partnerKey)
	require.NoError(t, err)
	box.sent.Store(0)
	length := time.Duration(*attackScale) * 8 * time.Second
	ctx, cancel := context.WithTimeout(t.Context(), length)
	defer cancel()
	forgers := make([]forger, clients)
	sampled := g.sample()
	genuine := genuineDuring(t, g, box, func() {
		var flood errgroup.Group
		for i := range forgers {
			forgers[i] = forger{request: forged.raw(), answered: map[int]int{}}
			flood.Go(func() error { return forgers[i].run(ctx, g.host()) })
		}
		require.NoError(t, flood.Wait())
	})
	samples := sampled()
	answered := map[int]int{}
	for _, f := range forgers {
		for status, n := range f.answered {
			answered[status] += n
		}
	}
	third := len(samples) / 3
	early, late := peak(samples[:third]), peak(samples[len(samples)-third:])
	t.Logf("%s of forged webhooks by %d clients: answered %v, %d/s; %d genuine ones answered 200 meanwhile; memory %s in the first third, %s in the last; at most %.0f goroutines",
		length, clients, answered, answered[http.StatusUnauthorized]/int(length.Seconds()), genuine, mebibytes(early.memory), mebibytes(late.memory), peak(samples).goroutines)
	for status := range answered {
		require.Contains(t, []int{http.StatusUnauthorized, http.StatusServiceUnavailable}, status)
	}
	require.Positive(t, answered[http.StatusUnauthorized])
	require.LessOrEqual(t, late.memory, early.memory+spare, "memory grows")
	require.LessOrEqual(t, peak(samples).goroutines, before.goroutines+3*clients)
	box.requireEachStoredOnce()
	g.requireCalmAgain(before)
}

// raw is the whole request as it goes over the wire.
func (d delivery) raw() []byte {
	return fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: gateway\r\n%s: %s\r\nContent-Length: %d\r\n\r\n%s",
		webhookgw.DefaultPath, pike.HeaderSign, d.signature, len(d.body), d.body)
}

func (f *forger) run(ctx context.Context, address string) error {
	connection, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer func() { _ = connection.Close() }()
	for answers := bufio.NewReader(connection); ctx.Err() == nil; {
		if _, err := connection.Write(f.request); err != nil {
			return err
		}
		response, err := http.ReadResponse(answers, nil)
		if err != nil {
			return err
		}
		if _, err := io.Copy(io.Discard, response.Body); err != nil {
			return err
		}
		f.answered[response.StatusCode]++
	}
	return nil
}

// TestAttackByLargeBodies: hazards W6, F35. Many at once, endless, 10 MiB, compressed.
func TestAttackByLargeBodies(t *testing.T) {
	needsMemoryMetrics(t)
	const each, maxPerRequest, spare = 64, 512 << 10, 24 << 20
	bomb := gzipBomb(t)
	const head = "POST " + webhookgw.DefaultPath + " HTTP/1.1\r\nHost: gateway\r\n"
	chunk := "1000\r\n" + strings.Repeat("x", 0x1000) + "\r\n"
	bodies := map[string]func() io.Reader{
		"endless": func() io.Reader {
			return io.MultiReader(strings.NewReader(head+"Transfer-Encoding: chunked\r\n\r\n"), &endless{text: chunk})
		},
		"10 MiB": func() io.Reader {
			return io.MultiReader(strings.NewReader(head+"Content-Length: 10485760\r\n\r\n"), io.LimitReader(zeros{}, 10<<20))
		},
		"gzip bomb": func() io.Reader {
			return io.MultiReader(strings.NewReader(fmt.Sprintf("%sContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n", head, len(bomb))), bytes.NewReader(bomb))
		},
	}
	g, box := startGatewayProcess(t), newMailbox(t)
	before := g.requireVitals()
	var peaks []vitals
	for wave := range 6 * *attackScale {
		var refused, closed atomic.Int64
		sampled := g.sample()
		answered := genuineDuring(t, g, box, func() {
			var sending errgroup.Group
			for _, body := range bodies {
				for range each {
					sending.Go(func() error {
						status, err := sendLarge(testContext(t), g.host(), body())
						switch {
						case err == nil && status == http.StatusRequestEntityTooLarge:
							refused.Add(1)
						case err != nil && status == 0:
							closed.Add(1)
						default:
							return fmt.Errorf("answered %d: %w", status, err)
						}
						return nil
					})
				}
			}
			require.NoError(t, sending.Wait())
		})
		top := peak(sampled())
		t.Logf("wave %d: %d answered 413, %d closed without; memory %s, before %s; %d genuine webhooks answered meanwhile",
			wave+1, refused.Load(), closed.Load(), mebibytes(top.memory), mebibytes(before.memory), answered)
		require.Positive(t, refused.Load())
		require.LessOrEqual(t, top.memory-before.memory, float64(len(bodies)*each*maxPerRequest))
		peaks = append(peaks, top)
	}
	require.LessOrEqual(t, peak(peaks[len(peaks)-2:]).memory, peak(peaks[:2]).memory+spare, "memory grows from wave to wave")
	g.requireCalmAgain(before)
	box.requireEachStoredOnce()
}

// gzipBomb inflates to 128 MiB. A gzip file may be many after another.
func gzipBomb(t *testing.T) []byte {
	t.Helper()
	var member bytes.Buffer
	writer := gzip.NewWriter(&member)
	_, err := io.CopyN(writer, zeros{}, 1<<20)
	require.NoError(t, err)
	require.NoError(t, writer.Close())
	bomb := bytes.Repeat(member.Bytes(), 128)
	require.Greater(t, len(bomb), webhookgw.DefaultMaxBody)
	return bomb
}

// zeros never ends.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// endless is one text again and again.
type endless struct {
	text string
	at   int
}

func (e *endless) Read(p []byte) (int, error) {
	n := copy(p, e.text[e.at:])
	e.at = (e.at + n) % len(e.text)
	return n, nil
}

// sendLarge sends until the gateway closes the connection. Without an answer the status is 0: a reset can overtake it.
func sendLarge(ctx context.Context, address string, request io.Reader) (int, error) {
	connection, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return -1, err
	}
	deadline, _ := ctx.Deadline()
	if err := connection.SetDeadline(deadline); err != nil {
		return -1, err
	}
	var sending errgroup.Group
	sending.Go(func() error { _, _ = io.Copy(connection, request); return nil })
	response, err := http.ReadResponse(bufio.NewReader(connection), nil)
	_ = sending.Wait() // the gateway closes: an endless body ends
	_ = connection.Close()
	if err != nil {
		return 0, err
	}
	return response.StatusCode, nil
}

// TestAttackByCopies: hazards W9, F30, L10. Many gateways, one event is one signal.
func TestAttackByCopies(t *testing.T) {
	t.Parallel()
	f := newGatewayFleet(t, 3)
	s := newStack(t, stackOptions{})
	r := order(t, pikesim.PresetNeverReadyCancellable, polling(time.Hour))
	s.start(r)
	s.eventually(r, payout.StateAwaitingReady)
	status, err := s.starter.Get(testContext(t), r.PayoutID)
	require.NoError(t, err)
	before := s.signals(r)
	one, err := signed(webhook("ready_to_confirm", status.SessionID, r.PayoutID), shared.pikeKey)
	require.NoError(t, err)
	sendCopies(t, f, 200, 200, one)
	require.Equal(t, before+1, s.signals(r))

	events := []delivery{one}
	for n := range 7 {
		another, err := signed(webhook("payment_finished", fmt.Sprintf("ps_other_%d", n), r.PayoutID), shared.pikeKey)
		require.NoError(t, err)
		events = append(events, another)
	}
	sendCopies(t, f, 1000**attackScale, 16, events...)
	require.Equal(t, before+len(events), s.signals(r))
	require.Less(t, len(s.history(r)), 200)
	s.cancelOnceUndecided(r)
	require.Equal(t, payout.StateCancelled, s.wait(r).State)
	require.Zero(t, s.calls(r, "session/confirm"))
}

// sendCopies sends the deliveries in turn to the gateways in turn, as many at once as there are clients;
// what is answered 503, because Temporal is busy, is sent again, as Pike would.
func sendCopies(t *testing.T, f *gatewayFleet, copies, clients int, deliveries ...delivery) {
	t.Helper()
	start := make(chan struct{})
	var sent atomic.Int64
	var sending errgroup.Group
	for range clients {
		sending.Go(func() error {
			<-start
			pikeClient := newPike()
			for n := sent.Add(1); n <= int64(copies); n = sent.Add(1) {
				d := deliveries[int(n)%len(deliveries)]
				a := d.send(testContext(t), pikeClient, f.urls()[0])
				for a.status == http.StatusServiceUnavailable {
					a = d.send(testContext(t), pikeClient, f.urls()[0])
				}
				if a.err != nil {
					return fmt.Errorf("sending copy %d: %w", n, a.err)
				}
				if a.status != http.StatusOK {
					return fmt.Errorf("copy %d was answered %d", n, a.status)
				}
			}
			return nil
		})
	}
	close(start)
	require.NoError(t, sending.Wait())
}

// wiretap stands before a gateway and keeps what Pike sent.
type wiretap struct {
	url      string
	mu       sync.Mutex
	captured []delivery
}

func newWiretap(t *testing.T, target string) *wiretap {
	w := &wiretap{}
	server := newTestServer(t, http.HandlerFunc(func(answer http.ResponseWriter, request *http.Request) {
		body, err := io.ReadAll(request.Body)
		if err != nil {
			return
		}
		d := delivery{body: string(body), signature: request.Header.Get(pike.HeaderSign)}
		a := d.send(request.Context(), newPike(), target)
		w.mu.Lock()
		w.captured = append(w.captured, d)
		w.mu.Unlock()
		answer.WriteHeader(cmp.Or(a.status, http.StatusBadGateway))
	}))
	w.url = server.URL
	return w
}

func (w *wiretap) all() []delivery {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]delivery(nil), w.captured...)
}

// TestAttackByReplay: hazard W8. Captured webhooks carry no date: they can be sent for ever, and change nothing.
func TestAttackByReplay(t *testing.T) {
	t.Parallel()
	f := newGatewayFleet(t, 2)
	tap := newWiretap(t, f.urls()[0])
	s := newStack(t, stackOptions{webhooks: tap.url})
	r := order(t, pikesim.PresetConfirmed, manual, polling(time.Hour))
	s.start(r)
	s.eventually(r, payout.StateAwaitingDecision)
	require.Eventually(t, func() bool { return len(tap.all()) == 1 && s.signals(r) == 1 }, time.Minute, 50*time.Millisecond)
	s.requireUnchangedBy(r, func() { replay(t, f, tap.all()) })

	_, err := s.starter.Confirm(testContext(t), r.PayoutID, "ann", "")
	require.NoError(t, err)
	require.Equal(t, payout.StateSucceeded, s.wait(r).State)
	require.Eventually(t, func() bool { return len(tap.all()) == 2 }, time.Minute, 50*time.Millisecond)
	s.requireUnchangedBy(r, func() { replay(t, f, tap.all()) })
}

// requireUnchangedBy: an ended payout's late webhooks may be looked into, so reads of the status do not count.
func (s *stack) requireUnchangedBy(r payout.Request, attack func()) {
	s.t.Helper()
	methods := []string{"session/create", "session/start/payout", "session/confirm", "session/cancel"}
	events, calls := len(s.history(r)), map[string]int{}
	for _, method := range methods {
		calls[method] = s.calls(r, method)
	}
	attack()
	require.Equal(s.t, events, len(s.history(r)), "events in the history") //nolint:testifylint // Len would print them
	for _, method := range methods {
		require.Equal(s.t, calls[method], s.calls(r, method), method)
	}
}

func replay(t *testing.T, f *gatewayFleet, captured []delivery) {
	t.Helper()
	var copies []delivery
	for range 100 * *attackScale {
		copies = append(copies, captured...)
	}
	mathrand.Shuffle(len(copies), func(i, j int) { copies[i], copies[j] = copies[j], copies[i] })
	sendCopies(t, f, len(copies), 8, copies...)
}

// TestAttackByHangingUp: hazard W16. Whoever closes right after sending undoes nothing.
func TestAttackByHangingUp(t *testing.T) {
	t.Parallel()
	// Nobody repeats a webhook here, so Temporal gets all the time there is, and few at once: that it is busy is another test's matter.
	g, box := startGatewayProcess(t, "WEBHOOKGW_SIGNAL_TIMEOUT=9s"), newMailbox(t)
	for range 5 * *attackScale {
		for range 10 {
			d, err := box.next(shared.pikeKey)
			require.NoError(t, err)
			connection, err := new(net.Dialer).DialContext(testContext(t), "tcp", g.host())
			require.NoError(t, err)
			_, err = connection.Write(d.raw())
			require.NoError(t, err)
			require.NoError(t, connection.Close())
		}
		require.Eventually(t, func() bool { return len(box.stored()) == int(box.sent.Load()) }, time.Minute, 100*time.Millisecond)
	}
	box.requireEachStoredOnce()
}

// TestGatewayWithoutAUsableKey: hazard W2. The occupied port shows that none is opened: trying to would end with another code.
func TestGatewayWithoutAUsableKey(t *testing.T) {
	t.Parallel()
	short, err := rsa.GenerateKey(rand.Reader, 1024)
	require.NoError(t, err)
	private := privatePEM(t, shared.pikeKey)
	good := publicPEM(t, &shared.pikeKey.PublicKey)
	contents := map[string]string{
		"empty": "", "garbage": "a canary that nobody prints", "1024 bits": publicPEM(t, &short.PublicKey), "private": private,
		"cut": good[:len(good)/2], "good and then cut": good + good[:len(good)/2],
	}
	for name, content := range contents {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "key.pem")
			require.NoError(t, os.WriteFile(file, []byte(content), 0o600))
			requireRefusedKey(t, file, content)
		})
	}
	t.Run("missing", func(t *testing.T) {
		t.Parallel()
		requireRefusedKey(t, filepath.Join(t.TempDir(), "none.pem"), "")
	})
	t.Run("directory", func(t *testing.T) {
		t.Parallel()
		requireRefusedKey(t, t.TempDir(), "")
	})
}

func requireRefusedKey(t *testing.T, file, content string) {
	t.Helper()
	taken := httptest.NewServer(http.NotFoundHandler())
	defer taken.Close()
	address := taken.Listener.Addr().String()
	var output bytes.Buffer
	binary, err := buildBinary()
	require.NoError(t, err)
	p := startCommand(t, &output, []string{
		"TEMPORAL_ADDRESS=" + shared.address, "PIKE_WEBHOOK_PUBLIC_KEY_FILES=" + file, "WEBHOOKGW_ADDR=" + address,
	}, binary, "webhookgw")
	_ = p.cmd.Wait()
	require.Equal(t, 2, p.cmd.ProcessState.ExitCode(), output.String())
	require.Contains(t, output.String(), "PIKE_WEBHOOK_PUBLIC_KEY_FILES")
	for line := range strings.Lines(content) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "-----") {
			require.NotContains(t, output.String(), line)
		}
	}
}

// TestGatewayPortsAreApart: hazards W17, X22. What is on one port is not on the other, and nothing for debugging is on either.
func TestGatewayPortsAreApart(t *testing.T) {
	t.Parallel()
	g := startGatewayProcess(t)
	pages := []string{"/", "/metrics", "/healthz", "/readyz", "/debug/pprof/", "/debug/vars"}
	onOps := map[string]bool{"/metrics": true, "/healthz": true, "/readyz": true}
	for _, page := range pages {
		require.Equal(t, http.StatusNotFound, statusOf(t, http.MethodGet, g.host(), page), page)
		require.Equal(t, onOps[page], statusOf(t, http.MethodGet, g.ops, page) == http.StatusOK, page)
	}
	require.Equal(t, http.StatusUnauthorized, statusOf(t, http.MethodPost, g.host(), webhookgw.DefaultPath))
	require.Equal(t, http.StatusNotFound, statusOf(t, http.MethodPost, g.ops, webhookgw.DefaultPath))
}

func statusOf(t *testing.T, method, host, path string) int {
	t.Helper()
	target := url.URL{Scheme: "http", Host: host, Path: path}
	request, err := http.NewRequestWithContext(t.Context(), method, target.String(), http.NoBody)
	require.NoError(t, err)
	response, err := opsClient.Do(request)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	return response.StatusCode
}
