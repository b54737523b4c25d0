package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/sethvargo/go-envconfig"
	"github.com/spf13/cobra"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/log"
	"google.golang.org/grpc"

	"pikepayouts/codec"
	"pikepayouts/config"
	"pikepayouts/telemetry"
)

// dialTimeout bounds the first contact with Temporal.
const dialTimeout = 10 * time.Second

// dialTemporal connects, or says which variable to look at.
func dialTemporal(ctx context.Context, options client.Options, logger *slog.Logger, dial ...grpc.DialOption) (client.Client, error) {
	options.Logger = log.NewStructuredLogger(logger)
	options.HostPort = cmp.Or(options.HostPort, client.DefaultHostPort)
	options.ConnectionOptions.DialOptions = append(options.ConnectionOptions.DialOptions, dial...)
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	c, err := client.DialContext(ctx, options)
	if err != nil {
		return nil, fmt.Errorf("cannot reach Temporal at %s: %w\nSet TEMPORAL_ADDRESS to your server, or start one with `make dev`", options.HostPort, err)
	}
	return c, nil
}

// newTraces returns traces that are off unless OTEL_* asks for them. They are to be stopped at the end.
func newTraces(ctx context.Context, on bool, service string, logger *slog.Logger) (*telemetry.Traces, error) {
	if !on {
		return new(telemetry.Traces), nil
	}
	traces, err := telemetry.NewTraces(ctx, service, logger)
	if err != nil {
		return nil, fmt.Errorf("making traces: %w", err)
	}
	logger.Info("traces are exported")
	return traces, nil
}

// quietLogger is for commands that a person waits for: errors are returned, not logged.
func quietLogger() *slog.Logger { return slog.New(slog.DiscardHandler) }

// process is what a long-running command does: its configuration, its log, then run.
func process[T interface{ Logging() config.Log }](
	a *app, load func(context.Context, envconfig.Lookuper) (T, error), run func(context.Context, T, *slog.Logger) error,
) func(*cobra.Command, []string) error {
	return func(command *cobra.Command, _ []string) error {
		settings, err := load(command.Context(), a.lookuper)
		if err != nil {
			return err // it says everything, one line per variable
		}
		logger, err := newLogger(a.stderr, settings.Logging())
		if err != nil {
			return err
		}
		return run(command.Context(), settings, logger)
	}
}

func newLogger(w io.Writer, c config.Log) (*slog.Logger, error) {
	logger, err := telemetry.NewLogger(w, c.Level, c.Format)
	if err != nil {
		return nil, fmt.Errorf("making the logger: %w", err)
	}
	return logger, nil
}

// newRegistry returns a registry with the metrics of every process.
func newRegistry() *prometheus.Registry {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return registry
}

// temporalCheck is the readiness of everything here: without Temporal no process can do its work.
func temporalCheck(c client.Client) telemetry.Check {
	return telemetry.Check{Name: "temporal", Run: func(ctx context.Context) error {
		if _, err := c.CheckHealth(ctx, &client.CheckHealthRequest{}); err != nil {
			return fmt.Errorf("asking Temporal: %w", err)
		}
		return nil
	}}
}

// serveWithOps runs work beside the ops port until ctx ends or either fails.
// Readiness turns off first, then work stops, and the ops port closes last, so
// that the way down can be watched.
func serveWithOps(ctx context.Context, ops *telemetry.OpsServer, work func(context.Context) error) error {
	workCtx, stopWork := context.WithCancel(ctx)
	defer stopWork()
	opsCtx, stopOps := context.WithCancel(context.WithoutCancel(ctx))
	defer stopOps()
	context.AfterFunc(workCtx, ops.Stopping)
	opsEnded := make(chan error, 1)
	go func() {
		defer stopWork() // an ops port that broke takes the process down
		opsEnded <- ops.Serve(opsCtx)
	}()
	workErr := work(workCtx)
	stopOps()
	if opsErr := <-opsEnded; workErr == nil {
		return opsErr
	}
	return workErr
}

// drainTime is more than an answer of the simulator or the codec server takes.
const drainTime = 2 * time.Second

// serveHTTP answers until ctx ends. A call whose caller is stuck is not waited for.
func serveHTTP(ctx context.Context, handler http.Handler, listener net.Listener, logger *slog.Logger) error {
	server := &http.Server{
		Handler: handler, ReadHeaderTimeout: 5 * time.Second, ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelWarn),
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	select {
	case err := <-ended:
		return fmt.Errorf("serving HTTP: %w", err)
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer cancel()
	if server.Shutdown(drain) != nil {
		_ = server.Close()
	}
	return nil
}

// warnInClear says once that Temporal keeps everything in clear.
func warnInClear(logger *slog.Logger, keyset *codec.Keyset) {
	if keyset == nil {
		logger.Warn("nothing is encrypted: card tokens and names can be read in Temporal's Web UI and database; set PAYOUTS_ENCRYPTION_KEYSET_FILE (payouts keygen --keyset FILE makes one)")
	}
}
