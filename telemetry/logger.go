// Package telemetry is how a process shows itself: its log, and the ops port
// with health, readiness and metrics.
package telemetry

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"unicode"

	"pikepayouts/payout"
)

// NewLogger returns a logger that writes to w. Level is debug, info, warn or
// error, format json or text. The error names every bad variable.
//
// Keys of the Temporal SDK become like ours: WorkflowID is workflow_id. Beside
// the workflow id of a payout stands its payout_id, on every line.
func NewLogger(w io.Writer, level, format string) (*slog.Logger, error) {
	threshold, levelErr := parseLevel(level)
	handler, formatErr := newHandler(w, format, &slog.HandlerOptions{Level: threshold, ReplaceAttr: ourKeys})
	if err := errors.Join(levelErr, formatErr); err != nil {
		return nil, err
	}
	return slog.New(handler), nil
}

// parseLevel takes our four words only; slog itself would also take "INFO+2".
func parseLevel(level string) (slog.Level, error) {
	switch level {
	case "debug":
		return slog.LevelDebug, nil
	case "info":
		return slog.LevelInfo, nil
	case "warn":
		return slog.LevelWarn, nil
	case "error":
		return slog.LevelError, nil
	}
	return 0, fmt.Errorf("PAYOUTS_LOG_LEVEL must be debug, info, warn or error, not %q", level)
}

func newHandler(w io.Writer, format string, options *slog.HandlerOptions) (slog.Handler, error) {
	switch format {
	case "json":
		return slog.NewJSONHandler(w, options), nil
	case "text":
		return slog.NewTextHandler(w, options), nil
	}
	return nil, fmt.Errorf("PAYOUTS_LOG_FORMAT must be json or text, not %q", format)
}

func ourKeys(groups []string, attribute slog.Attr) slog.Attr {
	if len(groups) > 0 {
		return attribute
	}
	if attribute.Key == "WorkflowID" {
		if payoutID, is := payout.IDFromWorkflowID(attribute.Value.String()); is {
			return slog.Group("", "workflow_id", attribute.Value, "payout_id", payoutID) // a group without a name is inlined
		}
	}
	attribute.Key = snakeCase(attribute.Key)
	return attribute
}

// snakeCase makes TaskStartedEventID task_started_event_id; what is snake case stays.
func snakeCase(key string) string {
	var result strings.Builder
	previous := '_'
	for _, letter := range key {
		if unicode.IsUpper(letter) && previous != '_' && !unicode.IsUpper(previous) {
			result.WriteByte('_')
		}
		result.WriteRune(unicode.ToLower(letter))
		previous = letter
	}
	return result.String()
}
