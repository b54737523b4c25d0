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
//	                       "cancel":"refused","webhooks":"lost","lost_answers":["start","confirm"]}
//	POST /_sim/webhook    {"session_id":"ps_1234","type":"payment_finished"}: once more, as the session is now
//	GET  /_sim/ledger     the Ledger; ?metadata=<payout id> for one payout
//	GET  /_sim/sessions   a SessionSummary of every session
//
// # Inventions
//
// The following is the simulator's own. Pike has nothing of it, or says nothing
// about it:
//   - Behaviour and its presets, the reserved tokens that choose one (Token),
//     and the control endpoint under /_sim/, which answers this machine only.
//   - Every duration in Timing but the confirm deadline, the growing webhook
//     gaps up to 15 minutes and the end of webhooks after 30 minutes.
//   - Every error is HTTP 400 (404 for an unknown method). An idempotency key
//     counts as used once a call that carried it was accepted.
//   - confirm and cancel once only, and only while the session waits for them;
//     cancel also before start. Anything else is session_wrong_state.
//   - An unknown session is invalid_request. The later of two amounts wins.
//   - A failed payout carries its error on the payout and on the session.
//   - The codes of declines, the shape of refunds[], the card in token/info.
package pikesim

import (
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
	lost     map[string]bool // answers that were lost already
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

// Answer is what the partner gets.
type Answer struct {
	HTTPStatus int
	// Body is JSON. It may echo card data: never log it.
	Body []byte
	// Lost: the work is done, but the connection must close without an answer.
	Lost bool
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
		options: options, timing: options.Timing.WithDefaults(), rand: random, lastID: 1000 + random.Int64N(9000),
		sessions: map[string]*session{}, presets: map[Preset]Behaviour{}, assigned: map[string]Behaviour{},
		lost: map[string]bool{}, usedKeys: map[string]bool{}, inFlight: map[DeliveryID]*delivery{},
	}
	for _, preset := range Presets() {
		core.presets[preset.Name] = preset.Behaviour
	}
	core.fallback = core.presets[PresetConfirmed]
	return core
}

// exchange is one call while it is being carried out.
type exchange struct {
	at      time.Time
	call    Call
	body    object
	session *session // the session it is about, once known
	result  field    // what an ok answer holds besides its status
	after   DeliveryID
}

// Handle carries out a call and answers it.
func (c *Core) Handle(now time.Time, call Call) Answer {
	x := &exchange{at: c.catchUp(now), call: call}
	if refused := c.carryOut(x); refused != nil {
		return c.refuse(x, refused)
	}
	answer := Answer{HTTPStatus: http.StatusOK, Body: okBody(x.result), Lost: c.losesAnswer(x), After: x.after}
	c.record(x, outcomeOK, "", answer)
	return answer
}

// Refuse answers a call that cannot be handed to Handle, such as one without a
// valid signature, and records it.
func (c *Core) Refuse(now time.Time, call Call, code, description string) Answer {
	x := &exchange{at: c.catchUp(now), call: call}
	return c.refuse(x, &refusal{code: code, description: description})
}

func (c *Core) refuse(x *exchange, refused *refusal) Answer {
	answer := Answer{HTTPStatus: refused.httpStatus, Body: errorBody(refused)}
	if answer.HTTPStatus == 0 {
		answer.HTTPStatus = http.StatusBadRequest
	}
	c.record(x, refused.code, refused.description, answer)
	return answer
}

func (c *Core) carryOut(x *exchange) *refusal {
	handler, changes := c.handlerOf(x.call)
	keyed := changes && c.options.IdempotencyKeys && x.call.IdempotencyKey != ""
	if handler == nil {
		return &refusal{code: codeInvalidRequest, description: "unknown method", httpStatus: http.StatusNotFound}
	}
	if keyed && c.usedKeys[x.call.IdempotencyKey] {
		return &refusal{code: codeIdempotencyKeyExists, description: "a request with this key is in progress or processed"}
	}
	body, refused := parseBody(x.call.Body)
	if refused != nil {
		return refused
	}
	x.body = body
	if refused := handler(x); refused != nil {
		return refused
	}
	if keyed {
		c.usedKeys[x.call.IdempotencyKey] = true
	}
	return nil
}

// handlerOf finds the method; changes says that it is one that idempotency keys protect.
func (c *Core) handlerOf(call Call) (handler func(*exchange) *refusal, changes bool) {
	if call.Version != v1 && call.Version != v2 {
		return nil, false
	}
	switch call.Method {
	case "session/create":
		return c.create, true
	case "session/start/payout":
		return c.start, true
	case "session/start":
		if c.options.StartAlias {
			return c.start, true
		}
	case "session/confirm":
		return c.confirm, true
	case "session/cancel":
		return c.cancel, true
	case "session/status":
		return c.status, false
	case "token/info":
		if call.Version == v1 {
			return c.tokenInfo, false
		}
	}
	return nil, false
}

// losesAnswer says whether the behaviour takes this answer away, which it does
// once: per payout for create, as every create makes a new session, and per
// session for the others.
func (c *Core) losesAnswer(x *exchange) bool {
	step, isStep := stepOf(x.call.Method)
	if !isStep || x.session == nil || !slices.Contains(x.session.behaviour.LostAnswers, step) {
		return false
	}
	key := string(step) + " " + x.session.id
	if step == StepCreate {
		key = string(step) + " " + metadataKey(x.session.terms.metadata)
	}
	first := !c.lost[key]
	c.lost[key] = true
	return first
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
