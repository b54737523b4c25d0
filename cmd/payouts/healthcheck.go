package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/spf13/cobra"
)

// healthcheckTimeout is longer than the checks behind /readyz may take.
const healthcheckTimeout = 5 * time.Second

// healthcheckCommand is for containers: their image has no shell and no curl.
func (a *app) healthcheckCommand() *cobra.Command {
	return &cobra.Command{
		Use: "healthcheck [URL]", Hidden: true, Short: "Ask a process on this machine whether it is ready",
		Long: "Exit code 0 if the URL answers 200, else 1. Without a URL: /readyz on the port of PAYOUTS_OPS_ADDR (default :9090).",
		Example: `  payouts healthcheck
  payouts healthcheck http://127.0.0.1:8090/_sim/sessions`,
		Args: usage(cobra.MaximumNArgs(1)),
		RunE: func(command *cobra.Command, args []string) error {
			target := a.readinessURL()
			if len(args) == 1 {
				target = args[0]
			}
			return checkReady(command.Context(), target)
		},
	}
}

func (a *app) readinessURL() string {
	addr, set := a.lookuper.Lookup("PAYOUTS_OPS_ADDR")
	if !set || addr == "" {
		addr = ":9090"
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil || host == "" || host == "0.0.0.0" || host == "::" {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port) + "/readyz"
}

func checkReady(ctx context.Context, target string) error {
	ctx, cancel := context.WithTimeout(ctx, healthcheckTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return usagef("the URL to ask: %w", err)
	}
	response, err := new(http.Client).Do(request) // ctx bounds it
	if err != nil {
		return fmt.Errorf("not ready: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("not ready: %s answers %s", target, response.Status)
	}
	return nil
}
