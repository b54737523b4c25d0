package starter

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"

	"pikepayouts/payout"
)

var (
	stateKey    = temporal.NewSearchAttributeKeyKeyword(payout.SearchAttributeState)
	currencyKey = temporal.NewSearchAttributeKeyKeyword(payout.SearchAttributeCurrency)
	amountKey   = temporal.NewSearchAttributeKeyInt64(payout.SearchAttributeAmount)
)

// answerTimeout bounds a query or an update where the caller set no deadline: without a worker both would wait (hazard H2).
const answerTimeout = 10 * time.Second

// Get returns the status now. Ended payouts need no worker. Errors: ErrNotFound,
// ErrNoWorker, ErrNoResult, or the workflow's own for a request that it refused.
func (s *Starter) Get(ctx context.Context, payoutID string) (payout.Status, error) {
	if err := checkID(payoutID); err != nil {
		return payout.Status{}, err
	}
	return get[payout.Status](ctx, s, payoutTarget(payoutID))
}

// target is a workflow of ours and its name for people.
type target struct{ workflowID, kind, name string }

func payoutTarget(payoutID string) target {
	return target{workflowID: payout.WorkflowID(payoutID), kind: "payout", name: "payout " + payoutID}
}

// get asks a running workflow for its status, and takes the result of an ended one.
func get[T any](ctx context.Context, s *Starter, of target) (T, error) {
	var status T
	info, err := s.describe(ctx, of)
	if err != nil {
		return status, err
	}
	if info.GetStatus() != enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING {
		return result[T](ctx, s, of, info.GetExecution().GetRunId())
	}
	ctx, cancel := withAnswerTimeout(ctx)
	defer cancel()
	value, err := s.client.QueryWorkflow(ctx, of.workflowID, "", payout.QueryStatus)
	if err != nil {
		return status, fmt.Errorf("reading %s: %w", of.name, noWorker(err))
	}
	if err := value.Get(&status); err != nil {
		return status, fmt.Errorf("decoding the status of %s: %w", of.name, err)
	}
	return status, nil
}

// Wait returns the status once it is final, or the context's error. It follows
// a payout into the run that a reset makes. Errors as for Get.
func (s *Starter) Wait(ctx context.Context, payoutID string) (payout.Status, error) {
	if err := checkID(payoutID); err != nil {
		return payout.Status{}, err
	}
	of, ended := payoutTarget(payoutID), ""
	for {
		info, err := s.describe(ctx, of)
		if err != nil {
			return payout.Status{}, err
		}
		runID := info.GetExecution().GetRunId()
		status, err := result[payout.Status](ctx, s, of, runID)
		if !errors.Is(err, ErrNoResult) || runID == ended {
			return status, err
		}
		ended = runID // a reset ends the run from outside, and has made another one by now
	}
}

// hintAt says why an error tells nothing: the SDK leaves "Encoded failure" where a client cannot decrypt.
func hintAt(err error) string {
	if strings.Contains(err.Error(), "Encoded failure") {
		return " (the reason is encrypted, and this client has not the workers' keyset: codec.Use, or PAYOUTS_ENCRYPTION_KEYSET_FILE)"
	}
	return ""
}

func result[T any](ctx context.Context, s *Starter, of target, runID string) (T, error) {
	var status T
	err := s.client.GetWorkflow(ctx, of.workflowID, runID).Get(ctx, &status)
	if err == nil {
		return status, nil
	}
	var failed *temporal.WorkflowExecutionError
	if errors.As(err, &failed) {
		return status, fmt.Errorf("%s: %w: %w%s", of.name, ErrNoResult, errors.Unwrap(failed), hintAt(failed))
	}
	return status, fmt.Errorf("waiting for %s: %w", of.name, asContextError(ctx, err))
}

// asContextError makes gRPC's words for an ended context those of package
// context. gRPC has a clock of its own, which may be a moment ahead of ctx.
func asContextError(ctx context.Context, err error) error {
	var late *serviceerror.DeadlineExceeded
	if _, has := ctx.Deadline(); has && errors.As(err, &late) {
		return context.DeadlineExceeded
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

func withAnswerTimeout(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, has := ctx.Deadline(); has {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, answerTimeout)
}

// Filter of List. Empty fields do not filter.
type Filter struct {
	State     payout.State
	Attention payout.AttentionReason
	// AnyAttention lists payouts with any attention raised.
	AnyAttention bool
	SessionID    string
	// Query is more of Temporal's list filter, joined with AND.
	Query string
}

// Summary is one payout of a list, from its search attributes. The list may lag by a moment; Get does not.
type Summary struct {
	PayoutID string `json:"payout_id"`
	// LateEvent is the id of a late event, for GetLateEvent and ResolveLateEvent; PayoutID and State are empty then.
	LateEvent     string                 `json:"late_event,omitempty"`
	State         payout.State           `json:"state"`
	Attention     payout.AttentionReason `json:"attention,omitempty"`
	SessionID     string                 `json:"session_id,omitempty"`
	AmountDetails payout.AmountDetails   `json:"amount_details"`
	// Status is Temporal's own: Running, Completed, Failed, Terminated ...
	Status    string     `json:"status"`
	StartedAt time.Time  `json:"started_at"`
	ClosedAt  *time.Time `json:"closed_at,omitempty"`
}

// List yields the payouts that match, newest first; filtered by attention or
// session, also the late events. It ends after yielding an error.
func (s *Starter) List(ctx context.Context, filter Filter) iter.Seq2[Summary, error] {
	return func(yield func(Summary, error) bool) {
		var page []byte
		for first := true; first || len(page) > 0; first = false {
			response, err := s.client.ListWorkflow(ctx, &workflowservice.ListWorkflowExecutionsRequest{Query: filter.query(), NextPageToken: page})
			if err != nil {
				yield(Summary{}, fmt.Errorf("listing payouts: %w", err))
				return
			}
			for _, info := range response.GetExecutions() {
				if !yield(summaryOf(info), nil) {
					return
				}
			}
			page = response.GetNextPageToken()
		}
	}
}

func (f Filter) query() string {
	terms := []string{fmt.Sprintf("WorkflowType = '%s'", payout.WorkflowType)}
	if f.State == "" && (f.AnyAttention || f.Attention != "" || f.SessionID != "") {
		terms[0] = fmt.Sprintf("WorkflowType IN ('%s', '%s')", payout.WorkflowType, payout.LateEventWorkflowType)
	}
	equal := func(attribute, value string) {
		if value != "" {
			terms = append(terms, fmt.Sprintf("%s = '%s'", attribute, strings.ReplaceAll(value, "'", "''")))
		}
	}
	equal(payout.SearchAttributeState, string(f.State))
	equal(payout.SearchAttributeAttention, string(f.Attention))
	equal(payout.SearchAttributeSession, f.SessionID)
	if f.AnyAttention {
		terms = append(terms, payout.SearchAttributeAttention+" IS NOT NULL")
	}
	if f.Query != "" {
		terms = append(terms, "("+f.Query+")")
	}
	return strings.Join(terms, " AND ")
}

func summaryOf(info *workflowpb.WorkflowExecutionInfo) Summary {
	fields := info.GetSearchAttributes().GetIndexedFields()
	text := func(name string) string {
		var value string
		if payload := fields[name]; payload != nil {
			_ = converter.GetDefaultDataConverter().FromPayload(payload, &value) // search attributes are never encoded otherwise
		}
		return value
	}
	summary := Summary{
		State: payout.State(text(payout.SearchAttributeState)), Attention: payout.AttentionReason(text(payout.SearchAttributeAttention)),
		SessionID: text(payout.SearchAttributeSession), Status: info.GetStatus().String(), StartedAt: info.GetStartTime().AsTime(),
		AmountDetails: payout.AmountDetails{Currency: text(payout.SearchAttributeCurrency)},
	}
	if workflowID := info.GetExecution().GetWorkflowId(); payout.IsLateEventWorkflowID(workflowID) {
		summary.LateEvent = workflowID
	} else {
		summary.PayoutID, _ = payout.IDFromWorkflowID(workflowID)
	}
	if payload := fields[payout.SearchAttributeAmount]; payload != nil {
		_ = converter.GetDefaultDataConverter().FromPayload(payload, &summary.AmountDetails.Amount)
	}
	if info.GetCloseTime() != nil {
		closed := info.GetCloseTime().AsTime()
		summary.ClosedAt = &closed
	}
	return summary
}
