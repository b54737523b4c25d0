package pikesim_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"pikepayouts/pikesim"
)

var epoch = time.Date(2026, 3, 1, 12, 0, 0, 123456789, time.UTC)

const card = "759c9852dde2211d7531b3d905c1d513fbfb914bee87fb567d99c7b2f2c2ad44"

// partner drives a Core in fake time, as a merchant's service would.
type partner struct {
	t        *testing.T
	core     *pikesim.Core
	now      time.Time
	version  string
	ack      func(pikesim.Delivery) int
	received []received
}

type received struct {
	at       time.Time
	delivery pikesim.Delivery
	session  sessionJSON
}

type sessionJSON struct {
	ID         string       `json:"id"`
	Status     string       `json:"status"`
	CreatedAt  string       `json:"created_at"`
	UpdatedAt  string       `json:"updated_at"`
	NextAction string       `json:"next_action"`
	Payments   []payoutJSON `json:"payments"`
	PayoutList []payoutJSON `json:"payout_list"`
	Error      *errorJSON   `json:"error"`
}

type payoutJSON struct {
	ID            string          `json:"id"`
	Status        string          `json:"status"`
	PaymentMethod json.RawMessage `json:"payment_method"`
	PayoutDetails json.RawMessage `json:"payout_details"`
	Metadata      json.RawMessage `json:"metadata"`
	Refunds       []any           `json:"refunds"`
	Error         *errorJSON      `json:"error"`
}

type errorJSON struct {
	Code        string `json:"code"`
	Description string `json:"description"`
}

type answerJSON struct {
	Status  string      `json:"status"`
	Session sessionJSON `json:"session"`
	Error   *errorJSON  `json:"error"`

	raw pikesim.Answer
}

func (a answerJSON) code() string {
	if a.Error == nil {
		return ""
	}
	return a.Error.Code
}

// states is "session/payout next_action code", the way that api.md §4.3 writes it.
func (s sessionJSON) states() string {
	text := s.Status + "/"
	for _, p := range append(s.Payments, s.PayoutList...) {
		text += p.Status
	}
	if s.NextAction != "" {
		text += " " + s.NextAction
	}
	if s.Error != nil {
		text += " " + s.Error.Code
	}
	return text
}

func defaults() pikesim.Options {
	return pikesim.Options{Webhooks: true, IdempotencyKeys: true, StartAlias: true, Rand: rand.New(rand.NewPCG(7, 7))}
}

func newPartner(t *testing.T, options pikesim.Options) *partner {
	return &partner{
		t: t, core: pikesim.NewCore(options), now: epoch, version: "v1",
		ack: func(pikesim.Delivery) int { return http.StatusOK },
	}
}

func (p *partner) send(call pikesim.Call) answerJSON {
	p.t.Helper()
	if call.Version == "" {
		call.Version = p.version
	}
	answer := p.core.Handle(p.now, call)
	decoded := answerJSON{raw: answer}
	require.NoError(p.t, json.Unmarshal(answer.Body, &decoded), "%s", answer.Body)
	require.Equal(p.t, answer.HTTPStatus == http.StatusOK, decoded.Status == "ok")
	return decoded
}

// try is call for answers that are no answers of Pike, and for errors that are HTTP 200.
func (p *partner) try(method, body string) pikesim.Answer {
	return p.core.Handle(p.now, pikesim.Call{Version: p.version, Method: method, Body: []byte(body)})
}

// faulty is a partner each of whose payouts has the behaviour.
func faulty(t *testing.T, behaviour pikesim.Behaviour) *partner {
	t.Helper()
	p := newPartner(t, defaults())
	require.NoError(t, p.core.SetDefault(behaviour))
	return p
}

func faults(faults ...pikesim.Fault) pikesim.Behaviour { return pikesim.Behaviour{Faults: faults} }

// begin creates and starts a payout of the default behaviour, and lets the checks pass.
func (p *partner) begin(metadata string) string {
	p.t.Helper()
	id := p.create(metadata)
	p.must("session/start/payout", startBody(p.version, id, card))
	p.pass(time.Second)
	return id
}

// paid counts the movements to the card.
func (p *partner) paid() (count int) {
	for _, m := range p.core.Ledger().Movements {
		if m.Kind == pikesim.MovementPaid {
			count++
		}
	}
	return count
}

func (p *partner) call(method, body string) answerJSON {
	p.t.Helper()
	return p.send(pikesim.Call{Method: method, Body: []byte(body)})
}

func (p *partner) must(method, body string) sessionJSON {
	p.t.Helper()
	answer := p.call(method, body)
	require.Equal(p.t, "ok", answer.Status, "%s", answer.raw.Body)
	return answer.Session
}

func (p *partner) create(metadata string) string {
	p.t.Helper()
	return p.must("session/create", fmt.Sprintf(`{"metadata":%q}`, metadata)).ID
}

// started creates and starts a payout whose token chooses the preset.
func (p *partner) started(preset pikesim.Preset) string {
	p.t.Helper()
	id := p.create(string(preset))
	p.must("session/start/payout", startBody(p.version, id, pikesim.Token(preset)))
	return id
}

// ready is started, and as far as the checks bring it.
func (p *partner) ready(preset pikesim.Preset) string {
	p.t.Helper()
	id := p.started(preset)
	p.pass(time.Second)
	return id
}

func (p *partner) states(id string) string {
	p.t.Helper()
	return p.must("session/status", only(id)).states()
}

// pass lets time pass; webhooks are received at their time and answered by ack.
func (p *partner) pass(d time.Duration) {
	end := p.now.Add(d)
	for {
		due, ok := p.core.NextDue()
		if !ok || due.After(end) {
			p.now = end
			return
		}
		p.now = due
		for _, delivery := range p.core.Advance(due) {
			var body struct {
				Session sessionJSON `json:"session"`
			}
			require.NoError(p.t, json.Unmarshal(delivery.Body, &body))
			p.received = append(p.received, received{at: due, delivery: delivery, session: body.Session})
			p.core.Delivered(due, delivery.ID, p.ack(delivery))
		}
	}
}

func (p *partner) types() []string {
	types := []string{}
	for _, r := range p.received {
		types = append(types, r.delivery.Type)
	}
	return types
}

func only(id string) string { return fmt.Sprintf(`{"session_id":%q}`, id) }

func method(version, token string) string {
	name := "payment_method"
	if version == "v2" {
		name = "payout_details"
	}
	return fmt.Sprintf(`%q:{"type":"card","card":{"type":"tokenized_card","tokenized_card":{"token":%q}}}`, name, token)
}

func startBody(version, id, token string) string {
	return fmt.Sprintf(`{"session_id":%q,%s,"amount_details":{"amount":10000,"currency":"EUR"},
		"participant_details":{"recipient":{"full_name":"Ivanov Ivan"}}}`, id, method(version, token))
}

func jsonOf(t *testing.T, value any) string {
	t.Helper()
	text, err := json.Marshal(value)
	require.NoError(t, err)
	return string(text)
}
