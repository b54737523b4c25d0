package e2e

import (
	"context"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/api/proxy"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	sdkworker "go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
	"google.golang.org/protobuf/encoding/protojson"

	"pikepayouts/codec"
	"pikepayouts/payout"
	"pikepayouts/pike"
	"pikepayouts/pikesim"
	"pikepayouts/secret"
	"pikepayouts/starter"
	"pikepayouts/worker"
	"pikepayouts/workflows"
)

// workingWith runs do while the only worker has those keys, and stops that worker.
func (s *stack) workingWith(keys *codec.Keyset, do func()) {
	s.t.Helper()
	options, forWorker := plainOptions(shared.address), s.workerOptions(s.pikeClient(pike.V1))
	codec.UseInWorker(&options, keys, workflows.Refusable)
	forWorker.DataConverter = options.DataConverter
	w := worker.New(s.dial(options), forWorker)
	require.NoError(s.t, w.Start())
	defer w.Stop()
	do()
}

// callerWith is a service with those keys.
func (s *stack) callerWith(keys *codec.Keyset) (client.Client, *starter.Starter) {
	s.t.Helper()
	options := plainOptions(shared.address)
	codec.Use(&options, keys)
	temporal := s.dial(options)
	return temporal, starter.New(temporal, starter.Options{TaskQueue: s.taskQueue, DataConverter: options.DataConverter})
}

func (s *stack) starterWith(keys *codec.Keyset) *starter.Starter {
	s.t.Helper()
	_, own := s.callerWith(keys)
	return own
}

func (s *stack) dial(options client.Options) client.Client {
	s.t.Helper()
	temporal, err := client.Dial(options)
	require.NoError(s.t, err)
	s.t.Cleanup(temporal.Close)
	return temporal
}

// tasksFail waits until a workflow task has failed, and sees that the payout has not.
func (s *stack) tasksFail(r payout.Request) {
	s.t.Helper()
	require.Eventually(s.t, func() bool {
		return slices.ContainsFunc(s.history(r), func(event *historypb.HistoryEvent) bool {
			return event.GetEventType() == enumspb.EVENT_TYPE_WORKFLOW_TASK_FAILED
		})
	}, time.Minute, 100*time.Millisecond, "no workflow task failed")
	description, err := shared.temporal.DescribeWorkflowExecution(testContext(s.t), payout.WorkflowID(r.PayoutID), "")
	require.NoError(s.t, err)
	require.Equal(s.t, enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING, description.GetWorkflowExecutionInfo().GetStatus())
}

// TestAWorkerWithTheWrongKeysEndsNoPayout: the SDK by itself would fail the
// workflow, with money under way and nobody watching it.
func TestAWorkerWithTheWrongKeysEndsNoPayout(t *testing.T) {
	t.Parallel()
	encryptedOnly(t)
	foreign, err := codec.NewKeyset()
	require.NoError(t, err)
	for name, keys := range map[string]struct{ right, wrong *codec.Keyset }{
		"no keyset":                         {shared.keyset.keys, nil},
		"another keyset":                    {shared.keyset.keys, foreign},
		"a keyset, and the payout is older": {nil, shared.keyset.keys},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStack(t, stackOptions{noWorker: true})
			r := inClear(order(t, pikesim.PresetWebhooksLost, manual)) // the stack's gateway has the suite's keyset
			s.starter = s.starterWith(keys.right)
			s.workingWith(keys.right, func() {
				s.start(r)
				s.eventually(r, payout.StateAwaitingDecision)
			})
			s.workingWith(keys.wrong, func() {
				ctx, cancel := context.WithTimeout(testContext(t), 5*time.Second)
				defer cancel()
				_, err := s.starter.Confirm(ctx, r.PayoutID, "ann", "") // what wakes the payout
				require.Error(t, err)
				s.tasksFail(r)
			})
			s.workingWith(keys.right, func() {
				require.Eventually(t, func() bool { // the first may have been kept
					_, err := s.starter.Confirm(testContext(t), r.PayoutID, "ann", "")
					status, getErr := s.starter.Get(testContext(t), r.PayoutID)
					return err == nil || getErr == nil && status.Decision != nil
				}, time.Minute, 100*time.Millisecond)
				require.Equal(t, payout.StateSucceeded, s.wait(r).State)
			})
			require.Equal(t, 1, s.calls(r, "session/confirm"))
		})
	}
}

// TestAPayoutStartedInClearIsRefused before its first step, and says what to do.
func TestAPayoutStartedInClearIsRefused(t *testing.T) {
	t.Parallel()
	encryptedOnly(t)
	s := newStack(t, stackOptions{})
	r := inClear(order(t, pikesim.PresetConfirmed))
	_, err := s.starterWith(nil).Start(testContext(t), r)
	require.NoError(t, err)
	_, err = s.starter.Wait(testContext(t), r.PayoutID)
	require.ErrorIs(t, err, starter.ErrNoResult)
	require.ErrorContains(t, err, "not encrypted, and a keyset is set")
	require.Empty(t, s.ledger(r).Accepted)
}

// TestPayloadsThatAreNotThePayoutsMoveNothing: in clear, or cut out of another
// payout's history (hazards T2, X10). The worker counts and drops them.
func TestPayloadsThatAreNotThePayoutsMoveNothing(t *testing.T) {
	t.Parallel()
	encryptedOnly(t)
	s := newStack(t, stackOptions{noWorker: true})
	w := startWorkerProcess(t, workerEnvironment(t, s, s.simURL))
	other := order(t, pikesim.PresetNeverReadyCancellable, polling(time.Hour))
	r := order(t, pikesim.PresetNeverReadyCancellable, polling(time.Hour))
	for _, each := range []payout.Request{other, r} {
		s.start(each)
		s.eventually(each, payout.StateAwaitingReady)
	}
	status, err := s.starter.Get(testContext(t), r.PayoutID)
	require.NoError(t, err)
	event, err := converter.GetDefaultDataConverter().ToPayload(payout.Event{SessionID: status.SessionID, SessionStatus: "accepted", PayoutStatus: "succeeded"})
	require.NoError(t, err)
	before := s.calls(r, "session/status")
	s.signalRaw(r, event)
	s.signalRaw(r, shared.keyset.encrypt(t, other, event))
	foreign, err := codec.NewKeyset()
	require.NoError(t, err)
	s.signalRaw(r, keyset{keys: foreign}.encrypt(t, r, event)) // nobody has its key
	eventually(t, w.ops, "temporal_corrupted_signals_total", `workflow_type="`+payout.WorkflowType+`"`, 3)
	require.Equal(t, before, s.calls(r, "session/status"), "not even a hint")

	s.signalRaw(r, shared.keyset.encrypt(t, r, event)) // the same, encrypted for this payout, is a hint
	require.Eventually(t, func() bool { return s.calls(r, "session/status") > before }, time.Minute, 20*time.Millisecond)

	decision, err := converter.GetDefaultDataConverter().ToPayload(payout.DecideRequest{Decision: payout.DecisionCancel, By: "ann"})
	require.NoError(t, err)
	stranger, _ := s.callerWith(nil)
	for _, raw := range []*commonpb.Payload{decision, shared.keyset.encrypt(t, other, decision), keyset{keys: foreign}.encrypt(t, r, decision)} {
		handle, err := stranger.UpdateWorkflow(testContext(t), client.UpdateWorkflowOptions{
			WorkflowID: payout.WorkflowID(r.PayoutID), UpdateName: payout.UpdateDecide, WaitForStage: client.WorkflowUpdateStageCompleted,
			Args: []any{converter.NewRawValue(raw)},
		})
		require.NoError(t, err)
		require.Error(t, handle.Get(testContext(t), nil))
	}
	for _, each := range []payout.Request{other, r} {
		s.cancelOnceUndecided(each)
		require.Equal(t, payout.StateCancelled, s.wait(each).State)
	}
}

// TestRotationWhilePayoutsRun: three rotations, each reaching the worker and the
// caller at different times; every payout goes on, and its history replays with
// the last keyset (hazard T3).
func TestRotationWhilePayoutsRun(t *testing.T) {
	t.Parallel()
	encryptedOnly(t)
	s := newStack(t, stackOptions{noWorker: true})
	keys := keyset{keys: shared.keyset.keys, file: filepath.Join(t.TempDir(), "keyset.json")}
	require.NoError(t, keys.write())
	environment := append(workerEnvironment(t, s, s.simURL), keys.environment())
	binary, err := buildBinary()
	require.NoError(t, err)
	r := order(t, pikesim.PresetConfirmed, manual, polling(time.Second), func(r *payout.Request) { r.Policy.Approvals = 4 })

	w := startProcess(t, environment, "worker")
	s.start(r)
	s.eventually(r, payout.StateAwaitingDecision)
	approve := func(by string, with *codec.Keyset) {
		_, err := s.starterWith(with).Confirm(testContext(t), r.PayoutID, by, "")
		require.NoError(t, err, "%s", by)
	}
	for _, by := range []string{"ann", "ben", "cem"} {
		before := keys.keys
		require.NoError(t, exec.CommandContext(testContext(t), binary, "keygen", "--keyset", keys.file, "--rotate").Run())
		content, err := os.ReadFile(keys.file)
		require.NoError(t, err)
		keys.keys, err = codec.ParseKeyset(content)
		require.NoError(t, err)
		approve(by, keys.keys)                                         // the caller has the new file, the worker the old one
		_, err = s.starterWith(before).Get(testContext(t), r.PayoutID) // and the other way round
		require.NoError(t, err)
		w.stop()
		w = startProcess(t, environment, "worker")
		early := s.starterWith(before)
		require.Eventually(t, func() bool { _, err = early.Get(testContext(t), r.PayoutID); return err == nil }, 2*time.Minute, 50*time.Millisecond)
	}
	approve("dea", keys.keys)
	status, err := s.starterWith(keys.keys).Wait(testContext(t), r.PayoutID)
	require.NoError(t, err)
	require.Equal(t, payout.StateSucceeded, status.State)

	events := s.history(r)
	require.GreaterOrEqual(t, len(keysUsedIn(t, events)), 4)
	require.NoError(t, replayEncrypted(t, events, keys.keys))
	require.Error(t, replayEncrypted(t, events, nil), "the replay reads what is encrypted")
}

// keysUsedIn are the ids that Tink writes before a ciphertext.
func keysUsedIn(t *testing.T, events []*historypb.HistoryEvent) map[string]bool {
	t.Helper()
	ids := map[string]bool{}
	err := proxy.VisitPayloads(t.Context(), &historypb.History{Events: events}, proxy.VisitPayloadsOptions{
		SkipSearchAttributes: true,
		Visitor: func(_ *proxy.VisitPayloadsContext, payloads []*commonpb.Payload) ([]*commonpb.Payload, error) {
			for _, payload := range payloads {
				require.Equal(t, "binary/encrypted", string(payload.GetMetadata()["encoding"]))
				ids[hex.EncodeToString(payload.GetData()[1:5])] = true
			}
			return payloads, nil
		},
	})
	require.NoError(t, err)
	return ids
}

// replayEncrypted replays a payout's history. The replayer has a namespace of its own, so it is not told where payloads belong.
func replayEncrypted(t *testing.T, events []*historypb.HistoryEvent, keys *codec.Keyset) error {
	t.Helper()
	var options client.Options
	codec.Use(&options, keys)
	replayer, err := sdkworker.NewWorkflowReplayerWithOptions(sdkworker.WorkflowReplayerOptions{
		DataConverter: struct{ converter.DataConverter }{options.DataConverter},
	})
	require.NoError(t, err)
	replayer.RegisterWorkflowWithOptions(workflows.PayoutWorkflow, workflow.RegisterOptions{Name: payout.WorkflowType})
	started := events[0].GetWorkflowExecutionStartedEventAttributes()
	return replayer.ReplayWorkflowHistoryWithOptions(quiet(), &historypb.History{Events: events}, sdkworker.ReplayWorkflowHistoryOptions{
		OriginalExecution: workflow.Execution{ID: started.GetWorkflowId(), RunID: started.GetOriginalExecutionRunId()},
	})
}

// TestNothingOfAPayoutIsReadInItsHistory but ids and search attributes (hazard T1).
func TestNothingOfAPayoutIsReadInItsHistory(t *testing.T) {
	t.Parallel()
	encryptedOnly(t)
	s := newStack(t, stackOptions{})
	r := order(t, pikesim.PresetConfirmed, manual, func(r *payout.Request) { r.Recipient.FullName = "Canary Canaryson" })
	s.start(r)
	s.eventually(r, payout.StateAwaitingDecision)
	_, err := s.starter.Confirm(testContext(t), r.PayoutID, "canary-ann", "canary reason")
	require.NoError(t, err)
	require.Equal(t, payout.StateSucceeded, s.wait(r).State)
	text, err := protojson.Marshal(&historypb.History{Events: s.history(r)})
	require.NoError(t, err)
	require.NotEmpty(t, keysUsedIn(t, s.history(r)))
	for _, canary := range []string{"Canary Canaryson", "canary-ann", "canary reason", r.Destination.Value().Reveal(), "100.00 EUR"} {
		for _, form := range forms([]byte(canary)) {
			require.NotContains(t, string(text), string(form), canary)
		}
	}
	description, err := shared.temporal.DescribeWorkflowExecution(testContext(t), payout.WorkflowID(r.PayoutID), "")
	require.NoError(t, err)
	for name, payload := range description.GetWorkflowExecutionInfo().GetMemo().GetFields() {
		require.Equal(t, "binary/encrypted", string(payload.GetMetadata()["encoding"]), name)
	}
	require.Equal(t, "binary/encrypted", string(description.GetExecutionConfig().GetUserMetadata().GetSummary().GetMetadata()["encoding"]))
}

// inClear is the order for a test that writes it in clear on purpose: none of the suite's canaries is in it.
func inClear(r payout.Request) payout.Request {
	r.Recipient.FullName = "Clear Text"
	r.Destination.TokenizedCard.Token = secret.String(strings.ToUpper(r.Destination.TokenizedCard.Token.Reveal()))
	return r
}

func encryptedOnly(t *testing.T) {
	t.Helper()
	if !*encrypt {
		t.Skip("-encrypt=false")
	}
}
