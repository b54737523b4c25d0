package e2e

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"pikepayouts/payout"
	"pikepayouts/pikesim"
	"pikepayouts/starter"
)

func temporalCLI(t *testing.T, arguments ...string) string {
	t.Helper()
	output, err := tryTemporalCLI(t, arguments...)
	require.NoError(t, err, output)
	return output
}

func tryTemporalCLI(t *testing.T, arguments ...string) (string, error) {
	t.Helper()
	binary, err := temporalBinary()
	require.NoError(t, err)
	command := exec.CommandContext(testContext(t), binary, append(arguments, "--address", shared.address)...)
	if endpoint := shared.keyset.endpoint(workflowOf(arguments)); endpoint != "" {
		command.Args = append(command.Args, "--codec-endpoint", endpoint)
	}
	output, err := command.CombinedOutput()
	return string(output), err
}

// workflowOf is the workflow that a command of the Temporal CLI is about, "" if none.
func workflowOf(arguments []string) string {
	if i := slices.Index(arguments, "--workflow-id"); i >= 0 {
		return arguments[i+1]
	}
	return ""
}

// TestTheTemporalCLIIsAClient starts, finds and decides a payout with Temporal's own tool, as the design shows it.
func TestTheTemporalCLIIsAClient(t *testing.T) {
	t.Parallel()
	s := newStack(t, stackOptions{})
	r := order(t, pikesim.PresetConfirmed, manual)
	workflowID := payout.WorkflowID(r.PayoutID)
	input := fmt.Sprintf(`{"payout_id":%q,"amount_details":{"amount":10000,"currency":"EUR"},"destination":{"tokenized_card":{"token":%q}},
		"recipient":{"full_name":"Ivanov Ivan"},"policy":{"decision":"manual"}}`, r.PayoutID, pikesim.Token(pikesim.PresetConfirmed))
	temporalCLI(t, "workflow", "start", "--type", "PayoutWorkflow", "--task-queue", s.taskQueue, "--workflow-id", workflowID, "--input", input)
	s.eventually(r, payout.StateAwaitingDecision)

	require.Eventually(t, func() bool {
		found := temporalCLI(t, "workflow", "list", "--query", "PayoutState='awaiting_decision' AND PayoutAmount=10000 AND PayoutCurrency='eur'", "-o", "json")
		return strings.Contains(found, workflowID)
	}, time.Minute, 100*time.Millisecond)
	temporalCLI(t, "workflow", "update", "execute", "--workflow-id", workflowID, "--name", "decide", "--input", `{"decision":"confirm","by":"ann"}`)
	require.Equal(t, payout.StateSucceeded, s.wait(r).State)

	queried := temporalCLI(t, "workflow", "query", "--workflow-id", workflowID, "--name", "status", "-o", "json")
	var answer struct {
		QueryResult []payout.Status `json:"queryResult"`
	}
	require.NoError(t, json.Unmarshal([]byte(queried), &answer), queried)
	require.Equal(t, payout.StateSucceeded, answer.QueryResult[0].State)

	// The Go client takes a payout started elsewhere for what it is.
	same := r
	same.Policy = payout.Policy{Decision: payout.DecisionManual}
	started, err := s.starter.Start(testContext(t), same)
	require.NoError(t, err)
	require.True(t, started.Existing)
	same.AmountDetails.Amount++
	_, err = s.starter.Start(testContext(t), same)
	require.ErrorIs(t, err, starter.ErrConflict)
}

// TestStartOptionsThatCouldKillAPayoutAreRefused: hazard A19 at the hands of a foreign caller.
func TestStartOptionsThatCouldKillAPayoutAreRefused(t *testing.T) {
	t.Parallel()
	s := newStack(t, stackOptions{})
	r := order(t, pikesim.PresetConfirmed)
	input, err := json.Marshal(r)
	require.NoError(t, err)
	temporalCLI(t, "workflow", "start", "--type", "PayoutWorkflow", "--task-queue", s.taskQueue, "--workflow-id", payout.WorkflowID(r.PayoutID),
		"--execution-timeout", "1h", "--input", string(input))
	_, err = s.starter.Wait(testContext(t), r.PayoutID)
	require.ErrorContains(t, err, "a payout must have no workflow timeout")
	require.Empty(t, s.ledger(r).Accepted)
}
