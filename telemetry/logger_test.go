package telemetry_test

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

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
