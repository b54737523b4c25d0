//go:build record

package e2e

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"

	"pikepayouts/payout"
	"pikepayouts/pikesim"
)

// TestRecordHistories writes one history per path of the workflows into
// workflows/testdata/histories, where a test replays them: `make histories`.
// Record anew only while no payout of an older version can be open.
func TestRecordHistories(t *testing.T) {
	require.NoError(t, os.RemoveAll(historiesFolder))
	require.NoError(t, os.MkdirAll(historiesFolder, 0o755))
	s := newStack(t, stackOptions{timing: pikesim.Timing{ErrorResolution: 4 * time.Second}})
	for name, path := range recordedPaths(s) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := order(t, path.preset, path.change...)
			if path.behaviour != "" {
				s.behave(r, path.behaviour)
			}
			s.start(r)
			if path.then != nil {
				path.then(r)
			}
			_, _ = s.starter.Wait(testContext(t), r.PayoutID)
			id := payout.WorkflowID(r.PayoutID)
			if path.late != nil {
				id = path.late(r)
			}
			recordRun(t, name, id, "")
		})
	}
}

// TestRecordAParkedPayout needs a server that suggests early to continue as new: see `make histories`.
func TestRecordAParkedPayout(t *testing.T) {
	s := newStack(t, stackOptions{})
	r := order(t, pikesim.PresetDeclinedWithError)
	started, err := s.starter.Start(testContext(t), r)
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		description, err := shared.temporal.DescribeWorkflowExecution(testContext(t), started.WorkflowID, started.RunID)
		return err == nil && description.GetWorkflowExecutionInfo().GetStatus() == enumspb.WORKFLOW_EXECUTION_STATUS_CONTINUED_AS_NEW
	}, time.Minute, 50*time.Millisecond)
	s.closeUnresolved(r)
	s.wait(r)
	recordRun(t, "parked", started.WorkflowID, started.RunID)
	recordRun(t, "parked_next_run", started.WorkflowID, "")
}

var historiesFolder = filepath.Join("..", "workflows", "testdata", "histories")

func recordRun(t *testing.T, name, workflowID, runID string) {
	t.Helper()
	arguments := []string{"workflow", "show", "--workflow-id", workflowID, "-o", "json"}
	if runID != "" {
		arguments = append(arguments, "--run-id", runID)
	}
	history := temporalCLI(t, arguments...)
	require.NoError(t, os.WriteFile(filepath.Join(historiesFolder, name+".json"), []byte(history), 0o644)) //nolint:gosec // test data, meant to be read
}

type recordedPath struct {
	preset pikesim.Preset
	// behaviour changes the preset.
	behaviour string
	change    []func(*payout.Request)
	then      func(r payout.Request)
	// late makes a late event of the payout that has ended; its history is the one to record.
	late func(r payout.Request) string
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
		"mismatch":              {behaviour: `{"echo":"amount"}`},
		"balance_short":         {behaviour: `{"balance":"short_at_end"}`},
		"confirm_timeout": {
			behaviour: `{"faults":[{"call":"status","kind":"http_503","times":-1,"after":"start","for":"8s"}]}`,
			change:    []func(*payout.Request){with(func(p *payout.Policy) { p.ConfirmTimeout = payout.Duration(2 * time.Second) })},
		},
		"config_refused": {behaviour: `{"faults":[{"call":"start","kind":"unknown_code","code":"authentication_error","times":2}]}`},
		"pike_unreachable": {
			behaviour: `{"faults":[{"call":"status","kind":"never_arrives","times":-1,"after":"start","for":"5m50s"}]}`,
			change:    []func(*payout.Request){polling(20 * time.Second)}, then: s.recheckOnceUnreachable,
		},
		"late_event_agrees": {preset: pikesim.PresetWebhooksLost, late: func(r payout.Request) string {
			return s.lateWebhook(r, agrees)
		}},
		"late_event_resolved": {preset: pikesim.PresetDeclinedWithError, then: s.closeUnresolved, late: func(r payout.Request) string {
			id := s.lateWebhook(r, func(payout.LateEventStatus) bool { return true })
			require.Eventually(s.t, func() bool { // Pike's session stays in error: it takes the settle delay until a person is asked
				_, err := s.starter.ResolveLateEvent(testContext(s.t), id,
					payout.ResolveRequest{Action: payout.ResolveCloseNotPaid, By: "ann", Reason: "support", Evidence: "ticket 17"})
				return err == nil
			}, 9*time.Minute, time.Second)
			return id
		}},
	}
}

// recheckOnceUnreachable lets a person ask for another look until Pike is back.
func (s *stack) recheckOnceUnreachable(r payout.Request) {
	require.Eventually(s.t, func() bool {
		status, err := s.starter.Get(testContext(s.t), r.PayoutID)
		return err == nil && attention(status) == payout.AttentionPikeUnreachable
	}, 8*time.Minute, time.Second)
	require.Eventually(s.t, func() bool {
		status, err := s.starter.Resolve(testContext(s.t), r.PayoutID, payout.ResolveRequest{Action: payout.ResolveRecheck, By: "ann"})
		return err == nil && status.Attention == nil
	}, 2*time.Minute, 10*time.Second)
}

func (s *stack) lateWebhook(r payout.Request, wanted func(payout.LateEventStatus) bool) string {
	status, err := s.starter.Get(testContext(s.t), r.PayoutID)
	require.NoError(s.t, err)
	s.deliver(webhookOf("payment_finished", status.SessionID, r.PayoutID, "accepted", "succeeded"))
	return payout.LateEventWorkflowID(s.eventuallyLate(status.SessionID, wanted).Event)
}

func (s *stack) cancelWorkflow(r payout.Request) {
	s.eventually(r, payout.StateAwaitingDecision)
	require.NoError(s.t, shared.temporal.CancelWorkflow(testContext(s.t), payout.WorkflowID(r.PayoutID), ""))
}

func (s *stack) resetOnceEnded(r payout.Request) {
	s.wait(r)
	s.reset(r, s.resettable(r)[0])
}
