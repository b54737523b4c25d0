package payout

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"time"
)

// State is where a payout stands.
type State string

// The states of a payout, in the order of the happy path, then the way out.
const (
	StateCreating         State = "creating"
	StateStarting         State = "starting"
	StateAwaitingReady    State = "awaiting_ready"
	StateAwaitingDecision State = "awaiting_decision"
	StateConfirming       State = "confirming"
	StateAwaitingResult   State = "awaiting_result"
	StateCancelling       State = "cancelling"
	StateSucceeded        State = "succeeded"
	StateFailed           State = "failed"
	StateCancelled        State = "cancelled"
)

// States lists every state in the order of the happy path.
func States() []State {
	return []State{StateCreating, StateStarting, StateAwaitingReady, StateAwaitingDecision, StateConfirming, StateAwaitingResult,
		StateCancelling, StateSucceeded, StateFailed, StateCancelled}
}

// Final says whether a payout in this state has ended.
func (s State) Final() bool {
	return s == StateSucceeded || s == StateFailed || s == StateCancelled
}

// Tone says whether the state is good news.
func (s State) Tone() Tone {
	switch s {
	case StateSucceeded:
		return Good
	case StateFailed, StateCancelled:
		return Bad
	case StateAwaitingDecision: // for a person
		return Warning
	}
	return Plain
}

// AttentionReason says why a person should look. Attention is a flag beside the state.
type AttentionReason string

// The reasons for attention.
const (
	AttentionResultOverdue      AttentionReason = "result_overdue"       // confirmed, no final state within result_timeout
	AttentionUnresolvedError    AttentionReason = "unresolved_error"     // payout failed and session error: not final at Pike
	AttentionMismatch           AttentionReason = "mismatch"             // what Pike holds is not what was ordered
	AttentionPaidWithoutConfirm AttentionReason = "paid_without_confirm" // paid though we did not confirm
	AttentionConfirmUnknown     AttentionReason = "confirm_unknown"      // the answer to confirm is lost and status has not settled it
	AttentionPikeUnreachable    AttentionReason = "pike_unreachable"     // no answer from Pike for minutes
	AttentionConfigRefused      AttentionReason = "config_refused"       // Pike refuses our project, key or rights
	AttentionLateEvent          AttentionReason = "late_event"           // a genuine webhook that no open payout took contradicts what was recorded
)

// AttentionReasons lists every reason.
func AttentionReasons() []AttentionReason {
	return []AttentionReason{AttentionResultOverdue, AttentionUnresolvedError, AttentionMismatch, AttentionPaidWithoutConfirm,
		AttentionConfirmUnknown, AttentionPikeUnreachable, AttentionConfigRefused, AttentionLateEvent}
}

// Status is the answer to the query `status` and the result of the workflow.
type Status struct {
	PayoutID        string          `json:"payout_id"`
	State           State           `json:"state"`
	SessionID       string          `json:"session_id,omitempty"`
	PikePayoutID    string          `json:"pike_payout_id,omitempty"`
	AmountDetails   AmountDetails   `json:"amount_details"`
	Decision        *Decision       `json:"decision,omitempty"`
	Attention       *Attention      `json:"attention,omitempty"`
	Error           *Error          `json:"error,omitempty"`
	Deadline        *time.Time      `json:"deadline,omitempty"`
	NextStep        string          `json:"next_step,omitempty"`
	Transitions     []Transition    `json:"transitions,omitempty"`
	TransactionInfo json.RawMessage `json:"transaction_info,omitempty"`
	UpdatedAt       time.Time       `json:"updated_at"`

	// Since is when the payout came into its state.
	Since time.Time `json:"since,omitzero"`
	// LastWebhook is the last webhook of the payout's own session that it took, LastStatusRead the last truth read from Pike.
	LastWebhook    *Webhook    `json:"last_webhook,omitempty"`
	LastStatusRead *StatusRead `json:"last_status_read,omitempty"`
	// Actions are what a person can do at this moment.
	Actions []Action `json:"actions,omitempty"`
}

// Webhook is what a webhook said, and when the payout took it.
type Webhook struct {
	Type          string    `json:"type"`
	SessionStatus string    `json:"session_status,omitempty"`
	PayoutStatus  string    `json:"payout_status,omitempty"`
	At            time.Time `json:"at"`
}

// StatusRead is what Pike's session/status said, and when it was asked.
type StatusRead struct {
	SessionStatus string    `json:"session_status,omitempty"`
	PayoutStatus  string    `json:"payout_status,omitempty"`
	At            time.Time `json:"at"`
}

// Decision values.
const (
	DecisionConfirm = "confirm"
	DecisionCancel  = "cancel"
)

// DecideRequest is the argument of the update `decide`. WorkflowID is optional:
// it says which workflow is meant. The codec server encrypts for it, so a decision
// that was made for one payout cannot be played to another (hazard T2).
type DecideRequest struct {
	Decision   string `json:"decision"` // DecisionConfirm or DecisionCancel
	By         string `json:"by"`
	Reason     string `json:"reason,omitempty"`
	WorkflowID string `json:"workflow_id,omitempty"`
}

// Actions of `resolve`.
const (
	ResolveRecheck      = "recheck"        // speak to Pike now
	ResolveClosePaid    = "close_paid"     // end as succeeded, on evidence from outside
	ResolveCloseNotPaid = "close_not_paid" // end as failed or cancelled, on evidence from outside
)

// ResolveRequest is the argument of the update `resolve`. Evidence says where
// it is known from (a ticket, a bank statement); needed to close. WorkflowID is as in DecideRequest.
type ResolveRequest struct {
	Action     string `json:"action"`
	By         string `json:"by"`
	Reason     string `json:"reason,omitempty"`
	Evidence   string `json:"evidence,omitempty"`
	WorkflowID string `json:"workflow_id,omitempty"`
}

// CheckWorkflow says whether a request that names a workflow names this one.
func CheckWorkflow(named, own string) error {
	if named == "" || named == own {
		return nil
	}
	return &FieldError{Field: "workflow_id", Problem: fmt.Sprintf("names another workflow than %q, to which it was sent", own)}
}

// Validate names the field that is wrong.
func (r ResolveRequest) Validate() error {
	closes := r.Action == ResolveClosePaid || r.Action == ResolveCloseNotPaid
	switch {
	case !closes && r.Action != ResolveRecheck:
		return &FieldError{Field: "action", Problem: fmt.Sprintf("must be %q, %q or %q", ResolveRecheck, ResolveClosePaid, ResolveCloseNotPaid)}
	case strings.TrimSpace(r.By) == "":
		return &FieldError{Field: "by", Problem: "say who resolves"}
	case closes && (strings.TrimSpace(r.Reason) == "" || strings.TrimSpace(r.Evidence) == ""):
		return &FieldError{Field: "reason, evidence", Problem: "are both needed to close a payout"}
	case max(len(r.By), len(r.Reason), len(r.Evidence)) > maxWords:
		return &FieldError{Field: "by, reason, evidence", Problem: tooManyWords}
	}
	return firstCardNumber(text{"by", r.By}, text{"reason", r.Reason}, text{"evidence", r.Evidence})
}

// maxWords bounds what a person says: it goes into the result several times over, and Temporal ends a workflow whose result is too long.
const maxWords = 4 << 10

var tooManyWords = fmt.Sprintf("must each have at most %d bytes", maxWords)

// Validate names the field that is wrong.
func (r DecideRequest) Validate() error {
	switch {
	case r.Decision != DecisionConfirm && r.Decision != DecisionCancel:
		return &FieldError{Field: "decision", Problem: fmt.Sprintf("must be %q or %q", DecisionConfirm, DecisionCancel)}
	case strings.TrimSpace(r.By) == "":
		return &FieldError{Field: "by", Problem: "say who decides"}
	case max(len(r.By), len(r.Reason)) > maxWords:
		return &FieldError{Field: "by, reason", Problem: tooManyWords}
	}
	return firstCardNumber(text{"by", r.By}, text{"reason", r.Reason})
}

// text is what people wrote into a field.
type text struct{ field, value string }

func firstCardNumber(texts ...text) error {
	for _, text := range texts {
		if HoldsCardNumber(text.value) {
			return &FieldError{Field: text.field, Problem: cardNumberRule}
		}
	}
	return nil
}

// Decision is who decided what. By is a person, or the policy that decided by itself.
type Decision struct {
	Value  string    `json:"value"`
	By     string    `json:"by"`
	Reason string    `json:"reason,omitempty"`
	At     time.Time `json:"at"`
}

// Attention is why and since when a person should look.
type Attention struct {
	Reason AttentionReason `json:"reason"`
	Since  time.Time       `json:"since"`
	Detail string          `json:"detail,omitempty"`
}

// Error is what Pike said went wrong, in Pike's words.
type Error struct {
	Code        string `json:"code"`
	Description string `json:"description,omitempty"`
}

// Transition is one change of state.
type Transition struct {
	State State     `json:"state"`
	At    time.Time `json:"at"`
	Why   string    `json:"why"`
}

var eventID = regexp.MustCompile(`^[0-9a-f]{64}$`)

// Identified returns the event with an ID in any case: one that came without
// the gateway's gets an ID made of what it says.
func (e Event) Identified() Event {
	if !eventID.MatchString(e.ID) {
		sum := sha256.Sum256([]byte(strings.Join([]string{e.SessionID, e.Type, e.SessionStatus, e.PikePayoutID, e.PayoutStatus}, "\x00")))
		e.ID = hex.EncodeToString(sum[:])
	}
	return e
}

// maxEventText is longer than any text of a genuine event.
const maxEventText = 512

// Bounded returns the event with every text cut to a length that can be handed on. Whoever signals Temporal
// directly may send more than fits into the start of another workflow, for which Temporal ends the sender (hazard W23).
func (e Event) Bounded() Event {
	for _, text := range []*string{&e.ID, &e.Type, &e.SessionID, &e.SessionStatus, &e.NextAction, &e.PikePayoutID, &e.PayoutStatus, &e.AmountDetails.Currency} {
		*text = bounded(*text)
	}
	if e.Error != nil {
		e.Error = &Error{Code: bounded(e.Error.Code), Description: bounded(e.Error.Description)}
	}
	return e
}

func bounded(text string) string {
	if len(text) <= maxEventText {
		return text
	}
	return strings.ToValidUTF8(text[:maxEventText], "") // the cut may be within a letter
}

// Event is what the gateway signals to a payout when a genuine webhook arrives.
// It is a hint: session/status decides (design §4.2).
type Event struct {
	// ID is equal for every delivery of one event, and for no other: 64 hex digits.
	ID            string        `json:"id,omitempty"`
	Type          string        `json:"type"`
	SessionID     string        `json:"session_id"`
	SessionStatus string        `json:"session_status"`
	NextAction    string        `json:"next_action,omitempty"`
	PikePayoutID  string        `json:"pike_payout_id,omitempty"`
	PayoutStatus  string        `json:"payout_status,omitempty"`
	AmountDetails AmountDetails `json:"amount_details"`
	Error         *Error        `json:"error,omitempty"`
	ReceivedAt    time.Time     `json:"received_at"`
}
