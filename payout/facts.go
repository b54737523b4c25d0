package payout

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Fact is one line of what a person is told of a payout or a late event. The
// Web UI and the command line show the same ones, each in its own way.
type Fact struct {
	Name  string
	Value string
	Tone  Tone
}

// Tone is how a value is to be taken.
type Tone int

// The tones.
const (
	Plain Tone = iota
	Good
	Warning // a person should look
	Bad
	Command // the value is a command line
)

// Facts says where the payout stands, what happens next and what can be done.
// The first one names the payout. Clock writes a time for who reads it.
func (s Status) Facts(clock func(time.Time) string) []Fact {
	f := newFacts(clock)
	f.add("Payout", s.PayoutID)
	f.say("State", string(s.State), s.State.Tone())
	if s.State.Final() {
		f.add("Ended", s.endText(clock))
		f.add("Why", s.why())
	} else {
		f.add("Since", f.time(s.Since))
	}
	f.add("Amount", s.AmountDetails.String())
	f.add("Session", s.SessionID)
	f.add("Pike payout", s.PikePayoutID)
	if d := s.Decision; d != nil {
		f.add("Decision", withDetail(d.Value+" by "+d.By+", "+clock(d.At), d.Reason))
	}
	f.attention(s.Attention)
	if e := s.Error; e != nil {
		f.say("Error", withDetail(e.Code, e.Description), Bad)
	}
	if s.Deadline != nil {
		f.add("Deadline", phrase(clock(*s.Deadline), s.deadlineText()))
	}
	f.add("Last webhook", s.webhookText(clock))
	f.add("Last status read", s.statusReadText(clock))
	f.add("Transaction", string(s.TransactionInfo))
	f.add("Next", s.next())
	if !s.State.Final() && len(s.Actions) == 0 {
		f.add("You can", "wait, it goes on by itself")
	}
	f.actions(s.PayoutID, s.Actions)
	return f.list
}

// deadlineText says what happens when the deadline passes.
func (s Status) deadlineText() string {
	switch s.State {
	case StateConfirming:
		return "no confirm is sent later"
	case StateAwaitingResult, StateCancelling:
		if s.Attention != nil {
			return ""
		}
		return "then attention is raised"
	}
	return "then the payout is cancelled"
}

func (s Status) endText(clock func(time.Time) string) string {
	if len(s.Transitions) == 0 {
		return ""
	}
	first, last := s.Transitions[0].At, s.Transitions[len(s.Transitions)-1].At
	return fmt.Sprintf("%s, after %s", clock(last), last.Sub(first).Round(time.Second))
}

func (s Status) why() string {
	if len(s.Transitions) == 0 {
		return ""
	}
	return s.Transitions[len(s.Transitions)-1].Why
}

func (s Status) webhookText(clock func(time.Time) string) string {
	if s.LastWebhook == nil {
		return "none"
	}
	w := s.LastWebhook
	return phrase(w.Type, said(w.SessionStatus, w.PayoutStatus), clock(w.At))
}

func (s Status) statusReadText(clock func(time.Time) string) string {
	if s.LastStatusRead == nil {
		return "none"
	}
	r := s.LastStatusRead
	return phrase(said(r.SessionStatus, r.PayoutStatus), clock(r.At))
}

// said is what Pike said of a session and of the payout in it.
func said(sessionStatus, payoutStatus string) string {
	return phrase(named("session", sessionStatus), named("payout", payoutStatus))
}

func (s Status) next() string {
	switch {
	case !s.State.Final():
		return s.NextStep
	case s.Attention != nil:
		return "nothing by itself: the payout has ended, a person looks into its attention"
	case s.State == StateSucceeded:
		return "nothing: the money is paid"
	}
	return "nothing: no money was paid; to pay after all, start a payout with another id"
}

// Facts says what the late event is, how it compares with the record and what
// can be done about it. The first one names the event.
func (s LateEventStatus) Facts(clock func(time.Time) string) []Fact {
	f := newFacts(clock)
	f.add("Late event", withDetail(cmp.Or(s.Event.Type, "webhook"), string(s.Reason)))
	f.say("Verdict", cmp.Or(string(s.Verdict), "open"), s.tone())
	f.add("Payout", s.PayoutID)
	f.say("Recorded as", string(s.Recorded), s.Recorded.Tone())
	f.add("Session", s.Event.SessionID)
	f.add("Pike payout", s.Event.PikePayoutID)
	f.add("Webhook", said(s.Event.SessionStatus, s.Event.PayoutStatus))
	f.add("Received", f.time(s.Event.ReceivedAt))
	if !s.CheckedAt.IsZero() {
		f.add("Last status read", phrase(said(s.SessionStatus, s.PayoutStatus), clock(s.CheckedAt)))
	}
	f.attention(s.Attention)
	f.add("Finding", s.Finding)
	if r := s.Resolution; r != nil {
		f.add("Resolved", fmt.Sprintf("%s by %s, %s: %s (evidence: %s)", r.Action, r.By, clock(r.At), r.Reason, r.Evidence))
	}
	f.add("Next", s.next())
	f.actions(LateEventWorkflowID(s.Event), s.Actions)
	return f.list
}

func (s LateEventStatus) tone() Tone {
	if s.Verdict == "" {
		return Plain
	}
	return Good
}

func (s LateEventStatus) next() string {
	switch {
	case s.Verdict != "":
		return "nothing: the late event is closed"
	case s.Attention != nil:
		return "a person closes it, or Pike's status comes to agree; it is looked at again at least hourly"
	}
	return "Pike's status is compared with what is recorded"
}

// facts collects them.
type facts struct {
	clock func(time.Time) string
	list  []Fact
}

func newFacts(clock func(time.Time) string) *facts {
	return &facts{clock: clock, list: make([]Fact, 0, 24)} // more than most payouts have
}

func (f *facts) add(name, value string) { f.say(name, value, Plain) }

// say leaves out what is empty.
func (f *facts) say(name, value string, tone Tone) {
	if value != "" {
		f.list = append(f.list, Fact{name, value, tone})
	}
}

func (f *facts) time(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return f.clock(t)
}

func (f *facts) attention(attention *Attention) {
	if attention == nil {
		return
	}
	meaning := attention.Reason.Meaning()
	f.say("Attention", withDetail(string(attention.Reason)+" since "+f.clock(attention.Since), attention.Detail), attention.Reason.Tone())
	f.add("It means", meaning.Means)
	f.add("It asks you to", meaning.Asks)
}

// actions has a line for each, so that it can be copied.
func (f *facts) actions(id string, actions []Action) {
	name := "You can"
	for _, action := range actions {
		f.say(name, action.Command(id), Command)
		name = "or"
	}
}

func named(name, value string) string {
	if value == "" {
		return ""
	}
	return name + " " + value
}

// phrase joins what is not empty.
func phrase(parts ...string) string {
	return strings.Join(slices.DeleteFunc(parts, func(part string) bool { return part == "" }), ", ")
}

func withDetail(text, detail string) string {
	if detail == "" {
		return text
	}
	return text + ": " + detail
}
