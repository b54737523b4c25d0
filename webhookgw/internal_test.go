package webhookgw

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/stretchr/testify/require"
)

// TestForwardedHeadersNameNobody: hazard W17.
func TestForwardedHeadersNameNobody(t *testing.T) {
	engine, err := (&gateway{log: slog.New(slog.DiscardHandler)}).engine(DefaultPath)
	require.NoError(t, err)
	var clientIP string
	engine.GET("/who", func(c *gin.Context) { clientIP = c.ClientIP() })
	request := httptest.NewRequest(http.MethodGet, "/who", nil)
	request.RemoteAddr = "127.0.0.1:4711"
	for _, header := range []string{"X-Forwarded-For", "X-Real-IP", "CF-Connecting-IP", "X-Appengine-Remote-Addr", "Forwarded"} {
		request.Header.Set(header, "203.0.113.7")
	}
	engine.ServeHTTP(httptest.NewRecorder(), request)
	require.Equal(t, "127.0.0.1", clientIP)
}

func TestDrainEndsAtItsTimeout(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	release := make(chan struct{})
	server := NewServer("", http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		stop()
		<-release
	}), slog.New(slog.DiscardHandler))
	clientDone := make(chan struct{})
	go func() {
		defer close(clientDone)
		if response, err := http.Get("http://" + listener.Addr().String()); err == nil {
			_ = response.Body.Close()
		}
	}()
	require.ErrorContains(t, serve(ctx, server, listener, time.Millisecond), "draining webhooks")
	<-clientDone // the connection is cut although the handler still runs
	close(release)
}
