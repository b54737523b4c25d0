package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"pikepayouts/payout"
)

const (
	formatText = "text"
	formatJSON = "json"
)

// outputFormat is the value of -o. Its zero value is text.
type outputFormat string

// addFlag adds -o to a command that a script may call.
func (f *outputFormat) addFlag(command *cobra.Command) {
	*f = formatText
	command.Flags().VarP(f, "output", "o", "text or json")
}

// String implements pflag.Value.
func (f *outputFormat) String() string { return string(*f) }

// Type implements pflag.Value.
func (f *outputFormat) Type() string { return "format" }

// Set implements pflag.Value.
func (f *outputFormat) Set(text string) error {
	if text != formatText && text != formatJSON {
		return fmt.Errorf("must be %s or %s", formatText, formatJSON)
	}
	*f = outputFormat(text)
	return nil
}

// print writes value as JSON, or what text makes of it for people.
func (a *app) print(format outputFormat, value any, text func(*printer)) error {
	if format == formatJSON {
		return writeJSON(a.stdout, value)
	}
	p := printer{palette: a.palette()}
	text(&p)
	return write(a.stdout, p.text())
}

// printer collects what a person reads.
type printer struct {
	palette palette
	done    strings.Builder
	facts   [][]string
}

// fact adds a line of name and value, aligned with its neighbours. Empty values are left out.
func (p *printer) fact(name, value string) {
	if value != "" {
		p.facts = append(p.facts, []string{name, value})
	}
}

// block adds text of any form.
func (p *printer) block(text string) {
	p.done.WriteString(table(p.facts) + text)
	p.facts = nil
}

func (p *printer) text() string {
	p.block("")
	return p.done.String()
}

func writeJSON(w io.Writer, value any) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(value); err != nil {
		return fmt.Errorf("writing the answer: %w", err)
	}
	return nil
}

// write passes text on; a closed pipe is the one way it fails.
func write(w io.Writer, text string) error {
	if _, err := io.WriteString(w, text); err != nil {
		return fmt.Errorf("writing the answer: %w", err)
	}
	return nil
}

// isTerminal says whether a person is looking.
func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	return ok && term.IsTerminal(int(file.Fd())) //nolint:gosec // a file descriptor fits
}

// palette colours text on a terminal, and leaves it alone elsewhere.
type palette struct{ on bool }

const (
	green  = "32"
	yellow = "33"
	red    = "31"
	bold   = "1"
	dim    = "2"
)

// palette follows the NO_COLOR convention (no-color.org).
func (a *app) palette() palette {
	_, plain := a.lookuper.Lookup("NO_COLOR")
	return palette{on: isTerminal(a.stdout) && !plain}
}

func (p palette) paint(colour, text string) string {
	if !p.on || text == "" {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

func (p palette) state(state payout.State) string {
	switch {
	case state == payout.StateSucceeded:
		return p.paint(green, string(state))
	case state.Final():
		return p.paint(red, string(state))
	}
	return string(state)
}

// table aligns rows by their columns. Colour codes have no width.
func table(rows [][]string) string {
	var widths []int
	for _, row := range rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], width(cell))
		}
	}
	var text strings.Builder
	for _, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			line.WriteString(cell + strings.Repeat(" ", widths[i]-width(cell)+2))
		}
		text.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	return text.String()
}

func width(cell string) int {
	n := utf8.RuneCountInString(cell)
	for rest := cell; ; {
		_, after, coloured := strings.Cut(rest, "\x1b[")
		if !coloured {
			return n
		}
		code, next, _ := strings.Cut(after, "m")
		n -= len("\x1b[") + len(code) + len("m")
		rest = next
	}
}

// clean keeps text from outside (Pike's words, an operator's reason) from steering the terminal.
func clean(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return ' '
		}
		return r
	}, text)
}

func at(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05") } //nolint:gosmopolitan // a person reads it

// printStatus shows a status to people: facts, then the transitions.
func printStatus(p *printer, status payout.Status, now time.Time) {
	paint := p.palette.paint
	p.fact("Payout", paint(bold, status.PayoutID))
	p.fact("State", p.palette.state(status.State))
	p.fact("Amount", status.AmountDetails.String())
	p.fact("Session", clean(status.SessionID))
	p.fact("Pike payout", clean(status.PikePayoutID))
	if d := status.Decision; d != nil {
		p.fact("Decision", clean(join(d.Value+" by "+d.By+" at "+at(d.At), d.Reason)))
	}
	if a := status.Attention; a != nil {
		p.fact("Attention", paint(yellow, clean(join(string(a.Reason)+" since "+at(a.Since), a.Detail))))
	}
	if e := status.Error; e != nil {
		p.fact("Error", paint(red, clean(join(e.Code, e.Description))))
	}
	if status.Deadline != nil {
		p.fact("Deadline", at(*status.Deadline)+" ("+distance(status.Deadline.Sub(now))+")")
	}
	p.fact("Next", clean(status.NextStep))
	p.fact("Transaction", clean(string(status.TransactionInfo)))
	if len(status.Transitions) > 0 {
		p.block("\n" + transitionsText(p.palette, status.Transitions))
	}
}

// printLateEvent shows a late event to people.
func printLateEvent(p *printer, status payout.LateEventStatus) {
	paint := p.palette.paint
	p.fact("Late event", paint(bold, clean(join(status.Event.Type, string(status.Reason)))))
	p.fact("Verdict", paint(green, string(status.Verdict)))
	p.fact("Payout", clean(status.PayoutID))
	p.fact("Recorded as", p.palette.state(status.Recorded))
	p.fact("Session", clean(join(status.Event.SessionID, status.SessionStatus)))
	p.fact("Pike payout", clean(join(status.Event.PikePayoutID, status.PayoutStatus)))
	p.fact("Received", at(status.Event.ReceivedAt))
	if a := status.Attention; a != nil {
		p.fact("Attention", paint(yellow, string(a.Reason)+" since "+at(a.Since)))
	}
	p.fact("Finding", clean(status.Finding))
	if r := status.Resolution; r != nil {
		p.fact("Resolved", clean(join(r.Action+" by "+r.By+" at "+at(r.At), r.Reason, r.Evidence)))
	}
}

func transitionsText(p palette, transitions []payout.Transition) string {
	var longest int // of all states: a live display prints one at a time, in the same columns
	for _, state := range payout.States() {
		longest = max(longest, len(state))
	}
	var rows [][]string
	for _, t := range transitions {
		padding := strings.Repeat(" ", max(0, longest-len(t.State)))
		rows = append(rows, []string{p.paint(dim, at(t.At)), p.state(t.State) + padding, clean(t.Why)})
	}
	return table(rows)
}

func join(parts ...string) string {
	return strings.Join(slices.DeleteFunc(parts, func(part string) bool { return part == "" }), ": ")
}

func distance(d time.Duration) string {
	if d < 0 {
		return (-d).Round(time.Second).String() + " ago"
	}
	return "in " + d.Round(time.Second).String()
}
