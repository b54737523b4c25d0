package pikesim

import (
	"net/http"
	"time"
)

// Tally is what the ledger says of one payout, that is of all sessions with its metadata.
type Tally struct {
	// Accepted are the calls that were accepted, by kind; Refused how many were not.
	Accepted map[Step]int `json:"accepted,omitempty"`
	Refused  int          `json:"refused,omitempty"`
	// Repeated are the accepted calls before which one of the same kind was accepted
	// for the same session: second starts, second confirms.
	Repeated map[Step]int `json:"repeated,omitempty"`
	// Orphans are the sessions that were never started.
	Orphans int `json:"orphans,omitempty"`
	// Paid and Returned count movements; Movements are they themselves, in order.
	Paid      int        `json:"paid,omitempty"`
	Returned  int        `json:"returned,omitempty"`
	Movements []Movement `json:"movements,omitempty"`
	// Webhooks are the finished attempts to deliver one, Acknowledged those answered with 200.
	Webhooks     int `json:"webhooks,omitempty"`
	Acknowledged int `json:"acknowledged,omitempty"`
	// Last is when the last of all this happened.
	Last time.Time `json:"last"`
}

// Tallies judges all payouts in one pass over the ledger. The keys are the texts
// of their metadata, "" for calls without.
func (l Ledger) Tallies() map[string]*Tally {
	tallies := map[string]*Tally{}
	of := func(key string, at time.Time) *Tally {
		tally, known := tallies[key]
		if !known {
			tally = &Tally{Accepted: map[Step]int{}, Repeated: map[Step]int{}}
			tallies[key] = tally
		}
		if at.After(tally.Last) {
			tally.Last = at
		}
		return tally
	}
	for _, call := range l.Accepted {
		tally, step := of(metadataKey(call.Metadata), call.At), stepOf(call.Method)
		tally.Accepted[step]++
		if call.Repeated {
			tally.Repeated[step]++
		}
	}
	for _, call := range l.Refused {
		of(metadataKey(call.Metadata), call.At).Refused++
	}
	for _, m := range l.Movements {
		tally := of(metadataKey(m.Metadata), m.At)
		tally.Movements = append(tally.Movements, m)
		if m.Kind == MovementPaid {
			tally.Paid++
		} else {
			tally.Returned++
		}
	}
	for _, w := range l.Webhooks {
		tally := of(metadataKey(w.Metadata), w.At)
		tally.Webhooks++
		if w.HTTPStatus == http.StatusOK {
			tally.Acknowledged++
		}
	}
	for _, metadata := range l.orphans() {
		tallies[metadata].Orphans++
	}
	return tallies
}

// Orphans counts the sessions that were never started.
func (l Ledger) Orphans() int { return len(l.orphans()) }

// orphans are the metadata of the sessions that were never started.
func (l Ledger) orphans() []string {
	started := map[string]bool{}
	for _, call := range l.Accepted {
		if stepOf(call.Method) == StepStart {
			started[call.SessionID] = true
		}
	}
	var orphans []string
	for _, call := range l.Accepted {
		if stepOf(call.Method) == StepCreate && !started[call.SessionID] {
			orphans = append(orphans, metadataKey(call.Metadata))
		}
	}
	return orphans
}

// PaidTwice lists the payouts for which more than one movement paid, by their
// metadata and as the ledger has them. It is the first question to every ledger.
func (l Ledger) PaidTwice() map[string][]Movement {
	paid := map[string][]Movement{}
	for _, m := range l.Movements {
		if m.Kind == MovementPaid {
			key := metadataKey(m.Metadata)
			paid[key] = append(paid[key], m)
		}
	}
	for key, movements := range paid {
		if len(movements) < 2 {
			delete(paid, key)
		}
	}
	return paid
}
