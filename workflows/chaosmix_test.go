package workflows_test

import (
	"math/rand/v2"
	"time"

	"pikepayouts/payout"
	"pikepayouts/pike"
	"pikepayouts/pikesim"
	"pikepayouts/secret"
)

// mix is all that happens to one payout by chance, drawn from its seed before it
// begins. The zero mix is a payout without faults.
type mix struct {
	Seed   uint64         `json:"seed"`
	Policy payout.Policy  `json:"policy"`
	Clocks clocks         `json:"clocks"`
	Timing pikesim.Timing `json:"timing"`
	Modes  pikesim.Modes  `json:"modes"`
	// Outage are faults that last: Pike is down, or refuses our key.
	Outage []pikesim.Fault `json:"outage,omitempty"`
	Chaos  pikesim.Chaos   `json:"chaos"`
	// Queueing is how long the calls wait for a worker, one after the other and round again.
	Queueing []time.Duration `json:"queueing,omitempty"`
	People   []interference  `json:"people,omitempty"`
	// Visits are the times at which an operator looks whether attention is raised, before the daily ones.
	Visits []time.Duration `json:"visits,omitempty"`
	// Mistaken: the operator first claims the opposite of what is true.
	Mistaken bool `json:"mistaken,omitempty"`
}

// interference is what people and forgers do to a running payout.
type interference struct {
	After    time.Duration `json:"after"`
	Decision string        `json:"decision"`
	By       string        `json:"by"`
	Forged   string        `json:"forged"` // a webhook straight to Temporal
	Cancel   bool          `json:"cancel,omitempty"`
}

func mixOf(seed uint64) mix {
	luck := rand.New(rand.NewPCG(seed, seed)) //nolint:gosec // reproducible on purpose
	m := mix{
		Seed: seed,
		Policy: payout.Policy{
			Decision:       pick(luck, payout.DecisionAuto, payout.DecisionManual),
			ReadyTimeout:   pick(luck, 0, 0, payout.Duration(10*time.Minute)),
			ConfirmTimeout: pick(luck, 0, 0, payout.Duration(5*time.Minute)),
			PollInterval:   pick(luck, 0, 0, 0, payout.Duration(10*time.Second), payout.Duration(5*time.Minute)),
		},
		Clocks: clocksOf(luck),
		Timing: pikesim.Timing{
			Checks: pick(luck, time.Second, time.Minute, 10*time.Minute), Processing: pick(luck, time.Second, time.Minute, 10*time.Minute),
		},
		Modes: pikesim.Modes{ // the least helpful Pike, most of the time
			SecondStart:     pick(luck, pikesim.SecondStartRefuse, pikesim.SecondStartAddPayout, pikesim.SecondStartAddPayout, pikesim.SecondStartNoOp),
			SecondConfirm:   pick(luck, pikesim.SecondConfirmRefuse, pikesim.SecondConfirmPayAgain, pikesim.SecondConfirmPayAgain, pikesim.SecondConfirmNoOp),
			IdempotencyKeys: pick(luck, pikesim.On, pikesim.Off),
			ErrorHTTP:       pick(luck, 400, 400, 401, 403, 404, 200),
			ConfirmDeadline: pick(luck, 0, 0, pikesim.Duration(time.Minute), pikesim.Duration(30*time.Minute)),
		},
		Chaos:    chaosOf(seed, pick(luck, time.Hour, 24*time.Hour, 5*24*time.Hour)),
		Mistaken: oneIn(luck, 2),
	}
	if m.Policy.Decision == payout.DecisionManual {
		m.Policy.Approvals = pick(luck, 1, 1, 2)
	}
	if oneIn(luck, 8) {
		m.Outage = outageOf(luck)
	}
	if oneIn(luck, 8) {
		for range 5 {
			m.Queueing = append(m.Queueing, seconds(luck, pick(luck, time.Second, 30*time.Second, 2*time.Minute)))
		}
	}
	for range luck.IntN(4) {
		m.People = append(m.People, interference{
			After:    seconds(luck, pick(luck, 10*time.Second, 10*time.Minute, 3*time.Hour)),
			Decision: pick(luck, payout.DecisionConfirm, payout.DecisionConfirm, payout.DecisionCancel),
			By:       pick(luck, "ann", "bob"),
			Forged:   pick(luck, payout.SignalReadyToConfirm, payout.SignalPaymentFinished),
			Cancel:   oneIn(luck, 8),
		})
	}
	for range luck.IntN(3) {
		m.Visits = append(m.Visits, seconds(luck, pick(luck, 10*time.Minute, 6*time.Hour)))
	}
	return m
}

// chaosOf is the fault mix at Pike. Delays and lag add up to less than the settle delay, also
// on a clock that drifts: beyond that no repeat could be safe (docs/workflow.md).
func chaosOf(seed uint64, resolution time.Duration) pikesim.Chaos {
	faults := map[pikesim.FaultKind]float64{
		pikesim.FaultNeverArrives: 0.04, pikesim.FaultWorksLater: 0.03, pikesim.FaultHTTP429: 0.01, pikesim.FaultHTTP429Wait: 0.01,
		pikesim.FaultUnknownCode: 0.02, pikesim.FaultUnknownWorked: 0.02, pikesim.FaultLost: 0.05, pikesim.FaultLate: 0.01,
		pikesim.FaultCut: 0.02, pikesim.FaultHTML: 0.02, pikesim.FaultEmpty: 0.02, pikesim.FaultNoStatus: 0.02,
		pikesim.FaultHTTP500: 0.01, pikesim.FaultHTTP502: 0.01, pikesim.FaultHTTP503: 0.01, pikesim.FaultHTTP504: 0.01,
	}
	return pikesim.Chaos{
		Seed: seed,
		Faults: map[pikesim.Step]map[pikesim.FaultKind]float64{
			pikesim.StepCreate: faults, pikesim.StepStart: faults, pikesim.StepConfirm: faults, pikesim.StepCancel: faults, pikesim.StepStatus: faults,
		},
		Webhooks: map[pikesim.Webhooks]float64{
			pikesim.WebhooksLost: 0.2, pikesim.WebhooksDuplicated: 0.1, pikesim.WebhooksReordered: 0.05, pikesim.WebhooksEarly: 0.1,
			pikesim.WebhooksLate: 0.05, pikesim.WebhooksShuffled: 0.2,
		},
		Outcomes: map[pikesim.Outcome]float64{
			pikesim.OutcomeDeclinedAtChecks: 0.1, pikesim.OutcomeDeclinedAfterConfirm: 0.1, pikesim.OutcomeNeverReady: 0.03,
			pikesim.OutcomeAutoConfirm: 0.05, pikesim.OutcomeReturned: 0.05,
		},
		DeclineWith: map[pikesim.DeclineWith]float64{
			pikesim.DeclineError: 0.1, pikesim.DeclineErrorThenPaid: 0.2, pikesim.DeclineErrorThenCancelled: 0.2,
		},
		Cancel:  map[pikesim.Cancel]float64{pikesim.CancelAnyTime: 0.3, pikesim.CancelRefused: 0.03, pikesim.CancelPaid: 0.1},
		Balance: map[pikesim.Balance]float64{pikesim.BalanceShortAtStart: 0.02, pikesim.BalanceShortAtConfirm: 0.05, pikesim.BalanceShortAtEnd: 0.05},
		Echo: map[pikesim.Echo]float64{
			pikesim.EchoAmount: 0.02, pikesim.EchoCurrency: 0.02, pikesim.EchoDestination: 0.02, pikesim.EchoRecipient: 0.02, pikesim.EchoMetadata: 0.02,
		},
		Lies:       map[pikesim.Lie]float64{pikesim.LiePaidWhilePending: 0.1, pikesim.LieFailedWhilePaid: 0.1},
		TwoPayouts: 0.05,
		StatusLag:  0.3, MaxStatusLag: pikesim.Duration(60 * time.Second), MaxDelay: pikesim.Duration(25 * time.Second),
		MaxResolution: pikesim.Duration(resolution),
	}
}

// outageOf is some hours in which Pike is of no use, from one of the calls on.
func outageOf(luck *rand.Rand) []pikesim.Fault {
	fault := pick(luck, pikesim.Fault{Kind: pikesim.FaultHTTP503}, pikesim.Fault{Kind: pikesim.FaultNeverArrives},
		pikesim.Fault{Kind: pikesim.FaultUnknownCode, Code: string(pike.CodeAuthentication)},
		pikesim.Fault{Kind: pikesim.FaultUnknownCode, Code: string(pike.CodeAuthorization)})
	after := pick(luck, pikesim.StepCreate, pikesim.StepStart, pikesim.StepConfirm)
	lasts := pikesim.Duration(seconds(luck, pick(luck, 20*time.Minute, 6*time.Hour)))
	create := fault
	create.Call, create.Times = pikesim.StepCreate, luck.IntN(10)
	outage := []pikesim.Fault{create}
	for _, call := range []pikesim.Step{pikesim.StepStart, pikesim.StepConfirm, pikesim.StepCancel, pikesim.StepStatus} {
		lasting := fault
		lasting.Call, lasting.Times, lasting.After, lasting.For = call, pikesim.Always, after, lasts
		outage = append(outage, lasting)
	}
	return outage
}

func (m mix) order(r *payout.Request) {
	r.Destination.TokenizedCard.Token = secret.String(pikesim.Token(pikesim.PresetConfirmed))
	r.Policy = m.Policy
}

// clocks are what is wrong with the clocks of a payout. Only the workflow's own decides anything (hazard T11).
type clocks struct {
	// Start is what the workflow's clock shows first; the worker's shows the present.
	Start time.Time `json:"start"`
	// Pike is how far Pike's clock is ahead at the start, Drift what it gains per second since
	// then. At LeapAfter it is put forward by Leap.
	Pike      time.Duration `json:"pike"`
	Drift     float64       `json:"drift"`
	LeapAfter time.Duration `json:"leap_after"`
	Leap      time.Duration `json:"leap"`
	// Gateway is how far the gateway's clock is ahead.
	Gateway time.Duration `json:"gateway"`
}

const (
	maxClockOffset = 2 * time.Hour
	// maxClockDrift: the slowest Pike does within the settle delay what it owes within 85s (see chaosOf).
	maxClockDrift = 0.05
)

func clocksOf(luck *rand.Rand) clocks {
	c := clocks{
		Start:   time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).Add(seconds(luck, 100*365*24*time.Hour)),
		Pike:    offset(luck),
		Gateway: offset(luck),
		Drift:   maxClockDrift * (2*luck.Float64() - 1),
	}
	if oneIn(luck, 8) {
		c.LeapAfter, c.Leap = seconds(luck, pick(luck, 5*time.Minute, 6*time.Hour)), seconds(luck, maxClockOffset)
	}
	return c
}

// atPike is Pike's time at a time of the workflow.
func (c clocks) atPike(now time.Time) time.Time {
	elapsed := now.Sub(c.Start)
	at := now.Add(c.Pike + time.Duration(float64(elapsed)*c.Drift))
	if elapsed >= c.LeapAfter {
		at = at.Add(c.Leap)
	}
	return at
}

// untilPike is how long it takes until Pike's clock shows a time, or leaps.
func (c clocks) untilPike(due, now time.Time) time.Duration {
	wait := time.Duration(float64(due.Sub(c.atPike(now))) / (1 + c.Drift))
	if leap := c.LeapAfter - now.Sub(c.Start); c.Leap > 0 && leap > 0 {
		return min(wait, leap)
	}
	return wait
}

func offset(luck *rand.Rand) time.Duration { return seconds(luck, 2*maxClockOffset) - maxClockOffset }

// seconds is a random time up to longest. Whole seconds keep the environment from
// waiting for its wall clock, so that a seed tells the same story on any machine.
func seconds(luck *rand.Rand, longest time.Duration) time.Duration {
	return time.Duration(1+luck.Int64N(int64(longest/time.Second))) * time.Second
}

func oneIn(luck *rand.Rand, n int) bool { return luck.IntN(n) == 0 }

func pick[T any](luck *rand.Rand, values ...T) T { return values[luck.IntN(len(values))] }
