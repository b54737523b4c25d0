package pikesim_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"pikepayouts/pike"
	"pikepayouts/pikesim"
	"pikepayouts/secret"
)

const project = "shop"

// key is everybody's key in these tests: making one takes long.
var key = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

// merchant is a real client, a real receiver of webhooks, and the simulator between them.
type merchant struct {
	server *pikesim.Server
	url    string
	log    *logBuffer

	mu       sync.Mutex
	webhooks []pike.Webhook
}

func newMerchant(t *testing.T, change func(*pikesim.Config)) *merchant {
	t.Helper()
	m := &merchant{log: &logBuffer{}}
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { m.receive(t, w, r) }))
	t.Cleanup(receiver.Close)
	config := pikesim.Config{
		PartnerKeys: []*rsa.PublicKey{&key().PublicKey}, SigningKey: key(), Project: project, WebhookURL: receiver.URL,
		Timing:          pikesim.Timing{Checks: 20 * time.Millisecond, Processing: 20 * time.Millisecond},
		IdempotencyKeys: true, StartAlias: true, Seed: 1,
		Logger: slog.New(slog.NewJSONHandler(m.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	if change != nil {
		change(&config)
	}
	server, err := pikesim.New(config)
	require.NoError(t, err)
	m.server = server
	front := httptest.NewServer(server.Handler())
	t.Cleanup(front.Close)
	m.url = front.URL
	run(t, server)
	return m
}

// run runs the server until the test ends.
func run(t *testing.T, server *pikesim.Server) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-done)
	})
}

func (m *merchant) receive(t *testing.T, w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Error(err)
	}
	verifier, err := pike.NewVerifier(&key().PublicKey)
	if err != nil {
		t.Error(err)
	}
	verified, err := verifier.Verify(body, r.Header.Values(pike.HeaderSign))
	if err != nil || r.Header.Get("Content-Type") != "application/json" {
		t.Errorf("webhook: %v, content type %q", err, r.Header.Get("Content-Type"))
	}
	webhook, err := pike.ParseWebhook(verified)
	if err != nil {
		t.Error(err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.webhooks = append(m.webhooks, webhook)
	w.WriteHeader(http.StatusOK)
}

func (m *merchant) received() []pike.Webhook {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]pike.Webhook(nil), m.webhooks...)
}

func (m *merchant) await(t *testing.T, count int) []pike.Webhook {
	t.Helper()
	require.Eventually(t, func() bool { return len(m.received()) >= count }, 10*time.Second, 2*time.Millisecond)
	return m.received()
}

func (m *merchant) client(t *testing.T, version pike.Version) *pike.Client {
	t.Helper()
	client, err := pike.NewClient(pike.Config{BaseURL: m.url, Version: version, Project: project, Signer: key()})
	require.NoError(t, err)
	return client
}

// post sends a body to the control endpoint.
func (m *merchant) post(t *testing.T, path, body string) (int, string) {
	t.Helper()
	response, err := http.Post(m.url+path, "application/json", strings.NewReader(body))
	require.NoError(t, err)
	return read(t, response)
}

func (m *merchant) get(t *testing.T, path string) string {
	t.Helper()
	response, err := http.Get(m.url + path)
	require.NoError(t, err)
	status, body := read(t, response)
	require.Equal(t, http.StatusOK, status)
	return body
}

func read(t *testing.T, response *http.Response) (int, string) {
	t.Helper()
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response.StatusCode, string(body)
}

// logBuffer may be read while the server still logs.
type logBuffer struct {
	mu  sync.Mutex
	out bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.out.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.out.String()
}

func order(sessionID, metadata string, destination pike.Destination) pike.StartPayoutRequest {
	return pike.StartPayoutRequest{
		SessionID: sessionID, Destination: destination, AmountDetails: pike.AmountDetails{Amount: 10000, Currency: "eur"},
		Recipient: json.RawMessage(`{"full_name":"Ivanov Ivan"}`), Customer: json.RawMessage(`{"reference":"user123"}`), Metadata: metadata,
	}
}

func TestTheRealClientIsPaidInBothVersionsAndAllDestinations(t *testing.T) {
	destinations := map[string]pike.Destination{
		"token": {CardToken: card}, "hash": {CardNumberHash: card}, "recurrent": {RecurrentToken: card},
	}
	for _, version := range []pike.Version{pike.V1, pike.V2} {
		for name, destination := range destinations {
			t.Run(string(version)+" "+name, func(t *testing.T) {
				m, ctx := newMerchant(t, nil), t.Context()
				client := m.client(t, version)
				created, err := client.CreateSession(ctx, pike.CreateSessionRequest{Metadata: "inv-1"}, "inv-1/create/1")
				require.NoError(t, err)
				require.Equal(t, pike.SessionCreated, created.Status)
				started, err := client.StartPayout(ctx, order(created.ID, "inv-1", destination), "inv-1/start")
				require.NoError(t, err)
				require.Equal(t, pike.PayoutInProgress, started.Payouts[0].Status)
				require.Equal(t, destination, started.Payouts[0].Destination)

				ready := m.await(t, 1)[0]
				require.Equal(t, pike.WebhookReadyToConfirm, ready.Type)
				require.Equal(t, pike.NextActionConfirm, ready.Session.NextAction)
				require.Equal(t, destination, ready.Session.Payouts[0].Destination)
				require.Equal(t, "inv-1", ready.Session.Payouts[0].MetadataText())
				confirmed, err := client.ConfirmSession(ctx, created.ID, "inv-1/confirm")
				require.NoError(t, err)
				require.Equal(t, pike.PayoutPending, confirmed.Payouts[0].Status)

				finished := m.await(t, 2)[1]
				require.Equal(t, pike.WebhookPaymentFinished, finished.Type)
				require.Equal(t, pike.SessionAccepted, finished.Session.Status)
				status, err := client.SessionStatus(ctx, created.ID)
				require.NoError(t, err)
				require.Equal(t, finished.Session, status)
				require.Len(t, m.server.Ledger().Movements, 1)
				_, err = client.TokenInfo(ctx, pike.TokenInfoRequest{Destination: destination})
				require.NoError(t, err)
			})
		}
	}
}

func TestTheRealClientUnderstandsRefusals(t *testing.T) {
	m, ctx := newMerchant(t, nil), t.Context()
	client := m.client(t, pike.V1)
	_, err := client.SessionStatus(ctx, "ps_1")
	require.ErrorIs(t, err, pike.ErrRefused)
	created, err := client.CreateSession(ctx, pike.CreateSessionRequest{Metadata: "x"}, "k")
	require.NoError(t, err)
	_, err = client.ConfirmSession(ctx, created.ID, "c")
	require.ErrorIs(t, err, pike.ErrWrongState)
	_, err = client.CreateSession(ctx, pike.CreateSessionRequest{Metadata: "x"}, "k")
	require.ErrorIs(t, err, pike.ErrIdempotencyKeyExists)
}

func TestALostAnswerLeavesTheClientInDoubt(t *testing.T) {
	m, ctx := newMerchant(t, nil), t.Context()
	client := m.client(t, pike.V1)
	status, body := m.post(t, "/_sim/behaviour", `{"metadata":"inv-1","preset":"confirm_answer_lost","lost_answers":["create","start","confirm"]}`)
	require.Equal(t, http.StatusOK, status, body)

	_, err := client.CreateSession(ctx, pike.CreateSessionRequest{Metadata: "inv-1"}, "")
	require.ErrorIs(t, err, pike.ErrUnknown)
	created, err := client.CreateSession(ctx, pike.CreateSessionRequest{Metadata: "inv-1"}, "")
	require.NoError(t, err)
	_, err = client.StartPayout(ctx, order(created.ID, "inv-1", pike.Destination{CardToken: card}), "")
	require.ErrorIs(t, err, pike.ErrUnknown)
	m.await(t, 1)
	_, err = client.ConfirmSession(ctx, created.ID, "")
	require.ErrorIs(t, err, pike.ErrUnknown)
	m.await(t, 2)
	require.Len(t, m.server.Ledger().Movements, 1)
	require.Len(t, m.server.Ledger().Accepted, 4, "no call was repeated by a transport")
}

func TestAnEarlyWebhookComesBeforeTheAnswer(t *testing.T) {
	m, ctx := newMerchant(t, nil), t.Context()
	client := m.client(t, pike.V1)
	created, err := client.CreateSession(ctx, pike.CreateSessionRequest{Metadata: "x"}, "")
	require.NoError(t, err)
	token := secret.String(pikesim.Token(pikesim.PresetWebhooksEarly))
	started, err := client.StartPayout(ctx, order(created.ID, "x", pike.Destination{CardToken: token}), "")
	require.NoError(t, err)
	require.Equal(t, pike.PayoutInProgress, started.Payouts[0].Status)
	require.Len(t, m.received(), 1, "without waiting")
}

func TestARefusedWebhookIsRepeatedOverHTTP(t *testing.T) {
	var mu sync.Mutex
	var signatures []string
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		signatures = append(signatures, r.Header.Get(pike.HeaderSign))
		if len(signatures) == 1 {
			http.Redirect(w, r, "/trap", http.StatusTemporaryRedirect)
		}
	}))
	t.Cleanup(receiver.Close)
	m := newMerchant(t, func(c *pikesim.Config) { c.WebhookURL, c.Scale = receiver.URL, 0.001 })
	client := m.client(t, pike.V1)
	created, err := client.CreateSession(t.Context(), pike.CreateSessionRequest{Metadata: "x"}, "")
	require.NoError(t, err)
	_, err = client.StartPayout(t.Context(), order(created.ID, "x", pike.Destination{CardToken: card}), "")
	require.NoError(t, err)

	require.Eventually(t, func() bool { return len(m.server.Ledger().Webhooks) >= 2 }, 10*time.Second, time.Millisecond)
	webhooks := m.server.Ledger().Webhooks
	require.Equal(t, http.StatusTemporaryRedirect, webhooks[0].HTTPStatus)
	require.Equal(t, http.StatusOK, webhooks[1].HTTPStatus)
	require.Equal(t, 2, webhooks[1].Attempt)
}

func TestCallersAreIdentified(t *testing.T) {
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	sign := func(key *rsa.PrivateKey, body string) string {
		signature, err := pike.Sign(key, []byte(body))
		require.NoError(t, err)
		return signature
	}
	good := sign(key(), "{}")
	tests := []struct {
		name   string
		body   string
		change func(http.Header)
		want   string
	}{
		{"good", "{}", func(http.Header) {}, ""},
		{"content type with charset", "{}", func(h http.Header) { h.Set("Content-Type", "application/json; charset=utf-8") }, ""},
		{"no project", "{}", func(h http.Header) { h.Del("X-PARTNER-PROJECT") }, "identification_error"},
		{"unknown project", "{}", func(h http.Header) { h.Set("X-PARTNER-PROJECT", "other") }, "identification_error"},
		{"two projects", "{}", func(h http.Header) { h.Add("X-PARTNER-PROJECT", project) }, "identification_error"},
		{"no signature", "{}", func(h http.Header) { h.Del("X-PARTNER-SIGN") }, "identification_error"},
		{"empty signature", "{}", func(h http.Header) { h.Set("X-PARTNER-SIGN", "") }, "authentication_error"},
		{"two signatures", "{}", func(h http.Header) { h.Add("X-PARTNER-SIGN", good) }, "authentication_error"},
		{"other bytes", "{ }", func(http.Header) {}, "authentication_error"},
		{"other key", "{}", func(h http.Header) { h.Set("X-PARTNER-SIGN", sign(other, "{}")) }, "authentication_error"},
		{"not base64", "{}", func(h http.Header) { h.Set("X-PARTNER-SIGN", "?") }, "authentication_error"},
		{"no padding", "{}", func(h http.Header) { h.Set("X-PARTNER-SIGN", strings.TrimRight(good, "=")) }, "authentication_error"},
		{"stray bits at the end", "{}", func(h http.Header) { h.Set("X-PARTNER-SIGN", good[:len(good)-3]+string(good[len(good)-3]+1)+"==") },
			"authentication_error"},
		{"too short", "{}", func(h http.Header) { h.Set("X-PARTNER-SIGN", "AAAA") }, "authentication_error"},
		{"hex placeholder", "{}", func(h http.Header) { h.Set("X-PARTNER-SIGN", card) }, "authentication_error"},
		{"no content type", "{}", func(h http.Header) { h.Del("Content-Type") }, "invalid_request"},
		{"form", "{}", func(h http.Header) { h.Set("Content-Type", "application/x-www-form-urlencoded") }, "invalid_request"},
		{"too large", strings.Repeat(" ", 1<<20) + "{}", func(http.Header) {}, "invalid_request"},
	}
	m := newMerchant(t, nil)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, m.url+"/api/v1/session/create", strings.NewReader(tt.body))
			require.NoError(t, err)
			request.Header = http.Header{}
			request.Header.Set("Content-Type", "application/json")
			request.Header.Set("X-PARTNER-PROJECT", project)
			request.Header.Set("X-PARTNER-SIGN", good)
			tt.change(request.Header)
			response, err := http.DefaultClient.Do(request)
			require.NoError(t, err)
			status, body := read(t, response)
			var answer answerJSON
			require.NoError(t, json.Unmarshal([]byte(body), &answer))
			require.Equal(t, tt.want, answer.code())
			require.Equal(t, tt.want == "", status == http.StatusOK)
			if tt.want != "" {
				require.Equal(t, http.StatusBadRequest, status)
				refused := m.server.Ledger().Refused
				require.Equal(t, tt.want, refused[len(refused)-1].Outcome)
			}
		})
	}
}

func TestControlEndpoint(t *testing.T) {
	m, ctx := newMerchant(t, nil), t.Context()
	status, body := m.post(t, "/_sim/behaviour", `{"default":true,"preset":"webhooks_lost"}`)
	require.Equal(t, http.StatusOK, status, body)
	status, body = m.post(t, "/_sim/behaviour", `{"metadata":"inv-1","outcome":"auto_confirm"}`)
	require.Equal(t, http.StatusOK, status, body)
	client := m.client(t, pike.V1)
	var ids []string
	for _, metadata := range []string{"inv-1", "inv-2"} {
		created, err := client.CreateSession(ctx, pike.CreateSessionRequest{Metadata: metadata}, "")
		require.NoError(t, err)
		_, err = client.StartPayout(ctx, order(created.ID, metadata, pike.Destination{CardToken: card}), "")
		require.NoError(t, err)
		ids = append(ids, created.ID)
	}
	require.Equal(t, ids[0], m.await(t, 1)[0].Session.ID)

	var ledger pikesim.Ledger
	require.NoError(t, json.Unmarshal([]byte(m.get(t, "/_sim/ledger?metadata=inv-1")), &ledger))
	require.Len(t, ledger.Accepted, 2)
	require.Len(t, ledger.Movements, 1)
	require.NoError(t, json.Unmarshal([]byte(m.get(t, "/_sim/ledger")), &ledger))
	require.Len(t, ledger.Accepted, 4)
	var summaries struct{ Sessions []pikesim.SessionSummary }
	require.NoError(t, json.Unmarshal([]byte(m.get(t, "/_sim/sessions")), &summaries))
	require.Len(t, summaries.Sessions, 2)
	require.Equal(t, "accepted", summaries.Sessions[0].Status)

	status, body = m.post(t, "/_sim/webhook", `{"session_id":"`+ids[1]+`","type":"payment_refunded"}`)
	require.Equal(t, http.StatusOK, status, body)
	require.Equal(t, pike.WebhookPaymentRefunded, m.await(t, 2)[1].Type)
	for _, hidden := range []string{card, "Ivanov", "user123"} {
		require.NotContains(t, m.get(t, "/_sim/ledger")+m.get(t, "/_sim/sessions"), hidden)
	}
}

func TestControlEndpointRefuses(t *testing.T) {
	m := newMerchant(t, nil)
	tests := []struct{ path, body, wantErr string }{
		{"/_sim/behaviour", `{"metadata":"x","outcom":"paid"}`, "metadata or default; preset, outcome"},
		{"/_sim/behaviour", `{"metadata":"x","outcome":"paid"}`, "outcome must be one of confirmed, declined_at_checks"},
		{"/_sim/behaviour", `{"default":true,"outcome":"paid"}`, "outcome must be one of confirmed, declined_at_checks"},
		{"/_sim/behaviour", `{"metadata":"x","preset":"paid"}`, "preset must be one of confirmed, declined_at_checks"},
		{"/_sim/behaviour", `{"metadata":"x","lost_answers":["token"]}`, "lost_answers must be of create, start, confirm, cancel, status"},
		{"/_sim/behaviour", `{"metadata":"x","lost_answers":[""]}`, "lost_answers must be of"},
		{"/_sim/behaviour", `{"metadata":"x","faults":[{"call":"confirm","kind":"x"}]}`, "kind must be one of never_arrives, works_later"},
		{"/_sim/behaviour", `{"metadata":"x","status_lag":60}`, `a duration must be text such as \"90s\"`},
		{"/_sim/behaviour", `{"metadata":"x","status_lag":"a minute"}`, `not \"a minute\"`},
		{"/_sim/modes", `{"second_start":"add"}`, "second_start must be one of refuse, add_payout"},
		{"/_sim/modes", `{"second":"add"}`, "second_start, second_confirm, idempotency_keys"},
		{"/_sim/chaos", `{"faults":{"confirm":{"lost":1.5}}}`, "faults.confirm.lost must be a probability"},
		{"/_sim/chaos", `{"lost":0.5}`, "seed, faults, webhooks, outcomes"},
		{"/_sim/behaviour", `{"outcome":"confirmed"}`, "give either"},
		{"/_sim/behaviour", `{"default":true,"metadata":"x"}`, "give either"},
		{"/_sim/behaviour", `{"default":true}{}`, "data after"},
		{"/_sim/behaviour", `x`, "must be a JSON object"},
		{"/_sim/webhook", `{"session_id":"ps_1","type":"payment_finished"}`, "no such session"},
		{"/_sim/webhook", `{"session":"ps_1"}`, "session_id, type"},
	}
	for _, tt := range tests {
		status, body := m.post(t, tt.path, tt.body)
		require.Equal(t, http.StatusBadRequest, status, tt.body)
		require.Contains(t, body, tt.wantErr)
	}
}

func TestTheControlEndpointAnswersThisMachineOnly(t *testing.T) {
	server, err := pikesim.New(pikesim.Config{PartnerKeys: []*rsa.PublicKey{&key().PublicKey}, Project: project})
	require.NoError(t, err)
	for peer, want := range map[string]int{
		"127.0.0.1:1": http.StatusOK, "[::1]:1": http.StatusOK, "[::ffff:127.0.0.1]:1": http.StatusOK,
		"192.0.2.1:1": http.StatusForbidden, "": http.StatusForbidden,
	} {
		request := httptest.NewRequest(http.MethodGet, "/_sim/ledger", nil)
		request.RemoteAddr = peer
		request.Header.Set("X-Forwarded-For", "127.0.0.1")
		recorder := httptest.NewRecorder()
		server.Handler().ServeHTTP(recorder, request)
		require.Equal(t, want, recorder.Code, peer)
	}
}

func TestLogsShowNoSecret(t *testing.T) {
	m, ctx := newMerchant(t, nil), t.Context()
	client := m.client(t, pike.V1)
	created, err := client.CreateSession(ctx, pike.CreateSessionRequest{Metadata: "x"}, "")
	require.NoError(t, err)
	_, err = client.StartPayout(ctx, order(created.ID, "x", pike.Destination{CardToken: card}), "")
	require.NoError(t, err)
	m.await(t, 1)
	require.Eventually(t, func() bool { return len(m.server.Ledger().Webhooks) == 1 }, 10*time.Second, time.Millisecond)
	_, _ = m.post(t, "/_sim/behaviour", `{}`)
	require.Contains(t, m.log.String(), "session/start/payout")
	for _, hidden := range []string{card, "Ivanov", "user123"} {
		require.NotContains(t, m.log.String(), hidden)
	}
}

func TestNewNamesWhatIsWrong(t *testing.T) {
	good := pikesim.Config{PartnerKeys: []*rsa.PublicKey{&key().PublicKey}, SigningKey: key(), Project: project, WebhookURL: "http://127.0.0.1/hook"}
	tests := []struct {
		wantErr string
		change  func(*pikesim.Config)
	}{
		{"PartnerKeys", func(c *pikesim.Config) { c.PartnerKeys = nil }},
		{"PartnerKeys[0]", func(c *pikesim.Config) { c.PartnerKeys = []*rsa.PublicKey{nil} }},
		{"PartnerKeys[1]", func(c *pikesim.Config) { c.PartnerKeys = append(c.PartnerKeys, &rsa.PublicKey{N: big.NewInt(3), E: 3}) }},
		{"Project", func(c *pikesim.Config) { c.Project = "" }},
		{"SigningKey is required", func(c *pikesim.Config) { c.SigningKey = nil }},
		{"WebhookURL", func(c *pikesim.Config) { c.WebhookURL = "/hook" }},
		{"WebhookURL", func(c *pikesim.Config) { c.WebhookURL = "ftp://x/hook" }},
		{"Scale", func(c *pikesim.Config) { c.Scale = -1 }},
		{"CallsPerSecond", func(c *pikesim.Config) { c.CallsPerSecond = -1 }},
		{"Modes: second_start", func(c *pikesim.Config) { c.Modes.SecondStart = "x" }},
		{"Chaos: two_payouts", func(c *pikesim.Config) { c.Chaos.TwoPayouts = 2 }},
		{"Timing.Checks", func(c *pikesim.Config) { c.Timing.Checks = -1 }},
		{"Timing.WebhookGaps[0]", func(c *pikesim.Config) { c.Timing.WebhookGaps = []time.Duration{0} }},
	}
	_, err := pikesim.New(good)
	require.NoError(t, err)
	for _, tt := range tests {
		config := good
		tt.change(&config)
		_, err := pikesim.New(config)
		require.ErrorContains(t, err, tt.wantErr)
	}
}
