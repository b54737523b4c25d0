// Package pike speaks to the payout provider Pike: signed calls, webhooks, and
// what each answer does and does not prove. It knows nothing of Temporal.
package pike

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"pikepayouts/strictjson"
)

// Version is the naming of Pike's API that a Client sends. Either is read.
type Version string

// The versions that exist (api.md §1: they differ in names only).
const (
	V1 Version = "v1"
	V2 Version = "v2"
)

// Headers of Pike's calls and webhooks.
const (
	HeaderProject     = "X-PARTNER-PROJECT"
	HeaderSign        = "X-PARTNER-SIGN"
	HeaderSubmerchant = "X-PARTNER-SUBMERCHANT"
	// HeaderIdempotencyKey must not be renamed to Idempotency-Key: net/http
	// silently resends a POST that carries that name (hazard A9).
	HeaderIdempotencyKey = "X-PARTNER-IDEMPOTENCY-KEY"
)

const (
	// MaxTimeout is the longest that one HTTP call may take: the deadlines of
	// the workflow are built on it (design §3.6).
	MaxTimeout = 30 * time.Second

	maxResponseBytes = 1 << 20 // hazard T12
)

// Config is what a Client needs.
type Config struct {
	// BaseURL is Pike's server without a path, https unless it is this machine.
	BaseURL string
	// Version is the naming to send, V1 if empty.
	Version Version
	// Project and Submerchant are sent as headers; Submerchant is optional.
	Project, Submerchant string
	// Signer is the partner's RSA key: in memory, or a KMS or HSM behind crypto.Signer.
	Signer crypto.Signer
	// Timeout bounds one HTTP call, MaxTimeout if zero.
	Timeout time.Duration
	// TLS adds to the client's TLS settings (own root CAs, client certificates). Optional.
	TLS *tls.Config
}

// Client calls Pike. It sends each request once: repeats are the caller's
// decision, because only the caller knows what a repeat may cost.
type Client struct {
	baseURL     string
	version     Version
	project     string
	submerchant string
	signer      crypto.Signer
	http        *http.Client
}

// NewClient checks the configuration and returns a client. It opens no connection.
func NewClient(config Config) (*Client, error) {
	if config.Version == "" {
		config.Version = V1
	}
	if config.Timeout == 0 {
		config.Timeout = MaxTimeout
	}
	if err := config.validate(); err != nil {
		return nil, fmt.Errorf("pike client: %w", err)
	}
	return &Client{
		baseURL: strings.TrimSuffix(config.BaseURL, "/"), version: config.Version, project: config.Project,
		submerchant: config.Submerchant, signer: config.Signer, http: newHTTPClient(config),
	}, nil
}

func (c Config) validate() error {
	var problems []error
	if err := CheckBaseURL(c.BaseURL); err != nil {
		problems = append(problems, err)
	}
	if c.Version != V1 && c.Version != V2 {
		problems = append(problems, fmt.Errorf("version must be %s or %s, not %q", V1, V2, c.Version))
	}
	if c.Project == "" {
		problems = append(problems, errors.New("project is required"))
	}
	if c.Timeout < 0 || c.Timeout > MaxTimeout {
		problems = append(problems, fmt.Errorf("timeout must be positive and at most %s", MaxTimeout))
	}
	if err := checkSigner(c.Signer); err != nil {
		problems = append(problems, err)
	}
	return errors.Join(problems...)
}

// CheckBaseURL refuses a base URL to which card data must not be sent.
func CheckBaseURL(baseURL string) error {
	u, err := url.Parse(baseURL)
	if err != nil || u.Hostname() == "" || u.User != nil || strings.ContainsAny(baseURL, "?#") || u.Path != "" && u.Path != "/" {
		return errors.New("base URL must be scheme://host[:port] and nothing more")
	}
	if u.Scheme == "https" || u.Scheme == "http" && isLoopback(u.Hostname()) {
		return nil
	}
	return errors.New("base URL must be https; http only to this machine (127.0.0.1, localhost)")
}

func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

func newHTTPClient(config Config) *http.Client {
	tlsConfig := &tls.Config{}
	if config.TLS != nil {
		tlsConfig = config.TLS.Clone()
	}
	tlsConfig.MinVersion = max(tlsConfig.MinVersion, tls.VersionTLS12)
	return &http.Client{
		Timeout: config.Timeout,
		// A redirect would send the signed body to another host (hazard A10).
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			Proxy:       http.ProxyFromEnvironment,
			DialContext: (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
			// HTTP/1.1 only: HTTP/2 resends by itself what a server refuses at shutdown (hazard A9).
			TLSClientConfig: tlsConfig, TLSHandshakeTimeout: 10 * time.Second,
			MaxIdleConnsPerHost: 32, IdleConnTimeout: 60 * time.Second, MaxResponseHeaderBytes: 64 << 10,
		},
	}
}

// CreateSession makes an empty session. It moves no money; a lost answer costs only an orphan session.
func (c *Client) CreateSession(ctx context.Context, request CreateSessionRequest, idempotencyKey string) (Session, error) {
	return c.sessionCall(ctx, "session/create", request.wire(), idempotencyKey)
}

// StartPayout orders the payout in the session. The session then is in progress, or the outcome is in the error.
func (c *Client) StartPayout(ctx context.Context, request StartPayoutRequest, idempotencyKey string) (Session, error) {
	return c.sessionCall(ctx, "session/start/payout", request.wire(c.version), idempotencyKey)
}

// ConfirmSession lets the money move. Its success means accepted, not paid (api.md §3.4).
func (c *Client) ConfirmSession(ctx context.Context, sessionID, idempotencyKey string) (Session, error) {
	return c.sessionCall(ctx, "session/confirm", sessionRequest{sessionID}, idempotencyKey)
}

// CancelSession asks to cancel. Its success does not say that the session is cancelled yet (api.md §3.5).
func (c *Client) CancelSession(ctx context.Context, sessionID, idempotencyKey string) (Session, error) {
	return c.sessionCall(ctx, "session/cancel", sessionRequest{sessionID}, idempotencyKey)
}

// SessionStatus reads the session: the one source of truth.
func (c *Client) SessionStatus(ctx context.Context, sessionID string) (Session, error) {
	return c.sessionCall(ctx, "session/status", sessionRequest{sessionID}, "")
}

// TokenInfo reads brand and last digits of a card. It exists under v1 only (api.md §1).
func (c *Client) TokenInfo(ctx context.Context, request TokenInfoRequest) (TokenInfo, error) {
	const method = "token/info"
	var answer struct {
		Info *TokenInfo `json:"info"`
	}
	status, body, err := c.call(ctx, V1, method, request.wire(), "")
	if err != nil {
		return TokenInfo{}, err
	}
	if err := decode(method, status, body, &answer); err != nil {
		return TokenInfo{}, err
	}
	if answer.Info == nil {
		return TokenInfo{}, unreadable(method, errors.New("the answer has no info"))
	}
	return *answer.Info, nil
}

func (c *Client) sessionCall(ctx context.Context, method string, request any, idempotencyKey string) (Session, error) {
	status, body, err := c.call(ctx, c.version, method, request, idempotencyKey)
	if err != nil {
		return Session{}, err
	}
	return DecodeSession(method, status, body)
}

// DecodeSession is what an HTTP answer to one of Pike's session methods proves:
// the session, or an *Error with the outcome.
func DecodeSession(method string, httpStatus int, body []byte) (Session, error) {
	var answer struct {
		Session sessionWire `json:"session"`
	}
	if err := decode(method, httpStatus, body, &answer); err != nil {
		return Session{}, err
	}
	if answer.Session.ID == "" || answer.Session.Status == "" {
		return Session{}, unreadable(method, errors.New("the answer has no session with id and status"))
	}
	session, err := answer.Session.session()
	if err != nil {
		return Session{}, unreadable(method, fmt.Errorf("decoding the answer: %w", err))
	}
	return session, nil
}

// call sends one signed request and returns the answer's HTTP status and body. Every error it returns is an *Error.
func (c *Client) call(ctx context.Context, version Version, method string, request any, idempotencyKey string) (int, []byte, error) {
	body, err := json.Marshal(request)
	if err != nil {
		return 0, nil, &Error{Method: method, Outcome: NotSent, err: fmt.Errorf("encoding the request: %w", err)}
	}
	httpRequest, err := c.signedRequest(ctx, version, method, body, idempotencyKey)
	if err != nil {
		return 0, nil, &Error{Method: method, Outcome: NotSent, err: err}
	}
	status, responseBody, failure := c.exchange(httpRequest)
	if failure != nil {
		failure.Method = method
		return 0, nil, failure
	}
	return status, responseBody, nil
}

func decode(method string, httpStatus int, body []byte, answer any) error {
	if err := judge(method, httpStatus, body); err != nil {
		return err
	}
	if err := unmarshalAnswer(body, answer); err != nil {
		return unreadable(method, fmt.Errorf("decoding the answer: %w", err))
	}
	return nil
}

// unmarshalAnswer is as strict as for webhooks: an answer that two parsers read differently proves nothing (hazard W20).
// Only damaged text is let through: a description cut within a letter must not keep a payout unread for ever.
func unmarshalAnswer(body []byte, answer any) error {
	return strictjson.Unmarshal(bytes.ToValidUTF8(body, []byte("\ufffd")), answer)
}

func (c *Client) signedRequest(ctx context.Context, version Version, method string, body []byte, idempotencyKey string) (*http.Request, error) {
	signature, err := Sign(c.signer, body)
	if err != nil {
		return nil, err
	}
	endpoint := c.baseURL + "/api/" + string(version) + "/" + method
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("building the request: %w", err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept", "application/json")
	request.Header.Set(HeaderProject, c.project)
	request.Header.Set(HeaderSign, signature)
	if c.submerchant != "" {
		request.Header.Set(HeaderSubmerchant, c.submerchant)
	}
	if idempotencyKey != "" {
		request.Header.Set(HeaderIdempotencyKey, idempotencyKey)
	}
	return request, nil
}

// exchange sends the request and reads the whole answer. Without a connection
// nothing was sent; with one, an error leaves open what Pike has done.
func (c *Client) exchange(request *http.Request) (int, []byte, *Error) {
	var connected atomic.Bool
	trace := &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected.Store(true) }}
	response, err := c.http.Do(request.WithContext(httptrace.WithClientTrace(request.Context(), trace)))
	if err != nil {
		outcome := Unknown
		if !connected.Load() {
			outcome = NotSent
		}
		return 0, nil, &Error{Outcome: outcome, err: err}
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxResponseBytes+1))
	if err == nil && len(body) > maxResponseBytes {
		err = fmt.Errorf("the answer is larger than %d bytes", maxResponseBytes)
	}
	if err != nil {
		return 0, nil, &Error{Outcome: Unknown, HTTPStatus: response.StatusCode, err: fmt.Errorf("reading the answer: %w", err)}
	}
	return response.StatusCode, body, nil
}

func checkSigner(signer crypto.Signer) error {
	if signer == nil {
		return errors.New("a signer (the partner's RSA private key) is required")
	}
	key, ok := signer.Public().(*rsa.PublicKey)
	if !ok {
		return fmt.Errorf("the signer must be an RSA key, not %T", signer.Public())
	}
	return checkKeySize(key)
}
