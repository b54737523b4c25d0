package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sethvargo/go-envconfig"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"pikepayouts/payout"
)

// onTerminal runs a command line whose stdout is a real terminal, and returns what came there.
func onTerminal(t *testing.T, fake *fakePayouts, environment map[string]string, args ...string) string {
	t.Helper()
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	require.NoError(t, err)
	defer func() { _ = screen.Close() }()
	require.NoError(t, unix.IoctlSetPointerInt(int(screen.Fd()), unix.TIOCSPTLCK, 0))
	number, err := unix.IoctlGetInt(int(screen.Fd()), unix.TIOCGPTN)
	require.NoError(t, err)
	terminal, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)

	var shown bytes.Buffer
	read := make(chan struct{})
	go func() {
		defer close(read)
		_, _ = io.Copy(&shown, screen) // ends with an error once the terminal is closed
	}()
	a := &app{stdin: strings.NewReader(""), stdout: terminal, stderr: io.Discard, lookuper: envconfig.MapLookuper(environment), payouts: fake}
	require.Equal(t, exitDone, a.run(t.Context(), args))
	require.NoError(t, terminal.Close())
	<-read
	return strings.ReplaceAll(shown.String(), "\r\n", "\n")
}

var colourCode = regexp.MustCompile("\x1b\\[[0-9]+m")

// TestColoursAreForTerminalsOnly: they mean something, change nothing else, and can be switched off.
func TestColoursAreForTerminalsOnly(t *testing.T) {
	status := testStatus()
	status.Actions = []payout.Action{payout.ActionRecheck}
	fake := &fakePayouts{status: status, summaries: testSummaries()}
	fake.summaries[1].State, fake.summaries[1].Status = payout.StateSucceeded, "Terminated"
	for command, coloured := range map[string][]string{
		"list": {
			"\x1b[33mawaiting_decision\x1b[0m", "\x1b[32msucceeded\x1b[0m", "\x1b[33mpike_unreachable\x1b[0m", "\x1b[31mterminated\x1b[0m", "\x1b[1mPAYOUT\x1b[0m",
		},
		"status inv-1": {
			"\x1b[1minv-1\x1b[0m", "\x1b[33mresult_overdue since ", "\x1b[31mdeclined: limit\x1b[0m", "\x1b[36mpayouts resolve inv-1 --action recheck --by YOU\x1b[0m",
		},
	} {
		args := strings.Fields(command)
		piped := runFake(t, fake, "", args...).stdout
		require.NotContains(t, piped, "\x1b")
		for _, environment := range []map[string]string{nil, {"TERM": "xterm", "NO_COLOR": ""}} {
			shown := onTerminal(t, fake, environment, args...)
			for _, want := range coloured {
				require.Contains(t, shown, want)
			}
			require.Equal(t, piped, colourCode.ReplaceAllString(shown, ""), "colours have no width")
		}
		require.Equal(t, piped, onTerminal(t, fake, map[string]string{"NO_COLOR": "1"}, args...))
		require.Equal(t, piped, onTerminal(t, fake, map[string]string{"TERM": "dumb"}, args...))
		asJSON := slices.Concat(args, []string{"-o", "json"})
		require.Equal(t, runFake(t, fake, "", asJSON...).stdout, onTerminal(t, fake, nil, asJSON...))
	}
}

// TestWaitOnATerminalShowsTransitionsOnce, as they happen, and the facts of the end after them.
func TestWaitOnATerminalShowsTransitionsOnce(t *testing.T) {
	status := testStatus()
	status.State = payout.StateSucceeded
	status.Transitions = append(status.Transitions, payout.Transition{State: payout.StateSucceeded, At: status.Transitions[0].At.Add(time.Minute), Why: "paid"})
	shown := colourCode.ReplaceAllString(onTerminal(t, &fakePayouts{status: status}, nil, "wait", "inv-1"), "")
	require.Equal(t, 1, strings.Count(shown, "confirm accepted"), shown)
	require.Contains(t, shown, "after 1m0s")
}
