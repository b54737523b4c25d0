package e2e

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"pikepayouts/payout"
	"pikepayouts/pikesim"
	"pikepayouts/starter"
	"pikepayouts/webhookgw"
)

// database is Temporal's, of a test's own.
type database string

func newDatabase(t *testing.T) database {
	t.Helper()
	folder, err := os.MkdirTemp(shared.evidence.folder, "database-")
	require.NoError(t, err)
	return database(filepath.Join(folder, "temporal.db"))
}

// copyTo copies what the server has left behind, as a backup or to restore one.
func (d database) copyTo(t *testing.T, other database) {
	t.Helper()
	files, err := filepath.Glob(string(d) + "*")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		content, err := os.ReadFile(file)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(string(other)+strings.TrimPrefix(file, string(d)), content, 0o600))
	}
}

// served runs do while Temporal serves the database. The environment is that of a worker of the stack.
func (d database) served(s *stack, do func(s *stack, environment []string)) {
	s.t.Helper()
	server, err := serveDatabase(testContext(s.t), string(d))
	require.NoError(s.t, err)
	defer func() { require.NoError(s.t, server.Stop()) }()
	temporal, err := dialTemporal(server.FrontendHostPort())
	require.NoError(s.t, err)
	defer temporal.Close()
	own := *s
	own.starter = starter.New(temporal, starter.Options{TaskQueue: s.taskQueue, DataConverter: temporalOptions("").DataConverter})
	do(&own, append(workerEnvironment(s.t, s, s.simURL), "TEMPORAL_ADDRESS="+server.FrontendHostPort()))
}

const observeOnly = "PAYOUTS_OBSERVE_ONLY=true"

// TestARestoredDatabaseMovesNoMoney restores a backup from before payouts were started, confirmed and paid, and
// goes through it as docs/runbook.md says: whatever Temporal has forgotten is paid once (hazards A15, X25, F46).
func TestARestoredDatabaseMovesNoMoney(t *testing.T) {
	t.Parallel()
	s := newStack(t, stackOptions{noWorker: true, keysOff: true}) // only what is read of Pike's status may help
	s.control("modes", leastHelpful)
	confirmed := order(t, pikesim.PresetWebhooksLost, manual)
	started := order(t, pikesim.PresetWebhooksLost)
	underWay := order(t, pikesim.PresetNeverReadyCancellable)
	open := order(t, pikesim.PresetWebhooksLost, manual)
	begunSince := order(t, pikesim.PresetWebhooksLost)
	temporal, backup := newDatabase(t), newDatabase(t)

	temporal.served(s, func(s *stack, environment []string) {
		w := startProcess(t, environment, "worker")
		for _, r := range []payout.Request{confirmed, open} {
			s.start(r)
			s.eventually(r, payout.StateAwaitingDecision)
		}
		w.stop()
		w = startProcess(t, append(environment, observeOnly), "worker") // so that it has a session and no start
		for _, r := range []payout.Request{started, underWay} {
			s.start(r)
			s.eventuallyHeld(r)
		}
		w.stop()
	})
	temporal.copyTo(t, backup)
	temporal.served(s, func(s *stack, environment []string) {
		w := startProcess(t, environment, "worker")
		_, err := s.starter.Confirm(testContext(t), confirmed.PayoutID, "ann", "")
		require.NoError(t, err)
		s.start(begunSince)
		s.eventually(underWay, payout.StateAwaitingReady)
		for _, r := range []payout.Request{confirmed, started, begunSince} {
			require.Equal(t, payout.StateSucceeded, s.wait(r).State)
		}
		w.stop()
	})
	backup.copyTo(t, temporal)

	temporal.served(s, func(s *stack, environment []string) {
		w := startProcess(t, append(environment, observeOnly), "worker")
		s.eventually(underWay, payout.StateAwaitingReady)
		for _, r := range []payout.Request{confirmed, started} {
			status := s.wait(r)
			require.Equal(t, payout.StateSucceeded, status.State)
			require.Equal(t, payout.AttentionPaidWithoutConfirm, attention(status), "its confirm is forgotten")
		}
		s.requireStaysOpen(open)
		s.requireItsWebhookIsALateEvent(begunSince, environment)
		w.stop()

		startProcess(t, environment, "worker")
		_, err := s.starter.Confirm(testContext(t), open.PayoutID, "ann", "")
		require.NoError(t, err)
		require.Equal(t, payout.StateSucceeded, s.wait(open).State)
		s.cancelOnceUndecided(underWay)
		require.Equal(t, payout.StateCancelled, s.wait(underWay).State)
	})
	require.Equal(t, 1, s.calls(underWay, "session/start/payout"))
	for _, r := range []payout.Request{confirmed, started, open, begunSince} {
		require.Len(t, s.ledger(r).Movements, 1)
		require.Equal(t, 1, s.calls(r, "session/start/payout"))
		require.Equal(t, 1, s.calls(r, "session/confirm"))
	}
}

// eventuallyHeld waits until a worker that observes only holds the payout.
func (s *stack) eventuallyHeld(r payout.Request) {
	s.t.Helper()
	require.Eventually(s.t, func() bool {
		status, err := s.starter.Get(testContext(s.t), r.PayoutID)
		return err == nil && strings.Contains(status.NextStep, "PAYOUTS_OBSERVE_ONLY")
	}, time.Minute, 50*time.Millisecond, "%s is not held", r.PayoutID)
}

func (s *stack) requireStaysOpen(r payout.Request) {
	s.t.Helper()
	status, err := s.starter.Get(testContext(s.t), r.PayoutID)
	require.NoError(s.t, err)
	require.Equal(s.t, payout.StateAwaitingDecision, status.State)
	require.Nil(s.t, status.Attention)
}

// requireItsWebhookIsALateEvent delivers the webhook of a payout that Temporal has forgotten altogether.
func (s *stack) requireItsWebhookIsALateEvent(r payout.Request, environment []string) {
	s.t.Helper()
	_, err := s.starter.Get(testContext(s.t), r.PayoutID)
	require.ErrorIs(s.t, err, starter.ErrNotFound)
	gateway := startGatewayProcess(s.t, environment...)
	defer gateway.stop()
	session := s.ledger(r).Accepted[0].SessionID
	require.Equal(s.t, http.StatusOK, post(s.t, strings.TrimSuffix(gateway.url, webhookgw.DefaultPath), webhookOf("payment_finished", session, r.PayoutID, "accepted", "succeeded"), shared.pikeKey))
	require.Contains(s.t, s.eventuallyLate(session, needsPerson).Finding, "knows no payout "+r.PayoutID)
}
