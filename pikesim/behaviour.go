package pikesim

import (
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"pikepayouts/secret"
)

// Behaviour is what the simulator does with one payout. Its dimensions are
// independent; an empty one means the first of its values.
type Behaviour struct {
	Outcome     Outcome     `json:"outcome,omitempty"`
	DeclineWith DeclineWith `json:"decline_with,omitempty"`
	Cancel      Cancel      `json:"cancel,omitempty"`
	Webhooks    Webhooks    `json:"webhooks,omitempty"`
	// LostAnswers are the calls whose answer is lost once: the work is done, the
	// connection closes without an answer.
	LostAnswers []Step `json:"lost_answers,omitempty"`
}

// Outcome is how a payout ends.
type Outcome string

// The outcomes.
const (
	OutcomeConfirmed            Outcome = "confirmed"              // ready, and paid after confirm
	OutcomeDeclinedAtChecks     Outcome = "declined_at_checks"     // fails without ever being ready
	OutcomeDeclinedAfterConfirm Outcome = "declined_after_confirm" // ready, fails after confirm
	OutcomeNeverReady           Outcome = "never_ready"            // stays in_progress for ever
	OutcomeAutoConfirm          Outcome = "auto_confirm"           // paid without ready_to_confirm and without confirm
	OutcomeReturned             Outcome = "returned"               // paid after confirm, later the money comes back
)

// DeclineWith is the state in which a decline leaves the session.
type DeclineWith string

// The states after a decline.
const (
	DeclineCancelled          DeclineWith = "cancelled"            // final
	DeclineError              DeclineWith = "error"                // not final, and never settled
	DeclineErrorThenPaid      DeclineWith = "error_then_paid"      // not final, later paid after all
	DeclineErrorThenCancelled DeclineWith = "error_then_cancelled" // not final, later cancelled
)

// Cancel is how session/cancel of a started payout is treated.
type Cancel string

// The treatments of cancel.
const (
	CancelWhenReady Cancel = "when_ready" // as documented: only while the session waits for confirm
	CancelAnyTime   Cancel = "any_time"   // also before the payout is ready
	CancelRefused   Cancel = "refused"    // never: session_wrong_state
)

// Webhooks is how the webhooks of a payout travel.
type Webhooks string

// The ways of webhooks.
const (
	WebhooksNormal     Webhooks = "normal"
	WebhooksLost       Webhooks = "lost"       // none is sent
	WebhooksDuplicated Webhooks = "duplicated" // each is sent three times at once
	WebhooksReordered  Webhooks = "reordered"  // ready_to_confirm is sent once payment_finished was acknowledged or given up
	WebhooksEarly      Webhooks = "early"      // checks take no time; their webhook is sent before the answer to start
	WebhooksLate       Webhooks = "late"       // each is sent Timing.LateWebhooks later
)

const duplicatedCopies = 3

// Step is a call that changes a session.
type Step string

// The steps.
const (
	StepCreate  Step = "create"
	StepStart   Step = "start"
	StepConfirm Step = "confirm"
	StepCancel  Step = "cancel"
)

func stepOf(method string) (Step, bool) {
	switch method {
	case "session/create":
		return StepCreate, true
	case "session/start/payout", "session/start":
		return StepStart, true
	case "session/confirm":
		return StepConfirm, true
	case "session/cancel":
		return StepCancel, true
	}
	return "", false
}

// Preset is the name of a behaviour.
type Preset string

// The presets.
const (
	PresetConfirmed             Preset = "confirmed"               // ready, paid after confirm; the default
	PresetDeclinedAtChecks      Preset = "declined_at_checks"      // never ready; cancelled/failed, which is final
	PresetDeclinedAfterConfirm  Preset = "declined_after_confirm"  // ready; after confirm cancelled/failed, which is final
	PresetDeclinedWithError     Preset = "declined_with_error"     // ready; after confirm error/failed for ever
	PresetErrorThenPaid         Preset = "error_then_paid"         // after confirm error/failed, later accepted/succeeded
	PresetErrorThenCancelled    Preset = "error_then_cancelled"    // after confirm error/failed, later cancelled/failed
	PresetReturned              Preset = "returned"                // paid, later refunds[] and payment_refunded
	PresetNeverReady            Preset = "never_ready"             // in_progress for ever, and cancel is refused
	PresetNeverReadyCancellable Preset = "never_ready_cancellable" // in_progress until cancelled
	PresetAutoConfirm           Preset = "auto_confirm"            // paid without confirm
	PresetCancelRefused         Preset = "cancel_refused"          // as confirmed, but cancel is refused
	PresetWebhooksLost          Preset = "webhooks_lost"           // these are as confirmed, with webhooks in another way
	PresetWebhooksDuplicated    Preset = "webhooks_duplicated"
	PresetWebhooksReordered     Preset = "webhooks_reordered"
	PresetWebhooksEarly         Preset = "webhooks_early"
	PresetWebhooksLate          Preset = "webhooks_late"
	PresetCreateAnswerLost      Preset = "create_answer_lost" // by the control endpoint only: create carries no token
	PresetStartAnswerLost       Preset = "start_answer_lost"  // these are as confirmed, with one answer lost
	PresetConfirmAnswerLost     Preset = "confirm_answer_lost"
	PresetCancelAnswerLost      Preset = "cancel_answer_lost"
)

// NamedBehaviour is a preset and what it stands for.
type NamedBehaviour struct {
	Name      Preset
	Behaviour Behaviour
}

// Presets lists every preset.
func Presets() []NamedBehaviour {
	return []NamedBehaviour{
		{PresetConfirmed, Behaviour{}},
		{PresetDeclinedAtChecks, Behaviour{Outcome: OutcomeDeclinedAtChecks}},
		{PresetDeclinedAfterConfirm, Behaviour{Outcome: OutcomeDeclinedAfterConfirm}},
		{PresetDeclinedWithError, Behaviour{Outcome: OutcomeDeclinedAfterConfirm, DeclineWith: DeclineError}},
		{PresetErrorThenPaid, Behaviour{Outcome: OutcomeDeclinedAfterConfirm, DeclineWith: DeclineErrorThenPaid}},
		{PresetErrorThenCancelled, Behaviour{Outcome: OutcomeDeclinedAfterConfirm, DeclineWith: DeclineErrorThenCancelled}},
		{PresetReturned, Behaviour{Outcome: OutcomeReturned}},
		{PresetNeverReady, Behaviour{Outcome: OutcomeNeverReady}},
		{PresetNeverReadyCancellable, Behaviour{Outcome: OutcomeNeverReady, Cancel: CancelAnyTime}},
		{PresetAutoConfirm, Behaviour{Outcome: OutcomeAutoConfirm}},
		{PresetCancelRefused, Behaviour{Cancel: CancelRefused}},
		{PresetWebhooksLost, Behaviour{Webhooks: WebhooksLost}},
		{PresetWebhooksDuplicated, Behaviour{Webhooks: WebhooksDuplicated}},
		{PresetWebhooksReordered, Behaviour{Webhooks: WebhooksReordered}},
		{PresetWebhooksEarly, Behaviour{Webhooks: WebhooksEarly}},
		{PresetWebhooksLate, Behaviour{Webhooks: WebhooksLate}},
		{PresetCreateAnswerLost, Behaviour{LostAnswers: []Step{StepCreate}}},
		{PresetStartAnswerLost, Behaviour{LostAnswers: []Step{StepStart}}},
		{PresetConfirmAnswerLost, Behaviour{LostAnswers: []Step{StepConfirm}}},
		{PresetCancelAnswerLost, Behaviour{LostAnswers: []Step{StepCancel}}},
	}
}

const (
	tokenBytes  = 32
	tokenPrefix = "sim:"
)

// Token returns the reserved token of a preset: 64 hex digits that spell
// "sim:<preset>", padded with zero bytes. It works as a card token, as a number
// hash and as a recurring token.
func Token(preset Preset) string {
	var plain [tokenBytes]byte
	copy(plain[:], tokenPrefix+string(preset))
	return hex.EncodeToString(plain[:])
}

// presetOf is the inverse of Token; "" for a token that is not reserved.
func presetOf(token secret.String) Preset {
	plain, err := hex.DecodeString(token.Reveal())
	if err != nil {
		return ""
	}
	name, reserved := strings.CutPrefix(strings.TrimRight(string(plain), "\x00"), tokenPrefix)
	if !reserved {
		return ""
	}
	return Preset(name)
}

func (b Behaviour) validate() error {
	if err := oneOf("outcome", b.Outcome, OutcomeConfirmed, OutcomeDeclinedAtChecks, OutcomeDeclinedAfterConfirm,
		OutcomeNeverReady, OutcomeAutoConfirm, OutcomeReturned); err != nil {
		return err
	}
	if err := oneOf("decline_with", b.DeclineWith, DeclineCancelled, DeclineError, DeclineErrorThenPaid,
		DeclineErrorThenCancelled); err != nil {
		return err
	}
	if err := oneOf("cancel", b.Cancel, CancelWhenReady, CancelAnyTime, CancelRefused); err != nil {
		return err
	}
	if err := oneOf("webhooks", b.Webhooks, WebhooksNormal, WebhooksLost, WebhooksDuplicated, WebhooksReordered,
		WebhooksEarly, WebhooksLate); err != nil {
		return err
	}
	for _, step := range b.LostAnswers {
		if step == "" {
			return errors.New("lost_answers must not hold an empty string")
		}
		if err := oneOf("lost_answers", step, StepCreate, StepStart, StepConfirm, StepCancel); err != nil {
			return err
		}
	}
	return nil
}

func oneOf[T ~string](name string, value T, allowed ...T) error {
	if value == "" || slices.Contains(allowed, value) {
		return nil
	}
	return fmt.Errorf("%s must be one of %s, not %q", name, list(allowed), value)
}

func list[T ~string](values []T) string {
	texts := make([]string, len(values))
	for i, value := range values {
		texts[i] = string(value)
	}
	return strings.Join(texts, ", ")
}
