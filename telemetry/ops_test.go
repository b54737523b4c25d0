package telemetry_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"pikepayouts/telemetry"
)

func opsConfig(checks ...telemetry.Check) telemetry.OpsConfig {
	return telemetry.OpsConfig{
		Addr: "127.0.0.1:0", Gatherer: prometheus.NewRegistry(), Checks: checks, Logger: slog.New(slog.DiscardHandler),
	}
}

// startOps runs an ops server until the test ends, or stop is called; stop returns Serve's error.
func startOps(t *testing.T, config telemetry.OpsConfig) (ops *telemetry.OpsServer, stop func() error) {
	t.Helper()
	ops, err := telemetry.ListenOps(t.Context(), config)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- ops.Serve(ctx) }()
	var result error
	var stopped bool
	stop = func() error {
		if !stopped {
			cancel()
			result, stopped = <-done, true
		}
		return result
	}
	t.Cleanup(func() { _ = stop() })
	return ops, stop
}

func get(t *testing.T, ops *telemetry.OpsServer, path string) (status int, body string) {
	t.Helper()
	response, err := http.Get("http://" + ops.Addr().String() + path)
	require.NoError(t, err)
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response.StatusCode, string(text)
}

func passing(name string) telemetry.Check {
	return telemetry.Check{Name: name, Run: func(context.Context) error { return nil }}
}

func failing(name, text string) telemetry.Check {
	return telemetry.Check{Name: name, Run: func(context.Context) error { return errors.New(text) }}
}

func TestReadinessListsEveryCheck(t *testing.T) {
	tests := []struct {
		name       string
		checks     []telemetry.Check
		wantStatus int
		want       string
	}{
		{"no checks", nil, 200, `{"status":"ready","checks":{}}`},
		{"all pass", []telemetry.Check{passing("temporal"), passing("search attributes")}, 200,
			`{"status":"ready","checks":{"temporal":"ok","search attributes":"ok"}}`},
		{"one fails", []telemetry.Check{failing("temporal", "connection refused"), passing("search attributes")}, 503,
			`{"status":"not ready","checks":{"temporal":"connection refused","search attributes":"ok"}}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ops, _ := startOps(t, opsConfig(tt.checks...))
			status, body := get(t, ops, "/readyz")
			require.Equal(t, tt.wantStatus, status)
			require.JSONEq(t, tt.want, body)
		})
	}
}

func TestReadinessGoesOffFirstAndHealthStays(t *testing.T) {
	ops, stop := startOps(t, opsConfig(passing("temporal")))
	ops.Stopping()
	status, body := get(t, ops, "/readyz")
	require.Equal(t, 503, status)
	require.JSONEq(t, `{"status":"stopping","checks":{"temporal":"ok"}}`, body)
	status, _ = get(t, ops, "/healthz")
	require.Equal(t, 200, status)
	require.NoError(t, stop())
	_, err := http.Get("http://" + ops.Addr().String() + "/healthz")
	require.Error(t, err, "the port is closed after Serve")
}

// A request in hand when Serve's context ends is told "stopping", although its checks pass.
func TestEndOfServeTurnsReadinessOff(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	var ops *telemetry.OpsServer
	ops, err := telemetry.ListenOps(t.Context(), opsConfig(telemetry.Check{Name: "slow", Run: func(ctx context.Context) error {
		stop()
		for ctx.Err() == nil {
			connection, err := new(net.Dialer).DialContext(ctx, "tcp", ops.Addr().String())
			if err != nil {
				return nil // the port is closed: Serve is on its way down
			}
			_ = connection.Close()
		}
		return ctx.Err()
	}}))
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() { done <- ops.Serve(ctx) }()
	status, body := get(t, ops, "/readyz")
	require.Equal(t, 503, status)
	require.JSONEq(t, `{"status":"stopping","checks":{"slow":"ok"}}`, body)
	require.NoError(t, <-done)
}

func TestHealthDoesNotDependOnChecks(t *testing.T) {
	ops, _ := startOps(t, opsConfig(failing("temporal", "down")))
	status, _ := get(t, ops, "/healthz")
	require.Equal(t, 200, status)
}

func TestACheckIsBounded(t *testing.T) {
	var bounded bool
	ops, _ := startOps(t, opsConfig(telemetry.Check{Name: "slow", Run: func(ctx context.Context) error {
		_, bounded = ctx.Deadline()
		return nil
	}}))
	get(t, ops, "/readyz")
	require.True(t, bounded)
}

func TestMetricsShowTheGivenRegistry(t *testing.T) {
	registry := prometheus.NewRegistry()
	counter := prometheus.NewCounter(prometheus.CounterOpts{Name: "things_total", Help: "Things."})
	registry.MustRegister(counter)
	counter.Add(3)
	config := opsConfig()
	config.Gatherer = registry
	ops, _ := startOps(t, config)
	status, body := get(t, ops, "/metrics")
	require.Equal(t, 200, status)
	require.Contains(t, body, "things_total 3")
	require.NotContains(t, body, "go_goroutines", "nothing but the given registry")
}

// TestOneBadMetricHidesNoOther: it is logged, and the scrape shows the rest.
func TestOneBadMetricHidesNoOther(t *testing.T) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(prometheus.NewCounter(prometheus.CounterOpts{Name: "things_total", Help: "Things."}), badCollector{})
	var logged bytes.Buffer
	config := opsConfig()
	config.Gatherer, config.Logger = registry, slog.New(slog.NewTextHandler(&logged, nil))
	ops, stop := startOps(t, config)
	status, body := get(t, ops, "/metrics")
	require.Equal(t, 200, status)
	require.Contains(t, body, "things_total 0")
	require.NoError(t, stop())
	require.Contains(t, logged.String(), "no count")
}

// badCollector has nothing to show but an error.
type badCollector struct{}

var badMetric = prometheus.NewDesc("bad", "Bad.", nil, nil)

func (badCollector) Describe(descriptions chan<- *prometheus.Desc) { descriptions <- badMetric }

func (badCollector) Collect(metrics chan<- prometheus.Metric) {
	metrics <- prometheus.NewInvalidMetric(badMetric, errors.New("no count"))
}

func TestOnlyThreePathsAndOnlyGET(t *testing.T) {
	ops, _ := startOps(t, opsConfig())
	for _, path := range []string{"/", "/debug/pprof/", "/healthz/x"} {
		status, _ := get(t, ops, path)
		require.Equal(t, 404, status, path)
	}
	response, err := http.Post("http://"+ops.Addr().String()+"/healthz", "text/plain", nil)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Equal(t, 405, response.StatusCode)
}

func TestListenOpsRefuses(t *testing.T) {
	taken, _ := startOps(t, opsConfig())
	portTaken := opsConfig()
	portTaken.Addr = taken.Addr().String()
	noLogger := opsConfig()
	noLogger.Logger = nil
	tests := map[string]struct {
		config telemetry.OpsConfig
		want   string
	}{
		"port taken":     {portTaken, "opening the ops port"},
		"no logger":      {noLogger, "logger"},
		"same name":      {opsConfig(passing("a"), passing("a")), `two checks are named "a"`},
		"nameless":       {opsConfig(passing("")), "needs a name"},
		"empty function": {opsConfig(telemetry.Check{Name: "a"}), "needs a name and a function"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := telemetry.ListenOps(t.Context(), tt.config)
			require.ErrorContains(t, err, tt.want)
		})
	}
}
