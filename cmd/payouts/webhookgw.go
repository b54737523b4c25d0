package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"

	"github.com/spf13/cobra"

	"pikepayouts/codec"
	"pikepayouts/config"
	"pikepayouts/pike"
	"pikepayouts/telemetry"
	"pikepayouts/webhookgw"
)

const gatewayHelp = `Takes Pike's webhooks in: checks the signature and signals the payout's workflow.
What no open payout can take is kept as a late event: a LateEventWorkflow, see payouts list --attention any.
It has no state; run as many as you like. Only its webhook port belongs on the internet.

Environment, besides TEMPORAL_*:
  PIKE_WEBHOOK_PUBLIC_KEY_FILES  required (or PIKE_WEBHOOK_PUBLIC_KEYS); Pike's PEM keys, files separated by commas
  WEBHOOKGW_ADDR                 :8080
  WEBHOOKGW_PATH                 /webhooks/pike
  WEBHOOKGW_MAX_BODY             65536; bytes
  WEBHOOKGW_SIGNAL_TIMEOUT       4s; hand-off to Temporal
  PAYOUTS_TASK_QUEUE             payouts; that of the workers
  PAYOUTS_ENCRYPTION_KEYSET_FILE off; the keyset of the workers
  PAYOUTS_OPS_ADDR               :9090; /healthz, /readyz, /metrics
  PAYOUTS_LOG_LEVEL/_FORMAT      info, json
  OTEL_*                         off; OTEL_EXPORTER_OTLP_ENDPOINT turns traces on (docs/deploy.md, Traces and logs)`

func (a *app) gatewayCommand() *cobra.Command {
	return &cobra.Command{
		Use: "webhookgw", Short: "Take Pike's webhooks in", Long: gatewayHelp, Args: usage(cobra.NoArgs),
		Example: `  PIKE_WEBHOOK_PUBLIC_KEY_FILES=pike.pem payouts webhookgw
  PIKE_WEBHOOK_PUBLIC_KEY_FILES=pike-old.pem,pike-new.pem payouts webhookgw   # while Pike changes its key`,
		RunE: process(a, config.LoadGateway, runGateway),
	}
}

// runGateway takes webhooks until ctx ends.
func runGateway(ctx context.Context, settings config.Gateway, logger *slog.Logger) error {
	verifier, err := pike.NewVerifier(settings.Webhooks.PublicKeys...)
	if err != nil {
		return fmt.Errorf("PIKE_WEBHOOK_PUBLIC_KEY_FILES: %w", err)
	}
	traces, err := newTraces(ctx, settings.Traces, "payouts-webhookgw", logger)
	if err != nil {
		return err
	}
	defer traces.Stop(ctx)
	settings.Temporal.Interceptors = traces.Interceptors()
	registry := newRegistry()
	settings.Temporal.MetricsHandler, err = telemetry.NewTemporalMetrics(registry, logger)
	if err != nil {
		return fmt.Errorf("making Temporal's metrics: %w", err)
	}
	warnInClear(logger, settings.Keyset)
	codec.Use(&settings.Temporal, settings.Keyset)
	c, err := dialTemporal(ctx, settings.Temporal, logger, webhookgw.RequestIDDialOption())
	if err != nil {
		return err
	}
	defer c.Close()
	handler, err := webhookgw.New(webhookgw.Config{
		Path: settings.Webhooks.Path, MaxBody: settings.Webhooks.MaxBody, SignalTimeout: settings.Webhooks.SignalTimeout,
		Verifier: verifier, Temporal: webhookgw.NewTemporal(c, settings.TaskQueue), Registerer: registry, Logger: logger,
		Tracer: traces.Tracer(),
	})
	if err != nil {
		return fmt.Errorf("making the gateway: %w", err)
	}
	listener, err := webhookgw.Listen(ctx, settings.Webhooks.Addr, webhookgw.DefaultMaxConnections)
	if err != nil {
		return fmt.Errorf("WEBHOOKGW_ADDR: %w", err)
	}
	ops, err := telemetry.ListenOps(ctx, telemetry.OpsConfig{
		Addr: settings.OpsAddr, Gatherer: registry, Checks: []telemetry.Check{temporalCheck(c), acceptsCheck(listener.Addr())}, Logger: logger,
	})
	if err != nil {
		_ = listener.Close()
		return fmt.Errorf("PAYOUTS_OPS_ADDR: %w", err)
	}
	logger.Info("gateway runs", "webhooks", webhookURL(listener.Addr(), settings.Webhooks.Path), "ops", ops.Addr().String())
	server := webhookgw.NewServer(settings.Webhooks.Addr, handler, logger)
	return serveWithOps(ctx, ops, func(ctx context.Context) error { return webhookgw.Serve(ctx, server, listener) })
}

// acceptsCheck is whether a webhook would find the port open.
func acceptsCheck(addr net.Addr) telemetry.Check {
	return telemetry.Check{Name: "webhook port", Run: func(ctx context.Context) error {
		connection, err := new(net.Dialer).DialContext(ctx, addr.Network(), addr.String())
		if err != nil {
			return fmt.Errorf("connecting to it: %w", err)
		}
		_ = connection.Close()
		return nil
	}}
}

func webhookURL(addr net.Addr, path string) string { return "http://" + addr.String() + path }
