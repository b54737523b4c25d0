package pikesim

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Timing is how long things take at the simulated Pike. A zero field means its default.
type Timing struct {
	// Checks is the time from start to ready_to_confirm, or to a decline. Default 200ms.
	Checks time.Duration
	// Processing is the time from confirm or cancel to the end. Default 200ms.
	Processing time.Duration
	// ConfirmDeadline: a payout not confirmed this long after it was ready is cancelled. Default 240m.
	ConfirmDeadline time.Duration
	// CreatedExpiry: a session not started this long after create is cancelled. Zero means never.
	CreatedExpiry time.Duration
	// ErrorResolution is the time after which support settles a session in error. Default 10m.
	ErrorResolution time.Duration
	// Return is the time from success to the return of the money. Default 10m.
	Return time.Duration
	// LateWebhooks is the delay of a webhook that is late. Default 10m.
	LateWebhooks time.Duration
	// WebhookGaps are the waits before each repeat; the last one stays. Default 5s 15s 45s 2m 5m 15m.
	WebhookGaps []time.Duration
	// WebhookGiveUp: no webhook is repeated later than this after its first attempt. Default 30m.
	WebhookGiveUp time.Duration
	// ReceiveTimeout is how long a receiver may take to answer a webhook. Default 10s.
	ReceiveTimeout time.Duration
}

// DefaultTiming returns the durations that hold where nothing else is said.
func DefaultTiming() Timing {
	return Timing{
		Checks: 200 * time.Millisecond, Processing: 200 * time.Millisecond, ConfirmDeadline: 240 * time.Minute,
		ErrorResolution: 10 * time.Minute, Return: 10 * time.Minute, LateWebhooks: 10 * time.Minute,
		WebhookGaps: []time.Duration{5 * time.Second, 15 * time.Second, 45 * time.Second, 2 * time.Minute, 5 * time.Minute,
			15 * time.Minute},
		WebhookGiveUp: 30 * time.Minute, ReceiveTimeout: 10 * time.Second,
	}
}

// WithDefaults returns the timing with every zero field replaced by its default.
func (t Timing) WithDefaults() Timing {
	d := DefaultTiming()
	gaps := t.WebhookGaps
	if len(gaps) == 0 {
		gaps = d.WebhookGaps
	}
	return Timing{
		Checks: cmp.Or(t.Checks, d.Checks), Processing: cmp.Or(t.Processing, d.Processing),
		ConfirmDeadline: cmp.Or(t.ConfirmDeadline, d.ConfirmDeadline), CreatedExpiry: t.CreatedExpiry,
		ErrorResolution: cmp.Or(t.ErrorResolution, d.ErrorResolution), Return: cmp.Or(t.Return, d.Return),
		LateWebhooks: cmp.Or(t.LateWebhooks, d.LateWebhooks), WebhookGaps: gaps,
		WebhookGiveUp: cmp.Or(t.WebhookGiveUp, d.WebhookGiveUp), ReceiveTimeout: cmp.Or(t.ReceiveTimeout, d.ReceiveTimeout),
	}
}

// Scaled returns the timing, defaults filled in, with every duration times
// factor: 0.1 is ten times as fast. ReceiveTimeout stays: the receiver is a real
// program, which does not get faster.
func (t Timing) Scaled(factor float64) Timing {
	scale := func(d time.Duration) time.Duration { return time.Duration(float64(d) * factor) }
	t = t.WithDefaults()
	gaps := slices.Clone(t.WebhookGaps)
	for i := range gaps {
		gaps[i] = scale(gaps[i])
	}
	return Timing{
		Checks: scale(t.Checks), Processing: scale(t.Processing), ConfirmDeadline: scale(t.ConfirmDeadline),
		CreatedExpiry: scale(t.CreatedExpiry), ErrorResolution: scale(t.ErrorResolution), Return: scale(t.Return),
		LateWebhooks: scale(t.LateWebhooks), WebhookGaps: gaps, WebhookGiveUp: scale(t.WebhookGiveUp),
		ReceiveTimeout: t.ReceiveTimeout,
	}
}

func (t Timing) validate() error {
	var problems []error
	for _, field := range []struct {
		name  string
		value time.Duration
	}{
		{"Checks", t.Checks}, {"Processing", t.Processing}, {"ConfirmDeadline", t.ConfirmDeadline},
		{"CreatedExpiry", t.CreatedExpiry}, {"ErrorResolution", t.ErrorResolution}, {"Return", t.Return},
		{"LateWebhooks", t.LateWebhooks}, {"WebhookGiveUp", t.WebhookGiveUp}, {"ReceiveTimeout", t.ReceiveTimeout},
	} {
		if field.value < 0 {
			problems = append(problems, fmt.Errorf("Timing.%s must not be negative", field.name))
		}
	}
	for i, gap := range t.WebhookGaps {
		if gap <= 0 {
			problems = append(problems, fmt.Errorf("Timing.WebhookGaps[%d] must be positive", i))
		}
	}
	return errors.Join(problems...)
}

// retryAt returns when a webhook is repeated after its failed attempt (counted
// from 1), false if it is given up.
func (t Timing) retryAt(first, now time.Time, attempt int) (time.Time, bool) {
	gap := t.WebhookGaps[min(attempt, len(t.WebhookGaps))-1]
	at := now.Add(gap)
	return at, at.Sub(first) <= t.WebhookGiveUp
}
