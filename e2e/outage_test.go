package e2e

import (
	"bufio"
	"crypto/rand"
	"crypto/rsa"
	"io"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"pikepayouts/pike"
)

// TestOutageOfKilledGateways: hazards W12, F39. Whatever was answered 200 is in Temporal, and what
// was not is repeated without becoming two events.
func TestOutageOfKilledGateways(t *testing.T) {
	t.Parallel()
	kills := 60 * *attackScale
	f := newGatewayFleet(t, 2)
	l := newLoad(t, f.urls)
	l.during(16, func() {
		for n := range kills {
			// The instant is what is random here: nothing is waited for.
			<-time.After(mathrand.N(100 * time.Millisecond))
			i := n % len(f.gateways)
			f.gateways[i].kill()
			f.replace(i)
		}
	})
	broken := l.count(brokenOff)
	t.Logf("%d kills, %d events, %d requests broken off by a kill", kills, l.sent(), broken)
	require.Positive(t, broken, "no kill hit a request")
	l.requireEachStoredOnce()
}

// TestOutageByRollingRestart: hazards W24, F40. What a gateway took in before SIGTERM is answered.
func TestOutageByRollingRestart(t *testing.T) {
	t.Parallel()
	f := newGatewayFleet(t, 3)
	l, held := newLoad(t, f.urls), newMailbox(t)
	restarts := 0
	l.during(16, func() {
		for range 4 * *attackScale {
			for i, g := range f.gateways {
				restarts++
				stopWithARequestInHand(t, g, held)
				f.replace(i)
			}
		}
	})
	notTaken := l.count(func(a attempt) bool { return a.err != nil && !a.accepted })
	t.Logf("%d restarts, %d events, %d attempts not taken in, answers %v", restarts, l.sent(), notTaken, l.statuses())
	require.Zero(t, l.count(brokenOff))
	require.Zero(t, l.count(func(a attempt) bool { return a.status != 0 && a.status != http.StatusOK }))
	l.requireEachStoredOnce()
	held.requireEachStoredOnce()
}

// stopWithARequestInHand stops the gateway while a webhook is half sent, and sends the rest when the port is closed.
func stopWithARequestInHand(t *testing.T, g *gatewayProcess, box *mailbox) {
	t.Helper()
	d, err := box.next(shared.pikeKey)
	require.NoError(t, err)
	head, body, _ := strings.Cut(string(d.raw()), "\r\n\r\n")
	connection, err := new(net.Dialer).DialContext(testContext(t), "tcp", g.host())
	require.NoError(t, err)
	defer func() { _ = connection.Close() }()
	answers := bufio.NewReader(connection)
	_, err = io.WriteString(connection, head+"\r\nExpect: 100-continue\r\n\r\n")
	require.NoError(t, err)
	response, err := http.ReadResponse(answers, nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusContinue, response.StatusCode)

	require.NoError(t, g.cmd.Process.Signal(syscall.SIGTERM))
	require.Eventually(t, func() bool {
		late, err := new(net.Dialer).DialContext(testContext(t), "tcp", g.host())
		if err == nil {
			_ = late.Close()
		}
		return err != nil
	}, time.Minute, time.Millisecond, "the port stays open")
	_, err = io.WriteString(connection, body)
	require.NoError(t, err)
	response, err = http.ReadResponse(answers, nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, response.StatusCode)
	require.NoError(t, g.cmd.Wait())
}

// TestOutageOfTemporal: hazards W14, F41, F42. Pike is told to repeat, in time, and nothing is lost.
func TestOutageOfTemporal(t *testing.T) {
	t.Parallel()
	const clients = 40
	wire := newLink(t, shared.address)
	g := startGatewayProcess(t, "TEMPORAL_ADDRESS="+wire.address)
	l := newLoad(t, func() []string { return []string{g.url} })
	l.during(1, func() { l.awaitAnswered(1) })
	before := g.requireVitals()
	sampled := g.sample()
	l.during(clients, func() {
		for _, weather := range []network{networkFine, networkCut, networkSilent, networkFine, networkSlow, networkFine} {
			wire.become(weather)
			l.setWeather(string(weather))
			<-time.After(time.Duration(*attackScale) * outageOf[weather])
			l.setWeather("changing")
		}
	})
	for _, weather := range []network{networkFine, networkCut, networkSilent, networkSlow} {
		counts := map[int]int{}
		throughout := func(a attempt) bool { return a.from == string(weather) && a.to == string(weather) }
		l.count(func(a attempt) bool {
			if throughout(a) {
				counts[a.status]++
			}
			return false
		})
		t.Logf("network %s: answers %v", weather, counts)
		require.NotEmpty(t, counts)
		if weather == networkCut || weather == networkSilent {
			require.Zero(t, counts[http.StatusOK], "200 for what Temporal cannot have, network %s", weather)
		}
	}
	top := peak(sampled())
	t.Logf("%d events; at most %.0f goroutines, %.0f before, %s", l.sent(), top.goroutines, before.goroutines, mebibytes(top.memory))
	require.Zero(t, l.count(func(a attempt) bool { return a.err != nil }), "Pike waited for nothing")
	require.Zero(t, l.count(func(a attempt) bool { return a.status != http.StatusOK && a.status != http.StatusServiceUnavailable }))
	require.Zero(t, l.count(func(a attempt) bool { return a.status == http.StatusServiceUnavailable && a.retryAfter == "" }))
	require.LessOrEqual(t, top.goroutines, before.goroutines+8*clients)
	g.requireCalmAgain(before)
	l.requireEachStoredOnce()
}

// outageOf is longer than a gateway waits for Temporal.
var outageOf = map[network]time.Duration{
	networkFine: time.Second, networkCut: 7 * time.Second, networkSilent: 7 * time.Second, networkSlow: 6 * time.Second,
}

// TestOutageFreeKeyChange: hazards W19, F38. Pike switches its key while the gateways know both, one restart before and one after.
func TestOutageFreeKeyChange(t *testing.T) {
	t.Parallel()
	newKey, err := rsa.GenerateKey(rand.Reader, pike.MinKeyBits)
	require.NoError(t, err)
	oldPEM, newPEM := publicPEM(t, &shared.pikeKey.PublicKey), publicPEM(t, &newKey.PublicKey)
	f := newGatewayFleet(t, 2)
	l := newLoad(t, f.urls)
	roll := func(keys string) {
		for i, g := range f.gateways {
			g.stop()
			f.replace(i, "PIKE_WEBHOOK_PUBLIC_KEYS="+keys)
		}
		l.awaitAnswered(20)
	}
	l.during(8, func() {
		roll(oldPEM + newPEM)
		l.switchKey(newKey)
		l.awaitAnswered(20)
		roll(newPEM)
	})
	t.Logf("%d events, answers %v", l.sent(), l.statuses())
	require.Zero(t, l.count(func(a attempt) bool { return a.status != 0 && a.status != http.StatusOK }))
	l.requireEachStoredOnce()
	old, err := newMailbox(t).next(shared.pikeKey)
	require.NoError(t, err)
	for _, url := range f.urls() {
		require.Equal(t, http.StatusUnauthorized, old.send(testContext(t), newPike(), url).status)
	}
}
