package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
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
	cyan   = "36"
	bold   = "1"
	dim    = "2"
)

// palette follows the NO_COLOR convention (no-color.org), and spares a terminal that knows no colours.
func (a *app) palette() palette {
	noColour, _ := a.lookuper.Lookup("NO_COLOR")
	terminal, _ := a.lookuper.Lookup("TERM")
	return palette{on: isTerminal(a.stdout) && noColour == "" && terminal != "dumb"}
}

func (p palette) paint(colour, text string) string {
	if !p.on || text == "" {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

// tone colours what is good or bad news, or for a person to look at.
func (p palette) tone(tone payout.Tone, text string) string {
	switch tone {
	case payout.Good:
		return p.paint(green, text)
	case payout.Warning:
		return p.paint(yellow, text)
	case payout.Bad:
		return p.paint(red, text)
	case payout.Command:
		return p.paint(cyan, text)
	}
	return text
}

func (p palette) state(state payout.State) string { return p.tone(state.Tone(), string(state)) }

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

// printFacts shows what the Web UI shows too. The first one names what they are of.
func printFacts(p *printer, facts []payout.Fact) {
	for i, fact := range facts {
		value := p.palette.tone(fact.Tone, clean(fact.Value))
		if i == 0 {
			value = p.palette.paint(bold, value)
		}
		p.fact(fact.Name, value)
	}
}

func printStatus(p *printer, status payout.Status, now time.Time) {
	printFacts(p, status.Facts(atFrom(now)))
	if len(status.Transitions) > 0 {
		p.block("\n" + transitionsText(p.palette, status.Transitions))
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

// atFrom writes times as people compare them with now.
func atFrom(now time.Time) func(time.Time) string {
	return func(t time.Time) string { return at(t) + " (" + distance(t.Sub(now)) + ")" }
}

func distance(d time.Duration) string {
	if d < 0 {
		return roughly(-d) + " ago"
	}
	return "in " + roughly(d)
}

func roughly(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d < time.Hour:
		return d.Round(time.Second).String()
	case d < 2*day:
		return strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
	}
	return strconv.Itoa(int(d/day)) + " days"
}
