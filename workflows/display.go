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

// show makes true what the Web UI shows of the run. It is no command: a query computes it anew.
func (p *payoutRun) show() {
	workflow.SetCurrentDetails(p.ctx, markdown(p.status().Facts(clock)))
}

// status is what people and callers are told.
func (p *payoutRun) status() payout.Status {
	status := p.machine.Status
	status.Actions = p.machine.actions(p.now())
	return status
}

// actions are those that would be accepted now: each is asked of what decides on it.
func (m *machine) actions(now time.Time) []payout.Action {
	var possible []payout.Action
	if m.checkDecision(payout.DecideRequest{}) == nil {
		possible = append(possible, payout.ActionConfirm, payout.ActionCancel)
	}
	if m.mayBeCancelled() {
		possible = append(possible, payout.ActionCancelWorkflow)
	}
	if m.checkResolve() == nil {
		possible = append(possible, resolveActions(m.checkClose(true, now), m.checkClose(false, now))...)
	}
	return possible
}

// resolveActions are those of a payout or late event that can be resolved, given why it cannot be closed as paid, or as not paid.
func resolveActions(asPaid, asNotPaid error) []payout.Action {
	actions := []payout.Action{payout.ActionRecheck}
	if asPaid == nil {
		actions = append(actions, payout.ActionClosePaid)
	}
	if asNotPaid == nil {
		actions = append(actions, payout.ActionCloseNotPaid)
	}
	return actions
}

// show makes true what the Web UI shows of the run.
func (l *lateEventRun) show() {
	workflow.SetCurrentDetails(l.ctx, markdown(l.event.status().Facts(clock)))
}

func (e *lateEvent) status() payout.LateEventStatus {
	status := e.Status
	if e.checkResolve() == nil {
		status.Actions = resolveActions(e.checkClose(true), e.checkClose(false))
	}
	return status
}

// markdown is a table of two columns, headed by the first fact. It is made before every decision.
func markdown(facts []payout.Fact) string {
	var text strings.Builder
	text.Grow(2 << 10)
	write := func(parts ...string) {
		for _, part := range parts {
			text.WriteString(part)
		}
	}
	for i, fact := range facts {
		switch {
		case i == 0:
			write("| ", fact.Name, " | ", cell(fact.Value), " |\n|---|---|\n")
		case fact.Tone == payout.Command: // of our own words and an id: nothing to escape
			write("| **", fact.Name, "** | `", fact.Value, "` |\n")
		default:
			write("| **", fact.Name, "** | ", cell(fact.Value), " |\n")
		}
	}
	write("\n---\n") // a rule: the Web UI's frame for Markdown is 14 pixels too low, which else cuts the last row, what a person can do, in half
	return text.String()
}

// maxCell keeps a table short, whatever was said at length.
const maxCell = 400

// escape keeps a value inside its cell, and from being read as Markdown. Made once: details are written before every decision.
var escape = strings.NewReplacer("|", `\|`, "`", "\\`", "<", `\<`, "[", `\[`, `\`, `\\`, "\n", " ", "\r", " ")

func cell(value string) string {
	if len(value) > maxCell {
		value = strings.ToValidUTF8(value[:maxCell], "") + "…" // the cut may be within a letter
	}
	return escape.Replace(value)
}

func clock(t time.Time) string { return t.UTC().Format(time.DateTime + " MST") }
