package pikesim_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"pikepayouts/pikesim"
)

// TestWhateverThePartnerDoes throws random calls, waits and acknowledgements at
// random behaviours and checks what must hold for every provider.
func TestWhateverThePartnerDoes(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		p := newPartner(t, defaults())
		p.version = rapid.SampledFrom([]string{"v1", "v2"}).Draw(rt, "version")
		p.ack = func(pikesim.Delivery) int { return rapid.SampledFrom([]int{200, 200, 500, 0}).Draw(rt, "ack") }
		watch := map[string]string{} // last states of each session
		rt.Repeat(map[string]func(*rapid.T){
			"start": func(rt *rapid.T) {
				behaviour := rapid.SampledFrom(pikesim.Presets()).Draw(rt, "preset")
				id := p.create(string(behaviour.Name))
				p.try("session/start/payout", startBody(p.version, id, pikesim.Token(behaviour.Name)))
				watch[id] = ""
			},
			"call": func(rt *rapid.T) {
				if len(watch) == 0 {
					rt.Skip("no session yet")
				}
				id := rapid.SampledFrom(p.core.Sessions(p.now)).Draw(rt, "session").ID
				call := rapid.SampledFrom([]string{"start/payout", "confirm", "cancel"}).Draw(rt, "call")
				p.try("session/"+call, startBody(p.version, id, card))
			},
			"wait": func(rt *rapid.T) {
				p.pass(time.Duration(rapid.Int64Range(0, int64(5*time.Hour)).Draw(rt, "wait")))
			},
			"blink": func(rt *rapid.T) {
				p.pass(time.Duration(rapid.Int64Range(0, int64(300*time.Millisecond)).Draw(rt, "wait")))
			},
			"": func(*rapid.T) { checkInvariants(t, p, watch) },
		})
	})
}

func checkInvariants(t *testing.T, p *partner, watch map[string]string) {
	paid, returned, confirms, starts := map[string]int{}, map[string]int{}, map[string]int{}, map[string]int{}
	for _, m := range p.core.Ledger().Movements {
		if m.Kind == pikesim.MovementPaid {
			paid[m.SessionID]++
		} else {
			returned[m.SessionID]++
		}
	}
	for _, call := range p.core.Ledger().Accepted {
		switch call.Method {
		case "session/confirm":
			require.Equal(t, confirms[call.SessionID] > 0, call.Repeated)
			confirms[call.SessionID]++
		case "session/start/payout":
			require.Equal(t, starts[call.SessionID] > 0, call.Repeated)
			starts[call.SessionID]++
		}
	}
	for _, s := range p.core.Sessions(p.now) {
		states := s.Status + "/" + s.PayoutStatus
		adds, paysAgain := s.Behaviour.SecondStart == pikesim.SecondStartAddPayout, s.Behaviour.SecondConfirm == pikesim.SecondConfirmPayAgain
		switch {
		case s.Behaviour.TwoPayouts:
			require.Equal(t, 2, s.Payouts)
		case adds:
			require.Equal(t, starts[s.ID], s.Payouts)
		default:
			require.Equal(t, min(starts[s.ID], 1), s.Payouts)
		}
		wasPaid := 0
		if s.Status == "accepted" {
			wasPaid = s.Payouts
			require.True(t, confirms[s.ID] > 0 || s.Behaviour.Outcome == pikesim.OutcomeAutoConfirm ||
				s.Behaviour.Cancel == pikesim.CancelPaid || s.Behaviour.DeclineWith == pikesim.DeclineErrorThenPaid, "%s paid without confirm", s.ID)
		}
		if paysAgain && wasPaid > 0 && s.Final {
			wasPaid = confirms[s.ID]
		}
		if !paysAgain || s.Final {
			require.Equal(t, wasPaid, paid[s.ID], "%s is %s", s.ID, states)
		}
		require.LessOrEqual(t, returned[s.ID], paid[s.ID])
		if before := watch[s.ID]; before == "accepted/succeeded" || before == "cancelled/failed" {
			require.Equal(t, before, states, "%s left its end", s.ID)
		}
		watch[s.ID] = states
		alone, known := p.core.Session(p.now, s.ID)
		require.True(t, known)
		require.Equal(t, s, alone)
	}
	if due, ok := p.core.NextDue(); ok {
		require.False(t, due.Before(p.now), "something due was left undone")
	}
}

func FuzzNoBodyBreaksTheCore(f *testing.F) {
	f.Add("session/start/payout", []byte(startBody("v1", "ps_1", card)))
	f.Add("session/create", []byte(`{"metadata":{"a":1},"amount_details":{"amount":1,"currency":"eur"}}`))
	f.Add("token/info", []byte(`{"type":"recurrent_token","recurrent_token":null}`))
	f.Fuzz(func(t *testing.T, method string, body []byte) {
		newPartner(t, defaults()).send(pikesim.Call{Method: method, Body: body})
	})
}

func BenchmarkPayout(b *testing.B) {
	core, now := pikesim.NewCore(defaults()), epoch
	call := func(method, body string) pikesim.Answer {
		return core.Handle(now, pikesim.Call{Version: "v1", Method: method, Body: []byte(body)})
	}
	for i := range b.N {
		call("session/create", fmt.Sprintf(`{"metadata":"%d"}`, i))
		sessions := core.Ledger().Accepted
		id := sessions[len(sessions)-1].SessionID
		call("session/start/payout", startBody("v1", id, card))
		for range 2 {
			now = now.Add(time.Second)
			for _, d := range core.Advance(now) {
				core.Delivered(now, d.ID, http.StatusOK)
			}
			call("session/status", only(id))
			call("session/confirm", only(id))
		}
	}
	require.Len(b, core.Ledger().Movements, b.N)
}
