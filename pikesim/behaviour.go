package pikesim

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"pikepayouts/secret"
)

// Behaviour is what the simulator does with one payout. Its dimensions are
// independent; an empty one means the first of its values, unless Chaos draws it.
type Behaviour struct {
	Outcome     Outcome     `json:"outcome,omitempty"`
	DeclineWith DeclineWith `json:"decline_with,omitempty"`
	// ResolvesAfter is when a session in error is settled; zero means Timing.ErrorResolution.
	ResolvesAfter Duration `json:"resolves_after,omitempty"`
	Cancel        Cancel   `json:"cancel,omitempty"`
	Balance       Balance  `json:"balance,omitempty"`
	// TwoPayouts: the session holds two payouts as soon as it is started, and both are paid.
	TwoPayouts bool `json:"two_payouts,omitempty"`
	Echo       Echo `json:"echo,omitempty"`

	Webhooks Webhooks `json:"webhooks,omitempty"`
	// WebhookCopies is how often a webhook is sent that is duplicated. Default 3.
	WebhookCopies int `json:"webhook_copies,omitempty"`
	// WebhookDelay is how late a webhook is that is late or shuffled; zero means Timing.LateWebhooks.
	WebhookDelay Duration `json:"webhook_delay,omitempty"`
	Lies         Lie      `json:"lies,omitempty"`

	// Faults are what is wrong with the answers to calls. The first that fits a call is the one that it has.
	Faults []Fault `json:"faults,omitempty"`
	// Modes are those in which Pike is for this payout; an empty one is that of the server.
	Modes
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
	CancelPaid      Cancel = "paid"       // as when_ready, and answered ok, but the payout is paid all the same
)

// Balance is whether the partner's wallet holds enough for the payout.
type Balance string

// The balances; the code is insufficient_wallet_balance each time.
const (
	BalanceEnough         Balance = "enough"
	BalanceShortAtStart   Balance = "short_at_start"   // start is refused, the session stays created
	BalanceShortAtConfirm Balance = "short_at_confirm" // confirm is refused, the session waits on
	BalanceShortAtEnd     Balance = "short_at_end"     // the payout is declined after confirm
)

// Echo is what a session shows of the order, in every answer after that to
// start, and in every webhook. An altered amount or currency is also what moves.
type Echo string

// The echoes.
const (
	EchoFaithful    Echo = "faithful"
	EchoAmount      Echo = "amount"      // one minor unit more than was ordered; the following are altered likewise
	EchoCurrency    Echo = "currency"    // usd, or eur for usd
	EchoDestination Echo = "destination" // another token of the same kind
	EchoRecipient   Echo = "recipient"   // another recipient
	EchoMetadata    Echo = "metadata"    // other metadata
)

// Lie is a webhook payment_finished that says the opposite of session/status.
type Lie string

// The lies.
const (
	LieNone             Lie = "none"
	LiePaidWhilePending Lie = "paid_while_pending" // one more, when the payout is ready and when it is confirmed: it were paid
	LieFailedWhilePaid  Lie = "failed_while_paid"  // the one of a paid payout: it had failed
)

// Webhooks is how the webhooks of a payout travel.
type Webhooks string

// The ways of webhooks.
const (
	WebhooksNormal     Webhooks = "normal"
	WebhooksLost       Webhooks = "lost"       // none is sent
	WebhooksDuplicated Webhooks = "duplicated" // each is sent WebhookCopies times at once
	WebhooksReordered  Webhooks = "reordered"  // ready_to_confirm is sent once payment_finished was acknowledged or given up
	WebhooksEarly      Webhooks = "early"      // checks take no time; their webhook is sent before the answer to start
	WebhooksLate       Webhooks = "late"       // each is sent WebhookDelay later
	WebhooksShuffled   Webhooks = "shuffled"   // each is sent at a random time until WebhookDelay later
)

const (
	duplicatedCopies = 3
	maxWebhookCopies = 1000
)

// Step is a call that is about a session.
type Step string

// The steps.
const (
	StepCreate  Step = "create"
	StepStart   Step = "start"
	StepConfirm Step = "confirm"
	StepCancel  Step = "cancel"
	StepStatus  Step = "status"
)

// changing is how many steps change a session.
const changing = 4

// The values in a fixed order: seeded choices among them depend on it.
var (
	outcomes = []Outcome{OutcomeConfirmed, OutcomeDeclinedAtChecks, OutcomeDeclinedAfterConfirm, OutcomeNeverReady,
		OutcomeAutoConfirm, OutcomeReturned}
	declines    = []DeclineWith{DeclineCancelled, DeclineError, DeclineErrorThenPaid, DeclineErrorThenCancelled}
	cancels     = []Cancel{CancelWhenReady, CancelAnyTime, CancelRefused, CancelPaid}
	balances    = []Balance{BalanceEnough, BalanceShortAtStart, BalanceShortAtConfirm, BalanceShortAtEnd}
	echoes      = []Echo{EchoFaithful, EchoAmount, EchoCurrency, EchoDestination, EchoRecipient, EchoMetadata}
	lies        = []Lie{LieNone, LiePaidWhilePending, LieFailedWhilePaid}
	webhookWays = []Webhooks{WebhooksNormal, WebhooksLost, WebhooksDuplicated, WebhooksReordered, WebhooksEarly, WebhooksLate,
		WebhooksShuffled}
	changingSteps = []Step{StepCreate, StepStart, StepConfirm, StepCancel}
	steps         = append(changingSteps[:len(changingSteps):len(changingSteps)], StepStatus)
)

// stepOf is the step of a method, "" for a method that is about no session.
func stepOf(method string) Step {
	switch method {
	case "session/create":
		return StepCreate
	case "session/start/payout", "session/start":
		return StepStart
	case "session/confirm":
		return StepConfirm
	case "session/cancel":
		return StepCancel
	case "session/status":
		return StepStatus
	}
	return ""
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
	PresetWebhooksShuffled      Preset = "webhooks_shuffled"
	PresetCreateAnswerLost      Preset = "create_answer_lost" // by the control endpoint only: create carries no token
	PresetStartAnswerLost       Preset = "start_answer_lost"  // these are as confirmed, with one answer lost
	PresetConfirmAnswerLost     Preset = "confirm_answer_lost"
	PresetCancelAnswerLost      Preset = "cancel_answer_lost"
	PresetStatusAnswerLost      Preset = "status_answer_lost"

	// These are as confirmed, with one call that goes wrong in another way.
	PresetStartWorksLater      Preset = "start_works_later"
	PresetStartHTTP500         Preset = "start_http_500"
	PresetConfirmNeverArrives  Preset = "confirm_never_arrives"
	PresetConfirmWorksLater    Preset = "confirm_works_later"
	PresetConfirmLate          Preset = "confirm_late"
	PresetConfirmCut           Preset = "confirm_cut"
	PresetConfirmHTML          Preset = "confirm_html"
	PresetConfirmHTTP500       Preset = "confirm_http_500"
	PresetConfirmHTTP429       Preset = "confirm_http_429"
	PresetConfirmUnknown       Preset = "confirm_unknown_code"
	PresetConfirmUnknownWorked Preset = "confirm_unknown_code_worked"
	PresetStatusDown           Preset = "status_down" // HTTP 503, for six hours after confirm

	// These are as confirmed, at a Pike that does what must not happen, or what its documents leave open.
	PresetSecondStartAdds     Preset = "second_start_adds_payout"
	PresetEveryConfirmPays    Preset = "every_confirm_pays"
	PresetErrorsAreHTTP200    Preset = "errors_are_http_200"
	PresetStatusLags          Preset = "status_lags"         // by a minute
	PresetConfirmDeadline     Preset = "confirm_deadline_1m" // after a minute the payout is cancelled
	PresetTwoPayouts          Preset = "two_payouts"         // in one session, from the start
	PresetAlteredAmount       Preset = "altered_amount"      // by one minor unit in what Pike shows; the next ones likewise
	PresetAlteredCurrency     Preset = "altered_currency"
	PresetAlteredDestination  Preset = "altered_destination"
	PresetAlteredRecipient    Preset = "altered_recipient"
	PresetAlteredMetadata     Preset = "altered_metadata"
	PresetCancelPaid          Preset = "cancel_paid"            // cancel is answered ok, and the payout is paid
	PresetWebhookSaysPaid     Preset = "webhook_says_paid"      // while the payout is pending
	PresetWebhookSaysFailed   Preset = "webhook_says_failed"    // while the payout is paid
	PresetBalanceAtStart      Preset = "balance_at_start"       // too little of it, at the start
	PresetBalanceAtConfirm    Preset = "balance_at_confirm"     // too little of it, at confirm
	PresetBalanceAtEnd        Preset = "balance_at_end"         // too little of it, after confirm
	PresetErrorThenPaidInDays Preset = "error_then_paid_5_days" // after confirm error/failed, five days later accepted/succeeded
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
		{PresetWebhooksShuffled, Behaviour{Webhooks: WebhooksShuffled}},
		{PresetCreateAnswerLost, one(StepCreate, FaultLost)},
		{PresetStartAnswerLost, one(StepStart, FaultLost)},
		{PresetConfirmAnswerLost, one(StepConfirm, FaultLost)},
		{PresetCancelAnswerLost, one(StepCancel, FaultLost)},
		{PresetStatusAnswerLost, one(StepStatus, FaultLost)},
		{PresetStartWorksLater, one(StepStart, FaultWorksLater)},
		{PresetStartHTTP500, one(StepStart, FaultHTTP500)},
		{PresetConfirmNeverArrives, one(StepConfirm, FaultNeverArrives)},
		{PresetConfirmWorksLater, one(StepConfirm, FaultWorksLater)},
		{PresetConfirmLate, one(StepConfirm, FaultLate)},
		{PresetConfirmCut, one(StepConfirm, FaultCut)},
		{PresetConfirmHTML, one(StepConfirm, FaultHTML)},
		{PresetConfirmHTTP500, one(StepConfirm, FaultHTTP500)},
		{PresetConfirmHTTP429, one(StepConfirm, FaultHTTP429Wait)},
		{PresetConfirmUnknown, one(StepConfirm, FaultUnknownCode)},
		{PresetConfirmUnknownWorked, one(StepConfirm, FaultUnknownWorked)},
		{PresetStatusDown, Behaviour{Faults: []Fault{
			{Call: StepStatus, Kind: FaultHTTP503, Times: Always, After: StepConfirm, For: Duration(6 * time.Hour)},
		}}},
		{PresetSecondStartAdds, Behaviour{Modes: Modes{SecondStart: SecondStartAddPayout}}},
		{PresetEveryConfirmPays, Behaviour{Modes: Modes{SecondConfirm: SecondConfirmPayAgain}}},
		{PresetErrorsAreHTTP200, Behaviour{Modes: Modes{ErrorHTTP: http.StatusOK}}},
		{PresetStatusLags, Behaviour{Modes: Modes{StatusLag: Duration(time.Minute)}}},
		{PresetConfirmDeadline, Behaviour{Modes: Modes{ConfirmDeadline: Duration(time.Minute)}}},
		{PresetTwoPayouts, Behaviour{TwoPayouts: true}},
		{PresetAlteredAmount, Behaviour{Echo: EchoAmount}},
		{PresetAlteredCurrency, Behaviour{Echo: EchoCurrency}},
		{PresetAlteredDestination, Behaviour{Echo: EchoDestination}},
		{PresetAlteredRecipient, Behaviour{Echo: EchoRecipient}},
		{PresetAlteredMetadata, Behaviour{Echo: EchoMetadata}},
		{PresetCancelPaid, Behaviour{Cancel: CancelPaid}},
		{PresetWebhookSaysPaid, Behaviour{Lies: LiePaidWhilePending}},
		{PresetWebhookSaysFailed, Behaviour{Lies: LieFailedWhilePaid}},
		{PresetBalanceAtStart, Behaviour{Balance: BalanceShortAtStart}},
		{PresetBalanceAtConfirm, Behaviour{Balance: BalanceShortAtConfirm}},
		{PresetBalanceAtEnd, Behaviour{Balance: BalanceShortAtEnd}},
		{PresetErrorThenPaidInDays, Behaviour{Outcome: OutcomeDeclinedAfterConfirm, DeclineWith: DeclineErrorThenPaid,
			ResolvesAfter: Duration(5 * 24 * time.Hour)}},
	}
}

// one is the behaviour that has a fault once.
func one(call Step, kind FaultKind) Behaviour {
	return Behaviour{Faults: []Fault{{Call: call, Kind: kind}}}
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
	problems := []error{
		oneOf("outcome", b.Outcome, outcomes...), oneOf("decline_with", b.DeclineWith, declines...),
		oneOf("cancel", b.Cancel, cancels...), oneOf("balance", b.Balance, balances...), oneOf("echo", b.Echo, echoes...),
		oneOf("webhooks", b.Webhooks, webhookWays...), oneOf("lies", b.Lies, lies...),
		notNegative("resolves_after", b.ResolvesAfter), notNegative("webhook_delay", b.WebhookDelay), b.Modes.validate(),
	}
	if b.WebhookCopies < 0 || b.WebhookCopies > maxWebhookCopies {
		problems = append(problems, fmt.Errorf("webhook_copies must be from 0 to %d", maxWebhookCopies))
	}
	for i, fault := range b.Faults {
		if err := fault.validate(); err != nil {
			problems = append(problems, fmt.Errorf("faults[%d] (%s): %w", i, faultFields, err))
		}
	}
	return errors.Join(problems...)
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
