package activities

import (
	"context"
	"errors"
	"net/http"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"go.temporal.io/sdk/activity"

	"pikepayouts/payout"
	"pikepayouts/pike"
)

// Traced returns provider with a span about each of its calls. A span holds ids,
// Pike's words for what happened, and nothing else of request and answer. No
// trace context is sent to Pike, which is another company.
func Traced(provider Pike, tracer trace.Tracer) Pike {
	return observedPike{pike: provider, observe: func(ctx context.Context, c call) (pike.Session, error) {
		ctx, span := tracer.Start(ctx, "Pike "+c.method, trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(attribute.String("pike.method", c.method)))
		defer span.End()
		session, err := c.send(ctx)
		if c.sessionID == "" {
			c.sessionID = session.ID
		}
		describeCall(ctx, span, c.sessionID)
		describeAnswer(span, session, err)
		return session, err
	}}
}

func describeCall(ctx context.Context, span trace.Span, sessionID string) {
	if sessionID != "" {
		span.SetAttributes(attribute.String("session_id", sessionID))
	}
	if !activity.IsActivity(ctx) {
		return
	}
	if payoutID, is := payout.IDFromWorkflowID(activity.GetInfo(ctx).WorkflowExecution.ID); is {
		span.SetAttributes(attribute.String("payout_id", payoutID))
	}
}

// describeAnswer leaves out the error's text: Pike's description is for people, in the workflow.
func describeAnswer(span trace.Span, session pike.Session, err error) {
	span.SetAttributes(attribute.String("pike.outcome", outcomeLabel(err)))
	var failure *pike.Error
	switch {
	case err == nil: // package pike takes nothing else for done
		span.SetAttributes(attribute.Int("http.response.status_code", http.StatusOK), attribute.String("pike.session_status", string(session.Status)))
		return
	case errors.As(err, &failure):
		if failure.HTTPStatus != 0 {
			span.SetAttributes(attribute.Int("http.response.status_code", failure.HTTPStatus))
		}
		if failure.Code != "" {
			span.SetAttributes(attribute.String("pike.code", string(failure.Code)))
		}
	}
	span.SetStatus(codes.Error, "")
}
