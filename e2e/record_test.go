//go:build record

package e2e

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"pikepayouts/payout"
	"pikepayouts/pikesim"
)

// TestRecordHistories writes one history per path of PayoutWorkflow into
// workflows/testdata/histories, where a test replays them: `make histories`.
// Record anew only while no payout of an older version can be open.
func TestRecordHistories(t *testing.T) {
	folder := filepath.Join("..", "workflows", "testdata", "histories")
	require.NoError(t, os.RemoveAll(folder))
	require.NoError(t, os.MkdirAll(folder, 0o755))
	s := newStack(t, stackOptions{timing: pikesim.Timing{ErrorResolution: 4 * time.Second}})
	for name, path := range recordedPaths(s) {
		t.Run(name, func(t *testing.T) {
			r := order(t, path.preset, path.change...)
			s.start(r)
			if path.then != nil {
				path.then(r)
			}
			_, _ = s.starter.Wait(testContext(t), r.PayoutID)
			history := temporalCLI(t, "workflow", "show", "--workflow-id", payout.WorkflowID(r.PayoutID), "-o", "json")
			require.NoError(t, os.WriteFile(filepath.Join(folder, name+".json"), []byte(history), 0o644)) //nolint:gosec // test data, meant to be read
		})
	}
}

type recordedPath struct {
	preset pikesim.Preset
	change []func(*payout.Request)
	then   func(r payout.Request)
}

func recordedPaths(s *stack) map[string]recordedPath {
	with := func(change func(*payout.Policy)) func(*payout.Request) {
		return func(r *payout.Request) { change(&r.Policy) }
	}
	decide := func(decision string) func(r payout.Request) {
		return func(r payout.Request) {
			s.eventually(r, payout.StateAwaitingDecision)
			var err error
			if decision == payout.DecisionConfirm {
				_, err = s.starter.Confirm(testContext(s.t), r.PayoutID, "ann", "")
			} else {
				_, err = s.starter.Cancel(testContext(s.t), r.PayoutID, "ann", "")
			}
			require.NoError(s.t, err)
		}
	}
	return map[string]recordedPath{
		"happy":                 {preset: pikesim.PresetConfirmed, change: []func(*payout.Request){polling(30 * time.Second)}},
		"webhooks_lost":         {preset: pikesim.PresetWebhooksLost},
		"declined_at_checks":    {preset: pikesim.PresetDeclinedAtChecks},
		"declined":              {preset: pikesim.PresetDeclinedAfterConfirm},
		"error_then_paid":       {preset: pikesim.PresetErrorThenPaid},
		"paid_without_confirm":  {preset: pikesim.PresetAutoConfirm},
		"start_answer_lost":     {preset: pikesim.PresetStartAnswerLost},
		"confirm_answer_lost":   {preset: pikesim.PresetConfirmAnswerLost},
		"manual_confirm":        {preset: pikesim.PresetConfirmed, change: []func(*payout.Request){manual}, then: decide(payout.DecisionConfirm)},
		"manual_cancel":         {preset: pikesim.PresetConfirmed, change: []func(*payout.Request){manual}, then: decide(payout.DecisionCancel)},
		"ready_timeout":         {preset: pikesim.PresetNeverReadyCancellable, change: []func(*payout.Request){with(func(p *payout.Policy) { p.ReadyTimeout = payout.Duration(2 * time.Second) })}},
		"decision_timeout":      {preset: pikesim.PresetConfirmed, change: []func(*payout.Request){manual, with(func(p *payout.Policy) { p.DecisionTimeout = payout.Duration(2 * time.Second) })}},
		"result_overdue":        {preset: pikesim.PresetErrorThenPaid, change: []func(*payout.Request){with(func(p *payout.Policy) { p.ResultTimeout = payout.Duration(time.Second) })}},
		"resolved":              {preset: pikesim.PresetDeclinedWithError, then: s.closeUnresolved},
		"cancelled_by_temporal": {preset: pikesim.PresetConfirmed, change: []func(*payout.Request){manual}, then: s.cancelWorkflow},
		"reset":                 {preset: pikesim.PresetConfirmed, then: s.resetOnceEnded},
	}
}

func (s *stack) cancelWorkflow(r payout.Request) {
	s.eventually(r, payout.StateAwaitingDecision)
	require.NoError(s.t, shared.temporal.CancelWorkflow(testContext(s.t), payout.WorkflowID(r.PayoutID), ""))
}

func (s *stack) resetOnceEnded(r payout.Request) {
	s.wait(r)
	s.reset(r, s.resettable(r)[0])
}
