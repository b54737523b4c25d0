package activities_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"pikepayouts/activities"
	"pikepayouts/pike"
)

// answeringPike gives every call the same answer.
type answeringPike struct {
	session pike.Session
	err     error
}

func (a answeringPike) CreateSession(context.Context, pike.CreateSessionRequest, string) (pike.Session, error) {
	return a.session, a.err
}

func (a answeringPike) StartPayout(context.Context, pike.StartPayoutRequest, string) (pike.Session, error) {
	return a.session, a.err
}

func (a answeringPike) ConfirmSession(context.Context, string, string) (pike.Session, error) {
	return a.session, a.err
}

func (a answeringPike) CancelSession(context.Context, string, string) (pike.Session, error) {
	return a.session, a.err
}

func (a answeringPike) SessionStatus(context.Context, string) (pike.Session, error) {
	return a.session, a.err
}

func TestTracedCallsHaveASpanEach(t *testing.T) {
	recorder := tracetest.NewSpanRecorder()
	tracer := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder)).Tracer("test")
	for _, call := range callsOf(activities.Traced(answeringPike{session: pike.Session{ID: "ps_1", Status: "in_progress"}}, tracer)) {
		session, err := call(t.Context())
		require.NoError(t, err)
		require.Equal(t, "ps_1", session.ID, "the wrapper changes nothing")
	}
	var names []string
	for _, span := range recorder.Ended() {
		names = append(names, span.Name())
		require.Equal(t, trace.SpanKindClient, span.SpanKind())
		require.Equal(t, codes.Unset, span.Status().Code)
		require.ElementsMatch(t, []attribute.KeyValue{
			attribute.String("pike.method", span.Name()[len("Pike "):]), attribute.String("pike.outcome", "done"),
			attribute.String("pike.session_status", "in_progress"), attribute.Int("http.response.status_code", 200), attribute.String("session_id", "ps_1"),
		}, span.Attributes())
	}
	require.Equal(t, []string{"Pike session/create", "Pike session/start/payout", "Pike session/confirm", "Pike session/cancel", "Pike session/status"}, names)
}

// TestTracedFailures: what is known is told, in Pike's codes; no text, which is Pike's own.
func TestTracedFailures(t *testing.T) {
	const canary = "CANARY"
	tests := []struct {
		failure error
		want    []attribute.KeyValue
	}{
		{&pike.Error{Outcome: pike.Refused, HTTPStatus: 400, Code: pike.CodeInvalidRequest, Description: canary}, []attribute.KeyValue{
			attribute.String("pike.outcome", "refused"), attribute.Int("http.response.status_code", 400), attribute.String("pike.code", "invalid_request")}},
		{&pike.Error{Outcome: pike.NotSent}, []attribute.KeyValue{attribute.String("pike.outcome", "not_sent")}},
		{&pike.Error{Outcome: pike.Unknown, HTTPStatus: 502}, []attribute.KeyValue{
			attribute.String("pike.outcome", "unknown"), attribute.Int("http.response.status_code", 502)}},
		{errors.New(canary), []attribute.KeyValue{attribute.String("pike.outcome", "unknown")}},
	}
	for _, tt := range tests {
		recorder := tracetest.NewSpanRecorder()
		tracer := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder)).Tracer("test")
		_, err := activities.Traced(answeringPike{err: tt.failure}, tracer).SessionStatus(t.Context(), "ps_1")
		require.Equal(t, tt.failure, err)
		require.Len(t, recorder.Ended(), 1)
		span := recorder.Ended()[0]
		require.Equal(t, sdktrace.Status{Code: codes.Error}, span.Status())
		require.Subset(t, span.Attributes(), tt.want)
		require.Len(t, span.Attributes(), len(tt.want)+2) // the method and the session
		require.Empty(t, span.Events())
		require.NotContains(t, fmt.Sprint(span.Attributes()), canary)
	}
}
