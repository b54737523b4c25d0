package telemetry_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"
	sdklog "go.temporal.io/sdk/log"

	"pikepayouts/telemetry"
)

func TestLoggerHidesWhatIsBelowItsLevel(t *testing.T) {
	shown := map[string][]string{
		"debug": {"debug", "info", "warn", "error"}, "info": {"info", "warn", "error"},
		"warn": {"warn", "error"}, "error": {"error"},
	}
	for level, want := range shown {
		var out bytes.Buffer
		log, err := telemetry.NewLogger(&out, level, "json")
		require.NoError(t, err)
		log.Debug("debug")
		log.Info("info")
		log.Warn("warn")
		log.Error("error")
		var got []string
		for _, line := range bytes.Split(bytes.TrimSpace(out.Bytes()), []byte("\n")) {
			var entry struct{ Msg string }
			require.NoError(t, json.Unmarshal(line, &entry))
			got = append(got, entry.Msg)
		}
		require.Equal(t, want, got, level)
	}
}

func TestLoggerWritesText(t *testing.T) {
	var out bytes.Buffer
	log, err := telemetry.NewLogger(&out, "info", "text")
	require.NoError(t, err)
	log.Info("hello", "n", 1)
	require.Contains(t, out.String(), "level=INFO msg=hello n=1")
}

func TestLoggerNamesEveryBadVariable(t *testing.T) {
	tests := []struct {
		level, format string
		want          []string
	}{
		{"loud", "json", []string{"PAYOUTS_LOG_LEVEL", `"loud"`}},
		{"INFO", "json", []string{"PAYOUTS_LOG_LEVEL"}},
		{"info+1", "json", []string{"PAYOUTS_LOG_LEVEL"}},
		{"info", "xml", []string{"PAYOUTS_LOG_FORMAT", `"xml"`}},
		{"", "", []string{"PAYOUTS_LOG_LEVEL", "PAYOUTS_LOG_FORMAT"}},
	}
	for _, tt := range tests {
		_, err := telemetry.NewLogger(&bytes.Buffer{}, tt.level, tt.format)
		for _, want := range tt.want {
			require.ErrorContains(t, err, want)
		}
	}
}

// TestKeysOfTheTemporalSDKBecomeOurs: one name for one thing, and a payout has its id on each line.
func TestKeysOfTheTemporalSDKBecomeOurs(t *testing.T) {
	var out bytes.Buffer
	log, err := telemetry.NewLogger(&out, "info", "json")
	require.NoError(t, err)
	sdk := sdklog.With(sdklog.NewStructuredLogger(log), "WorkflowID", "payout/inv-1", "RunID", "r1", "TaskStartedEventID", 7)
	sdk.Info("a payout", "session_id", "ps_1", "Error", errors.New("no"))
	log.Info("another workflow", "WorkflowID", "payout-event/ps_1/00", "TraceID", "t1")
	log.Info("ours", slog.Group("Group", "KeyOfAGroup", 1))
	var got []map[string]any
	for line := range bytes.Lines(out.Bytes()) {
		var entry map[string]any
		require.NoError(t, json.Unmarshal(line, &entry))
		delete(entry, "time")
		got = append(got, entry)
	}
	require.Equal(t, []map[string]any{
		{"level": "INFO", "msg": "a payout", "workflow_id": "payout/inv-1", "payout_id": "inv-1", "run_id": "r1", "task_started_event_id": 7.0,
			"session_id": "ps_1", "error": "no"},
		{"level": "INFO", "msg": "another workflow", "workflow_id": "payout-event/ps_1/00", "trace_id": "t1"},
		{"level": "INFO", "msg": "ours", "Group": map[string]any{"KeyOfAGroup": 1.0}},
	}, got)
}
