package e2e

import (
	"bytes"
	"context"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
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
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "PAYOUTS_OPS_ADDR=127.0.0.1:0", shared.keyset.environment(), "PAYOUTS_LOG_LEVEL=debug"}, environment...)
	cmd.Stderr = io.MultiWriter(log, shared.evidence.of("processes.log"))
	cmd.Stdout = shared.evidence.of("processes.out")
	if os.Getenv("PAYOUTS_E2E_LOG") != "" {
		cmd.Stdout, cmd.Stderr = os.Stderr, io.MultiWriter(os.Stderr, cmd.Stderr)
	}
	require.NoError(t, cmd.Start())
	p := &process{t: t, cmd: cmd}
	t.Cleanup(func() { p.kill() })
	return p
}

// kill is SIGKILL, and says whether it is what ended the process. A second one does nothing.
func (p *process) kill() bool {
	if p.cmd.ProcessState == nil {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
	}
	status, _ := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	return status.Signaled() && status.Signal() == syscall.SIGKILL
}

// terminate is SIGTERM, and waits for the exit code.
func (p *process) terminate() int {
	p.t.Helper()
	p.signal(syscall.SIGTERM)
	_ = p.cmd.Wait() // its error is the exit code once more
	return p.cmd.ProcessState.ExitCode()
}

// freeze is SIGSTOP. It returns once the process stands still: some of its threads may go on for a moment.
func (p *process) freeze() {
	p.t.Helper()
	p.signal(syscall.SIGSTOP)
	var status syscall.WaitStatus
	_, err := syscall.Wait4(p.cmd.Process.Pid, &status, syscall.WUNTRACED, nil)
	require.NoError(p.t, err)
	require.True(p.t, status.Stopped(), "the process was gone before")
}

func (p *process) signal(signal syscall.Signal) {
	p.t.Helper()
	require.NoError(p.t, p.cmd.Process.Signal(signal))
}

// stop is SIGTERM: the process must end well.
func (p *process) stop() {
	p.t.Helper()
	require.Zero(p.t, p.terminate())
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

// phase is how far a call is when the gate holds it.
type phase string

const (
	// phaseNotArrived: the request has left the worker, no byte of it has reached Pike.
	phaseNotArrived phase = "before Pike got a byte"
	// phaseUnanswered: Pike has done the work, no byte of the answer has left it.
	phaseUnanswered phase = "after Pike worked, unanswered"
	// phaseAnswered: the whole answer is on its way to the worker.
	phaseAnswered phase = "answered, not reported"
)

// gate is a proxy before Pike that can hold one call.
type gate struct {
	url  string
	mu   sync.Mutex
	held *heldCall
}

// heldCall is the call to hold: the nth of the method, from 1.
type heldCall struct {
	method   string
	nth      int
	activity string // that makes it
	phase    phase
	// answering, if set, is called before the answer of phaseAnswered leaves.
	answering func()

	reached  chan struct{} // closed when the call is in its phase
	released chan struct{} // closed to let it go on
}

func newGate(t *testing.T, pikeURL string) *gate {
	target, err := url.Parse(pikeURL)
	require.NoError(t, err)
	g := &gate{}
	proxy := httputil.NewSingleHostReverseProxy(target)
	server := newTestServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		call := g.holds(r.URL.Path)
		if call == nil {
			proxy.ServeHTTP(w, r)
			return
		}
		body, err := io.ReadAll(r.Body) // net/http notices that the caller is gone only after its body is read
		if err != nil {
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		call.serve(w, r, proxy)
	}))
	g.url = server.URL
	return g
}

// hold holds a call to come.
func (g *gate) hold(call heldCall) *heldCall {
	g.mu.Lock()
	defer g.mu.Unlock()
	call.reached, call.released = make(chan struct{}), make(chan struct{})
	g.held = &call
	return g.held
}

func (g *gate) holds(path string) *heldCall {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.held == nil || !strings.HasSuffix(path, "/"+g.held.method) {
		return nil
	}
	if g.held.nth--; g.held.nth > 0 {
		return nil
	}
	call := g.held
	g.held = nil
	return call
}

func (h *heldCall) serve(w http.ResponseWriter, r *http.Request, pike http.Handler) {
	if h.phase == phaseNotArrived {
		if h.waitForRelease(r.Context()) {
			pike.ServeHTTP(w, r)
		}
		return
	}
	answer := httptest.NewRecorder()
	pike.ServeHTTP(answer, r.WithContext(context.WithoutCancel(r.Context()))) // whatever becomes of the caller
	if h.phase == phaseUnanswered {
		if h.waitForRelease(r.Context()) {
			passAnswer(w, answer)
		}
		return
	}
	if h.answering != nil {
		h.answering()
	}
	passAnswer(w, answer)
	close(h.reached)
}

// waitForRelease is false if the caller was gone first.
func (h *heldCall) waitForRelease(ctx context.Context) bool {
	close(h.reached)
	select {
	case <-h.released:
		return true
	case <-ctx.Done():
		return false
	}
}

// passAnswer returns once the whole answer has left.
func passAnswer(w http.ResponseWriter, answer *httptest.ResponseRecorder) {
	maps.Copy(w.Header(), answer.Header())
	w.WriteHeader(answer.Code)
	_, _ = w.Write(answer.Body.Bytes())
	_ = http.NewResponseController(w).Flush()
}

func (h *heldCall) release() { close(h.released) }

// wasReached waits for the call, and says whether it came.
func (h *heldCall) wasReached() bool {
	select {
	case <-h.reached:
		return true
	case <-time.After(time.Minute):
		return false
	}
}
