package pike_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"pikepayouts/pike"
)

// Card data of the page's examples. It must show up in no error.
const (
	cardToken      = "759c9852dde2211d7531b3d905c1d513fbfb914bee87fb567d99c7b2f2c2ad44"
	cardNumberHash = "064e7045a239e2d5d0448c2f72be84beb8d6dc47020f5b1174bccb6f3b9b2f1b"
	recurrentToken = "9a8a650c49de69eb98549027c5bc366f5bda51efe59bb8c0e02eb8a8a4e359da"

	okSession = `{"status":"ok","session":{"id":"ps_3230","status":"in_progress"}}`
)

var partnerKey = sync.OnceValue(func() *rsa.PrivateKey { return generateKey(pike.MinKeyBits) })

func generateKey(bits int) *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		panic(err)
	}
	return key
}

// sentRequest is what reached the server.
type sentRequest struct {
	path   string
	header http.Header
	body   string
}

// recorder answers every request alike and keeps them.
type recorder struct {
	status   int
	answer   string
	mutex    sync.Mutex
	requests []sentRequest
}

func (r *recorder) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	body, _ := io.ReadAll(request.Body)
	r.mutex.Lock()
	r.requests = append(r.requests, sentRequest{request.Method + " " + request.URL.RequestURI(), request.Header.Clone(), string(body)})
	r.mutex.Unlock()
	w.WriteHeader(r.status)
	_, _ = io.WriteString(w, r.answer)
}

func (r *recorder) seen() []sentRequest {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return append([]sentRequest(nil), r.requests...)
}

func newClient(t testing.TB, baseURL string, change ...func(*pike.Config)) *pike.Client {
	t.Helper()
	config := pike.Config{BaseURL: baseURL, Project: "your_project_name", Signer: partnerKey()}
	for _, apply := range change {
		apply(&config)
	}
	client, err := pike.NewClient(config)
	require.NoError(t, err)
	return client
}

// answering returns a client whose Pike always gives this answer.
func answering(t *testing.T, status int, answer string, change ...func(*pike.Config)) (*pike.Client, *recorder) {
	t.Helper()
	pikeServer := &recorder{status: status, answer: answer}
	server := httptest.NewServer(pikeServer)
	t.Cleanup(server.Close)
	return newClient(t, server.URL, change...), pikeServer
}

func order(destination pike.Destination) pike.StartPayoutRequest {
	return pike.StartPayoutRequest{
		SessionID: "3230", Destination: destination, AmountDetails: pike.AmountDetails{Amount: 10000, Currency: "rub"},
		Recipient: json.RawMessage(`{"full_name":"Ivanov Ivan"}`), Metadata: "good",
		Customer: json.RawMessage(`{"reference":"user123","contacts":[{"email":"user@gmail.com"}]}`),
	}
}

func cardOrder() pike.StartPayoutRequest { return order(pike.Destination{CardToken: cardToken}) }

func start(ctx context.Context, client *pike.Client) error {
	_, err := client.StartPayout(ctx, cardOrder(), "inv-1/start")
	return err
}

// requireOutcome checks the outcome, that errors.Is agrees with it, and that the text gives nothing away.
func requireOutcome(t *testing.T, want pike.Outcome, err error) *pike.Error {
	t.Helper()
	var failure *pike.Error
	require.ErrorAs(t, err, &failure)
	require.Equal(t, want, failure.Outcome, "%v", err)
	for outcome, sentinel := range map[pike.Outcome]error{
		pike.Refused: pike.ErrRefused, pike.NotSent: pike.ErrNotSent, pike.Unknown: pike.ErrUnknown,
	} {
		if outcome == want {
			require.ErrorIs(t, err, sentinel)
		} else {
			require.NotErrorIs(t, err, sentinel)
		}
	}
	for _, secret := range []string{cardToken, cardNumberHash, recurrentToken, "Ivanov", "user@gmail.com"} {
		require.NotContains(t, err.Error(), secret)
	}
	return failure
}
