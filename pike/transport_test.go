package pike_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"pikepayouts/pike"
)

func isError(err, target error) bool { return errors.Is(err, target) }

// TestRedirectsAreNotFollowed: hazard A10, the body and its signature stay here.
func TestRedirectsAreNotFollowed(t *testing.T) {
	trap := &recorder{status: 200, answer: okSession}
	trapServer := httptest.NewServer(trap)
	defer trapServer.Close()
	for _, status := range []int{301, 302, 303, 307, 308} {
		server := httptest.NewServer(http.RedirectHandler(trapServer.URL, status))
		failure := requireOutcome(t, pike.Unknown, start(t.Context(), newClient(t, server.URL)))
		require.Equal(t, status, failure.HTTPStatus)
		server.Close()
	}
	require.Empty(t, trap.seen())
}

func TestNothingListensMeansNotSent(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, listener.Close())
	failure := requireOutcome(t, pike.NotSent, start(t.Context(), newClient(t, "http://"+listener.Addr().String())))
	require.Zero(t, failure.HTTPStatus)
}

func TestNoSuchHostMeansNotSent(t *testing.T) {
	_ = requireOutcome(t, pike.NotSent, start(t.Context(), newClient(t, "https://pike.invalid")))
}

// TestTLS: hazard S6. A server that cannot prove itself gets no request.
func TestTLS(t *testing.T) {
	tests := []struct {
		name   string
		server func(*tls.Config)
		client func(*tls.Config, *x509.CertPool)
		host   string
		ok     bool
	}{
		{"trusted", nil, func(c *tls.Config, roots *x509.CertPool) { c.RootCAs = roots }, "127.0.0.1", true},
		{"self-signed", nil, func(*tls.Config, *x509.CertPool) {}, "127.0.0.1", false},
		{"wrong host", nil, func(c *tls.Config, roots *x509.CertPool) { c.RootCAs = roots }, "localhost", false},
		{"TLS 1.1", func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 },
			func(c *tls.Config, roots *x509.CertPool) { c.RootCAs, c.MinVersion = roots, tls.VersionTLS10 }, "127.0.0.1", false},
		{"expired", nil, func(c *tls.Config, roots *x509.CertPool) {
			c.RootCAs, c.Time = roots, func() time.Time { return time.Now().AddDate(200, 0, 0) }
		}, "127.0.0.1", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			pikeServer := &recorder{status: 200, answer: okSession}
			server := httptest.NewUnstartedServer(pikeServer)
			server.Config.ErrorLog = discardLog()
			server.TLS = &tls.Config{}
			if tt.server != nil {
				tt.server(server.TLS)
			}
			server.StartTLS()
			defer server.Close()
			roots := x509.NewCertPool()
			roots.AddCert(server.Certificate())
			var settings tls.Config
			tt.client(&settings, roots)
			client := newClient(t, strings.Replace(server.URL, "127.0.0.1", tt.host, 1), func(c *pike.Config) { c.TLS = &settings })
			err := start(t.Context(), client)
			if tt.ok {
				require.NoError(t, err)
				return
			}
			_ = requireOutcome(t, pike.NotSent, err)
			require.Empty(t, pikeServer.seen())
		})
	}
}

func TestHTTP2IsNotUsed(t *testing.T) {
	var protocol atomic.Int32
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		protocol.Store(int32(r.ProtoMajor))
		_, _ = io.WriteString(w, okSession)
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	require.NoError(t, start(t.Context(), newClient(t, server.URL, func(c *pike.Config) { c.TLS = &tls.Config{RootCAs: roots} })))
	require.EqualValues(t, 1, protocol.Load(), "HTTP/2 resends by itself (hazard A9)")
}

// TestResetOnAWarmConnectionIsNotResent: hazard A9. The server reads the whole
// request and cuts the connection; only session/status can tell what it did.
func TestResetOnAWarmConnectionIsNotResent(t *testing.T) {
	for _, reset := range []bool{true, false} {
		t.Run(fmt.Sprintf("reset %t", reset), func(t *testing.T) {
			server := startCuttingServer(t, reset)
			client := newClient(t, "http://"+server.listener.Addr().String())
			_, err := client.SessionStatus(t.Context(), "ps_1")
			require.NoError(t, err)
			_ = requireOutcome(t, pike.Unknown, start(t.Context(), client))
			require.EqualValues(t, 1, server.connections.Load(), "the second request used the warm connection")
			require.EqualValues(t, 2, server.requests.Load(), "one per call")
		})
	}
}

// cuttingServer answers the first request of each connection and cuts it after reading the second.
type cuttingServer struct {
	listener              net.Listener
	connections, requests atomic.Int32
}

func startCuttingServer(t *testing.T, reset bool) *cuttingServer {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	server := &cuttingServer{listener: listener}
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			server.connections.Add(1)
			go server.serve(connection, reset)
		}
	}()
	return server
}

func (s *cuttingServer) serve(connection net.Conn, reset bool) {
	defer func() { _ = connection.Close() }()
	reader := bufio.NewReader(connection)
	for answered := false; ; answered = true {
		request, err := http.ReadRequest(reader)
		if err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, request.Body)
		s.requests.Add(1)
		if answered {
			if reset {
				_ = connection.(*net.TCPConn).SetLinger(0)
			}
			return
		}
		_, _ = fmt.Fprintf(connection, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(okSession), okSession)
	}
}

func TestTimeoutLeavesTheOutcomeOpen(t *testing.T) {
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer server.Close()
	defer close(release)
	client := newClient(t, server.URL, func(c *pike.Config) { c.Timeout = 50 * time.Millisecond })
	_ = requireOutcome(t, pike.Unknown, start(t.Context(), client))

	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err := start(ctx, newClient(t, server.URL))
	_ = requireOutcome(t, pike.Unknown, err)
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

func TestCancelledBeforeTheCallMeansNotSent(t *testing.T) {
	client, server := answering(t, 200, okSession)
	require.NoError(t, start(t.Context(), client), "so that a warm connection is at hand")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := start(ctx, client)
	_ = requireOutcome(t, pike.NotSent, err)
	require.ErrorIs(t, err, context.Canceled)
	require.Len(t, server.seen(), 1)
}

// TestEndlessAnswers: hazard T12. A fast one ends at 1 MiB, a slow one at the timeout.
func TestEndlessAnswers(t *testing.T) {
	for name, pause := range map[string]time.Duration{"fast": 0, "slow": 10 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				ticks := time.NewTicker(max(pause, 1))
				defer ticks.Stop()
				for r.Context().Err() == nil {
					if _, err := io.WriteString(w, strings.Repeat(" ", 1024)); err != nil {
						return
					}
					_ = http.NewResponseController(w).Flush()
					if pause > 0 {
						<-ticks.C
					}
				}
			}))
			defer server.Close()
			client := newClient(t, server.URL, func(c *pike.Config) { c.Timeout = 300 * time.Millisecond })
			failure := requireOutcome(t, pike.Unknown, start(t.Context(), client))
			require.Equal(t, 200, failure.HTTPStatus)
		})
	}
}

func TestAnswerThatBreaksOff(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "1000")
		_, _ = io.WriteString(w, okSession)
	}))
	defer server.Close()
	_ = requireOutcome(t, pike.Unknown, start(t.Context(), newClient(t, server.URL)))
}

func TestHugeHeaderOfTheAnswer(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Huge", strings.Repeat("x", 100<<10))
		_, _ = io.WriteString(w, okSession)
	}))
	defer server.Close()
	_ = requireOutcome(t, pike.Unknown, start(t.Context(), newClient(t, server.URL)))
}
