package pikesim_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"pikepayouts/pikesim"
)

func TestAnswersAreThoseOfTheDocuments(t *testing.T) {
	p := newPartner(t, defaults())
	created := p.call("session/create", `{}`)
	id := created.Session.ID
	require.Regexp(t, `^ps_[0-9]+$`, id)
	require.Equal(t, `{"status":"ok","session":{"id":"`+id+`","status":"created","created_at":"2026-03-01T12:00:00.123456Z",`+
		`"updated_at":"2026-03-01T12:00:00.123456Z"}}`, string(created.raw.Body))

	p.now = p.now.Add(time.Second)
	start := `{"session_id":"` + id + `",` + method("v1", card) + `,"amount_details":{"amount":10000,"currency":"rub"},
		"customer":{"reference":"user123", "contacts":[{"email":"user@gmail.com"}]},"metadata":{ "b":"<&>", "a":1.50 }}`
	started := p.call("session/start/payout", start)
	po := started.Session.Payments[0].ID
	require.Regexp(t, `^po_[0-9]+$`, po)
	payout := `{"id":"` + po + `","status":"%s","created_at":"2026-03-01T12:00:01.123456Z",` +
		`"customer":{"reference":"user123", "contacts":[{"email":"user@gmail.com"}]},` + method("v1", card) +
		`,"amount_details":{"amount":10000,"currency":"rub"},"metadata":{ "b":"<&>", "a":1.50 }}`
	require.Equal(t, `{"status":"ok","session":{"id":"`+id+`","status":"in_progress","created_at":"2026-03-01T12:00:00.123456Z",`+
		`"updated_at":"2026-03-01T12:00:01.123456Z","payments":[`+fmt.Sprintf(payout, "in_progress")+`]}}`, string(started.raw.Body))

	p.pass(time.Second)
	require.Len(t, p.received, 1)
	require.Equal(t, `{"type":"ready_to_confirm","session":{"id":"`+id+`","status":"in_progress",`+
		`"created_at":"2026-03-01T12:00:00.123456Z","updated_at":"2026-03-01T12:00:01.323456Z","next_action":"confirm",`+
		`"payments":[`+fmt.Sprintf(payout, "pending")+`]}}`, string(p.received[0].delivery.Body))
}

func TestWhatAnEndShows(t *testing.T) {
	end := func(preset pikesim.Preset, wait time.Duration) string {
		p := newPartner(t, defaults())
		id := p.ready(preset)
		p.must("session/confirm", only(id))
		p.pass(wait)
		return string(p.call("session/status", only(id)).raw.Body)
	}
	failed := `"error":{"code":"declined_by_issuer_bank","description":"the issuer declined the payout"}`
	paid := end("confirmed", time.Second)
	require.Regexp(t, `"finished_at":"2026-03-01T12:00:01.323456Z",.*"transaction_info":{"rrn":"[0-9]{12}","auth_code":"[0-9]{6}"}}]}}$`, paid)
	declined := end("declined_after_confirm", time.Second)
	require.Contains(t, declined, `"finished_at"`)
	require.Contains(t, declined, failed+`}],`+failed+`}}`, "on the payout and on the session")
	require.NotContains(t, end("declined_with_error", time.Second), `"finished_at"`, "an error is not the end")
	settled := end("error_then_paid", time.Hour)
	require.NotContains(t, settled, `"error":`)
	require.Contains(t, settled, `"finished_at":"2026-03-01T12:10:01.323456Z"`)
	require.Regexp(t, `"refunds":\[{"id":"rf_[0-9]+","status":"accepted","created_at":"2026-03-01T12:10:01.323456Z",`+
		`"amount_details":{"amount":10000,"currency":"eur"}}]}]}}$`, end("returned", time.Hour))
}

func TestWhatIsDueAtTheSameTimeKeepsItsOrder(t *testing.T) {
	p := newPartner(t, defaults())
	var started, notified []string
	for range 20 {
		started = append(started, p.started("confirmed"))
	}
	p.now = p.now.Add(time.Second)
	for _, d := range p.core.Advance(p.now) {
		notified = append(notified, d.SessionID)
	}
	require.Equal(t, started, notified)
}

func TestTransitions(t *testing.T) {
	const (
		confirm = "session/confirm"
		cancel  = "session/cancel"
	)
	tests := []struct {
		name     string
		preset   pikesim.Preset
		calls    []string // after the checks
		answers  []string // states that their answers show
		wait     time.Duration
		end      string
		webhooks []string
		moved    []pikesim.MovementKind
	}{
		{name: "paid", preset: "confirmed", calls: []string{confirm}, answers: []string{"in_progress/pending"},
			end: "accepted/succeeded", webhooks: []string{"ready_to_confirm", "payment_finished"}, moved: []pikesim.MovementKind{"paid"}},
		{name: "ready", preset: "confirmed", end: "in_progress/pending confirm", webhooks: []string{"ready_to_confirm"}},
		{name: "cancelled", preset: "confirmed", calls: []string{cancel}, answers: []string{"in_progress/pending"},
			end: "cancelled/failed session_cancelled_by_partner", webhooks: []string{"ready_to_confirm", "payment_finished"}},
		{name: "not confirmed in time", preset: "confirmed", wait: 240 * time.Minute, end: "cancelled/failed confirm_timeout",
			webhooks: []string{"ready_to_confirm", "payment_finished"}},
		{name: "not confirmed nearly in time", preset: "confirmed", wait: 239 * time.Minute, end: "in_progress/pending confirm",
			webhooks: []string{"ready_to_confirm"}},
		{name: "declined at checks", preset: "declined_at_checks", end: "cancelled/failed operation_rejected",
			webhooks: []string{"payment_finished"}},
		{name: "declined after confirm", preset: "declined_after_confirm", calls: []string{confirm},
			answers: []string{"in_progress/pending"}, end: "cancelled/failed declined_by_issuer_bank",
			webhooks: []string{"ready_to_confirm", "payment_finished"}},
		{name: "declined, not finally", preset: "declined_with_error", calls: []string{confirm},
			answers: []string{"in_progress/pending"}, wait: 30 * 24 * time.Hour, end: "error/failed declined_by_issuer_bank",
			webhooks: []string{"ready_to_confirm", "payment_finished"}},
		{name: "error before support settles it", preset: "error_then_paid", calls: []string{confirm},
			answers: []string{"in_progress/pending"}, wait: 9 * time.Minute, end: "error/failed declined_by_issuer_bank",
			webhooks: []string{"ready_to_confirm", "payment_finished"}},
		{name: "error, then paid", preset: "error_then_paid", calls: []string{confirm}, answers: []string{"in_progress/pending"},
			wait: 10 * time.Minute, end: "accepted/succeeded", moved: []pikesim.MovementKind{"paid"},
			webhooks: []string{"ready_to_confirm", "payment_finished", "payment_finished"}},
		{name: "error, then cancelled", preset: "error_then_cancelled", calls: []string{confirm},
			answers: []string{"in_progress/pending"}, wait: 10 * time.Minute, end: "cancelled/failed declined_by_issuer_bank",
			webhooks: []string{"ready_to_confirm", "payment_finished", "payment_finished"}},
		{name: "returned", preset: "returned", calls: []string{confirm}, answers: []string{"in_progress/pending"},
			wait: 10 * time.Minute, end: "accepted/succeeded", moved: []pikesim.MovementKind{"paid", "returned"},
			webhooks: []string{"ready_to_confirm", "payment_finished", "payment_refunded"}},
		{name: "never ready", preset: "never_ready", wait: 30 * 24 * time.Hour, end: "in_progress/in_progress", webhooks: []string{}},
		{name: "never ready, cancelled", preset: "never_ready_cancellable", calls: []string{cancel},
			answers: []string{"in_progress/pending"}, end: "cancelled/failed session_cancelled_by_partner",
			webhooks: []string{"payment_finished"}},
		{name: "auto-confirmed", preset: "auto_confirm", end: "accepted/succeeded", webhooks: []string{"payment_finished"},
			moved: []pikesim.MovementKind{"paid"}},
	}
	for _, tt := range tests {
		for _, version := range []string{"v1", "v2"} {
			t.Run(tt.name+" "+version, func(t *testing.T) {
				p := newPartner(t, defaults())
				p.version = version
				id := p.ready(tt.preset)
				for i, call := range tt.calls {
					require.Equal(t, tt.answers[i], p.must(call, only(id)).states())
				}
				p.pass(time.Second + tt.wait)
				require.Equal(t, tt.end, p.states(id))
				require.Equal(t, tt.webhooks, p.types())
				var moved []pikesim.MovementKind
				for _, m := range p.core.Ledger().Movements {
					moved = append(moved, m.Kind)
					require.Equal(t, int64(10000), m.Amount)
					require.Equal(t, "eur", m.Currency)
					require.Equal(t, id, m.SessionID)
					require.Equal(t, fmt.Sprintf("%q", tt.preset), string(m.Metadata))
				}
				require.Equal(t, tt.moved, moved)
			})
		}
	}
}

func TestASessionCanBeCancelledBeforeStart(t *testing.T) {
	p := newPartner(t, defaults())
	id := p.create("x")
	require.Equal(t, "cancelled/", p.must("session/cancel", only(id)).states())
	require.Equal(t, "session_wrong_state", p.call("session/start/payout", startBody("v1", id, card)).code())
	p.pass(time.Hour)
	require.Empty(t, p.received)
}

func TestCreatedSessionsExpireOnlyIfAsked(t *testing.T) {
	p := newPartner(t, defaults())
	id := p.create("x")
	p.pass(30 * 24 * time.Hour)
	require.Equal(t, "created/", p.states(id))

	options := defaults()
	options.Timing.CreatedExpiry = time.Hour
	p = newPartner(t, options)
	forgotten, used := p.create("x"), p.ready("confirmed")
	p.pass(time.Hour)
	require.Equal(t, "cancelled/", p.states(forgotten))
	require.Equal(t, "in_progress/pending confirm", p.states(used))
}

func TestWrongStates(t *testing.T) {
	finished := func(p *partner) string {
		id := p.ready("confirmed")
		p.must("session/confirm", only(id))
		p.pass(time.Second)
		return id
	}
	confirmed := func(p *partner) string {
		id := p.ready("confirmed")
		p.must("session/confirm", only(id))
		return id
	}
	cancelling := func(p *partner) string {
		id := p.ready("confirmed")
		p.must("session/cancel", only(id))
		return id
	}
	tests := []struct {
		name    string
		reach   func(p *partner) string
		refused []string
	}{
		{"created", func(p *partner) string { return p.create("x") }, []string{"confirm"}},
		{"checking", func(p *partner) string { return p.started("confirmed") }, []string{"start/payout", "confirm", "cancel"}},
		{"ready", func(p *partner) string { return p.ready("confirmed") }, []string{"start/payout"}},
		{"ready, cancel refused", func(p *partner) string { return p.ready("cancel_refused") }, []string{"cancel"}},
		{"confirmed", confirmed, []string{"start/payout", "confirm", "cancel"}},
		{"cancelling", cancelling, []string{"start/payout", "confirm", "cancel"}},
		{"paid", finished, []string{"start/payout", "confirm", "cancel"}},
	}
	for _, tt := range tests {
		for _, call := range tt.refused {
			t.Run(tt.name+" "+call, func(t *testing.T) {
				p := newPartner(t, defaults())
				id := tt.reach(p)
				before := p.states(id)
				answer := p.call("session/"+call, startBody("v1", id, card))
				require.Equal(t, "session_wrong_state", answer.code())
				require.Equal(t, http.StatusBadRequest, answer.raw.HTTPStatus)
				require.Equal(t, before, p.states(id))
			})
		}
	}
}

func TestTheNamesAreThoseOfTheVersion(t *testing.T) {
	p := newPartner(t, defaults())
	p.version = "v2"
	id := p.ready("confirmed")
	inV2, inV1 := p.must("session/status", only(id)), p.send(pikesim.Call{Version: "v1", Method: "session/status", Body: []byte(only(id))}).Session

	require.Len(t, inV2.PayoutList, 1)
	require.Nil(t, inV2.Payments)
	require.NotNil(t, inV2.PayoutList[0].PayoutDetails)
	require.Nil(t, inV2.PayoutList[0].PaymentMethod)
	require.Len(t, inV1.Payments, 1, "an answer follows its request")
	require.Nil(t, inV1.PayoutList)
	require.NotNil(t, inV1.Payments[0].PaymentMethod)
	require.Len(t, p.received[0].session.PayoutList, 1, "a webhook follows the create")
}

func TestStartMayReplaceWhatCreateGave(t *testing.T) {
	p := newPartner(t, defaults())
	id := p.must("session/create", `{"metadata":1,"amount_details":{"amount":5,"currency":"usd"},`+method("v1", card)+`}`).ID
	kept := p.must("session/start/payout", only(id))
	require.Equal(t, "1", string(kept.Payments[0].Metadata))
	p.pass(time.Second)

	id = p.must("session/create", `{"metadata":1,"amount_details":{"amount":5,"currency":"usd"}}`).ID
	replaced := p.must("session/start", `{"session_id":"`+id+`","metadata":"two","amount_details":{"amount":6,"currency":"usd"},`+
		method("v1", pikesim.Token("auto_confirm"))+`}`)
	require.Equal(t, `"two"`, string(replaced.Payments[0].Metadata))
	p.pass(time.Second)
	require.Equal(t, int64(6), p.core.Ledger().Movements[0].Amount)
}

func TestRepeatedIdempotencyKeys(t *testing.T) {
	confirm := func(p *partner, id, key string) answerJSON {
		return p.send(pikesim.Call{Method: "session/confirm", Body: []byte(only(id)), IdempotencyKey: key})
	}
	p := newPartner(t, defaults())
	id := p.started("confirmed")
	require.Equal(t, "session_wrong_state", confirm(p, id, "k").code(), "not ready yet")
	p.pass(time.Second)
	require.Empty(t, confirm(p, id, "k").code(), "a refused call does not use up its key")
	again := confirm(p, id, "k")
	require.Equal(t, "idempotency_key_already_exists", again.code())
	require.Equal(t, http.StatusBadRequest, again.raw.HTTPStatus)
	require.Equal(t, "session_wrong_state", confirm(p, id, "other").code())

	status := pikesim.Call{Method: "session/status", Body: []byte(only(id)), IdempotencyKey: "k"}
	require.Equal(t, "ok", p.send(status).Status, "reading needs no protection")

	options := defaults()
	options.IdempotencyKeys = false
	p = newPartner(t, options)
	id = p.ready("confirmed")
	require.Empty(t, confirm(p, id, "k").code())
	require.Equal(t, "session_wrong_state", confirm(p, id, "k").code())
}

func TestTheAliasOfStartCanBeSwitchedOff(t *testing.T) {
	options := defaults()
	options.StartAlias = false
	p := newPartner(t, options)
	id := p.create("x")
	answer := p.call("session/start", startBody("v1", id, card))
	require.Equal(t, http.StatusNotFound, answer.raw.HTTPStatus)
	require.Equal(t, "ok", p.call("session/start/payout", startBody("v1", id, card)).Status)
}

func TestTokenInfo(t *testing.T) {
	tests := []struct{ body, want string }{
		{`{"type":"card","card":{"type":"tokenized_card","tokenized_card":{"token":"` + card + `"}}}`,
			`{"token":"` + card + `","brand":"visa","last4":"4242","type":"card"}`},
		{`{"type":"card","card":{"type":"encrypted_card","encrypted_card":{"number_hash":"` + card + `"}}}`,
			`{"number_hash":"` + card + `","brand":"visa","last4":"4242","type":"card"}`},
		{`{"type":"recurrent_token","recurrent_token":{"token":"` + card + `"}}`,
			`{"token":"` + card + `","created_at":"2026-03-01T12:00:00+00:00","is_active":true,"type":"recurrent_token"}`},
	}
	for _, tt := range tests {
		p := newPartner(t, defaults())
		answer := p.call("token/info", tt.body)
		require.Equal(t, `{"status":"ok","info":`+tt.want+`}`, string(answer.raw.Body))
	}
	p := newPartner(t, defaults())
	p.version = "v2"
	require.Equal(t, http.StatusNotFound, p.call("token/info", tests[0].body).raw.HTTPStatus)
}

func TestEqualSeedsAndCallsGiveEqualOutput(t *testing.T) {
	run := func(seed uint64) (output []string) {
		options := defaults()
		options.Rand = rand.New(rand.NewPCG(seed, seed))
		p := newPartner(t, options)
		for _, preset := range pikesim.Presets() {
			id := p.create(string(preset.Name))
			output = append(output, string(p.try("session/start/payout", startBody("v1", id, pikesim.Token(preset.Name))).Body))
			p.pass(time.Second)
			output = append(output, string(p.try("session/confirm", only(id)).Body))
			p.pass(time.Minute)
		}
		p.pass(5 * time.Hour)
		for _, r := range p.received {
			output = append(output, fmt.Sprint(r.at, r.delivery.ID, r.delivery.Attempt)+string(r.delivery.Body))
		}
		return append(output, fmt.Sprint(p.core.Ledger(), p.core.Sessions(p.now)))
	}
	first, second := run(3), run(3)
	require.Equal(t, first, second)
	require.NotEqual(t, run(3), run(4))
}

func TestTimeNeverGoesBack(t *testing.T) {
	p := newPartner(t, defaults())
	id := p.ready("confirmed")
	p.now = p.now.Add(-time.Hour)
	require.Equal(t, "in_progress/pending confirm", p.states(id))
	accepted := p.core.Ledger().Accepted
	require.False(t, accepted[len(accepted)-1].At.Before(accepted[len(accepted)-2].At))
}

func TestTheLedgerKnowsEveryCallAndNoSecret(t *testing.T) {
	p := newPartner(t, defaults())
	id := p.ready("confirmed")
	p.send(pikesim.Call{Method: "session/confirm", Body: []byte(only(id)), IdempotencyKey: "confirmed/confirm"})
	p.call("session/confirm", only(id))
	p.call("session/status", only(card))
	p.pass(time.Second)

	ledger := p.core.Ledger()
	var accepted, refused []string
	for _, e := range ledger.Accepted {
		accepted = append(accepted, fmt.Sprint(e.Method, " ", e.SessionID == id, " ", e.IdempotencyKey, " ", e.Outcome, e.HTTPStatus))
	}
	for _, e := range ledger.Refused {
		refused = append(refused, fmt.Sprint(e.Method, " ", e.SessionID == id, " ", e.Outcome, e.HTTPStatus))
	}
	require.Equal(t, []string{"session/create true  ok200", "session/start/payout true  ok200",
		"session/confirm true confirmed/confirm ok200"}, accepted)
	require.Equal(t, []string{"session/confirm true session_wrong_state400", "session/status false invalid_request400"}, refused)
	require.Len(t, ledger.Webhooks, 2)
	require.Len(t, ledger.Of("confirmed").Accepted, 3)
	require.Len(t, ledger.Of("confirmed").Refused, 1)
	require.Empty(t, ledger.Of("other").Accepted)

	shown := jsonOf(t, ledger) + jsonOf(t, p.core.Sessions(p.now))
	for _, hidden := range []string{pikesim.Token("confirmed"), card, "Ivanov"} {
		require.NotContains(t, shown, hidden)
	}
	require.NotContains(t, fmt.Sprintf("%+v %+v", ledger, p.core.Sessions(p.now)), "Ivanov")
}

func TestEveryPresetHasAToken(t *testing.T) {
	for _, preset := range pikesim.Presets() {
		token := pikesim.Token(preset.Name)
		require.Len(t, token, 64)
		require.True(t, strings.HasSuffix(token, "00"), "%s does not fit", preset.Name)
	}
	require.Equal(t, "73696d3a6e657665725f72656164790000000000000000000000000000000000", pikesim.Token("never_ready"))
}
