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

// Methods of Pike, as its client calls them: names of spans, values of the label `method`.
const (
	methodCreate  = "session/create"
	methodStart   = "session/start/payout"
	methodConfirm = "session/confirm"
	methodCancel  = "session/cancel"
	methodStatus  = "session/status"
)

// requestBuckets are in seconds. A call that timed out is in the one after pike.MaxTimeout (30s).
var requestBuckets = []float64{0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 40}

// Measured returns provider with pike_request_seconds about its calls, registered with registerer.
func Measured(provider Pike, registerer prometheus.Registerer) (Pike, error) {
	seconds := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "pike_request_seconds", Help: "Calls to Pike by method and by what is known after them: done, refused, not_sent, unknown.",
		Buckets: requestBuckets,
	}, []string{"method", "outcome"})
	if err := registerer.Register(seconds); err != nil {
		return nil, fmt.Errorf("registering metrics: %w", err)
	}
	showZeros(seconds)
	return observedPike{pike: provider, observe: func(ctx context.Context, c call) (pike.Session, error) {
		begin := time.Now()
		session, err := c.send(ctx)
		seconds.WithLabelValues(c.method, outcomeLabel(err)).Observe(time.Since(begin).Seconds())
		return session, err
	}}, nil
}

// showZeros makes what has not happened yet 0 instead of absent: an alert could not see the first failure else.
func showZeros(seconds *prometheus.HistogramVec) {
	for _, method := range []string{methodCreate, methodStart, methodConfirm, methodCancel, methodStatus} {
		for _, outcome := range []string{outcomeDone, string(Refused), string(NotSent), string(Unknown)} {
			seconds.WithLabelValues(method, outcome)
		}
	}
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
