package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	enumspb "go.temporal.io/api/enums/v1"

	"pikepayouts/payout"
	"pikepayouts/starter"
)

// anyAttention is the value of --attention for every reason.
const anyAttention = "any"

const defaultListLimit = 100

func (a *app) listCommand() *cobra.Command {
	var state, attention, session, query string
	var limit int
	command := &cobra.Command{
		Use:   "list",
		Short: "List payouts",
		Long: `List payouts, newest first, from Temporal's visibility store, which may lag by a moment.
With --attention or --session also late events: webhooks that no open payout took.

--query adds to the filter in Temporal's list filter language; the search attributes are
` + payout.SearchAttributeState + ", " + payout.SearchAttributeSession + ", " + payout.SearchAttributeAttention + ", " +
			payout.SearchAttributeCurrency + " and " + payout.SearchAttributeAmount + ".\n\n" + callerHelp,
		Example: `  payouts list --attention any
  payouts list --state awaiting_decision -o json | jq -r .[].payout_id
  payouts list --session ps_12345
  payouts list --query "PayoutAmount > 1000000 AND StartTime > '2026-01-01T00:00:00Z'"`,
		Args: usage(cobra.NoArgs),
	}
	flags := command.Flags()
	flags.StringVar(&state, "state", "", "only this state: "+list(payout.States()))
	flags.StringVar(&attention, "attention", "", "only this reason for attention, or "+anyAttention)
	flags.StringVar(&session, "session", "", "only the payout of this Pike session")
	flags.StringVar(&query, "query", "", "more of Temporal's list filter")
	flags.IntVar(&limit, "limit", defaultListLimit, "at most so many, 0 for all")
	var format outputFormat
	format.addFlag(command)
	command.RunE = func(command *cobra.Command, _ []string) error {
		if state != "" && !slices.Contains(payout.States(), payout.State(state)) {
			return usagef("--state: must be one of %s", list(payout.States()))
		}
		if limit < 0 {
			return usagef("--limit: must not be negative")
		}
		filter := starter.Filter{State: payout.State(state), SessionID: session, Query: query}
		if filter.AnyAttention = attention == anyAttention; !filter.AnyAttention {
			filter.Attention = payout.AttentionReason(attention)
		}
		return a.withPayouts(command.Context(), func(p payouts) error {
			return a.list(command.Context(), p, filter, limit, format)
		})
	}
	return command
}

func (a *app) list(ctx context.Context, p payouts, filter starter.Filter, limit int, format outputFormat) error {
	found := []starter.Summary{} // not nil: no payouts are [] in JSON
	more := false
	for summary, err := range p.List(ctx, filter) {
		if err != nil {
			return err
		}
		if limit > 0 && len(found) == limit {
			more = true
			break
		}
		found = append(found, summary)
	}
	if err := a.print(format, found, func(p *printer) { p.block(listText(p.palette, found)) }); err != nil {
		return err
	}
	if more {
		_, _ = fmt.Fprintf(a.stderr, "Only the newest %d are shown; --limit shows more.\n", limit)
	}
	return nil
}

func listText(p palette, found []starter.Summary) string {
	if len(found) == 0 {
		return "No payouts.\n"
	}
	var titles []string
	for _, title := range []string{"PAYOUT", "STATE", "AMOUNT", "ATTENTION", "SESSION", "STARTED", "RUN"} {
		titles = append(titles, p.paint(bold, title))
	}
	rows := [][]string{titles}
	for _, s := range found {
		rows = append(rows, []string{
			cmp.Or(s.LateEvent, s.PayoutID), dash(p.state(s.State)), amountText(s), p.tone(s.Attention.Tone(), dash(string(s.Attention))), dash(clean(s.SessionID)),
			at(s.StartedAt), runText(p, s.Status),
		})
	}
	return table(rows)
}

// runText: a run that is neither running nor completed has no result, and what became of its money is not known here.
func runText(p palette, status string) string {
	tone := payout.Bad
	switch status {
	case enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING.String(), enumspb.WORKFLOW_EXECUTION_STATUS_COMPLETED.String():
		tone = payout.Plain
	}
	return p.tone(tone, strings.ToLower(status))
}

// amountText: a late event has no amount of its own.
func amountText(s starter.Summary) string {
	if s.LateEvent != "" {
		return "-"
	}
	return s.AmountDetails.String()
}

// dash keeps an empty cell visible, and a column countable for awk.
func dash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

func list[T ~string](values []T) string {
	texts := make([]string, len(values))
	for i, value := range values {
		texts[i] = string(value)
	}
	return strings.Join(texts, ", ")
}
