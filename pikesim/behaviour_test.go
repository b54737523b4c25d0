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
		{pikesim.Behaviour{LostAnswers: []pikesim.Step{"status"}}, `lost_answers must be one of create, start`},
		{pikesim.Behaviour{LostAnswers: []pikesim.Step{""}}, `lost_answers must not hold an empty string`},
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
		require.NoError(t, p.core.SetBehaviour("x", pikesim.Behaviour{LostAnswers: []pikesim.Step{pikesim.StepCreate}}))
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
		LostAnswers: []pikesim.Step{pikesim.StepStart, pikesim.StepConfirm},
	}))
	id := p.create("x")
	require.True(t, p.call("session/start/payout", startBody("v1", id, card)).raw.Lost)
	p.pass(time.Second)
	require.True(t, p.call("session/confirm", only(id)).raw.Lost)
	p.pass(time.Second)
	require.Equal(t, "error/failed declined_by_issuer_bank", p.states(id))
	require.Len(t, p.received, 6)
}
