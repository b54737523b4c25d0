// Package webhookgw takes Pike's webhooks in: it proves that one is genuine,
// finds the payout it speaks of, signals that payout's workflow and only then
// answers 200 (design §3.5). What no payout can take is kept as a late event
// before the 200 (design §3.4). Nothing it hands over is trusted with money:
// the workflows read session/status themselves.
package webhookgw

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"pikepayouts/payout"
	"pikepayouts/pike"
)

// Defaults of Config.
const (
	DefaultPath          = "/webhooks/pike"
	DefaultMaxBody       = 64 << 10
	DefaultSignalTimeout = 4 * time.Second
	DefaultMaxConcurrent = 256
)

// Temporal takes events in. Both methods return nil only when the event is
// durable (hazard W12), and make repeats of one event, by its ID, a single one.
// Errors are those of the Temporal client.
type Temporal interface {
	// Signal hands the event to the payout's workflow.
	Signal(ctx context.Context, payoutID string, event payout.Event) error
	// Keep starts the LateEventWorkflow of the event.
	Keep(ctx context.Context, event payout.LateEvent) error
}

// Config is what a gateway needs. A zero number or path means its default.
type Config struct {
	// Path is where Pike posts: fixed text, no wildcards.
	Path string
	// MaxBody is the largest body accepted, in bytes (hazard W6).
	MaxBody int64
	// SignalTimeout bounds the hand-off to Temporal (hazard W14).
	SignalTimeout time.Duration
	// MaxConcurrent bounds how many webhooks are verified and handed over at
	// once; one more is answered 503 (hazard W22). A request that is still
	// sending its body does not count, so that slow clients cannot use it up.
	MaxConcurrent int
	// Verifier is required: there is no gateway without the signature check (hazard W2).
	Verifier *pike.Verifier
	// Temporal is required.
	Temporal Temporal
	// Registerer takes the gateway's metrics. Required.
	Registerer prometheus.Registerer
	// Logger is required. It never gets a body, a header or a signature.
	Logger *slog.Logger
	// Tracer makes a span of each genuine webhook; none are made if nil.
	Tracer trace.Tracer
	// Now stamps events, time.Now if nil.
	Now func() time.Time
}

// New returns the gateway's handler: one route, everything else is 404 or 405.
// It sets Gin's process-wide mode to release, because debug mode prints routes
// and requests (hazard W18).
func New(config Config) (http.Handler, error) {
	config = config.withDefaults()
	if err := config.validate(); err != nil {
		return nil, fmt.Errorf("webhook gateway: %w", err)
	}
	g, err := newGateway(config)
	if err != nil {
		return nil, fmt.Errorf("webhook gateway: %w", err)
	}
	return g.engine(config.Path)
}

func (c Config) withDefaults() Config {
	if c.Path == "" {
		c.Path = DefaultPath
	}
	if c.MaxBody == 0 {
		c.MaxBody = DefaultMaxBody
	}
	if c.SignalTimeout == 0 {
		c.SignalTimeout = DefaultSignalTimeout
	}
	if c.MaxConcurrent == 0 {
		c.MaxConcurrent = DefaultMaxConcurrent
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Tracer == nil {
		c.Tracer = noop.NewTracerProvider().Tracer("")
	}
	return c
}

func (c Config) validate() error {
	var problems []error
	if !strings.HasPrefix(c.Path, "/") || strings.ContainsAny(c.Path, `:*?#%\ `) {
		problems = append(problems, errors.New("the path must begin with / and be plain text"))
	}
	if c.MaxBody < 0 || c.SignalTimeout < 0 || c.MaxConcurrent < 0 {
		problems = append(problems, errors.New("body limit, signal timeout and concurrency must be positive"))
	}
	if c.Verifier == nil {
		problems = append(problems, errors.New("a verifier with Pike's public keys is required"))
	}
	if c.Temporal == nil || c.Registerer == nil || c.Logger == nil {
		problems = append(problems, errors.New("Temporal, registerer and logger are required"))
	}
	return errors.Join(problems...)
}

type gateway struct {
	maxBody       int64
	signalTimeout time.Duration
	slots         chan struct{}
	verifier      *pike.Verifier
	temporal      Temporal
	metrics       metrics
	log           *slog.Logger
	tracer        trace.Tracer
	now           func() time.Time
}

func newGateway(config Config) (*gateway, error) {
	metrics, err := newMetrics(config.Registerer)
	if err != nil {
		return nil, err
	}
	return &gateway{
		maxBody: config.MaxBody, signalTimeout: config.SignalTimeout, slots: make(chan struct{}, config.MaxConcurrent),
		verifier: config.Verifier, temporal: config.Temporal, metrics: metrics, log: config.Logger,
		tracer: config.Tracer, now: config.Now,
	}, nil
}

func (g *gateway) engine(path string) (*gin.Engine, error) {
	gin.SetMode(gin.ReleaseMode)
	engine := gin.New()
	engine.HandleMethodNotAllowed = true
	engine.RedirectTrailingSlash, engine.RedirectFixedPath = false, false
	// The signature is the only authentication: no header may name a client (hazard W17).
	engine.ForwardedByClientIP = false
	if err := engine.SetTrustedProxies(nil); err != nil {
		return nil, fmt.Errorf("trusting no proxies: %w", err)
	}
	engine.Use(g.recoverPanic)
	engine.POST(path, func(c *gin.Context) { g.finish(c, g.receive(c.Writer, c.Request)) })
	return engine, nil
}

// outcome is what became of one request. Ids and type are empty until known.
type outcome struct {
	answer    Answer
	kind      pike.WebhookType
	sessionID string
	payoutID  string
	// workflowID is of the workflow that has the webhook, or would have it if Temporal had taken it.
	workflowID string
	err        error // from Temporal; nothing else is safe to log
	// span is the webhook's own, invalid while traces are off or the webhook is not known to be genuine.
	span trace.SpanContext
}

// receive goes the steps of design §3.5 and stops at the first that fails.
func (g *gateway) receive(w http.ResponseWriter, r *http.Request) outcome {
	begin := time.Now()
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, g.maxBody))
	if err != nil {
		return outcome{answer: unreadBody(err)}
	}
	select {
	case g.slots <- struct{}{}:
		defer func() { <-g.slots }()
	default:
		return outcome{answer: AnswerOverload}
	}
	verified, err := g.verifier.Verify(body, r.Header.Values(pike.HeaderSign))
	if err != nil {
		return outcome{answer: AnswerBadSignature}
	}
	// A client that hangs up must not undo the hand-off (hazard W16).
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), g.signalTimeout)
	defer cancel()
	return g.traced(ctx, begin, func(ctx context.Context) outcome { return g.take(ctx, verified) })
}

// take hands over what is genuine.
func (g *gateway) take(ctx context.Context, verified pike.VerifiedBody) outcome {
	webhook, err := pike.ParseWebhook(verified) // the error may quote the body, and is dropped
	if err != nil {
		return g.keep(ctx, unparsed(verified, g.now()), AnswerUnparsable)
	}
	return g.handOff(ctx, webhook)
}

func unreadBody(err error) Answer {
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return AnswerTooLarge
	}
	return AnswerUnreadable
}

// handOff brings a genuine webhook to its payout.
func (g *gateway) handOff(ctx context.Context, webhook pike.Webhook) outcome {
	refunded := webhook.Type == pike.WebhookPaymentRefunded
	if !signalled(webhook.Type) && !refunded {
		return outcome{answer: AnswerTypeIgnored, kind: webhook.Type, sessionID: webhook.Session.ID}
	}
	if onlyIncoming(webhook.Session) {
		return outcome{answer: AnswerIncomingOnly, kind: webhook.Type, sessionID: webhook.Session.ID}
	}
	payoutID, found := payoutIDOf(webhook.Session)
	late := payout.LateEvent{PayoutID: payoutID, Event: eventOf(webhook, g.now())}
	switch {
	case !found:
		late.Reason = payout.LateUncorrelated
		return g.keep(ctx, late, AnswerUncorrelated)
	case refunded:
		late.Reason = payout.LateRefunded
		return g.keep(ctx, late, AnswerRefunded)
	}
	err := g.temporal.Signal(ctx, payoutID, late.Event)
	answer := answerTo(err)
	switch answer {
	case AnswerNoOpenPayout:
		late.Reason = payout.LateNoOpenPayout
		return g.keep(ctx, late, answer)
	case AnswerPoison:
		late.Reason = payout.LatePoison
		return g.keep(ctx, late, answer)
	}
	return outcomeOf(late, answer, payout.WorkflowID(payoutID), err)
}

// keep gives the answer once the late event is durable.
func (g *gateway) keep(ctx context.Context, late payout.LateEvent, answer Answer) outcome {
	err := g.temporal.Keep(ctx, late)
	if err != nil {
		answer = answerToKeep(err)
	}
	return outcomeOf(late, answer, payout.LateEventWorkflowID(late.Event), err)
}

func outcomeOf(late payout.LateEvent, answer Answer, workflowID string, err error) outcome {
	result := outcome{answer: answer, workflowID: workflowID, err: err}
	if late.Reason != payout.LateUnparsable { // else its type is only a guess
		result.kind, result.sessionID, result.payoutID = pike.WebhookType(late.Event.Type), late.Event.SessionID, late.PayoutID
	}
	return result
}

// finish counts, logs and answers.
func (g *gateway) finish(c *gin.Context, result outcome) {
	g.metrics.count(result.kind, result.answer)
	g.logOutcome(c.Request.Context(), result)
	reply := result.answer.reply()
	if reply.retryAfter {
		c.Header("Retry-After", retryAfterSeconds)
	}
	if reply.hangUp {
		c.Header("Connection", "close")
	}
	c.String(reply.status, "%s", reply.body)
}

func (g *gateway) logOutcome(ctx context.Context, result outcome) {
	attributes := []slog.Attr{slog.String("answer", string(result.answer))}
	if result.kind != "" {
		attributes = append(attributes, slog.String("type", fmt.Sprintf("%.64s", result.kind)), slog.String("session_id", result.sessionID))
	}
	if result.payoutID != "" {
		attributes = append(attributes, slog.String("payout_id", result.payoutID))
	}
	if result.workflowID != "" {
		attributes = append(attributes, slog.String("workflow_id", result.workflowID))
	}
	if result.span.IsValid() {
		attributes = append(attributes, slog.String("trace_id", result.span.TraceID().String()), slog.String("span_id", result.span.SpanID().String()))
	}
	if result.err != nil {
		attributes = append(attributes, slog.String("error", result.err.Error()))
	}
	g.log.LogAttrs(ctx, result.answer.level(), "webhook", attributes...)
}
