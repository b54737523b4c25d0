package starter

import (
	"context"
	"fmt"

	"pikepayouts/payout"
)

// GetLateEvent returns the status of a late event (see Summary.LateEvent): a
// genuine webhook that no open payout took. Errors as for Get.
func (s *Starter) GetLateEvent(ctx context.Context, id string) (payout.LateEventStatus, error) {
	of, err := lateEventTarget(id)
	if err != nil {
		return payout.LateEventStatus{}, err
	}
	return get[payout.LateEventStatus](ctx, s, of)
}

// ResolveLateEvent acts on a late event that has attention raised: a person says
// what became of the money. It changes no payout. Errors as for Resolve.
func (s *Starter) ResolveLateEvent(ctx context.Context, id string, request payout.ResolveRequest) (payout.LateEventStatus, error) {
	of, err := lateEventTarget(id)
	if err != nil {
		return payout.LateEventStatus{}, err
	}
	if err := request.Validate(); err != nil {
		return payout.LateEventStatus{}, fmt.Errorf("resolve %s: %w", of.name, err)
	}
	return resolve[payout.LateEventStatus](ctx, s, of, request)
}

func lateEventTarget(id string) (target, error) {
	if !payout.IsLateEventWorkflowID(id) {
		return target{}, &payout.FieldError{Field: "late event", Problem: "must be the id of a late event: " + payout.LateEventIDPrefix + "<session>/<64 hex digits>"}
	}
	return target{workflowID: id, kind: "late event", name: "late event " + id}, nil
}
