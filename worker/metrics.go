package worker

import (
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric"

	"pikepayouts/workflows"
)

// payoutBuckets are in seconds: from a happy payout to one that is held for a week.
var payoutBuckets = []float64{1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14400, 28800, 86400, 259200, 604800}

// MetricViews give the metrics of payouts their own labels alone, without those
// that the SDK hangs on everything in a workflow, and buckets that fit.
func MetricViews() []metric.View {
	return []metric.View{
		metric.NewView(metric.Instrument{Name: workflows.MetricTransitions}, metric.Stream{
			Description:     "Transitions of payouts from state to state; from is empty for the first.",
			AttributeFilter: attribute.NewAllowKeysFilter(workflows.LabelFrom, workflows.LabelTo),
		}),
		metric.NewView(metric.Instrument{Name: workflows.MetricDeadlineNear}, metric.Stream{
			Description:     "Payouts that waited for their confirm with less than 10 minutes left, by state; each at most once a run.",
			AttributeFilter: attribute.NewAllowKeysFilter(workflows.LabelState),
		}),
		metric.NewView(metric.Instrument{Name: workflows.MetricEndedWithAttention}, metric.Stream{
			Description:     "Payouts that ended with attention raised, by reason; they are not open, so not in payouts_attention.",
			AttributeFilter: attribute.NewAllowKeysFilter(workflows.LabelReason),
		}),
		timeView(workflows.MetricReady, "Time from the first transition of a payout until it was ready for the confirm, observed at its end."),
		timeView(workflows.MetricResult, "Time from ready and decided, when the confirm is sent, to the end of a payout, by final state.", workflows.LabelResult),
		timeView(workflows.MetricEndToEnd, "Time from the first transition of a payout to its end, by final state.", workflows.LabelResult),
	}
}

func timeView(name, description string, labels ...attribute.Key) metric.View {
	return metric.NewView(metric.Instrument{Name: name}, metric.Stream{
		Description:     description,
		AttributeFilter: attribute.NewAllowKeysFilter(labels...),
		Aggregation:     metric.AggregationExplicitBucketHistogram{Boundaries: payoutBuckets},
	})
}
