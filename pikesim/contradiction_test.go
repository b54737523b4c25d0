package pikesim_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"pikepayouts/pikesim"
)

// shown is one payout as an answer or a webhook shows it.
type shown struct {
	Amount struct {
		Amount   int64
		Currency string
	} `json:"amount_details"`
	Method       json.RawMessage `json:"payment_method"`
	Participants json.RawMessage `json:"participant_details"`
	Metadata     json.RawMessage `json:"metadata"`
}

func payoutIn(t *testing.T, body []byte) shown {
	t.Helper()
	var answer struct{ Session struct{ Payments []shown } }
	require.NoError(t, json.Unmarshal(body, &answer))
	require.Len(t, answer.Session.Payments, 1)
	return answer.Session.Payments[0]
}

func TestAnEchoIsAlteredInOnePart(t *testing.T) {
	const ordered = `{"recipient":{"full_name":"Ivanov Ivan"}}`
	faithful := func() shown {
		s := shown{Method: json.RawMessage(strings.TrimPrefix(method("v1", card), `"payment_method":`)),
			Participants: json.RawMessage(ordered), Metadata: json.RawMessage(`"x"`)}
		s.Amount.Amount, s.Amount.Currency = 10000, "eur"
		return s
	}
	for echo, alter := range map[pikesim.Echo]func(*shown){
		"": func(*shown) {}, "faithful": func(*shown) {},
		"amount":    func(s *shown) { s.Amount.Amount = 10001 },
		"currency":  func(s *shown) { s.Amount.Currency = "usd" },
		"recipient": func(s *shown) { s.Participants = json.RawMessage(`{"recipient":{"full_name":"Somebody Else"}}`) },
		"metadata":  func(s *shown) { s.Metadata = json.RawMessage(`"altered x"`) },
		"destination": func(s *shown) {
			s.Method = json.RawMessage(strings.ReplaceAll(string(s.Method), card, card[:63]+"0"))
		},
	} {
		t.Run(string(echo), func(t *testing.T) {
			want := faithful()
			alter(&want)
			p := faulty(t, pikesim.Behaviour{Echo: echo})
			id := p.create("x")
			started := p.call("session/start/payout", startBody("v1", id, card))
			require.Equal(t, faithful(), payoutIn(t, started.raw.Body), "start")
			p.pass(time.Second)
			require.Equal(t, want, payoutIn(t, p.call("session/status", only(id)).raw.Body), "status")
			require.Equal(t, want, payoutIn(t, p.received[0].delivery.Body), "webhook")
			require.Equal(t, want, payoutIn(t, p.call("session/confirm", only(id)).raw.Body), "confirm")
			p.pass(time.Second)
			moved := p.core.Ledger().Movements[0]
			require.Equal(t, want.Amount.Amount, moved.Amount)
			require.Equal(t, want.Amount.Currency, moved.Currency)
			require.Equal(t, `"x"`, string(moved.Metadata), "the judge is not deceived")
			require.Len(t, p.core.Ledger().Of("x").Movements, 1)
		})
	}
}

func TestAlteredEchoOfUSDAndOfATokenThatEndsIn0(t *testing.T) {
	p := faulty(t, pikesim.Behaviour{Echo: "currency"})
	id := p.create("x")
	p.must("session/start/payout", strings.ReplaceAll(startBody("v1", id, card), "EUR", "usd"))
	require.Equal(t, "eur", payoutIn(t, p.call("session/status", only(id)).raw.Body).Amount.Currency)

	p = newPartner(t, defaults())
	id = p.ready("altered_destination")
	token := pikesim.Token("altered_destination")
	require.Contains(t, string(payoutIn(t, p.call("session/status", only(id)).raw.Body).Method), token[:63]+"1")
}

func TestParticipantsAreEchoedAsTheyCame(t *testing.T) {
	const create, start = `{"sender":{"full_name":"A"}}`, `{ "recipient":{"full_name":"<B>","city":"x"} }`
	p := newPartner(t, defaults())
	id := p.must("session/create", `{"participant_details":`+create+`}`).ID
	body := `{"session_id":"` + id + `",` + method("v1", card) + `,"amount_details":{"amount":1,"currency":"eur"}`
	require.Contains(t, string(p.call("session/start/payout", body+`}`).raw.Body), `,"participant_details":`+create+`,`)
	id = p.must("session/create", `{"participant_details":`+create+`}`).ID
	body = `{"session_id":"` + id + `",` + method("v1", card) + `,"amount_details":{"amount":1,"currency":"eur"}`
	answer := p.call("session/start/payout", body+`,"participant_details":`+start+`}`)
	require.Contains(t, string(answer.raw.Body), `,"participant_details":`+start+`,`)
}

func TestTwoPayoutsInOneSession(t *testing.T) {
	p := newPartner(t, defaults())
	id := p.ready("two_payouts")
	payouts := p.must("session/status", only(id)).Payments
	require.Len(t, payouts, 2)
	require.NotEqual(t, payouts[0].ID, payouts[1].ID)
	p.must("session/confirm", only(id))
	p.pass(time.Second)
	paid := p.core.Ledger().PaidTwice()["two_payouts"]
	require.Len(t, paid, 2)
	require.Equal(t, []string{payouts[0].ID, payouts[1].ID}, []string{paid[0].PayoutID, paid[1].PayoutID})
	summary, _ := p.core.Session(p.now, id)
	require.Equal(t, 2, summary.Payouts)
}

func TestCancelAnsweredOkAndPaidAllTheSame(t *testing.T) {
	p := newPartner(t, defaults())
	id := p.ready("cancel_paid")
	require.Equal(t, "in_progress/pending", p.must("session/cancel", only(id)).states())
	p.pass(time.Second)
	require.Equal(t, "accepted/succeeded", p.states(id))
	require.Equal(t, []string{"ready_to_confirm", "payment_finished"}, p.types())
	require.Equal(t, 1, p.paid())
}

func TestWebhooksThatLie(t *testing.T) {
	t.Run("paid", func(t *testing.T) {
		p := newPartner(t, defaults())
		id := p.ready("webhook_says_paid")
		require.Equal(t, []string{"ready_to_confirm", "payment_finished"}, p.types())
		require.Equal(t, "accepted/succeeded", p.received[1].session.states())
		require.Contains(t, string(p.received[1].delivery.Body), `"transaction_info"`)
		require.Equal(t, "in_progress/pending confirm", p.states(id))
		require.Zero(t, p.paid())
		p.must("session/confirm", only(id))
		p.pass(0)
		require.Equal(t, "in_progress/pending", p.states(id))
		require.Equal(t, "accepted/succeeded", p.received[2].session.states())
		p.pass(time.Second)
		require.Equal(t, "accepted/succeeded", p.states(id))
		require.Equal(t, 1, p.paid())
		require.Len(t, p.received, 4, "the true one follows")
	})
	t.Run("failed", func(t *testing.T) {
		p := newPartner(t, defaults())
		id := p.ready("webhook_says_failed")
		p.must("session/confirm", only(id))
		p.pass(time.Second)
		require.Equal(t, "accepted/succeeded", p.states(id))
		require.Equal(t, "cancelled/failed declined_by_issuer_bank", p.received[1].session.states())
		require.NotContains(t, string(p.received[1].delivery.Body), `"transaction_info"`)
		require.Len(t, p.received, 2)
	})
}

func TestABalanceThatIsTooLow(t *testing.T) {
	const code = "insufficient_wallet_balance"
	p := newPartner(t, defaults())
	id := p.create("start")
	require.Equal(t, code, p.call("session/start/payout", startBody("v1", id, pikesim.Token("balance_at_start"))).code())
	require.Equal(t, "created/", p.states(id))
	p.must("session/start/payout", startBody("v1", id, card))

	id = p.ready("balance_at_confirm")
	require.Equal(t, code, p.call("session/confirm", only(id)).code())
	require.Equal(t, "in_progress/pending confirm", p.states(id))
	p.must("session/cancel", only(id))

	id = p.ready("balance_at_end")
	p.must("session/confirm", only(id))
	p.pass(time.Second)
	require.Equal(t, "cancelled/failed "+code, p.states(id))

	p = faulty(t, pikesim.Behaviour{Balance: "short_at_end", Outcome: "auto_confirm", DeclineWith: "error"})
	require.Equal(t, "error/failed "+code, p.states(p.begin("x")))
	require.Zero(t, p.paid())
}

func TestAnErrorThatFlipsDaysLater(t *testing.T) {
	p := newPartner(t, defaults())
	id := p.ready("error_then_paid_5_days")
	p.must("session/confirm", only(id))
	p.pass(5*24*time.Hour - time.Minute)
	require.Equal(t, "error/failed declined_by_issuer_bank", p.states(id))
	summary, _ := p.core.Session(p.now, id)
	require.False(t, summary.Final)
	p.pass(2 * time.Minute)
	require.Equal(t, "accepted/succeeded", p.states(id))
}

func TestFinal(t *testing.T) {
	final := func(p *partner, id string) bool {
		summary, known := p.core.Session(p.now, id)
		require.True(t, known)
		return summary.Final
	}
	p := newPartner(t, defaults())
	_, known := p.core.Session(p.now, "ps_1")
	require.False(t, known)
	id := p.create("x")
	require.False(t, final(p, id))
	p.must("session/cancel", only(id))
	require.True(t, final(p, id))
	id = p.ready("returned")
	require.False(t, final(p, id))
	p.must("session/confirm", only(id))
	p.pass(time.Second)
	require.False(t, final(p, id), "the money will come back")
	p.pass(time.Hour)
	require.True(t, final(p, id))
	id = p.ready("declined_with_error")
	p.must("session/confirm", only(id))
	p.pass(time.Hour)
	require.False(t, final(p, id), "an error is never final")
}

func TestCopiesAndDelaysOfWebhooks(t *testing.T) {
	p := faulty(t, pikesim.Behaviour{Webhooks: "duplicated", WebhookCopies: 50})
	p.begin("x")
	require.Len(t, p.received, 50)

	p = faulty(t, pikesim.Behaviour{Webhooks: "late", WebhookDelay: pikesim.Duration(24 * time.Hour)})
	p.begin("x")
	p.pass(24*time.Hour - 2*time.Second)
	require.Empty(t, p.received)
	p.pass(2 * time.Second)
	require.Len(t, p.received, 1)

	p = faulty(t, pikesim.Behaviour{Webhooks: "shuffled", WebhookDelay: pikesim.Duration(40 * time.Minute)})
	var at []time.Duration
	for _, metadata := range strings.Split("abcdefghij", "") {
		from := p.now
		p.must("session/confirm", only(p.begin(metadata)))
		p.pass(41 * time.Minute)
		for _, r := range p.received[len(at):] {
			at = append(at, r.at.Sub(from))
		}
	}
	require.Len(t, at, 20)
	finishedFirst := 0
	for i := 0; i < len(p.received); i += 2 {
		if p.received[i].delivery.Type == "payment_finished" {
			finishedFirst++
		}
	}
	require.Positive(t, finishedFirst)
	require.Less(t, finishedFirst, 10)
}
