package webhookgw_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"pikepayouts/payout"
	"pikepayouts/pike"
	"pikepayouts/webhookgw"
)

// canary stands for card data in every body; it must show up nowhere else.
const canary = "759c9852dde2211d7531b3d905c1d513fbfb914bee87fb567d99c7b2f2c2ad44"

var (
	pikeKey  = sync.OnceValue(generateKey)
	otherKey = sync.OnceValue(generateKey)
	noon     = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
)

func generateKey() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, pike.MinKeyBits)
	if err != nil {
		panic(err)
	}
	return key
}

func sign(t testing.TB, key *rsa.PrivateKey, body string) string {
	t.Helper()
	signature, err := pike.Sign(key, []byte(body))
	require.NoError(t, err)
	return signature
}

// webhookBody is a webhook with one payout whose metadata is the JSON value given.
func webhookBody(kind, metadata string) string {
	return fmt.Sprintf(`{"type":%q,"session":{"id":"ps_3230","status":"in_progress","next_action":"confirm",`+
		`"updated_at":"2024-05-27T02:03:00.000000Z","payments":[%s]}}`, kind, payoutItem("po_1234", metadata))
}

func payoutItem(id, metadata string) string {
	return fmt.Sprintf(`{"id":%q,"status":"pending","payment_method":{"type":"card","card":{"type":"tokenized_card",`+
		`"tokenized_card":{"token":%q}}},"amount_details":{"amount":10000,"currency":"eur"},"metadata":%s}`, id, canary, metadata)
}

type signalCall struct {
	payoutID string
	event    payout.Event
}

// fakeSignaler records what it is given. A hook, if set, runs in the call and gives its result.
type fakeSignaler struct {
	hook, keepHook func(ctx context.Context) error
	mutex          sync.Mutex
	calls          []signalCall
	kept           []payout.LateEvent
}

func (f *fakeSignaler) Keep(ctx context.Context, event payout.LateEvent) error {
	f.mutex.Lock()
	f.kept = append(f.kept, event)
	f.mutex.Unlock()
	if f.keepHook != nil {
		return f.keepHook(ctx)
	}
	return nil
}

func (f *fakeSignaler) Signal(ctx context.Context, payoutID string, event payout.Event) error {
	f.mutex.Lock()
	f.calls = append(f.calls, signalCall{payoutID, event})
	f.mutex.Unlock()
	if f.hook != nil {
		return f.hook(ctx)
	}
	return nil
}

func (f *fakeSignaler) seen() []signalCall {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	return append([]signalCall(nil), f.calls...)
}

type lockedBuffer struct {
	mutex sync.Mutex
	text  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return b.text.String()
}

// harness is a gateway with a fake Temporal behind it and its log and metrics in sight.
type harness struct {
	t        testing.TB
	handler  http.Handler
	signaler *fakeSignaler
	registry *prometheus.Registry
	log      *lockedBuffer
}

func newHarness(t testing.TB, change ...func(*webhookgw.Config)) *harness {
	t.Helper()
	verifier, err := pike.NewVerifier(&pikeKey().PublicKey)
	require.NoError(t, err)
	h := &harness{t: t, signaler: &fakeSignaler{}, registry: prometheus.NewRegistry(), log: &lockedBuffer{}}
	config := webhookgw.Config{
		Verifier: verifier, Temporal: h.signaler, Registerer: h.registry, Now: func() time.Time { return noon },
		Logger: slog.New(slog.NewJSONHandler(h.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	for _, apply := range change {
		apply(&config)
	}
	h.handler, err = webhookgw.New(config)
	require.NoError(t, err)
	fromTheStart := h.allCounts()
	require.Len(t, fromTheStart, 7*15, "every type and answer is 0, not absent, before it happens")
	t.Cleanup(func() {
		require.Len(t, h.allCounts(), len(fromTheStart), "a type or an answer is not shown from the start")
	})
	return h
}

// post sends body with these values of the signature header.
func (h *harness) post(body string, signatures ...string) *httptest.ResponseRecorder {
	request := httptest.NewRequest(http.MethodPost, webhookgw.DefaultPath, strings.NewReader(body))
	request.Header[http.CanonicalHeaderKey(pike.HeaderSign)] = signatures
	return h.do(request)
}

func (h *harness) postSigned(body string) *httptest.ResponseRecorder {
	h.t.Helper()
	return h.post(body, sign(h.t, pikeKey(), body))
}

func (h *harness) do(request *http.Request) *httptest.ResponseRecorder {
	recorder := httptest.NewRecorder()
	h.handler.ServeHTTP(recorder, request)
	return recorder
}

// counts are the values of webhooks_total by "type/answer", without those that are still 0.
func (h *harness) counts() map[string]float64 {
	h.t.Helper()
	counts := h.allCounts()
	maps.DeleteFunc(counts, func(_ string, value float64) bool { return value == 0 })
	return counts
}

func (h *harness) allCounts() map[string]float64 {
	h.t.Helper()
	families, err := h.registry.Gather()
	require.NoError(h.t, err)
	counts := map[string]float64{}
	for _, family := range families {
		if family.GetName() != "webhooks_total" {
			continue
		}
		for _, metric := range family.GetMetric() {
			labels := map[string]string{}
			for _, label := range metric.GetLabel() {
				labels[label.GetName()] = label.GetValue()
			}
			counts[labels["type"]+"/"+labels["answer"]] = metric.GetCounter().GetValue()
		}
	}
	return counts
}

// requireNothingSecretLogged looks for the body, the signature and headers in the log.
func (h *harness) requireNothingSecretLogged(signature string) {
	h.t.Helper()
	log := h.log.String()
	require.NotContains(h.t, log, canary)
	require.NotContains(h.t, strings.ToLower(log), "x-partner")
	if signature != "" {
		require.NotContains(h.t, log, signature)
	}
}
