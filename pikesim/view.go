package pikesim

import (
	"slices"
	"strings"
	"time"

	"pikepayouts/secret"
)

// view is what a partner can see of a session, apart from what never changes.
type view struct {
	phase     phase
	updatedAt time.Time
	payouts   []payout // none until started
	failure   *failure
}

// pastView is a view that a session had until a time.
type pastView struct {
	until time.Time
	view  view
}

// remember keeps the view that is about to change, if session/status lags behind.
func (c *Core) remember(s *session, at time.Time) {
	lag := time.Duration(s.behaviour.Modes.over(c.modes).StatusLag)
	if lag == 0 {
		s.past = nil
		return
	}
	s.past = slices.DeleteFunc(s.past, func(p pastView) bool { return !p.until.After(at.Add(-lag)) })
	if last := len(s.past) - 1; last >= 0 && s.past[last].until.Equal(at) {
		return // what lasted no time was never seen
	}
	kept := s.view
	kept.payouts = slices.Clone(kept.payouts)
	s.past = append(s.past, pastView{until: at, view: kept})
}

// seenBy is the view that session/status shows at a time.
func (c *Core) seenBy(s *session, at time.Time) view {
	seenAt := at.Add(-time.Duration(s.behaviour.Modes.over(c.modes).StatusLag))
	for _, past := range s.past {
		if past.until.After(seenAt) {
			return past.view
		}
	}
	return s.view
}

// altered is the view with one part of the order in it changed.
func (v view) altered(echo Echo) view {
	if echo == "" || echo == EchoFaithful {
		return v
	}
	v.payouts = slices.Clone(v.payouts)
	for i := range v.payouts {
		v.payouts[i].terms = v.payouts[i].terms.altered(echo)
	}
	return v
}

func (t terms) altered(echo Echo) terms {
	switch echo {
	case EchoAmount:
		t.amount = &amount{value: t.amount.value + 1, currency: t.amount.currency}
	case EchoCurrency:
		currency := "usd"
		if t.amount.currency == currency {
			currency = "eur"
		}
		t.amount = &amount{value: t.amount.value, currency: currency}
	case EchoDestination:
		t.destination = &destination{kind: t.destination.kind, value: otherToken(t.destination.value)}
	case EchoRecipient:
		t.participants = `{"recipient":{"full_name":"Somebody Else"}}`
	case EchoMetadata:
		t.metadata = quote("altered " + metadataKey(t.metadata))
	}
	return t
}

// otherToken differs in the last digit.
func otherToken(token secret.String) secret.String {
	plain := token.Reveal()
	last := "0"
	if strings.HasSuffix(plain, last) {
		last = "1"
	}
	return secret.String(plain[:len(plain)-1] + last)
}
