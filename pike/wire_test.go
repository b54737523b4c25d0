package pike_test

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"pikepayouts/pike"
)

// The bodies of the page's step 3, to which amount_details and customer are added.
const startTemplate = `{"session_id":"3230",%q:%s,"participant_details":{"recipient":{"full_name":"Ivanov Ivan"}},"metadata":"good",
	"amount_details":{"amount":10000,"currency":"rub"},"customer":{"reference":"user123","contacts":[{"email":"user@gmail.com"}]}}`

var methods = []struct {
	name        string
	destination pike.Destination
	json        string
}{
	{"tokenized card", pike.Destination{CardToken: cardToken}, `{"type":"card","card":{"type":"tokenized_card","tokenized_card":{"token":"` + cardToken + `"}}}`},
	{"encrypted card", pike.Destination{CardNumberHash: cardNumberHash}, `{"type":"card","card":{"type":"encrypted_card","encrypted_card":{"number_hash":"` + cardNumberHash + `"}}}`},
	{"recurrent", pike.Destination{RecurrentToken: recurrentToken}, `{"type":"recurrent","recurrent":{"token":"` + recurrentToken + `"}}`},
}

func TestStartPayoutIsSentAsThePageShows(t *testing.T) {
	for version, name := range map[pike.Version]string{pike.V1: "payment_method", pike.V2: "payout_details"} {
		for _, method := range methods {
			t.Run(string(version)+" "+method.name, func(t *testing.T) {
				client, server := answering(t, 200, okSession, func(c *pike.Config) { c.Version = version })
				_, err := client.StartPayout(t.Context(), order(method.destination), "inv-1/start")
				require.NoError(t, err)
				sent := server.seen()[0]
				require.Equal(t, "POST /api/"+string(version)+"/session/start/payout", sent.path)
				require.JSONEq(t, fmt.Sprintf(startTemplate, name, method.json), sent.body)
			})
		}
	}
}

func TestOptionalFieldsAreLeftOut(t *testing.T) {
	client, server := answering(t, 200, okSession)
	request := cardOrder()
	request.Customer, request.Metadata = nil, ""
	_, err := client.StartPayout(t.Context(), request, "")
	require.NoError(t, err)
	require.NotContains(t, server.seen()[0].body, "customer")
	require.NotContains(t, server.seen()[0].body, "metadata")
	require.NotContains(t, server.seen()[0].header, "X-Partner-Idempotency-Key")
	require.NotContains(t, server.seen()[0].header, "X-Partner-Submerchant")
}

// everyCall makes one call of each method.
func everyCall(t *testing.T, client *pike.Client) {
	t.Helper()
	_, err := client.CreateSession(t.Context(), pike.CreateSessionRequest{Metadata: "inv-1"}, "key-create")
	require.NoError(t, err)
	_, err = client.CreateSession(t.Context(), pike.CreateSessionRequest{}, "key-empty")
	require.NoError(t, err)
	require.NoError(t, start(t.Context(), client))
	_, err = client.ConfirmSession(t.Context(), "ps_1", "key-confirm")
	require.NoError(t, err)
	_, err = client.CancelSession(t.Context(), "ps_1", "key-cancel")
	require.NoError(t, err)
	_, err = client.SessionStatus(t.Context(), "ps_1")
	require.NoError(t, err)
	_, err = client.TokenInfo(t.Context(), pike.TokenInfoRequest{Destination: pike.Destination{CardToken: cardToken}})
	require.NoError(t, err)
	_, err = client.TokenInfo(t.Context(), pike.TokenInfoRequest{Destination: pike.Destination{RecurrentToken: recurrentToken}})
	require.NoError(t, err)
}

const okEverything = `{"status":"ok","session":{"id":"ps_3230","status":"created"},"info":{"type":"card","brand":"visa","last4":"4242"}}`

func TestEveryCallOnTheWire(t *testing.T) {
	client, server := answering(t, 200, okEverything, func(c *pike.Config) { c.Version, c.Submerchant = pike.V2, "sub-1" })
	everyCall(t, client)
	sent := server.seen()
	want := []struct{ path, body, key string }{
		{"/api/v2/session/create", `{"metadata":"inv-1"}`, "key-create"},
		{"/api/v2/session/create", `{}`, "key-empty"},
		{"/api/v2/session/start/payout", "", "inv-1/start"},
		{"/api/v2/session/confirm", `{"session_id":"ps_1"}`, "key-confirm"},
		{"/api/v2/session/cancel", `{"session_id":"ps_1"}`, "key-cancel"},
		{"/api/v2/session/status", `{"session_id":"ps_1"}`, ""},
		{"/api/v1/token/info", `{"type":"card","card":{"type":"tokenized_card","tokenized_card":{"token":"` + cardToken + `"}}}`, ""},
		{"/api/v1/token/info", `{"type":"recurrent_token","recurrent_token":{"token":"` + recurrentToken + `"}}`, ""},
	}
	require.Len(t, sent, len(want))
	verifier, err := pike.NewVerifier(&partnerKey().PublicKey)
	require.NoError(t, err)
	for i, call := range want {
		require.Equal(t, "POST "+call.path, sent[i].path)
		if call.body != "" {
			require.Equal(t, call.body, sent[i].body)
		}
		header := sent[i].header
		require.Equal(t, "application/json", header.Get("Content-Type"))
		require.Equal(t, "application/json", header.Get("Accept"))
		require.Equal(t, "your_project_name", header.Get("X-PARTNER-PROJECT"))
		require.Equal(t, "sub-1", header.Get("X-PARTNER-SUBMERCHANT"))
		require.Equal(t, call.key, header.Get("X-PARTNER-IDEMPOTENCY-KEY"))
		// Hazard A9: with either name net/http would resend a POST by itself.
		require.NotContains(t, header, "Idempotency-Key")
		require.NotContains(t, header, "X-Idempotency-Key")
		// Hazard S5: what was sent is what was signed.
		_, err := verifier.Verify(pike.UnverifiedBody(sent[i].body), header.Values("X-PARTNER-SIGN"))
		require.NoError(t, err, call.path)
	}
}

func TestTokenInfo(t *testing.T) {
	client, _ := answering(t, 200, okEverything)
	info, err := client.TokenInfo(t.Context(), pike.TokenInfoRequest{Destination: pike.Destination{CardToken: cardToken}})
	require.NoError(t, err)
	require.Equal(t, pike.TokenInfo{Type: "card", Brand: "visa", Last4: "4242"}, info)
	for _, answer := range []string{`{"status":"ok"}`, `{"status":"ok","info":null}`, `{"status":"ok","info":7}`} {
		client, _ := answering(t, 200, answer)
		_, err := client.TokenInfo(t.Context(), pike.TokenInfoRequest{Destination: pike.Destination{CardToken: cardToken}})
		_ = requireOutcome(t, pike.Unknown, err)
	}
}

// sessionAnswer is the page's answer to start, with the fields of both steps 3 and 6 that we read.
const sessionAnswer = `{"status":"ok","session":{"id":"ps_3230","status":"in_progress","next_action":"confirm","error":{"code":"c","description":"d"},
	"created_at":"2024-05-27T02:03:00.000000Z","updated_at":"2024-05-27T02:03:00.000000Z","LIST":[{"id":"po_1234","status":"pending",
	"created_at":"2024-05-27T02:03:00.000000Z","customer":{"reference":"user123","contacts":[{"email":"user@gmail.com"}]},"METHOD":DESTINATION,
	"participant_details":{"recipient":{"full_name":"Ivanov Ivan"}},"amount_details":{"amount":10000,"currency":"rub"},
	"transaction_info":{"rrn":"1"},"error":{"code":"pc","description":"pd"},"metadata":"good"}],"INCOMING":[{"id":"pm_1"},{"id":"pm_2"}]}}`

// TestEitherNamingIsRead: api.md §1, whichever version was called.
func TestEitherNamingIsRead(t *testing.T) {
	namings := map[string]*strings.Replacer{
		"v1": strings.NewReplacer("LIST", "payments", "METHOD", "payment_method", "INCOMING", "acquiring_payments"),
		"v2": strings.NewReplacer("LIST", "payout_list", "METHOD", "payout_details", "INCOMING", "payment_list"),
	}
	for naming, replacer := range namings {
		for _, version := range []pike.Version{pike.V1, pike.V2} {
			for _, method := range methods {
				t.Run(naming+" in an answer to "+string(version)+", "+method.name, func(t *testing.T) {
					client, _ := answering(t, 200, strings.Replace(replacer.Replace(sessionAnswer), "DESTINATION", method.json, 1), func(c *pike.Config) { c.Version = version })
					session, err := client.SessionStatus(t.Context(), "ps_3230")
					require.NoError(t, err)
					require.Equal(t, wantSession(method.destination), session)
				})
			}
		}
	}
}

func wantSession(destination pike.Destination) pike.Session {
	return pike.Session{
		ID: "ps_3230", Status: pike.SessionInProgress, NextAction: pike.NextActionConfirm, IncomingPayments: 2,
		Error: &pike.ErrorInfo{Code: "c", Description: "d"},
		Payouts: []pike.Payout{{
			ID: "po_1234", Status: pike.PayoutPending, AmountDetails: pike.AmountDetails{Amount: 10000, Currency: "rub"},
			Destination: destination, RecipientName: "Ivanov Ivan", Metadata: []byte(`"good"`),
			TransactionInfo: []byte(`{"rrn":"1"}`), Error: &pike.ErrorInfo{Code: "pc", Description: "pd"},
		}},
	}
}

func TestBothNamingsAtOnceAreRefused(t *testing.T) {
	for name, session := range map[string]string{
		"lists":        `{"id":"ps_1","status":"created","payments":[],"payout_list":[]}`,
		"destinations": `{"id":"ps_1","status":"created","payments":[{"payment_method":{},"payout_details":{}}]}`,
	} {
		client, _ := answering(t, 200, `{"status":"ok","session":`+session+`}`)
		_, err := client.SessionStatus(t.Context(), "ps_1")
		_ = requireOutcome(t, pike.Unknown, err)
		require.ErrorContains(t, err, "has both", name)
	}
}

// TestAnswersThatTwoParsersCouldReadDifferently: hazard W20. Such an answer proves nothing, not even a refusal.
func TestAnswersThatTwoParsersCouldReadDifferently(t *testing.T) {
	for name, answer := range map[string]string{
		"status twice":     `{"status":"error","status":"ok","session":{"id":"ps_1","status":"created"}}`,
		"session twice":    `{"status":"ok","session":{"id":"ps_1","status":"accepted"},"session":{"id":"ps_1","status":"created"}}`,
		"case variant":     `{"status":"ok","session":{"id":"ps_1","Status":"accepted"}}`,
		"payments twice":   `{"status":"ok","session":{"id":"ps_1","status":"created","payments":[{"id":"po_1"}],"payments":[]}}`,
		"refused or not":   `{"status":"error","error":{"code":"internal_error"},"error":{"code":"invalid_request"}}`,
		"refused, variant": `{"status":"error","error":{"Code":"invalid_request"}}`,
	} {
		client, _ := answering(t, 200, answer)
		_, err := client.SessionStatus(t.Context(), "ps_1")
		require.ErrorIs(t, err, pike.ErrUnknown, name)
	}
}

func TestTextCutWithinALetterKeepsNoAnswerUnread(t *testing.T) {
	client, _ := answering(t, 200, `{"status":"ok","session":{"id":"ps_1","status":"error","error":{"code":"x","description":"отказ`+"\xd0"+`"}}}`)
	session, err := client.SessionStatus(t.Context(), "ps_1")
	require.NoError(t, err)
	require.Equal(t, "отказ\ufffd", session.Error.Description)
}

func TestMaskedCardsHaveNoDestination(t *testing.T) {
	client, _ := answering(t, 200, `{"status":"ok","session":{"id":"ps_1","status":"accepted","payments":[
		{"id":"po_1","payment_method":{"type":"card","card":{"type":"bank_card","bank_card":{"last4":"4242"}}}},{"id":"po_2"}]}}`)
	session, err := client.SessionStatus(t.Context(), "ps_1")
	require.NoError(t, err)
	require.Equal(t, pike.Destination{}, session.Payouts[0].Destination)
	require.Equal(t, pike.Destination{}, session.Payouts[1].Destination)
}

func TestCancelledInAnySpelling(t *testing.T) {
	for _, spelling := range []string{"cancelled", "canceled", "Canceled"} {
		client, _ := answering(t, 200, `{"status":"ok","session":{"id":"ps_1","status":"`+spelling+`"}}`)
		session, err := client.SessionStatus(t.Context(), "ps_1")
		require.NoError(t, err)
		require.Equal(t, pike.SessionCancelled, session.Status)
	}
}

func TestErrorsOfASessionShowNoCardData(t *testing.T) {
	body := `{"status":"ok","session":{"id":"ps_1","status":"error","error":{"code":"x","description":"card 4242 4242 4242 4242, token 759c9852dde2211d, amount 10000"}}}`
	session, err := pike.DecodeSession("session/status", 200, []byte(body))
	require.NoError(t, err)
	require.Equal(t, "card [redacted], token [redacted], amount 10000", session.Error.Description)
}

// TestASessionIDThatTemporalCannotHoldIsUnreadable: hazard T12.
func TestASessionIDThatTemporalCannotHoldIsUnreadable(t *testing.T) {
	for length, readable := range map[int]bool{255: true, 256: false, 100_000: false} {
		body := `{"status":"ok","session":{"id":"` + strings.Repeat("1", length) + `","status":"created"}}`
		_, err := pike.DecodeSession("session/create", 200, []byte(body))
		require.Equal(t, readable, err == nil, "%d", length)
		if !readable {
			require.ErrorIs(t, err, pike.ErrUnknown)
		}
	}
}

// TestAnAnswerIsCutToWhatAHistoryCanHold: hazard T12.
func TestAnAnswerIsCutToWhatAHistoryCanHold(t *testing.T) {
	long := `"<` + strings.Repeat("é", 10_000) + `"`
	failure := `"error":{"code":` + long + `,"description":` + long + `}`
	body := `{"status":"ok","session":{"id":"ps_1","status":` + long + `,"next_action":` + long + `,` + failure + `,"payments":[
		{"id":` + long + `,"status":` + long + `,"amount_details":{"amount":1,"currency":` + long + `},"transaction_info":{"rrn":` + long + `},` + failure + `}]}}`
	session, err := pike.DecodeSession("session/status", 200, []byte(body))
	require.NoError(t, err)
	p := session.Payouts[0]
	for _, text := range []string{string(session.Status), session.NextAction, session.Error.Code, session.Error.Description,
		p.ID, string(p.Status), p.AmountDetails.Currency, p.Error.Code, p.Error.Description} {
		require.Len(t, text, 1<<10-1, "the cut would be within a letter")
		require.True(t, utf8.ValidString(text))
	}
	require.Nil(t, p.TransactionInfo)
}

// TestReturnedMoney: of refunds[] only whether it holds something is read, its shape is not documented (api.md §4.2).
func TestReturnedMoney(t *testing.T) {
	for refunds, want := range map[string]bool{
		`[{"id":"rf_1"}]`: true, `{"id":"rf_1"}`: true, `["rf_1"]`: true, `null`: false, `[]`: false, "[ \n ]": false, `{}`: false,
	} {
		session, err := pike.DecodeSession("session/status", 200, []byte(`{"status":"ok","session":{"id":"ps_1","status":"accepted","payments":[{"id":"po_1","refunds":`+refunds+`}]}}`))
		require.NoError(t, err)
		require.Equal(t, want, session.Payouts[0].Returned, refunds)
	}
}
