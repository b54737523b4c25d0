package workflows

import (
	"slices"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/workflow"

	"pikepayouts/payout"
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
	// MetricReady is the time from the first transition until Pike was ready for the confirm, of payouts that have ended.
	MetricReady = "payout_ready_seconds"
	// MetricResult is the time from ready and decided, when confirm is sent, to the end, by LabelResult.
	MetricResult = "payout_result_seconds"
	// MetricDeadlineNear counts a payout once when it waits for its confirm with less than deadlineNear left, by LabelState.
	MetricDeadlineNear = "payouts_confirm_deadline_near_total"
	LabelState         = "state"
	// MetricEndedWithAttention counts payouts that ended with attention raised, by LabelReason: nobody counts them as open any more.
	MetricEndedWithAttention = "payouts_ended_with_attention_total"
	LabelReason              = "reason"
)

// deadlineNear is twice the longest time that an urgent payout waits without looking at the clock,
// unless its poll_interval is longer. A timer of its own would cost two events.
const deadlineNear = 2 * maxPollGap

// confirmStates are those in which a confirm, or the decision on it, is bound by a deadline.
var confirmStates = []payout.State{payout.StateAwaitingDecision, payout.StateConfirming}

// ShowZeros makes the counters that alerts go by 0 before anything happened: an alert could not see the first step else.
func ShowZeros(handler client.MetricsHandler) {
	for _, state := range confirmStates {
		deadlineNearCounter(handler, state).Inc(0)
	}
	for _, reason := range attentionRank {
		endedWithAttentionCounter(handler, reason).Inc(0)
	}
}

func deadlineNearCounter(handler client.MetricsHandler, state payout.State) client.MetricsCounter {
	return handler.WithTags(map[string]string{LabelState: string(state)}).Counter(MetricDeadlineNear)
}

func endedWithAttentionCounter(handler client.MetricsHandler, reason payout.AttentionReason) client.MetricsCounter {
	return handler.WithTags(map[string]string{LabelReason: string(reason)}).Counter(MetricEndedWithAttention)
}

// countMoves counts what the machine noted since the last time.
func (p *payoutRun) countMoves() {
	for _, m := range p.machine.takeMoves() {
		labels := map[string]string{LabelFrom: string(m.from), LabelTo: string(m.to)}
		workflow.GetMetricsHandler(p.ctx).WithTags(labels).Counter(MetricTransitions).Inc(1)
	}
}

// countDeadlineNear goes by the wake-ups that polls bring about anyway.
func (p *payoutRun) countDeadlineNear() {
	status := p.machine.Status
	bound := slices.Contains(confirmStates, status.State) && status.Deadline != nil
	if p.deadlineNearCounted || !bound || status.Deadline.Sub(p.now()) >= deadlineNear {
		return
	}
	p.deadlineNearCounted = true
	deadlineNearCounter(workflow.GetMetricsHandler(p.ctx), status.State).Inc(1)
}

// measureEnd goes by the transitions, which know when a payout began that has continued as new.
func (p *payoutRun) measureEnd() {
	transitions := p.machine.Status.Transitions
	begin, end := transitions[0].At, transitions[len(transitions)-1].At
	handler := workflow.GetMetricsHandler(p.ctx)
	byResult := handler.WithTags(map[string]string{LabelResult: string(p.machine.Status.State)})
	byResult.Timer(MetricEndToEnd).Record(end.Sub(begin))
	if attention := p.machine.Status.Attention; attention != nil {
		endedWithAttentionCounter(handler, attention.Reason).Inc(1)
	}
	if ready := p.machine.ReadyAt; !ready.IsZero() {
		handler.Timer(MetricReady).Record(ready.Sub(begin))
	}
	for _, transition := range slices.Backward(transitions) {
		if transition.State == payout.StateConfirming {
			byResult.Timer(MetricResult).Record(end.Sub(transition.At))
			break
		}
	}
}
