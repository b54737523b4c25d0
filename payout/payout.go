// Package payout is the contract of the service: what a caller sends, what a
// payout answers, and every name that crosses a process border. It needs
// nothing but the standard library, so that any caller can import it.
package payout

import (
	"fmt"
	"regexp"
	"strings"
)

// Names that other programs use. They never change within a major version.
const (
	WorkflowType     = "PayoutWorkflow"
	DefaultTaskQueue = "payouts"

	SignalReadyToConfirm  = "ready_to_confirm"
	SignalPaymentFinished = "payment_finished"
	UpdateDecide          = "decide"
	UpdateResolve         = "resolve"
	QueryStatus           = "status"

	// MemoRequestFingerprint is the memo key that holds Request.Fingerprint.
	MemoRequestFingerprint = "request_fingerprint"

	// ErrorTypeInvalidRequest is the ApplicationError type of a workflow that
	// failed because of its request; nothing reached Pike.
	ErrorTypeInvalidRequest = "InvalidRequest"
	// ErrorTypeDecisionRefused is the ApplicationError type of a `decide` that came too late.
	ErrorTypeDecisionRefused = "DecisionRefused"
	// ErrorTypeInvalidDecision is the ApplicationError type of a malformed `decide`.
	ErrorTypeInvalidDecision = "InvalidDecision"
	// ErrorTypeResolveRefused is the ApplicationError type of a `resolve` that the facts do not allow.
	ErrorTypeResolveRefused = "ResolveRefused"
	// ErrorTypeInvalidResolve is the ApplicationError type of a malformed `resolve`.
	ErrorTypeInvalidResolve = "InvalidResolve"
)

// Search attributes. They carry nothing secret: a codec does not cover them.
const (
	SearchAttributeState     = "PayoutState"     // Keyword: State
	SearchAttributeSession   = "PikeSessionId"   // Keyword: Pike's ps_…
	SearchAttributeAttention = "PayoutAttention" // Keyword: AttentionReason, absent when none
	SearchAttributeCurrency  = "PayoutCurrency"  // Keyword: lower-case ISO 4217
	SearchAttributeAmount    = "PayoutAmount"    // Int: minor units
)

const workflowIDPrefix = "payout/"

var payoutIDPattern = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// IDRule says what ValidID asks for, to complete an error.
const IDRule = "must be 1-64 characters of A-Z a-z 0-9 . _ -"

// ValidID says whether id can be a payout id: 1-64 of A-Za-z0-9._-
func ValidID(id string) bool { return payoutIDPattern.MatchString(id) }

// WorkflowID returns the id of the workflow that carries out the payout.
func WorkflowID(payoutID string) string { return workflowIDPrefix + payoutID }

// IDFromWorkflowID is the inverse of WorkflowID; false for the id of another kind of workflow.
func IDFromWorkflowID(workflowID string) (string, bool) {
	id, ok := strings.CutPrefix(workflowID, workflowIDPrefix)
	return id, ok && ValidID(id)
}

// AmountDetails is an amount of money in minor units (10000 eur = 100.00 EUR).
type AmountDetails struct {
	Amount   int64  `json:"amount"`
	Currency string `json:"currency"`
}

// Equal compares amount and currency; the currency without regard to case, as Pike prints it in both.
func (a AmountDetails) Equal(b AmountDetails) bool {
	return a.Amount == b.Amount && strings.EqualFold(a.Currency, b.Currency)
}

// String is the amount for people, in major units: "100.00 EUR".
func (a AmountDetails) String() string {
	exponent, known := minorUnits(a.Currency)
	if !known || exponent == 0 {
		return fmt.Sprintf("%d %s", a.Amount, strings.ToUpper(a.Currency))
	}
	sign, digits := "", fmt.Sprintf("%d", a.Amount)
	if a.Amount < 0 {
		sign, digits = "-", digits[1:]
	}
	if len(digits) <= exponent {
		digits = strings.Repeat("0", exponent-len(digits)+1) + digits
	}
	point := len(digits) - exponent
	return fmt.Sprintf("%s%s.%s %s", sign, digits[:point], digits[point:], strings.ToUpper(a.Currency))
}
