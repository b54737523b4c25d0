package e2e

import (
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	workflowpb "go.temporal.io/api/workflow/v1"

	"pikepayouts/payout"
	"pikepayouts/pikesim"
)

// lookBeforeStart is a change of the workflow, one more activity before the start: made
// through versions.go if guarded, else by somebody who did not think of open payouts.
func lookBeforeStart(guarded bool) []edit {
	guard := map[bool]string{true: "changed(p.ctx, lookBeforeStart)", false: `lookBeforeStart != ""`}[guarded]
	return []edit{
		{"workflows/versions.go", "type change string\n", "type change string\n\nconst lookBeforeStart change = \"look-before-start\"\n"},
		{"workflows/workflow.go", "		err = p.startPayout(settledSince)\n", `
		if ` + guard + ` {
			_ = workflow.ExecuteActivity(p.reading("look before start"), p.activities.SessionStatus, p.sessionInput()).Get(p.ctx, nil)
		}
		err = p.startPayout(settledSince)
`},
	}
}

// openPayout is a payout that stays in a state until somebody acts.
type openPayout struct {
	payout.Request
	state     payout.State
	attention payout.AttentionReason
	act       func() error
	end       payout.State
}

// openPayouts starts n payouts and returns them when each is in its state.
func (s *stack) openPayouts(n int) []openPayout {
	s.t.Helper()
	confirm := func(id string) error { _, err := s.starter.Confirm(testContext(s.t), id, "ann", ""); return err }
	cancel := func(id string) error { _, err := s.starter.Cancel(testContext(s.t), id, "ann", ""); return err }
	closeUnpaid := func(id string) error {
		_, err := s.starter.Resolve(testContext(s.t), id, payout.ResolveRequest{Action: payout.ResolveCloseNotPaid, By: "ann", Reason: "support", Evidence: "ticket 17"})
		return err
	}
	kinds := []struct {
		preset    pikesim.Preset
		decision  string
		state     payout.State
		attention payout.AttentionReason
		act       func(id string) error
		end       payout.State
	}{
		{pikesim.PresetConfirmed, payout.DecisionManual, payout.StateAwaitingDecision, "", confirm, payout.StateSucceeded},
		{pikesim.PresetConfirmed, payout.DecisionManual, payout.StateAwaitingDecision, "", cancel, payout.StateCancelled},
		{pikesim.PresetNeverReadyCancellable, payout.DecisionAuto, payout.StateAwaitingReady, "", cancel, payout.StateCancelled},
		{pikesim.PresetDeclinedWithError, payout.DecisionAuto, payout.StateAwaitingResult, payout.AttentionUnresolvedError, closeUnpaid, payout.StateFailed},
	}
	open := make([]openPayout, n)
	for i := range open {
		kind := kinds[i%len(kinds)]
		r := order(s.t, kind.preset, func(r *payout.Request) { r.Policy.Decision = kind.decision })
		open[i] = openPayout{r, kind.state, kind.attention, func() error { return kind.act(r.PayoutID) }, kind.end}
		s.start(r)
	}
	s.waitUntilOpen(open)
	return open
}

// waitUntilOpen waits until each payout is where it stays; after a reset that takes a settle delay.
func (s *stack) waitUntilOpen(open []openPayout) {
	s.t.Helper()
	for _, p := range open {
		require.Eventually(s.t, func() bool {
			status, err := s.starter.Get(testContext(s.t), p.PayoutID)
			return err == nil && status.State == p.state && attention(status) == p.attention
		}, 3*time.Minute, 50*time.Millisecond, "never %s %s", p.state, p.attention)
	}
}

// finish lets the payouts end, and the ledger judge them. Temporal refuses updates of a payout
// whose workflow task has failed, until a build that replays it has taken the next one.
func (s *stack) finish(open []openPayout) {
	s.t.Helper()
	for _, p := range open {
		require.Eventually(s.t, func() bool { return p.act() == nil }, 3*time.Minute, 100*time.Millisecond)
	}
	for _, p := range open {
		require.Equal(s.t, p.end, s.wait(p.Request).State)
		require.LessOrEqual(s.t, s.calls(p.Request, "session/start/payout"), 1)
		require.LessOrEqual(s.t, s.calls(p.Request, "session/confirm"), 1)
	}
}

// failedTasks counts the workflow tasks that failed because the code did not replay the history.
func (s *stack) failedTasks(r payout.Request) int {
	n := 0
	for _, event := range s.history(r) {
		if event.GetWorkflowTaskFailedEventAttributes().GetCause() == enumspb.WORKFLOW_TASK_FAILED_CAUSE_NON_DETERMINISTIC_ERROR {
			n++
		}
	}
	return n
}

// waitUntilHeld gives each payout a workflow task, by a hint as a webhook is one, and
// waits until it has failed. A payout that cannot be replayed waits; it does not end.
func (s *stack) waitUntilHeld(open []openPayout) {
	s.t.Helper()
	s.nudge(open)
	for _, p := range open {
		require.Eventually(s.t, func() bool { return s.failedTasks(p.Request) > 0 || !s.open(p.Request) }, 2*time.Minute, 100*time.Millisecond, "%s is replayed", p.PayoutID)
		require.True(s.t, s.open(p.Request), "%s has ended", p.PayoutID)
	}
}

func (s *stack) nudge(open []openPayout) {
	s.t.Helper()
	hint := payout.Event{Type: payout.SignalPaymentFinished, SessionID: "of another payout"}
	for _, p := range open {
		require.NoError(s.t, shared.temporal.SignalWorkflow(testContext(s.t), payout.WorkflowID(p.PayoutID), "", hint.Type, hint))
	}
}

// tookNewWay: the history has the mark of a change.
func (s *stack) tookNewWay(r payout.Request) bool {
	for _, event := range s.history(r) {
		if event.GetMarkerRecordedEventAttributes().GetMarkerName() == "Version" {
			return true
		}
	}
	return false
}

func (s *stack) execution(r payout.Request) *workflowpb.WorkflowExecutionInfo {
	s.t.Helper()
	description, err := shared.temporal.DescribeWorkflowExecution(testContext(s.t), payout.WorkflowID(r.PayoutID), "")
	require.NoError(s.t, err)
	return description.GetWorkflowExecutionInfo()
}

func (s *stack) open(r payout.Request) bool {
	s.t.Helper()
	return s.execution(r).GetStatus() == enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING
}

// fleet is some worker processes of one build.
type fleet []*process

func deploy(t *testing.T, binary string, environment []string) fleet {
	t.Helper()
	return fleet{startBinary(t, binary, environment, "worker"), startBinary(t, binary, environment, "worker")}
}

// stop is what a rollout does: SIGTERM, and wait.
func (f fleet) stop() {
	for _, p := range f {
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
	}
	for _, p := range f {
		_ = p.cmd.Wait()
	}
}

func (f fleet) kill() {
	for _, p := range f {
		p.kill()
	}
}

// TestABrokenBuildLosesNothing deploys a build that does not replay the open payouts, and rolls it back (hazards L6, F53).
func TestABrokenBuildLosesNothing(t *testing.T) {
	t.Parallel()
	good, err := buildBinary()
	require.NoError(t, err)
	broken := buildVariant(t, lookBeforeStart(false)...)
	s := newStack(t, stackOptions{noWorker: true})
	environment := workerEnvironment(t, s, s.simURL)
	workers := deploy(t, good, environment)
	open := s.openPayouts(30)

	workers.stop()
	workers = deploy(t, broken, environment)
	s.waitUntilHeld(open)
	begunOnBroken := s.openPayouts(4) // for its own payouts the broken build works

	workers.stop()
	deploy(t, good, environment)
	s.finish(open)
	s.waitUntilHeld(begunOnBroken)
	for _, p := range begunOnBroken {
		s.reset(p.Request, s.resettable(p.Request)[0])
	}
	s.waitUntilOpen(begunOnBroken)
	s.finish(begunOnBroken)
}

// TestAChangeIsDeployedUnderOpenPayouts: old and new workers side by side, the new ones
// alone, and a rollback to the old ones, which hold what has taken the new way (hazard F52).
func TestAChangeIsDeployedUnderOpenPayouts(t *testing.T) {
	t.Parallel()
	released, err := buildBinary()
	require.NoError(t, err)
	changed := buildVariant(t, lookBeforeStart(true)...)
	s := newStack(t, stackOptions{noWorker: true})
	environment := workerEnvironment(t, s, s.simURL)
	before := deploy(t, released, environment)
	old := s.openPayouts(16)

	after := deploy(t, changed, environment)
	either := s.openPayouts(8)
	before.kill()
	fresh := s.openPayouts(8)
	s.finish(old[8:]) // on the new build, the old way

	after.stop()
	rolledBack := deploy(t, released, environment)
	s.waitUntilHeld(fresh)
	s.finish(old[:8])

	rolledBack.stop()
	deploy(t, changed, environment)
	s.finish(either)
	s.finish(fresh)
	for _, p := range slices.Concat(old, either, fresh) {
		// A query of an ended payout replays its whole history, here by the changed workflow.
		_, err := shared.temporal.QueryWorkflow(testContext(t), payout.WorkflowID(p.PayoutID), "", payout.QueryStatus)
		require.NoError(t, err)
	}
	for _, p := range old {
		require.Zero(t, s.failedTasks(p.Request))
		require.False(t, s.tookNewWay(p.Request))
	}
	for _, p := range fresh {
		require.True(t, s.tookNewWay(p.Request))
	}
}

// TestPinnedPayoutsStayOnTheirBuild: with worker versioning even a build that
// does not replay older payouts may be deployed, and rolled back.
func TestPinnedPayoutsStayOnTheirBuild(t *testing.T) {
	t.Parallel()
	first, err := buildBinary()
	require.NoError(t, err)
	second := buildVariant(t, lookBeforeStart(false)...)
	s := newStack(t, stackOptions{noWorker: true})
	environment := workerEnvironment(t, s, s.simURL)
	deployment := "payouts-" + s.taskQueue
	build := func(id string) []string {
		return append([]string{"TEMPORAL_DEPLOYMENT_NAME=" + deployment, "TEMPORAL_WORKER_BUILD_ID=" + id}, environment...)
	}
	firstWorkers := deploy(t, first, build("1"))
	s.setCurrent(deployment, "1")
	old := s.openPayouts(4)

	deploy(t, second, build("2"))
	s.setCurrent(deployment, "2")
	fresh := s.openPayouts(4)
	firstWorkers.kill() // what they had in memory must be replayed
	s.nudge(old)
	firstWorkers = deploy(t, first, build("1"))
	s.setCurrent(deployment, "1") // rolled back
	parked := s.openPayouts(4)
	s.finish(slices.Concat(old, fresh))
	s.ranOnBuild("1", old)
	s.ranOnBuild("2", fresh)

	deploy(t, first, build("3")) // replays what began on build 1
	s.setCurrent(deployment, "3")
	temporalCLI(t, "workflow", "update-options", "--query", "TemporalWorkerDeploymentVersion='"+deployment+":1' AND ExecutionStatus='Running'", "--yes",
		"--versioning-override-behavior", "pinned", "--versioning-override-deployment-name", deployment, "--versioning-override-build-id", "3")
	s.waitUntilMoved(parked, "3")
	firstWorkers.stop()
	s.finish(parked)
	s.ranOnBuild("3", parked)
}

func (s *stack) waitUntilMoved(payouts []openPayout, build string) {
	s.t.Helper()
	for _, p := range payouts {
		require.Eventually(s.t, func() bool {
			return s.execution(p.Request).GetVersioningInfo().GetVersioningOverride().GetPinned().GetVersion().GetBuildId() == build
		}, time.Minute, 100*time.Millisecond, "%s was not moved", p.PayoutID)
	}
}

// setCurrent makes a build the one that new payouts go to, as docs/deploy.md says. Temporal must have seen its workers first.
func (s *stack) setCurrent(deployment, build string) {
	s.t.Helper()
	require.Eventually(s.t, func() bool {
		_, err := tryTemporalCLI(s.t, "worker", "deployment", "set-current-version", "--deployment-name", deployment, "--build-id", build, "--yes")
		return err == nil
	}, time.Minute, 100*time.Millisecond, "build %s never became current", build)
}

func (s *stack) ranOnBuild(build string, payouts []openPayout) {
	s.t.Helper()
	for _, p := range payouts {
		versioning := s.execution(p.Request).GetVersioningInfo()
		require.Equal(s.t, enumspb.VERSIONING_BEHAVIOR_PINNED, versioning.GetBehavior())
		require.Equal(s.t, build, versioning.GetDeploymentVersion().GetBuildId())
		require.Zero(s.t, s.failedTasks(p.Request))
	}
}
