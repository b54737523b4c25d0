package payout

import (
	"cmp"
	"fmt"
	"regexp"
	"time"
)

// LateEventWorkflowType is the workflow that keeps a genuine webhook which no
// open payout can take, until it is known to agree with what was recorded or a
// person has resolved it (design §3.4).
const LateEventWorkflowType = "LateEventWorkflow"

// LateEventIDPrefix begins every id of LateEventWorkflowID.
const LateEventIDPrefix = "payout-event/"

// unknownSession stands in the workflow id of an event that names no session.
const unknownSession = "unknown"

// LateEventWorkflowID returns the id of the workflow that keeps the event: one
// per session and event, so that a repeated delivery makes no second record.
func LateEventWorkflowID(event Event) string {
	return LateEventIDPrefix + event.SessionKeyword() + "/" + event.ID
}

// SessionKeyword is the session id as it may stand in workflow ids and search
// attributes: "unknown" if the event names none, or an odd one.
func (e Event) SessionKeyword() string {
	if !validSessionID.MatchString(e.SessionID) {
		return unknownSession
	}
	return e.SessionID
}

// IsLateEventWorkflowID says whether the id is one of LateEventWorkflowID.
func IsLateEventWorkflowID(workflowID string) bool {
	return lateEventWorkflowID.MatchString(workflowID)
}

var (
	validSessionID      = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)
	lateEventWorkflowID = regexp.MustCompile(`^` + LateEventIDPrefix + `[A-Za-z0-9._-]{1,64}/[0-9a-f]{64}$`)
)

// LateReason says why no payout took the event.
type LateReason string

// The reasons.
const (
	LateNoOpenPayout  LateReason = "no_open_payout" // the payout has ended, or Temporal knows none of that id
	LateContradiction LateReason = "contradiction"  // it arrived while the payout ended otherwise
	LateOtherSession  LateReason = "other_session"  // it names the payout, but another session than the payout's
	LateRefunded      LateReason = "refunded"       // payment_refunded: money came back, for which no payout waits
	LateUncorrelated  LateReason = "uncorrelated"   // its metadata names no payout, or several
	LatePoison        LateReason = "poison"         // Temporal refuses to signal the payout for good (signal limit)
	LateUnparsable    LateReason = "unparsable"     // signed by Pike, but no webhook that can be trusted to be read right
)

// LateEvent is the one argument of LateEventWorkflow.
type LateEvent struct {
	Reason LateReason `json:"reason"`
	// PayoutID is the payout that the event names, "" if that is not known.
	PayoutID string `json:"payout_id,omitempty"`
	Event    Event  `json:"event"`
}

// LateEventSummary says in the list of runs what the event is.
func LateEventSummary(event Event, reason LateReason) string {
	return fmt.Sprintf("late %s: %s", cmp.Or(event.Type, "webhook"), reason)
}

// LateVerdict is what became of a late event.
type LateVerdict string

// The verdicts. An event without one is open.
const (
	LateAgrees   LateVerdict = "agrees"   // session/status says what the payout's result says
	LateResolved LateVerdict = "resolved" // a person closed it
)

// LateEventStatus is the answer to the query `status` of LateEventWorkflow and its result.
type LateEventStatus struct {
	LateEvent
	// Verdict is empty until the event is closed.
	Verdict LateVerdict `json:"verdict,omitempty"`
	// Recorded is the payout's state, "" if it is not known or has no result.
	Recorded State `json:"recorded,omitempty"`
	// SessionStatus, PayoutStatus and Returned are the last truth read from Pike.
	SessionStatus string `json:"session_status,omitempty"`
	PayoutStatus  string `json:"payout_status,omitempty"`
	Returned      bool   `json:"returned,omitempty"`
	// Finding is in plain words how the two compare.
	Finding    string          `json:"finding,omitempty"`
	Attention  *Attention      `json:"attention,omitempty"`
	Resolution *LateResolution `json:"resolution,omitempty"`
	CheckedAt  time.Time       `json:"checked_at,omitzero"`
	UpdatedAt  time.Time       `json:"updated_at"`
	// Actions are what a person can do at this moment.
	Actions []Action `json:"actions,omitempty"`
}

// LateResolution is what a person said of the event.
type LateResolution struct {
	ResolveRequest
	At time.Time `json:"at"`
}
