package main

import (
	"bytes"
	"context"
	"crypto/rsa"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/sethvargo/go-envconfig"
	"github.com/stretchr/testify/require"

	"pikepayouts/config"
	"pikepayouts/pikesim"
	"pikepayouts/telemetry"
)

// runWith runs a command line in an environment.
func runWith(ctx context.Context, environment map[string]string, args ...string) answer {
	var stdout, stderr bytes.Buffer
	code := run(ctx, args, strings.NewReader(""), &stdout, &stderr, envconfig.MapLookuper(environment))
	return answer{code, stdout.String(), stderr.String()}
}

// noProfile keeps a developer's own Temporal profile out of the tests.
func noProfile(t *testing.T, more map[string]string) map[string]string {
	environment := map[string]string{"TEMPORAL_CONFIG_FILE": filepath.Join(t.TempDir(), "none.toml")}
	for name, value := range more {
		environment[name] = value
	}
	return environment
}

func keyFiles(t *testing.T) keyPair {
	t.Helper()
	files, err := makeKeyPair(filepath.Join(t.TempDir(), "test"), 2048)
	require.NoError(t, err)
	return files
}

// occupied is an address that cannot be opened: a process that tries anyhow fails with another code.
func occupied(t *testing.T) string {
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	return listener.Addr().String()
}

func TestEveryMissingVariableAtOnce(t *testing.T) {
	taken := occupied(t)
	tests := map[string][]string{
		"worker":     {"PIKE_BASE_URL", "PIKE_PROJECT", "PIKE_PRIVATE_KEY_FILE"},
		"webhookgw":  {"PIKE_WEBHOOK_PUBLIC_KEY_FILES"},
		"token-info": {"PIKE_BASE_URL", "PIKE_PROJECT", "PIKE_PRIVATE_KEY_FILE"},
	}
	for command, variables := range tests {
		t.Run(command, func(t *testing.T) {
			args := []string{command}
			if command == "token-info" {
				args = append(args, "--token", testToken)
			}
			got := runWith(t.Context(), noProfile(t, map[string]string{"PAYOUTS_OPS_ADDR": taken, "WEBHOOKGW_ADDR": "127.0.0.1:0"}), args...)
			require.Equal(t, exitUsage, got.code)
			lines := strings.Split(strings.TrimSpace(got.stderr), "\n")
			require.Len(t, lines, 1+len(variables), got.stderr)
			for i, variable := range variables {
				require.True(t, strings.HasPrefix(lines[i+1], "  "+variable+" is missing: set "), lines[i+1])
			}
		})
	}
}

func TestBadConfigurationOfACaller(t *testing.T) {
	got := runWith(t.Context(), noProfile(t, map[string]string{"TEMPORAL_ADDRESS": "temporal"}), "status", "inv-1")
	require.Equal(t, exitUsage, got.code)
	require.Contains(t, got.stderr, "TEMPORAL_ADDRESS must be host:port")
}

func TestTemporalIsAway(t *testing.T) {
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := listener.Addr().String()
	require.NoError(t, listener.Close())
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	keys := keyFiles(t)
	environment := noProfile(t, map[string]string{
		"TEMPORAL_ADDRESS": address, "PIKE_BASE_URL": "https://pike.example", "PIKE_PROJECT": "p1", "PIKE_PRIVATE_KEY_FILE": keys.Private,
		"PIKE_WEBHOOK_PUBLIC_KEY_FILES": keys.Public, "PAYOUTS_OPS_ADDR": "127.0.0.1:0", "WEBHOOKGW_ADDR": "127.0.0.1:0",
	})
	for _, args := range [][]string{{"worker"}, {"webhookgw"}, {"setup"}, {"list"}} {
		got := runWith(ctx, environment, args...)
		require.Equal(t, exitFailed, got.code, args)
		require.Contains(t, got.stderr, address)
		require.Contains(t, got.stderr, "TEMPORAL_ADDRESS")
	}
}

func TestSimulatorFlags(t *testing.T) {
	keys := keyFiles(t)
	good := []string{"pikesim", "--addr", "127.0.0.1:0", "--project", "p1", "--partner-key", keys.Public}
	tests := []struct {
		name string
		args []string
		want []string
	}{
		{"nothing", []string{"pikesim"}, []string{"--project is required", "--partner-key is required"}},
		{"private for public", []string{"pikesim", "--project", "p1", "--partner-key", keys.Private}, []string{"--partner-key " + keys.Private, "this is a private key"}},
		{"public for private", append(good, "--signing-key", keys.Public, "--webhook-url", "http://127.0.0.1:1/"), []string{"--signing-key " + keys.Public}},
		{"unsigned webhooks", append(good, "--webhook-url", "http://127.0.0.1:1/"), []string{"--webhook-url needs --signing-key"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := runWith(t.Context(), nil, tt.args...)
			require.Equal(t, exitUsage, got.code, got.stderr)
			for _, want := range tt.want {
				require.Contains(t, got.stderr, want)
			}
		})
	}
	got := runWith(t.Context(), nil, append(good, "--addr", occupied(t))...)
	require.Equal(t, exitFailed, got.code)
	require.Contains(t, got.stderr, "--addr: ")
}

func TestSimulatorStopsWhenToldTo(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	got := runWith(ctx, nil, "pikesim", "--addr", "127.0.0.1:0", "--project", "p1", "--partner-key", keyFiles(t).Public)
	require.Equal(t, exitDone, got.code, got.stderr)
	require.Contains(t, got.stderr, "simulator runs")
}

func TestPresets(t *testing.T) {
	got := runWith(t.Context(), nil, "pikesim", "presets")
	require.Equal(t, exitDone, got.code)
	for _, preset := range pikesim.Presets() {
		require.Contains(t, got.stdout, string(preset.Name))
		require.Contains(t, got.stdout, pikesim.Token(preset.Name))
	}
}

func TestTokenInfo(t *testing.T) {
	keys := keyFiles(t)
	partner, err := config.ReadPublicKeys(keys.Public)
	require.NoError(t, err)
	sim, err := pikesim.New(pikesim.Config{PartnerKeys: []*rsa.PublicKey{partner[0]}, Project: "p1"})
	require.NoError(t, err)
	server := httptest.NewServer(sim.Handler())
	defer server.Close()
	environment := map[string]string{"PIKE_BASE_URL": server.URL, "PIKE_PROJECT": "p1", "PIKE_PRIVATE_KEY_FILE": keys.Private}

	got := runWith(t.Context(), environment, "token-info", "--token", testToken)
	require.Equal(t, exitDone, got.code, got.stderr)
	require.Regexp(t, `(?m)^Last digits +\d{4}$`, got.stdout)

	environment["PIKE_PROJECT"] = "another"
	got = runWith(t.Context(), environment, "token-info", "--token", testToken)
	require.Equal(t, exitFailed, got.code)
	require.NotContains(t, got.stderr, testToken)

	require.Equal(t, exitUsage, runWith(t.Context(), environment, "token-info").code)
}

// TestWayDown: readiness is off while work is still ending, and the ops port answers until it has ended.
func TestWayDown(t *testing.T) {
	ops, err := telemetry.ListenOps(t.Context(), telemetry.OpsConfig{
		Addr: "127.0.0.1:0", Gatherer: prometheus.NewRegistry(), Logger: slog.New(slog.DiscardHandler),
	})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	readiness := func() int {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+ops.Addr().String()+"/readyz", nil)
		require.NoError(t, err)
		response, err := (&http.Client{Timeout: 5 * time.Second}).Do(request)
		require.NoError(t, err)
		defer func() { _ = response.Body.Close() }()
		return response.StatusCode
	}
	workFailed := errors.New("the work failed")
	err = serveWithOps(ctx, ops, func(ctx context.Context) error {
		require.Equal(t, http.StatusOK, readiness())
		cancel()
		<-ctx.Done()
		require.Eventually(t, func() bool { return readiness() == http.StatusServiceUnavailable }, 5*time.Second, time.Millisecond)
		return workFailed
	})
	require.ErrorIs(t, err, workFailed)
}

func TestHealthcheck(t *testing.T) {
	status := http.StatusOK
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/readyz" {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		w.WriteHeader(status)
	}))
	environment := map[string]string{"PAYOUTS_OPS_ADDR": strings.TrimPrefix(server.URL, "http://")}
	require.Equal(t, exitDone, runWith(t.Context(), environment, "healthcheck").code)
	require.Equal(t, exitDone, runWith(t.Context(), nil, "healthcheck", server.URL+"/readyz").code)
	status = http.StatusServiceUnavailable
	require.Equal(t, exitFailed, runWith(t.Context(), environment, "healthcheck").code)
	server.Close()
	require.Equal(t, exitFailed, runWith(t.Context(), environment, "healthcheck").code)
}

// TestPollersCheck: not ready before the worker polls, nor once it has stopped.
func TestPollersCheck(t *testing.T) {
	registry := prometheus.NewRegistry()
	check := pollersCheck(registry)
	require.Error(t, check.Run(t.Context()))
	handler, err := telemetry.NewTemporalMetrics(registry, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	pollers := handler.WithTags(map[string]string{"poller_type": "workflow_task"}).Gauge("temporal_num_pollers")
	pollers.Update(2)
	require.NoError(t, check.Run(t.Context()))
	pollers.Update(0)
	require.Error(t, check.Run(t.Context()))
}

func TestAcceptsCheck(t *testing.T) {
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", ":0")
	require.NoError(t, err)
	check := acceptsCheck(listener.Addr())
	require.NoError(t, check.Run(t.Context()))
	require.NoError(t, listener.Close())
	require.Error(t, check.Run(t.Context()))
}
