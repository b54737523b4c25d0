package pikesim_test

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"pikepayouts/pike"
	"pikepayouts/pikesim"
)

// set posts to the control endpoint what must be accepted there.
func (m *merchant) set(t *testing.T, path, body string) string {
	t.Helper()
	status, answer := m.post(t, path, body)
	require.Equal(t, http.StatusOK, status, answer)
	return answer
}

func TestTheRealClientIsInDoubtAfterEveryFault(t *testing.T) {
	var trapped atomic.Int32
	trap := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { trapped.Add(1) }))
	defer trap.Close()
	m := newMerchant(t, nil)
	client, err := pike.NewClient(pike.Config{BaseURL: m.url, Project: project, Signer: key(), Timeout: 2 * time.Second})
	require.NoError(t, err)
	for _, fault := range []string{
		`"kind":"lost"`, `"kind":"never_arrives"`, `"kind":"works_later","delay":"1ms"`, `"kind":"late","delay":"3s"`, `"kind":"cut"`,
		`"kind":"html"`, `"kind":"empty"`, `"kind":"http_500"`, `"kind":"http_502"`, `"kind":"http_503"`, `"kind":"http_504"`,
		`"kind":"unknown_code"`, `"kind":"unknown_code_worked"`, `"kind":"huge"`, `"kind":"redirect","target":"` + trap.URL + `"`,
	} {
		t.Run(fault, func(t *testing.T) {
			m.set(t, "/_sim/behaviour", fmt.Sprintf(`{"metadata":%q,"faults":[{"call":"create",%s}]}`, t.Name(), fault))
			_, err := client.CreateSession(t.Context(), pike.CreateSessionRequest{Metadata: t.Name()}, "")
			require.ErrorIs(t, err, pike.ErrUnknown)
			_, err = client.CreateSession(t.Context(), pike.CreateSessionRequest{Metadata: t.Name()}, "")
			require.NoError(t, err, "once only")
		})
	}
	require.Zero(t, trapped.Load())
}

func TestFaultsOverHTTP(t *testing.T) {
	m := newMerchant(t, nil)
	create := func(t *testing.T, fault string) *http.Response {
		t.Helper()
		m.set(t, "/_sim/behaviour", `{"default":true,"faults":[{"call":"create",`+fault+`}]}`)
		signature, err := pike.Sign(key(), []byte(`{}`))
		require.NoError(t, err)
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, m.url+"/api/v1/session/create", strings.NewReader(`{}`))
		require.NoError(t, err)
		request.Header.Set("Content-Type", "application/json")
		request.Header.Set("X-PARTNER-PROJECT", project)
		request.Header.Set("X-PARTNER-SIGN", signature)
		client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
		response, err := client.Do(request)
		require.NoError(t, err)
		t.Cleanup(func() { _ = response.Body.Close() })
		return response
	}
	t.Run("429", func(t *testing.T) {
		response := create(t, `"kind":"http_429","times":-1`)
		require.Equal(t, 429, response.StatusCode)
		require.Empty(t, response.Header.Values("Retry-After"))
		response = create(t, `"kind":"http_429_retry_after","delay":"1500ms","times":-1`)
		require.Equal(t, 429, response.StatusCode)
		require.Equal(t, "2", response.Header.Get("Retry-After"))
	})
	t.Run("redirect", func(t *testing.T) {
		response := create(t, `"kind":"redirect","target":"http://127.0.0.1:1/x","times":-1`)
		require.Equal(t, 307, response.StatusCode)
		require.Equal(t, "http://127.0.0.1:1/x", response.Header.Get("Location"))
	})
	t.Run("html", func(t *testing.T) {
		response := create(t, `"kind":"html","times":-1`)
		require.Equal(t, 200, response.StatusCode)
		require.Equal(t, "text/html; charset=utf-8", response.Header.Get("Content-Type"))
	})
	t.Run("cut", func(t *testing.T) {
		response := create(t, `"kind":"cut","times":-1`)
		require.Equal(t, 200, response.StatusCode)
		body, err := io.ReadAll(response.Body)
		require.ErrorIs(t, err, io.ErrUnexpectedEOF)
		require.True(t, strings.HasPrefix(string(body), `{"status":"ok"`))
	})
	t.Run("late", func(t *testing.T) {
		begin := time.Now()
		response := create(t, `"kind":"late","delay":"200ms","times":-1`)
		require.GreaterOrEqual(t, time.Since(begin), 200*time.Millisecond)
		_, body := read(t, response)
		require.Contains(t, body, `"status":"ok"`)
	})
	t.Run("huge", func(t *testing.T) {
		_, body := read(t, create(t, `"kind":"huge","times":-1`))
		require.Greater(t, len(body), 5<<20)
		require.True(t, json.Valid([]byte(body)))
	})
}

func TestModesAndChaosOverHTTP(t *testing.T) {
	m := newMerchant(t, func(c *pikesim.Config) {
		c.Modes.SecondConfirm, c.Chaos.Outcomes = "no_op", map[pikesim.Outcome]float64{"never_ready": 1}
	})
	client := m.client(t, pike.V1)
	start := func(metadata string) string {
		created, err := client.CreateSession(t.Context(), pike.CreateSessionRequest{Metadata: metadata}, "")
		require.NoError(t, err)
		_, err = client.StartPayout(t.Context(), order(created.ID, metadata, pike.Destination{CardToken: card}), "")
		require.NoError(t, err)
		return created.ID
	}
	start("never")
	require.Contains(t, m.get(t, "/_sim/sessions"), `"behaviour":{"outcome":"never_ready"}`)
	require.Contains(t, m.set(t, "/_sim/chaos", `{}`), `"chaos":{}`)
	id := start("no_op")
	require.Equal(t, id, m.await(t, 1)[0].Session.ID)
	_, err := client.ConfirmSession(t.Context(), id, "")
	require.NoError(t, err)
	_, err = client.ConfirmSession(t.Context(), id, "")
	require.NoError(t, err)
	require.Contains(t, m.set(t, "/_sim/modes", `{"second_confirm":"pay_again"}`), `"modes":{"second_confirm":"pay_again"}`)
	_, err = client.ConfirmSession(t.Context(), id, "")
	require.NoError(t, err)
	require.Eventually(t, func() bool { return len(m.server.Ledger().PaidTwice()) == 1 }, 10*time.Second, time.Millisecond)

	var answer struct {
		Tallies map[string]pikesim.Tally
		Orphans int
	}
	require.NoError(t, json.Unmarshal([]byte(m.get(t, "/_sim/tallies")), &answer))
	require.Equal(t, 2, answer.Tallies["no_op"].Paid)
	require.Equal(t, 2, answer.Tallies["no_op"].Repeated[pikesim.StepConfirm])
	require.Zero(t, answer.Tallies["never"].Paid)

	m.set(t, "/_sim/chaos", `{"faults":{"status":{"http_503":1}}}`)
	_, err = client.SessionStatus(t.Context(), id)
	require.ErrorIs(t, err, pike.ErrUnknown)
}

func TestThePresetIsChangedByTheBody(t *testing.T) {
	m := newMerchant(t, nil)
	require.JSONEq(t, `{"status":"ok","behaviour":{"faults":[{"call":"confirm","kind":"lost"}]}}`,
		m.set(t, "/_sim/behaviour", `{"metadata":"x","preset":"confirm_answer_lost"}`))
	require.JSONEq(t, `{"status":"ok","behaviour":{"cancel":"refused","faults":[{"call":"confirm","kind":"lost"}]}}`,
		m.set(t, "/_sim/behaviour", `{"metadata":"x","preset":"confirm_answer_lost","cancel":"refused"}`))
	require.JSONEq(t, `{"status":"ok","behaviour":{"faults":[{"call":"start","kind":"lost"},{"call":"status","kind":"lost"}]}}`,
		m.set(t, "/_sim/behaviour", `{"metadata":"x","preset":"confirm_answer_lost","lost_answers":["start","status"]}`))
	require.JSONEq(t, `{"status":"ok","behaviour":{"faults":[{"call":"start","kind":"cut"},{"call":"create","kind":"lost"}]}}`,
		m.set(t, "/_sim/behaviour", `{"metadata":"x","preset":"status_down","faults":[{"call":"start","kind":"cut"}],"lost_answers":["create"]}`))
	require.JSONEq(t, `{"status":"ok","behaviour":{"second_start":"no_op"}}`,
		m.set(t, "/_sim/behaviour", `{"metadata":"x","preset":"second_start_adds_payout","second_start":"no_op"}`))
}

func TestTheSigningKeyIsSwitched(t *testing.T) {
	signatures := make(chan error, 2)
	next, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	verifier, err := pike.NewVerifier(&next.PublicKey)
	require.NoError(t, err)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_, err := verifier.Verify(body, r.Header.Values(pike.HeaderSign))
		signatures <- err
	}))
	t.Cleanup(receiver.Close)
	m := newMerchant(t, func(c *pikesim.Config) { c.WebhookURL = receiver.URL })
	client := m.client(t, pike.V1)
	created, err := client.CreateSession(t.Context(), pike.CreateSessionRequest{Metadata: "x"}, "")
	require.NoError(t, err)
	send := func() error {
		m.set(t, "/_sim/webhook", `{"session_id":"`+created.ID+`","type":"payment_finished"}`)
		return <-signatures
	}
	require.Error(t, send())
	require.ErrorContains(t, m.server.SwitchSigningKey(nil), "SigningKey is required")
	require.NoError(t, m.server.SwitchSigningKey(next))
	require.NoError(t, send())
}
