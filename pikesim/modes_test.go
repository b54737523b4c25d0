package pikesim_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"pikepayouts/pikesim"
)

func TestSecondStart(t *testing.T) {
	for mode, want := range map[pikesim.SecondStart]int{"refuse": 1, "no_op": 1, "add_payout": 2} {
		for _, when := range []string{"checking", "ready", "confirming"} {
			t.Run(string(mode)+" "+when, func(t *testing.T) {
				p := faulty(t, pikesim.Behaviour{Modes: pikesim.Modes{SecondStart: mode}})
				id := p.create("x")
				body := startBody("v1", id, card)
				p.must("session/start/payout", body)
				if when != "checking" {
					p.pass(time.Second)
				}
				if when == "confirming" {
					p.must("session/confirm", only(id))
				}
				second := p.call("session/start/payout", body)
				require.Equal(t, mode == "refuse", second.code() == "session_wrong_state")
				require.Len(t, p.must("session/status", only(id)).Payments, want)
				p.pass(time.Second)
				p.try("session/confirm", only(id))
				p.pass(time.Second)
				require.Equal(t, want, p.paid())
				tally := p.core.Ledger().Tallies()["x"]
				repeated := 0
				if mode != "refuse" {
					repeated = 1
				}
				require.Equal(t, repeated, tally.Repeated[pikesim.StepStart])
				require.Equal(t, want, tally.Paid)
				require.Equal(t, want == 2, len(p.core.Ledger().PaidTwice()) == 1)
			})
		}
	}
	p := faulty(t, pikesim.Behaviour{Modes: pikesim.Modes{SecondStart: "add_payout"}})
	id := p.begin("x")
	p.must("session/confirm", only(id))
	p.pass(time.Second)
	require.Equal(t, "session_wrong_state", p.call("session/start/payout", startBody("v1", id, card)).code(), "not to an ended session")
}

func TestSecondConfirm(t *testing.T) {
	for mode, want := range map[pikesim.SecondConfirm]int{"refuse": 1, "no_op": 1, "pay_again": 4} {
		t.Run(string(mode), func(t *testing.T) {
			p := faulty(t, pikesim.Behaviour{Modes: pikesim.Modes{SecondConfirm: mode}})
			id := p.begin("x")
			p.must("session/confirm", only(id))
			for range 2 {
				require.Equal(t, mode == "refuse", p.call("session/confirm", only(id)).code() == "session_wrong_state")
			}
			p.pass(time.Second)
			require.Equal(t, mode == "refuse", p.call("session/confirm", only(id)).code() == "session_wrong_state")
			p.pass(time.Second)
			require.Equal(t, "accepted/succeeded", p.states(id))
			require.Equal(t, want, p.paid())
			require.Equal(t, want, p.core.Ledger().Tallies()["x"].Paid)
		})
	}
	p := faulty(t, pikesim.Behaviour{Outcome: "declined_after_confirm", Modes: pikesim.Modes{SecondConfirm: "pay_again"}})
	id := p.begin("x")
	p.must("session/confirm", only(id))
	p.must("session/confirm", only(id))
	p.pass(time.Second)
	require.Zero(t, p.paid(), "what is declined is never paid")
}

func TestModesOfTheServerAndOfOnePayout(t *testing.T) {
	p := newPartner(t, defaults())
	require.ErrorContains(t, p.core.SetModes(pikesim.Modes{SecondConfirm: "x"}), "second_confirm must be one of")
	require.NoError(t, p.core.SetModes(pikesim.Modes{SecondConfirm: "pay_again", ErrorHTTP: 403}))
	require.NoError(t, p.core.SetBehaviour("calm", pikesim.Behaviour{Modes: pikesim.Modes{SecondConfirm: "refuse", ErrorHTTP: 404}}))
	for metadata, want := range map[string]int{"x": 200, "calm": 404} {
		id := p.create(metadata)
		p.must("session/start/payout", startBody("v1", id, pikesim.Token("confirmed")))
		p.pass(time.Second)
		p.must("session/confirm", only(id))
		require.Equal(t, want, p.try("session/confirm", only(id)).HTTPStatus)
	}
	require.Equal(t, 403, p.try("session/status", only("ps_1")).HTTPStatus)
	require.Equal(t, 403, p.core.Refuse(p.now, pikesim.Call{}, "authentication_error", "x").HTTPStatus)
	require.NoError(t, p.core.SetModes(pikesim.Modes{}))
	require.Equal(t, 400, p.try("session/status", only("ps_1")).HTTPStatus)
}

func TestErrorsMayHaveAnotherHTTPStatus(t *testing.T) {
	for _, status := range []int{200, 400, 401, 403, 404} {
		p := faulty(t, pikesim.Behaviour{Modes: pikesim.Modes{ErrorHTTP: status}})
		answer := p.try("session/confirm", only(p.create("x")))
		require.Equal(t, status, answer.HTTPStatus)
		require.Contains(t, string(answer.Body), `{"status":"error","error":{"code":"session_wrong_state"`)
		require.Len(t, p.core.Ledger().Refused, 1)
		require.Equal(t, 404, p.try("session/refund", `{}`).HTTPStatus, "an unknown method is another matter")
	}
}

func TestIdempotencyKeysOfOnePayout(t *testing.T) {
	for keys, want := range map[pikesim.Switch]string{"": "idempotency_key_already_exists", "on": "idempotency_key_already_exists",
		"off": "session_wrong_state"} {
		p := faulty(t, pikesim.Behaviour{Modes: pikesim.Modes{IdempotencyKeys: keys}})
		id := p.begin("x")
		confirm := pikesim.Call{Method: "session/confirm", Body: []byte(only(id)), IdempotencyKey: "k"}
		p.send(confirm)
		require.Equal(t, want, p.send(confirm).code())
	}
	options := defaults()
	options.IdempotencyKeys = false
	p := newPartner(t, options)
	require.NoError(t, p.core.SetModes(pikesim.Modes{IdempotencyKeys: "on"}))
	create := pikesim.Call{Method: "session/create", Body: []byte(`{}`), IdempotencyKey: "k"}
	p.send(create)
	require.Equal(t, "idempotency_key_already_exists", p.send(create).code())
}

func TestStatusLag(t *testing.T) {
	p := faulty(t, pikesim.Behaviour{Modes: pikesim.Modes{StatusLag: pikesim.Duration(time.Minute)}})
	id := p.create("x")
	require.Equal(t, "created/", p.states(id))
	p.pass(time.Second)
	require.Equal(t, "in_progress/in_progress", p.must("session/start/payout", startBody("v1", id, card)).states(), "other answers do not lag")
	p.pass(59900 * time.Millisecond)
	require.Equal(t, "created/", p.states(id), "though it is ready")
	require.Equal(t, "in_progress/pending confirm", p.received[0].session.states(), "webhooks do not lag")
	p.pass(200 * time.Millisecond)
	require.Equal(t, "in_progress/in_progress", p.states(id))
	p.pass(200 * time.Millisecond)
	require.Equal(t, "in_progress/pending confirm", p.states(id))
	p.must("session/confirm", only(id))
	p.pass(time.Minute - time.Millisecond)
	require.Equal(t, 1, p.paid())
	require.Equal(t, "in_progress/pending confirm", p.states(id))
	p.pass(time.Second)
	require.Equal(t, "accepted/succeeded", p.states(id))
}

func TestStatusLagOfTheServerBeginsAndEnds(t *testing.T) {
	p := newPartner(t, defaults())
	id := p.begin("x")
	require.NoError(t, p.core.SetModes(pikesim.Modes{StatusLag: pikesim.Duration(time.Minute)}))
	require.Equal(t, "in_progress/pending confirm", p.states(id))
	p.must("session/confirm", only(id))
	p.pass(time.Second)
	require.Equal(t, "in_progress/pending confirm", p.states(id))
	require.NoError(t, p.core.SetModes(pikesim.Modes{}))
	require.Equal(t, "accepted/succeeded", p.states(id))
}

func TestConfirmDeadlineOfOnePayout(t *testing.T) {
	p := newPartner(t, defaults())
	id := p.ready("confirm_deadline_1m")
	p.pass(time.Minute)
	require.Equal(t, "cancelled/failed confirm_timeout", p.states(id))
}

func TestDurationsAreText(t *testing.T) {
	behaviour := pikesim.Behaviour{Modes: pikesim.Modes{StatusLag: pikesim.Duration(90 * time.Second)},
		Faults: []pikesim.Fault{{Call: "start", Kind: "late", Delay: pikesim.Duration(time.Hour)}}}
	text := jsonOf(t, behaviour)
	require.JSONEq(t, `{"faults":[{"call":"start","kind":"late","delay":"1h0m0s"}],"status_lag":"1m30s"}`, text)
	var read pikesim.Behaviour
	require.NoError(t, json.Unmarshal([]byte(text), &read))
	require.Equal(t, behaviour, read)
}
