package e2e

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"pikepayouts/payout"
	"pikepayouts/pikesim"
)

var buildBinary = sync.OnceValues(func() (string, error) {
	path := filepath.Join("..", "bin", "payouts")
	build := exec.Command("go", "build", "-o", path, "../cmd/payouts")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return "", err
	}
	return filepath.Abs(path)
})

// process is a real `payouts` process that a test may kill.
type process struct {
	t   *testing.T
	cmd *exec.Cmd
}

func startProcess(t *testing.T, environment []string, arguments ...string) *process {
	t.Helper()
	binary, err := buildBinary()
	require.NoError(t, err)
	return startBinary(t, binary, environment, arguments...)
}

// startBinary starts another build than that of the tree.
func startBinary(t *testing.T, binary string, environment []string, arguments ...string) *process {
	t.Helper()
	return startCommand(t, io.Discard, environment, binary, arguments...)
}

// startCommand gives its stderr to log.
func startCommand(t *testing.T, log io.Writer, environment []string, name string, arguments ...string) *process {
	t.Helper()
	cmd := exec.Command(name, arguments...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "PAYOUTS_OPS_ADDR=127.0.0.1:0"}, environment...)
	cmd.Stderr = log
	if os.Getenv("PAYOUTS_E2E_LOG") != "" {
		cmd.Stdout, cmd.Stderr = os.Stderr, io.MultiWriter(os.Stderr, log)
	}
	require.NoError(t, cmd.Start())
	p := &process{t: t, cmd: cmd}
	t.Cleanup(p.kill)
	return p
}

// kill is SIGKILL; a second one does nothing.
func (p *process) kill() {
	if p.cmd.ProcessState == nil {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
	}
}

// stop is SIGTERM: the process must end well.
func (p *process) stop() {
	p.t.Helper()
	require.NoError(p.t, p.cmd.Process.Signal(syscall.SIGTERM))
	require.NoError(p.t, p.cmd.Wait())
}

func workerEnvironment(t *testing.T, s *stack, pikeURL string) []string {
	t.Helper()
	keyFile := filepath.Join(t.TempDir(), "partner.pem")
	require.NoError(t, os.WriteFile(keyFile, []byte(privatePEM(t, shared.partnerKey)), 0o600))
	return []string{
		"TEMPORAL_ADDRESS=" + shared.address, "PAYOUTS_TASK_QUEUE=" + s.taskQueue,
		"PIKE_BASE_URL=" + pikeURL, "PIKE_PROJECT=" + project, "PIKE_PRIVATE_KEY_FILE=" + keyFile,
	}
}

// gate is a proxy before Pike that can hold one method: the request has
// arrived, the answer does not come until the caller is gone.
type gate struct {
	url     string
	mu      sync.Mutex
	method  string
	worked  bool
	arrived chan struct{}
}

func newGate(t *testing.T, pikeURL string) *gate {
	target, err := url.Parse(pikeURL)
	require.NoError(t, err)
	g := &gate{arrived: make(chan struct{})}
	proxy := httputil.NewSingleHostReverseProxy(target)
	server := newTestServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !g.holds(r.URL.Path) {
			proxy.ServeHTTP(w, r)
			return
		}
		body, err := io.ReadAll(r.Body) // net/http notices that the caller is gone only after its body is read
		if err != nil {
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		if g.worked { // Pike does the work, the caller never learns
			proxy.ServeHTTP(&discardWriter{header: http.Header{}}, r.WithContext(context.WithoutCancel(r.Context())))
		}
		close(g.arrived)
		<-r.Context().Done()
	}))
	g.url = server.URL
	return g
}

// hold holds the next request of the method; worked says whether Pike gets it first.
func (g *gate) hold(method string, worked bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.method, g.worked, g.arrived = method, worked, make(chan struct{})
}

func (g *gate) holds(path string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.method == "" || !strings.HasSuffix(path, "/"+g.method) {
		return false
	}
	g.method = ""
	return true
}

func (g *gate) waitForArrival(t *testing.T) {
	t.Helper()
	select {
	case <-g.arrived:
	case <-time.After(time.Minute):
		t.Fatal("the held request never arrived")
	}
}

type discardWriter struct{ header http.Header }

func (w *discardWriter) Header() http.Header         { return w.header }
func (w *discardWriter) Write(p []byte) (int, error) { return len(p), nil }
func (w *discardWriter) WriteHeader(int)             {}

// TestWorkerKilledInEveryState kills a real worker process once in each state,
// in calls both before and after Pike did the work, and starts another one.
func TestWorkerKilledInEveryState(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		preset pikesim.Preset
		// either a call to hold, or a state to wait for
		call   string
		worked bool
		state  payout.State
		manual bool
		decide string
		want   payout.State
	}{
		{name: "creating, before Pike worked", call: "session/create", want: payout.StateSucceeded},
		{name: "creating, after Pike worked", call: "session/create", worked: true, want: payout.StateSucceeded},
		{name: "starting, before Pike worked", call: "session/start/payout", want: payout.StateSucceeded},
		{name: "starting, after Pike worked", call: "session/start/payout", worked: true, want: payout.StateSucceeded},
		{name: "awaiting_ready", preset: pikesim.PresetWebhooksLate, state: payout.StateAwaitingReady, want: payout.StateSucceeded},
		{name: "awaiting_decision", state: payout.StateAwaitingDecision, manual: true, decide: payout.DecisionConfirm, want: payout.StateSucceeded},
		{name: "confirming, before Pike worked", call: "session/confirm", want: payout.StateSucceeded},
		{name: "confirming, after Pike worked", call: "session/confirm", worked: true, want: payout.StateSucceeded},
		{name: "awaiting_result", call: "session/status", want: payout.StateSucceeded},
		{name: "cancelling", call: "session/cancel", worked: true, manual: true, decide: payout.DecisionCancel, want: payout.StateCancelled},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newStack(t, stackOptions{noWorker: true, timing: pikesim.Timing{LateWebhooks: 5 * time.Second}})
			g := newGate(t, s.simURL)
			environment := workerEnvironment(t, s, g.url)
			if tt.call != "" && tt.name != "awaiting_result" {
				g.hold(tt.call, tt.worked)
			}
			first := startProcess(t, environment, "worker")
			r := order(t, tt.preset, polling(5*time.Second))
			if tt.manual {
				manual(&r)
			}
			s.start(r)
			if tt.decide != "" {
				s.eventually(r, payout.StateAwaitingDecision)
			}
			switch {
			case tt.name == "awaiting_result":
				require.Eventually(t, func() bool { return s.calls(r, "session/confirm") == 1 }, time.Minute, time.Millisecond)
			case tt.state != "":
				s.eventually(r, tt.state)
			case tt.decide != "":
				_, err := s.starter.Cancel(testContext(t), r.PayoutID, "ann", "")
				require.NoError(t, err)
				g.waitForArrival(t)
			default:
				g.waitForArrival(t)
			}
			first.kill()
			startProcess(t, environment, "worker")
			if tt.decide == payout.DecisionConfirm {
				_, err := s.starter.Confirm(testContext(t), r.PayoutID, "ann", "")
				require.NoError(t, err)
			}
			require.Equal(t, tt.want, s.wait(r).State)
			require.LessOrEqual(t, s.calls(r, "session/start/payout"), 1)
			require.LessOrEqual(t, s.calls(r, "session/confirm"), 1)
		})
	}
}
