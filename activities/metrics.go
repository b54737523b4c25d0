package activities

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"pikepayouts/pike"
)

// outcomeDone is the outcome of a call without an error, beside those of package pike.
const outcomeDone = "done"

// requestBuckets are in seconds. A call that timed out is in the one after pike.MaxTimeout (30s).
var requestBuckets = []float64{0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 40}

// measuredPike observes how long each call takes and what is known after it.
type measuredPike struct {
	pike    Pike
	seconds *prometheus.HistogramVec
}

// Measured returns provider with pike_request_seconds about its calls, registered with registerer.
func Measured(provider Pike, registerer prometheus.Registerer) (Pike, error) {
	m := measuredPike{pike: provider, seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "pike_request_seconds", Help: "Calls to Pike by method and by what is known after them: done, refused, not_sent, unknown.",
		Buckets: requestBuckets,
	}, []string{"method", "outcome"})}
	if err := registerer.Register(m.seconds); err != nil {
		return nil, fmt.Errorf("registering metrics: %w", err)
	}
	return m, nil
}

func (m measuredPike) CreateSession(ctx context.Context, request pike.CreateSessionRequest, idempotencyKey string) (pike.Session, error) {
	return m.measure("session/create", func() (pike.Session, error) { return m.pike.CreateSession(ctx, request, idempotencyKey) })
}

func (m measuredPike) StartPayout(ctx context.Context, request pike.StartPayoutRequest, idempotencyKey string) (pike.Session, error) {
	return m.measure("session/start/payout", func() (pike.Session, error) { return m.pike.StartPayout(ctx, request, idempotencyKey) })
}

func (m measuredPike) ConfirmSession(ctx context.Context, sessionID, idempotencyKey string) (pike.Session, error) {
	return m.measure("session/confirm", func() (pike.Session, error) { return m.pike.ConfirmSession(ctx, sessionID, idempotencyKey) })
}

func (m measuredPike) CancelSession(ctx context.Context, sessionID, idempotencyKey string) (pike.Session, error) {
	return m.measure("session/cancel", func() (pike.Session, error) { return m.pike.CancelSession(ctx, sessionID, idempotencyKey) })
}

func (m measuredPike) SessionStatus(ctx context.Context, sessionID string) (pike.Session, error) {
	return m.measure("session/status", func() (pike.Session, error) { return m.pike.SessionStatus(ctx, sessionID) })
}

func (m measuredPike) measure(method string, call func() (pike.Session, error)) (pike.Session, error) {
	begin := time.Now()
	session, err := call()
	m.seconds.WithLabelValues(method, outcomeLabel(err)).Observe(time.Since(begin).Seconds())
	return session, err
}

func outcomeLabel(err error) string {
	var failure *pike.Error
	switch {
	case err == nil:
		return outcomeDone
	case errors.As(err, &failure):
		return string(failure.Outcome)
	}
	return string(Unknown)
}
