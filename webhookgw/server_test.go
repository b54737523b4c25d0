package webhookgw_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"pikepayouts/pike"
	"pikepayouts/webhookgw"
)

var discard = slog.New(slog.DiscardHandler)

// TestServerHasEveryLimit: hazard W7.
func TestServerHasEveryLimit(t *testing.T) {
	server := webhookgw.NewServer(":0", http.NotFoundHandler(), discard)
	require.Equal(t, 5*time.Second, server.ReadHeaderTimeout)
	require.Equal(t, 10*time.Second, server.ReadTimeout)
	require.Equal(t, 10*time.Second, server.WriteTimeout)
	require.Equal(t, 60*time.Second, server.IdleTimeout)
	require.Equal(t, 16<<10, server.MaxHeaderBytes)
	require.Greater(t, webhookgw.DrainTimeout, server.ReadTimeout+webhookgw.DefaultSignalTimeout, "a request in hand can end")
}

func TestServerErrorsGoToTheLogger(t *testing.T) {
	var out bytes.Buffer
	server := webhookgw.NewServer(":0", http.NotFoundHandler(), slog.New(slog.NewJSONHandler(&out, nil)))
	server.ErrorLog.Print("broken")
	require.Contains(t, out.String(), `"level":"WARN","msg":"broken"`)
}

func TestListenCapsConnections(t *testing.T) {
	listener, err := webhookgw.Listen(t.Context(), "127.0.0.1:0", 1)
	require.NoError(t, err)
	defer func() { _ = listener.Close() }()
	accepted := make(chan net.Conn, 2)
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				close(accepted)
				return
			}
			accepted <- connection
		}
	}()
	for range 2 {
		connection, err := net.Dial("tcp", listener.Addr().String())
		require.NoError(t, err)
		defer func() { _ = connection.Close() }()
	}
	first := <-accepted
	select {
	case <-accepted:
		t.Fatal("a second connection was accepted")
	case <-time.After(50 * time.Millisecond):
	}
	require.NoError(t, first.Close())
	require.NotNil(t, <-accepted)
}

func TestListenNamesTheFault(t *testing.T) {
	_, err := webhookgw.Listen(t.Context(), "127.0.0.1:99999", 1)
	require.ErrorContains(t, err, "opening the webhook port")
}

// TestBodyLimit: hazard W6. One byte more is too much; exactly the limit is not.
func TestBodyLimit(t *testing.T) {
	h := newHarness(t, func(c *webhookgw.Config) { c.MaxBody = 1000 })
	body := webhookBody("ready_to_confirm", `"inv-1"`)
	full := body + strings.Repeat(" ", 1000-len(body))
	require.Equal(t, 200, h.postSigned(full).Code)
	require.Equal(t, 413, h.postSigned(full+" ").Code)
	require.Equal(t, map[string]float64{"ready_to_confirm/signalled": 1, "none/too_large": 1}, h.counts())
}

func TestDefaultBodyLimitIs64KiB(t *testing.T) {
	h := newHarness(t)
	require.Equal(t, 401, h.post(strings.Repeat(" ", 64<<10)).Code)
	require.Equal(t, 413, h.post(strings.Repeat(" ", 64<<10+1)).Code)
}

func TestContentEncodingIsIgnored(t *testing.T) {
	var small bytes.Buffer
	writer := gzip.NewWriter(&small)
	_, err := io.Copy(writer, strings.NewReader(webhookBody("ready_to_confirm", `"inv-1"`)))
	require.NoError(t, err)
	require.NoError(t, writer.Close())
	h := newHarness(t)
	request := httptest.NewRequest(http.MethodPost, webhookgw.DefaultPath, bytes.NewReader(small.Bytes()))
	request.Header.Set("Content-Encoding", "gzip")
	request.Header.Set(pike.HeaderSign, sign(t, pikeKey(), small.String()))
	require.Equal(t, 200, h.do(request).Code)
	require.Equal(t, map[string]float64{"none/unparsable": 1}, h.counts(), "verified and parsed as the bytes that came")
}

// zeros never ends and counts what was taken of it.
type zeros struct{ read int }

func (z *zeros) Read(p []byte) (int, error) {
	clear(p)
	z.read += len(p)
	return len(p), nil
}

func TestNoMoreThanTheLimitIsRead(t *testing.T) {
	h := newHarness(t)
	for _, contentEncoding := range []string{"", "gzip"} {
		var body zeros
		request := httptest.NewRequest(http.MethodPost, webhookgw.DefaultPath, &body)
		request.Header.Set("Content-Encoding", contentEncoding)
		require.Equal(t, 413, h.do(request).Code)
		require.LessOrEqual(t, body.read, webhookgw.DefaultMaxBody+1)
	}
}

func TestGzipBombOverTheWire(t *testing.T) {
	var bomb bytes.Buffer
	writer := gzip.NewWriter(&bomb)
	_, err := io.CopyN(writer, &zeros{}, 96<<20)
	require.NoError(t, err)
	require.NoError(t, writer.Close())
	require.Greater(t, bomb.Len(), webhookgw.DefaultMaxBody)
	head := fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n", webhookgw.DefaultPath, bomb.Len())
	requireRefusedWhileSending(t, head, &bomb)
}

func TestEndlessChunkedBodyOverTheWire(t *testing.T) {
	head := fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", webhookgw.DefaultPath)
	chunk := "1000\r\n" + strings.Repeat("x", 0x1000) + "\r\n"
	requireRefusedWhileSending(t, head, &repeated{text: chunk})
}

// repeated is one text without end.
type repeated struct {
	text string
	at   int
}

func (r *repeated) Read(p []byte) (int, error) {
	n := copy(p, r.text[r.at:])
	r.at = (r.at + n) % len(r.text)
	return n, nil
}

// requireRefusedWhileSending expects 413 and a closed connection, however much there is left to send.
func requireRefusedWhileSending(t *testing.T, head string, body io.Reader) {
	t.Helper()
	h := newHarness(t)
	server := httptest.NewServer(h.handler)
	defer server.Close()
	connection, err := net.Dial("tcp", server.Listener.Addr().String())
	require.NoError(t, err)
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		_, _ = io.Copy(connection, io.MultiReader(strings.NewReader(head), body))
	}()
	response, err := http.ReadResponse(bufio.NewReader(connection), nil)
	require.NoError(t, err)
	require.Equal(t, 413, response.StatusCode)
	require.True(t, response.Close)
	require.NoError(t, connection.Close())
	<-sent
	require.Empty(t, h.signaler.seen())
}

// TestDrain: hazard W24. What was accepted is answered, nothing new is accepted.
func TestDrain(t *testing.T) {
	h := newHarness(t)
	inHand, release := make(chan struct{}), make(chan struct{})
	h.signaler.hook = func(ctx context.Context) error {
		close(inHand)
		<-release
		return ctx.Err()
	}
	listener, err := webhookgw.Listen(t.Context(), "127.0.0.1:0", 10)
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	served, answered := make(chan error, 1), make(chan int, 1)
	go func() { served <- webhookgw.Serve(ctx, webhookgw.NewServer("", h.handler, discard), listener) }()
	url := "http://" + listener.Addr().String() + webhookgw.DefaultPath
	body := webhookBody("ready_to_confirm", `"inv-1"`)
	signature := sign(t, pikeKey(), body)
	go func() { answered <- postOverTheWire(t.Context(), url, body, signature) }()
	<-inHand
	stop()
	requirePortCloses(t, listener.Addr())
	require.Empty(t, served, "the request in hand is waited for")
	close(release)
	require.Equal(t, 200, <-answered)
	require.NoError(t, <-served)
}

// noticed tells of every connection that the server accepted.
type noticed struct {
	net.Listener
	accepted chan struct{}
}

func (n noticed) Accept() (net.Conn, error) {
	connection, err := n.Listener.Accept()
	if err == nil {
		n.accepted <- struct{}{}
	}
	return connection, err
}

// TestDrainAnswersWhatIsNotReadYet: hazard W24. The connection was accepted, the request comes after the stop.
func TestDrainAnswersWhatIsNotReadYet(t *testing.T) {
	h := newHarness(t)
	inner, err := webhookgw.Listen(t.Context(), "127.0.0.1:0", 10)
	require.NoError(t, err)
	listener := noticed{inner, make(chan struct{}, 10)}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- webhookgw.Serve(ctx, webhookgw.NewServer("", h.handler, discard), listener) }()
	connection, err := net.Dial("tcp", listener.Addr().String())
	require.NoError(t, err)
	defer func() { _ = connection.Close() }()
	<-listener.accepted
	stop()
	requirePortCloses(t, listener.Addr())

	body := webhookBody("ready_to_confirm", `"inv-1"`)
	_, err = fmt.Fprintf(connection, "POST %s HTTP/1.1\r\nHost: x\r\n%s: %s\r\nContent-Length: %d\r\n\r\n%s",
		webhookgw.DefaultPath, pike.HeaderSign, sign(t, pikeKey(), body), len(body), body)
	require.NoError(t, err)
	response, err := http.ReadResponse(bufio.NewReader(connection), nil)
	require.NoError(t, err)
	require.Equal(t, 200, response.StatusCode)
	require.True(t, response.Close)
	require.NoError(t, <-served)
}

// TestDrainEndsIdleConnections: a connection that had its answer does not hold up the drain.
func TestDrainEndsIdleConnections(t *testing.T) {
	h := newHarness(t)
	listener, err := webhookgw.Listen(t.Context(), "127.0.0.1:0", 10)
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- webhookgw.Serve(ctx, webhookgw.NewServer("", h.handler, discard), listener) }()
	connection, err := net.Dial("tcp", listener.Addr().String())
	require.NoError(t, err)
	defer func() { _ = connection.Close() }()
	_, err = fmt.Fprintf(connection, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", webhookgw.DefaultPath)
	require.NoError(t, err)
	answers := bufio.NewReader(connection)
	response, err := http.ReadResponse(answers, nil)
	require.NoError(t, err)
	_, err = io.Copy(io.Discard, response.Body)
	require.NoError(t, err)
	require.False(t, response.Close)
	stop()
	_, err = answers.ReadByte()
	require.ErrorIs(t, err, io.EOF)
	require.NoError(t, <-served)
}

func requirePortCloses(t *testing.T, address net.Addr) {
	t.Helper()
	require.Eventually(t, func() bool {
		connection, err := net.Dial("tcp", address.String())
		if err == nil {
			_ = connection.Close()
		}
		return err != nil
	}, 5*time.Second, time.Millisecond, "the port stays open")
}

func postOverTheWire(ctx context.Context, url, body, signature string) int {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		return 0
	}
	request.Header.Set(pike.HeaderSign, signature)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0
	}
	_ = response.Body.Close()
	return response.StatusCode
}

func TestServeReportsABrokenListener(t *testing.T) {
	listener, err := webhookgw.Listen(t.Context(), "127.0.0.1:0", 10)
	require.NoError(t, err)
	require.NoError(t, listener.Close())
	err = webhookgw.Serve(t.Context(), webhookgw.NewServer("", http.NotFoundHandler(), discard), listener)
	require.ErrorContains(t, err, "serving webhooks")
}
