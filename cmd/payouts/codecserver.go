package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"

	"github.com/spf13/cobra"

	"pikepayouts/codec"
	"pikepayouts/config"
	"pikepayouts/telemetry"
)

const codecServerHelp = `Lets the Web UI, the Temporal CLI and callers in other languages read and write encrypted payouts.
It is a way to read every payout: keep it where only operators reach it, and never on the internet.
Every decode leaves a line in the log: who asked, for which payouts. Card tokens and hashes are masked.

  POST /decode, /encode                 payloads that say themselves which payout they are of
  POST /payout/inv-1042/decode, /encode payloads of one workflow

Environment:
  PAYOUTS_ENCRYPTION_KEYSET_FILE  required; the keyset of the workers
  PAYOUTS_CODEC_ADDR              127.0.0.1:8234
  PAYOUTS_CODEC_ORIGINS           exact origins of the Web UIs that may call, separated by commas
  PAYOUTS_CODEC_TOKEN_FILE        off; a file with a token that callers must send: Authorization: Bearer <token>
  PAYOUTS_CODEC_SHOW_CARDS        false; true leaves card tokens and hashes in clear
  TEMPORAL_NAMESPACE              default; the only namespace that is served
  PAYOUTS_OPS_ADDR                :9090; /healthz, /readyz, /metrics
  PAYOUTS_LOG_LEVEL/_FORMAT       info, json`

func (a *app) codecServerCommand() *cobra.Command {
	return &cobra.Command{
		Use: "codec-server", Short: "Decrypt for the Web UI and the Temporal CLI", Long: codecServerHelp, Args: usage(cobra.NoArgs),
		Example: `  export PAYOUTS_ENCRYPTION_KEYSET_FILE=keys/keyset.json
  PAYOUTS_CODEC_ORIGINS=https://temporal.example.com payouts codec-server
  temporal workflow show --workflow-id payout/inv-1042 --codec-endpoint http://127.0.0.1:8234`,
		RunE: process(a, config.LoadCodecServer, runCodecServer),
	}
}

// runCodecServer serves until ctx ends.
func runCodecServer(ctx context.Context, settings config.CodecServer, logger *slog.Logger) error {
	handler, err := codec.NewServer(codec.ServerConfig{
		Keyset: settings.Keyset, Namespace: settings.Namespace, Origins: settings.Origins,
		Token: settings.Token, ShowCards: settings.ShowCards, Logger: logger,
	})
	if err != nil {
		return fmt.Errorf("making the codec server: %w", err)
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", settings.Addr)
	if err != nil {
		return fmt.Errorf("PAYOUTS_CODEC_ADDR: %w", err)
	}
	logger.Info("codec server runs", "addr", listener.Addr().String(), "namespace", settings.Namespace, "origins", settings.Origins,
		"token", settings.Token != "", "cards", settings.ShowCards)
	if addr, ok := listener.Addr().(*net.TCPAddr); ok && !addr.IP.IsLoopback() && settings.Token == "" {
		logger.Warn("whoever reaches this address can read every payout: set PAYOUTS_CODEC_TOKEN_FILE, or put it behind something that asks who calls")
	}
	ops, err := telemetry.ListenOps(ctx, telemetry.OpsConfig{Addr: settings.OpsAddr, Gatherer: newRegistry(), Logger: logger})
	if err != nil {
		_ = listener.Close()
		return fmt.Errorf("PAYOUTS_OPS_ADDR: %w", err)
	}
	return serveWithOps(ctx, ops, func(ctx context.Context) error { return serveHTTP(ctx, handler, listener, logger) })
}
