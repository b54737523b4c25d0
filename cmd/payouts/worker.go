package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	sdkworker "go.temporal.io/sdk/worker"

	"pikepayouts/activities"
	"pikepayouts/codec"
	"pikepayouts/config"
	"pikepayouts/pike"
	"pikepayouts/telemetry"
	"pikepayouts/worker"
	"pikepayouts/workflows"
)

const workerHelp = `Runs payouts: polls Temporal for work and calls Pike. Run as many as you like.
It stops on SIGTERM or Ctrl-C, and lets calls in flight end first (up to 75s).

Environment, besides TEMPORAL_*:
  PIKE_BASE_URL             required; Pike's server, https
  PIKE_PROJECT              required; PIKE_SUBMERCHANT is optional
  PIKE_PRIVATE_KEY_FILE     required (or PIKE_PRIVATE_KEY); PEM, RSA >= 2048 bits, mode 0600
  PIKE_API_VERSION          v1
  PIKE_TIMEOUT              30s; one HTTP call, at most 30s
  PIKE_RATE_LIMIT           0; Pike calls per second over all workers, 0 is no limit
  PAYOUTS_TASK_QUEUE        payouts
  PAYOUTS_OBSERVE_ONLY      false; true holds every start, confirm and cancel while status reads go on
  PAYOUTS_ENCRYPTION_KEYSET_FILE  off; encrypts what Temporal keeps, the same file for every process and caller
  PAYOUTS_OPS_ADDR          :9090; /healthz, /readyz, /metrics
  PAYOUTS_LOG_LEVEL/_FORMAT info, json
  OTEL_*                    off; OTEL_EXPORTER_OTLP_ENDPOINT turns traces on (docs/deploy.md, Traces and logs)
  TEMPORAL_DEPLOYMENT_NAME  off; with TEMPORAL_WORKER_BUILD_ID: worker versioning, payouts stay with the
                            build on which they started (docs/deploy.md, Upgrading)`

func (a *app) workerCommand() *cobra.Command {
	return &cobra.Command{
		Use: "worker", Short: "Run payouts", Long: workerHelp, Args: usage(cobra.NoArgs),
		Example: `  PIKE_BASE_URL=https://proxy-demo.pikepayments.com PIKE_PROJECT=1234 PIKE_PRIVATE_KEY_FILE=key.pem payouts worker`,
		RunE:    process(a, config.LoadWorker, runWorker),
	}
}

// runWorker works until ctx ends.
func runWorker(ctx context.Context, settings config.Worker, logger *slog.Logger) error {
	traces, err := newTraces(ctx, settings.Traces, "payouts-worker", logger)
	if err != nil {
		return err
	}
	defer traces.Stop(ctx)
	settings.Temporal.Interceptors = traces.Interceptors()
	registry := workerRegistry(settings)
	provider, err := measuredPikeClient(settings.Pike, registry)
	if err != nil {
		return err
	}
	sdkMetrics := prometheus.NewRegistry() // apart: readiness looks at these alone
	settings.Temporal.MetricsHandler, err = telemetry.NewTemporalMetrics(sdkMetrics, logger, worker.MetricViews()...)
	if err != nil {
		return fmt.Errorf("making Temporal's metrics: %w", err)
	}
	warnInClear(logger, settings.Keyset)
	codec.UseInWorker(&settings.Temporal, settings.Keyset, workflows.Refusable)
	workflows.ShowZeros(settings.Temporal.MetricsHandler)
	c, err := dialTemporal(ctx, settings.Temporal, logger)
	if err != nil {
		return err
	}
	defer c.Close()
	namespace := cmp.Or(settings.Temporal.Namespace, client.DefaultNamespace)
	if err := checkSearchAttributes(ctx, c, namespace, logger); err != nil {
		return err
	}
	registry.MustRegister(worker.NewOpenMetrics(c, settings.TaskQueue, logger))
	ops, err := telemetry.ListenOps(ctx, telemetry.OpsConfig{
		Addr: settings.OpsAddr, Gatherer: prometheus.Gatherers{registry, sdkMetrics},
		Checks: []telemetry.Check{temporalCheck(c), pollersCheck(sdkMetrics)}, Logger: logger,
	})
	if err != nil {
		return fmt.Errorf("PAYOUTS_OPS_ADDR: %w", err)
	}
	w := worker.New(c, worker.Options{
		TaskQueue: settings.TaskQueue, Pike: activities.Traced(provider, traces.Tracer()),
		RateLimit: settings.RateLimit, ObserveOnly: settings.ObserveOnly, Version: settings.Version,
		DataConverter: settings.Temporal.DataConverter,
	})
	logger.Info("worker runs", "task_queue", settings.TaskQueue, "namespace", namespace,
		"pike_base_url", settings.Pike.BaseURL, "pike_api_version", settings.Pike.Version, "ops", ops.Addr().String())
	if settings.Version.BuildID != "" {
		logger.Info("worker is versioned, payouts are pinned", "deployment", settings.Version.DeploymentName, "build_id", settings.Version.BuildID)
	}
	if settings.ObserveOnly {
		logger.Warn("PAYOUTS_OBSERVE_ONLY is on: no start, confirm or cancel is sent; payouts wait")
	}
	return serveWithOps(ctx, ops, func(ctx context.Context) error { return work(ctx, w) })
}

// pollersCheck is whether the worker asks Temporal for tasks, by the SDK's own count.
func pollersCheck(sdkMetrics prometheus.Gatherer) telemetry.Check {
	return telemetry.Check{Name: "pollers", Run: func(context.Context) error {
		families, err := sdkMetrics.Gather()
		if err != nil {
			return fmt.Errorf("reading the SDK's metrics: %w", err)
		}
		for _, family := range families {
			for _, series := range family.GetMetric() {
				if family.GetName() == "temporal_num_pollers" && series.GetGauge().GetValue() > 0 {
					return nil
				}
			}
		}
		return errors.New("the worker does not poll its task queue")
	}}
}

// workerRegistry shows beside the usual metrics whether the worker observes only.
func workerRegistry(settings config.Worker) *prometheus.Registry {
	registry := newRegistry()
	observeOnly := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "payouts_observe_only", Help: "1 while this worker holds every start, confirm and cancel (PAYOUTS_OBSERVE_ONLY).",
	})
	if settings.ObserveOnly {
		observeOnly.Set(1)
	}
	registry.MustRegister(observeOnly)
	return registry
}

// work runs the worker until ctx ends or the worker gives up.
func work(ctx context.Context, w sdkworker.Worker) error {
	interrupt := make(chan any)
	defer context.AfterFunc(ctx, func() { close(interrupt) })()
	if err := w.Run(interrupt); err != nil {
		return fmt.Errorf("running the worker: %w", err)
	}
	return nil
}

func measuredPikeClient(settings config.Pike, registry *prometheus.Registry) (activities.Pike, error) {
	provider, err := newPikeClient(settings)
	if err != nil {
		return nil, err
	}
	measured, err := activities.Measured(provider, registry)
	if err != nil {
		return nil, fmt.Errorf("measuring Pike's client: %w", err)
	}
	return measured, nil
}

func newPikeClient(settings config.Pike) (*pike.Client, error) {
	provider, err := pike.NewClient(pike.Config{
		BaseURL: settings.BaseURL, Version: settings.Version, Project: settings.Project, Submerchant: settings.Submerchant,
		Signer: settings.PrivateKey, Timeout: settings.Timeout,
	})
	if err != nil {
		return nil, fmt.Errorf("making Pike's client: %w", err)
	}
	return provider, nil
}

// checkSearchAttributes refuses to work where every payout would get stuck at
// its first upsert. A worker's account may lack the right to look.
func checkSearchAttributes(ctx context.Context, c client.Client, namespace string, logger *slog.Logger) error {
	missing, err := worker.MissingSearchAttributes(ctx, c, namespace)
	var denied *serviceerror.PermissionDenied
	if errors.As(err, &denied) {
		logger.Warn("no permission to check the search attributes; run `payouts setup` once with an account that has it", "error", err)
		return nil
	}
	if err != nil {
		return fmt.Errorf("checking the search attributes: %w", err)
	}
	if len(missing) > 0 {
		return fmt.Errorf("namespace %q lacks the search attributes %s; run `payouts setup` once", namespace, strings.Join(missing, ", "))
	}
	return nil
}
