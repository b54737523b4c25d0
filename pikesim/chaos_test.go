package pikesim_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"pikepayouts/pikesim"
)

// everything is a bit of all that can go wrong.
func everything(seed uint64) pikesim.Chaos {
	kinds := map[pikesim.FaultKind]float64{}
	for _, kind := range []pikesim.FaultKind{"never_arrives", "works_later", "http_429", "http_429_retry_after", "unknown_code", "redirect",
		"lost", "late", "cut", "html", "empty", "no_status", "http_500", "http_502", "http_503", "http_504", "unknown_code_worked"} {
		kinds[kind] = 0.02
	}
	return pikesim.Chaos{
		Seed: seed, Target: trap,
		Faults:   map[pikesim.Step]map[pikesim.FaultKind]float64{"create": kinds, "start": kinds, "confirm": kinds, "cancel": kinds, "status": kinds},
		Webhooks: map[pikesim.Webhooks]float64{"lost": 0.2, "duplicated": 0.1, "reordered": 0.1, "early": 0.1, "late": 0.1, "shuffled": 0.1},
		Outcomes: map[pikesim.Outcome]float64{"declined_at_checks": 0.1, "declined_after_confirm": 0.1, "never_ready": 0.05,
			"auto_confirm": 0.05, "returned": 0.05},
		DeclineWith: map[pikesim.DeclineWith]float64{"error": 0.1, "error_then_paid": 0.2, "error_then_cancelled": 0.2},
		Cancel:      map[pikesim.Cancel]float64{"any_time": 0.2, "refused": 0.2, "paid": 0.2},
		Balance:     map[pikesim.Balance]float64{"short_at_start": 0.05, "short_at_confirm": 0.05, "short_at_end": 0.05},
		Echo:        map[pikesim.Echo]float64{"amount": 0.02, "currency": 0.02, "destination": 0.02, "recipient": 0.02, "metadata": 0.02},
		Lies:        map[pikesim.Lie]float64{"paid_while_pending": 0.1, "failed_while_paid": 0.1},
		TwoPayouts:  0.05, StatusLag: 0.2,
	}
}

// life calls a payout's methods one after the other, whatever comes back.
func life(p *partner, metadata string) (output []string) {
	try := func(method, body string) pikesim.Answer {
		answer := p.try("session/"+method, body)
		output = append(output, fmt.Sprintf("%s %+v", answer.Body, answer))
		return answer
	}
	for range 3 {
		try("create", fmt.Sprintf(`{"metadata":%q}`, metadata))
	}
	p.pass(3 * time.Minute)
	for _, s := range p.core.Sessions(p.now) {
		if string(s.Metadata) != fmt.Sprintf("%q", metadata) {
			continue
		}
		try("start/payout", startBody("v1", s.ID, card))
		p.pass(time.Minute)
		try("status", only(s.ID))
		try("confirm", only(s.ID))
		p.pass(time.Minute)
		try("cancel", only(s.ID))
		try("status", only(s.ID))
	}
	return output
}

func TestChaosIsTheSameForTheSameSeed(t *testing.T) {
	run := func(seed uint64) []string {
		p := newPartner(t, defaults())
		require.NoError(t, p.core.SetChaos(everything(seed)))
		var output []string
		for i := range 60 {
			output = append(output, life(p, fmt.Sprint(i))...)
		}
		p.pass(6 * 24 * time.Hour)
		for _, r := range p.received {
			output = append(output, fmt.Sprint(r.at, r.delivery.ID, r.delivery.Attempt)+string(r.delivery.Body))
		}
		return append(output, jsonOf(t, p.core.Ledger()), jsonOf(t, p.core.Sessions(p.now)))
	}
	first := run(3)
	require.Equal(t, first, run(3))
	require.NotEqual(t, first, run(4))
}

func TestWhatHappensToAPayoutDoesNotDependOnTheOthers(t *testing.T) {
	run := func(others int) []string {
		p := newPartner(t, defaults())
		require.NoError(t, p.core.SetChaos(everything(5)))
		for i := range others {
			life(p, fmt.Sprint("other", i))
		}
		life(p, "x")
		var faults []string
		ledger := p.core.Ledger().Of("x")
		for _, call := range append(ledger.Accepted, ledger.Refused...) {
			faults = append(faults, fmt.Sprint(call.Method, call.Outcome, call.Fault, call.HTTPStatus))
		}
		return faults
	}
	require.Equal(t, run(0), run(7))
}

func TestChaosThatIsOffChangesNothing(t *testing.T) {
	run := func(set func(*pikesim.Core)) []string {
		options := defaults()
		options.Rand = rand.New(rand.NewPCG(1, 2))
		p := newPartner(t, options)
		set(p.core)
		return append(life(p, "x"), jsonOf(t, p.core.Ledger()))
	}
	never := run(func(*pikesim.Core) {})
	require.Equal(t, never, run(func(core *pikesim.Core) { require.NoError(t, core.SetChaos(pikesim.Chaos{Seed: 9})) }))
	require.Equal(t, never, run(func(core *pikesim.Core) {
		require.NoError(t, core.SetChaos(everything(9)))
		require.NoError(t, core.SetChaos(pikesim.Chaos{}))
	}))
	require.NotEqual(t, never, run(func(core *pikesim.Core) { require.NoError(t, core.SetChaos(everything(9))) }))
}

func TestChaosHasItsProbabilities(t *testing.T) {
	const payouts = 2000
	p := newPartner(t, defaults())
	require.NoError(t, p.core.SetChaos(pikesim.Chaos{
		Faults:   map[pikesim.Step]map[pikesim.FaultKind]float64{"create": {"lost": 0.3, "late": 0.1}},
		Outcomes: map[pikesim.Outcome]float64{"never_ready": 0.25}, MaxDelay: pikesim.Duration(time.Minute),
		Webhooks: map[pikesim.Webhooks]float64{"lost": 0.5},
	}))
	lost, late := 0, 0
	for i := range payouts {
		answer := p.try("session/create", fmt.Sprintf(`{"metadata":%q}`, fmt.Sprint(i)))
		if answer.Lost {
			lost++
		}
		if answer.Delay > 0 {
			late++
			require.LessOrEqual(t, answer.Delay, time.Minute)
		}
	}
	for _, s := range p.core.Sessions(p.now) {
		p.must("session/start/payout", startBody("v1", s.ID, card))
	}
	p.pass(time.Second)
	never := 0
	for _, s := range p.core.Sessions(p.now) {
		if s.Behaviour.Outcome == pikesim.OutcomeNeverReady {
			never++
		}
	}
	require.InDelta(t, 0.3, float64(lost)/payouts, 0.05)
	require.InDelta(t, 0.1, float64(late)/payouts, 0.03)
	require.InDelta(t, 0.25, float64(never)/payouts, 0.05)
	require.InDelta(t, 0.5*0.75, float64(len(p.received))/payouts, 0.05)
}

func TestChaosDoesNotOverrideABehaviour(t *testing.T) {
	p := newPartner(t, defaults())
	require.NoError(t, p.core.SetChaos(pikesim.Chaos{
		Faults:   map[pikesim.Step]map[pikesim.FaultKind]float64{"confirm": {"never_arrives": 1}},
		Outcomes: map[pikesim.Outcome]float64{"never_ready": 1}, Webhooks: map[pikesim.Webhooks]float64{"lost": 1},
	}))
	require.NoError(t, p.core.SetDefault(pikesim.Behaviour{Outcome: "confirmed", Webhooks: "normal",
		Faults: []pikesim.Fault{{Call: "confirm", Kind: "html"}}}))
	id := p.begin("x")
	require.Len(t, p.received, 1)
	require.Contains(t, string(p.try("session/confirm", only(id)).Body), "<html>")
	p.pass(time.Second)
	require.Equal(t, "accepted/succeeded", p.states(id))
	require.True(t, p.try("session/confirm", only(id)).Lost, "its own fault is used up")
}

func TestWhateverHappensByChanceTheLedgerIsRight(t *testing.T) {
	for seed := range uint64(20) {
		p := newPartner(t, defaults())
		require.NoError(t, p.core.SetChaos(everything(seed)))
		for i := range 20 {
			life(p, fmt.Sprint(i))
			checkInvariants(t, p, map[string]string{})
		}
		p.pass(6 * 24 * time.Hour)
		checkInvariants(t, p, map[string]string{})
	}
}

func TestChaosIsChecked(t *testing.T) {
	fault := func(call pikesim.Step, kind pikesim.FaultKind, p float64) map[pikesim.Step]map[pikesim.FaultKind]float64 {
		return map[pikesim.Step]map[pikesim.FaultKind]float64{call: {kind: p}}
	}
	tests := []struct {
		chaos   pikesim.Chaos
		wantErr string
	}{
		{pikesim.Chaos{Faults: fault("x", "lost", 0.1)}, `faults must be of the calls create, start, confirm, cancel, status, not "x"`},
		{pikesim.Chaos{Faults: fault("start", "x", 0.1)}, `faults.start must be of never_arrives, works_later`},
		{pikesim.Chaos{Faults: fault("start", "lost", -0.1)}, `faults.start.lost must be a probability from 0 to 1, not -0.1`},
		{pikesim.Chaos{Faults: fault("start", "lost", math.NaN())}, `must be a probability`},
		{pikesim.Chaos{Faults: fault("start", "redirect", 0.1)}, `a redirect needs an absolute http or https URL as its target`},
		{pikesim.Chaos{Webhooks: map[pikesim.Webhooks]float64{"lost": 0.6, "late": 0.5}}, `webhooks must sum up to 1 at most, not 1.1`},
		{pikesim.Chaos{Outcomes: map[pikesim.Outcome]float64{"": 0.1}}, `outcomes must be of confirmed, declined_at_checks`},
		{pikesim.Chaos{TwoPayouts: 2}, `two_payouts must be a probability`},
		{pikesim.Chaos{StatusLag: 2}, `status_lag must be a probability`},
		{pikesim.Chaos{MaxDelay: -1}, `max_delay must not be negative`},
	}
	for _, tt := range tests {
		require.ErrorContains(t, newPartner(t, defaults()).core.SetChaos(tt.chaos), tt.wantErr)
	}
}
