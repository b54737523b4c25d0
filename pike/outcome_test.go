package pike_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"pikepayouts/pike"
)

func failed(code string) string {
	return `{"status":"error","error":{"code":"` + code + `","description":"because"}}`
}

// bigAnswer would be fine, were it not larger than the limit (hazard T12); cut at the limit it still is JSON.
var bigAnswer = okSession + strings.Repeat(" ", 1<<20)

var answers = []struct {
	name   string
	status int
	answer string
	want   pike.Outcome // "" for done
	code   pike.Code
}{
	{"ok", 200, okSession, "", ""},
	{"ok with unknown fields", 200, `{"status":"ok","new":1,"session":{"id":"ps_1","status":"brand_new","new":[]}}`, "", ""},
	{"200 error, refusal", 200, failed("invalid_request"), pike.Refused, pike.CodeInvalidRequest},
	{"200 error, unknown code", 200, failed("moon_phase"), pike.Unknown, "moon_phase"},
	{"200 error without details", 200, `{"status":"error"}`, pike.Unknown, ""},
	{"invalid request", 400, failed("invalid_request"), pike.Refused, pike.CodeInvalidRequest},
	{"identification", 400, failed("identification_error"), pike.Refused, pike.CodeIdentification},
	{"authentication", 401, failed("authentication_error"), pike.Refused, pike.CodeAuthentication},
	{"authorization", 403, failed("authorization_error"), pike.Refused, pike.CodeAuthorization},
	{"internal error", 400, failed("internal_error"), pike.Unknown, pike.CodeInternal},
	{"idempotency key", 400, failed("idempotency_key_already_exists"), pike.Unknown, pike.CodeIdempotencyKeyExists},
	{"wrong state", 400, failed("session_wrong_state"), pike.Unknown, pike.CodeSessionWrongState},
	{"balance", 400, failed("insufficient_balance"), pike.Unknown, "insufficient_balance"},
	{"code in another letter case", 400, failed("Invalid_Request"), pike.Unknown, "Invalid_Request"},
	{"empty code", 400, failed(""), pike.Unknown, ""},
	{"400 without details", 400, `{"status":"error"}`, pike.Unknown, ""},
	{"400 that says ok", 400, okSession, pike.Unknown, ""},
	{"401 HTML", 401, "<html>", pike.Unknown, ""},
	{"403 HTML of a firewall", 403, "<html>", pike.Unknown, ""},
	{"404 JSON", 404, failed("not_found"), pike.Unknown, "not_found"},
	{"404 HTML", 404, "<html>", pike.Unknown, ""},
	{"429 JSON", 429, failed("too_many_requests"), pike.Unknown, "too_many_requests"},
	{"429 empty", 429, "", pike.Unknown, ""},
	{"500 JSON", 500, failed("internal_error"), pike.Unknown, pike.CodeInternal},
	{"500 with a refusal's code", 500, failed("invalid_request"), pike.Unknown, pike.CodeInvalidRequest},
	{"500 HTML", 500, "<html>", pike.Unknown, ""},
	{"500 that says ok", 500, okSession, pike.Unknown, ""},
	{"502 JSON", 502, failed("authentication_error"), pike.Unknown, pike.CodeAuthentication},
	{"502 HTML", 502, "<html>", pike.Unknown, ""},
	{"503 JSON", 503, failed("internal_error"), pike.Unknown, pike.CodeInternal},
	{"503 empty", 503, "", pike.Unknown, ""},
	{"504 JSON", 504, failed("internal_error"), pike.Unknown, pike.CodeInternal},
	{"504 HTML", 504, "<html>", pike.Unknown, ""},
	{"201 that says ok", 201, okSession, pike.Unknown, ""},
	{"204", 204, "", pike.Unknown, ""},
	{"304", 304, "", pike.Unknown, ""},
	{"302 with a refusal's body", 302, failed("invalid_request"), pike.Unknown, pike.CodeInvalidRequest},
	{"HTML 200", 200, "<html>Maintenance</html>", pike.Unknown, ""},
	{"empty body", 200, "", pike.Unknown, ""},
	{"null", 200, "null", pike.Unknown, ""},
	{"a list", 200, "[]", pike.Unknown, ""},
	{"no status", 200, `{"session":{"id":"ps_1","status":"created"}}`, pike.Unknown, ""},
	{"another status", 200, `{"status":"pending","session":{"id":"ps_1","status":"created"}}`, pike.Unknown, ""},
	{"status in another letter case", 200, strings.Replace(okSession, "ok", "OK", 1), pike.Unknown, ""},
	{"no session", 200, `{"status":"ok"}`, pike.Unknown, ""},
	{"null session", 200, `{"status":"ok","session":null}`, pike.Unknown, ""},
	{"no session id", 200, `{"status":"ok","session":{"status":"created"}}`, pike.Unknown, ""},
	{"no session status", 200, `{"status":"ok","session":{"id":"ps_1"}}`, pike.Unknown, ""},
	{"session of another shape", 200, `{"status":"ok","session":[]}`, pike.Unknown, ""},
	{"amount that is a number with a point", 200, `{"status":"ok","session":{"id":"ps_1","status":"created","payments":[{"amount_details":{"amount":4242424242424242.5}}]}}`, pike.Unknown, ""},
	{"cut JSON", 200, okSession[:40], pike.Unknown, ""},
	{"two values", 200, okSession + okSession, pike.Unknown, ""},
	{"more than 1 MiB", 200, bigAnswer, pike.Unknown, ""},
}

// TestWhatAnAnswerProves is the table of design §4.1. Every answer but a clean
// ok and a listed refusal leaves the outcome open.
func TestWhatAnAnswerProves(t *testing.T) {
	for _, tt := range answers {
		t.Run(tt.name, func(t *testing.T) {
			client, server := answering(t, tt.status, tt.answer)
			err := start(t.Context(), client)
			require.Len(t, server.seen(), 1, "a call is sent once")
			if tt.want == "" {
				require.NoError(t, err)
				return
			}
			failure := requireOutcome(t, tt.want, err)
			require.Equal(t, "session/start/payout", failure.Method)
			require.Equal(t, tt.status, failure.HTTPStatus)
			require.Equal(t, tt.code, failure.Code)
			require.Equal(t, tt.code == pike.CodeSessionWrongState, isError(err, pike.ErrWrongState))
			require.Equal(t, tt.code == pike.CodeIdempotencyKeyExists, isError(err, pike.ErrIdempotencyKeyExists))
			require.Equal(t, tt.want == pike.Refused && tt.code != pike.CodeInvalidRequest, isError(err, pike.ErrConfigRefused))
		})
	}
}

func TestErrorTextTellsWhatPikeSaid(t *testing.T) {
	client, _ := answering(t, 400, failed("invalid_request"))
	require.EqualError(t, start(t.Context(), client), "pike session/start/payout: refused, HTTP 400, invalid_request (because)")
}

// TestErrorTextShowsNoCardData: hazard S1. Pike may echo what it was sent, in words or in numbers.
func TestErrorTextShowsNoCardData(t *testing.T) {
	for name, answer := range map[string]string{
		"token":              `{"status":"error","error":{"code":"invalid_request","description":"token ` + cardToken + ` is unknown"}}`,
		"number hash":        `{"status":"error","error":{"code":"x","description":"number_hash=` + strings.ToUpper(cardNumberHash) + `"}}`,
		"card number":        `{"status":"error","error":{"code":"x","description":"card 4242424242424242 is blocked"}}`,
		"card number as sum": `{"status":"ok","session":{"id":"a","status":"b","payments":[{"amount_details":{"amount":4242424242424242.5}}]}}`,
		"token as code":      `{"status":"error","error":{"code":"` + cardToken + `"}}`,
	} {
		client, _ := answering(t, 200, answer)
		err := start(t.Context(), client)
		require.Error(t, err, name)
		for _, secret := range []string{cardToken, strings.ToUpper(cardNumberHash), "4242424242424242"} {
			require.NotContains(t, err.Error(), secret, name)
		}
		require.Contains(t, err.Error(), "[redacted]", name)
	}
}
