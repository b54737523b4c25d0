package activities

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"pikepayouts/payout"
	"pikepayouts/pike"
)

// Phase is what a session means for its payout.
type Phase string

// The phases.
const (
	// PhaseUnread: the session is known, its status has not been read.
	PhaseUnread Phase = "unread"
	// PhaseNotStarted: created, no payout in it.
	PhaseNotStarted Phase = "not_started"
	// PhaseInProgress: anything between the other phases, contradictions included.
	PhaseInProgress Phase = "in_progress"
	// PhaseReady: Pike waits for confirm or cancel.
	PhaseReady Phase = "ready"
	// PhasePaid: final.
	PhasePaid Phase = "paid"
	// PhaseNotPaid: final, the session is cancelled and nothing in it was paid.
	PhaseNotPaid Phase = "not_paid"
	// PhaseUnresolved: session error. It may still become paid or not paid (hazard A8).
	PhaseUnresolved Phase = "unresolved"
)

// Cancellable says whether a cancel can make sense.
func (p Phase) Cancellable() bool {
	return p == PhaseNotStarted || p == PhaseInProgress || p == PhaseReady
}

// Pike's words for the ends of a payout, as events carry them.
const (
	PayoutSucceeded = string(pike.PayoutSucceeded)
	PayoutFailed    = string(pike.PayoutFailed)
)

// Session is what the workflow remembers of Pike's session. It holds no card data.
type Session struct {
	ID            string `json:"id"`
	Phase         Phase  `json:"phase"`
	SessionStatus string `json:"session_status,omitempty"`
	PikePayoutID  string `json:"pike_payout_id,omitempty"`
	PayoutStatus  string `json:"payout_status,omitempty"`
	// Mismatch says in what the session is not what was ordered, "" if it is.
	Mismatch        string          `json:"mismatch,omitempty"`
	Error           *payout.Error   `json:"error,omitempty"`
	TransactionInfo json.RawMessage `json:"transaction_info,omitempty"`
	// Returned: money of a paid payout came back.
	Returned bool `json:"returned,omitempty"`
	// Reset says that it was read in a run made by `workflow reset`, or by a repeated ConfirmSession: start and confirm may have been sent before.
	Reset bool `json:"reset,omitempty"`
}

var errOtherSession = errors.New("Pike answered with another session than it was asked for")

// assess turns Pike's answer, read in a reset run or not, into what it means for the order.
func assess(session pike.Session, sessionID string, order Order, reset bool) (Session, error) {
	if session.ID != sessionID {
		return Session{}, errOtherSession
	}
	result := Session{
		ID: session.ID, Phase: phaseOf(session), SessionStatus: string(session.Status),
		Mismatch: mismatch(session, order), Error: errorOf(session.Error), Reset: reset,
	}
	for _, p := range session.Payouts {
		result.Returned = result.Returned || p.Returned
	}
	if len(session.Payouts) > 0 {
		first := session.Payouts[0]
		result.PikePayoutID, result.PayoutStatus = first.ID, string(first.Status)
		result.TransactionInfo = first.TransactionInfo
		if first.Error != nil {
			result.Error = errorOf(first.Error)
		}
	}
	return result, nil
}

// phaseOf follows api.md §4.3. Only agreement of session and payout is final;
// where they disagree, waiting is the safe reading.
func phaseOf(session pike.Session) Phase {
	switch session.Status {
	case pike.SessionAccepted:
		if anyPayout(session, pike.PayoutSucceeded) {
			return PhasePaid
		}
	case pike.SessionCancelled:
		if allPayouts(session, pike.PayoutFailed) {
			return PhaseNotPaid
		}
	case pike.SessionError:
		return PhaseUnresolved
	case pike.SessionCreated:
		if len(session.Payouts) == 0 {
			return PhaseNotStarted
		}
	case pike.SessionInProgress:
		if session.NextAction == pike.NextActionConfirm && len(session.Payouts) > 0 && allPayouts(session, pike.PayoutPending) {
			return PhaseReady
		}
	}
	return PhaseInProgress
}

func anyPayout(session pike.Session, status pike.PayoutStatus) bool {
	for _, p := range session.Payouts {
		if p.Status == status {
			return true
		}
	}
	return false
}

func allPayouts(session pike.Session, status pike.PayoutStatus) bool {
	for _, p := range session.Payouts {
		if p.Status != status {
			return false
		}
	}
	return true
}

// maxPayoutsToCompare: with more than one it is a mismatch in any case, and its text must fit into a history (hazard T12).
const maxPayoutsToCompare = 3

// mismatch compares what Pike holds with the order (hazard A22). It never shows
// card data or names, only that they differ. Fields that Pike does not echo are not compared.
func mismatch(session pike.Session, order Order) string {
	var differences []string
	differs := func(format string, args ...any) { differences = append(differences, fmt.Sprintf(format, args...)) }
	if len(session.Payouts) > 1 {
		differs("the session holds %d payouts", len(session.Payouts))
	}
	for _, p := range session.Payouts[:min(len(session.Payouts), maxPayoutsToCompare)] {
		if got := payout.AmountDetails(p.AmountDetails); !got.Equal(order.AmountDetails) {
			differs("amount is %.60s, ordered %s", got, order.AmountDetails)
		}
		if p.MetadataText() != order.PayoutID {
			differs("metadata is not the payout id")
		}
		if !sameDestination(p.Destination, destination(order.Destination)) {
			differs("destination differs")
		}
		if p.RecipientName != "" && p.RecipientName != order.RecipientName {
			differs("recipient differs")
		}
	}
	return strings.Join(differences, "; ")
}

// sameDestination accepts an echo without token or hash: Pike may show masked card data instead (api.md §4.2).
func sameDestination(echoed, ordered pike.Destination) bool {
	return echoed == pike.Destination{} || echoed == ordered
}

func errorOf(info *pike.ErrorInfo) *payout.Error {
	if info == nil {
		return nil
	}
	return &payout.Error{Code: info.Code, Description: info.Description}
}
