package pikesim_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"pikepayouts/pikesim"
)

func TestStartRefusesWhatIsNotAnOrder(t *testing.T) {
	good := `{"session_id":"$ID",` + method("v1", card) + `,"amount_details":{"amount":10000,"currency":"rub"},
		"participant_details":{"recipient":{"full_name":"Ivanov Ivan"}},"customer":{"reference":"u","contacts":[{"email":"a@b.c"}]},
		"metadata":"good"}`
	tests := []struct{ name, old, new, wantErr string }{
		{"unknown fields", `"metadata"`, `"new":{"x":1},"metadata"`, ""},
		{"unknown field in a known object", `"amount":10000`, `"amount":10000,"new":null`, ""},
		{"letter case is part of a name", `"amount":10000`, `"Amount":10000`, "amount_details.amount is missing"},
		{"no session", `"session_id":"$ID",`, ``, "session_id is missing"},
		{"session id is a number", `"session_id":"$ID"`, `"session_id":3230`, "session_id must be a string"},
		{"session id without ps_", `"ps_`, `"`, "no such session"},
		{"unknown session", `"session_id":"$ID"`, `"session_id":"ps_1"`, "no such session"},
		{"no destination", method("v1", card) + ",", ``, "gave a destination"},
		{"the name of v2", `payment_method`, `payout_details`, "payout_details is not a name of API v1"},
		{"both names", `"metadata":`, method("v2", card) + `,"metadata":`, "payout_details is not a name of API v1"},
		{"destination is null", method("v1", card), `"payment_method":null`, "payment_method must be an object"},
		{"type of destination missing", `"type":"card",`, ``, "payment_method.type is missing"},
		{"type of destination unknown", `"type":"card"`, `"type":"iban"`, "payment_method.type must be card or recurrent"},
		{"open card number", `"type":"tokenized_card"`, `"type":"bank_card"`, "must be tokenized_card or encrypted_card"},
		{"card of another type", `"type":"tokenized_card"`, `"type":"encrypted_card"`, "card.encrypted_card is missing"},
		{"two cards", `"tokenized_card":{`, `"encrypted_card":{},"tokenized_card":{`, "exclude each other"},
		{"short token", card, card[1:], "must be 64 hex digits"},
		{"token is not hex", card, "x" + card[1:], "must be 64 hex digits"},
		{"token is empty", card, "", "must not be empty"},
		{"token is a number", `"` + card + `"`, "1", "tokenized_card.token must be a string"},
		{"no amount_details", `"amount_details":{"amount":10000,"currency":"rub"},`, ``, "gave amount_details"},
		{"amount_details is an array", `{"amount":10000,"currency":"rub"}`, `[]`, "amount_details must be an object"},
		{"no amount", `"amount":10000,`, ``, "amount_details.amount is missing"},
		{"zero", `10000`, `0`, "positive integer"},
		{"negative", `10000`, `-1`, "positive integer"},
		{"decimal", `10000`, `100.00`, "positive integer"},
		{"exponent", `10000`, `1e4`, "positive integer"},
		{"string", `10000`, `"10000"`, "positive integer"},
		{"null", `10000`, `null`, "positive integer"},
		{"too large", `10000`, `9223372036854775808`, "positive integer"},
		{"no currency", `,"currency":"rub"`, ``, "currency is missing"},
		{"currency is a number", `"rub"`, `643`, "currency must be a string"},
		{"currency is a name", `"rub"`, `"ruble"`, "three letters"},
		{"upper-case currency", `"rub"`, `"RUB"`, ""},
		{"participants are a string", `{"recipient":{"full_name":"Ivanov Ivan"}}`, `"Ivanov Ivan"`, "participant_details must be an object"},
		{"recipient is a string", `{"full_name":"Ivanov Ivan"}`, `"Ivanov Ivan"`, "recipient must be an object"},
		{"name is a number", `"Ivanov Ivan"`, `7`, "full_name must be a string"},
		{"customer is a string", `{"reference":"u","contacts":[{"email":"a@b.c"}]}`, `"u"`, "customer must be an object"},
		{"customer reference is a number", `"u"`, `1`, "customer.reference must be a string"},
		{"contacts are an object", `[{"email":"a@b.c"}]`, `{}`, "customer.contacts must be an array"},
		{"email is a number", `"a@b.c"`, `1`, "customer.contacts [0].email must be a string"},
		{"metadata is an integer", `"good"`, `42`, ""},
		{"metadata is an object", `"good"`, `{"a":1}`, ""},
		{"metadata is a float", `"good"`, `4.2`, "metadata must be"},
		{"metadata is null", `"good"`, `null`, "metadata must be"},
		{"metadata is a list", `"good"`, `[]`, "metadata must be"},
		{"not an object", good, `[]`, "not a JSON object"},
		{"null", good, `null`, "not a JSON object"},
		{"empty", good, ``, "not a JSON object"},
		{"two values", good, `{}{}`, "not a JSON object"},
		{"not UTF-8", "good", "\xff", "not UTF-8"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			require.Contains(t, good, strings.TrimPrefix(tt.old, `"ps_`))
			p := newPartner(t, defaults())
			id := p.create("x")
			body := strings.ReplaceAll(good, "$ID", id)
			body = strings.Replace(body, strings.ReplaceAll(tt.old, "$ID", id), strings.ReplaceAll(tt.new, "$ID", id), 1)
			if tt.old == good {
				body = tt.new
			}
			answer := p.call("session/start/payout", body)
			if tt.wantErr == "" {
				require.Equal(t, "ok", answer.Status, "%s", answer.raw.Body)
				return
			}
			require.Equal(t, "invalid_request", answer.code())
			require.Equal(t, http.StatusBadRequest, answer.raw.HTTPStatus)
			require.Contains(t, answer.Error.Description, tt.wantErr)
			require.NotContains(t, string(answer.raw.Body), card[1:])
			require.Equal(t, "created/", p.states(id), "a refusal changes nothing")
		})
	}
}

func TestOtherCallsRefuseBadBodiesToo(t *testing.T) {
	tests := []struct{ version, method, body, wantErr string }{
		{"v1", "session/create", `{"amount_details":{"amount":-1,"currency":"rub"}}`, "positive integer"},
		{"v2", "session/create", `{` + method("v1", card) + `}`, "payment_method is not a name of API v2"},
		{"v1", "session/confirm", `{}`, "session_id is missing"},
		{"v1", "session/cancel", `{"session_id":["ps_1"]}`, "session_id must be a string"},
		{"v1", "session/status", `{"session_id":""}`, "session_id must not be empty"},
		{"v1", "token/info", `{}`, "type is missing"},
		{"v1", "token/info", `{"type":"public_token"}`, "type must be card or recurrent_token"},
		{"v1", "token/info", `{"type":"card"}`, "card is missing"},
		{"v1", "token/info", `{"type":"recurrent_token","recurrent_token":{"token":"1"}}`, "64 hex digits"},
		{"v1", "session/refund", `{}`, "unknown method"},
		{"v3", "session/create", `{}`, "unknown method"},
	}
	for _, tt := range tests {
		t.Run(tt.version+" "+tt.method+" "+tt.wantErr, func(t *testing.T) {
			p := newPartner(t, defaults())
			answer := p.send(pikesim.Call{Version: tt.version, Method: tt.method, Body: []byte(tt.body)})
			require.Equal(t, "invalid_request", answer.code())
			require.Contains(t, answer.Error.Description, tt.wantErr)
			require.Len(t, p.core.Ledger().Refused, 1)
		})
	}
}

func TestAllDestinationsAreEchoedAndMayBeReserved(t *testing.T) {
	token := pikesim.Token("auto_confirm")
	for _, destination := range []string{
		`{"type":"card","card":{"type":"tokenized_card","tokenized_card":{"token":"` + token + `"}}}`,
		`{"type":"card","card":{"type":"encrypted_card","encrypted_card":{"number_hash":"` + token + `"}}}`,
		`{"type":"recurrent","recurrent":{"token":"` + token + `"}}`,
	} {
		p := newPartner(t, defaults())
		id := p.create("x")
		session := p.must("session/start/payout",
			`{"session_id":"`+id+`","amount_details":{"amount":1,"currency":"eur"},"payment_method":`+destination+`}`)
		require.Equal(t, destination, string(session.Payments[0].PaymentMethod))
		p.pass(1e9)
		require.Equal(t, "accepted/succeeded", p.states(id))
	}
}
