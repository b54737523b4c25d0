package pikesim

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// FaultKind is what is wrong with the answer to a call.
type FaultKind string

// The kinds of faults. After the first group the work of the call is done as if nothing were wrong.
const (
	FaultNeverArrives  FaultKind = "never_arrives"        // the work is not done; the connection closes without an answer
	FaultWorksLater    FaultKind = "works_later"          // as never_arrives, but the work is done up to Delay later
	FaultHTTP429       FaultKind = "http_429"             // the work is not done; no Retry-After
	FaultHTTP429Wait   FaultKind = "http_429_retry_after" // the work is not done; Retry-After says Delay
	FaultUnknownCode   FaultKind = "unknown_code"         // the work is not done; HTTP 400 with Code
	FaultRedirect      FaultKind = "redirect"             // the work is not done; HTTP 307 to Target
	FaultLost          FaultKind = "lost"                 // the connection closes without an answer
	FaultLate          FaultKind = "late"                 // the answer comes Delay later
	FaultCut           FaultKind = "cut"                  // the connection closes in the middle of the answer
	FaultHTML          FaultKind = "html"                 // HTTP 200 with an HTML page
	FaultEmpty         FaultKind = "empty"                // HTTP 200 without a body
	FaultNoStatus      FaultKind = "no_status"            // the answer lacks its field status
	FaultHTTP500       FaultKind = "http_500"             // internal_error
	FaultHTTP502       FaultKind = "http_502"             // the page of a proxy, as with the next two
	FaultHTTP503       FaultKind = "http_503"
	FaultHTTP504       FaultKind = "http_504"
	FaultUnknownWorked FaultKind = "unknown_code_worked" // HTTP 400 with Code
	FaultHuge          FaultKind = "huge"                // 5 MiB, of which the answer is the end
)

// faultKinds are all of them in a fixed order: a seeded choice among them depends on it.
var faultKinds = []FaultKind{
	FaultNeverArrives, FaultWorksLater, FaultHTTP429, FaultHTTP429Wait, FaultUnknownCode, FaultRedirect, FaultLost, FaultLate,
	FaultCut, FaultHTML, FaultEmpty, FaultNoStatus, FaultHTTP500, FaultHTTP502, FaultHTTP503, FaultHTTP504, FaultUnknownWorked,
	FaultHuge,
}

// beforeWork says that the fault keeps the call from being carried out now.
func (k FaultKind) beforeWork() bool {
	return slices.Index(faultKinds, k) <= slices.Index(faultKinds, FaultRedirect)
}

const (
	// CodeNobodyKnows is the error code of unknown_code and unknown_code_worked where no other is chosen.
	CodeNobodyKnows = "code_nobody_knows"

	codeInternal        = "internal_error"
	codeTooManyRequests = "too_many_requests"
	hugeBytes           = 5 << 20
	defaultFaultDelay   = Duration(time.Minute)
	defaultRetryAfter   = Duration(time.Second)

	// Outcomes in the ledger of calls on which Pike did no work.
	outcomeNeverArrived = "never_arrived"
	outcomeRedirected   = "redirected"
)

// Fault is what is wrong with the answers to one kind of call of one payout. A
// fault that lets the work be done waits for a call that is accepted.
type Fault struct {
	Call Step      `json:"call"`
	Kind FaultKind `json:"kind"`
	// Times is how many calls have the fault: 0 means one, Always all of them. It
	// counts per session; for create per metadata, as every create makes a session.
	Times int `json:"times,omitempty"`
	// Delay of late and works_later (default one minute) and http_429_retry_after (one second).
	Delay Duration `json:"delay,omitempty"`
	// Code of unknown_code and unknown_code_worked, such as internal_error or insufficient_wallet_balance.
	Code string `json:"code,omitempty"`
	// Target is the URL to which redirect leads.
	Target string `json:"target,omitempty"`
	// After limits the fault to the time after this call of the session was
	// accepted first, and For to so long after that.
	After Step     `json:"after,omitempty"`
	For   Duration `json:"for,omitempty"`
}

// Always is the Times of a fault that never ends.
const Always = -1

const faultFields = "call, kind, times, delay, code, target, after, for"

func (f Fault) validate() error {
	var problems []error
	problem := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if err := oneOf("call", f.Call, steps...); err != nil || f.Call == "" {
		problem("call must be one of %s, not %q", list(steps), f.Call)
	}
	if err := oneOf("kind", f.Kind, faultKinds...); err != nil || f.Kind == "" {
		problem("kind must be one of %s, not %q", list(faultKinds), f.Kind)
	}
	if f.Times < Always {
		problem("times must be a number of calls, 0 for one, or %d for all", Always)
	}
	if f.Delay < 0 || f.Delay > 0 && !slices.Contains([]FaultKind{FaultLate, FaultWorksLater, FaultHTTP429Wait}, f.Kind) {
		problem("delay must be positive, and goes with %s, %s, %s only", FaultLate, FaultWorksLater, FaultHTTP429Wait)
	}
	if f.Code != "" && f.Kind != FaultUnknownCode && f.Kind != FaultUnknownWorked {
		problem("code goes with %s and %s only", FaultUnknownCode, FaultUnknownWorked)
	}
	if f.Kind == FaultRedirect {
		problems = append(problems, checkTarget(f.Target))
	} else if f.Target != "" {
		problem("target goes with %s only", FaultRedirect)
	}
	problems = append(problems, oneOf("after", f.After, changingSteps...))
	if f.For < 0 || f.For > 0 && f.After == "" {
		problem("for must be positive, and goes with after only")
	}
	return errors.Join(problems...)
}

func checkTarget(target string) error {
	u, err := url.Parse(target)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return errors.New("a redirect needs an absolute http or https URL as its target")
	}
	return nil
}

// lostAnswers are the faults that lose the first answer to each of the calls.
func lostAnswers(calls []Step) []Fault {
	var faults []Fault
	for _, call := range calls {
		faults = append(faults, Fault{Call: call, Kind: FaultLost})
	}
	return faults
}

// faultUse counts how often a fault of a payout was had already.
type faultUse struct {
	payout string // session id, or metadata for create
	index  int
	fault  Fault
}

// chosenFault is the fault that one call has.
type chosenFault struct {
	Fault
	use         faultUse
	counts      bool // it is one of a behaviour, and is used up
	evenRefused bool // it also distorts a refusal
}

// faultOf chooses the fault of a call, nil for none: that of its payout's
// behaviour, else one by chance.
func (c *Core) faultOf(x *exchange) *chosenFault {
	if x.step == "" {
		return nil
	}
	for i, fault := range x.behaviour.Faults {
		if fault.Call != x.step || !x.within(fault) {
			continue
		}
		use := faultUse{payout: x.payoutKey(), index: i, fault: fault}
		if fault.Times == Always || c.faultsUsed[use] < max(fault.Times, 1) {
			return &chosenFault{Fault: fault, use: use, counts: fault.Times != Always}
		}
	}
	if fault, ok := c.chaosFault(x); ok {
		return &chosenFault{Fault: fault, evenRefused: true}
	}
	return nil
}

// within says whether the call falls into the time in which the fault exists.
func (x *exchange) within(fault Fault) bool {
	if fault.After == "" {
		return true
	}
	if x.session == nil {
		return false
	}
	since := x.session.firstAccepted[slices.Index(changingSteps, fault.After)]
	return !since.IsZero() && (fault.For == 0 || x.at.Before(since.Add(time.Duration(fault.For))))
}

func (x *exchange) payoutKey() string {
	if x.step == StepCreate || x.session == nil {
		return metadataKey(x.terms.metadata)
	}
	return x.session.id
}

func (c *Core) useUp(f *chosenFault) {
	if f.counts {
		c.faultsUsed[f.use]++
	}
}

// insteadOfWork answers a call that is not carried out, at least not now.
func (c *Core) insteadOfWork(x *exchange, f *chosenFault) Answer {
	c.useUp(f)
	x.fault = f.Kind
	answer, outcome, description := Answer{Lost: true}, outcomeNeverArrived, ""
	switch f.Kind {
	case FaultWorksLater:
		c.workLater(x, time.Duration(cmp.Or(f.Delay, defaultFaultDelay)))
		return answer
	case FaultHTTP429:
		answer, outcome = tooManyRequests(0), codeTooManyRequests
	case FaultHTTP429Wait:
		answer, outcome = tooManyRequests(time.Duration(cmp.Or(f.Delay, defaultRetryAfter))), codeTooManyRequests
	case FaultUnknownCode:
		refused := f.refusal()
		answer, outcome, description = refused.answer(http.StatusBadRequest), refused.code, refused.description
	case FaultRedirect:
		answer = page(http.StatusTemporaryRedirect, "Temporary Redirect")
		answer.Location, outcome = f.Target, outcomeRedirected
	}
	c.record(x, outcome, description, answer)
	return answer
}

// workLater carries the call out some time up to delay from now, when nobody waits for it any more.
func (c *Core) workLater(x *exchange, delay time.Duration) {
	s, call := x.session, x.call
	if s != nil {
		s.pending++
	}
	at := x.at.Add(1 + time.Duration(c.luckOf(x.metadataKey()).Int64N(int64(delay))))
	c.queue.add(at, func(at time.Time) {
		if s != nil {
			s.pending--
		}
		zombie := c.open(at, call)
		zombie.fault = FaultWorksLater
		answer, refused := c.work(zombie)
		answer.Lost = true
		c.recordResult(zombie, refused, answer)
	})
}

// distort makes of an answer what the fault leaves of it.
func (f *chosenFault) distort(answer Answer) Answer {
	switch f.Kind {
	case FaultLost:
		answer.Lost = true
	case FaultLate:
		answer.Delay = time.Duration(cmp.Or(f.Delay, defaultFaultDelay))
	case FaultCut:
		answer.Cut, answer.Body = true, answer.Body[:len(answer.Body)/2]
	case FaultHTML:
		return answer.replacedBy(page(http.StatusOK, "We will be back soon"))
	case FaultEmpty:
		answer.HTTPStatus, answer.Body = http.StatusOK, nil
	case FaultNoStatus:
		answer.Body = withoutStatus(answer.Body)
	case FaultHTTP500:
		refused := &refusal{code: codeInternal, description: "something went wrong"}
		return answer.replacedBy(refused.answer(http.StatusInternalServerError))
	case FaultHTTP502:
		return answer.replacedBy(page(http.StatusBadGateway, "Bad Gateway"))
	case FaultHTTP503:
		return answer.replacedBy(page(http.StatusServiceUnavailable, "Service Unavailable"))
	case FaultHTTP504:
		return answer.replacedBy(page(http.StatusGatewayTimeout, "Gateway Timeout"))
	case FaultUnknownWorked:
		return answer.replacedBy(f.refusal().answer(http.StatusBadRequest))
	case FaultHuge:
		answer.Body = padded(answer.Body)
	}
	return answer
}

func (f *chosenFault) refusal() *refusal {
	return &refusal{code: cmp.Or(f.Code, CodeNobodyKnows), description: "the request could not be processed"}
}

// replacedBy keeps of an answer only when it may be sent.
func (a Answer) replacedBy(other Answer) Answer {
	other.After = a.After
	return other
}

func tooManyRequests(retryAfter time.Duration) Answer {
	answer := page(http.StatusTooManyRequests, "Too Many Requests")
	answer.RetryAfter = retryAfter
	return answer
}

// page is what a proxy in front of Pike answers.
func page(httpStatus int, title string) Answer {
	return Answer{HTTPStatus: httpStatus, ContentType: "text/html; charset=utf-8",
		Body: []byte("<!DOCTYPE html>\n<html><head><title>" + title + "</title></head><body><h1>" + title + "</h1></body></html>\n")}
}

// withoutStatus takes away the first field, which is the status in every answer.
func withoutStatus(body []byte) []byte {
	_, rest, found := bytes.Cut(body, []byte(","))
	if !found {
		return []byte("{}")
	}
	return append([]byte{'{'}, rest...)
}

// padded puts a long field first, so that whoever wants the answer must read it all.
func padded(body []byte) []byte {
	out := make([]byte, 0, hugeBytes+len(body)+16)
	out = append(out, `{"padding":"`...)
	out = append(out, strings.Repeat(" ", hugeBytes)...)
	out = append(out, `",`...)
	return append(out, body[1:]...)
}
