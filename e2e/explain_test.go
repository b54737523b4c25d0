package e2e

import (
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	sdkpb "go.temporal.io/api/sdk/v1"

	"pikepayouts/payout"
	"pikepayouts/pike"
	"pikepayouts/pikesim"
)

// details is what the Web UI shows of a run, as rows of name and value.
func details(t *testing.T, workflowID string) [][2]string {
	t.Helper()
	value, err := shared.temporal.QueryWorkflow(testContext(t), workflowID, "", "__temporal_workflow_metadata")
	require.NoError(t, err)
	var metadata sdkpb.WorkflowMetadata
	require.NoError(t, value.Get(&metadata))
	var rows [][2]string
	for _, row := range detailsRow.FindAllStringSubmatch(metadata.GetCurrentDetails(), -1) {
		rows = append(rows, [2]string{row[1], strings.Trim(row[2], "`")})
	}
	require.NotEmpty(t, rows, metadata.GetCurrentDetails())
	return rows
}

var detailsRow = regexp.MustCompile(`(?m)^\| (?:\*\*)?([^*|]+?)(?:\*\*)? \| (.*) \|$`)

// payouts runs the command line of the tree, and returns what it says. No command shows secrets.
func payouts(t *testing.T, environment []string, arguments ...string) string {
	t.Helper()
	binary, err := buildBinary()
	require.NoError(t, err)
	command := exec.CommandContext(testContext(t), binary, arguments...)
	command.Env = append([]string{"TEMPORAL_ADDRESS=" + shared.address, "HOME=" + t.TempDir(), "TZ=UTC", shared.keyset.environment()}, environment...)
	output, err := command.CombinedOutput()
	require.NoError(t, err, "%v: %s", arguments, output)
	_, _ = shared.evidence.of("commands.out").Write(output)
	return string(output)
}

// TestARunExplainsItself: the Web UI and the command line tell the same of a
// payout, what they offer works as it stands there, and both still tell it when the payout has ended.
func TestARunExplainsItself(t *testing.T) {
	t.Parallel()
	s := newStack(t, stackOptions{})
	r := order(t, pikesim.PresetConfirmed, manual, polling(time.Hour))
	workflowID := payout.WorkflowID(r.PayoutID)
	s.start(r)
	s.eventually(r, payout.StateAwaitingDecision)
	require.Eventually(t, func() bool { // the webhook may come after a poll that has told already
		status, err := s.starter.Get(testContext(t), r.PayoutID)
		return err == nil && status.LastWebhook != nil
	}, time.Minute, 50*time.Millisecond)

	shown := requireToldAlike(t, workflowID, r.PayoutID)
	require.Contains(t, shown["Last webhook"], "ready_to_confirm, session in_progress, payout pending, ")
	require.Contains(t, shown["Last status read"], "session in_progress, payout pending, ")
	require.Contains(t, shown["Deadline"], ", then the payout is cancelled")
	require.Equal(t, "payouts confirm "+r.PayoutID+" --by YOU", shown["You can"])
	payouts(t, nil, strings.Fields(strings.Replace(shown["You can"], "YOU", "ann", 1))[1:]...)

	require.Equal(t, payout.StateSucceeded, s.wait(r).State)
	shown = requireToldAlike(t, workflowID, r.PayoutID)
	require.Equal(t, "succeeded", shown["State"])
	require.Contains(t, shown["Ended"], ", after ")
	require.Contains(t, shown["Decision"], "confirm by ann, ")
	require.Equal(t, "nothing: the money is paid", shown["Next"])
	require.NotContains(t, shown, "You can")

	for _, event := range s.history(r) {
		switch event.GetEventType() {
		case enumspb.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED, enumspb.EVENT_TYPE_TIMER_STARTED, enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED:
			require.NotEmpty(t, event.GetUserMetadata().GetSummary().GetData(), "event %d, %s", event.GetEventId(), event.GetEventType())
		}
	}
}

// TestTemporalsOwnCancellationIsOfferedAsItWorks: the one command that is not ours.
func TestTemporalsOwnCancellationIsOfferedAsItWorks(t *testing.T) {
	t.Parallel()
	s := newStack(t, stackOptions{})
	r := order(t, pikesim.PresetConfirmed, manual)
	s.start(r)
	s.eventually(r, payout.StateAwaitingDecision)
	command := payout.ActionCancelWorkflow.Command(r.PayoutID)
	require.Contains(t, details(t, payout.WorkflowID(r.PayoutID)), [2]string{"or", command})
	temporalCLI(t, strings.Fields(command)[1:]...)
	require.Equal(t, payout.StateCancelled, s.wait(r).State)
}

// TestWhatArrivesDuringACallIsShownAtOnce: a call may wait long for a worker that takes activities.
func TestWhatArrivesDuringACallIsShownAtOnce(t *testing.T) {
	t.Parallel()
	s := newStack(t, stackOptions{noWorker: true})
	r := order(t, pikesim.PresetConfirmed, manual)
	s.withoutActivities(func() {
		s.start(r)
		s.eventually(r, payout.StateCreating)
		status, err := s.starter.Cancel(testContext(t), r.PayoutID, "ann", "typo")
		require.NoError(t, err)
		require.Empty(t, status.Actions, "it is decided")
		shown := requireToldAlike(t, payout.WorkflowID(r.PayoutID), r.PayoutID)
		require.Contains(t, shown["Decision"], "cancel by ann, ")
		require.Equal(t, "wait, it goes on by itself", shown["You can"])
	})
	s.startWorker(pike.V1)
	require.Equal(t, payout.StateCancelled, s.wait(r).State)
}

// TestALateEventExplainsItself in both places, too.
func TestALateEventExplainsItself(t *testing.T) {
	t.Parallel()
	s := newStack(t, stackOptions{})
	r := order(t, pikesim.PresetDeclinedAtChecks)
	failed := s.pay(r)
	s.deliver(webhookOf("payment_finished", failed.SessionID, r.PayoutID, "cancelled", "failed"))
	id := payout.LateEventWorkflowID(s.eventuallyLate(failed.SessionID, agrees).Event)

	shown := requireToldAlike(t, id, id)
	require.Equal(t, "agrees", shown["Verdict"])
	require.Equal(t, "failed", shown["Recorded as"])
	require.Equal(t, "nothing: the late event is closed", shown["Next"])
}

// requireToldAlike compares both places word by word, but for how they write times, and returns what stands in the Web UI.
func requireToldAlike(t *testing.T, workflowID, id string) map[string]string {
	t.Helper()
	told := payouts(t, nil, "status", id)
	require.NotContains(t, told, "\x1b", "colours without a terminal")
	shown := map[string]string{}
	for i, row := range details(t, workflowID) {
		line, _, _ := strings.Cut(told, "\n")
		told = told[len(line)+1:]
		require.Regexp(t, "^"+regexp.QuoteMeta(row[0])+" {2,}", line, "line %d", i)
		require.Equal(t, row[1], distances.ReplaceAllString(strings.TrimLeft(strings.TrimPrefix(line, row[0]), " "), "$1 UTC"))
		if _, twice := shown[row[0]]; !twice {
			shown[row[0]] = row[1]
		}
	}
	return shown
}

var distances = regexp.MustCompile(`(\d\d:\d\d:\d\d) \((?:in [^)]+|[^)]+ ago)\)`)
