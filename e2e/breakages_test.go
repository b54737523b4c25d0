//go:build breakages

package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/stretchr/testify/require"
)

// breakage takes one guard out of the code. The named test must fail then: that is what proves the guard.
type breakage struct {
	name, hazard string
	pkg, test    string
	edits        []edit
}

func breakages() []breakage {
	const (
		machine     = "workflows/machine.go"
		results     = "workflows/results.go"
		workflow    = "workflows/workflow.go"
		strangers   = "workflows/strangers.go"
		lateEvent   = "activities/lateevent.go"
		acts        = "activities/activities.go"
		session     = "activities/session.go"
		gateway     = "webhookgw/gateway.go"
		correlate   = "webhookgw/correlate.go"
		interceptor = "webhookgw/temporal.go"
		client      = "pike/client.go"
		verifier    = "pike/webhook.go"
		request     = "payout/request.go"
		payloads    = "codec/codec.go"
		converters  = "codec/converter.go"
		codecServer = "codec/server.go"
	)
	return []breakage{
		{"a confirm is repeated blindly", "A3", "workflows", "TestLostAnswers/confirm_pays_once", []edit{
			{machine, "m.sendOpen() && !m.settledTruth():\n\t\treturn m.settle(now)\n\tcase m.deadlinePassed(now) && !m.ConfirmMayLive:", "m.deadlinePassed(now) && !m.ConfirmMayLive:"},
			{acts, "session.Phase != PhaseReady || session.Mismatch", "session.Mismatch"},
		}},
		{"no status before a start is repeated", "A2", "workflows", "TestNext/an_unknown_start_is_looked_at_after_the_settle_delay", []edit{
			{machine, "m.sendOpen() && !m.settledTruth():\n\t\treturn m.settle(now)\n\tcase m.cancelDecided():",
				"m.sendOpen() && now.Before(m.SentAt.Add(settleDelay)):\n\t\treturn step{do: wait, until: m.SentAt.Add(settleDelay)}\n\tcase m.cancelDecided():"},
		}},
		{"no settle delay", "A6", "workflows", "TestLostAnswers/start_that_never_arrived_is_repeated_after_the_settle_delay", []edit{
			{machine, "settleDelay = 90 * time.Second", "settleDelay = time.Second"},
		}},
		{"a money call has more than one attempt", "A5", "workflows", "TestMoneyCallsAreAttemptedOnce", []edit{
			{workflow, "RetryPolicy{MaximumAttempts: 1}", "RetryPolicy{MaximumAttempts: 3}"},
		}},
		{"an attempt that an operator added sends again", "A12", "activities", "TestARepeatedAttemptSendsNothing", []edit{
			{acts, "\tif info.Attempt > 1 {\n\t\treturn true", "\tif info.Attempt > 1 {\n\t\treturn false"},
		}},
		{"no reset guard", "A11", "activities", "TestNothingIsSentInAResetRunBeforeSomebodyHasWaited", []edit{
			{acts, "return info.WorkflowExecution.RunID != r.OriginalRunID", "return false"},
		}},
		{"what Pike holds is not compared with the order", "A22", "workflows", "TestMismatchIsNeverConfirmed", []edit{
			{session, "mismatch(session, order),", `"",`},
		}},
		{"the answer for another session is taken", "W25", "activities", "TestAnswerForAnotherSessionIsNoAnswer", []edit{
			{session, "session.ID != sessionID", `session.ID == ""`},
		}},
		{"a session in error counts as not paid", "A8", "workflows", "TestDeclines/with_session_error,_flips_to_paid_after_five_days", []edit{
			{session, "\t\treturn PhaseUnresolved\n", "\t\treturn PhaseNotPaid\n"},
		}},
		{"a cancellation is taken after confirm", "A4", "workflows", "TestTemporalCancellation/after_the_one-way_door", []edit{
			{results, "\tcase m.confirmUnderWay():", "\tcase false:"},
			{machine, "m.cancelDecided() && !m.ConfirmMayLive", "m.cancelDecided()"},
		}},
		{"a webhook is trusted", "W1", "workflows", "TestForgedWebhooksMoveNothing", []edit{
			{results, "\tm.Hinted = true\n", "\tif event.PayoutStatus == \"succeeded\" {\n\t\tm.enter(payout.StateSucceeded, event.ReceivedAt, \"\")\n\t}\n\tm.Hinted = true\n"},
		}},
		{"webhooks are left unread at the end", "L8", "workflows", "TestAWebhookBesideTheLastAnswerIsRead", []edit{
			{strangers, "\t\tp.receiveSignals()\n", ""},
		}},
		{"a worker that observes only holds a start without a look", "A15", "activities", "TestAnObservingWorkerSendsNothing", []edit{
			{acts, "held || a.observeOnly || ", "held || "},
		}},
		{"a worker that observes only sends", "A15", "activities", "TestAnObservingWorkerSendsNothing", []edit{
			{acts, "\tif a.observeOnly {", "\tif false {"},
		}},
		{"a change of the workflow is not guarded", "T5", "workflows", "TestRecordedHistoriesReplay", lookBeforeStart(false)},
		{"a card number is taken", "S8", "workflows", "TestBadRequestsFailTheWorkflowAndReachNothing/card_number", []edit{
			{request, "\tr.refuseCardNumbers(problem)\n", ""},
		}},
		{"200 before Temporal has the event", "W12", "webhookgw", "TestGenuineWebhooks/Temporal_down", []edit{
			{gateway, "err := g.temporal.Signal(ctx, payoutID, late.Event)", "var err error\n\tgo func() { _ = g.temporal.Signal(ctx, payoutID, late.Event) }()"},
		}},
		{"200 before the late event is durable", "W13", "webhookgw", "TestWhatCannotBeKeptComesAgain", []edit{
			{gateway, "err := g.temporal.Keep(ctx, late)", "var err error\n\tgo func() { _ = g.temporal.Keep(ctx, late) }()"},
		}},
		{"a webhook of another session is dropped", "W25", "workflows", "TestEventOfAnotherSessionMovesNothingAndIsKept", []edit{
			{strangers, "p.keepLate(event, payout.LateOtherSession)", "_ = event"},
		}},
		{"a person's word beats a fresh status", "A21", "workflows", "TestAContradictionIsKeptBeforeAPersonUntilItIsResolved", []edit{
			{lateEvent, "return p == PhasePaid\n", "return false\n"},
		}},
		{"what is in clear is taken", "T2", "codec", "TestWhatIsRefused/plaintext", []edit{
			{payloads, "case !encrypted:", "case !encrypted && c.bound != nil:\n\t\treturn payload, nil\n\tcase !encrypted:"},
		}},
		{"a ciphertext is good in any workflow", "T2", "codec", "TestWhatIsRefused/of_another_workflow", []edit{
			{payloads, "c.bound != nil && bound != *c.bound", "false"},
		}},
		{"where a ciphertext belongs is not authenticated", "T2", "codec", "TestWhatIsRefused/claims_to_be_of_this_workflow", []edit{
			{payloads, "[]string{encoding, b.namespace, b.workflowID}", "[]string{encoding}"},
		}},
		{"a worker without the key goes on", "T3", "codec", "TestWorkersNeverMisreadAHistory", []edit{
			{converters, "case d.refusable == nil || !d.ofHistory || d.mayRefuse(destinations, err):", "case true:"},
		}},
		{"failures are in clear", "T1", "codec", "TestFailuresAreEncrypted", []edit{
			{converters, "EncodeCommonAttributes: c.codec.keyset != nil", "EncodeCommonAttributes: false"},
		}},
		{"any page may have payloads decrypted", "T4", "codec", "TestWhoMayCall/another_origin", []edit{
			{codecServer, "!slices.Contains(s.Origins, origin)", "len(s.Origins) == 0"},
		}},
		{"the codec server shows cards", "T4", "codec", "TestDecodeMasksCards", []edit{
			{codecServer, "err != nil || e.ShowCards", "true"},
		}},
		{"a client that hangs up undoes the hand-off", "W16", "webhookgw", "TestDisconnectDoesNotUndoTheHandOff", []edit{
			{gateway, "context.WithoutCancel(r.Context())", "r.Context()"},
		}},
		{"any signature is good", "W1", "webhookgw", "TestBadSignaturesAllLookAlike", []edit{
			{verifier, "digest[:], signature) == nil", "digest[:], signature) != errors.ErrUnsupported"},
		}},
		{"one good signature of two is enough", "W5", "pike", "TestSignatureHeaderHasOneText", []edit{
			{verifier, "len(signatures) != 1", "len(signatures) == 0"},
		}},
		{"the request id of a signal is not set", "E02", "webhookgw", "TestRequestIDReachesTemporal", []edit{
			{interceptor, "signal.RequestId = carrier.id", "_ = signal"},
		}},
		{"every delivery of a webhook is an event of its own", "W8", "webhookgw", "TestEventID", []edit{
			{correlate, "parts := []string{", "parts := []string{time.Now().String(), "},
		}},
		{"redirects are followed", "A10", "pike", "TestRedirectsAreNotFollowed", []edit{
			{client, "return http.ErrUseLastResponse", "return nil"},
		}},
		{"a lost answer is taken for not sent", "A3", "pike", "TestTimeoutLeavesTheOutcomeOpen", []edit{
			{client, "outcome := Unknown", "outcome := NotSent"},
		}},
	}
}

// TestBreakages applies one breakage at a time, beside the tree: `make breakages`.
func TestBreakages(t *testing.T) {
	proofs := map[string]string{}
	for _, b := range breakages() {
		proofs[b.pkg] = strings.TrimPrefix(proofs[b.pkg]+"|"+topLevelTest(b.test), "|")
	}
	for pkg, tests := range proofs { // else it would prove nothing that they fail
		require.Empty(t, runTests(t, pkg, "^("+tests+")$").failed, "fails without any breakage")
	}
	took := make([]time.Duration, len(breakages()))
	t.Cleanup(func() { printTable(took) })
	for i, b := range breakages() {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			begin := time.Now()
			result := runTests(t, b.pkg, pattern(b.test), "-overlay", overlay(t, b.edits...))
			require.Contains(t, result.failed, b.test, "no test notices; the output was:\n%s", result.output)
			require.NotContains(t, result.output, "panic: ", "the test must fail, not crash")
			took[i] = time.Since(begin)
		})
	}
}

// printTable shows what was proven; what has no time was not.
func printTable(took []time.Duration) {
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "HAZARD\tBREAKAGE\tTHE TEST THAT FAILED\tTIME")
	for i, b := range breakages() {
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s %s\t%s\n", b.hazard, b.name, b.pkg, b.test, took[i].Round(100*time.Millisecond))
	}
	_ = table.Flush()
}

func topLevelTest(test string) string {
	name, _, _ := strings.Cut(test, "/")
	return name
}

// pattern is the -run that selects exactly the test.
func pattern(test string) string { return "^" + strings.ReplaceAll(test, "/", "$/^") + "$" }

type testRun struct {
	failed []string
	output string
}

// runTests runs tests of a package in a go command of their own. What does not compile proves nothing.
func runTests(t *testing.T, pkg, run string, flags ...string) testRun {
	t.Helper()
	arguments := append([]string{"test", "-json", "-vet=off", "-timeout", "2m", "-run", run}, flags...)
	command := exec.CommandContext(testContext(t), "go", append(arguments, "./"+pkg)...)
	command.Dir = ".."
	stdout, err := command.Output()
	var exit *exec.ExitError
	require.True(t, err == nil || errors.As(err, &exit), "%v", err)
	var result testRun
	ran := false
	for decoder := json.NewDecoder(bytes.NewReader(stdout)); ; {
		var event struct{ Action, Test, Output string }
		if err := decoder.Decode(&event); errors.Is(err, io.EOF) {
			break
		} else {
			require.NoError(t, err)
		}
		result.output += event.Output
		ran = ran || event.Action == "run"
		require.NotEqual(t, "build-fail", event.Action, "does not compile:\n%s", result.output)
		if event.Action == "fail" && event.Test != "" {
			result.failed = append(result.failed, event.Test)
		}
	}
	require.True(t, ran, "no test ran:\n%s", result.output)
	slices.Sort(result.failed)
	return result
}
