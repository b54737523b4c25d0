package pike_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"pikepayouts/pike"
)

// pageWebhook is the example of the page's step 4, byte for byte.
const pageWebhook = `{
"type": "ready_to_confirm",
"session": {
"id": "ps_3230",
"status": "in_progress",
"created_at": "2024-05-27T02:03:00.000000Z",
"updated_at": "2024-05-27T02:03:00.000000Z",
"next_action": "confirm",
"payments": [{
"id": "po_1234",
"status": "pending",
"created_at": "2024-05-27T02:03:00.000000Z",
"customer": {
"reference": "user",
"contacts": [{
"email": "user@test.ru"
}]
},
"payment_method": {
"type": "card",
"card": {
"type": "tokenized_card",
"tokenized_card": {
"token": "759c9852dde2211d7531b3d905c1d513fbfb914bee87fb567d99c7b2f2c2ad44"
}
}
},
"amount_details": {
"amount": 10000,
"currency": "rub"
},
"metadata": "good"
}]
}
}`

// parse signs, verifies and parses body.
func parse(t *testing.T, body string) (pike.Webhook, error) {
	t.Helper()
	verifier, err := pike.NewVerifier(&partnerKey().PublicKey)
	require.NoError(t, err)
	signature, err := pike.Sign(partnerKey(), []byte(body))
	require.NoError(t, err)
	verified, err := verifier.Verify(pike.UnverifiedBody(body), []string{signature})
	require.NoError(t, err)
	return pike.ParseWebhook(verified)
}

func TestPagesWebhook(t *testing.T) {
	for name, body := range map[string]string{
		"v1": pageWebhook, "v2": strings.NewReplacer("payments", "payout_list", "payment_method", "payout_details").Replace(pageWebhook),
	} {
		webhook, err := parse(t, body)
		require.NoError(t, err, name)
		require.Equal(t, pike.Webhook{Type: pike.WebhookReadyToConfirm, Session: pike.Session{
			ID: "ps_3230", Status: pike.SessionInProgress, NextAction: pike.NextActionConfirm,
			Payouts: []pike.Payout{{
				ID: "po_1234", Status: pike.PayoutPending, AmountDetails: pike.AmountDetails{Amount: 10000, Currency: "rub"},
				Destination: pike.Destination{CardToken: cardToken}, Metadata: []byte(`"good"`),
			}},
		}}, webhook, name)
		require.Equal(t, "good", webhook.Session.Payouts[0].MetadataText())
	}
}

func TestMetadataOfAnyKind(t *testing.T) {
	for metadata, want := range map[string]string{
		`"inv-1"`: "inv-1", `"\u0069nv-1"`: "inv-1", `""`: "", `7`: "", `{"a":"inv-1"}`: "", `["inv-1"]`: "", `null`: "", `true`: "",
	} {
		webhook, err := parse(t, strings.Replace(pageWebhook, `"good"`, metadata, 1))
		require.NoError(t, err, metadata)
		require.Equal(t, want, webhook.Session.Payouts[0].MetadataText(), metadata)
	}
	webhook, err := parse(t, strings.Replace(pageWebhook, `"metadata": "good"`, `"x": 1`, 1))
	require.NoError(t, err)
	require.Empty(t, webhook.Session.Payouts[0].MetadataText())
}

func TestAmericanSpellingInAWebhook(t *testing.T) {
	webhook, err := parse(t, `{"type":"payment_finished","session":{"id":"ps_1","status":"canceled","acquiring_payments":[{}]}}`)
	require.NoError(t, err)
	require.Equal(t, pike.SessionCancelled, webhook.Session.Status)
	require.Equal(t, 1, webhook.Session.IncomingPayments)
}

func TestUnknownTypesAndFieldsAreRead(t *testing.T) {
	webhook, err := parse(t, `{"type":"brand_new","extra":{"a":1},"session":{"id":"ps_1","status":"brand_new","extra":[]}}`)
	require.NoError(t, err)
	require.Equal(t, pike.WebhookType("brand_new"), webhook.Type)
}

// TestWebhooksThatTwoParsersCouldReadDifferently: hazard W20.
func TestWebhooksThatTwoParsersCouldReadDifferently(t *testing.T) {
	session := `"session":{"id":"ps_1","status":"created"}`
	for name, body := range map[string]string{
		"not JSON": `x`, "empty": ``, "cut": `{"type":"a",` + session, "list": `[]`, "BOM": "\ufeff{\"type\":\"a\"," + session + `}`,
		"no type": `{` + session + `}`, "no session": `{"type":"a"}`, "no id": `{"type":"a","session":{"status":"created"}}`,
		"type twice": `{"type":"a","type":"b",` + session + `}`, "case variant": `{"type":"a","Type":"b",` + session + `}`,
		"id twice": `{"type":"a","session":{"id":"ps_1","id":"ps_2"}}`, "long s": `{"type":"a","ſession":{},` + session + `}`,
		"metadata twice":  strings.Replace(pageWebhook, `"metadata": "good"`, `"metadata":"good","metadata":"bad"`, 1),
		"amount as text":  strings.Replace(pageWebhook, `10000`, `"10000"`, 1),
		"amount as 1e4":   strings.Replace(pageWebhook, `10000`, `1e4`, 1),
		"two values":      pageWebhook + `{}`,
		"invalid UTF-8":   strings.Replace(pageWebhook, "good", "\xff", 1),
		"both namings":    strings.Replace(pageWebhook, `"payments"`, `"payout_list":[],"payments"`, 1),
		"both methods":    strings.Replace(pageWebhook, `"payment_method"`, `"payout_details":{},"payment_method"`, 1),
		"type is a list":  `{"type":["a"],` + session + `}`,
		"session is null": `{"type":"a","session":null}`,
	} {
		_, err := parse(t, body)
		require.ErrorContains(t, err, "parsing the webhook", name)
	}
}
