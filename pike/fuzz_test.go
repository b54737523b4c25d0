package pike

import (
	"crypto/rand"
	"crypto/rsa"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func FuzzSignatureHeader(f *testing.F) {
	key, err := rsa.GenerateKey(rand.Reader, MinKeyBits)
	require.NoError(f, err)
	verifier, err := NewVerifier(&key.PublicKey)
	require.NoError(f, err)
	body := UnverifiedBody(`{"type":"ready_to_confirm"}`)
	genuine, err := Sign(key, body)
	require.NoError(f, err)
	for _, seed := range []string{genuine, genuine + "\n", "", "=", strings.Repeat("A", 344), strings.TrimRight(genuine, "=")} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, header string) {
		_, err := verifier.Verify(body, []string{header})
		if header == genuine {
			require.NoError(t, err)
		} else {
			require.Equal(t, ErrBadSignature, err)
		}
	})
}

func FuzzWebhookBody(f *testing.F) {
	for _, seed := range []string{
		goodWebhook, `{"type":"a","Type":"b","session":{"id":"ps_1"}}`, `{"type":"a","session":{"id":"ps_1","payout_list":[null]}}`,
		`{"type":"a","session":{"id":"ps_1","payments":[{"payment_method":{"card":{}}}]}}`, `null`, ``, `{"session":`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) { requireWebhookAsReference(t, body) })
}

// FuzzAnswer: no answer makes a call panic, and only what proves something is more than unknown.
func FuzzAnswer(f *testing.F) {
	for _, seed := range []string{
		goodAnswer, `{"status":"ok","session":{"id":"ps_1","status":"created","payments":[{"metadata":7}]}}`, `{"status":"ok","session":null}`,
		`{"status":"error","error":{"code":"invalid_request","description":"x"}}`, `{"status":"error","error":null}`, `null`, ``, `<html>`,
	} {
		f.Add(200, []byte(seed))
		f.Add(400, []byte(seed))
		f.Add(502, []byte(seed))
	}
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		session, err := DecodeSession("session/status", status, body)
		requireAnswerAsReference(t, status, body, session, err)
	})
}
