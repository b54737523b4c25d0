package activities

import (
	"errors"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"

	"pikepayouts/payout"
	"pikepayouts/pike"
)

// Outcome is what is known about a call that has an error (design §4.1).
type Outcome = pike.Outcome

// The outcomes, for the workflow, which does not import package pike.
const (
	Refused = pike.Refused
	NotSent = pike.NotSent
	Unknown = pike.Unknown
)

// ApplicationError types of the activities.
const (
	errorTypeRefused       = "PikeRefused"
	errorTypeConfigRefused = "PikeConfigRefused"
	errorTypeNotSent       = "PikeNotSent"
	errorTypeUnknown       = "PikeUnknown"
	errorTypeObserveOnly   = "PikeObserveOnly"
)

var errObserveOnly = errors.New("held: the worker runs with PAYOUTS_OBSERVE_ONLY=true and sends no start, confirm or cancel")

// Failure is what the error of an activity proves.
type Failure struct {
	Outcome Outcome
	// Config: Pike refused our project, key or rights; a person must act.
	Config bool
	// Held: the worker was told to observe only; nothing is wrong with Pike.
	Held bool
	// Error is Pike's own word, nil if it gave none.
	Error *payout.Error
	// Text is the error for people.
	Text string
}

// FailureOf classifies the error that a workflow got from one of these
// activities. What it does not know is Unknown. A ScheduleToStart timeout is
// NotSent: the server no longer hands that task to any worker (hazards §3.2).
func FailureOf(err error) Failure {
	failure := Failure{Outcome: Unknown, Text: err.Error()}
	var timeout *temporal.TimeoutError
	if errors.As(err, &timeout) && timeout.TimeoutType() == enumspb.TIMEOUT_TYPE_SCHEDULE_TO_START {
		failure.Outcome = NotSent
		return failure
	}
	var application *temporal.ApplicationError
	if !errors.As(err, &application) {
		return failure
	}
	failure.Text = application.Message()
	switch application.Type() {
	case errorTypeRefused:
		failure.Outcome = Refused
	case errorTypeConfigRefused:
		failure.Outcome, failure.Config = Refused, true
	case errorTypeNotSent:
		failure.Outcome = NotSent
	case errorTypeObserveOnly:
		failure.Outcome, failure.Held = NotSent, true
	}
	var pikeError payout.Error
	if application.HasDetails() && application.Details(&pikeError) == nil && pikeError.Code != "" {
		failure.Error = &pikeError
	}
	return failure
}

// applicationError keeps of a call's error what the workflow decides by. A refusal is not worth a retry.
func applicationError(err error) error {
	errorType := errorTypeUnknown
	switch {
	case errors.Is(err, pike.ErrConfigRefused):
		errorType = errorTypeConfigRefused
	case errors.Is(err, pike.ErrRefused):
		errorType = errorTypeRefused
	case errors.Is(err, pike.ErrNotSent):
		errorType = errorTypeNotSent
	}
	return typedError(errorType, err)
}

// beforeSend is for an error of the status read that precedes a send: whatever
// happened to the read, the send did not happen. A refused configuration stays visible.
func beforeSend(err error) error {
	if errors.Is(err, pike.ErrConfigRefused) {
		return typedError(errorTypeConfigRefused, err)
	}
	return notSent(err)
}

func notSent(err error) error { return typedError(errorTypeNotSent, err) }

// heldError says that nothing was sent now, because an earlier send may be in flight.
func heldError(cause error) error {
	if cause == nil {
		cause = errors.New("held: an earlier send of this call may be in flight")
	}
	return typedError(errorTypeUnknown, cause)
}

func typedError(errorType string, err error) error {
	options := temporal.ApplicationErrorOptions{NonRetryable: errorType == errorTypeRefused || errorType == errorTypeConfigRefused}
	var pikeError *pike.Error
	if errors.As(err, &pikeError) && pikeError.Code != "" {
		options.Details = []any{payout.Error{Code: string(pikeError.Code), Description: pikeError.Description}}
	}
	return temporal.NewApplicationErrorWithOptions(err.Error(), errorType, options)
}
