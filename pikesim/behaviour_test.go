package pikesim_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"pikepayouts/pikesim"
)

func TestWhichBehaviourAPayoutHas(t *testing.T) {
	end := func(p *partner, metadata, token string) string {
		id := p.create(metadata)
		p.must("session/start/payout", startBody("v1", id, token))
		p.pass(time.Second)
		return p.states(id)
	}
	p := newPartner(t, defaults())
	require.NoError(t, p.core.SetBehaviour("mine", pikesim.Behaviour{Outcome: pikesim.OutcomeDeclinedAtChecks}))
	require.Equal(t, "in_progress/pending confirm", end(p, "a", card))
	require.Equal(t, "accepted/succeeded", end(p, "b", pikesim.Token("auto_confirm")))
	require.Equal(t, "cancelled/failed operation_rejected", end(p, "mine", pikesim.Token("auto_confirm")), "metadata goes first")
	require.Equal(t, "in_progress/pending confirm", end(p, "c", pikesim.Token("no_such_preset")))

	require.NoError(t, p.core.SetDefault(pikesim.Behaviour{Outcome: pikesim.OutcomeNeverReady}))
	require.Equal(t, "in_progress/in_progress", end(p, "d", card))
	require.Equal(t, "in_progress/in_progress", end(p, "e", pikesim.Token("no_such_preset")))
	require.Equal(t, "in_progress/pending confirm", end(p, "f", pikesim.Token("confirmed")), "a token goes before the default")
}

func TestBehavioursAreChecked(t *testing.T) {
	for _, preset := range pikesim.Presets() {
		require.NoError(t, newPartner(t, defaults()).core.SetDefault(preset.Behaviour))
	}
	tests := []struct {
		behaviour pikesim.Behaviour
		wantErr   string
	}{
		{pikesim.Behaviour{Outcome: "x"}, `outcome must be one of confirmed, declined_at_checks`},
		{pikesim.Behaviour{DeclineWith: "x"}, `decline_with must be one of cancelled, error`},
		{pikesim.Behaviour{Cancel: "x"}, `cancel must be one of when_ready`},
		{pikesim.Behaviour{Webhooks: "x"}, `webhooks must be one of normal, lost`},
		{pikesim.Behaviour{Balance: "x"}, `balance must be one of enough, short_at_start`},
		{pikesim.Behaviour{Echo: "x"}, `echo must be one of faithful, amount`},
		{pikesim.Behaviour{Lies: "x"}, `lies must be one of none, paid_while_pending`},
		{pikesim.Behaviour{WebhookCopies: -1}, `webhook_copies must be from 0 to 1000`},
		{pikesim.Behaviour{WebhookDelay: -1}, `webhook_delay must not be negative`},
		{pikesim.Behaviour{ResolvesAfter: -1}, `resolves_after must not be negative`},
		{pikesim.Behaviour{Modes: pikesim.Modes{SecondStart: "x"}}, `second_start must be one of refuse, add_payout, no_op`},
		{pikesim.Behaviour{Modes: pikesim.Modes{SecondConfirm: "x"}}, `second_confirm must be one of refuse, pay_again, no_op`},
		{pikesim.Behaviour{Modes: pikesim.Modes{IdempotencyKeys: "x"}}, `idempotency_keys must be one of on, off`},
		{pikesim.Behaviour{Modes: pikesim.Modes{ErrorHTTP: 500}}, `error_http must be one of 400, 401, 403, 404, 200, not 500`},
		{pikesim.Behaviour{Modes: pikesim.Modes{StatusLag: -1}}, `status_lag must not be negative`},
		{pikesim.Behaviour{Modes: pikesim.Modes{ConfirmDeadline: -1}}, `confirm_deadline must not be negative`},
		{faults(pikesim.Fault{Kind: "lost"}), `faults[0] (call, kind, times, delay, code, target, after, for): call must be one of create, start`},
		{faults(pikesim.Fault{Call: "start"}), `kind must be one of never_arrives, works_later`},
		{faults(pikesim.Fault{Call: "start", Kind: "lost", Times: -2}), `times must be a number of calls`},
		{faults(pikesim.Fault{Call: "start", Kind: "lost", Delay: 1}), `delay must be positive, and goes with late`},
		{faults(pikesim.Fault{Call: "start", Kind: "late", Delay: -1}), `delay must be positive, and goes with late`},
		{faults(pikesim.Fault{Call: "start", Kind: "lost", Code: "x"}), `code goes with unknown_code`},
		{faults(pikesim.Fault{Call: "start", Kind: "lost", Target: "http://trap"}), `target goes with redirect`},
		{faults(pikesim.Fault{Call: "start", Kind: "redirect", Target: "/trap"}), `a redirect needs an absolute http or https URL`},
		{faults(pikesim.Fault{Call: "start", Kind: "lost", After: "status"}), `after must be one of create, start, confirm, cancel`},
		{faults(pikesim.Fault{Call: "start", Kind: "lost", For: 1}), `for must be positive, and goes with after`},
	}
	for _, tt := range tests {
		p := newPartner(t, defaults())
		require.ErrorContains(t, p.core.SetDefault(tt.behaviour), tt.wantErr)
		require.ErrorContains(t, p.core.SetBehaviour("x", tt.behaviour), tt.wantErr)
	}
}

func TestLostAnswersAreLostOnceAndTheWorkIsDone(t *testing.T) {
	t.Run("create", func(t *testing.T) {
		p := newPartner(t, defaults())
		require.NoError(t, p.core.SetBehaviour("x", pikesim.Behaviour{Faults: []pikesim.Fault{{Call: "create", Kind: "lost"}}}))
		require.False(t, p.call("session/create", `{"metadata":"y"}`).raw.Lost)
		require.True(t, p.call("session/create", `{"metadata":"x"}`).raw.Lost)
		require.False(t, p.call("session/create", `{"metadata":"x"}`).raw.Lost)
		require.Len(t, p.core.Sessions(p.now), 3, "the lost one is an orphan")
	})
	t.Run("start", func(t *testing.T) {
		p := newPartner(t, defaults())
		id := p.create("x")
		body := startBody("v1", id, pikesim.Token("start_answer_lost"))
		require.True(t, p.call("session/start/payout", body).raw.Lost)
		require.Equal(t, "in_progress/in_progress", p.states(id))
		require.Equal(t, "session_wrong_state", p.call("session/start/payout", body).code())
	})
	t.Run("confirm", func(t *testing.T) {
		p := newPartner(t, defaults())
		id := p.ready("confirm_answer_lost")
		require.True(t, p.call("session/confirm", only(id)).raw.Lost)
		p.pass(time.Second)
		require.Equal(t, "accepted/succeeded", p.states(id))
		accepted := p.core.Ledger().Accepted
		require.True(t, accepted[2].AnswerLost)
		require.Len(t, p.core.Ledger().Movements, 1)
	})
	t.Run("cancel", func(t *testing.T) {
		p := newPartner(t, defaults())
		id := p.ready("cancel_answer_lost")
		require.True(t, p.call("session/cancel", only(id)).raw.Lost)
		p.pass(time.Second)
		require.Equal(t, "cancelled/failed session_cancelled_by_partner", p.states(id))
	})
}

func TestDimensionsAreIndependent(t *testing.T) {
	p := newPartner(t, defaults())
	require.NoError(t, p.core.SetBehaviour("x", pikesim.Behaviour{
		Outcome: pikesim.OutcomeDeclinedAfterConfirm, DeclineWith: pikesim.DeclineError, Webhooks: pikesim.WebhooksDuplicated,
		Faults: []pikesim.Fault{{Call: "start", Kind: "lost"}, {Call: "confirm", Kind: "lost"}},
	}))
	id := p.create("x")
	require.True(t, p.call("session/start/payout", startBody("v1", id, card)).raw.Lost)
	p.pass(time.Second)
	require.True(t, p.call("session/confirm", only(id)).raw.Lost)
	p.pass(time.Second)
	require.Equal(t, "error/failed declined_by_issuer_bank", p.states(id))
	require.Len(t, p.received, 6)
}
