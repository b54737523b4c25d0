package starter

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"pikepayouts/payout"
)

// resolveTimeout bounds Resolve where the caller set no deadline: a call of the
// workflow that is under way, and the retries of the fresh status read.
const resolveTimeout = 3 * time.Minute

// Confirm decides that the payout may be paid, in the name of by. It returns
// the status after the decision. Errors: ErrDecisionRefused, ErrNotFound, ErrNoWorker.
func (s *Starter) Confirm(ctx context.Context, payoutID, by, reason string) (payout.Status, error) {
	return s.decide(ctx, payoutID, payout.DecideRequest{Decision: payout.DecisionConfirm, By: by, Reason: reason})
}

// Cancel decides that the payout must not be paid. Too late, once confirm is under way, it is ErrDecisionRefused.
func (s *Starter) Cancel(ctx context.Context, payoutID, by, reason string) (payout.Status, error) {
	return s.decide(ctx, payoutID, payout.DecideRequest{Decision: payout.DecisionCancel, By: by, Reason: reason})
}

// Resolve acts on a payout that has attention raised. It returns the status
// after a fresh answer of Pike. Errors: ErrResolveRefused, ErrNotFound, ErrNoWorker.
func (s *Starter) Resolve(ctx context.Context, payoutID string, request payout.ResolveRequest) (payout.Status, error) {
	if err := request.Validate(); err != nil {
		return payout.Status{}, fmt.Errorf("resolve payout %s: %w", payoutID, err)
	}
	if err := checkID(payoutID); err != nil {
		return payout.Status{}, err
	}
	return resolve[payout.Status](ctx, s, payoutTarget(payoutID), request)
}

func resolve[T any](ctx context.Context, s *Starter, of target, request payout.ResolveRequest) (T, error) {
	if _, has := ctx.Deadline(); !has { // it speaks to Pike first, which may take a few attempts
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, resolveTimeout)
		defer cancel()
	}
	return update[T](ctx, s, of, request, client.UpdateWorkflowOptions{UpdateName: payout.UpdateResolve}, request.Action)
}

func (s *Starter) decide(ctx context.Context, payoutID string, request payout.DecideRequest) (payout.Status, error) {
	if err := checkID(payoutID); err != nil {
		return payout.Status{}, err
	}
	if err := request.Validate(); err != nil {
		return payout.Status{}, fmt.Errorf("%s payout %s: %w", request.Decision, payoutID, err)
	}
	ctx, cancel := withAnswerTimeout(ctx)
	defer cancel()
	options := client.UpdateWorkflowOptions{UpdateName: payout.UpdateDecide, UpdateID: updateID(request)}
	return update[payout.Status](ctx, s, payoutTarget(payoutID), request, options, request.Decision)
}

func update[T any](ctx context.Context, s *Starter, of target, request any, options client.UpdateWorkflowOptions, verb string) (T, error) {
	options.WorkflowID, options.Args, options.WaitForStage = of.workflowID, []any{request}, client.WorkflowUpdateStageCompleted
	handle, err := s.client.UpdateWorkflow(ctx, options)
	var status T
	if err == nil {
		err = handle.Get(ctx, &status)
	}
	if err != nil {
		return status, fmt.Errorf("%s %s: %w", verb, of.name, s.updateError(ctx, of, options.UpdateName, err))
	}
	return status, nil
}

// updateID makes a repeat of the same decision by the same person harmless.
func updateID(request payout.DecideRequest) string {
	sum := sha256.Sum256([]byte(request.Decision + "\x00" + request.By + "\x00" + request.Reason))
	return "decide:" + hex.EncodeToString(sum[:8])
}

// refusals are the errors of a refused update, by the ApplicationError type that the workflow gives it.
var refusals = map[string]error{payout.ErrorTypeDecisionRefused: ErrDecisionRefused, payout.ErrorTypeResolveRefused: ErrResolveRefused}

func (s *Starter) updateError(ctx context.Context, of target, update string, err error) error {
	var application *temporal.ApplicationError
	if errors.As(err, &application) && refusals[application.Type()] != nil {
		return fmt.Errorf("%w: %s", refusals[application.Type()], application.Message())
	}
	var gone *serviceerror.NotFound
	if !errors.As(err, &gone) {
		return noWorker(err)
	}
	info, describeErr := s.describe(ctx, of)
	if describeErr != nil {
		return describeErr // ErrNotFound, or why it cannot be told from an ended payout
	}
	if info.GetCloseTime() == nil {
		return err
	}
	if update == payout.UpdateResolve {
		return fmt.Errorf("%w: the %s has ended", ErrResolveRefused, of.kind)
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
