package activities

import (
	"context"
	"fmt"
	"strings"

	"go.temporal.io/sdk/activity"

	"pikepayouts/payout"
	"pikepayouts/pike"
)

// Comparison is how a late event stands to what was recorded.
type Comparison string

// The comparisons.
const (
	// ComparisonAgrees: Pike and the payout's result say the same, for good.
	ComparisonAgrees Comparison = "agrees"
	// ComparisonOpen: the payout runs, and reads the truth by itself.
	ComparisonOpen Comparison = "open"
	// ComparisonUnsettled: the payout has ended, but Pike's session has not, or its status lags behind the webhook.
	ComparisonUnsettled Comparison = "unsettled"
	// ComparisonDisagrees: a person must look.
	ComparisonDisagrees Comparison = "disagrees"
)

// Record is what Temporal knows of a payout. The zero value is a payout that it does not know.
type Record struct {
	Known, Open bool
	// Status is the result; nil while the payout is open, or if it ended without one.
	Status *payout.Status
	// Ended is Temporal's word for an end without a result: Terminated, Failed ...
	Ended string
}

// LateEventInput is the argument of CheckLateEvent.
type LateEventInput struct {
	LateEvent payout.LateEvent `json:"late_event"`
}

// LateEventFinding is what CheckLateEvent returns.
type LateEventFinding struct {
	Comparison Comparison `json:"comparison"`
	// Text is the finding in plain words.
	Text string `json:"text"`
	// PayoutID is the payout that the event names, or else the one that Pike's session names.
	PayoutID string `json:"payout_id,omitempty"`
	// Recorded is the state in which the payout ended, "" if none is recorded.
	Recorded payout.State `json:"recorded,omitempty"`
	// Session is the truth read from Pike; zero if it was not read.
	Session Session `json:"session,omitzero"`
}

// CheckLateEvent compares the session of a late event, as session/status shows it,
// with the recorded result of its payout (design §3.4). It may be repeated at will.
func (a *Activities) CheckLateEvent(ctx context.Context, in LateEventInput) (LateEventFinding, error) {
	finding := LateEventFinding{PayoutID: in.LateEvent.PayoutID}
	sessionID := in.LateEvent.Event.SessionID
	if sessionID == "" {
		finding.Comparison, finding.Text = ComparisonDisagrees, "the webhook names no session that could be looked up"
		return finding, nil
	}
	truth, err := a.pike.SessionStatus(ctx, sessionID)
	if err != nil {
		return LateEventFinding{}, applicationError(err)
	}
	if id := truth.MetadataText(); finding.PayoutID == "" && payout.ValidID(id) {
		finding.PayoutID = id
	}
	if finding.Session, err = assess(truth, sessionID, Order{}, false); err != nil {
		return LateEventFinding{}, applicationError(err)
	}
	finding.Session.Mismatch = "" // there is no order to compare with
	record, err := a.record(ctx, finding.PayoutID)
	if err != nil {
		return LateEventFinding{}, notSent(err)
	}
	finding.compare(record, in.LateEvent)
	activity.GetLogger(ctx).Info("late event checked", "payout_id", finding.PayoutID, "session_id", sessionID, "comparison", finding.Comparison)
	return finding, nil
}

func (a *Activities) record(ctx context.Context, payoutID string) (Record, error) {
	if payoutID == "" {
		return Record{}, nil
	}
	record, err := a.runs.Record(ctx, payout.WorkflowID(payoutID))
	if err != nil {
		return Record{}, fmt.Errorf("looking up payout %s: %w", payoutID, err)
	}
	return record, nil
}

// compare needs PayoutID and Session.
func (f *LateEventFinding) compare(record Record, late payout.LateEvent) {
	f.Comparison = ComparisonDisagrees
	switch {
	case f.PayoutID == "":
		f.say("the session names no payout of this service")
	case !record.Known:
		f.say("Temporal knows no payout %s: never started, or forgotten after retention", f.PayoutID)
	case record.Open && late.Reason == payout.LateOtherSession:
		f.say("payout %s is carried out in another session", f.PayoutID)
	case record.Open:
		f.Comparison = ComparisonOpen
		f.say("payout %s is open and reads the truth by itself", f.PayoutID)
	case record.Status == nil:
		f.say("payout %s ended without a result (%s)", f.PayoutID, strings.ToLower(record.Ended))
	case record.Status.SessionID != f.Session.ID:
		f.Recorded = record.Status.State
		f.say("payout %s was carried out in session %q", f.PayoutID, record.Status.SessionID)
	default:
		f.Recorded = record.Status.State
		f.compareEnds(pike.WebhookType(late.Event.Type) == pike.WebhookPaymentRefunded)
	}
}

func (f *LateEventFinding) compareEnds(refunded bool) {
	paid := f.Recorded == payout.StateSucceeded
	switch {
	case f.Session.Phase == PhasePaid && f.Session.Returned:
		f.say("money was returned; payout %s is recorded as %s", f.PayoutID, f.Recorded)
	case f.Session.Phase == PhasePaid && !paid:
		f.say("PAID at Pike; payout %s is recorded as %s", f.PayoutID, f.Recorded)
	case f.Session.Phase == PhaseNotPaid && paid:
		f.say("NOT paid at Pike; payout %s is recorded as %s", f.PayoutID, f.Recorded)
	case f.Session.Phase == PhasePaid && refunded: // the status may lag; if it never shows the return, a person must look
		f.Comparison = ComparisonUnsettled
		f.say("the webhook speaks of returned money, the status shows none; payout %s is recorded as %s", f.PayoutID, f.Recorded)
	case f.Session.Phase == PhasePaid, f.Session.Phase == PhaseNotPaid:
		f.Comparison = ComparisonAgrees
		f.say("payout %s is recorded as %s", f.PayoutID, f.Recorded)
	default:
		f.Comparison = ComparisonUnsettled
		f.say("not final at Pike; payout %s is recorded as %s", f.PayoutID, f.Recorded)
	}
}

func (f *LateEventFinding) say(format string, args ...any) {
	f.Text = fmt.Sprintf(format, args...) + fmt.Sprintf(" (session %s is %s", f.Session.ID, f.Session.SessionStatus)
	if f.Session.PayoutStatus != "" {
		f.Text += ", its payout " + f.Session.PayoutStatus
	}
	f.Text += ")"
}

// SaysOpposite says whether a fresh status forbids a person to close something as paid, or as not paid (hazard A21).
func (p Phase) SaysOpposite(paid bool) bool {
	if paid {
		return p == PhaseNotPaid || p == PhaseNotStarted || p == PhaseReady
	}
	return p == PhasePaid
}
