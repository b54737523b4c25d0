package chaos

import (
	"bufio"
	"fmt"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// answering answers every line with its own name and that line.
func answering(t *testing.T, name string) (address string) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				for lines := bufio.NewScanner(connection); lines.Scan(); {
					_, _ = fmt.Fprintf(connection, "%s %s\n", name, lines.Text())
				}
				_ = connection.Close()
			}()
		}
	}()
	return listener.Addr().String()
}

func linkTo(t *testing.T, targets ...string) *link {
	l, err := newLink(t.Context(), t.Name(), targets...)
	require.NoError(t, err)
	t.Cleanup(l.close)
	return l
}

func dial(t *testing.T, l *link) net.Conn {
	connection, err := net.Dial("tcp", l.address)
	require.NoError(t, err)
	t.Cleanup(func() { _ = connection.Close() })
	return connection
}

func ask(t *testing.T, connection net.Conn, line string) string {
	t.Helper()
	_, err := fmt.Fprintln(connection, line)
	require.NoError(t, err)
	answer, err := bufio.NewReader(connection).ReadString('\n')
	require.NoError(t, err)
	return answer
}

func requireReset(t *testing.T, connection net.Conn) {
	t.Helper()
	_, err := connection.Read(make([]byte, 1))
	require.ErrorIs(t, err, syscall.ECONNRESET)
}

func TestLinkGoesRoundRobin(t *testing.T) {
	l := linkTo(t, answering(t, "a"), answering(t, "b"))
	answers := []string{ask(t, dial(t, l), "1"), ask(t, dial(t, l), "1")}
	require.ElementsMatch(t, []string{"a 1\n", "b 1\n"}, answers)
}

func TestLinkCut(t *testing.T) {
	l := linkTo(t, answering(t, "a"))
	connection := dial(t, l)
	ask(t, connection, "1")
	l.cut()
	requireReset(t, connection)
	require.Equal(t, "a 2\n", ask(t, dial(t, l), "2"))
}

func TestLinkRefuses(t *testing.T) {
	l := linkTo(t, answering(t, "a"))
	connection := dial(t, l)
	ask(t, connection, "1")
	require.NoError(t, l.become(t.Context(), refusing, 0))
	requireReset(t, connection)
	_, err := net.Dial("tcp", l.address)
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
	require.NoError(t, l.become(t.Context(), healthy, 0))
	require.Equal(t, "a 2\n", ask(t, dial(t, l), "2"))
}

// TestLinkBlackHole: what was sent never arrives, not even later.
func TestLinkBlackHole(t *testing.T) {
	l := linkTo(t, answering(t, "a"))
	idle, connection := dial(t, l), dial(t, l)
	ask(t, idle, "1")
	ask(t, connection, "1")
	require.NoError(t, l.become(t.Context(), blackHole, 0))
	_, err := fmt.Fprintln(connection, "2")
	require.NoError(t, err)
	require.Eventually(t, l.hasLostBytes, time.Minute, time.Millisecond)
	require.NoError(t, l.become(t.Context(), healthy, 0))
	requireReset(t, connection) // and not the answer
	require.Equal(t, "a 3\n", ask(t, idle, "3"), "a connection that lost nothing goes on")
}

func (l *link) hasLostBytes() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for tunnel := range l.tunnels {
		if tunnel.lostBytes {
			return true
		}
	}
	return false
}

func TestLinkLatency(t *testing.T) {
	l := linkTo(t, answering(t, "a"))
	connection := dial(t, l)
	const delay = 50 * time.Millisecond
	require.NoError(t, l.become(t.Context(), slow, delay))
	sent := time.Now()
	require.Equal(t, "a 1\n", ask(t, connection, "1"))
	require.GreaterOrEqual(t, time.Since(sent), 2*delay, "there and back")
}
