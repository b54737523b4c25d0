package e2e

import (
	"encoding/json"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// readinessOf is what /readyz says of each check.
func readinessOf(t *testing.T, ops string) (ready bool, checks map[string]string) {
	t.Helper()
	response, err := opsClient.Get("http://" + ops + "/readyz")
	require.NoError(t, err)
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	var answer struct{ Checks map[string]string }
	require.NoError(t, json.Unmarshal(body, &answer), string(body))
	return response.StatusCode == http.StatusOK, answer.Checks
}

// TestReadinessOfRealProcesses: a worker is ready when it polls, a gateway when it accepts, and both while Temporal answers.
func TestReadinessOfRealProcesses(t *testing.T) {
	t.Parallel()
	s := newStack(t, stackOptions{noWorker: true})
	toTemporal := newLink(t, shared.address)
	address := "TEMPORAL_ADDRESS=" + toTemporal.address
	worker := startWorkerProcess(t, append(workerEnvironment(t, s, s.simURL), address))
	gateway := startGatewayProcess(t, address)
	for ops, own := range map[string]string{worker.ops: "pollers", gateway.ops: "webhook port"} {
		require.Eventually(t, func() bool { ready, _ := readinessOf(t, ops); return ready }, time.Minute, 50*time.Millisecond)
		_, checks := readinessOf(t, ops)
		require.Equal(t, map[string]string{"temporal": "ok", own: "ok"}, checks)
	}
	toTemporal.become(networkCut)
	for _, ops := range []string{worker.ops, gateway.ops} {
		require.Eventually(t, func() bool { ready, _ := readinessOf(t, ops); return !ready }, time.Minute, 50*time.Millisecond)
	}
	toTemporal.become(networkFine)
	for _, ops := range []string{worker.ops, gateway.ops} {
		require.Eventually(t, func() bool { ready, _ := readinessOf(t, ops); return ready }, 2*time.Minute, 50*time.Millisecond)
	}
}
