package workflows

import (
	"fmt"
	"slices"
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
	return upsert(p.ctx, changedAttributes(workflow.GetTypedSearchAttributes(p.ctx), p.machine.Status))
}

func upsert(ctx workflow.Context, updates []temporal.SearchAttributeUpdate) error {
	if len(updates) == 0 {
		return nil
	}
	if err := workflow.UpsertTypedSearchAttributes(ctx, updates...); err != nil {
		return fmt.Errorf("setting the search attributes: %w", err)
	}
	return nil
}

func changedAttributes(current temporal.SearchAttributes, status payout.Status) []temporal.SearchAttributeUpdate {
	updates := slices.Concat(
		keywordChange(current, stateKey, string(status.State)),
		keywordChange(current, sessionKey, status.SessionID),
		keywordChange(current, attentionKey, attentionText(status.Attention)),
		keywordChange(current, currencyKey, status.AmountDetails.Currency),
	)
	if got, set := current.GetInt64(amountKey); !set || got != status.AmountDetails.Amount {
		updates = append(updates, amountKey.ValueSet(status.AmountDetails.Amount))
	}
	return updates
}

// keywordChange is what makes the keyword attribute have the value, nothing if it has it; "" stands for none.
func keywordChange(current temporal.SearchAttributes, key temporal.SearchAttributeKeyKeyword, want string) []temporal.SearchAttributeUpdate {
	got, set := current.GetKeyword(key)
	switch {
	case want != "" && got != want:
		return []temporal.SearchAttributeUpdate{key.ValueSet(want)}
	case want == "" && set:
		return []temporal.SearchAttributeUpdate{key.ValueUnset()}
	}
	return nil
}

func attentionText(attention *payout.Attention) string {
	if attention == nil {
		return ""
	}
	return string(attention.Reason)
}

// table is a Markdown table of two columns, which the Web UI shows for a run.
type table struct{ text strings.Builder }

func newTable(name, value string) *table {
	t := &table{}
	t.text.WriteString("| " + name + " | " + cell(value) + " |\n|---|---|\n")
	return t
}

// row leaves out what is empty.
func (t *table) row(name, value string) {
	if value != "" {
		t.text.WriteString("| **" + name + "** | " + cell(value) + " |\n")
	}
}

// escape keeps a value inside its cell. Made once: details are written before every decision.
var escape = strings.NewReplacer("|", `\|`, "\n", " ")

func cell(value string) string { return escape.Replace(value) }

func attentionCell(attention *payout.Attention) string {
	if attention == nil {
		return ""
	}
	return fmt.Sprintf("%s since %s: %s", attention.Reason, clock(attention.Since), attention.Detail)
}

// details is the table of a payout.
func (m *machine) details() string {
	status := m.Status
	table := newTable("payout", status.PayoutID)
	row := table.row
	row("state", string(status.State))
	row("amount", status.AmountDetails.String())
	row("session", m.sessionText())
	row("attention", attentionCell(status.Attention))
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
	return table.text.String()
}

// lateEventDetails is the table of a late event.
func lateEventDetails(workflowID string, status payout.LateEventStatus) string {
	table := newTable("late event", status.Event.Type+", "+string(status.Reason))
	table.row("payout", status.PayoutID)
	table.row("session", status.Event.SessionID)
	table.row("attention", attentionCell(status.Attention))
	table.row("finding", status.Finding)
	if !status.CheckedAt.IsZero() {
		table.row("checked", clock(status.CheckedAt))
	}
	if status.Resolution != nil {
		table.row("resolved", fmt.Sprintf("%s by %s: %s (evidence: %s)", status.Resolution.Action, status.Resolution.By, status.Resolution.Reason, status.Resolution.Evidence))
	}
	table.row("verdict", string(status.Verdict))
	if status.Attention != nil {
		table.row("you can", fmt.Sprintf("`payouts resolve %s --action recheck`, or close_paid, close_not_paid with reason and evidence", workflowID))
	}
	return table.text.String()
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
