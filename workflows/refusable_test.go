package workflows_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/workflow"

	"pikepayouts/activities"
	"pikepayouts/payout"
	"pikepayouts/workflows"
)

// TestRefusable: what comes from outside, and nothing of a payout's own history.
func TestRefusable(t *testing.T) {
	var suite testsuite.WorkflowTestSuite
	env := suite.NewTestWorkflowEnvironment() // of a run that has just been started
	env.ExecuteWorkflow(func(ctx workflow.Context) error {
		for destination, want := range map[any]bool{
			&payout.Event{}: true, &payout.DecideRequest{}: true, &payout.ResolveRequest{}: true,
			&json.RawMessage{}: true, &payout.LateEvent{}: true,
			&activities.Session{}: false, &payout.Status{}: false, new(string): false,
		} {
			require.Equal(t, want, workflows.Refusable(ctx, destination, false), "%T", destination)
		}
		require.True(t, workflows.Refusable(ctx, &payout.Event{}, true))
		for _, destination := range []any{&json.RawMessage{}, &payout.LateEvent{}} {
			require.False(t, workflows.Refusable(ctx, destination, true), "%T: another worker may have the key", destination)
		}
		return nil
	})
	require.NoError(t, env.GetWorkflowError())
}

// TestWhatARunWasHandedIsNotRefusable: the run before it may have sent money on its way.
func TestWhatARunWasHandedIsNotRefusable(t *testing.T) {
	for name, madeBy := range map[string]func(*workflow.Info){
		"continued as new": func(info *workflow.Info) { info.ContinuedExecutionRunID = "the run before" },
		"reset":            func(info *workflow.Info) { info.OriginalRunID = "the run before" },
	} {
		t.Run(name, func(t *testing.T) {
			var suite testsuite.WorkflowTestSuite
			env := suite.NewTestWorkflowEnvironment()
			env.ExecuteWorkflow(func(ctx workflow.Context) error {
				madeBy(workflow.GetInfo(ctx))
				for destination, want := range map[any]bool{&json.RawMessage{}: false, &payout.LateEvent{}: false, &payout.Event{}: true} {
					require.Equal(t, want, workflows.Refusable(ctx, destination, false), "%T", destination)
				}
				return nil
			})
			require.NoError(t, env.GetWorkflowError())
		})
	}
}
