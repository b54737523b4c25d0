package activities

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"pikepayouts/payout"
	"pikepayouts/pike"
)

func ended(state payout.State) Record {
	return Record{Known: true, Status: &payout.Status{State: state, SessionID: "ps_1"}}
}

// TestLateEventsAreComparedWithTheRecord is the table of design §3.4.
func TestLateEventsAreComparedWithTheRecord(t *testing.T) {
	paid, notPaid := onePayout(pike.SessionAccepted, pike.PayoutSucceeded), onePayout(pike.SessionCancelled, pike.PayoutFailed)
	errored := onePayout(pike.SessionError, pike.PayoutFailed)
	returned := onePayout(pike.SessionAccepted, pike.PayoutSucceeded)
	returned.Payouts[0].Returned = true
	nameless := onePayout(pike.SessionAccepted, pike.PayoutSucceeded)
	nameless.Payouts[0].Metadata = json.RawMessage(`{"order":7}`)
	elsewhere := ended(payout.StateSucceeded)
	elsewhere.Status.SessionID = "ps_2"
	tests := []struct {
		name    string
		session pike.Session
		record  Record
		event   payout.LateEvent
		want    Comparison
		text    string
	}{
		{"paid, succeeded", paid, ended(payout.StateSucceeded), payout.LateEvent{}, ComparisonAgrees, "recorded as succeeded"},
		{"not paid, failed", notPaid, ended(payout.StateFailed), payout.LateEvent{}, ComparisonAgrees, "recorded as failed"},
		{"not paid, cancelled", notPaid, ended(payout.StateCancelled), payout.LateEvent{}, ComparisonAgrees, "recorded as cancelled"},
		{"paid, failed", paid, ended(payout.StateFailed), payout.LateEvent{}, ComparisonDisagrees, "PAID at Pike"},
		{"paid, cancelled", paid, ended(payout.StateCancelled), payout.LateEvent{}, ComparisonDisagrees, "PAID at Pike"},
		{"not paid, succeeded", notPaid, ended(payout.StateSucceeded), payout.LateEvent{}, ComparisonDisagrees, "NOT paid at Pike"},
		{"returned", returned, ended(payout.StateSucceeded), payout.LateEvent{Reason: payout.LateRefunded}, ComparisonDisagrees, "money was returned"},
		{"refunded, which the status does not show yet", paid, ended(payout.StateSucceeded), payout.LateEvent{Event: payout.Event{Type: "payment_refunded"}}, ComparisonUnsettled, "speaks of returned money"},
		{"refunded, never paid", notPaid, ended(payout.StateFailed), payout.LateEvent{Event: payout.Event{Type: "payment_refunded"}}, ComparisonAgrees, "recorded as failed"},
		{"session error", errored, ended(payout.StateFailed), payout.LateEvent{}, ComparisonUnsettled, "not final"},
		{"payout runs", paid, Record{Known: true, Open: true}, payout.LateEvent{}, ComparisonOpen, "is open"},
		{"payout runs in another session", paid, Record{Known: true, Open: true}, payout.LateEvent{Reason: payout.LateOtherSession}, ComparisonDisagrees, "another session"},
		{"payout ended in another session", paid, elsewhere, payout.LateEvent{}, ComparisonDisagrees, `session "ps_2"`},
		{"terminated", paid, Record{Known: true, Ended: "Terminated"}, payout.LateEvent{}, ComparisonDisagrees, "without a result (terminated)"},
		{"unknown payout", paid, Record{}, payout.LateEvent{PayoutID: "p9"}, ComparisonDisagrees, "knows no payout p9"},
		{"no payout named", nameless, Record{}, payout.LateEvent{Reason: payout.LateUncorrelated}, ComparisonDisagrees, "names no payout"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.event.Event.SessionID = "ps_1"
			a := New(Config{Pike: &pikeStub{session: tt.session}, Runs: runsStub{record: tt.record}})
			finding, err := executeActivity[LateEventFinding](a.CheckLateEvent, LateEventInput{LateEvent: tt.event})
			require.NoError(t, err)
			require.Equal(t, tt.want, finding.Comparison)
			require.Contains(t, finding.Text, tt.text)
			require.Empty(t, finding.Session.Mismatch)
			if tt.event == (payout.LateEvent{Event: tt.event.Event}) {
				require.Equal(t, "p1", finding.PayoutID, "read from Pike's session")
			}
		})
	}
}

func TestALateEventWithoutASessionAsksNobody(t *testing.T) {
	a := New(Config{Pike: &pikeStub{statusErr: errors.New("asked")}, Runs: runsStub{err: errors.New("asked")}})
	finding, err := executeActivity[LateEventFinding](a.CheckLateEvent, LateEventInput{LateEvent: payout.LateEvent{Reason: payout.LateUnparsable}})
	require.NoError(t, err)
	require.Equal(t, ComparisonDisagrees, finding.Comparison)
}

func TestALateEventThatCannotBeCheckedIsAnError(t *testing.T) {
	event := LateEventInput{LateEvent: payout.LateEvent{PayoutID: "p1", Event: payout.Event{SessionID: "ps_1"}}}
	refused := New(Config{Pike: &pikeStub{statusErr: &pike.Error{Outcome: pike.Refused}}, Runs: runsStub{}})
	_, err := executeActivity[LateEventFinding](refused.CheckLateEvent, event)
	require.Equal(t, Refused, FailureOf(err).Outcome)
	unrecorded := New(Config{Pike: &pikeStub{session: onePayout(pike.SessionAccepted, pike.PayoutSucceeded)}, Runs: runsStub{err: errors.New("no history")}})
	_, err = executeActivity[LateEventFinding](unrecorded.CheckLateEvent, event)
	require.ErrorContains(t, err, "looking up payout p1")
}
