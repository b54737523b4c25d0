package payout

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
		return "payouts confirm " + id + " --by YOU"
	case ActionCancel:
		return "payouts cancel " + id + " --by YOU --reason WHY"
	case ActionRecheck:
		return "payouts resolve " + id + " --action recheck --by YOU"
	case ActionClosePaid, ActionCloseNotPaid:
		return "payouts resolve " + id + " --action " + string(a) + " --by YOU --reason WHY --evidence WHERE_FROM"
	case ActionCancelWorkflow:
		return "temporal workflow cancel --workflow-id " + WorkflowID(id)
	}
	return ""
}
