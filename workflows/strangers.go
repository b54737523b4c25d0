package workflows

import (
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"pikepayouts/payout"
)

// maxStrangers is how many webhooks of other sessions one run hands over. Each is an open child for as long as a
// person has not closed it, and with 2,000 of them Temporal fails every workflow task: a flood of forged signals
// must not hold the payout up (hazards W23, X27).
const maxStrangers = 200

// sortStrangers tells the webhooks of the payout's own session, which may have
// come before the session was known, from those of another one. The latter are
// genuine but not this payout's: they move nothing here and must not be lost (hazard W25).
func (p *payoutRun) sortStrangers() {
	if p.machine.Status.SessionID == "" && !p.machine.Status.State.Final() {
		return
	}
	strangers := p.strangers
	p.strangers = nil
	for _, event := range strangers {
		switch {
		case event.SessionID == p.machine.Status.SessionID:
			p.machine.hint(event, p.now())
		case p.strangersKept < maxStrangers:
			p.strangersKept++
			p.keepLate(event, payout.LateOtherSession)
		default: // it stays in the history
			p.log.Error("too many webhooks of other sessions, not kept as a late event", "type", event.Type, "session_id", event.SessionID)
		}
	}
}

// keepLateEvents takes every webhook that arrived while the payout ended: none
// may be lost unread (hazard L8), and one that contradicts the end is kept.
func (p *payoutRun) keepLateEvents() {
	for {
		p.receiveSignals()
		p.sortStrangers()
		event := p.machine.contradiction()
		p.machine.Unread = nil
		switch {
		case event != nil:
			p.keepLate(*event, payout.LateContradiction)
		case len(p.strangers) == 0:
			return
		}
	}
}

// keepLate hands a webhook to a LateEventWorkflow, which outlives the payout. The
// gateway may have started the same one.
func (p *payoutRun) keepLate(event payout.Event, reason payout.LateReason) {
	event = event.Identified()
	p.log.Warn("webhook kept as a late event", "reason", reason, "type", event.Type, "session_id", event.SessionID)
	ctx := workflow.WithChildOptions(p.ctx, workflow.ChildWorkflowOptions{
		WorkflowID: payout.LateEventWorkflowID(event), StaticSummary: payout.LateEventSummary(event, reason),
		WorkflowIDReusePolicy: enumspb.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE,
		ParentClosePolicy:     enumspb.PARENT_CLOSE_POLICY_ABANDON,
	})
	late := payout.LateEvent{Reason: reason, PayoutID: p.request.PayoutID, Event: event}
	err := workflow.ExecuteChildWorkflow(ctx, payout.LateEventWorkflowType, late).GetChildWorkflowExecution().Get(p.ctx, nil)
	if err != nil && !temporal.IsWorkflowExecutionAlreadyStartedError(err) {
		p.log.Error("webhook could not be kept as a late event", "type", event.Type, "session_id", event.SessionID, "error", err)
	}
}
