package pikesim

import (
	"cmp"
	"context"
	"crypto"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"
)

// Headers of calls and webhooks (api.md §1), spelled here once more on purpose.
const (
	headerProject        = "X-PARTNER-PROJECT"
	headerSign           = "X-PARTNER-SIGN"
	headerIdempotencyKey = "X-PARTNER-IDEMPOTENCY-KEY"
)

const (
	maxBodyBytes = 1 << 20
	minKeyBits   = 2048
)

// Config is what a Server needs.
type Config struct {
	// PartnerKeys are the public keys of the partner; any of them may have signed a call.
	PartnerKeys []*rsa.PublicKey
	// SigningKey is Pike's RSA key, which signs webhooks. Needed with WebhookURL only.
	SigningKey crypto.Signer
	// Project is the one project id that is known.
	Project string
	// WebhookURL is where webhooks go; empty means that none are sent.
	WebhookURL string
	// Timing is how long things take; zero fields have their defaults.
	Timing Timing
	// Scale multiplies every duration of Timing: 0.1 is ten times as fast. Zero means 1.
	Scale float64
	// IdempotencyKeys makes a repeated idempotency key an error.
	IdempotencyKeys bool
	// StartAlias also serves session/start, the path of Pike's samples.
	StartAlias bool
	// CallsPerSecond is the limit above which calls are answered with HTTP 429; zero means none.
	CallsPerSecond int
	// Modes are those of the whole server; POST /_sim/modes changes them.
	Modes Modes
	// Chaos are faults by chance; POST /_sim/chaos changes them. Without a seed it has Seed.
	Chaos Chaos
	// Seed determines ids; equal seeds and calls give equal sessions.
	Seed uint64
	// Logger gets one line per call and webhook attempt, without bodies. Nil means none.
	Logger *slog.Logger
}

func (c Config) validate() error {
	problems := []error{c.Timing.validate()}
	if len(c.PartnerKeys) == 0 {
		problems = append(problems, errors.New("PartnerKeys: at least one public key is needed"))
	}
	for i, key := range c.PartnerKeys {
		if key == nil || key.N == nil || key.N.BitLen() < minKeyBits {
			problems = append(problems, fmt.Errorf("PartnerKeys[%d] must be an RSA key of at least %d bits", i, minKeyBits))
		}
	}
	if c.Project == "" {
		problems = append(problems, errors.New("Project is required"))
	}
	if c.CallsPerSecond < 0 {
		problems = append(problems, errors.New("CallsPerSecond must not be negative"))
	}
	if err := c.Modes.validate(); err != nil {
		problems = append(problems, fmt.Errorf("Modes: %w", err))
	}
	if err := c.Chaos.validate(); err != nil {
		problems = append(problems, fmt.Errorf("Chaos: %w", err))
	}
	if c.Scale < 0 {
		problems = append(problems, errors.New("Scale must not be negative"))
	}
	if c.WebhookURL != "" {
		problems = append(problems, c.validateWebhooks())
	}
	return errors.Join(problems...)
}

func (c Config) validateWebhooks() error {
	target, err := url.Parse(c.WebhookURL)
	if err != nil || target.Host == "" || target.Scheme != "http" && target.Scheme != "https" {
		return errors.New("WebhookURL must be an absolute http or https URL")
	}
	return checkSigningKey(c.SigningKey)
}

func checkSigningKey(key crypto.Signer) error {
	if key == nil {
		return errors.New("SigningKey is required to send webhooks")
	}
	if _, isRSA := key.Public().(*rsa.PublicKey); !isRSA {
		return fmt.Errorf("SigningKey must be an RSA key, not %T", key.Public())
	}
	return nil
}

// seeded gives a Chaos without a seed that of the server.
func (c Config) seeded(chaos Chaos) Chaos {
	chaos.Seed = cmp.Or(chaos.Seed, c.Seed)
	return chaos
}

// Server is a Core behind HTTP and in real time. It is safe for concurrent use.
type Server struct {
	config Config
	timing Timing
	log    *slog.Logger
	client *http.Client
	wake   chan struct{} // tells Run that something new may be due

	mu         sync.Mutex // guards what follows
	core       *Core
	signingKey crypto.Signer
	attempted  map[DeliveryID]chan struct{} // closed after the first attempt; only what a call waits for
}

// New checks the configuration. The server sends webhooks only while Run runs.
func New(config Config) (*Server, error) {
	if err := config.validate(); err != nil {
		return nil, fmt.Errorf("pikesim: %w", err)
	}
	if config.Scale == 0 {
		config.Scale = 1
	}
	log := config.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	timing := config.Timing.Scaled(config.Scale)
	core := NewCore(Options{
		Timing: timing, Webhooks: config.WebhookURL != "", IdempotencyKeys: config.IdempotencyKeys,
		StartAlias: config.StartAlias, CallsPerSecond: config.CallsPerSecond, Rand: rand.New(rand.NewPCG(config.Seed, config.Seed)),
	})
	if err := errors.Join(core.SetModes(config.Modes), core.SetChaos(config.seeded(config.Chaos))); err != nil {
		return nil, fmt.Errorf("pikesim: %w", err)
	}
	return &Server{
		config: config, signingKey: config.SigningKey, timing: timing, log: log, client: newWebhookClient(timing.ReceiveTimeout),
		wake: make(chan struct{}, 1), core: core, attempted: map[DeliveryID]chan struct{}{},
	}, nil
}

// Ledger returns what happened so far.
func (s *Server) Ledger() Ledger {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.core.catchUp(time.Now())
	return s.core.Ledger()
}

// SwitchSigningKey signs webhooks with another RSA key from now on, as a provider
// does that replaces its key.
func (s *Server) SwitchSigningKey(key crypto.Signer) error {
	if err := checkSigningKey(key); err != nil {
		return fmt.Errorf("pikesim: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.signingKey = key
	return nil
}

// Handler serves Pike's API under /api/ and the control endpoint under /_sim/.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /api/{version}/{method...}", s.serveCall)
	mux.HandleFunc("POST /_sim/behaviour", loopbackOnly(s.serveBehaviour))
	mux.HandleFunc("POST /_sim/modes", loopbackOnly(s.serveModes))
	mux.HandleFunc("POST /_sim/chaos", loopbackOnly(s.serveChaos))
	mux.HandleFunc("POST /_sim/webhook", loopbackOnly(s.serveWebhook))
	mux.HandleFunc("GET /_sim/ledger", loopbackOnly(s.serveLedger))
	mux.HandleFunc("GET /_sim/tallies", loopbackOnly(s.serveTallies))
	mux.HandleFunc("GET /_sim/sessions", loopbackOnly(s.serveSessions))
	return mux
}

func (s *Server) serveCall(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBodyBytes))
	call := Call{
		Version: r.PathValue("version"), Method: r.PathValue("method"), Body: body,
		IdempotencyKey: r.Header.Get(headerIdempotencyKey),
	}
	refused := s.identify(r.Header, body)
	if err != nil {
		refused = invalid("the body cannot be read or is larger than %d bytes", maxBodyBytes)
	}
	answer, attempted := s.handle(call, refused)
	s.log.Debug("call", "version", call.Version, "method", call.Method, "status", answer.HTTPStatus, "lost", answer.Lost, "delay", answer.Delay)
	if attempted != nil {
		s.await(r.Context(), attempted)
	}
	if !sleep(r.Context(), answer.Delay) || answer.Lost {
		closeConnection(w)
		return
	}
	writeAnswer(w, answer)
}

// identify checks headers and signature (api.md §1, §2).
func (s *Server) identify(header http.Header, body []byte) *refusal {
	project, signatures := header.Values(headerProject), header.Values(headerSign)
	if len(project) != 1 || project[0] != s.config.Project {
		return &refusal{code: codeIdentification, description: headerProject + " is missing or unknown"}
	}
	if len(signatures) == 0 {
		return &refusal{code: codeIdentification, description: headerSign + " is missing"}
	}
	if len(signatures) > 1 || !verify(s.config.PartnerKeys, body, signatures[0]) {
		return &refusal{code: codeAuthentication, description: "the signature does not match the body"}
	}
	mediaType, _, err := mime.ParseMediaType(header.Get("Content-Type"))
	if err != nil || mediaType != "application/json" {
		return invalid("Content-Type must be application/json")
	}
	return nil
}

// handle lets the core answer; the channel, if any, is what must be awaited before the answer is sent.
func (s *Server) handle(call Call, refused *refusal) (Answer, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.wakeRun()
	if refused != nil {
		return s.core.Refuse(time.Now(), call, refused.code, refused.description), nil
	}
	answer := s.core.Handle(time.Now(), call)
	if answer.After == 0 {
		return answer, nil
	}
	attempted := make(chan struct{})
	s.attempted[answer.After] = attempted
	return answer, attempted
}

// await is bounded: without Run no webhook is ever attempted.
func (s *Server) await(ctx context.Context, attempted <-chan struct{}) {
	ctx, cancel := context.WithTimeout(ctx, s.timing.ReceiveTimeout)
	defer cancel()
	select {
	case <-attempted:
	case <-ctx.Done():
	}
}

func (s *Server) wakeRun() {
	select {
	case s.wake <- struct{}{}:
	default: // it is already told
	}
}

// sleep returns false if ctx ended before.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func writeAnswer(w http.ResponseWriter, answer Answer) {
	if answer.RetryAfter > 0 {
		seconds := (answer.RetryAfter + time.Second - 1) / time.Second
		w.Header().Set("Retry-After", strconv.FormatInt(int64(seconds), 10))
	}
	if answer.Location != "" {
		w.Header().Set("Location", answer.Location)
	}
	if answer.Cut {
		w.Header().Set("Content-Length", strconv.Itoa(2*len(answer.Body)+1))
	}
	w.Header().Set("Content-Type", cmp.Or(answer.ContentType, "application/json"))
	w.WriteHeader(answer.HTTPStatus)
	_, _ = w.Write(answer.Body)
	if answer.Cut {
		_ = http.NewResponseController(w).Flush()
		closeConnection(w)
	}
}

func closeConnection(w http.ResponseWriter) {
	connection, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler) // net/http closes the connection
	}
	_ = connection.Close()
}

func writeJSON(w http.ResponseWriter, httpStatus int, body []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(httpStatus)
	_, _ = w.Write(body)
}
