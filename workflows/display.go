package workflows

import (
	"fmt"
	"strings"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"pikepayouts/payout"
)

var (
	stateKey     = temporal.NewSearchAttributeKeyKeyword(payout.SearchAttributeState)
	sessionKey   = temporal.NewSearchAttributeKeyKeyword(payout.SearchAttributeSession)
	attentionKey = temporal.NewSearchAttributeKeyKeyword(payout.SearchAttributeAttention)
	currencyKey  = temporal.NewSearchAttributeKeyKeyword(payout.SearchAttributeCurrency)
	amountKey    = temporal.NewSearchAttributeKeyInt64(payout.SearchAttributeAmount)
)

// publish makes the search attributes true, with one upsert of those that differ.
func (p *payoutRun) publish() error {
	updates := changedAttributes(workflow.GetTypedSearchAttributes(p.ctx), p.machine.Status)
	if len(updates) == 0 {
		return nil
	}
	if err := workflow.UpsertTypedSearchAttributes(p.ctx, updates...); err != nil {
		return fmt.Errorf("setting the search attributes: %w", err)
	}
	return nil
}

func changedAttributes(current temporal.SearchAttributes, status payout.Status) []temporal.SearchAttributeUpdate {
	var updates []temporal.SearchAttributeUpdate
	keyword := func(key temporal.SearchAttributeKeyKeyword, want string) {
		got, set := current.GetKeyword(key)
		switch {
		case want != "" && got != want:
			updates = append(updates, key.ValueSet(want))
		case want == "" && set:
			updates = append(updates, key.ValueUnset())
		}
	}
	attention := ""
	if status.Attention != nil {
		attention = string(status.Attention.Reason)
	}
	keyword(stateKey, string(status.State))
	keyword(sessionKey, status.SessionID)
	keyword(attentionKey, attention)
	keyword(currencyKey, status.AmountDetails.Currency)
	if got, set := current.GetInt64(amountKey); !set || got != status.AmountDetails.Amount {
		updates = append(updates, amountKey.ValueSet(status.AmountDetails.Amount))
	}
	return updates
}

// details is the Markdown table that the Web UI shows for the run.
func (m *machine) details() string {
	status := m.Status
	var table strings.Builder
	row := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&table, "| **%s** | %s |\n", name, strings.NewReplacer("|", `\|`, "\n", " ").Replace(value))
		}
	}
	table.WriteString("| payout | " + status.PayoutID + " |\n|---|---|\n")
	row("state", string(status.State))
	row("amount", status.AmountDetails.String())
	row("session", m.sessionText())
	if status.Attention != nil {
		row("attention", fmt.Sprintf("%s since %s: %s", status.Attention.Reason, clock(status.Attention.Since), status.Attention.Detail))
	}
	if status.Decision != nil {
		row("decision", fmt.Sprintf("%s by %s %s", status.Decision.Value, status.Decision.By, status.Decision.Reason))
	}
	if status.Error != nil {
		row("error", status.Error.Code+" "+status.Error.Description)
	}
	if status.Deadline != nil {
		row("deadline", clock(*status.Deadline))
	}
	row("next", status.NextStep)
	row("you can", m.possibleActions())
	return table.String()
}

func (m *machine) sessionText() string {
	if m.Session.SessionStatus == "" {
		return m.Status.SessionID
	}
	text := fmt.Sprintf("%s (%s", m.Status.SessionID, m.Session.SessionStatus)
	if m.Session.PayoutStatus != "" {
		text += fmt.Sprintf(", payout %s %s", m.Session.PikePayoutID, m.Session.PayoutStatus)
	}
	return text + ")"
}

func (m *machine) possibleActions() string {
	status := m.Status
	if status.State.Final() {
		return ""
	}
	var actions []string
	if m.checkDecision(payout.DecideRequest{Decision: payout.DecisionCancel}) == nil {
		actions = append(actions, fmt.Sprintf("`payouts confirm %[1]s --by you` or `payouts cancel %[1]s --by you`", status.PayoutID))
	}
	if status.Attention != nil {
		actions = append(actions, fmt.Sprintf("`payouts resolve %s --action recheck`", status.PayoutID))
	}
	if len(actions) == 0 {
		return "wait"
	}
	return strings.Join(actions, "; ")
}

func clock(t time.Time) string { return t.UTC().Format(time.DateTime + " MST") }
