package workflows

import (
	"cmp"
	"errors"
	"fmt"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"pikepayouts/payout"
)

// The Web UI shows these where an update is entered. The codec server encrypts only
// what names its workflow, and the Web UI does not show that refusal's reason.
const (
	decideDescription  = `confirm or cancel: {"decision": "confirm"|"cancel", "by": "<who>", "reason": "<why>", "workflow_id": "%s"}`
	resolveDescription = `attention: {"action": "recheck"|"close_paid"|"close_not_paid", "by": "<who>", "reason": "<why>", "evidence": "<where from>", "workflow_id": "%s"}`
)

// signalDescription is for the Web UI, which offers to send one by hand.
const signalDescription = `hint that Pike's session has changed, from the webhook gateway; only makes the payout read its status: {"session_id": "ps_…"}`

// handle registers what others can ask of a payout and do to it. What stands in a description is the JSON that the Web UI asks for.
func (p *payoutRun) handle() error {
	id := workflow.GetInfo(p.ctx).WorkflowExecution.ID
	for _, name := range signalNames { // the description is that of the first who asks for the channel
		workflow.GetSignalChannelWithOptions(p.ctx, name, workflow.SignalChannelOptions{Description: signalDescription})
	}
	err := workflow.SetQueryHandlerWithOptions(p.ctx, payout.QueryStatus, func() (payout.Status, error) { return p.status(), nil },
		workflow.QueryHandlerOptions{Description: "where the payout stands, what happens next and what can be done; takes no argument"})
	if err != nil {
		return fmt.Errorf("setting the query handler: %w", err)
	}
	err = workflow.SetUpdateHandlerWithOptions(p.ctx, payout.UpdateDecide, p.decide, workflow.UpdateHandlerOptions{
		Description: fmt.Sprintf(decideDescription, id),
		Validator:   p.validateDecide,
	})
	if err != nil {
		return fmt.Errorf("setting the update handler of %s: %w", payout.UpdateDecide, err)
	}
	err = workflow.SetUpdateHandlerWithOptions(p.ctx, payout.UpdateResolve, p.resolve, workflow.UpdateHandlerOptions{
		Description: fmt.Sprintf(resolveDescription, id),
		Validator:   p.validateResolve,
	})
	if err != nil {
		return fmt.Errorf("setting the update handler of %s: %w", payout.UpdateResolve, err)
	}
	return nil
}

func (p *payoutRun) validateDecide(_ workflow.Context, request payout.DecideRequest) error {
	if err := cmp.Or(request.Validate(), payout.CheckWorkflow(request.WorkflowID, payout.WorkflowID(p.request.PayoutID))); err != nil {
		return refuse(payout.ErrorTypeInvalidDecision, err)
	}
	if err := p.machine.checkDecision(request); err != nil {
		return refuse(payout.ErrorTypeDecisionRefused, err)
	}
	return nil
}

func (p *payoutRun) decide(_ workflow.Context, request payout.DecideRequest) (payout.Status, error) {
	p.machine.decideBy(request, p.now())
	p.wake()
	return p.status(), nil
}

func (p *payoutRun) validateResolve(_ workflow.Context, request payout.ResolveRequest) error {
	if err := cmp.Or(request.Validate(), payout.CheckWorkflow(request.WorkflowID, payout.WorkflowID(p.request.PayoutID))); err != nil {
		return refuse(payout.ErrorTypeInvalidResolve, err)
	}
	if err := p.machine.checkResolve(); err != nil {
		return refuse(payout.ErrorTypeResolveRefused, err)
	}
	return nil
}

// resolve first lets the payout speak to Pike once more: a person's word never
// beats a fresh status (hazard A21).
func (p *payoutRun) resolve(ctx workflow.Context, request payout.ResolveRequest) (payout.Status, error) {
	// The handler's context is cancelled with the workflow; a payout is not.
	ctx, _ = workflow.NewDisconnectedContext(ctx)
	if err := p.freshRead(ctx); err != nil {
		return payout.Status{}, err
	}
	if request.Action == payout.ResolveRecheck {
		return p.status(), nil
	}
	if p.readError != nil {
		return payout.Status{}, refuse(payout.ErrorTypeResolveRefused, fmt.Errorf("Pike gave no fresh status to check against: %w", p.readError))
	}
	if p.calling { // a send must not meet a closed payout
		return payout.Status{}, refuse(payout.ErrorTypeResolveRefused, errors.New("Pike is being called at this moment; try again"))
	}
	if err := p.machine.close(request, p.now()); err != nil {
		return payout.Status{}, refuse(payout.ErrorTypeResolveRefused, err)
	}
	p.wake()
	return p.status(), nil
}

// freshRead waits for the end of a status read that begins after now. Without a session there is nothing to read.
func (p *payoutRun) freshRead(ctx workflow.Context) error {
	p.machine.recheck(p.now())
	p.wake()
	done := func() bool {
		return p.machine.Status.SessionID == "" || p.machine.Status.State.Final() || !p.machine.RecheckAsked && !p.calling
	}
	if err := workflow.Await(ctx, done); err != nil {
		return fmt.Errorf("waiting for Pike: %w", err)
	}
	return nil
}

func refuse(errorType string, err error) error {
	return temporal.NewNonRetryableApplicationError(err.Error(), errorType, nil)
}
