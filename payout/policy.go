package payout

import (
	"cmp"
	"time"
)

// Decision modes of a Policy.
const (
	DecisionAuto   = "auto"   // the workflow confirms as soon as Pike is ready
	DecisionManual = "manual" // people confirm or cancel through the update `decide`
)

// Policy says how one payout is to be carried out. The zero value of a field means its default.
type Policy struct {
	// Decision is DecisionAuto (default) or DecisionManual.
	Decision string `json:"decision,omitempty"`
	// ReadyTimeout bounds the time from start to ready_to_confirm; then the payout is cancelled. Default 2h.
	ReadyTimeout Duration `json:"ready_timeout,omitempty"`
	// DecisionTimeout bounds the wait for people, DecisionManual only; then the payout is cancelled. Default 45m.
	DecisionTimeout Duration `json:"decision_timeout,omitempty"`
	// ConfirmTimeout: later than this after ready_to_confirm no confirm is sent, the payout is cancelled. Default 55m.
	ConfirmTimeout Duration `json:"confirm_timeout,omitempty"`
	// ResultTimeout: this long after confirm without a final state attention is raised; waiting goes on. Default 15m.
	ResultTimeout Duration `json:"result_timeout,omitempty"`
	// Approvals is how many different people must confirm, DecisionManual only. Default 1.
	Approvals int `json:"approvals,omitempty"`
	// PollInterval is the time to the first session/status poll of a wait; it doubles to 5m. Default 30s, minimum 1s.
	PollInterval Duration `json:"poll_interval,omitempty"`
}

const (
	minPollInterval = time.Second
	maxPollInterval = time.Hour
	maxTimeout      = 30 * 24 * time.Hour
	maxApprovals    = 10
)

// WithDefaults returns the policy with every zero field replaced by its default.
func (p Policy) WithDefaults() Policy {
	or := func(d Duration, fallback time.Duration) Duration { return cmp.Or(d, Duration(fallback)) }
	return Policy{
		Decision:        cmp.Or(p.Decision, DecisionAuto),
		ReadyTimeout:    or(p.ReadyTimeout, 2*time.Hour),
		DecisionTimeout: or(p.DecisionTimeout, 45*time.Minute),
		ConfirmTimeout:  or(p.ConfirmTimeout, 55*time.Minute),
		ResultTimeout:   or(p.ResultTimeout, 15*time.Minute),
		Approvals:       cmp.Or(p.Approvals, 1),
		PollInterval:    or(p.PollInterval, 30*time.Second),
	}
}

func (p Policy) validate(problem func(field, format string, args ...any)) {
	p = p.WithDefaults()
	if p.Decision != DecisionAuto && p.Decision != DecisionManual {
		problem("policy.decision", "must be %q or %q", DecisionAuto, DecisionManual)
	}
	durations := []struct {
		field string
		value Duration
	}{
		{"ready_timeout", p.ReadyTimeout}, {"decision_timeout", p.DecisionTimeout},
		{"confirm_timeout", p.ConfirmTimeout}, {"result_timeout", p.ResultTimeout},
	}
	for _, d := range durations {
		if d.value <= 0 || time.Duration(d.value) > maxTimeout {
			problem("policy."+d.field, "must be a positive duration of at most 30 days")
		}
	}
	if interval := time.Duration(p.PollInterval); interval < minPollInterval || interval > maxPollInterval {
		problem("policy.poll_interval", "must be at least %s and at most %s", minPollInterval, maxPollInterval)
	}
	switch {
	case p.Approvals < 1 || p.Approvals > maxApprovals:
		problem("policy.approvals", "must be 1 to %d", maxApprovals)
	case p.Approvals > 1 && p.Decision != DecisionManual:
		problem("policy.approvals", "needs policy.decision %q", DecisionManual)
	}
}
