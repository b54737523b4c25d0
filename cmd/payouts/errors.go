package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"pikepayouts/config"
	"pikepayouts/payout"
	"pikepayouts/starter"
)

// The exit codes, as documented in the help.
const (
	exitDone     = 0
	exitFailed   = 1
	exitUsage    = 2
	exitNotPaid  = 3
	exitConflict = 4
	exitNotFound = 5
)

// errNotPaid ends `wait` and `start --wait` for a payout that ended without
// paying. The status on stdout says all there is to say.
var errNotPaid = errors.New("the payout did not succeed")

// usageError is a mistake in the command line.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// usage makes a usageError of what a check of the arguments returns.
func usage(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(command *cobra.Command, args []string) error {
		if err := check(command, args); err != nil {
			return usageError{err}
		}
		return nil
	}
}

// report prints the error, if there is one, and returns its exit code.
func report(stderr io.Writer, command *cobra.Command, err error) int {
	code := exitCode(err)
	var configuration *config.Error
	switch {
	case err == nil || errors.Is(err, errNotPaid):
	case errors.As(err, &configuration):
		_, _ = fmt.Fprintf(stderr, "%s: the configuration is incomplete or wrong:\n", command.CommandPath())
		for _, problem := range configuration.Problems {
			_, _ = fmt.Fprintf(stderr, "  %s %s\n", problem.Variable, problem.Text)
		}
	case code == exitUsage:
		_, _ = fmt.Fprintf(stderr, "%s\nSee `%s --help`.\n", usageText(err), command.CommandPath())
	default:
		_, _ = fmt.Fprintln(stderr, err)
	}
	return code
}

// usageText keeps a card number that was typed in the wrong place from where error output goes (hazard S8): cobra repeats what it is given.
func usageText(err error) string {
	if payout.HoldsCardNumber(err.Error()) {
		return "the command line holds what looks like a card number; the error that repeats it is not shown"
	}
	return err.Error()
}

func exitCode(err error) int {
	var usage usageError
	var field *payout.FieldError
	var configuration *config.Error
	switch {
	case err == nil:
		return exitDone
	case errors.Is(err, errNotPaid):
		return exitNotPaid
	case errors.Is(err, starter.ErrConflict):
		return exitConflict
	case errors.Is(err, starter.ErrNotFound):
		return exitNotFound
	case errors.As(err, &usage), errors.As(err, &field), errors.As(err, &configuration), isUnknownCommand(err):
		return exitUsage
	}
	return exitFailed
}

// isUnknownCommand recognises cobra's own error, which has no type.
func isUnknownCommand(err error) bool { return strings.HasPrefix(err.Error(), "unknown command ") }
