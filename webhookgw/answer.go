package webhookgw

import (
	"context"
	"errors"
	"log/slog"
	"net/http"

	"go.temporal.io/api/serviceerror"
)

// Answer is how a request ended. Its text is the value of the metric label
// `answer`; the set is closed.
type Answer string

// The answers (table after W25). Pike takes exactly 200 as received and repeats anything else for 30 minutes.
const (
	AnswerSignalled    Answer = "signalled"      // 200: Temporal has the event, from now or from an earlier delivery
	AnswerNoOpenPayout Answer = "no_open_payout" // 200: no payout of that id is open; kept as a late event
	AnswerPoison       Answer = "poison"         // 200: the payout can never be signalled this (signal limit); kept as a late event
	AnswerUnparsable   Answer = "unparsable"     // 200: genuine, but not a webhook; kept as a late event
	AnswerUncorrelated Answer = "uncorrelated"   // 200: genuine, but names no payout of ours, or several; kept as a late event
	AnswerRefunded     Answer = "refunded"       // 200: money came back, for which no payout waits; kept as a late event
	AnswerTypeIgnored  Answer = "type_ignored"   // 200: of a type that moves no payout
	AnswerIncomingOnly Answer = "incoming_only"  // 200: a session of acquiring, not ours

	AnswerUnavailable   Answer = "unavailable"     // 503: Temporal is down, slow, closing the workflow or throttling
	AnswerHandOffFailed Answer = "hand_off_failed" // 503: permission, namespace, codec or another fault of ours: page someone
	AnswerOverload      Answer = "overload"        // 503: as many at once as the gateway takes

	AnswerBadSignature Answer = "bad_signature" // 401: missing, malformed or wrong, never said which
	AnswerTooLarge     Answer = "too_large"     // 413
	AnswerUnreadable   Answer = "unreadable"    // 400: the body broke off
	AnswerPanic        Answer = "panic"         // 500
)

// answers are all of them.
var answers = []Answer{
	AnswerSignalled, AnswerNoOpenPayout, AnswerPoison, AnswerUnparsable, AnswerUncorrelated, AnswerRefunded, AnswerTypeIgnored, AnswerIncomingOnly,
	AnswerUnavailable, AnswerHandOffFailed, AnswerOverload,
	AnswerBadSignature, AnswerTooLarge, AnswerUnreadable, AnswerPanic,
}

// retryAfterSeconds goes with every 503. Pike's own schedule is not known to heed it.
const retryAfterSeconds = "10"

type reply struct {
	status     int
	body       string
	retryAfter bool
	hangUp     bool // the rest of the body is not worth reading
}

func (a Answer) reply() reply {
	switch a {
	case AnswerSignalled, AnswerNoOpenPayout, AnswerPoison, AnswerUnparsable, AnswerUncorrelated, AnswerRefunded, AnswerTypeIgnored, AnswerIncomingOnly:
		return reply{status: http.StatusOK, body: "ok\n"}
	case AnswerUnavailable, AnswerHandOffFailed, AnswerOverload:
		return reply{status: http.StatusServiceUnavailable, body: "try again later\n", retryAfter: true}
	case AnswerBadSignature:
		return reply{status: http.StatusUnauthorized, body: "signature refused\n"}
	case AnswerTooLarge:
		return reply{status: http.StatusRequestEntityTooLarge, body: "body too large\n", hangUp: true}
	case AnswerUnreadable:
		return reply{status: http.StatusBadRequest, body: "body incomplete\n", hangUp: true}
	}
	return reply{status: http.StatusInternalServerError, body: "internal error\n", hangUp: true}
}

// level is Debug for what anyone on the network can cause: counters tell of it, logs cannot be flooded with it.
func (a Answer) level() slog.Level {
	switch a {
	case AnswerSignalled, AnswerTypeIgnored, AnswerIncomingOnly:
		return slog.LevelInfo
	case AnswerOverload, AnswerBadSignature, AnswerTooLarge, AnswerUnreadable:
		return slog.LevelDebug
	case AnswerHandOffFailed, AnswerPanic:
		return slog.LevelError
	}
	return slog.LevelWarn
}

// answerToKeep maps an error of Temporal.Keep: what cannot be kept must come again.
func answerToKeep(err error) Answer {
	if answer := answerTo(err); answer == AnswerUnavailable {
		return answer
	}
	return AnswerHandOffFailed
}

// answerTo maps an error of Temporal.Signal. What is not known to be lasting is 503:
// Pike repeats, and if it gives up the workflow polls.
func answerTo(err error) Answer {
	var (
		notFound  *serviceerror.NotFound
		invalid   *serviceerror.InvalidArgument
		down      *serviceerror.Unavailable
		slow      *serviceerror.DeadlineExceeded
		throttled *serviceerror.ResourceExhausted
		cancelled *serviceerror.Canceled
	)
	switch {
	case err == nil:
		return AnswerSignalled
	// NamespaceNotFound is a type of its own and must not end up here: it is our fault, not a closed payout.
	case errors.As(err, &notFound):
		return AnswerNoOpenPayout
	case errors.As(err, &invalid):
		return AnswerPoison
	case errors.As(err, &down), errors.As(err, &slow), errors.As(err, &throttled), errors.As(err, &cancelled),
		errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return AnswerUnavailable
	}
	return AnswerHandOffFailed
}
