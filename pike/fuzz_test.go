package pike

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"io"
	"net/http"
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

// answerOf is a transport that gives every request one answer.
type answerOf struct {
	status int
	body   []byte
}

func (a answerOf) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: a.status, Body: io.NopCloser(bytes.NewReader(a.body))}, nil
}

// FuzzAnswer: no answer makes a call panic, and only what proves something is more than unknown.
func FuzzAnswer(f *testing.F) {
	key, err := rsa.GenerateKey(rand.Reader, MinKeyBits)
	require.NoError(f, err)
	client, err := NewClient(Config{BaseURL: "http://localhost", Project: "p", Signer: key})
	require.NoError(f, err)
	for _, seed := range []string{
		goodAnswer, `{"status":"ok","session":{"id":"ps_1","status":"created","payments":[{"metadata":7}]}}`, `{"status":"ok","session":null}`,
		`{"status":"error","error":{"code":"invalid_request","description":"x"}}`, `{"status":"error","error":null}`, `null`, ``, `<html>`,
	} {
		f.Add(200, []byte(seed))
		f.Add(400, []byte(seed))
		f.Add(502, []byte(seed))
	}
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		if status < 200 || status > 599 {
			t.Skip("not a final answer of HTTP")
		}
		client.http = &http.Client{Transport: answerOf{status, body}, CheckRedirect: client.http.CheckRedirect}
		session, err := client.SessionStatus(t.Context(), "ps_1")
		requireAnswerAsReference(t, status, body, session, err)
	})
}
