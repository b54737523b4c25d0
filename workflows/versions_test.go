package workflows_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/workflow"

	"pikepayouts/payout"
	"pikepayouts/workflows"
)

// TestAChangeIsForRunsThatHaveNotPassedIt: payouts of the release before go on as they began (hazard F52).
func TestAChangeIsForRunsThatHaveNotPassedIt(t *testing.T) {
	var answers []bool
	changed := func(ctx workflow.Context, rawRequest json.RawMessage) (payout.Status, error) {
		answers = append(answers, workflows.Changed(ctx, "in a test"))
		return workflows.PayoutWorkflow(ctx, rawRequest, nil)
	}
	history, err := os.ReadFile(filepath.Join("testdata", "histories", "manual_confirm.json"))
	require.NoError(t, err)
	require.NoError(t, replay(history, changed))
	require.Equal(t, []bool{false}, answers)

	h := newBareHarness(t, newFakePike(), client.MetricsNopHandler)
	h.env.RegisterWorkflowWithOptions(changed, workflow.RegisterOptions{Name: "changed"})
	h.env.ExecuteWorkflow("changed", request(func(r *payout.Request) { r.PayoutID = "" }))
	require.ErrorContains(t, h.env.GetWorkflowError(), "payout_id")
	require.Equal(t, []bool{false, true}, answers)
}
