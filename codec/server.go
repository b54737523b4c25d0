package codec

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/converter"

	"pikepayouts/secret"
)

const (
	// maxServerBody is more than the Web UI sends for the longest page of a history.
	maxServerBody = 8 << 20
	// bodyTimeout is enough to send that on a slow line.
	bodyTimeout = 30 * time.Second
	// namespaceHeader is how the Web UI and the Temporal CLI say where the payloads are from.
	namespaceHeader = "X-Namespace"
	encodePath      = "/encode"
	decodePath      = "/decode"
)

// ServerConfig configures a codec server.
type ServerConfig struct {
	Keyset *Keyset
	// Namespace is the only one that is served.
	Namespace string
	// Origins are the exact origins of the Web UIs that may call from a browser, like
	// "https://temporal.example.com". Requests from a browser on any other are refused.
	Origins []string
	// Token, unless empty, has to come as "Authorization: Bearer <token>".
	Token secret.String
	// ShowCards leaves card tokens and hashes in clear text. They are masked otherwise.
	ShowCards bool
	Logger    *slog.Logger
}

// NewServer returns the codec server: the Web UI, the Temporal CLI and callers in
// other languages decrypt and encrypt through it, over the protocol of Temporal's
// remote codec. It is a way to read every payout: whoever reaches it and passes
// its checks is told, and every decode leaves a line in the log (hazard T4).
//
//	POST /decode, /encode                for what says itself which payout it is of
//	POST /<workflow id>/decode, /encode  for one workflow
func NewServer(config ServerConfig) (http.Handler, error) {
	switch {
	case config.Keyset == nil:
		return nil, errors.New("a codec server needs a keyset")
	case config.Namespace == "":
		return nil, errors.New("a codec server needs a namespace")
	case config.Logger == nil:
		return nil, errors.New("a codec server needs a logger")
	}
	for _, origin := range config.Origins {
		if err := CheckOrigin(origin); err != nil {
			return nil, err
		}
	}
	return &server{ServerConfig: config, codec: New(config.Keyset)}, nil
}

// CheckOrigin says what is wrong with an origin of ServerConfig.
func CheckOrigin(origin string) error {
	scheme, host, _ := strings.Cut(origin, "://")
	if (scheme != "http" && scheme != "https") || host == "" || strings.ContainsAny(host, "/*?#@ ") {
		return errors.New("must be the exact origins that browsers send, like https://temporal.example.com, separated by commas: no path, no *")
	}
	return nil
}

type server struct {
	ServerConfig
	codec *Codec
}

// refusal is an answer other than 200.
type refusal struct {
	status int
	text   string
}

// ServeHTTP implements http.Handler.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTimeout)) // before the token: whoever sends slowly holds a connection
	if err := s.allowOrigin(w, r); err != nil {
		s.refuse(w, r, err)
		return
	}
	if r.Method == http.MethodOptions { // a browser asks first, without the token
		w.WriteHeader(http.StatusNoContent)
		return
	}
	if err := s.admit(r); err != nil {
		s.refuse(w, r, err)
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	r.Body = http.MaxBytesReader(w, r.Body, maxServerBody)
	converter.NewPayloadCodecHTTPHandler(&exchange{server: s, request: r}).ServeHTTP(w, r)
}

// allowOrigin answers a browser's question whether a page of that origin may call. No origin: no browser.
func (s *server) allowOrigin(w http.ResponseWriter, r *http.Request) *refusal {
	w.Header().Add("Vary", "Origin")
	origin := r.Header.Get("Origin")
	if origin == "" {
		return nil
	}
	if !slices.Contains(s.Origins, origin) {
		return &refusal{http.StatusForbidden, "this origin is not one of PAYOUTS_CODEC_ORIGINS"}
	}
	w.Header().Set("Access-Control-Allow-Origin", origin)
	w.Header().Set("Access-Control-Allow-Methods", http.MethodPost)
	w.Header().Set("Access-Control-Allow-Headers", "Authorization, Content-Type, "+namespaceHeader)
	w.Header().Set("Access-Control-Allow-Credentials", "true") // the Web UI can be told to send its cookies
	return nil
}

// admit checks everything but the body.
func (s *server) admit(r *http.Request) *refusal {
	switch path := r.URL.Path; {
	case !strings.HasSuffix(path, encodePath) && !strings.HasSuffix(path, decodePath):
		return &refusal{http.StatusNotFound, "POST " + decodePath + " or " + encodePath}
	case r.Method != http.MethodPost:
		return &refusal{http.StatusMethodNotAllowed, "POST only"}
	case !s.tokenIsRight(r.Header.Get("Authorization")):
		return &refusal{http.StatusUnauthorized, "bearer token missing or wrong"}
	}
	if namespace := r.Header.Get(namespaceHeader); namespace != "" && namespace != s.Namespace {
		return &refusal{http.StatusForbidden, "this server is for another namespace"}
	}
	return nil
}

// tokenIsRight compares digests, in constant time.
func (s *server) tokenIsRight(authorization string) bool {
	if s.Token == "" {
		return true
	}
	given, want := sha256.Sum256([]byte(authorization)), sha256.Sum256([]byte("Bearer "+s.Token.Reveal()))
	return subtle.ConstantTimeCompare(given[:], want[:]) == 1
}

// workflowIn is the workflow id in the path, "" if there is none.
func workflowIn(r *http.Request) string {
	path := r.URL.Path
	return strings.Trim(path[:strings.LastIndex(path, "/")], "/")
}

// exchange is the codec of one request.
type exchange struct {
	*server
	request *http.Request
}

// Encode binds every payload to its workflow: the one in the path, else the one
// that the payload itself names. There is no ciphertext that is good for any workflow.
func (e *exchange) Encode(payloads []*commonpb.Payload) ([]*commonpb.Payload, error) {
	return each(payloads, func(payload *commonpb.Payload) (*commonpb.Payload, error) {
		workflowID := cmp.Or(workflowIn(e.request), workflowNamedIn(payload.GetData()))
		if workflowID == "" {
			return nil, errors.New(`no telling which workflow this is for: add "payout_id" or "workflow_id" to the JSON, or call /<workflow id>` + encodePath)
		}
		return e.codec.For(e.Namespace, workflowID).encrypt(payload)
	})
}

// Decode leaves a line in the log before anything is shown.
func (e *exchange) Decode(payloads []*commonpb.Payload) ([]*commonpb.Payload, error) {
	var workflows []string
	opened, err := each(payloads, func(payload *commonpb.Payload) (*commonpb.Payload, error) {
		if isEncrypted(payload) {
			workflows = append(workflows, bindingOf(payload).workflowID)
		}
		return e.open(payload)
	})
	slices.Sort(workflows)
	line := []any{"remote", e.request.RemoteAddr, "origin", e.request.Header.Get("Origin"), "namespace", e.Namespace,
		"workflows", slices.Compact(workflows), "payloads", len(payloads)}
	if err != nil {
		line = append(line, "error", err)
	}
	e.Logger.InfoContext(e.request.Context(), "decode", line...)
	return opened, err
}

// open leaves in clear what is: the Web UI sends whatever it shows, and a history may be older than the keyset.
func (e *exchange) open(payload *commonpb.Payload) (*commonpb.Payload, error) {
	if !isEncrypted(payload) {
		return payload, nil
	}
	bound := bindingOf(payload)
	if own := workflowIn(e.request); bound.namespace != e.Namespace || (own != "" && own != bound.workflowID) {
		return nil, fmt.Errorf("%w: it is of another namespace or workflow", ErrPayload)
	}
	plain, err := e.codec.decrypt(payload)
	if err != nil || e.ShowCards {
		return plain, err
	}
	return masked(plain), nil
}

// payoutIDPrefix is what payout.WorkflowID puts before a payout id; a test keeps the two equal.
const payoutIDPrefix = "payout/"

// workflowNamedIn is the workflow of a payout request (payout_id) or of a decision (workflow_id).
func workflowNamedIn(data []byte) string {
	var named struct {
		WorkflowID string `json:"workflow_id"`
		PayoutID   string `json:"payout_id"`
	}
	if json.Unmarshal(data, &named) != nil {
		return ""
	}
	if named.WorkflowID == "" && named.PayoutID != "" {
		return payoutIDPrefix + named.PayoutID
	}
	return named.WorkflowID
}

func (s *server) refuse(w http.ResponseWriter, r *http.Request, err *refusal) {
	s.Logger.WarnContext(r.Context(), "refused", "remote", r.RemoteAddr, "origin", r.Header.Get("Origin"), "method", r.Method,
		"status", err.status, "why", err.text)
	http.Error(w, err.text, err.status)
}

// cardFields are the JSON fields of a payout's request that pay a card.
var cardFields = []string{"token", "number_hash"}

const mask = "[masked]"

// masked is the payload without card data. What says it is JSON and is not, such as a payout's
// request that lacks its last bracket, shows nothing; what does not say so has no cards.
func masked(payload *commonpb.Payload) *commonpb.Payload {
	if !json.Valid(payload.GetData()) {
		if strings.HasPrefix(string(payload.GetMetadata()[converter.MetadataEncoding]), "json/") {
			return &commonpb.Payload{Metadata: payload.GetMetadata(), Data: []byte(`"` + mask + `"`)}
		}
		return payload
	}
	decoder := json.NewDecoder(bytes.NewReader(payload.GetData()))
	decoder.UseNumber()
	var value any
	if decoder.Decode(&value) != nil || !maskIn(value) {
		return payload
	}
	data, err := json.Marshal(value)
	if err != nil { // it was JSON a moment ago
		data = []byte(`"` + mask + `"`)
	}
	return &commonpb.Payload{Metadata: payload.GetMetadata(), Data: data}
}

// isCardField compares as encoding/json does, for which even "number_haſh" is number_hash.
func isCardField(name string) bool {
	return slices.ContainsFunc(cardFields, func(field string) bool { return strings.EqualFold(field, name) })
}

// maskIn says whether it masked anything.
func maskIn(value any) bool {
	found := false
	switch value := value.(type) {
	case map[string]any:
		for name, field := range value {
			if isCardField(name) {
				value[name], found = mask, true
			} else if maskIn(field) {
				found = true
			}
		}
	case []any:
		for _, element := range value {
			found = maskIn(element) || found
		}
	}
	return found
}
