package e2e

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.yaml.in/yaml/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"pikepayouts/payout"
	"pikepayouts/pikesim"
	"pikepayouts/starter"
)

// role is what deploy/temporal/roles.yml lets one kind of process call.
type role struct {
	Methods []string
	// Starts are the types of workflows that it may start, and what their ids begin with.
	Starts map[string]string
}

// gatekeeper stands before Temporal in an authorizer's place: it lets a role's calls through and no others.
type gatekeeper struct {
	role    role
	mu      sync.Mutex
	used    map[string]bool
	refused map[string]bool
}

func newGatekeeper(r role) *gatekeeper {
	return &gatekeeper{role: r, used: map[string]bool{}, refused: map[string]bool{}}
}

func (g *gatekeeper) admit(ctx context.Context, call string, request frame, send send) error {
	g.mu.Lock()
	allowed := slices.Contains(g.role.Methods, call) && g.mayStart(call, request)
	if allowed {
		g.used[call] = true
	} else {
		g.refused[call] = true
	}
	g.mu.Unlock()
	if !allowed {
		return status.Error(codes.PermissionDenied, "Request unauthorized.")
	}
	_, err := send(ctx)
	return err
}

func (g *gatekeeper) mayStart(call string, request frame) bool {
	if call != "StartWorkflowExecution" {
		return true
	}
	var start workflowservice.StartWorkflowExecutionRequest
	if proto.Unmarshal(request, &start) != nil {
		return false
	}
	ids, may := g.role.Starts[start.GetWorkflowType().GetName()]
	replaces := start.GetWorkflowIdConflictPolicy() == enumspb.WORKFLOW_ID_CONFLICT_POLICY_TERMINATE_EXISTING ||
		start.GetWorkflowIdReusePolicy() == enumspb.WORKFLOW_ID_REUSE_POLICY_TERMINATE_IF_RUNNING //nolint:staticcheck // servers still take it
	return may && strings.HasPrefix(start.GetWorkflowId(), ids) && !replaces
}

func (g *gatekeeper) calls() (used, refused []string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return keysOf(g.used), keysOf(g.refused)
}

func keysOf(set map[string]bool) []string {
	var keys []string
	for key := range set {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

func readRoles(t *testing.T) map[string]role {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("..", "deploy", "temporal", "roles.yml"))
	require.NoError(t, err)
	var roles map[string]role
	require.NoError(t, yaml.Unmarshal(content, &roles))
	return roles
}

// TestRolesAreEnough pays, cancels and resolves payouts with processes that may call
// what their roles list, and that call all of it: the roles are as small as they
// can be (hazards T8, W23, X7).
func TestRolesAreEnough(t *testing.T) {
	t.Parallel()
	gates := map[string]*gatekeeper{}
	through := map[string]string{}
	for name, r := range readRoles(t) {
		gates[name] = newGatekeeper(r)
		through[name] = "TEMPORAL_ADDRESS=" + newLine(t, gates[name].admit)
	}
	s := newStack(t, stackOptions{noWorker: true})
	gateway := startGatewayProcess(t, through["gateway"], "PAYOUTS_TASK_QUEUE="+s.taskQueue)
	payoutsCLI(t, s, []string{through["setup"]}, "setup")
	worker := startWorkerProcess(t, append(workerEnvironment(t, s, s.simURL), through["worker"]))

	paid, cancelled := order(t, pikesim.PresetConfirmed), order(t, pikesim.PresetConfirmed)
	s.startByCLI(paid, []string{through["caller"]}, "--decision", "manual")
	s.startByCLI(paid, []string{through["caller"]}, "--decision", "manual") // once more: it compares
	s.startByCLI(cancelled, []string{through["caller"]}, "--decision", "manual")
	for _, r := range []payout.Request{paid, cancelled} {
		s.eventually(r, payout.StateAwaitingDecision)
	}
	waiting, err := s.starter.Get(testContext(t), paid.PayoutID)
	require.NoError(t, err)
	deliver := func(body string) {
		require.Equal(t, http.StatusOK, post(t, "http://"+gateway.host(), body, shared.pikeKey))
	}
	deliver(webhookOf("ready_to_confirm", waiting.SessionID, paid.PayoutID, "in_progress", "pending"))
	for _, arguments := range [][]string{
		{"list", "--state", "awaiting_decision"}, {"status", paid.PayoutID}, {"confirm", paid.PayoutID, "--by", "ann"}, {"cancel", cancelled.PayoutID, "--by", "ann"},
	} {
		payoutsCLI(t, s, []string{through["operator"]}, arguments...)
	}
	payoutsCLI(t, s, []string{through["caller"]}, "wait", paid.PayoutID)
	require.Equal(t, payout.StateCancelled, s.wait(cancelled).State)
	deliver(webhookOf("payment_finished", waiting.SessionID, paid.PayoutID, "accepted", "succeeded"))
	s.eventuallyLate(waiting.SessionID, agrees)
	scrapeOf(t, worker.ops) // counts open payouts
	worker.stop()
	gateway.stop()
	for name, gate := range gates {
		used, refused := gate.calls()
		require.NotEmpty(t, used, name)
		require.Empty(t, refused, "%s needs more than its role", name)
		for _, method := range gate.role.Methods {
			if !slices.Contains(sometimes[name], method) {
				require.Contains(t, used, method, "%s has more than it needs", name)
			}
		}
	}
}

// sometimes are the rights that this test has no use for.
var sometimes = map[string][]string{
	"worker": {
		"GetWorkflowExecutionHistory", "ListWorkflowExecutions", "RecordActivityTaskHeartbeat", "RespondActivityTaskFailed", "RespondWorkflowTaskFailed", "RespondQueryTaskCompleted",
	},
	"operator": {"CountWorkflowExecutions", "DescribeNamespace", "GetClusterInfo", "GetWorkflowExecutionHistory", "RequestCancelWorkflowExecution"}, // the Web UI
	"setup":    {"AddSearchAttributes"},
}

// TestAGatewaysAccountIsWorthLittle: what its role refuses, seen from a stolen account (hazards T8, X7).
func TestAGatewaysAccountIsWorthLittle(t *testing.T) {
	t.Parallel()
	s := newStack(t, stackOptions{})
	r := order(t, pikesim.PresetNeverReadyCancellable, polling(time.Hour))
	s.start(r)
	s.eventually(r, payout.StateAwaitingReady)
	options := temporalOptions(newLine(t, newGatekeeper(readRoles(t)["gateway"]).admit))
	stolen := s.dial(options)
	id := payout.WorkflowID(r.PayoutID)
	another := order(t, pikesim.PresetConfirmed)
	_, startErr := starter.New(stolen, starter.Options{TaskQueue: s.taskQueue, DataConverter: options.DataConverter}).Start(testContext(t), another)
	replace := func(workflowID string) error {
		_, err := stolen.ExecuteWorkflow(testContext(t), client.StartWorkflowOptions{
			ID: workflowID, TaskQueue: s.taskQueue, WorkflowIDConflictPolicy: enumspb.WORKFLOW_ID_CONFLICT_POLICY_TERMINATE_EXISTING,
		}, payout.LateEventWorkflowType, payout.LateEvent{})
		return err
	}
	_, squatErr := stolen.ExecuteWorkflow(testContext(t), client.StartWorkflowOptions{
		ID: payout.WorkflowID(another.PayoutID), TaskQueue: s.taskQueue,
	}, payout.LateEventWorkflowType, payout.LateEvent{})
	_, updateErr := stolen.UpdateWorkflow(testContext(t), client.UpdateWorkflowOptions{
		WorkflowID: id, UpdateName: payout.UpdateDecide, WaitForStage: client.WorkflowUpdateStageAccepted,
		Args: []any{payout.DecideRequest{Decision: payout.DecisionConfirm, By: "x"}},
	})
	_, resetErr := stolen.ResetWorkflowExecution(testContext(t), &workflowservice.ResetWorkflowExecutionRequest{
		Namespace: client.DefaultNamespace, WorkflowExecution: &commonpb.WorkflowExecution{WorkflowId: id}, WorkflowTaskFinishEventId: 4,
	})
	_, queryErr := stolen.QueryWorkflow(testContext(t), id, "", payout.QueryStatus)
	_, listErr := stolen.ListWorkflow(testContext(t), &workflowservice.ListWorkflowExecutionsRequest{})
	for what, err := range map[string]error{
		"start": startErr, "decide": updateErr, "reset": resetErr, "query": queryErr, "list": listErr,
		"take a payout's id": squatErr, "replace a payout": replace(id), "replace a late event": replace(payout.LateEventIDPrefix + "ps_1/x"),
		"terminate": stolen.TerminateWorkflow(testContext(t), id, "", ""), "cancel": stolen.CancelWorkflow(testContext(t), id, ""),
	} {
		var denied *serviceerror.PermissionDenied
		require.ErrorAs(t, err, &denied, what)
	}
	s.cancelOnceUndecided(r)
	require.Equal(t, payout.StateCancelled, s.wait(r).State)
	require.Empty(t, s.ledger(another).Accepted)
}
