package payout_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"pikepayouts/payout"
)

// TestEveryReasonIsSaidInPlainWords: what it means and what it asks of a person, a sentence each.
func TestEveryReasonIsSaidInPlainWords(t *testing.T) {
	said := map[string]payout.AttentionReason{}
	for _, reason := range payout.AttentionReasons() {
		meaning := reason.Meaning()
		for _, sentence := range []string{meaning.Means, meaning.Asks} {
			require.Regexp(t, `^[A-Z][^.\n]{20,}\.$`, sentence, reason)
			require.NotContains(t, said, sentence, "it says no more than that of another reason")
			require.NotContains(t, sentence, string(reason), "a name is no explanation")
			said[sentence] = reason
		}
		require.NotEqual(t, payout.Plain, reason.Tone(), reason)
	}
	require.Equal(t, payout.Plain, payout.AttentionReason("").Tone())
}

func TestEveryActionHasACommand(t *testing.T) {
	for _, action := range payout.Actions() {
		require.Contains(t, action.Command("inv-1"), " ", action)
		require.Contains(t, action.Command("inv-1"), "inv-1", action)
	}
	require.Empty(t, payout.Action("pay_twice").Command("inv-1"))
}

// TestFactsLeaveOutWhatIsNotKnown, as in the results of older runs.
func TestFactsLeaveOutWhatIsNotKnown(t *testing.T) {
	var status payout.Status
	require.NoError(t, json.Unmarshal([]byte(`{"payout_id":"inv-1","state":"failed","amount_details":{"amount":1,"currency":"eur"}}`), &status))
	require.Equal(t, []payout.Fact{
		{Name: "Payout", Value: "inv-1"},
		{Name: "State", Value: "failed", Tone: payout.Bad},
		{Name: "Amount", Value: "0.01 EUR"},
		{Name: "Last webhook", Value: "none"},
		{Name: "Last status read", Value: "none"},
		{Name: "Next", Value: "nothing: no money was paid; to pay after all, start a payout with another id"},
	}, status.Facts(time.Time.String))
}

// TestTheContractOnlyGrows: what is not set is not there, and every documented name stays.
func TestTheContractOnlyGrows(t *testing.T) {
	encoded, err := json.Marshal(payout.Status{})
	require.NoError(t, err)
	require.JSONEq(t, `{"payout_id":"","state":"","amount_details":{"amount":0,"currency":""},"updated_at":"0001-01-01T00:00:00Z"}`, string(encoded))

	now := time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)
	encoded, err = json.Marshal(payout.Status{
		Since: now, LastWebhook: &payout.Webhook{Type: "payment_finished", SessionStatus: "accepted", PayoutStatus: "succeeded", At: now},
		LastStatusRead: &payout.StatusRead{SessionStatus: "accepted", PayoutStatus: "succeeded", At: now}, Actions: payout.Actions(),
	})
	require.NoError(t, err)
	for _, want := range []string{
		`"since":"2026-03-04T12:00:00Z"`,
		`"last_webhook":{"type":"payment_finished","session_status":"accepted","payout_status":"succeeded","at":"2026-03-04T12:00:00Z"}`,
		`"last_status_read":{"session_status":"accepted","payout_status":"succeeded","at":"2026-03-04T12:00:00Z"}`,
		`"actions":["confirm","cancel","recheck","close_paid","close_not_paid","cancel_workflow"]`,
	} {
		require.Contains(t, string(encoded), want)
	}
}
