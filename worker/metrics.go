package worker

import (
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric"

	"pikepayouts/workflows"
)

// endToEndBuckets are in seconds: from a happy payout to one that is held for a week.
var endToEndBuckets = []float64{1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14400, 28800, 86400, 259200, 604800}

// MetricViews give the metrics of payouts their own labels alone, without those
// that the SDK hangs on everything in a workflow, and buckets that fit.
func MetricViews() []metric.View {
	return []metric.View{
		metric.NewView(metric.Instrument{Name: workflows.MetricTransitions}, metric.Stream{
			Description:     "Transitions of payouts from state to state; from is empty for the first.",
			AttributeFilter: attribute.NewAllowKeysFilter(workflows.LabelFrom, workflows.LabelTo),
		}),
		metric.NewView(metric.Instrument{Name: workflows.MetricEndToEnd}, metric.Stream{
			Description:     "Time from the first transition of a payout to its end, by final state.",
			AttributeFilter: attribute.NewAllowKeysFilter(workflows.LabelResult),
			Aggregation:     metric.AggregationExplicitBucketHistogram{Boundaries: endToEndBuckets},
		}),
	}
}
