// Package activities calls Pike on behalf of a workflow: one activity for each
// of Pike's methods. Each reports what the session now means for the payout
// (Phase), or an error with one of three outcomes (see FailureOf).
package activities

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"go.temporal.io/sdk/activity"

	"pikepayouts/payout"
	"pikepayouts/pike"
	"pikepayouts/secret"
)

// Pike is the part of pike.Client that payouts need.
type Pike interface {
	CreateSession(ctx context.Context, request pike.CreateSessionRequest, idempotencyKey string) (pike.Session, error)
	StartPayout(ctx context.Context, request pike.StartPayoutRequest, idempotencyKey string) (pike.Session, error)
	ConfirmSession(ctx context.Context, sessionID, idempotencyKey string) (pike.Session, error)
	CancelSession(ctx context.Context, sessionID, idempotencyKey string) (pike.Session, error)
	SessionStatus(ctx context.Context, sessionID string) (pike.Session, error)
}

// Runs tells of the runs of a workflow id what an activity cannot know by itself. See NewRuns.
type Runs interface {
	// EarlierSession finds the session that another run made, "" if none did.
	EarlierSession(ctx context.Context, workflowID, runID string) (string, error)
	// ResetAt is when the run was made by a reset, zero if it was not.
	ResetAt(ctx context.Context, workflowID, runID string) (time.Time, error)
	// Record is what is known of the newest run of a payout.
	Record(ctx context.Context, workflowID string) (Record, error)
	// Repeated says whether the activity, scheduled by the workflow at that time, was put into
	// the queue again since then. It is an error if the run no longer waits for the activity.
	Repeated(ctx context.Context, workflowID, runID, activityID string, scheduled time.Time) (bool, error)
}

// Activities is registered with the worker as a whole; its methods are the activities.
type Activities struct {
	pike        Pike
	runs        Runs
	observeOnly bool
}

// New returns the activities.
func New(config Config) *Activities {
	return &Activities{pike: config.Pike, runs: config.Runs, observeOnly: config.ObserveOnly}
}

// Config is what the activities need.
type Config struct {
	Pike Pike
	Runs Runs
	// ObserveOnly holds start, confirm and cancel: they read and send nothing (hazard A15).
	ObserveOnly bool
}

// Order is what every reading of a session is compared with (hazard A22).
type Order struct {
	PayoutID      string               `json:"payout_id"`
	AmountDetails payout.AmountDetails `json:"amount_details"`
	Destination   payout.Destination   `json:"destination"`
	RecipientName secret.String        `json:"recipient_name"`
}

// OrderOf returns the part of a request that Pike's answers are compared with.
func OrderOf(request payout.Request) Order {
	return Order{PayoutID: request.PayoutID, AmountDetails: request.AmountDetails,
		Destination: request.Destination, RecipientName: request.Recipient.FullName}
}

// Run tells an activity which run of the workflow came first, so that it can
// notice a reset: an activity itself only knows the current run (hazard R20).
type Run struct {
	OriginalRunID string `json:"original_run_id"`
}

func (r Run) isReset(info activity.Info) bool {
	return info.WorkflowExecution.RunID != r.OriginalRunID
}

// CreateInput is the argument of CreateSession.
type CreateInput struct {
	Run
	PayoutID string `json:"payout_id"`
	// Unguarded: the run was not started by package starter, so Temporal may have let an ended payout's id start again (hazard A13).
	Unguarded bool `json:"unguarded,omitempty"`
	// AdoptOnly asks for the session of another run and makes none.
	AdoptOnly bool `json:"adopt_only,omitempty"`
}

// StartInput is the argument of StartPayout. The request's policy is not used.
type StartInput struct {
	Run
	SessionID string         `json:"session_id"`
	Request   payout.Request `json:"request"`
	// SettledSince: see SessionInput.
	SettledSince time.Time `json:"settled_since,omitzero"`
}

// SessionInput is the argument of ConfirmSession, CancelSession and SessionStatus.
type SessionInput struct {
	Run
	SessionID string `json:"session_id"`
	Order     Order  `json:"order"`
	// SettledSince says that the workflow has waited from then on until no
	// earlier send of this call could be in flight; zero if it has not. Not used by SessionStatus.
	SettledSince time.Time `json:"settled_since,omitzero"`
	// Send counts the sends of CancelSession, from 1; each gets a key of its own.
	Send int `json:"send,omitempty"`
}

// SendResult is what ConfirmSession and CancelSession return.
type SendResult struct {
	Session Session `json:"session"`
	// Sent is false if status showed that the call is not wanted, so nothing was sent.
	Sent bool `json:"sent"`
}

// CreateSession makes a session, or adopts the one that another run of the
// payout made: in a reset run (design §4.5), or where the id may have been
// started before. Repeats cost an empty session each, no money. A zero Session
// means that there was none to adopt.
func (a *Activities) CreateSession(ctx context.Context, in CreateInput) (Session, error) {
	info := activity.GetInfo(ctx)
	if in.isReset(info) || in.Unguarded {
		adopted, err := a.runs.EarlierSession(ctx, info.WorkflowExecution.ID, info.WorkflowExecution.RunID)
		if err != nil {
			return Session{}, notSent(fmt.Errorf("looking for the session of an earlier run: %w", err))
		}
		if adopted != "" {
			return Session{ID: adopted, Phase: PhaseUnread}, nil
		}
	}
	if in.AdoptOnly {
		return Session{}, nil
	}
	key := fmt.Sprintf("%s/create/%s/%s/%d", in.PayoutID, info.WorkflowExecution.RunID, info.ActivityID, info.Attempt)
	session, err := a.pike.CreateSession(ctx, pike.CreateSessionRequest{Metadata: in.PayoutID}, key)
	if err != nil {
		return Session{}, applicationError(err)
	}
	return Session{ID: session.ID, Phase: PhaseNotStarted, SessionStatus: string(session.Status)}, nil
}

// StartPayout orders the payout in its session. In a repeated attempt, in a reset run and where the worker observes only
// it looks first, and it sends nothing where an earlier send may be in flight (hazards A2, A11, A12, A15).
func (a *Activities) StartPayout(ctx context.Context, in StartInput) (Session, error) {
	order := OrderOf(in.Request)
	held := a.mayBeInFlight(ctx, in.Run, in.SettledSince)
	if held || a.observeOnly || in.isReset(activity.GetInfo(ctx)) {
		session, err := a.read(ctx, in.Run, in.SessionID, order)
		switch {
		case err != nil:
			return Session{}, heldError(err)
		case session.Phase != PhaseNotStarted:
			return session, nil
		case held:
			return Session{}, heldError(nil)
		}
	}
	request, err := startRequest(in)
	if err != nil {
		return Session{}, notSent(err)
	}
	if err := a.maySend(ctx); err != nil {
		return Session{}, err
	}
	session, err := a.pike.StartPayout(ctx, request, in.Request.PayoutID+"/start")
	return assessed(ctx, in.Run, session, err, in.SessionID, order)
}

// ConfirmSession reads the session, compares it with the order, and only then
// lets the money move (design §4.6). Every failure before the send is not_sent.
func (a *Activities) ConfirmSession(ctx context.Context, in SessionInput) (SendResult, error) {
	held := a.mayBeInFlight(ctx, in.Run, in.SettledSince)
	session, err := a.read(ctx, in.Run, in.SessionID, in.Order)
	session.Reset = session.Reset || held
	switch {
	case err != nil && held:
		return SendResult{}, heldError(err)
	case err != nil:
		return SendResult{}, beforeSend(err)
	case session.Phase != PhaseReady || session.Mismatch != "":
		return SendResult{Session: session}, nil
	case held:
		return SendResult{}, heldError(nil)
	}
	if err := a.maySend(ctx); err != nil {
		return SendResult{}, err
	}
	answer, err := a.pike.ConfirmSession(ctx, in.SessionID, in.Order.PayoutID+"/confirm")
	confirmed, err := assessed(ctx, in.Run, answer, err, in.SessionID, in.Order)
	return SendResult{Session: confirmed, Sent: true}, err
}

// CancelSession reads the session and asks Pike to cancel it unless it has ended.
// A repeated cancel moves no money, so nothing is held back.
func (a *Activities) CancelSession(ctx context.Context, in SessionInput) (SendResult, error) {
	session, err := a.read(ctx, in.Run, in.SessionID, in.Order)
	if err != nil {
		return SendResult{}, beforeSend(err)
	}
	if !session.Phase.Cancellable() {
		return SendResult{Session: session}, nil
	}
	if err := a.maySend(ctx); err != nil {
		return SendResult{}, err
	}
	key := in.Order.PayoutID + "/cancel"
	if in.Send > 1 { // a key that a refused cancel used up must not block the next one
		key = fmt.Sprintf("%s/%d", key, in.Send)
	}
	answer, err := a.pike.CancelSession(ctx, in.SessionID, key)
	if errors.Is(err, pike.ErrWrongState) { // Pike takes a cancel only while it waits for confirm (api.md §3.5)
		return SendResult{Session: session}, nil
	}
	cancelled, err := assessed(ctx, in.Run, answer, err, in.SessionID, in.Order)
	return SendResult{Session: cancelled, Sent: true}, err
}

// SessionStatus reads the truth. It may be repeated at will.
func (a *Activities) SessionStatus(ctx context.Context, in SessionInput) (Session, error) {
	session, err := a.read(ctx, in.Run, in.SessionID, in.Order)
	if err != nil {
		return Session{}, applicationError(err)
	}
	return session, nil
}

// mayBeInFlight says whether an earlier send of the same call may still be in
// flight: an operator had this activity repeated (hazard A12), or the run was
// reset and nobody has waited since then (hazard A11). What it cannot find out may be.
func (a *Activities) mayBeInFlight(ctx context.Context, run Run, settledSince time.Time) bool {
	info := activity.GetInfo(ctx)
	if a.repeated(ctx, info) {
		return true
	}
	if !run.isReset(info) {
		return false
	}
	resetAt, err := a.runs.ResetAt(ctx, info.WorkflowExecution.ID, info.WorkflowExecution.RunID)
	return err != nil || settledSince.Before(resetAt)
}

// repeated asks Temporal even in what is called the first attempt: `temporal
// activity reset` and `unpause --reset-attempts` begin to count again.
func (a *Activities) repeated(ctx context.Context, info activity.Info) bool {
	if info.Attempt > 1 {
		return true
	}
	execution := info.WorkflowExecution
	again, err := a.runs.Repeated(ctx, execution.ID, execution.RunID, info.ActivityID, info.ScheduledTime)
	return err != nil || again
}

func (a *Activities) read(ctx context.Context, run Run, sessionID string, order Order) (Session, error) {
	session, err := a.pike.SessionStatus(ctx, sessionID)
	if err != nil {
		return Session{}, err
	}
	return assess(session, sessionID, order, run.isReset(activity.GetInfo(ctx)))
}

func assessed(ctx context.Context, run Run, session pike.Session, err error, sessionID string, order Order) (Session, error) {
	if err != nil {
		return Session{}, applicationError(err)
	}
	result, err := assess(session, sessionID, order, run.isReset(activity.GetInfo(ctx)))
	if err != nil {
		return Session{}, applicationError(err)
	}
	return result, nil
}

// maySend is the last check before a send. A worker may be told to observe
// only, and a send must end before the workflow gives up on the activity, also
// after the process was frozen (hazards A6, A15, F06).
func (a *Activities) maySend(ctx context.Context) error {
	if a.observeOnly {
		return typedError(errorTypeObserveOnly, errObserveOnly)
	}
	deadline := activity.GetInfo(ctx).Deadline
	if left := time.Until(deadline); left < pike.MaxTimeout {
		return notSent(fmt.Errorf("only %s are left for the call, %s are needed", left.Round(time.Second), pike.MaxTimeout))
	}
	return nil
}

func startRequest(in StartInput) (pike.StartPayoutRequest, error) {
	recipient, err := json.Marshal(in.Request.Recipient)
	if err != nil {
		return pike.StartPayoutRequest{}, fmt.Errorf("encoding the recipient: %w", err)
	}
	var customer json.RawMessage
	if in.Request.Customer != nil {
		if customer, err = json.Marshal(in.Request.Customer); err != nil {
			return pike.StartPayoutRequest{}, fmt.Errorf("encoding the customer: %w", err)
		}
	}
	return pike.StartPayoutRequest{
		SessionID: in.SessionID, Destination: destination(in.Request.Destination),
		AmountDetails: pike.AmountDetails(in.Request.AmountDetails),
		Recipient:     recipient, Customer: customer, Metadata: in.Request.PayoutID,
	}, nil
}

func destination(d payout.Destination) pike.Destination {
	switch {
	case d.TokenizedCard != nil:
		return pike.Destination{CardToken: d.TokenizedCard.Token}
	case d.EncryptedCard != nil:
		return pike.Destination{CardNumberHash: d.EncryptedCard.NumberHash}
	case d.Recurrent != nil:
		return pike.Destination{RecurrentToken: d.Recurrent.Token}
	}
	return pike.Destination{}
}
