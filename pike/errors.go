package pike

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"pikepayouts/secret"
)

// Outcome is what is known about a call after its answer, or the lack of one
// (design §4.1). A call without an error is done.
type Outcome string

// The outcomes of a call that has an error.
const (
	// Refused: Pike answered, and the code is one that proves the call did nothing.
	Refused Outcome = "refused"
	// NotSent: nothing left this machine. The one outcome that may be repeated without asking.
	NotSent Outcome = "not_sent"
	// Unknown: everything else. Only session/status tells.
	Unknown Outcome = "unknown"
)

// Code is an error code of Pike. Unlisted codes exist; they mean Unknown.
type Code string

// Codes that the service treats in a way of their own (api.md §6).
const (
	CodeIdentification       Code = "identification_error"
	CodeAuthentication       Code = "authentication_error"
	CodeAuthorization        Code = "authorization_error"
	CodeInvalidRequest       Code = "invalid_request"
	CodeInternal             Code = "internal_error"
	CodeIdempotencyKeyExists Code = "idempotency_key_already_exists"
	CodeSessionWrongState    Code = "session_wrong_state"
)

// Errors to find with errors.Is in an error of Client.
var (
	ErrRefused = errors.New("refused by Pike")
	ErrNotSent = errors.New("not sent to Pike")
	ErrUnknown = errors.New("outcome unknown")
	// ErrConfigRefused: Pike refuses our project, key or rights; every call will fail until that is mended.
	ErrConfigRefused = errors.New("Pike refuses the project, the key or its rights")
	// ErrWrongState: not possible in the session's state, often our own repeat. Read the status.
	ErrWrongState = errors.New("session in the wrong state")
	// ErrIdempotencyKeyExists: an earlier request with this key reached Pike. Not a failure: read the status.
	ErrIdempotencyKeyExists = errors.New("idempotency key seen before")
)

// refusals prove that the call did nothing. A code of an operation
// (insufficient balance, a limit) does not: the session may hold the attempt.
var refusals = []Code{CodeInvalidRequest, CodeIdentification, CodeAuthentication, CodeAuthorization}

// cardData matches what Pike could echo of a request: tokens, hashes, card numbers (hazard S1).
var cardData = regexp.MustCompile(`[0-9A-Fa-f]{12,}|[0-9](?:[ -]?[0-9]){11,}`)

func redact(text string) string { return cardData.ReplaceAllLiteralString(text, secret.Redacted) }

// Error is the error of every Client method. It never holds a body: Pike may
// echo card data, which its text shows as redacted.
type Error struct {
	// Method is Pike's name of the call: session/confirm.
	Method  string
	Outcome Outcome
	// HTTPStatus is 0 if no answer arrived.
	HTTPStatus int
	// Code and Description are Pike's own, empty if the answer had none.
	Code        Code
	Description string
	err         error
}

func (e *Error) Error() string {
	var text strings.Builder
	fmt.Fprintf(&text, "pike %s: %s", e.Method, e.Outcome)
	if e.HTTPStatus != 0 {
		fmt.Fprintf(&text, ", HTTP %d", e.HTTPStatus)
	}
	if e.Code != "" {
		fmt.Fprintf(&text, ", %s", e.Code)
	}
	if e.Description != "" {
		fmt.Fprintf(&text, " (%s)", e.Description)
	}
	if e.err != nil {
		fmt.Fprintf(&text, ": %v", e.err)
	}
	return redact(text.String())
}

func (e *Error) Unwrap() error { return e.err }

// Is makes errors.Is find the sentinel errors of this package.
func (e *Error) Is(target error) bool {
	switch target {
	case ErrRefused:
		return e.Outcome == Refused
	case ErrNotSent:
		return e.Outcome == NotSent
	case ErrUnknown:
		return e.Outcome == Unknown
	case ErrConfigRefused:
		return e.Outcome == Refused && e.Code != CodeInvalidRequest
	case ErrWrongState:
		return e.Code == CodeSessionWrongState
	case ErrIdempotencyKeyExists:
		return e.Code == CodeIdempotencyKeyExists
	}
	return false
}

// judge decides what an answer proves: an error is HTTP >= 400 or a body with
// status "error" (api.md §1); any other answer that does not say ok is Unknown.
func judge(method string, httpStatus int, body []byte) error {
	var answer struct {
		Status string     `json:"status"`
		Error  *ErrorInfo `json:"error"`
	}
	if err := unmarshalAnswer(body, &answer); err != nil {
		return &Error{Method: method, Outcome: Unknown, HTTPStatus: httpStatus, err: fmt.Errorf("reading the answer: %w", err)}
	}
	if httpStatus == 200 && answer.Status == "ok" {
		return nil
	}
	failure := &Error{Method: method, Outcome: Unknown, HTTPStatus: httpStatus}
	if answer.Status != "error" || answer.Error == nil {
		failure.err = errors.New("the answer is neither ok nor an error")
		return failure
	}
	said := answer.Error.redacted()
	failure.Code, failure.Description = Code(said.Code), said.Description
	answered := httpStatus == 200 || httpStatus >= 400 && httpStatus < 500
	if answered && slices.Contains(refusals, failure.Code) {
		failure.Outcome = Refused
	}
	return failure
}

func unreadable(method string, err error) *Error {
	return &Error{Method: method, Outcome: Unknown, HTTPStatus: 200, err: err}
}
