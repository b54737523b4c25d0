package payout_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"pikepayouts/payout"
	"pikepayouts/secret"
)

// documented is the example of the design: what any Temporal client may send.
const documented = `{"payout_id":"inv-1042","amount_details":{"amount":10000,"currency":"EUR"},
	"destination":{"tokenized_card":{"token":"759c9852dde2211d7531b3d905c1d513fbfb914bee87fb567d99c7b2f2c2ad44"}},
	"recipient":{"full_name":"Ivanov Ivan","country_iso3":"RUS"},
	"customer":{"reference":"user123","contacts":[{"email":"user@gmail.com"}]},
	"policy":{"decision":"manual","ready_timeout":"1h30m","approvals":2}}`

func TestParseRequest(t *testing.T) {
	r, err := payout.ParseRequest([]byte(documented))
	require.NoError(t, err)
	require.Equal(t, "eur", r.AmountDetails.Currency, "stored in lower case")
	require.Equal(t, "tokenized_card", r.Destination.Kind())
	require.Equal(t, secret.String("Ivanov Ivan"), r.Recipient.FullName)
	require.JSONEq(t, `"RUS"`, string(r.Recipient.Other["country_iso3"]))
	require.Equal(t, payout.Duration(90*time.Minute), r.Policy.ReadyTimeout)
}

func TestParseRequestNamesTheField(t *testing.T) {
	tests := []struct{ old, replacement, want string }{
		{`"inv-1042"`, `""`, "payout_id: must be 1-64"},
		{`"inv-1042"`, `"a/b"`, "payout_id: must be 1-64"},
		{`"inv-1042"`, `"` + strings.Repeat("x", 65) + `"`, "payout_id: must be 1-64"},
		{`10000`, `-1`, "amount_details.amount: must be a positive integer"},
		{`10000`, `"10000"`, "amount_details.amount: must be an integer, not string"},
		{`10000`, `10000.0`, "amount_details.amount: must be an integer"},
		{`10000`, `null`, "amount_details.amount: must be a positive integer"},
		{`10000`, `99999999999999999999`, "amount_details.amount: must be an integer"},
		{`"EUR"`, `"EURO"`, "amount_details.currency: must be an ISO 4217 code"},
		{`"EUR"`, `"XYZ"`, "amount_details.currency"},
		{`759c`, `zzzz`, "destination.tokenized_card.token: must be 64 hex digits"},
		{`759c`, `75`, "destination.tokenized_card.token: must be 64 hex digits"},
		{`"destination":{`, `"destination":{"recurrent":{"token":"x"},`, "destination: must have exactly one"},
		{`"tokenized_card"`, `"tokenised_card"`, "destination.tokenised_card: unknown field"},
		{`"Ivanov Ivan"`, `"  "`, "recipient.full_name: is required"},
		{`"Ivanov Ivan"`, `5`, "recipient: full_name must be a string"},
		{`{"full_name":"Ivanov Ivan","country_iso3":"RUS"}`, `["Ivanov Ivan"]`, "recipient: must be an object"},
		{`"manual"`, `"maybe"`, "policy.decision: must be"},
		{`"manual"`, `"auto"`, `policy.approvals: needs policy.decision "manual"`},
		{`"1h30m"`, `"soon"`, "policy.ready_timeout: a duration"},
		{`"1h30m"`, `90`, "policy.ready_timeout: a duration"},
		{`"1h30m"`, `{}`, "policy.ready_timeout: a duration"},
		{`"1h30m"`, `"-1s"`, "policy.ready_timeout: must be a positive duration"},
		{`"ready_timeout":"1h30m"`, `"poll_interval":"10ms"`, "policy.poll_interval: must be at least 1s"},
		{`"ready_timeout":"1h30m"`, `"poll_interval":"2h"`, "policy.poll_interval: must be at least 1s and at most 1h"},
		{`"1h30m"`, `"1000h"`, "policy.ready_timeout: must be a positive duration of at most 30 days"},
		{`"approvals":2`, `"approvals":11`, "policy.approvals: must be 1 to 10"},
		{`"policy"`, `"polycy"`, "polycy: unknown field"},
		{`"policy"`, `"Customer":{},"policy"`, "Customer"},
		{`"payout_id"`, `"payout_id":"a","payout_id"`, "payout_id: key given twice"},
	}
	for _, tt := range tests {
		t.Run(tt.want, func(t *testing.T) {
			require.Contains(t, documented, tt.old)
			_, err := payout.ParseRequest([]byte(strings.Replace(documented, tt.old, tt.replacement, 1)))
			require.ErrorContains(t, err, tt.want)
			require.NotContains(t, err.Error(), "Ivanov")
		})
	}
}

func TestValidateReportsEverythingAtOnce(t *testing.T) {
	err := payout.Request{}.Validate()
	for _, field := range []string{"payout_id", "amount_details.amount", "amount_details.currency", "destination", "recipient.full_name"} {
		require.ErrorContains(t, err, field+":")
	}
	var fieldError *payout.FieldError
	require.ErrorAs(t, err, &fieldError)
}

func TestRequestSurvivesJSON(t *testing.T) {
	r, err := payout.ParseRequest([]byte(documented))
	require.NoError(t, err)
	encoded, err := json.Marshal(r)
	require.NoError(t, err)
	again, err := payout.ParseRequest(encoded)
	require.NoError(t, err)
	require.Equal(t, r, again)
}

func TestFingerprint(t *testing.T) {
	base, err := payout.ParseRequest([]byte(documented))
	require.NoError(t, err)
	same := base
	same.AmountDetails.Currency = "Eur"
	same.Policy.PollInterval = payout.Duration(30 * time.Second) // the default
	require.Equal(t, base.Fingerprint(), same.Fingerprint())
	changes := map[string]func(*payout.Request){
		"amount":      func(r *payout.Request) { r.AmountDetails.Amount++ },
		"currency":    func(r *payout.Request) { r.AmountDetails.Currency = "usd" },
		"destination": func(r *payout.Request) { r.Destination.TokenizedCard = &payout.TokenizedCard{Token: "other"} },
		"recipient":   func(r *payout.Request) { r.Recipient.FullName = "Petrov" },
		"policy":      func(r *payout.Request) { r.Policy.ReadyTimeout = payout.Duration(time.Minute) },
	}
	for name, change := range changes {
		other := base
		change(&other)
		require.NotEqual(t, base.Fingerprint(), other.Fingerprint(), name)
	}
}

func TestNothingPrintsASecret(t *testing.T) {
	r, err := payout.ParseRequest([]byte(documented))
	require.NoError(t, err)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		text := fmt.Sprintf(verb, r)
		for _, canary := range []string{"Ivanov", "759c9852", "RUS", "user@gmail.com", "user123"} {
			require.NotContains(t, text, canary, verb)
		}
	}
	require.NotContains(t, r.LogValue().String(), "759c9852")
}

func TestAmountForPeople(t *testing.T) {
	tests := map[string]payout.AmountDetails{
		"100.00 EUR": {Amount: 10000, Currency: "eur"}, "0.05 USD": {Amount: 5, Currency: "usd"}, "500 JPY": {Amount: 500, Currency: "jpy"},
		"1.234 BHD": {Amount: 1234, Currency: "BHD"}, "-1.00 EUR": {Amount: -100, Currency: "eur"}, "7 XYZ": {Amount: 7, Currency: "xyz"},
	}
	for want, amount := range tests {
		require.Equal(t, want, amount.String())
	}
}

func TestWorkflowID(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		id := rapid.StringMatching(`[A-Za-z0-9._-]{1,64}`).Draw(t, "id")
		back, ok := payout.IDFromWorkflowID(payout.WorkflowID(id))
		require.True(t, ok)
		require.Equal(t, id, back)
	})
	for _, other := range []string{"", "payout/", "payout-event/ps_1/x", "payout/a/b", "other"} {
		_, ok := payout.IDFromWorkflowID(other)
		require.False(t, ok, other)
	}
}

// TestAForgedEventIsCut: hazard W23.
func TestAForgedEventIsCut(t *testing.T) {
	long := strings.Repeat("<é", 300_000)
	cut := payout.Event{
		ID: long, Type: long, SessionID: long, SessionStatus: long, NextAction: long, PikePayoutID: long, PayoutStatus: long,
		AmountDetails: payout.AmountDetails{Currency: long}, Error: &payout.Error{Code: long, Description: long},
	}.Bounded()
	encoded, err := json.Marshal(cut)
	require.NoError(t, err)
	require.Less(t, len(encoded), 64<<10)
	require.True(t, utf8.ValidString(cut.SessionID))
	require.NotContains(t, string(encoded), `\ufffd`)

	genuine := payout.Event{ID: strings.Repeat("ab", 32), Type: payout.SignalPaymentFinished, SessionID: "ps_1", Error: &payout.Error{Code: "c", Description: "d"}}
	require.Equal(t, genuine, genuine.Bounded())
}

func TestFinalStates(t *testing.T) {
	final := 0
	for _, state := range payout.States() {
		if state.Final() {
			final++
		}
	}
	require.Equal(t, 3, final)
	require.Len(t, payout.States(), 10)
}
