package workflows_test

import (
	"fmt"
	"slices"
	"time"

	"pikepayouts/payout"
	"pikepayouts/pike"
	"pikepayouts/pikesim"
)

const (
	// visitEach is how often an operator looks, the last time after visitsLast.
	visitEach  = 24 * time.Hour
	visitsLast = 20 * visitEach
)

// disturb lets people decide, cancel and forge.
func (p *chaosPike) disturb() {
	for n, person := range p.mix.People {
		p.whileOpen(person.After, func() {
			p.env.UpdateWorkflow(payout.UpdateDecide, fmt.Sprint("decide-", n), &updateResult{}, payout.DecideRequest{Decision: person.Decision, By: person.By})
			p.env.SignalWorkflow(person.Forged, p.forged(person.Forged))
			if person.Cancel {
				p.env.CancelWorkflow()
			}
		})
	}
}

// forged is what somebody who knows the session would send straight to Temporal: that it is paid.
func (p *chaosPike) forged(kind string) payout.Event {
	return payout.Event{Type: kind, SessionID: p.watch.session, SessionStatus: string(pike.SessionAccepted), PayoutStatus: string(pike.PayoutSucceeded)}
}

// visit lets an operator look now and then, and every day.
func (p *chaosPike) visit() {
	for _, after := range p.mix.Visits {
		p.whileOpen(after, p.attend)
	}
	p.visitDaily(visitEach)
}

func (p *chaosPike) visitDaily(after time.Duration) {
	p.whileOpen(visitEach, func() {
		switch {
		case p.watch.attention == "":
			p.violated(fmt.Errorf("open for %s without attention", after))
		case after >= visitsLast:
			p.violated(fmt.Errorf("open for %s", after))
			return
		}
		p.attend()
		p.visitDaily(after + visitEach)
	})
}

func (p *chaosPike) whileOpen(after time.Duration, do func()) {
	p.env.RegisterDelayedCallback(func() {
		if !p.env.IsWorkflowCompleted() {
			do()
		}
	}, after)
}

// attend is what an operator does about attention: rechecks while anything can still happen at
// Pike, else ends the payout by the evidence of Pike's ledger (hazard A21).
func (p *chaosPike) attend() {
	if p.watch.attention == "" {
		return
	}
	p.mu.Lock()
	p.core.Advance(p.mix.Clocks.atPike(p.env.Now()))
	_, more := p.core.NextDue()
	paid, contradicted := p.paid() > 0, p.contradicted()
	p.mu.Unlock()
	p.claims++
	switch {
	case more:
		p.resolve(payout.ResolveRecheck, false)
	case p.mix.Mistaken && p.claims == 1 && contradicted:
		p.resolve(closing(!paid), false)
	default:
		p.resolve(closing(paid), true)
	}
}

func closing(paid bool) string {
	if paid {
		return payout.ResolveClosePaid
	}
	return payout.ResolveCloseNotPaid
}

// contradicted says that Pike shows for long a state that a false claim contradicts.
func (p *chaosPike) contradicted() bool {
	now := p.mix.Clocks.atPike(p.env.Now())
	return slices.ContainsFunc(p.core.Sessions(now), func(s pikesim.SessionSummary) bool {
		return s.Payouts > 0 && s.Final && now.Sub(s.UpdatedAt) > time.Duration(p.mix.Chaos.MaxStatusLag)
	})
}

func (p *chaosPike) resolve(action string, counts bool) {
	claim := payout.ResolveRequest{Action: action, By: "eve", Reason: "attention", Evidence: "Pike's ledger"}
	p.env.UpdateWorkflow(payout.UpdateResolve, fmt.Sprint("resolve-", p.claims), &resolution{pike: p, counts: counts}, claim)
}

// resolution notes that the operator ended the payout.
type resolution struct {
	updateResult
	pike   *chaosPike
	counts bool
}

func (r *resolution) Complete(_ any, err error) {
	r.pike.resolved = r.pike.resolved || err == nil && r.counts
}

// violated keeps the status for the report.
func (p *chaosPike) violated(err error) {
	p.watch.violated(err)
	if value, queryErr := p.env.QueryWorkflow(payout.QueryStatus); queryErr == nil {
		_ = value.Get(&p.watch.lastStatus)
	}
}
