package webui

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	// patience bounds every wait: many times what a slow machine needs.
	patience = time.Minute
	often    = 100 * time.Millisecond
	// pageLoad is when a page that does not yet show what it should is opened again.
	pageLoad = 10 * time.Second
)

// program is what `make build` leaves.
var program = filepath.Join("..", "..", "bin", "payouts")

// demo is a running `payouts demo --keep` in a folder of its own, on whatever ports it found free.
type demo struct {
	t *testing.T
	// webUI and pike are where it says that they are.
	webUI, pike string
	// environment is what it tells a reader to export.
	environment []string
	tokens      map[string]string // of cards, by the simulator's preset
	runs        map[string]string // run ids, by payout id
}

// startDemo returns once the demo's own payouts have ended and everything is there for more.
func startDemo(t *testing.T) *demo {
	t.Helper()
	d := &demo{t: t, environment: withoutTemporal(os.Environ()), runs: map[string]string{}}
	command := exec.Command(program, "demo", "--keep", "--dir", filepath.Join(t.TempDir(), "dev"))
	command.Env, command.SysProcAttr = d.environment, childAttributes()
	var complaints bytes.Buffer
	command.Stderr = &complaints
	stdout, err := command.StdoutPipe()
	require.NoError(t, err)
	startFromALastingThread(t, command)
	var reading sync.WaitGroup
	t.Cleanup(func() { stop(t, command, &reading) })

	lines, said := bufio.NewScanner(stdout), &strings.Builder{}
	for lines.Scan() {
		line := lines.Text()
		said.WriteString(line + "\n")
		d.learn(strings.TrimSpace(line))
		if strings.HasPrefix(line, "Card tokens for other ends") { // the last line
			break
		}
	}
	if d.webUI == "" || d.pike == "" {
		_ = command.Process.Kill()
		_ = command.Wait() // else stderr is still being written
		require.Fail(t, "the demo did not start", said.String()+complaints.String())
	}
	reading.Go(func() { _, _ = io.Copy(io.Discard, stdout) })
	d.tokens = d.presets()
	return d
}

// in is the same demo for a subtest.
func (d *demo) in(t *testing.T) *demo {
	copied := *d
	copied.t = t
	return &copied
}

// learn takes in what one line of the demo says.
func (d *demo) learn(line string) {
	if variable, found := strings.CutPrefix(line, "export "); found {
		d.environment = append(d.environment, variable)
	}
	switch fields := strings.Fields(line); {
	case strings.HasPrefix(line, "Web UI "): // "Web UI:" has come earlier, when not everything was ready
		d.webUI = fields[2]
	case strings.HasPrefix(line, "Simulated Pike  "):
		d.pike = fields[2]
	}
}

// withoutTemporal drops settings for another Temporal: the demo exports an address only where it is not the usual.
func withoutTemporal(environment []string) []string {
	return slices.DeleteFunc(environment, func(pair string) bool { return strings.HasPrefix(pair, "TEMPORAL_") })
}

// startFromALastingThread: on Linux the child is told when the thread that started it ends, so that one stays.
func startFromALastingThread(t *testing.T, command *exec.Cmd) {
	t.Helper()
	started, testEnds := make(chan error), make(chan struct{})
	t.Cleanup(func() { close(testEnds) }) // registered first, runs last
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		started <- command.Start()
		<-testEnds
	}()
	require.NoError(t, <-started)
}

// stop is Ctrl-C, which ends the demo in order with all that it started.
func stop(t *testing.T, command *exec.Cmd, reading *sync.WaitGroup) {
	_ = command.Process.Signal(os.Interrupt)
	late := time.AfterFunc(patience, func() { _ = command.Process.Signal(syscall.SIGKILL) })
	defer late.Stop()
	reading.Wait() // Wait would close the pipe under the reader
	_ = command.Wait()
	if state := command.ProcessState; state != nil && !state.Exited() {
		t.Error("the demo did not stop by itself:", state)
	}
}

// payouts runs the command line as the demo tells its reader to.
func (d *demo) payouts(arguments ...string) []byte {
	d.t.Helper()
	command := exec.CommandContext(d.t.Context(), program, arguments...)
	command.Env = d.environment
	var stderr bytes.Buffer
	command.Stderr = &stderr
	output, err := command.Output()
	require.NoError(d.t, err, "payouts %s: %s%s", strings.Join(arguments, " "), output, stderr.String())
	return output
}

func (d *demo) presets() map[string]string {
	d.t.Helper()
	var presets []struct{ Name, Token string }
	require.NoError(d.t, json.Unmarshal(d.payouts("pikesim", "presets", "-o", "json"), &presets))
	tokens := map[string]string{}
	for _, preset := range presets {
		tokens[preset.Name] = preset.Token
	}
	return tokens
}

// start pays an amount in euro cents to a card of the preset. The decision is auto or manual.
func (d *demo) start(id, preset, amount, decision string) {
	d.t.Helper()
	require.Contains(d.t, d.tokens, preset)
	var started struct {
		RunID string `json:"run_id"`
	}
	output := d.payouts("start", "--id", id, "--amount", amount, "--currency", "eur", "--full-name", "Ivanov Ivan",
		"--token", d.tokens[preset], "--decision", decision, "-o", "json")
	require.NoError(d.t, json.Unmarshal(output, &started))
	require.NotEmpty(d.t, started.RunID)
	d.runs[id] = started.RunID
}

// tab is the path of one of a payout's tabs in the Web UI.
func (d *demo) tab(id, name string) string {
	return "/workflows/" + url.PathEscape("payout/"+id) + "/" + d.runs[id] + "/" + name
}

// status is what of payout.Status the tests look at.
type status struct {
	State     string
	Attention *struct{ Reason string }
	Decision  *struct{ Value, By string }
}

func (d *demo) status(id string) status {
	d.t.Helper()
	var s status
	require.NoError(d.t, json.Unmarshal(d.payouts("status", id, "-o", "json"), &s))
	return s
}

func (d *demo) waitUntil(id string, reached func(status) bool) {
	d.t.Helper()
	var last status
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		if last = d.status(id); reached(last) {
			return
		}
	}
	require.Fail(d.t, "payout "+id+" did not get there", "%+v", last)
}

// movements is how often the simulated Pike has paid a payout.
func (d *demo) movements(id string) int {
	d.t.Helper()
	response, err := http.Get(d.pike + "/_sim/ledger")
	require.NoError(d.t, err)
	defer func() { _ = response.Body.Close() }()
	var ledger struct {
		Movements []struct{ Metadata string }
	}
	require.NoError(d.t, json.NewDecoder(response.Body).Decode(&ledger))
	count := 0
	for _, movement := range ledger.Movements {
		if movement.Metadata == id {
			count++
		}
	}
	return count
}
