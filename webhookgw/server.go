package webhookgw

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"golang.org/x/net/netutil"
)

const (
	// DefaultMaxConnections is how many connections a gateway process holds at
	// once; more wait in the kernel. Half-open ones last at most ReadTimeout (hazard W7).
	DefaultMaxConnections = 8192
	// DrainTimeout is how long accepted requests may take after the stop: longer
	// than reading a body and handing it over (hazard W24).
	DrainTimeout = 15 * time.Second
)

// NewServer returns a server with every limit that net/http leaves open by
// default (hazard W7). Its own errors go to logger as warnings.
func NewServer(addr string, handler http.Handler, logger *slog.Logger) *http.Server {
	return &http.Server{
		Addr: addr, Handler: handler,
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second, IdleTimeout: 60 * time.Second,
		MaxHeaderBytes: 16 << 10,
		ErrorLog:       slog.NewLogLogger(logger.Handler(), slog.LevelWarn),
	}
}

// Listen opens addr for at most maxConnections connections at once.
func Listen(ctx context.Context, addr string, maxConnections int) (net.Listener, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("opening the webhook port: %w", err)
	}
	return netutil.LimitListener(listener, maxConnections), nil
}

// Serve answers webhooks until ctx ends, then accepts no more and gives those
// already accepted DrainTimeout to finish. It returns nil after a clean drain,
// and closes the listener in any case. The server's ConnState is its own to set.
func Serve(ctx context.Context, server *http.Server, listener net.Listener) error {
	return serve(ctx, server, listener, DrainTimeout)
}

func serve(ctx context.Context, server *http.Server, listener net.Listener, drainTimeout time.Duration) error {
	var open sync.WaitGroup
	server.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			open.Add(1)
		case http.StateClosed, http.StateHijacked:
			open.Done()
		}
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	select {
	case err := <-ended:
		return fmt.Errorf("serving webhooks: %w", err)
	case <-ctx.Done():
	}
	_ = listener.Close()
	<-ended //nolint:errcheck // that the listener is closed; no connection is accepted from here on
	// Requests in hand are not bound to ctx; only the drain's own time ends them.
	drainCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	defer cancel()
	return drain(drainCtx, server, &open)
}

// drain waits until each open connection had its answer. Shutdown would close those
// whose request it has not read yet, without one (hazard W24).
func drain(ctx context.Context, server *http.Server, open *sync.WaitGroup) error {
	server.SetKeepAlivesEnabled(false)
	drained := make(chan struct{})
	go func() { open.Wait(); close(drained) }()
	select {
	case <-drained:
		return nil
	case <-ctx.Done():
		_ = server.Close()
		return fmt.Errorf("draining webhooks: %w", ctx.Err())
	}
}
