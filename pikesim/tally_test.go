package pikesim_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"pikepayouts/pikesim"
)

func TestTallies(t *testing.T) {
	p := newPartner(t, defaults())
	require.NoError(t, p.core.SetModes(pikesim.Modes{SecondConfirm: "pay_again", SecondStart: "no_op"}))
	p.create("twice") // an orphan
	id := p.begin("twice")
	p.must("session/start/payout", startBody("v1", id, card))
	p.must("session/confirm", only(id))
	p.must("session/confirm", only(id))
	p.pass(time.Second)
	id = p.ready("returned")
	p.must("session/confirm", only(id))
	p.pass(time.Hour)
	p.call("session/cancel", only(id))
	p.create("lonely")

	ledger := p.core.Ledger()
	tallies := ledger.Tallies()
	require.Len(t, tallies, 3)
	twice := tallies["twice"]
	require.Len(t, twice.Movements, 2)
	require.Equal(t, pikesim.Tally{
		Accepted: map[pikesim.Step]int{"create": 2, "start": 2, "confirm": 2}, Repeated: map[pikesim.Step]int{"start": 1, "confirm": 1},
		Orphans: 1, Paid: 2, Movements: ledger.Of("twice").Movements, Webhooks: 2, Acknowledged: 2, Last: twice.Movements[1].At,
	}, *twice)
	require.Equal(t, 1, tallies["returned"].Paid)
	require.Equal(t, 1, tallies["returned"].Returned)
	require.Equal(t, 1, tallies["returned"].Refused)
	require.Equal(t, 1, tallies["lonely"].Orphans)
	require.Equal(t, 2, ledger.Orphans())
	require.Equal(t, map[string][]pikesim.Movement{"twice": twice.Movements}, ledger.PaidTwice())
}

// BenchmarkTallies judges 100,000 payouts, which must be a matter of a second.
func BenchmarkTallies(b *testing.B) {
	const payouts = 100_000
	core, now := pikesim.NewCore(defaults()), epoch
	for i := range payouts {
		core.Handle(now, pikesim.Call{Version: "v1", Method: "session/create", Body: fmt.Appendf(nil, `{"metadata":"%d"}`, i)})
	}
	for _, s := range core.Sessions(now) {
		core.Handle(now, pikesim.Call{Version: "v1", Method: "session/start/payout", Body: []byte(startBody("v1", s.ID, card))})
	}
	now = now.Add(time.Second)
	core.Advance(now)
	for _, s := range core.Sessions(now) {
		core.Handle(now, pikesim.Call{Version: "v1", Method: "session/confirm", Body: []byte(only(s.ID))})
	}
	now = now.Add(time.Second)
	core.Advance(now)
	b.ResetTimer()
	for range b.N {
		ledger := core.Ledger()
		require.Len(b, ledger.Tallies(), payouts)
		require.Empty(b, ledger.PaidTwice())
		require.Zero(b, ledger.Orphans())
	}
}
