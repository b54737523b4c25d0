package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	"google.golang.org/protobuf/proto"

	"pikepayouts/payout"
	"pikepayouts/pikesim"
)

// exampleRecipient stands nowhere else in the repository or in a history.
const exampleRecipient = "Petrova-Exemplar Anna"

// exampleTime is many times what one payout needs: a program that waits for one that never ends is killed.
const exampleTime = time.Minute

// TestExamples runs each caller of examples/ as its reader would, against the
// encrypted demo. Only the one in Go has the keyset.
func TestExamples(t *testing.T) {
	onLinux(t)
	d := startDemo(t)
	d.readUntil("Web UI: http")
	said := d.readUntil("Card tokens for other ends")
	keyset := "PAYOUTS_ENCRYPTION_KEYSET_FILE=" + exported(t, said, "PAYOUTS_ENCRYPTION_KEYSET_FILE")
	codecServer := "TEMPORAL_CODEC_ENDPOINT=" + addressOf(t, said, "Codec server")
	t.Run("callers", func(t *testing.T) {
		for name, caller := range map[string]struct {
			prepare    func(*testing.T) []string
			encryption string
		}{
			"go":         {goExample, keyset},
			"typescript": {typeScriptExample, codecServer},
			"cli":        {cliExample, codecServer},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				newExample(t, name, caller.prepare(t), caller.encryption, said).pays()
			})
		}
	})
	require.NoError(t, d.command.Process.Signal(os.Interrupt))
	require.Zero(t, d.end(), d.stderr.String())
}

// example is a program of examples/, and what its payouts can be looked at with.
type example struct {
	t           *testing.T
	name        string
	command     []string
	environment []string // without the encryption
	encryption  string

	operator  map[string]string // the environment of the commands of this binary
	temporal  client.Client
	simulator string
}

func newExample(t *testing.T, name string, command []string, encryption, said string) *example {
	t.Helper()
	address, noFile := temporalOf(t, said), filepath.Join(t.TempDir(), "none.toml")
	temporal, err := client.Dial(client.Options{HostPort: address})
	require.NoError(t, err)
	t.Cleanup(temporal.Close)
	cli := t.TempDir()
	require.NoError(t, os.Symlink(temporalCLI(t), filepath.Join(cli, "temporal")))
	return &example{
		t: t, name: name, command: command, encryption: encryption, temporal: temporal, simulator: addressOf(t, said, "Simulated Pike"),
		environment: []string{
			"PATH=" + cli + string(os.PathListSeparator) + os.Getenv("PATH"), "HOME=" + t.TempDir(), "TEMPORAL_ADDRESS=" + address, "TEMPORAL_CONFIG_FILE=" + noFile,
			"CARD_TOKEN=" + pikesim.Token(pikesim.PresetConfirmed), "FULL_NAME=" + exampleRecipient,
		},
		operator: map[string]string{
			"TEMPORAL_ADDRESS": address, "TEMPORAL_CONFIG_FILE": noFile,
			"PAYOUTS_ENCRYPTION_KEYSET_FILE": exported(t, said, "PAYOUTS_ENCRYPTION_KEYSET_FILE"),
		},
	}
}

func (e *example) pays() {
	auto, confirmed, cancelled, inClear := e.name+"-auto", e.name+"-confirmed", e.name+"-cancelled", e.name+"-in-clear"

	e.run(exitDone, auto, "10000", "eur")
	first := e.runID(auto)
	e.run(exitDone, auto, "10000", "eur") // the same again
	e.run(exitConflict, auto, "10001", "eur")
	require.Equal(e.t, exitDone, e.operatorStarts(auto, "10000"))
	require.Equal(e.t, exitConflict, e.operatorStarts(auto, "10001"))
	require.Equal(e.t, first, e.runID(auto), "a second run")
	require.Equal(e.t, payout.StateSucceeded, e.status(auto).State)
	require.Equal(e.t, payout.AmountDetails{Amount: 10000, Currency: "eur"}, e.status(auto).AmountDetails)
	require.Equal(e.t, 1, e.movements(auto))

	e.run(exitDone, confirmed, "2500", "eur", "confirm")
	require.Equal(e.t, payout.DecisionConfirm, e.status(confirmed).Decision.Value)
	require.Equal(e.t, 1, e.movements(confirmed))

	e.run(exitNotPaid, cancelled, "99000", "eur", "cancel")
	e.run(exitNotPaid, cancelled, "99000", "eur", "confirm") // too late
	require.Equal(e.t, payout.StateCancelled, e.status(cancelled).State)
	require.Zero(e.t, e.movements(cancelled))

	for _, id := range []string{auto, confirmed, cancelled} {
		require.False(e.t, e.readable(id), "history of %s shows who was paid", id)
	}
	e.isRefusedInClear(inClear)
}

// isRefusedInClear forgets the encryption. What it wrote then is in Temporal for everybody to read, which
// shows that readable would see it.
func (e *example) isRefusedInClear(id string) {
	e.t.Helper()
	e.encryption = "PAYOUTS_ENCRYPTION_KEYSET_FILE="
	e.run(exitFailed, id, "10000", "eur")
	refused := runWith(e.t.Context(), e.operator, "wait", id)
	require.Equal(e.t, exitFailed, refused.code)
	require.Contains(e.t, refused.stderr, "it is not encrypted, and a keyset is set")
	require.Zero(e.t, e.movements(id))
	require.True(e.t, e.readable(id))
}

// run is one run of the program, and checks its exit code.
func (e *example) run(want int, arguments ...string) {
	e.t.Helper()
	ctx, cancel := context.WithTimeout(e.t.Context(), exampleTime)
	defer cancel()
	command := exec.CommandContext(ctx, e.command[0], slices.Concat(e.command[1:], arguments)...)
	command.Env = slices.Concat(e.environment, []string{e.encryption})
	command.WaitDelay = time.Second // what a killed shell leaves behind has the output open
	output, err := command.CombinedOutput()
	var failed *exec.ExitError
	if !errors.As(err, &failed) {
		require.NoError(e.t, err)
	}
	require.Equal(e.t, want, command.ProcessState.ExitCode(), "%v\n%s", arguments, output)
}

func (e *example) status(id string) payout.Status {
	e.t.Helper()
	shown := runWith(e.t.Context(), e.operator, "status", id, "-o", "json")
	require.Equal(e.t, exitDone, shown.code, shown.stderr)
	var status payout.Status
	require.NoError(e.t, json.Unmarshal([]byte(shown.stdout), &status))
	return status
}

// operatorStarts orders what the example did, with another kind of caller.
func (e *example) operatorStarts(id, amount string) int {
	e.t.Helper()
	return runWith(e.t.Context(), e.operator, "start", "--id", id, "--amount", amount, "--currency", "eur", "--full-name", exampleRecipient,
		"--token", pikesim.Token(pikesim.PresetConfirmed)).code
}

// runID is the newest run under the payout's id.
func (e *example) runID(id string) string {
	e.t.Helper()
	description, err := e.temporal.DescribeWorkflowExecution(e.t.Context(), payout.WorkflowID(id), "")
	require.NoError(e.t, err)
	return description.GetWorkflowExecutionInfo().GetExecution().GetRunId()
}

// movements is how often Pike paid.
func (e *example) movements(id string) int {
	e.t.Helper()
	request, err := http.NewRequestWithContext(e.t.Context(), http.MethodGet, e.simulator+"/_sim/ledger", http.NoBody)
	require.NoError(e.t, err)
	response, err := http.DefaultClient.Do(request)
	require.NoError(e.t, err)
	defer func() { _ = response.Body.Close() }()
	var ledger pikesim.Ledger
	require.NoError(e.t, json.NewDecoder(response.Body).Decode(&ledger))
	return len(ledger.Of(id).Movements)
}

// readable says whether who is paid, or the card, can be read by whoever reads Temporal's database.
func (e *example) readable(id string) bool {
	e.t.Helper()
	events := e.temporal.GetWorkflowHistory(e.t.Context(), payout.WorkflowID(id), "", false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	found := false
	for events.HasNext() {
		event, err := events.Next()
		require.NoError(e.t, err)
		stored, err := proto.Marshal(event)
		require.NoError(e.t, err)
		found = found || bytes.Contains(stored, []byte(exampleRecipient)) || bytes.Contains(stored, []byte(pikesim.Token(pikesim.PresetConfirmed)))
	}
	return found
}

func goExample(t *testing.T) []string {
	program := filepath.Join(t.TempDir(), "example")
	build(t, "../../examples/go", "go", "build", "-o", program, ".")
	return []string{program}
}

func cliExample(t *testing.T) []string {
	needs(t, "jq")
	return []string{"sh", filepath.Join("..", "..", "examples", "cli", "payout.sh")}
}

// typeScriptExample is built in a copy: the tree may hold what a developer installed there.
func typeScriptExample(t *testing.T) []string {
	needs(t, "node")
	needs(t, "npm")
	folder := t.TempDir()
	for _, name := range []string{"package.json", "package-lock.json", "tsconfig.json"} {
		content, err := os.ReadFile(filepath.Join("..", "..", "examples", "typescript", name))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(folder, name), content, 0o600))
	}
	require.NoError(t, os.CopyFS(filepath.Join(folder, "src"), os.DirFS("../../examples/typescript/src")))
	begin := time.Now()
	installPackages(t, folder)
	build(t, folder, "npm", "run", "build")
	t.Logf("npm ci and tsc took %s", time.Since(begin).Round(time.Second))
	return []string{"node", filepath.Join(folder, "dist", "main.js")}
}

// unreachable is what npm says where there is no registry to be reached.
var unreachable = regexp.MustCompile(`ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ENETUNREACH|EHOSTUNREACH|ETIMEDOUT|ERR_SOCKET_TIMEOUT|FETCH_ERROR`)

func installPackages(t *testing.T, folder string) {
	t.Helper()
	install := exec.CommandContext(t.Context(), "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=1", "--fetch-timeout=60000")
	install.Dir = folder
	output, err := install.CombinedOutput()
	if err != nil && unreachable.Match(output) {
		t.Skipf("the registry of npm cannot be reached: the TypeScript example is not tested\n%s", output)
	}
	require.NoError(t, err, "%s", output)
}

func needs(t *testing.T, program string) {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		t.Skipf("no %s on PATH: this example is not tested", program)
	}
}

func build(t *testing.T, folder, name string, arguments ...string) {
	t.Helper()
	command := exec.CommandContext(t.Context(), name, arguments...)
	command.Dir = folder
	output, err := command.CombinedOutput()
	require.NoError(t, err, "%s", output)
}

// addressOf is the URL that the demo prints for one of its parts.
func addressOf(t *testing.T, said, part string) string {
	t.Helper()
	for line := range strings.Lines(said) {
		if after, found := strings.CutPrefix(strings.TrimSpace(line), part+" "); found && strings.HasPrefix(strings.TrimSpace(after), "http://") {
			return strings.Fields(after)[0]
		}
	}
	require.Fail(t, "no address of "+part, said)
	return ""
}
