// Package secret holds the one type that card data, names and other personal
// data are kept in, so that no log line, error or panic can show them.
package secret

import (
	"fmt"
	"io"
	"log/slog"
)

// Redacted is what a String shows wherever a person or a log could read it.
const Redacted = "[redacted]"

// String is text that prints as Redacted through fmt and slog. Its JSON form is
// the clear text: JSON goes to Pike and, through the payload codec, to Temporal
// (design §4.11). A struct that holds one must never be logged as JSON.
type String string

// Reveal returns the clear text. Every call of it is a place to review.
func (s String) Reveal() string { return string(s) }

// Format implements fmt.Formatter for every verb, so that %q, %x and %#v redact too.
func (s String) Format(state fmt.State, _ rune) { _, _ = io.WriteString(state, Redacted) }

// LogValue implements slog.LogValuer.
func (s String) LogValue() slog.Value { return slog.StringValue(Redacted) }
