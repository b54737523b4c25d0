package workflows

import (
	"encoding/json"

	"go.temporal.io/sdk/workflow"

	"pikepayouts/payout"
)

// Refusable says which payloads a worker may refuse and go on (codec.Refusable):
// what comes from outside. A webhook is dropped, also one whose key is missing: it
// is a hint, and else whoever can signal could stop every payout for ever with a key
// that nobody has (hazard W23). A person's update is rejected (SDK 1.50 does so without asking here), and a payout that was
// started in clear fails before its first step. Everything else is a payout's own history: with a part of that
// unreadable, it must not go on, and not end either. So is what a run was given by
// the one that it continues, or was reset from: money may be under way.
func Refusable(ctx workflow.Context, destination any, keyMissing bool) bool {
	switch destination.(type) {
	case *payout.Event, *payout.DecideRequest, *payout.ResolveRequest:
		return true
	case *json.RawMessage, *payout.LateEvent: // what a workflow is started with
		return !keyMissing && !workflow.IsReplaying(ctx) && firstRun(workflow.GetInfo(ctx))
	}
	return false
}

func firstRun(info *workflow.Info) bool {
	return info.ContinuedExecutionRunID == "" && originalRunID(info) == info.WorkflowExecution.RunID
}
