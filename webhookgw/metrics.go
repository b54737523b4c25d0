package webhookgw

import (
	"fmt"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"pikepayouts/pike"
)

// Values of the label `type` beside Pike's own types.
const (
	typeNone  = "none"  // the type was never known: refused before it was read
	typeOther = "other" // a type this version does not know; the label must stay bounded
)

// knownTypes are the types of Pike's webhooks that have a value of the label to themselves.
var knownTypes = []pike.WebhookType{
	pike.WebhookReadyToConfirm, pike.WebhookPaymentFinished, pike.WebhookPaymentRefunded, pike.WebhookActionRequired, pike.WebhookReadyToCapture,
}

type metrics struct {
	webhooks          *prometheus.CounterVec
	signatureFailures prometheus.Counter
}

func newMetrics(registerer prometheus.Registerer) (metrics, error) {
	m := metrics{
		webhooks: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "webhooks_total", Help: "Requests to the webhook path by type of webhook and answer.",
		}, []string{"type", "answer"}),
		signatureFailures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "webhook_signature_failures_total", Help: "Requests whose signature was missing, malformed or wrong.",
		}),
	}
	for _, collector := range []prometheus.Collector{m.webhooks, m.signatureFailures} {
		if err := registerer.Register(collector); err != nil {
			return metrics{}, fmt.Errorf("registering metrics: %w", err)
		}
	}
	m.showZeros()
	return m, nil
}

// showZeros makes what has not happened yet 0 instead of absent: an alert could not see the first 503 else.
func (m metrics) showZeros() {
	for _, answer := range answers {
		for _, kind := range knownTypes {
			m.webhooks.WithLabelValues(string(kind), string(answer))
		}
		m.webhooks.WithLabelValues(typeNone, string(answer))
		m.webhooks.WithLabelValues(typeOther, string(answer))
	}
}

func (m metrics) count(kind pike.WebhookType, answer Answer) {
	m.webhooks.WithLabelValues(typeLabel(kind), string(answer)).Inc()
	if answer == AnswerBadSignature {
		m.signatureFailures.Inc()
	}
}

func typeLabel(kind pike.WebhookType) string {
	switch {
	case kind == "":
		return typeNone
	case slices.Contains(knownTypes, kind):
		return string(kind)
	}
	return typeOther
}
