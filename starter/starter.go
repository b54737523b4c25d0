// Package starter is the Go client for services: it starts payouts, and reads
// and steers them, over a Temporal client of the caller's.
package starter

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"

	"pikepayouts/payout"
)

// Errors to find with errors.Is.
var (
	// ErrConflict: the payout id exists with another request. Nothing was started.
	ErrConflict = errors.New("this payout id was started with another request")
	// ErrNotFound: Temporal knows no such payout. It forgets ended ones after the namespace's retention.
	ErrNotFound = errors.New("no such payout")
	// ErrDecisionRefused: the decision came too late or was made before; the error says which.
	ErrDecisionRefused = errors.New("decision refused")
	// ErrResolveRefused: nothing is to be resolved, or Pike's fresh status says otherwise; the error says which.
	ErrResolveRefused = errors.New("resolve refused")
	// ErrNoWorker: the payout is running, but no worker answered in time. Nothing is lost; try again.
	ErrNoWorker = errors.New("no worker answered; is `payouts worker` running on the payout's task queue?")
	// ErrNoResult: the run was ended from outside (terminated, reset) or failed, so it has no result.
	ErrNoResult = errors.New("the run ended without a result")
)

// Options of a Starter. The zero value has the defaults of the service.
type Options struct {
	// TaskQueue is where the workers poll, payout.DefaultTaskQueue if empty.
	TaskQueue string
	// DataConverter is the one that the Temporal client was built with, the SDK's default if nil.
	DataConverter converter.DataConverter
}

// Starter starts, reads and steers payouts. It is safe for concurrent use.
type Starter struct {
	client    client.Client
	taskQueue string
	converter converter.DataConverter
}

// New returns a Starter over the client, which stays the caller's to close.
func New(c client.Client, options Options) *Starter {
	if options.TaskQueue == "" {
		options.TaskQueue = payout.DefaultTaskQueue
	}
	if options.DataConverter == nil {
		options.DataConverter = converter.GetDefaultDataConverter()
	}
	return &Starter{client: c, taskQueue: options.TaskQueue, converter: options.DataConverter}
}

// Started is the run that carries out a payout.
type Started struct {
	WorkflowID string `json:"workflow_id"`
	RunID      string `json:"run_id"`
	// Existing says that an earlier Start of the same request made the run.
	Existing bool `json:"existing"`
}

// Start starts the payout, once for ever: the same request again gives the
// run that exists, running or ended. It returns the *payout.FieldError-s of a
// bad request, which is never sent, and ErrConflict for another request under the same id.
func (s *Starter) Start(ctx context.Context, request payout.Request) (Started, error) {
	request = request.Normalized()
	if err := request.Validate(); err != nil {
		return Started{}, fmt.Errorf("payout request: %w", err)
	}
	run, err := s.client.ExecuteWorkflow(ctx, s.startOptions(request), payout.WorkflowType, request)
	if err == nil {
		return Started{WorkflowID: run.GetID(), RunID: run.GetRunID()}, nil
	}
	if !temporal.IsWorkflowExecutionAlreadyStartedError(err) {
		return Started{}, fmt.Errorf("starting payout %s: %w", request.PayoutID, err)
	}
	return s.existing(ctx, request)
}

// startOptions make the payout id the idempotency key for as long as Temporal
// remembers it (hazards E10, A13). No timeout and no retry policy: both could
// end or repeat a payout without running its code (hazard A19).
func (s *Starter) startOptions(request payout.Request) client.StartWorkflowOptions {
	return client.StartWorkflowOptions{
		ID: payout.WorkflowID(request.PayoutID), TaskQueue: s.taskQueue,
		WorkflowIDReusePolicy:                    enumspb.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE,
		WorkflowIDConflictPolicy:                 enumspb.WORKFLOW_ID_CONFLICT_POLICY_FAIL,
		WorkflowExecutionErrorWhenAlreadyStarted: true,
		Memo:                                     map[string]any{payout.MemoRequestFingerprint: request.Fingerprint()},
		TypedSearchAttributes: temporal.NewSearchAttributes(
			stateKey.ValueSet(string(payout.StateCreating)),
			currencyKey.ValueSet(request.AmountDetails.Currency),
			amountKey.ValueSet(request.AmountDetails.Amount),
		),
		StaticSummary: fmt.Sprintf("%s to %s", request.AmountDetails, request.Destination.Kind()),
	}
}

// existing compares the request with the one that the run under its id was started with.
func (s *Starter) existing(ctx context.Context, request payout.Request) (Started, error) {
	info, err := s.describe(ctx, payoutTarget(request.PayoutID))
	if err != nil {
		return Started{}, err
	}
	fingerprint, err := s.fingerprint(ctx, info)
	if err != nil {
		return Started{}, fmt.Errorf("comparing with the running payout %s: %w", request.PayoutID, err)
	}
	if fingerprint != request.Fingerprint() {
		return Started{}, fmt.Errorf("payout %s: %w", request.PayoutID, ErrConflict)
	}
	execution := info.GetExecution()
	return Started{WorkflowID: execution.GetWorkflowId(), RunID: execution.GetRunId(), Existing: true}, nil
}

// fingerprint is read from the memo, or computed from the start input of a run
// that was started without one, as by the Temporal CLI.
func (s *Starter) fingerprint(ctx context.Context, info *workflowpb.WorkflowExecutionInfo) (string, error) {
	if payload := info.GetMemo().GetFields()[payout.MemoRequestFingerprint]; payload != nil {
		var fingerprint string
		if err := s.converter.FromPayload(payload, &fingerprint); err != nil {
			return "", fmt.Errorf("decoding the memo: %w", err)
		}
		return fingerprint, nil
	}
	execution := info.GetExecution()
	events := s.client.GetWorkflowHistory(ctx, execution.GetWorkflowId(), execution.GetRunId(), false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	first, err := events.Next()
	if err != nil {
		return "", fmt.Errorf("reading its first event: %w", err)
	}
	var input json.RawMessage
	if err := s.converter.FromPayloads(first.GetWorkflowExecutionStartedEventAttributes().GetInput(), &input); err != nil {
		return "", fmt.Errorf("decoding its input: %w", err)
	}
	started, err := payout.ParseRequest(input)
	if err != nil {
		return "", nil //nolint:nilerr // an input that is no request equals none
	}
	return started.Fingerprint(), nil
}

func (s *Starter) describe(ctx context.Context, of target) (*workflowpb.WorkflowExecutionInfo, error) {
	description, err := s.client.DescribeWorkflowExecution(ctx, of.workflowID, "")
	if err != nil {
		return nil, fmt.Errorf("%s: %w", of.name, notFound(err))
	}
	return description.GetWorkflowExecutionInfo(), nil
}

func checkID(payoutID string) error {
	if payout.ValidID(payoutID) {
		return nil
	}
	return &payout.FieldError{Field: "payout_id", Problem: payout.IDRule}
}

// notFound makes Temporal's answer for an unknown workflow ErrNotFound; an unknown namespace stays what it is.
func notFound(err error) error {
	var unknown *serviceerror.NotFound
	if errors.As(err, &unknown) {
		return ErrNotFound
	}
	return err
}
