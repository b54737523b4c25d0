package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"pikepayouts/payout"
)

// TestMain lets a test run this program as a process of its own: signals and
// what is left behind can only be seen from outside.
func TestMain(m *testing.M) {
	if os.Getenv("PAYOUTS_TEST_AS_PROGRAM") != "" {
		main()
	}
	os.Exit(m.Run())
}

// demoProcess is a demo in a folder of its own. Its Temporal is recognised by that folder.
type demoProcess struct {
	t       *testing.T
	folder  string
	command *exec.Cmd
	lines   *bufio.Scanner
	stderr  bytes.Buffer
}

func startDemo(t *testing.T, arguments ...string) *demoProcess {
	t.Helper()
	d := &demoProcess{t: t, folder: filepath.Join(t.TempDir(), "dev")}
	d.command = exec.Command(os.Args[0], append([]string{"demo", "--keep", "--dir", d.folder, "--temporal", temporalCLI(t)}, arguments...)...) //nolint:gosec,noctx // this very program; the test ends it
	d.command.Env = append(os.Environ(), "PAYOUTS_TEST_AS_PROGRAM=1")
	d.command.Stderr = &d.stderr
	stdout, err := d.command.StdoutPipe()
	require.NoError(t, err)
	d.lines = bufio.NewScanner(stdout)
	require.NoError(t, d.command.Start())
	t.Cleanup(func() { _ = d.command.Process.Kill() })
	return d
}

// temporalCLI is what `make temporal` leaves.
func temporalCLI(t *testing.T) string {
	path := os.Getenv("PAYOUTS_TEMPORAL_BIN")
	if path == "" {
		path = filepath.Join("..", "..", "bin", "temporal")
	}
	absolute, err := filepath.Abs(path)
	require.NoError(t, err)
	_, err = os.Stat(absolute)
	require.NoError(t, err, "no Temporal CLI: run `make temporal`")
	return absolute
}

// readUntil reads what the demo says up to a line that contains text.
func (d *demoProcess) readUntil(text string) string {
	d.t.Helper()
	var said strings.Builder
	for d.lines.Scan() {
		said.WriteString(d.lines.Text() + "\n")
		if strings.Contains(d.lines.Text(), text) {
			return said.String()
		}
	}
	_ = d.command.Wait() // else stderr is still being written
	require.Fail(d.t, "the demo never said "+text, said.String()+d.stderr.String())
	return ""
}

// end waits for the process and checks that its Temporal server is gone too.
func (d *demoProcess) end() int {
	d.t.Helper()
	for d.lines.Scan() { // Wait would close the pipe under the reader
		continue
	}
	err := d.command.Wait()
	var failed *exec.ExitError
	if !errors.As(err, &failed) {
		require.NoError(d.t, err)
	}
	require.Eventually(d.t, func() bool { return len(processesNaming(d.t, d.folder)) == 0 }, 15*time.Second, 20*time.Millisecond,
		"a process is left behind")
	return d.command.ProcessState.ExitCode()
}

// processesNaming lists the processes with text in their command line.
func processesNaming(t *testing.T, text string) []int {
	t.Helper()
	commandLines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	require.NoError(t, err)
	var found []int
	for _, path := range commandLines {
		content, err := os.ReadFile(path) //nolint:gosec // of /proc
		if err == nil && bytes.Contains(content, []byte(text)) {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			require.NoError(t, err)
			found = append(found, pid)
		}
	}
	return found
}

func onLinux(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("looks at /proc")
	}
}

// TestDemo runs all of it: payouts to their ends, then a payout of a person's
// own through the commands, then Ctrl-C.
func TestDemo(t *testing.T) {
	onLinux(t)
	taken, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:8080")
	if err == nil { // else somebody has it, which serves as well
		defer func() { _ = taken.Close() }()
	}
	d := startDemo(t)
	require.Contains(t, d.readUntil("Web UI: http"), "Port 8080 is in use: the webhook gateway takes ")
	said := d.readUntil("Card tokens for other ends")
	require.Equal(t, len(demoPayouts(time.Now())), strings.Count(said, "as expected\n"))
	for _, state := range payout.States() {
		require.Contains(t, said, string(state), "no transition to it was shown")
	}
	require.NotContains(t, said, "\x1b[", "colours without a terminal")

	environment := map[string]string{
		"TEMPORAL_ADDRESS": temporalOf(t, said), "TEMPORAL_CONFIG_FILE": filepath.Join(t.TempDir(), "none.toml"),
		"PAYOUTS_ENCRYPTION_KEYSET_FILE": exported(t, said, "PAYOUTS_ENCRYPTION_KEYSET_FILE"),
	}
	pay := func(id string, more ...string) answer {
		return runWith(t.Context(), environment, append([]string{"start", "--id", id, "--amount", "10000", "--currency", "eur", "--full-name", "Ivanov Ivan",
			"--token", demoPayouts(time.Now())[0].request.Destination.Value().Reveal()}, more...)...)
	}
	started := pay("mine-1", "--wait")
	require.Equal(t, exitDone, started.code, started.stderr)
	require.Contains(t, started.stdout, "succeeded")
	require.Equal(t, exitDone, pay("mine-1").code, "the same request again")
	require.Equal(t, exitConflict, pay("mine-1", "--amount", "10001").code)
	require.Equal(t, exitNotFound, runWith(t.Context(), environment, "status", "mine-2").code)
	require.Equal(t, exitDone, pay("mine-3", "--decision", "manual").code)
	require.Equal(t, exitDone, runWith(t.Context(), environment, "cancel", "mine-3", "--by", "ann").code)
	require.Equal(t, exitNotPaid, runWith(t.Context(), environment, "wait", "mine-3").code)
	require.Equal(t, exitFailed, runWith(t.Context(), environment, "confirm", "mine-3", "--by", "ann").code)
	repeated := runWith(t.Context(), environment, "setup", "-o", "json")
	require.Equal(t, exitDone, repeated.code, repeated.stderr)
	require.Contains(t, repeated.stdout, `"added": []`)

	require.NoError(t, d.command.Process.Signal(os.Interrupt))
	require.Zero(t, d.end(), d.stderr.String())
}

// TestPlainDemo ends by itself. It runs within the test, where no death of a process tidies up after it.
func TestPlainDemo(t *testing.T) {
	// With its usual port taken the Web UI gets a random one, which nobody else opens right after.
	if taken, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:8233"); err == nil {
		defer func() { _ = taken.Close() }()
	}
	result := runWith(t.Context(), nil, "demo", "--dir", filepath.Join(t.TempDir(), "dev"), "--temporal", temporalCLI(t))
	require.Equal(t, exitDone, result.code, result.stderr)
	_, after, _ := strings.Cut(result.stdout, "Web UI: http://")
	webUI, _, _ := strings.Cut(after, "/")
	_, err := new(net.Dialer).DialContext(t.Context(), "tcp", webUI)
	require.ErrorIs(t, err, syscall.ECONNREFUSED, "the server still runs")
}

// exported is a variable that the demo tells its reader to set.
func exported(t *testing.T, said, variable string) string {
	t.Helper()
	_, after, found := strings.Cut(said, "export "+variable+"=")
	require.True(t, found, said)
	value, _, _ := strings.Cut(after, "\n")
	return value
}

func temporalOf(t *testing.T, said string) string {
	t.Helper()
	for line := range strings.Lines(said) {
		if fields := strings.Fields(line); len(fields) == 2 && fields[0] == "Temporal" {
			return fields[1]
		}
	}
	require.Fail(t, "no address of Temporal", said)
	return ""
}

// TestDemoLeavesNothingBehind stops the demo at every stage, also without letting it clean up.
func TestDemoLeavesNothingBehind(t *testing.T) {
	onLinux(t)
	for _, stage := range []string{"Keys in", "Temporal server", "Simulated Pike", "Web UI", "awaiting_ready"} {
		for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGKILL} {
			t.Run(fmt.Sprint(stage, " ", signal), func(t *testing.T) {
				t.Parallel()
				d := startDemo(t)
				d.readUntil(stage)
				require.NoError(t, d.command.Process.Signal(signal))
				require.NotZero(t, d.end())
			})
		}
	}
}

// TestDemoEndsWithItsServer: a part that breaks ends the demo with the reason.
func TestDemoEndsWithItsServer(t *testing.T) {
	onLinux(t)
	d := startDemo(t)
	d.readUntil("Card tokens for other ends")
	for _, pid := range processesNaming(t, filepath.Join(d.folder, "temporal.db")) {
		require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
	}
	require.Equal(t, exitFailed, d.end())
	require.Contains(t, d.stderr.String(), "the Temporal server ended; see ")
}

// TestDemoTriesAgain: a server that cannot start, as for a port that was taken in that moment, is started again.
func TestDemoTriesAgain(t *testing.T) {
	broken := filepath.Join(t.TempDir(), "temporal")
	require.NoError(t, os.WriteFile(broken, []byte("#!/bin/sh\nexit 1\n"), 0o700)) //nolint:gosec // a program
	result := runWith(t.Context(), nil, "demo", "--dir", filepath.Join(t.TempDir(), "dev"), "--temporal", broken)
	require.Equal(t, exitFailed, result.code)
	require.Equal(t, temporalAttempts-1, strings.Count(result.stdout, "trying again"))
	require.Contains(t, result.stderr, "the Temporal server ended; see ")
}

func TestDemoWithoutTemporal(t *testing.T) {
	t.Chdir(t.TempDir())
	t.Setenv("PATH", "")
	result := runWith(t.Context(), nil, "demo")
	require.Equal(t, exitFailed, result.code)
	require.Contains(t, result.stderr, "make temporal")
	result = runWith(t.Context(), nil, "demo", "--temporal", "/nowhere/temporal")
	require.Equal(t, exitFailed, result.code)
	require.Contains(t, result.stderr, "make temporal")
}

// TestDemoNoticesAWrongEnd: it is no demo that says "as expected" whatever happens.
func TestDemoNoticesAWrongEnd(t *testing.T) {
	order := demoPayouts(time.Now())[0]
	good := demoOutcome{demoPayout: order, status: payout.Status{State: payout.StateSucceeded}, paidByPike: 1}
	require.True(t, good.asExpected())
	for _, wrong := range []demoOutcome{
		{demoPayout: order, status: payout.Status{State: payout.StateFailed}, paidByPike: 1},
		{demoPayout: order, status: payout.Status{State: payout.StateSucceeded}},
		{demoPayout: order, status: payout.Status{State: payout.StateSucceeded}, paidByPike: 2},
	} {
		require.False(t, wrong.asExpected())
		require.Contains(t, outcomeTable(palette{}, []demoOutcome{wrong}), "expected succeeded")
	}
}
