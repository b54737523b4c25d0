package chaos

import (
	"fmt"
	"iter"
	"math/rand/v2"
	"time"

	"pikepayouts/payout"
	"pikepayouts/pikesim"
	"pikepayouts/secret"
)

// order is one payout of a run, and who meddles with it.
type order struct {
	request payout.Request
	// behaviour is that of Pike for this payout; nil leaves everything to chance.
	behaviour *pikesim.Behaviour
	meddler   meddler
}

// meddler is somebody who acts on a payout some time after its start.
type meddler struct {
	does  meddling
	after time.Duration
}

type meddling string

const (
	nothing           meddling = "nothing"
	confirms          meddling = "confirms"
	cancels           meddling = "cancels"
	cancelsInTemporal meddling = "cancels in Temporal"
)

// orderOf is the nth payout of the seed.
func orderOf(seed, n uint64) order {
	luck := rand.New(rand.NewPCG(seed, n))
	o := order{request: payout.Request{
		PayoutID:      fmt.Sprintf("chaos-%d-%04d", seed, n),
		AmountDetails: payout.AmountDetails{Amount: 100 + luck.Int64N(100_000), Currency: pick(luck, "eur", "usd", "jpy")},
		Destination:   destination(luck),
		Recipient:     payout.Recipient{FullName: "Ivanov Ivan"},
		Policy:        policy(luck),
	}}
	o.meddler = meddlerOf(luck, o.request.Policy.Decision)
	o.behaviour = oddBehaviour(luck)
	if o.behaviour != nil && o.behaviour.Outcome == pikesim.OutcomeNeverReady {
		o.request.Policy.ReadyTimeout = payout.Duration(time.Minute) // nothing to see while it waits
	}
	return o
}

func destination(luck *rand.Rand) payout.Destination {
	token := secret.String(pikesim.Token(pikesim.PresetConfirmed))
	return pick(luck,
		payout.Destination{TokenizedCard: &payout.TokenizedCard{Token: token}},
		payout.Destination{EncryptedCard: &payout.EncryptedCard{NumberHash: token}},
		payout.Destination{Recurrent: &payout.Recurrent{Token: token}},
	)
}

// policy leaves time for repeats after the settle delay of 90s, but not for ever: all must end soon after the chaos.
func policy(luck *rand.Rand) payout.Policy {
	return payout.Policy{
		Decision:        pick(luck, payout.DecisionAuto, payout.DecisionAuto, payout.DecisionManual),
		PollInterval:    payout.Duration(time.Second),
		ReadyTimeout:    payout.Duration(pick(luck, time.Minute, 4*time.Minute, 4*time.Minute)),
		DecisionTimeout: payout.Duration(pick(luck, 20*time.Second, time.Minute)),
		ConfirmTimeout:  payout.Duration(confirmDeadline - 30*time.Second),
		ResultTimeout:   payout.Duration(30 * time.Second),
	}
}

func meddlerOf(luck *rand.Rand, decision string) meddler {
	m := meddler{does: nothing, after: time.Duration(luck.Int64N(int64(15 * time.Second)))}
	chance := luck.Float64()
	switch {
	case chance < 0.08:
		m.does = cancelsInTemporal
	case decision == payout.DecisionManual && chance < 0.7:
		m.does = confirms
	case decision == payout.DecisionManual && chance < 0.9, chance < 0.1:
		m.does = cancels
	}
	return m
}

// oddBehaviour is one that chance alone must not choose, because it could meet another one
// with which Pike pays twice, or that leaves a payout open for ever. Most payouts have none.
func oddBehaviour(luck *rand.Rand) *pikesim.Behaviour {
	if luck.Float64() > 0.2 {
		return nil
	}
	return new(pick(luck,
		pikesim.Behaviour{TwoPayouts: true, Outcome: pikesim.OutcomeConfirmed, DeclineWith: pikesim.DeclineCancelled, Cancel: pikesim.CancelWhenReady},
		pikesim.Behaviour{Echo: pick(luck, pikesim.EchoAmount, pikesim.EchoCurrency, pikesim.EchoDestination, pikesim.EchoRecipient, pikesim.EchoMetadata)},
		pikesim.Behaviour{Outcome: pikesim.OutcomeDeclinedAfterConfirm, DeclineWith: pikesim.DeclineError},
		pikesim.Behaviour{Outcome: pikesim.OutcomeNeverReady, Cancel: pikesim.CancelRefused},
	))
}

const (
	// confirmDeadline is Pike's, short enough that it ends what we may no longer confirm while the test still waits.
	confirmDeadline = 4 * time.Minute
	// These and the time by which a frozen worker's call may outlive its activity (75s) stay
	// together below the settle delay of 90s: beyond that no repeat could be safe (docs/workflow.md).
	maxPikeDelay = 15 * time.Second
	maxStatusLag = 40 * time.Second
	maxFreeze    = 100 * time.Second
)

// pikeModes are those of the least helpful Pike.
func pikeModes() pikesim.Modes {
	return pikesim.Modes{
		SecondStart: pikesim.SecondStartAddPayout, SecondConfirm: pikesim.SecondConfirmPayAgain, IdempotencyKeys: pikesim.Off,
		ConfirmDeadline: pikesim.Duration(confirmDeadline),
	}
}

// pikeChaos is what Pike does wrong by chance.
func pikeChaos(seed uint64) pikesim.Chaos {
	faults := map[pikesim.FaultKind]float64{
		pikesim.FaultNeverArrives: 0.02, pikesim.FaultWorksLater: 0.02, pikesim.FaultHTTP429: 0.01, pikesim.FaultUnknownCode: 0.01,
		pikesim.FaultLost: 0.02, pikesim.FaultLate: 0.01, pikesim.FaultCut: 0.01, pikesim.FaultHTML: 0.01, pikesim.FaultEmpty: 0.01,
		pikesim.FaultNoStatus: 0.01, pikesim.FaultHTTP500: 0.01, pikesim.FaultHTTP503: 0.01, pikesim.FaultUnknownWorked: 0.01,
	}
	return pikesim.Chaos{
		Seed: seed,
		Faults: map[pikesim.Step]map[pikesim.FaultKind]float64{
			pikesim.StepCreate: faults, pikesim.StepStart: faults, pikesim.StepConfirm: faults, pikesim.StepCancel: faults, pikesim.StepStatus: faults,
		},
		Webhooks: map[pikesim.Webhooks]float64{pikesim.WebhooksLost: 0.1, pikesim.WebhooksDuplicated: 0.1, pikesim.WebhooksShuffled: 0.2, pikesim.WebhooksEarly: 0.1},
		Outcomes: map[pikesim.Outcome]float64{
			pikesim.OutcomeDeclinedAtChecks: 0.1, pikesim.OutcomeDeclinedAfterConfirm: 0.1, pikesim.OutcomeAutoConfirm: 0.05,
		},
		DeclineWith: map[pikesim.DeclineWith]float64{pikesim.DeclineErrorThenPaid: 0.3, pikesim.DeclineErrorThenCancelled: 0.3},
		Cancel:      map[pikesim.Cancel]float64{pikesim.CancelAnyTime: 0.3, pikesim.CancelPaid: 0.1},
		Balance:     map[pikesim.Balance]float64{pikesim.BalanceShortAtStart: 0.02, pikesim.BalanceShortAtConfirm: 0.02, pikesim.BalanceShortAtEnd: 0.05},
		Lies:        map[pikesim.Lie]float64{pikesim.LiePaidWhilePending: 0.1, pikesim.LieFailedWhilePaid: 0.1},
		StatusLag:   0.2, MaxStatusLag: pikesim.Duration(maxStatusLag), MaxDelay: pikesim.Duration(maxPikeDelay),
		MaxWebhookDelay: pikesim.Duration(time.Minute), MaxResolution: pikesim.Duration(time.Minute),
	}
}

// happening is one fault of the schedule: which of the catalogue, on which of its
// victims, for how long, and how long all is well afterwards.
type happening struct {
	fault, victim int
	length, gap   time.Duration
}

// schedule goes through the whole catalogue in a random order, again and again.
func schedule(seed uint64, catalogue []fault) iter.Seq[happening] {
	luck := rand.New(rand.NewPCG(seed, 0)) // 0 is no order
	return func(yield func(happening) bool) {
		for {
			for _, index := range luck.Perm(len(catalogue)) {
				length := time.Second + time.Duration(luck.Int64N(int64(catalogue[index].longest)))
				gap := time.Duration(luck.Int64N(int64(4 * time.Second)))
				if !yield(happening{fault: index, victim: luck.IntN(catalogue[index].victims), length: length, gap: gap}) {
					return
				}
			}
		}
	}
}

func pick[T any](luck *rand.Rand, values ...T) T { return values[luck.IntN(len(values))] }
