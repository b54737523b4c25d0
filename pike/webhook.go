package pike

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"pikepayouts/strictjson"
)

// WebhookType is the type of a notification (api.md §5.2). Others may be added by Pike.
type WebhookType string

// The types that exist.
const (
	WebhookReadyToConfirm  WebhookType = "ready_to_confirm"
	WebhookPaymentFinished WebhookType = "payment_finished"
	WebhookPaymentRefunded WebhookType = "payment_refunded"
	WebhookActionRequired  WebhookType = "action_required"
	WebhookReadyToCapture  WebhookType = "ready_to_capture"
)

// ErrBadSignature is the one error of Verifier.Verify: why a signature fails is nobody's business.
var ErrBadSignature = errors.New("webhook signature missing, malformed or wrong")

// UnverifiedBody is a body as it came from the network. Nothing accepts it but a Verifier.
type UnverifiedBody []byte

// VerifiedBody is a body that Pike signed. Only a Verifier makes one.
type VerifiedBody struct {
	bytes []byte
}

// Verifier checks webhooks against a set of Pike's public keys, any of which
// may have signed: that is how Pike can change its key (hazard W19).
type Verifier struct {
	keys []*rsa.PublicKey
}

// NewVerifier refuses an empty set and short keys: there is no way to switch the check off (hazard W2).
func NewVerifier(keys ...*rsa.PublicKey) (*Verifier, error) {
	if len(keys) == 0 {
		return nil, errors.New("at least one public key of Pike is needed")
	}
	for i, key := range keys {
		if key == nil {
			return nil, fmt.Errorf("public key %d is nil", i+1)
		}
		if err := checkKeySize(key); err != nil {
			return nil, fmt.Errorf("public key %d: %w", i+1, err)
		}
	}
	return &Verifier{keys: keys}, nil
}

// Verify checks the values of the X-PARTNER-SIGN header against the raw body.
// Exactly one value is allowed, strict standard base64, of a key's length.
// The only error is ErrBadSignature.
func (v *Verifier) Verify(body UnverifiedBody, signatures []string) (VerifiedBody, error) {
	if len(signatures) != 1 || strings.ContainsAny(signatures[0], "\r\n") {
		return VerifiedBody{}, ErrBadSignature
	}
	signature, err := base64.StdEncoding.Strict().DecodeString(signatures[0])
	if err != nil {
		return VerifiedBody{}, ErrBadSignature
	}
	digest := sha256.Sum256(body)
	for _, key := range v.keys {
		if len(signature) == key.Size() && rsa.VerifyPKCS1v15(key, crypto.SHA256, digest[:], signature) == nil {
			return VerifiedBody{bytes: body}, nil
		}
	}
	return VerifiedBody{}, ErrBadSignature
}

// Webhook is a genuine notification: a type and the whole session.
type Webhook struct {
	Type    WebhookType
	Session Session
}

// Glance reads type and session id of a genuine body that ParseWebhook refuses,
// "" for what is not plainly there. Two parsers could read such a body
// differently: good for asking session/status, for nothing else.
func Glance(body VerifiedBody) (kind WebhookType, sessionID string) {
	var wire struct {
		Type    json.RawMessage `json:"type"`
		Session struct {
			ID json.RawMessage `json:"id"`
		} `json:"session"`
	}
	_ = json.Unmarshal(body.bytes, &wire) // what could be read stays
	return WebhookType(plainWord(wire.Type)), plainWord(wire.Session.ID)
}

var plainWords = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// plainWord is the text of a JSON string, if it is short and harmless wherever it is shown.
func plainWord(value json.RawMessage) string {
	var text string
	if json.Unmarshal(value, &text) != nil || !plainWords.MatchString(text) {
		return ""
	}
	return text
}

// Digest is the SHA-256 of the body in hex: it tells two bodies apart without showing them.
func (b VerifiedBody) Digest() string {
	sum := sha256.Sum256(b.bytes)
	return hex.EncodeToString(sum[:])
}

// ParseWebhook decodes a genuine body strictly (package strictjson); unknown types and fields are allowed.
func ParseWebhook(body VerifiedBody) (Webhook, error) {
	var wire struct {
		Type    string      `json:"type"`
		Session sessionWire `json:"session"`
	}
	if err := strictjson.Unmarshal(body.bytes, &wire); err != nil {
		return Webhook{}, fmt.Errorf("parsing the webhook: %w", err)
	}
	if wire.Type == "" || wire.Session.ID == "" {
		return Webhook{}, errors.New("parsing the webhook: type or session.id is missing")
	}
	session, err := wire.Session.session()
	if err != nil {
		return Webhook{}, fmt.Errorf("parsing the webhook: %w", err)
	}
	return Webhook{Type: WebhookType(wire.Type), Session: session}, nil
}
