package main

import (
	"context"
	"io"
	"net"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/testsuite"
)

// TestWorkerNeedsSetup goes the first steps of an operator on a new server.
func TestWorkerNeedsSetup(t *testing.T) {
	server, err := testsuite.StartDevServer(t.Context(), testsuite.DevServerOptions{
		ExistingPath: temporalCLI(t), LogLevel: "error", Stdout: io.Discard, Stderr: os.Stderr,
		ClientOptions: &client.Options{Logger: log.NewStructuredLogger(quietLogger())},
	})
	require.NoError(t, err)
	t.Cleanup(func() { _ = server.Stop() })
	ops := freeAddress(t)
	environment := noProfile(t, map[string]string{
		"TEMPORAL_ADDRESS": server.FrontendHostPort(), "PAYOUTS_OPS_ADDR": ops,
		"PIKE_BASE_URL": "https://pike.example", "PIKE_PROJECT": "p1", "PIKE_PRIVATE_KEY_FILE": keyFiles(t).Private,
	})

	early := runWith(t.Context(), environment, "worker")
	require.Equal(t, exitFailed, early.code)
	require.Contains(t, early.stderr, "run `payouts setup` once")
	require.Contains(t, early.stderr, "PayoutState")

	first := runWith(t.Context(), environment, "setup")
	require.Equal(t, exitDone, first.code, first.stderr)
	require.Regexp(t, `Added +PayoutAmount, PayoutAttention, PayoutCurrency, PayoutState, PikeSessionId\nThere already +nothing`, first.stdout)
	second := runWith(t.Context(), environment, "setup")
	require.Equal(t, exitDone, second.code, second.stderr)
	require.Regexp(t, `Added +nothing\nThere already +PayoutAmount, `, second.stdout)

	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan answer)
	go func() { ended <- runWith(ctx, environment, "worker") }()
	require.NoError(t, poll(t.Context(), 20*time.Millisecond, func(context.Context) bool {
		return runWith(t.Context(), environment, "healthcheck").code == exitDone
	}))
	stop()
	result := <-ended
	require.Equal(t, exitDone, result.code, result.stderr)
	require.Contains(t, result.stderr, `"task_queue":"payouts"`)
	require.Equal(t, exitFailed, runWith(t.Context(), environment, "healthcheck").code)
}

func freeAddress(t *testing.T) string {
	port, err := freePort(t.Context(), 0)
	require.NoError(t, err)
	return net.JoinHostPort(localhost, strconv.Itoa(port))
}
