package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"pikepayouts/payout"
	"pikepayouts/pikesim"
	"pikepayouts/secret"
	"pikepayouts/starter"
)

// demoPayout is a payout of the demo, and how it should end.
type demoPayout struct {
	title    string
	request  payout.Request
	decision string // what a person decides, "" if the policy does
	want     payout.State
}

// demoPayouts have ids of their own in every run.
func demoPayouts(now time.Time) []demoPayout {
	run := now.Format("0102-150405")
	order := func(name, title string, preset pikesim.Preset, amount int64, want payout.State) demoPayout {
		return demoPayout{title: title, want: want, request: payout.Request{
			PayoutID:      "demo-" + run + "-" + name,
			AmountDetails: payout.AmountDetails{Amount: amount, Currency: "eur"},
			Destination:   payout.Destination{TokenizedCard: &payout.TokenizedCard{Token: secret.String(pikesim.Token(preset))}},
			Recipient:     payout.Recipient{FullName: "Ivanov Ivan"},
			Policy:        payout.Policy{PollInterval: payout.Duration(time.Second)}, // lost webhooks then cost seconds
		}}
	}
	decidedBy := func(p demoPayout, decision string) demoPayout {
		p.decision, p.request.Policy.Decision = decision, payout.DecisionManual
		return p
	}
	return []demoPayout{
		order("auto", "confirmed by its policy", pikesim.PresetConfirmed, 10000, payout.StateSucceeded),
		decidedBy(order("person", "confirmed by a person", pikesim.PresetConfirmed, 25000, payout.StateSucceeded), payout.DecisionConfirm),
		decidedBy(order("cancelled", "cancelled by a person", pikesim.PresetConfirmed, 99000, payout.StateCancelled), payout.DecisionCancel),
		order("checks", "declined at Pike's checks", pikesim.PresetDeclinedAtChecks, 5000, payout.StateFailed),
		order("bank", "declined after confirm", pikesim.PresetDeclinedAfterConfirm, 7500, payout.StateFailed),
		order("lost", "all its webhooks get lost", pikesim.PresetWebhooksLost, 1234, payout.StateSucceeded),
	}
}

// demoOutcome is how a payout did end.
type demoOutcome struct {
	demoPayout
	status     payout.Status
	paidByPike int // movements of money in the simulator's ledger
}

func (o demoOutcome) asExpected() bool {
	paid := 0
	if o.want == payout.StateSucceeded {
		paid = 1
	}
	return o.status.State == o.want && o.paidByPike == paid
}

// payAll pays side by side and returns the outcomes in the order of orders.
func payAll(ctx context.Context, s *starter.Starter, orders []demoPayout, show *demoScreen) ([]demoOutcome, error) {
	outcomes := make([]demoOutcome, len(orders))
	group, ctx := errgroup.WithContext(ctx)
	for i, order := range orders {
		group.Go(func() error {
			status, err := pay(ctx, s, order, show)
			if err != nil {
				return fmt.Errorf("the payout that is %s: %w", order.title, err)
			}
			outcomes[i] = demoOutcome{demoPayout: order, status: status}
			return nil
		})
	}
	return outcomes, group.Wait() //nolint:wrapcheck // wrapped above
}

// pay starts one payout, shows each transition, decides where a person must, and returns its end.
func pay(ctx context.Context, s *starter.Starter, order demoPayout, show *demoScreen) (payout.Status, error) {
	id := order.request.PayoutID
	if _, err := s.Start(ctx, order.request); err != nil {
		return payout.Status{}, err //nolint:wrapcheck // starter says what it was doing
	}
	shown, decided := 0, false
	var status payout.Status
	var failed error
	err := poll(ctx, 100*time.Millisecond, func(context.Context) bool { // ctx bounds all of it, not the single step
		if status, failed = s.Get(ctx, id); failed != nil {
			return true
		}
		show.transitions(order, status.Transitions[shown:])
		shown = len(status.Transitions)
		if order.decision != "" && !decided && status.State == payout.StateAwaitingDecision {
			decided = true
			failed = decideInDemo(ctx, s, id, order.decision)
		}
		return status.State.Final() || failed != nil
	})
	return status, errors.Join(failed, err)
}

func decideInDemo(ctx context.Context, s *starter.Starter, id, decision string) error {
	var err error
	if decision == payout.DecisionConfirm {
		_, err = s.Confirm(ctx, id, "demo", "looks right")
	} else {
		_, err = s.Cancel(ctx, id, "demo", "wrong amount")
	}
	return err //nolint:wrapcheck // starter says what it was doing
}

// demoScreen shows the transitions of all payouts in the order in which they become known.
type demoScreen struct {
	app     *app
	palette palette
	begin   time.Time
	mu      sync.Mutex
}

func (d *demoScreen) transitions(order demoPayout, transitions []payout.Transition) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, t := range transitions {
		since := strconv.FormatFloat(max(0, t.At.Sub(d.begin).Seconds()), 'f', 1, 64)
		state := d.palette.state(t.State) + strings.Repeat(" ", max(0, len(payout.StateAwaitingDecision)-len(t.State)))
		_ = write(d.app.stdout, fmt.Sprintf("%s  %-25s  %s  %s\n", d.palette.paint(dim, fmt.Sprintf("%5ss", since)), order.title, state, clean(t.Why)))
	}
}

func outcomeTable(p palette, outcomes []demoOutcome) string {
	rows := [][]string{{"PAYOUT", "WHICH IS", "AMOUNT", "ENDED", "PIKE PAID", ""}}
	for _, o := range outcomes {
		verdict := p.paint(green, "as expected")
		if !o.asExpected() {
			verdict = p.paint(red, "expected "+string(o.want))
		}
		rows = append(rows, []string{
			o.request.PayoutID, o.title, o.request.AmountDetails.String(), p.state(o.status.State), times(o.paidByPike), verdict,
		})
	}
	return table(rows)
}

func times(n int) string {
	switch n {
	case 0:
		return "nothing"
	case 1:
		return "once"
	}
	return strconv.Itoa(n) + " times"
}
