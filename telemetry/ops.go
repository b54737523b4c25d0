package telemetry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

const (
	// checkTimeout bounds one readiness check.
	checkTimeout = 2 * time.Second
	// opsDrainTimeout is how long a scrape in hand may take after the stop.
	opsDrainTimeout = 5 * time.Second
)

// Check is one thing that must work before the process should get work.
type Check struct {
	Name string
	// Run returns nil if all is well. It must heed ctx; its error text is shown on the ops port.
	Run func(ctx context.Context) error
}

// OpsConfig is what an ops server needs. All fields but Checks are required.
type OpsConfig struct {
	// Addr is PAYOUTS_OPS_ADDR: host:port, never the port that Pike reaches.
	Addr     string
	Gatherer prometheus.Gatherer
	Checks   []Check
	Logger   *slog.Logger
}

// OpsServer serves /healthz, /readyz and /metrics.
type OpsServer struct {
	listener net.Listener
	server   *http.Server
	checks   []Check
	stopping atomic.Bool
}

// ListenOps opens the ops port, so that a taken port is known at once. Call Serve next.
func ListenOps(ctx context.Context, config OpsConfig) (*OpsServer, error) {
	if err := config.validate(); err != nil {
		return nil, fmt.Errorf("ops server: %w", err)
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", config.Addr)
	if err != nil {
		return nil, fmt.Errorf("opening the ops port: %w", err)
	}
	ops := &OpsServer{listener: listener, checks: config.Checks}
	ops.server = &http.Server{
		Handler:           ops.routes(config),
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, IdleTimeout: 60 * time.Second,
		// Every check may take its full time before the answer is written.
		WriteTimeout:   10*time.Second + time.Duration(len(config.Checks))*checkTimeout,
		MaxHeaderBytes: 16 << 10,
		ErrorLog:       slog.NewLogLogger(config.Logger.Handler(), slog.LevelWarn),
	}
	return ops, nil
}

func (c OpsConfig) validate() error {
	if c.Gatherer == nil || c.Logger == nil {
		return errors.New("gatherer and logger are required")
	}
	seen := map[string]bool{}
	for _, check := range c.Checks {
		if check.Name == "" || check.Run == nil {
			return errors.New("a check needs a name and a function")
		}
		if seen[check.Name] {
			return fmt.Errorf("two checks are named %q", check.Name)
		}
		seen[check.Name] = true
	}
	return nil
}

func (o *OpsServer) routes(config OpsConfig) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", o.health)
	mux.HandleFunc("GET /readyz", o.readiness)
	mux.Handle("GET /metrics", promhttp.HandlerFor(config.Gatherer, promhttp.HandlerOpts{
		ErrorHandling: promhttp.ContinueOnError, // one metric that cannot be shown must not hide the others
		ErrorLog:      slog.NewLogLogger(config.Logger.Handler(), slog.LevelError),
	}))
	return mux
}

// Addr is the address in use: with port 0 in the configuration the system chose it.
func (o *OpsServer) Addr() net.Addr { return o.listener.Addr() }

// Stopping turns readiness off for good. Call it first on the way down, while
// work is still taken, so that nobody sends more (hazard W24).
func (o *OpsServer) Stopping() { o.stopping.Store(true) }

// Serve answers until ctx ends, then turns readiness off and closes the port.
// It returns nil after a clean stop.
func (o *OpsServer) Serve(ctx context.Context) error {
	failed := make(chan error, 1)
	go func() { failed <- o.server.Serve(o.listener) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serving the ops port: %w", err)
	case <-ctx.Done():
	}
	o.Stopping()
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), opsDrainTimeout)
	defer cancel()
	if err := o.server.Shutdown(drain); err != nil {
		_ = o.server.Close()
		return fmt.Errorf("closing the ops port: %w", err)
	}
	return nil
}

// health says only that the process lives: a dependency that is down must not get it restarted.
func (o *OpsServer) health(w http.ResponseWriter, _ *http.Request) {
	_, _ = w.Write([]byte("ok\n"))
}

type readinessAnswer struct {
	Status string            `json:"status"` // ready, not ready, stopping
	Checks map[string]string `json:"checks"` // "ok" or the error
}

func (o *OpsServer) readiness(w http.ResponseWriter, r *http.Request) {
	answer := readinessAnswer{Status: "ready", Checks: map[string]string{}}
	for _, check := range o.checks {
		answer.Checks[check.Name] = "ok"
		if err := runCheck(r.Context(), check); err != nil {
			answer.Checks[check.Name] = err.Error()
			answer.Status = "not ready"
		}
	}
	if o.stopping.Load() {
		answer.Status = "stopping"
	}
	w.Header().Set("Content-Type", "application/json")
	if answer.Status != "ready" {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_ = json.NewEncoder(w).Encode(answer)
}

func runCheck(ctx context.Context, check Check) error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	return check.Run(ctx)
}
