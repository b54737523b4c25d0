package starter

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"pikepayouts/payout"
)

// Confirm decides that the payout may be paid, in the name of by. It returns
// the status after the decision. Errors: ErrDecisionRefused, ErrNotFound, ErrNoWorker.
func (s *Starter) Confirm(ctx context.Context, payoutID, by, reason string) (payout.Status, error) {
	return s.decide(ctx, payoutID, payout.DecideRequest{Decision: payout.DecisionConfirm, By: by, Reason: reason})
}

// Cancel decides that the payout must not be paid. Too late, once confirm is under way, it is ErrDecisionRefused.
func (s *Starter) Cancel(ctx context.Context, payoutID, by, reason string) (payout.Status, error) {
	return s.decide(ctx, payoutID, payout.DecideRequest{Decision: payout.DecisionCancel, By: by, Reason: reason})
}

func (s *Starter) decide(ctx context.Context, payoutID string, request payout.DecideRequest) (payout.Status, error) {
	if err := checkID(payoutID); err != nil {
		return payout.Status{}, err
	}
	ctx, cancel := withAnswerTimeout(ctx)
	defer cancel()
	handle, err := s.client.UpdateWorkflow(ctx, client.UpdateWorkflowOptions{
		WorkflowID: payout.WorkflowID(payoutID), UpdateName: payout.UpdateDecide, UpdateID: updateID(request),
		Args: []any{request}, WaitForStage: client.WorkflowUpdateStageCompleted,
	})
	var status payout.Status
	if err == nil {
		err = handle.Get(ctx, &status)
	}
	if err != nil {
		return payout.Status{}, fmt.Errorf("%s payout %s: %w", request.Decision, payoutID, s.decisionError(ctx, payoutID, err))
	}
	return status, nil
}

// updateID makes a repeat of the same decision by the same person harmless.
func updateID(request payout.DecideRequest) string {
	sum := sha256.Sum256([]byte(request.Decision + "\x00" + request.By + "\x00" + request.Reason))
	return "decide:" + hex.EncodeToString(sum[:8])
}

func (s *Starter) decisionError(ctx context.Context, payoutID string, err error) error {
	var refused *temporal.ApplicationError
	if errors.As(err, &refused) && refused.Type() == payout.ErrorTypeDecisionRefused {
		return fmt.Errorf("%w: %s", ErrDecisionRefused, refused.Message())
	}
	var gone *serviceerror.NotFound
	if !errors.As(err, &gone) {
		return noWorker(err)
	}
	info, describeErr := s.describe(ctx, payoutID)
	if describeErr != nil {
		return describeErr // ErrNotFound, or why it cannot be told from an ended payout
	}
	if info.GetCloseTime() == nil {
		return err
	}
	return fmt.Errorf("%w: the payout has ended", ErrDecisionRefused)
}

// noWorker says what a deadline means where the server is up but nothing answers.
func noWorker(err error) error {
	var deadline *serviceerror.DeadlineExceeded
	var updateTimeout *client.WorkflowUpdateServiceTimeoutOrCanceledError
	if errors.As(err, &deadline) || errors.As(err, &updateTimeout) || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%w (%w)", ErrNoWorker, err)
	}
	return err
}
