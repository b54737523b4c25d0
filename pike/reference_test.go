package pike

import (
	"bytes"
	"encoding/json"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"pikepayouts/secret"
	"pikepayouts/strictjson/jsontest"
)

// A session with every field that is read, in either naming.
const (
	goodSession = `{"id":"ps_1","status":"in_progress","next_action":"confirm","error":{"code":"c","description":"d"},"created_at":"x",
		"payments":[{"id":"po_1","status":"pending","amount_details":{"amount":10000,"currency":"eur"},"metadata":"inv-1","transaction_info":{"rrn":"1"},"refunds":[{"id":"rf_1"}],
			"payment_method":{"type":"card","card":{"type":"tokenized_card","tokenized_card":{"token":"t"},"encrypted_card":{"number_hash":"h"}},"recurrent":{"token":"r"}},
			"participant_details":{"recipient":{"full_name":"Ivanov Ivan"}},"error":{"code":"c","description":"d"}}],"acquiring_payments":[{"id":"pm_1"}]}`
	goodSessionV2 = `{"id":"ps_1","status":"canceled","payout_list":[{"id":"po_1","payout_details":{"card":{"tokenized_card":{"token":"t"}}},"metadata":7}],
		"payment_list":[]}`
	goodWebhook = `{"type":"ready_to_confirm","session":` + goodSession + `}`
	goodAnswer  = `{"status":"ok","session":` + goodSession + `}`
)

func TestWebhooksThatAreNearlyRight(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		good := rapid.SampledFrom([]string{goodWebhook, `{"type":"payment_finished","session":` + goodSessionV2 + `}`}).Draw(rt, "good")
		for range 5 {
			requireWebhookAsReference(rt, []byte(jsontest.NearMiss(good).Draw(rt, "body")))
		}
	})
}

func TestAnswersThatAreNearlyRight(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		good := rapid.SampledFrom([]string{
			goodAnswer, `{"status":"ok","session":` + goodSessionV2 + `}`, `{"status":"error","error":{"code":"invalid_request","description":"x"}}`,
			`{"status":"error","error":{"code":"internal_error","description":"x"},"session":` + goodSession + `}`,
		}).Draw(rt, "good")
		for range 5 {
			body := []byte(jsontest.NearMiss(good).Draw(rt, "body"))
			status := rapid.SampledFrom([]int{200, 200, 200, 201, 204, 302, 400, 401, 404, 429, 500, 502}).Draw(rt, "status")
			session, err := DecodeSession("session/status", status, body)
			requireAnswerAsReference(rt, status, body, session, err)
		}
	})
}

// requireWebhookAsReference: what is accepted is what a strict reference accepts, with equal values (hazard W20).
func requireWebhookAsReference(t require.TestingT, body []byte) {
	got, err := ParseWebhook(VerifiedBody{bytes: body})
	want, refused := jsontest.Decode(body, referenceWebhook)
	accepted := refused == nil && want.Type != "" && want.Session.ID != ""
	require.Equal(t, accepted, err == nil, "%q: ours %v, %v", body, err, refused)
	if accepted {
		require.Equal(t, want, got, "%q", body)
	}
}

// requireAnswerAsReference: an answer is done or refused only where the strict
// reference can read it so, everything else is unknown (design §4.1).
func requireAnswerAsReference(t require.TestingT, httpStatus int, body []byte, got Session, err error) {
	want, readable := jsontest.Decode(bytes.ToValidUTF8(body, []byte("\ufffd")), referenceAnswer)
	done := readable == nil && httpStatus == 200 && want.status == "ok" && want.session.ID != "" && want.session.Status != ""
	require.Equal(t, done, err == nil, "%d %q: ours %v, %v", httpStatus, body, err, readable)
	if done {
		require.Equal(t, want.session, got, "%q", body)
		return
	}
	outcome := Unknown
	answered := httpStatus == 200 || httpStatus >= 400 && httpStatus < 500
	if readable == nil && answered && want.status == "error" && slices.Contains(refusals, want.code) {
		outcome = Refused
	}
	var failure *Error
	require.ErrorAs(t, err, &failure)
	require.Equal(t, outcome, failure.Outcome, "%d %q: %v, %v", httpStatus, body, err, readable)
}

func referenceWebhook(value jsontest.Value) Webhook {
	top := value.Object("type", "session")
	return Webhook{Type: WebhookType(top["type"].Text()), Session: referenceSession(top["session"])}
}

type answer struct {
	status  string
	code    Code
	session Session
}

func referenceAnswer(value jsontest.Value) answer {
	top := value.Object("status", "error")
	read := answer{status: top["status"].Text()}
	if failure := referenceError(top["error"]); failure != nil {
		read.code = Code(failure.Code)
	}
	if read.status == "ok" {
		read.session = referenceSession(value.Object("session")["session"])
	}
	return read
}

func referenceSession(value jsontest.Value) Session {
	members := value.Object("id", "status", "next_action", "payments", "payout_list", "acquiring_payments", "payment_list", "error")
	session := Session{
		ID: members["id"].Text(), Status: SessionStatus(spellCancelled(members["status"].Text())), NextAction: members["next_action"].Text(),
		IncomingPayments: len(members["acquiring_payments"].List()) + len(members["payment_list"].List()), Error: referenceError(members["error"]),
	}
	if len(session.ID) > maxSessionID {
		jsontest.Refuse("an id that is too long")
	}
	for _, payout := range either(members["payments"], members["payout_list"]).List() {
		session.Payouts = append(session.Payouts, referencePayout(payout))
	}
	return session
}

func referencePayout(value jsontest.Value) Payout {
	members := value.Object("id", "status", "payment_method", "payout_details", "amount_details", "participant_details", "metadata", "error", "transaction_info", "refunds")
	amount := members["amount_details"].Object("amount", "currency")
	recipient := members["participant_details"].Object("recipient")["recipient"].Object("full_name")
	return Payout{
		ID: members["id"].Text(), Status: PayoutStatus(members["status"].Text()),
		AmountDetails: AmountDetails{Amount: amount["amount"].Int(), Currency: amount["currency"].Text()},
		Destination:   referenceDestination(either(members["payment_method"], members["payout_details"])),
		RecipientName: secret.String(recipient["full_name"].Text()),
		Metadata:      members["metadata"].Raw(), TransactionInfo: members["transaction_info"].Raw(), Error: referenceError(members["error"]),
		Returned: referenceReturned(members["refunds"]), Refunds: members["refunds"].Raw(),
	}
}

func referenceReturned(refunds jsontest.Value) bool {
	var compact bytes.Buffer
	_ = json.Compact(&compact, refunds.Raw())
	return refunds.Given() && compact.String() != "[]" && compact.String() != "{}"
}

func referenceDestination(value jsontest.Value) Destination {
	method := value.Object("type", "card", "recurrent")
	_ = method["type"].Text()
	card := method["card"].Object("type", "tokenized_card", "encrypted_card")
	_ = card["type"].Text()
	text := func(value jsontest.Value, name string) secret.String {
		return secret.String(value.Object(name)[name].Text())
	}
	return Destination{
		CardToken: text(card["tokenized_card"], "token"), CardNumberHash: text(card["encrypted_card"], "number_hash"),
		RecurrentToken: text(method["recurrent"], "token"),
	}
}

func referenceError(value jsontest.Value) *ErrorInfo {
	if !value.Given() {
		return nil
	}
	members := value.Object("code", "description")
	return (&ErrorInfo{Code: members["code"].Text(), Description: members["description"].Text()}).redacted()
}

// either is the one of two namings that is used; both at once contradict each other.
func either(v1, v2 jsontest.Value) jsontest.Value {
	switch {
	case v1.Given() && v2.Given():
		jsontest.Refuse("both namings")
	case v2.Given():
		return v2
	}
	return v1
}
