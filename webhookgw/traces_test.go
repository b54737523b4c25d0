package webhookgw_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"go.temporal.io/api/serviceerror"

	"pikepayouts/payout"
	"pikepayouts/pike"
	"pikepayouts/webhookgw"
)

func newTracedHarness(t *testing.T) (*harness, *tracetest.SpanRecorder) {
	t.Helper()
	recorder := tracetest.NewSpanRecorder()
	tracer := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder)).Tracer("test")
	return newHarness(t, func(config *webhookgw.Config) { config.Tracer = tracer }), recorder
}

// TestAGenuineWebhookIsASpan: without a parent, whatever the request says, and the hand-off under it.
func TestAGenuineWebhookIsASpan(t *testing.T) {
	h, recorder := newTracedHarness(t)
	var handOff trace.SpanContext
	h.signaler.hook = func(ctx context.Context) error {
		handOff = trace.SpanContextFromContext(ctx)
		return nil
	}
	body := webhookBody("ready_to_confirm", `"inv-1"`)
	request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, webhookgw.DefaultPath, strings.NewReader(body))
	request.Header[http.CanonicalHeaderKey(pike.HeaderSign)] = []string{sign(t, pikeKey(), body)}
	request.Header.Set("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	require.Equal(t, http.StatusOK, h.do(request).Code)

	require.Len(t, recorder.Ended(), 1)
	span := recorder.Ended()[0]
	require.False(t, span.Parent().IsValid())
	require.NotEqual(t, "0af7651916cd43dd8448eb211c80319c", span.SpanContext().TraceID().String())
	require.Equal(t, span.SpanContext(), handOff)
	require.ElementsMatch(t, []attribute.KeyValue{
		attribute.String("webhook.type", "ready_to_confirm"), attribute.String("webhook.answer", "signalled"), attribute.Int("http.response.status_code", 200),
		attribute.String("payout_id", "inv-1"), attribute.String("session_id", "ps_3230"), attribute.String("workflow_id", payout.WorkflowID("inv-1")),
	}, span.Attributes())
	require.Contains(t, h.log.String(), `"trace_id":"`+span.SpanContext().TraceID().String()+`"`)
}

func TestSpansOfWebhooksThatWereNotTaken(t *testing.T) {
	h, recorder := newTracedHarness(t)
	h.signaler.hook = func(context.Context) error { return serviceerror.NewUnavailable(canary) }
	require.Equal(t, http.StatusServiceUnavailable, h.postSigned(webhookBody("ready_to_confirm", `"inv-1"`)).Code)
	h.signaler.hook = func(context.Context) error { panic(errors.New(canary)) }
	require.Equal(t, http.StatusInternalServerError, h.postSigned(webhookBody("ready_to_confirm", `"inv-1"`)).Code)
	require.Len(t, recorder.Ended(), 2)
	for i, answer := range []string{"unavailable", "panic"} {
		span := recorder.Ended()[i]
		require.Equal(t, sdktrace.Status{Code: codes.Error}, span.Status())
		require.Contains(t, span.Attributes(), attribute.String("webhook.answer", answer))
		require.NotContains(t, fmt.Sprint(span.Attributes(), span.Events()), canary)
	}
}

// TestWhatIsNotGenuineIsNoSpan: anyone could fill the queue of spans with it.
func TestWhatIsNotGenuineIsNoSpan(t *testing.T) {
	h, recorder := newTracedHarness(t)
	require.Equal(t, http.StatusUnauthorized, h.post(webhookBody("ready_to_confirm", `"inv-1"`), "forged").Code)
	require.Equal(t, http.StatusRequestEntityTooLarge, h.post(strings.Repeat("x", webhookgw.DefaultMaxBody+1), "forged").Code)
	require.Empty(t, recorder.Started())
}
