package activities_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/stretchr/testify/require"

	"pikepayouts/activities"
	"pikepayouts/pike"
)

func measured(t *testing.T, provider activities.Pike) (activities.Pike, *prometheus.Registry) {
	t.Helper()
	registry := prometheus.NewRegistry()
	m, err := activities.Measured(provider, registry)
	require.NoError(t, err)
	return m, registry
}

// scrape is what /metrics shows of the names that begin so, line by line.
func scrape(t *testing.T, registry *prometheus.Registry, prefix string) []string {
	t.Helper()
	answer := httptest.NewRecorder()
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", http.NoBody))
	require.Equal(t, http.StatusOK, answer.Code)
	var lines []string
	for line := range strings.Lines(answer.Body.String()) {
		if strings.HasPrefix(line, prefix) {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines
}

// counted are the calls of each kind that happened.
func counted(t *testing.T, registry *prometheus.Registry) []string {
	t.Helper()
	lines := scrape(t, registry, "pike_request_seconds_count")
	require.Len(t, lines, 5*4, "what has not happened is 0, not absent, and nothing comes in later")
	return slices.DeleteFunc(lines, func(line string) bool { return strings.HasSuffix(line, " 0") })
}

// TestMeasuredMethodsAreThoseOfPike: the label is the path that Pike's client really calls.
func TestMeasuredMethodsAreThoseOfPike(t *testing.T) {
	var want []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		method := strings.TrimPrefix(r.URL.Path, "/api/v1/")
		want = append(want, `pike_request_seconds_count{method="`+method+`",outcome="refused"} 1`)
		_, _ = w.Write([]byte(`{"status":"error","error":{"code":"invalid_request","description":"no"}}`))
	}))
	defer server.Close()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	client, err := pike.NewClient(pike.Config{BaseURL: server.URL, Project: "p", Signer: key})
	require.NoError(t, err)
	m, registry := measured(t, client)
	for _, call := range callsOf(m) {
		_, err := call(t.Context())
		require.ErrorIs(t, err, pike.ErrRefused)
	}
	require.Len(t, want, 5)
	require.ElementsMatch(t, want, counted(t, registry))
}

func callsOf(provider activities.Pike) []func(context.Context) (pike.Session, error) {
	return []func(context.Context) (pike.Session, error){
		func(ctx context.Context) (pike.Session, error) {
			return provider.CreateSession(ctx, pike.CreateSessionRequest{Metadata: "p1"}, "key")
		},
		func(ctx context.Context) (pike.Session, error) {
			return provider.StartPayout(ctx, pike.StartPayoutRequest{SessionID: "ps_1"}, "key")
		},
		func(ctx context.Context) (pike.Session, error) { return provider.ConfirmSession(ctx, "ps_1", "key") },
		func(ctx context.Context) (pike.Session, error) { return provider.CancelSession(ctx, "ps_1", "key") },
		func(ctx context.Context) (pike.Session, error) { return provider.SessionStatus(ctx, "ps_1") },
	}
}

// slowPike answers a status read after a time, with the session or the error.
type slowPike struct {
	activities.Pike
	after time.Duration
	err   error
}

func (s slowPike) SessionStatus(_ context.Context, sessionID string) (pike.Session, error) {
	time.Sleep(s.after)
	return pike.Session{ID: sessionID}, s.err
}

func TestMeasuredOutcomes(t *testing.T) {
	for outcome, failure := range map[string]error{
		"done":     nil,
		"refused":  &pike.Error{Outcome: pike.Refused},
		"not_sent": &pike.Error{Outcome: pike.NotSent},
		"unknown":  &pike.Error{Outcome: pike.Unknown},
	} {
		m, registry := measured(t, slowPike{err: failure})
		session, err := m.SessionStatus(t.Context(), "ps_1")
		require.Equal(t, "ps_1", session.ID)
		require.Equal(t, failure, err, "the wrapper changes nothing")
		require.Equal(t, []string{`pike_request_seconds_count{method="session/status",outcome="` + outcome + `"} 1`}, counted(t, registry))
	}
	m, registry := measured(t, slowPike{err: errors.New("another kind")})
	_, err := m.SessionStatus(t.Context(), "ps_1")
	require.Error(t, err)
	require.Equal(t, []string{`pike_request_seconds_count{method="session/status",outcome="unknown"} 1`}, counted(t, registry))
}

// TestATimedOutCallHasABucket: pike.MaxTimeout and a little more can be told from less.
func TestATimedOutCallHasABucket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, registry := measured(t, slowPike{after: pike.MaxTimeout + 10*time.Millisecond})
		_, err := m.SessionStatus(t.Context(), "ps_1")
		require.NoError(t, err)
		lines := scrape(t, registry, "pike_request_seconds")
		require.Contains(t, lines, `pike_request_seconds_bucket{method="session/status",outcome="done",le="30"} 0`)
		require.Contains(t, lines, `pike_request_seconds_bucket{method="session/status",outcome="done",le="40"} 1`)
		require.Contains(t, lines, `pike_request_seconds_sum{method="session/status",outcome="done"} 30.01`)
	})
}

func TestARegistryMeasuresOnePike(t *testing.T) {
	m, registry := measured(t, slowPike{})
	_, err := activities.Measured(m, registry)
	require.ErrorContains(t, err, "registering metrics")
}
