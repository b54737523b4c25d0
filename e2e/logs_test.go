package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"pikepayouts/payout"
	"pikepayouts/pikesim"
	"pikepayouts/webhookgw"
)

// logTap keeps all that a process logs.
type logTap struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write implements io.Writer.
func (l *logTap) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logTap) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// logLine is one line; every value is text or whatever JSON made of it.
type logLine map[string]any

// lines requires that each is a JSON object that names no key twice.
func (l *logTap) lines(t *testing.T) []logLine {
	t.Helper()
	var lines []logLine
	for text := range strings.Lines(l.String()) {
		line := logLine{}
		require.NoError(t, json.Unmarshal([]byte(text), &line), text)
		require.Len(t, line, strings.Count(topLevel(t, text), "|"), "a key twice: %s", text)
		lines = append(lines, line)
	}
	return lines
}

// topLevel are the keys of the object, each with a | behind it.
func topLevel(t *testing.T, object string) string {
	t.Helper()
	decoder := json.NewDecoder(strings.NewReader(object))
	_, err := decoder.Token()
	require.NoError(t, err)
	var keys strings.Builder
	for decoder.More() {
		key, err := decoder.Token()
		require.NoError(t, err)
		var value json.RawMessage
		require.NoError(t, decoder.Decode(&value))
		keys.WriteString(key.(string) + "|")
	}
	return keys.String()
}

// startLogged starts a process, and keeps its log beside the line that says it runs.
func startLogged(t *testing.T, message string, environment []string, arguments ...string) (*process, startLine, *logTap) {
	t.Helper()
	binary, err := buildBinary()
	require.NoError(t, err)
	start, tap := newStartLog(message), &logTap{}
	p := startCommand(t, io.MultiWriter(tap, start), environment, binary, arguments...)
	return p, start.await(t), tap
}

func gatewayEnvironment(t *testing.T) []string {
	t.Helper()
	return []string{
		"TEMPORAL_ADDRESS=" + shared.address, "WEBHOOKGW_ADDR=127.0.0.1:0",
		"PIKE_WEBHOOK_PUBLIC_KEYS=" + publicPEM(t, &shared.pikeKey.PublicKey),
	}
}

// TestLogsOfRealProcesses: at the level that says most, every line is JSON, a line about a payout
// names it, its workflow and where it is known its session, and none holds a secret.
func TestLogsOfRealProcesses(t *testing.T) {
	t.Parallel()
	c := newCollector(t)
	verbose := append(c.environment(), "PAYOUTS_LOG_LEVEL=debug",
		"OTEL_EXPORTER_OTLP_HEADERS=authorization=CanaryHeader,CanaryHeader", "OTEL_TRACES_SAMPLER=nonsense") // OpenTelemetry complains of both
	gateway, gatewayLine, gatewayLog := startLogged(t, "gateway runs", append(gatewayEnvironment(t), verbose...), "webhookgw")
	s := newStack(t, stackOptions{noWorker: true, webhooks: strings.TrimSuffix(gatewayLine.Webhooks, webhookgw.DefaultPath)})
	worker, _, workerLog := startLogged(t, "worker runs", append(workerEnvironment(t, s, s.simURL), verbose...), "worker")
	r := order(t, pikesim.PresetConfirmed)
	s.behave(r, `{"lost_answers":["create"]}`) // the SDK logs the activity that fails
	s.startByCLI(r, nil)
	status := s.wait(r)
	require.Equal(t, http.StatusOK, post(t, strings.TrimSuffix(gatewayLine.Webhooks, webhookgw.DefaultPath), webhook("payment_finished", "ps_nobody", "nobody"), shared.pikeKey))
	worker.stop()
	gateway.stop()
	workerLines, gatewayLines := linesAbout(workerLog.lines(t), r.PayoutID), linesAbout(gatewayLog.lines(t), r.PayoutID)

	require.Greater(t, len(workerLines), 5)
	for _, line := range workerLines {
		require.Equal(t, r.PayoutID, line["payout_id"], line)
		require.Equal(t, payout.WorkflowID(r.PayoutID), line["workflow_id"], line)
		require.NotEmpty(t, line["run_id"], line)
	}
	ended := named(workerLines, "payout ended")
	require.Len(t, ended, 1)
	require.Equal(t, status.SessionID, ended[0]["session_id"])
	require.Len(t, ended[0]["trace_id"], 32)
	require.Len(t, named(workerLines, "Activity error."), 1)

	require.Len(t, gatewayLines, 2)
	for _, line := range gatewayLines {
		require.Equal(t, r.PayoutID, line["payout_id"], line)
		require.Equal(t, status.SessionID, line["session_id"], line)
		require.Equal(t, payout.WorkflowID(r.PayoutID), line["workflow_id"], line)
		require.Len(t, line["trace_id"], 32)
	}
	kept := linesAbout(gatewayLog.lines(t), "nobody")
	require.Len(t, kept, 1)
	require.True(t, payout.IsLateEventWorkflowID(fmt.Sprint(kept[0]["workflow_id"])), kept[0])

	for _, secret := range []string{string(r.Destination.TokenizedCard.Token), recipientName, "CanaryHeader"} {
		require.NotContains(t, workerLog.String()+gatewayLog.String(), secret)
	}
}

// linesAbout are those that have the text in any value.
func linesAbout(lines []logLine, text string) []logLine {
	return slices.DeleteFunc(lines, func(line logLine) bool { return !strings.Contains(fmt.Sprint(line), text) })
}

func named(lines []logLine, message string) []logLine {
	return slices.DeleteFunc(slices.Clone(lines), func(line logLine) bool { return line["msg"] != message })
}
