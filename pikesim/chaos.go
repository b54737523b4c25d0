package pikesim

import (
	"cmp"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"math/rand/v2"
	"slices"
	"time"
)

// Chaos are faults by chance. Every probability is between 0 and 1, and those in
// one map sum up to 1 at most; what is left is the chance that nothing happens.
// Chance never overrides what a behaviour says: a dimension that is not empty, or
// a fault of the call.
//
// Each payout has its own source of chance, made of Seed and its metadata. What
// happens to it therefore depends on its own calls alone, and a payout that went
// wrong goes wrong again without the others.
type Chaos struct {
	Seed uint64 `json:"seed,omitempty"`
	// Faults are drawn for each call.
	Faults map[Step]map[FaultKind]float64 `json:"faults,omitempty"`
	// Webhooks are drawn for each webhook; early for each payout.
	Webhooks map[Webhooks]float64 `json:"webhooks,omitempty"`
	// The following are drawn once for each payout, at its start.
	Outcomes    map[Outcome]float64     `json:"outcomes,omitempty"`
	DeclineWith map[DeclineWith]float64 `json:"decline_with,omitempty"`
	Cancel      map[Cancel]float64      `json:"cancel,omitempty"`
	Balance     map[Balance]float64     `json:"balance,omitempty"`
	Echo        map[Echo]float64        `json:"echo,omitempty"`
	Lies        map[Lie]float64         `json:"lies,omitempty"`
	TwoPayouts  float64                 `json:"two_payouts,omitempty"`
	StatusLag   float64                 `json:"status_lag,omitempty"`

	// MaxDelay bounds the delay of late and works_later. Default 2m.
	MaxDelay Duration `json:"max_delay,omitempty"`
	// MaxStatusLag bounds the lag of a status that lags. Default 1m.
	MaxStatusLag Duration `json:"max_status_lag,omitempty"`
	// MaxWebhookDelay bounds the delay of webhooks that are late or shuffled. Default 40m.
	MaxWebhookDelay Duration `json:"max_webhook_delay,omitempty"`
	// MaxResolution bounds the time until a session in error is settled. Default 5 days.
	MaxResolution Duration `json:"max_resolution,omitempty"`
	// Target is the URL to which redirect leads.
	Target string `json:"target,omitempty"`
}

const chaosFields = "seed, faults, webhooks, outcomes, decline_with, cancel, balance, echo, lies, two_payouts, status_lag, " +
	"max_delay, max_status_lag, max_webhook_delay, max_resolution, target"

func (c Chaos) withDefaults() Chaos {
	c.MaxDelay = cmp.Or(c.MaxDelay, Duration(2*time.Minute))
	c.MaxStatusLag = cmp.Or(c.MaxStatusLag, Duration(time.Minute))
	c.MaxWebhookDelay = cmp.Or(c.MaxWebhookDelay, Duration(40*time.Minute))
	c.MaxResolution = cmp.Or(c.MaxResolution, Duration(5*24*time.Hour))
	return c
}

func (c Chaos) validate() error {
	problems := []error{
		chances("webhooks", c.Webhooks, webhookWays), chances("outcomes", c.Outcomes, outcomes),
		chances("decline_with", c.DeclineWith, declines), chances("cancel", c.Cancel, cancels),
		chances("balance", c.Balance, balances), chances("echo", c.Echo, echoes), chances("lies", c.Lies, lies),
		chance("two_payouts", c.TwoPayouts), chance("status_lag", c.StatusLag),
		notNegative("max_delay", c.MaxDelay), notNegative("max_status_lag", c.MaxStatusLag),
		notNegative("max_webhook_delay", c.MaxWebhookDelay), notNegative("max_resolution", c.MaxResolution),
	}
	for _, call := range slices.Sorted(maps.Keys(c.Faults)) {
		if !slices.Contains(steps, call) {
			problems = append(problems, fmt.Errorf("faults must be of the calls %s, not %q", list(steps), call))
		}
		problems = append(problems, chances("faults."+string(call), c.Faults[call], faultKinds))
		if c.Faults[call][FaultRedirect] > 0 {
			problems = append(problems, checkTarget(c.Target))
		}
	}
	return errors.Join(problems...)
}

func chances[T ~string](name string, of map[T]float64, allowed []T) error {
	sum := 0.0
	for _, value := range slices.Sorted(maps.Keys(of)) {
		if !slices.Contains(allowed, value) {
			return fmt.Errorf("%s must be of %s, not %q", name, list(allowed), value)
		}
		if err := chance(name+"."+string(value), of[value]); err != nil {
			return err
		}
		sum += of[value]
	}
	const rounding = 1e-9
	if sum > 1+rounding {
		return fmt.Errorf("%s must sum up to 1 at most, not %v", name, sum)
	}
	return nil
}

func chance(name string, p float64) error {
	if p >= 0 && p <= 1 { // false for NaN too
		return nil
	}
	return fmt.Errorf("%s must be a probability from 0 to 1, not %v", name, p)
}

// SetChaos chooses faults by chance from now on; a zero Chaos ends them. What was
// drawn for payouts that were started already stays.
func (c *Core) SetChaos(chaos Chaos) error {
	if err := chaos.validate(); err != nil {
		return err
	}
	c.chaos = chaos.withDefaults()
	c.luck = map[string]*rand.Rand{}
	return nil
}

// luckOf is the source of chance of one payout. It is apart from that of the ids,
// which therefore do not change with the faults.
func (c *Core) luckOf(payout string) *rand.Rand {
	if luck, known := c.luck[payout]; known {
		return luck
	}
	hash := fnv.New64a()
	_, _ = hash.Write([]byte(payout))
	luck := rand.New(rand.NewPCG(c.chaos.Seed, hash.Sum64()))
	c.luck[payout] = luck
	return luck
}

// draw chooses one of the values by their probabilities; values gives the order,
// which a map lacks. An impossible map costs no draw.
func draw[T ~string](luck *rand.Rand, of map[T]float64, values []T) T {
	var none T
	if len(of) == 0 {
		return none
	}
	rest := luck.Float64()
	for _, value := range values {
		if rest -= of[value]; rest < 0 {
			return value
		}
	}
	return none
}

// upTo is a random duration above zero.
func upTo(luck *rand.Rand, longest Duration) Duration {
	return 1 + Duration(luck.Int64N(max(int64(longest), 1)))
}

func (c *Core) chaosFault(x *exchange) (Fault, bool) {
	of := c.chaos.Faults[x.step]
	if len(of) == 0 {
		return Fault{}, false
	}
	luck := c.luckOf(x.metadataKey())
	kind := draw(luck, of, faultKinds)
	if kind == "" {
		return Fault{}, false
	}
	fault := Fault{Call: x.step, Kind: kind}
	switch kind {
	case FaultLate, FaultWorksLater:
		fault.Delay = upTo(luck, c.chaos.MaxDelay)
	case FaultRedirect:
		fault.Target = c.chaos.Target
	}
	return fault, true
}

// drawsBehaviours says whether anything is drawn at the start of a payout.
func (c Chaos) drawsBehaviours() bool {
	return len(c.Outcomes)+len(c.DeclineWith)+len(c.Cancel)+len(c.Balance)+len(c.Echo)+len(c.Lies) > 0 ||
		c.TwoPayouts+c.StatusLag+c.Webhooks[WebhooksEarly] > 0
}

// drawBehaviour fills the dimensions that a behaviour leaves open.
func (c *Core) drawBehaviour(b Behaviour, payout string) Behaviour {
	if !c.chaos.drawsBehaviours() {
		return b
	}
	luck := c.luckOf(payout)
	happens := func(p float64) bool { return p > 0 && luck.Float64() < p }
	b.Outcome = cmp.Or(b.Outcome, draw(luck, c.chaos.Outcomes, outcomes))
	if b.DeclineWith == "" {
		b.DeclineWith = draw(luck, c.chaos.DeclineWith, declines)
		if b.DeclineWith == DeclineErrorThenPaid || b.DeclineWith == DeclineErrorThenCancelled {
			b.ResolvesAfter = cmp.Or(b.ResolvesAfter, upTo(luck, c.chaos.MaxResolution))
		}
	}
	b.Cancel = cmp.Or(b.Cancel, draw(luck, c.chaos.Cancel, cancels))
	b.Balance = cmp.Or(b.Balance, draw(luck, c.chaos.Balance, balances))
	b.Echo = cmp.Or(b.Echo, draw(luck, c.chaos.Echo, echoes))
	b.Lies = cmp.Or(b.Lies, draw(luck, c.chaos.Lies, lies))
	b.TwoPayouts = happens(c.chaos.TwoPayouts) || b.TwoPayouts
	if happens(c.chaos.StatusLag) && b.StatusLag == 0 {
		b.StatusLag = upTo(luck, c.chaos.MaxStatusLag)
	}
	if happens(c.chaos.Webhooks[WebhooksEarly]) && b.Webhooks == "" {
		b.Webhooks = WebhooksEarly
	}
	return b
}

// wayOf chooses how one webhook travels, and how late it is if it is late.
func (c *Core) wayOf(s *session) (way Webhooks, delay time.Duration) {
	delay = cmp.Or(time.Duration(s.behaviour.WebhookDelay), c.timing.LateWebhooks)
	if s.behaviour.Webhooks != "" || len(c.chaos.Webhooks) == 0 {
		if s.behaviour.Webhooks == WebhooksShuffled {
			delay = time.Duration(upTo(c.luckOf(metadataKey(s.terms.metadata)), Duration(delay)))
		}
		return s.behaviour.Webhooks, delay
	}
	luck := c.luckOf(metadataKey(s.terms.metadata))
	way = draw(luck, c.chaos.Webhooks, webhookWays)
	if way == WebhooksLate || way == WebhooksShuffled {
		delay = time.Duration(upTo(luck, c.chaos.MaxWebhookDelay))
	}
	if way == WebhooksEarly { // decided at the start of the payout
		way = WebhooksNormal
	}
	return way, delay
}
