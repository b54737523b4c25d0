package e2e

import (
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// network is how a link treats what goes through it.
type network string

const (
	networkFine   network = "fine"
	networkCut    network = "cut"    // connections are reset, new ones too
	networkSilent network = "silent" // a black hole: nothing arrives, nobody is told
	networkSlow   network = "slow"   // answers take slowness longer
)

// slowness is about what one call of Temporal may take: half of the hand-off's time, the SDK keeps the rest for a
// retry. Pike is asked to repeat what Temporal has long since.
const slowness = 2 * time.Second

// link is a TCP proxy before a server, with a network that a test breaks.
type link struct {
	address string
	target  string

	mu          sync.Mutex
	network     network
	changed     chan struct{} // closed when network is another one
	connections map[net.Conn]struct{}
}

func newLink(t *testing.T, target string) *link {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	l := &link{
		address: listener.Addr().String(), target: target,
		network: networkFine, changed: make(chan struct{}), connections: map[net.Conn]struct{}{},
	}
	t.Cleanup(func() { _ = listener.Close(); l.become(networkCut) })
	go func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			go l.join(near)
		}
	}()
	return l
}

func (l *link) become(next network) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.network = next
	close(l.changed)
	l.changed = make(chan struct{})
	if next == networkCut {
		for connection := range l.connections {
			reset(connection)
		}
		clear(l.connections)
	}
}

func (l *link) now() (network, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.network, l.changed
}

// keep remembers a connection for the next cut, or cuts it now.
func (l *link) keep(connection net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.network == networkCut {
		reset(connection)
		return
	}
	l.connections[connection] = struct{}{}
}

func (l *link) forget(connection net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.connections, connection)
}

func reset(connection net.Conn) {
	_ = connection.(*net.TCPConn).SetLinger(0)
	_ = connection.Close()
}

func (l *link) join(near net.Conn) {
	l.keep(near)
	defer l.forget(near)
	defer func() { _ = near.Close() }()
	far, err := net.Dial("tcp", l.target)
	if err != nil {
		return
	}
	l.keep(far)
	defer l.forget(far)
	defer func() { _ = far.Close() }()
	ended := make(chan struct{}, 2)
	go func() { defer func() { ended <- struct{}{} }(); l.carry(far, near, false) }()
	go func() { defer func() { ended <- struct{}{} }(); l.carry(near, far, true) }()
	<-ended
}

// parcel is what was read at once, and when it may go on.
type parcel struct {
	bytes []byte
	due   time.Time
}

// carry copies in order; a slow network delays every parcel, it does not make them queue.
func (l *link) carry(to, from net.Conn, answers bool) {
	parcels := make(chan parcel, 1024)
	go func() {
		defer close(parcels)
		for {
			buffer := make([]byte, 32<<10)
			n, err := from.Read(buffer)
			if err != nil {
				return
			}
			due := time.Now()
			if network, _ := l.now(); network == networkSlow && answers {
				due = due.Add(slowness)
			}
			parcels <- parcel{bytes: buffer[:n], due: due}
		}
	}()
	for p := range parcels {
		<-time.After(time.Until(p.due))
		l.untilHeard()
		if _, err := to.Write(p.bytes); err != nil {
			break
		}
	}
	_ = from.Close() // ends the reader
	for range parcels {
	}
}

// untilHeard returns as soon as the network is not silent.
func (l *link) untilHeard() {
	for {
		network, changed := l.now()
		if network != networkSilent {
			return
		}
		<-changed
	}
}
