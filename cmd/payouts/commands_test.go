package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sethvargo/go-envconfig"
	"github.com/stretchr/testify/require"

	"pikepayouts/payout"
	"pikepayouts/starter"
)

const (
	testToken   = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
	testRequest = `{"payout_id":"inv-1","amount_details":{"amount":10000,"currency":"EUR"},
		"destination":{"tokenized_card":{"token":"` + testToken + `"}},"recipient":{"full_name":"Ivanov Ivan"}}`
)

// fakePayouts answers as told and remembers what it was asked.
type fakePayouts struct {
	started      starter.Started
	status       payout.Status
	summaries    []starter.Summary
	err          error
	request      payout.Request
	decision, by string
	reason       string
	filter       starter.Filter
	resolve      payout.ResolveRequest
	late         payout.LateEventStatus
	lateID       string
}

func (f *fakePayouts) Start(_ context.Context, request payout.Request) (starter.Started, error) {
	f.request = request
	return f.started, f.err
}

func (f *fakePayouts) Get(context.Context, string) (payout.Status, error)  { return f.status, f.err }
func (f *fakePayouts) Wait(context.Context, string) (payout.Status, error) { return f.status, f.err }

func (f *fakePayouts) Confirm(_ context.Context, _, by, reason string) (payout.Status, error) {
	f.decision, f.by, f.reason = payout.DecisionConfirm, by, reason
	return f.status, f.err
}

func (f *fakePayouts) Cancel(_ context.Context, _, by, reason string) (payout.Status, error) {
	f.decision, f.by, f.reason = payout.DecisionCancel, by, reason
	return f.status, f.err
}

func (f *fakePayouts) Resolve(_ context.Context, _ string, request payout.ResolveRequest) (payout.Status, error) {
	f.resolve = request
	return f.status, f.err
}

func (f *fakePayouts) GetLateEvent(_ context.Context, id string) (payout.LateEventStatus, error) {
	f.lateID = id
	return f.late, f.err
}

func (f *fakePayouts) ResolveLateEvent(_ context.Context, id string, request payout.ResolveRequest) (payout.LateEventStatus, error) {
	f.lateID, f.resolve = id, request
	return f.late, f.err
}

func (f *fakePayouts) List(_ context.Context, filter starter.Filter) iter.Seq2[starter.Summary, error] {
	f.filter = filter
	return func(yield func(starter.Summary, error) bool) {
		for _, summary := range f.summaries {
			if !yield(summary, nil) {
				return
			}
		}
		if f.err != nil {
			yield(starter.Summary{}, f.err)
		}
	}
}

// answer is what a command line did.
type answer struct {
	code           int
	stdout, stderr string
}

func runFake(t *testing.T, fake *fakePayouts, stdin string, args ...string) answer {
	t.Helper()
	var stdout, stderr bytes.Buffer
	a := &app{stdin: strings.NewReader(stdin), stdout: &stdout, stderr: &stderr, lookuper: envconfig.MapLookuper(nil), payouts: fake}
	code := a.run(t.Context(), args)
	return answer{code, stdout.String(), stderr.String()}
}

func payArgs(more ...string) []string {
	return append([]string{"start", "--id", "inv-1", "--amount", "10000", "--currency", "eur", "--token", testToken, "--full-name", "Ivanov Ivan"}, more...)
}

func TestUsage(t *testing.T) {
	tests := []struct {
		name string
		args []string
		want string // in stderr
	}{
		{"unknown command", []string{"pay"}, `unknown command "pay"`},
		{"unknown flag", []string{"status", "inv-1", "--colour"}, "unknown flag: --colour"},
		{"bad format", []string{"status", "inv-1", "-o", "xml"}, "must be text or json"},
		{"no id", []string{"status"}, "takes one payout id, not 0"},
		{"two ids", []string{"wait", "a", "b"}, "takes one payout id, not 2"},
		{"bad id", []string{"confirm", "a b"}, "payout id: must be 1-64"},
		{"stray argument", []string{"list", "inv-1"}, `unknown command "inv-1"`},
		{"bad state", []string{"list", "--state", "done"}, "--state: must be one of creating, "},
		{"negative limit", []string{"list", "--limit", "-1"}, "--limit: must not be negative"},
		{"nobody decides", []string{"confirm", "inv-1", "--by", " "}, "--by: say who decides"},
		{"amount is no number", []string{"start", "--amount", "10.00"}, `"--amount" flag`},
		{"keygen without folder", []string{"keygen"}, "name what to make: --out a folder"},
		{"keygen, both", []string{"keygen", "--out", "x", "--keyset", "y"}, "name one of them"},
		{"keygen, rotates nothing", []string{"keygen", "--rotate"}, "--rotate needs --keyset"},
		{"keygen, short key", []string{"keygen", "--out", "x", "--bits", "1024"}, "--bits: must be 2048 to"},
		{"keygen, name is a path", []string{"keygen", "--out", "x", "--name", "../x"}, "--name: must be of"},
		{"file and flags", payArgs("--file", "request.json"), "--file and --"},
		{"no such file", []string{"start", "--file", "/no/such/request.json"}, "--file: open /no/such/request.json"},
		{"two cards", payArgs("--recurrent-token", testToken), "--token and --recurrent-token exclude each other"},
		{"token file is missing", []string{"start", "--token", "@/no/such/token"}, "--token: reading it from @/no/such/token"},
		{"policy", payArgs("--approvals", "2"), `--approvals: needs policy.decision "manual"`},
		{"empty timeout", payArgs("--ready-timeout", "-1s"), "--ready-timeout: must be a positive duration"},
		{"negative wait", []string{"wait", "inv-1", "--timeout", "-1s"}, "--timeout: must be a positive"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := runFake(t, &fakePayouts{}, "", tt.args...)
			require.Equal(t, exitUsage, got.code, got.stderr)
			require.Contains(t, got.stderr, tt.want)
			require.Contains(t, got.stderr, "--help`")
			require.Empty(t, got.stdout)
			require.NotContains(t, got.stderr, testToken)
		})
	}
}

func TestEveryCommandHasHelpAndAnExample(t *testing.T) {
	a := &app{lookuper: envconfig.MapLookuper(nil)}
	for _, command := range a.rootCommand().Commands() {
		if command.Hidden {
			continue
		}
		require.NotEmpty(t, command.Example, command.Name())
		got := runFake(t, nil, "", command.Name(), "--help")
		require.Equal(t, exitDone, got.code)
		require.Contains(t, got.stdout, "Examples:")
	}
}

func TestStartWithoutAnythingNamesEveryFlag(t *testing.T) {
	got := runFake(t, &fakePayouts{}, "", "start")
	require.Equal(t, exitUsage, got.code)
	for _, flag := range []string{"--id: ", "--amount: ", "--currency: ", "one of --token", "--full-name: "} {
		require.Contains(t, "\n"+got.stderr, "\n"+flag)
	}
}

func TestExitCodes(t *testing.T) {
	status := func(state payout.State) payout.Status { return payout.Status{PayoutID: "inv-1", State: state} }
	tests := []struct {
		name string
		fake fakePayouts
		args []string
		want int
	}{
		{"started", fakePayouts{}, payArgs(), exitDone},
		{"started and paid", fakePayouts{status: status(payout.StateSucceeded)}, payArgs("--wait"), exitDone},
		{"started and failed", fakePayouts{status: status(payout.StateFailed)}, payArgs("--wait"), exitNotPaid},
		{"same id, other request", fakePayouts{err: fmt.Errorf("payout inv-1: %w", starter.ErrConflict)}, payArgs(), exitConflict},
		{"Temporal is away", fakePayouts{err: errors.New("unavailable")}, payArgs(), exitFailed},
		{"paid", fakePayouts{status: status(payout.StateSucceeded)}, []string{"wait", "inv-1"}, exitDone},
		{"cancelled", fakePayouts{status: status(payout.StateCancelled)}, []string{"wait", "inv-1", "-o", "json"}, exitNotPaid},
		{"status of a failed one", fakePayouts{status: status(payout.StateFailed)}, []string{"status", "inv-1"}, exitDone},
		{"unknown", fakePayouts{err: fmt.Errorf("payout inv-1: %w", starter.ErrNotFound)}, []string{"status", "inv-1"}, exitNotFound},
		{"no worker", fakePayouts{err: starter.ErrNoWorker}, []string{"status", "inv-1"}, exitFailed},
		{"too late", fakePayouts{err: starter.ErrDecisionRefused}, []string{"cancel", "inv-1"}, exitFailed},
		{"bad list filter", fakePayouts{err: errors.New("invalid query")}, []string{"list", "--query", "x"}, exitFailed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := runFake(t, &tt.fake, "", tt.args...)
			require.Equal(t, tt.want, got.code, got.stderr)
			require.Equal(t, tt.fake.err != nil, got.stderr != "", "stderr is for errors: %q", got.stderr)
		})
	}
}

func TestStartBuildsTheRequestFromFlags(t *testing.T) {
	fake := &fakePayouts{started: starter.Started{WorkflowID: "payout/inv-1", RunID: "r1"}}
	got := runFake(t, fake, testToken+"\n", "start", "--id", "inv-1", "--amount", "10000", "--currency", "EUR", "--number-hash", "@-", "--full-name", "Ivanov Ivan",
		"--decision", "manual", "--approvals", "2", "--ready-timeout", "1h", "--decision-timeout", "2h", "--confirm-timeout", "3h", "--result-timeout", "4h",
		"--poll-interval", "5s")
	require.Equal(t, exitDone, got.code, got.stderr)
	require.Equal(t, "Payout inv-1 started (workflow payout/inv-1, run r1).\n", got.stdout)
	require.Equal(t, payout.Request{
		PayoutID: "inv-1", AmountDetails: payout.AmountDetails{Amount: 10000, Currency: "eur"},
		Destination: payout.Destination{EncryptedCard: &payout.EncryptedCard{NumberHash: testToken}},
		Recipient:   payout.Recipient{FullName: "Ivanov Ivan"},
		Policy: payout.Policy{
			Decision: payout.DecisionManual, Approvals: 2, ReadyTimeout: payout.Duration(time.Hour), DecisionTimeout: payout.Duration(2 * time.Hour),
			ConfirmTimeout: payout.Duration(3 * time.Hour), ResultTimeout: payout.Duration(4 * time.Hour), PollInterval: payout.Duration(5 * time.Second),
		},
	}, fake.request)
}

func TestStartReadsTokensFromFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token.txt")
	require.NoError(t, os.WriteFile(path, []byte(testToken+"\n"), 0o600))
	fake := &fakePayouts{}
	args := payArgs()
	args[8] = "@" + path
	require.Equal(t, exitDone, runFake(t, fake, "", args...).code)
	require.Equal(t, testToken, fake.request.Destination.TokenizedCard.Token.Reveal())
}

func TestStartFromAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "request.json")
	require.NoError(t, os.WriteFile(path, []byte(testRequest), 0o600))
	for stdin, file := range map[string]string{"": path, testRequest: "-"} {
		fake := &fakePayouts{started: starter.Started{WorkflowID: "payout/inv-1", RunID: "r1", Existing: true}}
		got := runFake(t, fake, stdin, "start", "--file", file, "-o", "json")
		require.Equal(t, exitDone, got.code, got.stderr)
		require.JSONEq(t, `{"payout_id":"inv-1","workflow_id":"payout/inv-1","run_id":"r1","existing":true}`, got.stdout)
		require.Equal(t, "eur", fake.request.AmountDetails.Currency)
	}
}

func TestStartFromABadFile(t *testing.T) {
	for content, want := range map[string]string{
		`{"payout_id":"inv-1"}`:                                  "amount_details.amount: must be",
		strings.Replace(testRequest, "10000", `"100"`, 1):        "amount_details.amount: must be an integer",
		strings.Replace(testRequest, "payout_id", "payoutId", 1): "payoutId",
		strings.Repeat(" ", maxRequestFile+1):                    "larger than",
		"":                                                       "--file",
	} {
		got := runFake(t, &fakePayouts{}, content, "start", "--file", "-")
		require.Equal(t, exitUsage, got.code, got.stderr)
		require.Contains(t, got.stderr, want)
		require.NotContains(t, got.stderr, testToken)
	}
}

// TestACardNumberIsNeitherSentNorPrinted, wherever on the command line or in a file it stands (hazard S8).
func TestACardNumberIsNeitherSentNorPrinted(t *testing.T) {
	const card = "4111 1111 1111 1111"
	tests := map[string]struct {
		stdin string
		args  []string
		want  string
	}{
		"id":             {"", with(payArgs(), "inv-1", "inv-4111-1111-1111-1111"), "--id: looks like a card number"},
		"name":           {"", with(payArgs(), "Ivanov Ivan", "Ivanov "+card), "--full-name: looks like a card number"},
		"amount":         {"", with(payArgs(), "10000", "4111111111111111"), "--amount: looks like a card number"},
		"no amount":      {"", with(payArgs(), "10000", card), "the command line holds what looks like a card number"},
		"currency":       {"", with(payArgs(), "eur", card), "--currency: must be"},
		"token":          {"", with(payArgs(), testToken, card), "--token"},
		"token on stdin": {card, with(payArgs(), testToken, "@-"), "--token"},
		"token file":     {"", with(payArgs(), testToken, "@"+card), "the command line holds what looks like a card number"},
		"decision":       {"", payArgs("--decision", card), "--decision: must be"},
		"approvals":      {"", payArgs("--decision", "manual", "--approvals", "4111111111111111"), "--approvals: must be 1 to 10"},
		"stray":          {"", payArgs(card), "the command line holds what looks like a card number"},
		"file":           {strings.Replace(testRequest, `"Ivanov Ivan"`, `"Ivanov Ivan","note":{"pan":4111111111111111}`, 1), []string{"start", "--file", "-"}, "--file: recipient.note: looks like a card number"},
		"file, key":      {strings.Replace(testRequest, `"recipient"`, `"`+card+`":1,"recipient"`, 1), []string{"start", "--file", "-"}, "unknown field"},
		"confirm":        {"", []string{"confirm", "inv-1", "--by", "ann", "--reason", card}, "--reason: looks like a card number"},
		"cancel":         {"", []string{"cancel", "inv-1", "--by", card}, "--by: looks like a card number"},
		"resolve":        {"", []string{"resolve", "inv-1", "--by", "ann", "--action", "close_paid", "--reason", "settled", "--evidence", card}, "--evidence: looks like a card number"},
		"action":         {"", []string{"resolve", "inv-1", "--by", "ann", "--action", card}, "--action: must be"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var fake fakePayouts
			got := runFake(t, &fake, tt.stdin, tt.args...)
			require.Equal(t, exitUsage, got.code, got.stderr)
			require.Contains(t, got.stderr, tt.want)
			require.Equal(t, fakePayouts{}, fake, "nothing may be started, decided or resolved")
			require.NotContains(t, got.stderr+got.stdout, "1111")
		})
	}
}

// with is the arguments with one of them replaced.
func with(args []string, old, replacement string) []string {
	args[slices.Index(args, old)] = replacement
	return args
}

func testStatus() payout.Status {
	noon := time.Date(2026, 3, 4, 12, 0, 0, 0, time.Local)
	deadline := noon.Add(45 * time.Minute)
	return payout.Status{
		PayoutID: "inv-1", State: payout.StateAwaitingResult, SessionID: "ps_1", PikePayoutID: "po_1",
		AmountDetails: payout.AmountDetails{Amount: 10000, Currency: "eur"},
		Decision:      &payout.Decision{Value: payout.DecisionConfirm, By: "ann", Reason: "checked\x1b[2J", At: noon},
		Attention:     &payout.Attention{Reason: payout.AttentionResultOverdue, Since: noon, Detail: "no final state"},
		Error:         &payout.Error{Code: "declined", Description: "limit"},
		Deadline:      &deadline, NextStep: "ask Pike again", Since: noon.Add(time.Second),
		LastWebhook:    &payout.Webhook{Type: payout.SignalReadyToConfirm, SessionStatus: "in_progress", PayoutStatus: "pending", At: noon},
		LastStatusRead: &payout.StatusRead{SessionStatus: "in_progress", At: noon.Add(time.Second)},
		Actions:        []payout.Action{payout.ActionRecheck, payout.ActionClosePaid},
		Transitions: []payout.Transition{
			{State: payout.StateCreating, At: noon, Why: "started"},
			{State: payout.StateAwaitingResult, At: noon.Add(time.Second), Why: "confirm accepted"},
		},
	}
}

func TestStatusText(t *testing.T) {
	status := testStatus()
	p := printer{}
	printStatus(&p, status, status.Deadline.Add(-time.Minute))
	require.Equal(t, `Payout            inv-1
State             awaiting_result
Since             2026-03-04 12:00:01 (43m59s ago)
Amount            100.00 EUR
Session           ps_1
Pike payout       po_1
Decision          confirm by ann, 2026-03-04 12:00:00 (44m0s ago): checked [2J
Attention         result_overdue since 2026-03-04 12:00:00 (44m0s ago): no final state
It means          Pike has the confirm or the cancel, and has not reported a final result in time.
It asks you to    Look the session up at Pike or ask its support; the payout keeps asking by itself, and the money may still move.
Error             declined: limit
Deadline          2026-03-04 12:45:00 (in 1m0s)
Last webhook      ready_to_confirm, session in_progress, payout pending, 2026-03-04 12:00:00 (44m0s ago)
Last status read  session in_progress, 2026-03-04 12:00:01 (43m59s ago)
Next              ask Pike again
You can           payouts resolve inv-1 --action recheck --by YOU
or                payouts resolve inv-1 --action close_paid --by YOU --reason WHY --evidence WHERE_FROM

2026-03-04 12:00:00  creating           started
2026-03-04 12:00:01  awaiting_result    confirm accepted
`, p.text())
}

func TestDistances(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "in 0s", time.Minute + 400*time.Millisecond: "in 1m0s", -59 * time.Second: "59s ago", 90*time.Minute + time.Second: "in 1h30m",
		-47 * time.Hour: "47h0m ago", -48 * time.Hour: "2 days ago", 80 * time.Hour: "in 3 days",
	} {
		require.Equal(t, want, distance(d))
	}
}

// TestEveryCommandThatIsOfferedWorks as it is written, once what is in capitals is filled in.
func TestEveryCommandThatIsOfferedWorks(t *testing.T) {
	fill := strings.NewReplacer("YOU", "ann", "WHY", "settled", "WHERE_FROM", "ticket-17")
	late := payout.LateEventWorkflowID(payout.Event{ID: strings.Repeat("ab", 32), SessionID: "ps_1"})
	for _, action := range payout.Actions() {
		if action == payout.ActionCancelWorkflow {
			continue // Temporal's own command
		}
		for _, id := range []string{"inv-1", late} {
			decides := action == payout.ActionConfirm || action == payout.ActionCancel
			if decides && id == late {
				continue
			}
			fake := &fakePayouts{}
			words := strings.Fields(fill.Replace(action.Command(id)))
			require.Equal(t, "payouts", words[0])
			got := runFake(t, fake, "", words[1:]...)
			require.Equal(t, exitDone, got.code, "%s: %s", action.Command(id), got.stderr)
			if decides {
				require.Equal(t, []string{string(action), "ann"}, []string{fake.decision, fake.by})
			} else {
				require.Equal(t, []string{string(action), "ann"}, []string{fake.resolve.Action, fake.resolve.By})
			}
		}
	}
}

func TestStatusJSON(t *testing.T) {
	want := testStatus()
	got := runFake(t, &fakePayouts{status: want}, "", "status", "inv-1", "-o", "json")
	var status payout.Status
	require.NoError(t, json.Unmarshal([]byte(got.stdout), &status))
	require.Equal(t, want.State, status.State)
	require.Len(t, status.Transitions, 2)
}

func TestResolve(t *testing.T) {
	fake := &fakePayouts{status: testStatus()}
	got := runFake(t, fake, "", "resolve", "inv-1", "--action", "close_paid", "--by", "ann", "--reason", "settled", "--evidence", "ticket 17")
	require.Equal(t, exitDone, got.code, got.stderr)
	require.Equal(t, payout.ResolveRequest{Action: payout.ResolveClosePaid, By: "ann", Reason: "settled", Evidence: "ticket 17"}, fake.resolve)

	for want, arguments := range map[string][]string{
		"--action":             {"--action", "close"},
		"--reason, --evidence": {"--action", "close_not_paid", "--reason", "settled"},
		"--by":                 {"--action", "recheck", "--by", " "},
	} {
		got := runFake(t, &fakePayouts{}, "", append([]string{"resolve", "inv-1"}, arguments...)...)
		require.Equal(t, exitUsage, got.code)
		require.Contains(t, got.stderr, want)
	}
	refused := runFake(t, &fakePayouts{err: fmt.Errorf("%w: Pike says paid", starter.ErrResolveRefused)}, "", "resolve", "inv-1", "--action", "recheck")
	require.Equal(t, exitFailed, refused.code)
	require.Contains(t, refused.stderr, "Pike says paid")
}

func TestColoursKeepColumns(t *testing.T) {
	p := palette{on: true}
	text := table([][]string{{p.paint(red, "a"), "b"}, {"long", "b"}})
	require.Equal(t, "\x1b[31ma\x1b[0m     b\nlong  b\n", text)
	require.Equal(t, "a", palette{}.paint(red, "a"))
}

func testSummaries() []starter.Summary {
	return []starter.Summary{
		{
			PayoutID: "inv-2", State: payout.StateAwaitingDecision, SessionID: "ps_2", AmountDetails: payout.AmountDetails{Amount: 5, Currency: "eur"},
			Status: "Running", StartedAt: time.Date(2026, 3, 4, 12, 0, 0, 0, time.Local),
		},
		{
			PayoutID: "inv-1000", State: payout.StateCreating, Attention: payout.AttentionPikeUnreachable, Status: "Running",
			AmountDetails: payout.AmountDetails{Amount: 10000, Currency: "jpy"}, StartedAt: time.Date(2026, 3, 4, 11, 0, 0, 0, time.Local),
		},
	}
}

func TestList(t *testing.T) {
	fake := &fakePayouts{summaries: testSummaries()}
	got := runFake(t, fake, "", "list", "--state", "awaiting_decision", "--attention", "any", "--session", "ps_2", "--query", "PayoutAmount > 1")
	require.Equal(t, exitDone, got.code, got.stderr)
	require.Equal(t, starter.Filter{State: payout.StateAwaitingDecision, AnyAttention: true, SessionID: "ps_2", Query: "PayoutAmount > 1"}, fake.filter)
	require.Equal(t, `PAYOUT    STATE              AMOUNT     ATTENTION         SESSION  STARTED              RUN
inv-2     awaiting_decision  0.05 EUR   -                 ps_2     2026-03-04 12:00:00  running
inv-1000  creating           10000 JPY  pike_unreachable  -        2026-03-04 11:00:00  running
`, got.stdout)
}

func TestListLimit(t *testing.T) {
	fake := &fakePayouts{summaries: testSummaries()}
	got := runFake(t, fake, "", "list", "--limit", "1", "--attention", "mismatch", "-o", "json")
	require.Equal(t, exitDone, got.code)
	require.Equal(t, payout.AttentionMismatch, fake.filter.Attention)
	require.Contains(t, got.stderr, "Only the newest 1")
	var found []starter.Summary
	require.NoError(t, json.Unmarshal([]byte(got.stdout), &found))
	require.Len(t, found, 1)

	require.JSONEq(t, "[]", runFake(t, &fakePayouts{}, "", "list", "-o", "json").stdout)
	require.Equal(t, "No payouts.\n", runFake(t, &fakePayouts{}, "", "list").stdout)
}

func TestDecisions(t *testing.T) {
	for _, decision := range []string{payout.DecisionConfirm, payout.DecisionCancel} {
		fake := &fakePayouts{status: testStatus()}
		got := runFake(t, fake, "", decision, "inv-1", "--by", "ann", "--reason", "checked")
		require.Equal(t, exitDone, got.code, got.stderr)
		require.Equal(t, []string{decision, "ann", "checked"}, []string{fake.decision, fake.by, fake.reason})
		require.Contains(t, got.stdout, "awaiting_result")

		if operator() != "" {
			require.Equal(t, exitDone, runFake(t, fake, "", decision, "inv-1").code)
			require.Equal(t, operator(), fake.by)
		}
	}
}

// waitingPayouts never end.
type waitingPayouts struct{ fakePayouts }

func (f *waitingPayouts) Wait(ctx context.Context, _ string) (payout.Status, error) {
	<-ctx.Done()
	return payout.Status{}, ctx.Err()
}

func TestWaitGivesUp(t *testing.T) {
	var stdout, stderr bytes.Buffer
	a := &app{stdout: &stdout, stderr: &stderr, lookuper: envconfig.MapLookuper(nil), payouts: &waitingPayouts{}}
	require.Equal(t, exitFailed, a.run(t.Context(), []string{"wait", "inv-1", "--timeout", "20ms"}))
	require.Equal(t, "payout inv-1 has not ended in time; it goes on\n", stderr.String())

	stderr.Reset()
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	require.Equal(t, exitFailed, a.run(ctx, []string{"wait", "inv-1"}))
	require.Equal(t, "stopped waiting; payout inv-1 goes on\n", stderr.String())
}

func TestTransitionsAreShownOnce(t *testing.T) {
	var stdout bytes.Buffer
	a := &app{stdout: &stdout, lookuper: envconfig.MapLookuper(nil)}
	end := testStatus()
	end.Transitions = append(end.Transitions, payout.Transition{State: payout.StateSucceeded, At: *end.Deadline, Why: "paid"})
	read := make(chan struct{}, 1)
	stop := a.showTransitions(t.Context(), &signallingPayouts{fakePayouts{status: testStatus()}, read}, "inv-1")
	<-read
	stop(end)
	for _, why := range []string{"started", "confirm accepted", "paid"} {
		require.Equal(t, 1, strings.Count(stdout.String(), why), stdout.String())
	}
}

// signallingPayouts tell of each Get.
type signallingPayouts struct {
	fakePayouts
	read chan struct{}
}

func (f *signallingPayouts) Get(context.Context, string) (payout.Status, error) {
	select {
	case f.read <- struct{}{}:
	default:
	}
	return f.status, nil
}

func TestVersion(t *testing.T) {
	got := runFake(t, nil, "", "version", "-o", "json")
	require.Equal(t, exitDone, got.code)
	var v version
	require.NoError(t, json.Unmarshal([]byte(got.stdout), &v))
	require.NotEmpty(t, v.Go)
	require.Equal(t, version{Version: "unknown", Go: "unknown"}, versionOf(nil, false))
}

// TestLateEvents: what list shows can be looked at and resolved by its id.
func TestLateEvents(t *testing.T) {
	event := payout.Event{ID: strings.Repeat("ab", 32), Type: payout.SignalPaymentFinished, SessionID: "ps_1"}
	id := payout.LateEventWorkflowID(event)
	fake := &fakePayouts{
		summaries: []starter.Summary{{LateEvent: id, Attention: payout.AttentionLateEvent, SessionID: "ps_1", Status: "Running"}},
		late: payout.LateEventStatus{
			LateEvent: payout.LateEvent{Reason: payout.LateNoOpenPayout, PayoutID: "inv-1", Event: event},
			Recorded:  payout.StateFailed, SessionStatus: "accepted", CheckedAt: time.Now(), Finding: "PAID at Pike",
			Attention: &payout.Attention{Reason: payout.AttentionLateEvent},
		},
	}
	list := runFake(t, fake, "", "list", "--attention", "any")
	require.Regexp(t, "(?m)^"+id+" +- +- +late_event +ps_1 ", list.stdout)

	shown := runFake(t, fake, "", "status", id)
	require.Equal(t, 0, shown.code)
	require.Equal(t, id, fake.lateID)
	for _, want := range []string{"payment_finished: no_open_payout", "inv-1", "failed", "ps_1", "session accepted", "late_event since", "PAID at Pike"} {
		require.Contains(t, shown.stdout, want)
	}

	fake.late.Attention = nil
	fake.late.Resolution = &payout.LateResolution{ResolveRequest: payout.ResolveRequest{Action: payout.ResolveClosePaid, By: "ann", Reason: "late flip", Evidence: "ticket 17"}}
	resolved := runFake(t, fake, "", "resolve", id, "--action", "close_paid", "--by", "ann", "--reason", "late flip", "--evidence", "ticket 17")
	require.Equal(t, 0, resolved.code)
	require.Equal(t, payout.ResolveClosePaid, fake.resolve.Action)
	require.Contains(t, resolved.stdout, "close_paid by ann")
	require.Contains(t, runFake(t, fake, "", "status", id, "-o", "json").stdout, `"reason": "no_open_payout"`)

	for _, id := range []string{"payout-event/ps_1", "payout-event/ps 1/" + event.ID, id + "0"} {
		refused := runFake(t, fake, "", "status", id)
		require.Equal(t, 2, refused.code)
		require.Contains(t, refused.stderr, "late event id: must be payout-event/<session>/<64 hex digits>")
	}
}
