package payout

import "fmt"

// Action is something that a person can do to a payout or a late event.
type Action string

// The actions.
const (
	ActionConfirm        Action = DecisionConfirm
	ActionCancel         Action = DecisionCancel
	ActionRecheck        Action = ResolveRecheck
	ActionClosePaid      Action = ResolveClosePaid
	ActionCloseNotPaid   Action = ResolveCloseNotPaid
	ActionCancelWorkflow Action = "cancel_workflow" // Temporal's own cancellation
)

// Actions lists every action.
func Actions() []Action {
	return []Action{ActionConfirm, ActionCancel, ActionRecheck, ActionClosePaid, ActionCloseNotPaid, ActionCancelWorkflow}
}

// Command is the command line of the action on a payout or a late event, by its
// id. What is in capitals is to be filled in.
func (a Action) Command(id string) string {
	switch a {
	case ActionConfirm:
		return fmt.Sprintf("payouts confirm %s --by YOU", id)
	case ActionCancel:
		return fmt.Sprintf("payouts cancel %s --by YOU --reason WHY", id)
	case ActionRecheck:
		return fmt.Sprintf("payouts resolve %s --action %s --by YOU", id, a)
	case ActionClosePaid, ActionCloseNotPaid:
		return fmt.Sprintf("payouts resolve %s --action %s --by YOU --reason WHY --evidence WHERE_FROM", id, a)
	case ActionCancelWorkflow:
		return "temporal workflow cancel --workflow-id " + WorkflowID(id)
	}
	return ""
}
