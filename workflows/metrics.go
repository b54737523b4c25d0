package workflows

import (
	"go.temporal.io/sdk/workflow"
)

// Metrics of payouts and their labels. They go through the worker's metrics
// handler, which is silent in replay; a workflow task that Temporal has repeated
// counts again.
const (
	// MetricTransitions counts what Status.Transitions notes, by LabelFrom (empty for the first) and LabelTo.
	MetricTransitions = "payouts_transitions_total"
	LabelFrom         = "from"
	LabelTo           = "to"
	// MetricEndToEnd is the time from the first transition to the last, by LabelResult, the final state.
	MetricEndToEnd = "payout_end_to_end_seconds"
	LabelResult    = "result"
)

// countMoves counts what the machine noted since the last time.
func (p *payoutRun) countMoves() {
	for _, m := range p.machine.takeMoves() {
		labels := map[string]string{LabelFrom: string(m.from), LabelTo: string(m.to)}
		workflow.GetMetricsHandler(p.ctx).WithTags(labels).Counter(MetricTransitions).Inc(1)
	}
}

// measureEnd goes by the transitions, which know when a payout began that has continued as new.
func (p *payoutRun) measureEnd() {
	transitions := p.machine.Status.Transitions
	took := transitions[len(transitions)-1].At.Sub(transitions[0].At)
	labels := map[string]string{LabelResult: string(p.machine.Status.State)}
	workflow.GetMetricsHandler(p.ctx).WithTags(labels).Timer(MetricEndToEnd).Record(took)
}
