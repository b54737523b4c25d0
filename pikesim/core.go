// Package pikesim simulates the payout provider Pike: strictly what api.md §3-§5
// says of it, so that a client which passes here has kept every documented rule.
// It shares no code with package pike, and is therefore a second opinion on it.
//
// Core is the provider itself: deterministic, without goroutines, HTTP or a
// clock of its own; it keeps a Ledger of every call and every money movement,
// by which tests judge. Server puts Core behind HTTP: headers, signatures,
// webhooks over the network.
//
// # Choosing what happens
//
// Each payout has a Behaviour: that of its metadata if the control endpoint set
// one, else that of its token if Token made it, else the default one.
//
//	POST /_sim/behaviour  {"metadata":"<payout id>","preset":"webhooks_late"}
//	                      {"default":true,"outcome":"declined_after_confirm","decline_with":"error",
//	                       "cancel":"refused","webhooks":"lost","second_confirm":"pay_again","status_lag":"60s",
//	                       "faults":[{"call":"start","kind":"http_502"},
//	                                 {"call":"confirm","kind":"works_later","delay":"2m","times":3}]}
//	                      "lost_answers":["start","confirm"] is short for faults of the kind lost
//	POST /_sim/modes      {"second_start":"add_payout","idempotency_keys":"off"}: Modes of the whole server, all at once
//	POST /_sim/chaos      {"seed":7,"faults":{"confirm":{"lost":0.3,"http_500":0.1}},"webhooks":{"lost":0.5}};
//	                      {} ends it
//	POST /_sim/webhook    {"session_id":"ps_1234","type":"payment_finished"}: once more, as the session is now
//	GET  /_sim/ledger     the Ledger; ?metadata=<payout id> for one payout
//	GET  /_sim/tallies    a Tally of every payout, by its metadata
//	GET  /_sim/sessions   a SessionSummary of every session
//
// What is set replaces what was set before. A call that says something unknown is
// refused with what there is.
//
// # Inventions
//
// The following is the simulator's own. Pike has nothing of it, or says nothing
// about it:
//   - Behaviour and its presets, the reserved tokens that choose one (Token),
//     and the control endpoint under /_sim/, which answers this machine only.
//   - Every duration in Timing but the confirm deadline, the growing webhook
//     gaps up to 15 minutes and the end of webhooks after 30 minutes.
//   - Every error is HTTP 400 (404 for an unknown method) unless Modes.ErrorHTTP
//     says otherwise. An idempotency key counts as used once a call that carried
//     it was accepted.
//   - confirm and cancel once only, and only while the session waits for them;
//     cancel also before start. Anything else is session_wrong_state, unless
//     Modes allow a second start or a second confirm.
//   - Payouts of one session share its states, and one confirm pays them all. A
//     payment that is made again (pay_again) shows in the Ledger only.
//   - An unknown session is invalid_request. The later of two amounts wins.
//   - A failed payout carries its error on the payout and on the session.
//     participant_details are shown as they came.
//   - The codes of declines, the shape of refunds[], the card in token/info.
//   - Whatever a Fault makes of an answer: the pages of proxies, the limit of
//     calls (HTTP 429) and its Retry-After, the code that nobody knows. That a call
//     for which the balance is too low is insufficient_wallet_balance, and leaves
//     the session as it was.
//   - Every Lie, every Echo that is not faithful, Chaos.
package pikesim

import (
	"cmp"
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// Options shape a Core. The zero value sends no webhooks and ignores idempotency keys.
type Options struct {
	// Timing is how long things take; zero fields have their defaults.
	Timing Timing
	// Webhooks makes the core produce deliveries; without it a partner can only poll.
	Webhooks bool
	// IdempotencyKeys makes the core refuse a key that it has seen (api.md §7).
	IdempotencyKeys bool
	// StartAlias also serves session/start, the path of Pike's samples (api.md §3.2).
	StartAlias bool
	// CallsPerSecond is the limit above which calls are answered with HTTP 429; zero means none.
	CallsPerSecond int
	// Rand is the source of ids, rrn and auth codes; nil means a fixed seed.
	Rand *rand.Rand
}

// Core is the simulated provider. It is driven from outside: Handle for calls,
// NextDue, Advance and Delivered for webhooks, each with the present time. Time
// that goes back counts as standing still. It is not safe for concurrent use.
type Core struct {
	options Options
	timing  Timing
	rand    *rand.Rand
	now     time.Time
	queue   queue
	lastID  int64

	sessions map[string]*session
	order    []*session // sessions as they were created

	presets  map[Preset]Behaviour
	assigned map[string]Behaviour // by metadata
	fallback Behaviour
	modes    Modes

	faultsUsed map[faultUse]int
	chaos      Chaos
	luck       map[string]*rand.Rand // by metadata
	second     time.Time             // in which calls were counted last
	calls      int                   // in it

	usedKeys map[string]bool
	lastSent DeliveryID
	outgoing []*delivery
	inFlight map[DeliveryID]*delivery
	ledger   Ledger
}

// Call is one call of a partner whose identity and signature were checked.
type Call struct {
	// Version is v1 or v2.
	Version string
	// Method is the path after the version: session/confirm.
	Method string
	// Body is the JSON exactly as it came.
	Body []byte
	// IdempotencyKey is the value of the header, "" without one.
	IdempotencyKey string
}

// Answer is what the partner gets. Who drives a Core without HTTP must heed Lost,
// Cut, Delay and After as the HTTP layer does.
type Answer struct {
	// HTTPStatus and Body are also set where the partner gets nothing of them; the
	// status is 0 if Pike did not answer at all.
	HTTPStatus int
	// Body is JSON unless ContentType says otherwise. It may echo card data: never log it.
	Body        []byte
	ContentType string
	// Lost: the connection must close without an answer. Whether the work was done, the Ledger knows.
	Lost bool
	// Cut: Body is the beginning of the answer, and the connection must close after it.
	Cut bool
	// Delay is how much later than now the answer must be sent.
	Delay time.Duration
	// RetryAfter, if not zero, is what the header says.
	RetryAfter time.Duration
	// Location, if not empty, is what the header says.
	Location string
	// After, if not zero, is a delivery that must have been attempted before the answer is sent.
	After DeliveryID
}

// NewCore returns a provider without sessions.
func NewCore(options Options) *Core {
	random := options.Rand
	if random == nil {
		random = rand.New(rand.NewPCG(1, 1))
	}
	core := &Core{
		options: options, timing: options.Timing.WithDefaults(), rand: random, lastID: 100_000 + random.Int64N(900_000_000),
		sessions: map[string]*session{}, presets: map[Preset]Behaviour{}, assigned: map[string]Behaviour{},
		faultsUsed: map[faultUse]int{}, luck: map[string]*rand.Rand{}, usedKeys: map[string]bool{}, inFlight: map[DeliveryID]*delivery{},
	}
	for _, preset := range Presets() {
		core.presets[preset.Name] = preset.Behaviour
	}
	core.fallback = core.presets[PresetConfirmed]
	return core
}

// exchange is one call while it is being carried out.
type exchange struct {
	at   time.Time
	call Call
	// handler is nil for a call that nothing serves.
	handler func(*exchange) *refusal
	step    Step // "" for a call that is about no session, or that nothing serves
	body    object
	badBody *refusal
	// terms are those of a create, or of a start: its own over those of create.
	terms    terms
	badTerms *refusal
	session  *session // the session it is about, once known
	// behaviour is that of the payout it is about, or would be if the call were accepted.
	behaviour Behaviour
	fault     FaultKind
	faithful  bool  // the answer shows the order as it was given
	result    field // what an ok answer holds besides its status
	after     DeliveryID
}

// Handle carries out a call and answers it.
func (c *Core) Handle(now time.Time, call Call) Answer {
	at := c.catchUp(now)
	if wait := c.limit(at); wait > 0 {
		x, answer := c.open(at, call), tooManyRequests(wait)
		c.record(x, codeTooManyRequests, "", answer)
		return answer
	}
	x := c.open(at, call)
	fault := c.faultOf(x)
	if fault != nil && fault.Kind.beforeWork() {
		return c.insteadOfWork(x, fault)
	}
	answer, refused := c.work(x)
	if fault != nil && (refused == nil || fault.evenRefused) {
		c.useUp(fault)
		x.fault = fault.Kind
		answer = fault.distort(answer)
	}
	c.recordResult(x, refused, answer)
	return answer
}

// limit counts a call; above zero it is one too many, and the time to wait.
func (c *Core) limit(at time.Time) time.Duration {
	if c.options.CallsPerSecond <= 0 {
		return 0
	}
	if !at.Before(c.second.Add(time.Second)) {
		c.second, c.calls = at, 0
	}
	c.calls++
	if c.calls <= c.options.CallsPerSecond {
		return 0
	}
	return c.second.Add(time.Second).Sub(at)
}

// Refuse answers a call that cannot be handed to Handle, such as one without a
// valid signature, and records it.
func (c *Core) Refuse(now time.Time, call Call, code, description string) Answer {
	x := &exchange{at: c.catchUp(now), call: call}
	refused := &refusal{code: code, description: description}
	answer := c.refuse(x, refused)
	c.recordResult(x, refused, answer)
	return answer
}

func (c *Core) refuse(x *exchange, refused *refusal) Answer {
	mode := x.behaviour.Modes.over(c.modes).ErrorHTTP
	return refused.answer(cmp.Or(refused.httpStatus, mode, http.StatusBadRequest))
}

// open reads a call as far as it can be read, and finds what it is about.
func (c *Core) open(at time.Time, call Call) *exchange {
	x := &exchange{at: at, call: call, behaviour: c.fallback}
	if x.handler = c.handlerOf(call); x.handler == nil {
		return x
	}
	x.step = stepOf(call.Method)
	if x.body, x.badBody = parseBody(call.Body); x.badBody != nil || x.step == "" {
		return x
	}
	var own terms
	if x.step == StepCreate || x.step == StepStart {
		own, x.badTerms = x.body.terms(call.Version)
	}
	if x.step == StepCreate {
		x.terms, x.behaviour = own, c.behaviourOf(own.metadata, own.destination)
		return x
	}
	id, _ := x.body.text("session_id") // a bad one is refused in its turn
	s, known := c.sessions[id]
	if !known {
		return x
	}
	x.session, x.behaviour, x.terms = s, s.behaviour, s.terms.replacedBy(own)
	if x.step == StepStart && len(s.payouts) == 0 {
		x.behaviour = c.behaviourOf(x.terms.metadata, x.terms.destination)
	}
	return x
}

// metadataKey names the payout that the call is about.
func (x *exchange) metadataKey() string { return metadataKey(x.terms.metadata) }

// work carries out a call, unless it must be refused.
func (c *Core) work(x *exchange) (Answer, *refusal) {
	if refused := c.carryOut(x); refused != nil {
		return c.refuse(x, refused), refused
	}
	return Answer{HTTPStatus: http.StatusOK, Body: okBody(x.result), After: x.after}, nil
}

func (c *Core) carryOut(x *exchange) *refusal {
	if x.handler == nil {
		return &refusal{code: codeInvalidRequest, description: "unknown method", httpStatus: http.StatusNotFound}
	}
	keyed := x.call.IdempotencyKey != "" && slices.Contains(changingSteps, x.step) && c.keysCount(x.behaviour)
	if keyed && c.usedKeys[x.call.IdempotencyKey] {
		return &refusal{code: codeIdempotencyKeyExists, description: "a request with this key is in progress or processed"}
	}
	if x.badBody != nil {
		return x.badBody
	}
	if refused := x.handler(x); refused != nil {
		return refused
	}
	if keyed {
		c.usedKeys[x.call.IdempotencyKey] = true
	}
	return nil
}

// handlerOf finds the method, nil if there is none.
func (c *Core) handlerOf(call Call) func(*exchange) *refusal {
	if call.Version != v1 && call.Version != v2 {
		return nil
	}
	switch call.Method {
	case "session/create":
		return c.create
	case "session/start/payout":
		return c.start
	case "session/start":
		if c.options.StartAlias {
			return c.start
		}
	case "session/confirm":
		return c.confirm
	case "session/cancel":
		return c.cancel
	case "session/status":
		return c.status
	case "token/info":
		if call.Version == v1 {
			return c.tokenInfo
		}
	}
	return nil
}

// SetBehaviour chooses the behaviour of payouts with this metadata (the partner's
// own payout id) that are not started yet. It outranks a reserved token.
func (c *Core) SetBehaviour(metadata string, behaviour Behaviour) error {
	if err := behaviour.validate(); err != nil {
		return err
	}
	c.assigned[metadata] = behaviour
	return nil
}

// SetDefault chooses the behaviour of payouts to come that have neither their own nor a reserved token.
func (c *Core) SetDefault(behaviour Behaviour) error {
	if err := behaviour.validate(); err != nil {
		return err
	}
	c.fallback = behaviour
	return nil
}

func (c *Core) behaviourOf(metadata json.RawMessage, destination *destination) Behaviour {
	if behaviour, ok := c.assigned[metadataKey(metadata)]; ok && metadata != nil {
		return behaviour
	}
	if destination != nil {
		if behaviour, ok := c.presets[presetOf(destination.value)]; ok {
			return behaviour
		}
	}
	return c.fallback
}

// NextDue is the time at which the core next has something to do by itself;
// false if never.
func (c *Core) NextDue() (time.Time, bool) {
	if len(c.outgoing) > 0 {
		return c.now, true
	}
	return c.queue.next()
}

// Advance lets time pass and returns the webhook attempts that are due, in
// order. Each must be answered by one call of Delivered.
func (c *Core) Advance(now time.Time) []Delivery {
	c.catchUp(now)
	due := make([]Delivery, 0, len(c.outgoing))
	for _, d := range c.outgoing {
		c.inFlight[d.ID] = d
		due = append(due, d.Delivery)
	}
	c.outgoing = nil
	return due
}

// catchUp does everything that is due by now, each thing at its own time, and
// returns the core's time.
func (c *Core) catchUp(now time.Time) time.Time {
	if now.After(c.now) {
		c.now = now
	}
	for {
		due, ok := c.queue.popUntil(c.now)
		if !ok {
			return c.now
		}
		due.step(due.at)
	}
}

// newID returns an id that looks like Pike's: prefix and digits, rising with gaps.
func (c *Core) newID(prefix string) string {
	c.lastID += 1 + c.rand.Int64N(9)
	return prefix + strconv.FormatInt(c.lastID, 10)
}

// digits returns n random digits.
func (c *Core) digits(n int) string {
	text := make([]byte, n)
	for i := range text {
		text[i] = '0' + byte(c.rand.IntN(10))
	}
	return string(text)
}
