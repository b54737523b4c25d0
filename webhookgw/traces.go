package webhookgw

import (
	"context"
	"net/http"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
)

// traced makes the span of a genuine webhook, from its first byte on; handle
// hands it over under that span. Other requests get none: a flood of them would
// push the spans of payouts out. The span has no parent, whatever the request's
// headers say: they come from the internet, and are not signed.
func (g *gateway) traced(ctx context.Context, begin time.Time, handle func(context.Context) outcome) (result outcome) {
	ctx, span := g.tracer.Start(ctx, "webhook", trace.WithNewRoot(), trace.WithSpanKind(trace.SpanKindServer), trace.WithTimestamp(begin))
	result.answer = AnswerPanic // if handle does not return
	defer func() {
		describe(span, result)
		span.End()
	}()
	result = handle(ctx)
	result.span = span.SpanContext()
	return result
}

// describe leaves out the error's text, which is in the log.
func describe(span trace.Span, result outcome) {
	status := result.answer.reply().status
	span.SetAttributes(attribute.String("webhook.type", typeLabel(result.kind)), attribute.String("webhook.answer", string(result.answer)),
		attribute.Int("http.response.status_code", status))
	for key, value := range map[string]string{"payout_id": result.payoutID, "session_id": result.sessionID, "workflow_id": result.workflowID} {
		if value != "" {
			span.SetAttributes(attribute.String(key, value))
		}
	}
	if status >= http.StatusInternalServerError {
		span.SetStatus(codes.Error, "")
	}
}
