package chaos

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"
)

// condition is what a link does with the bytes that it is given.
type condition string

const (
	healthy   condition = "healthy"
	refusing  condition = "refuse"     // nobody listens, and what was open is reset
	blackHole condition = "black hole" // connections are taken and stay open, no byte arrives
	slow      condition = "latency"    // whatever is sent arrives later
)

// listenAgainWithin bounds how long a link that refused waits for its port: another program may hold it for a moment.
const listenAgainWithin = 30 * time.Second

// link is a TCP proxy between two processes. Connections go round robin to its targets.
type link struct {
	name    string
	address string
	targets []string
	carried sync.WaitGroup // goroutines

	mu        sync.Mutex // guards what follows
	condition condition
	delay     time.Duration
	listener  net.Listener
	accepted  int
	tunnels   map[*tunnel]struct{}
}

// tunnel is one connection through a link.
type tunnel struct {
	client, target net.Conn
	gone           chan struct{} // closed with the connections
	once           sync.Once
	lostBytes      bool // guarded by the link's mu: a byte stream with a hole must not go on
}

func newLink(ctx context.Context, name string, targets ...string) (*link, error) {
	l := &link{name: name, address: "127.0.0.1:0", targets: targets, condition: healthy, tunnels: map[*tunnel]struct{}{}}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.listen(ctx); err != nil {
		return nil, err
	}
	l.address = l.listener.Addr().String()
	return l, nil
}

// listen is called with mu held.
func (l *link) listen(ctx context.Context) error {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", l.address)
	if err != nil {
		return fmt.Errorf("link %s: %w", l.name, err)
	}
	l.listener = listener
	l.carried.Go(func() { l.accept(listener) })
	return nil
}

func (l *link) accept(listener net.Listener) {
	for {
		client, err := listener.Accept()
		if err != nil {
			return // closed
		}
		l.carried.Go(func() { l.carry(client) })
	}
}

// become changes the condition. What lost bytes in a black hole is reset when that ends: late
// bytes would be more delay than Pike and its partner have agreed on.
func (l *link) become(ctx context.Context, next condition, delay time.Duration) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := l.condition
	l.condition, l.delay = next, delay
	switch {
	case next == refusing && before != refusing:
		_ = l.listener.Close()
		l.reset(func(*tunnel) bool { return true })
	case before == refusing && next != refusing:
		return l.listenAgain(ctx)
	case before == blackHole:
		l.reset(func(t *tunnel) bool { return t.lostBytes })
	}
	return nil
}

func (l *link) listenAgain(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, listenAgainWithin)
	defer cancel()
	for {
		err := l.listen(ctx)
		if err == nil || !pause(ctx, 100*time.Millisecond) {
			return err
		}
	}
}

// cut resets every connection; new ones are welcome.
func (l *link) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reset(func(*tunnel) bool { return true })
}

// close returns after every goroutine of the link has ended.
func (l *link) close() {
	l.mu.Lock()
	_ = l.listener.Close()
	l.condition = refusing
	l.reset(func(*tunnel) bool { return true })
	l.mu.Unlock()
	l.carried.Wait()
}

// reset is called with mu held.
func (l *link) reset(which func(*tunnel) bool) {
	for t := range l.tunnels {
		if which(t) {
			t.reset()
		}
	}
}

func (l *link) carry(client net.Conn) {
	dialer := net.Dialer{Timeout: 5 * time.Second}
	target, err := dialer.DialContext(context.Background(), "tcp", l.nextTarget())
	if err != nil {
		resetConnection(client)
		return
	}
	t := &tunnel{client: client, target: target, gone: make(chan struct{})}
	if !l.enter(t) {
		t.reset()
		return
	}
	var pumps sync.WaitGroup
	pumps.Go(func() { l.pump(t, client, target) })
	pumps.Go(func() { l.pump(t, target, client) })
	pumps.Wait()
	l.mu.Lock()
	delete(l.tunnels, t)
	l.mu.Unlock()
}

// enter is false if the link has begun to refuse since the connection was accepted.
func (l *link) enter(t *tunnel) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tunnels[t] = struct{}{}
	if l.condition == refusing {
		delete(l.tunnels, t)
		return false
	}
	return true
}

func (l *link) nextTarget() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.accepted++
	return l.targets[l.accepted%len(l.targets)]
}

func (l *link) pump(t *tunnel, from, to net.Conn) {
	defer t.close()
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 && l.passes(t) {
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// passes says whether bytes of the tunnel arrive, and takes the time that they need.
func (l *link) passes(t *tunnel) bool {
	l.mu.Lock()
	t.lostBytes = t.lostBytes || l.condition == blackHole
	lost, delay := t.lostBytes, l.delay
	l.mu.Unlock()
	if lost || delay == 0 {
		return !lost
	}
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-t.gone:
		return false
	}
}

func (t *tunnel) close() {
	t.once.Do(func() {
		close(t.gone)
		_, _ = t.client.Close(), t.target.Close()
	})
}

func (t *tunnel) reset() {
	t.once.Do(func() {
		close(t.gone)
		resetConnection(t.client)
		resetConnection(t.target)
	})
}

// resetConnection ends the connection by RST, as a crash or a firewall does.
func resetConnection(connection net.Conn) {
	_ = connection.(*net.TCPConn).SetLinger(0)
	_ = connection.Close()
}

// pause is false if ctx ended before d had passed.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// freeAddresses are n different ones that nobody listens on at this moment.
func freeAddresses(ctx context.Context, n int) ([]string, error) {
	var addresses []string
	for range n {
		listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("finding a free port: %w", err)
		}
		defer func() { _ = listener.Close() }() // all are held until all are found
		addresses = append(addresses, listener.Addr().String())
	}
	return addresses, nil
}
