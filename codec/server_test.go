package codec_test

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	"google.golang.org/protobuf/encoding/protojson"

	"pikepayouts/codec"
	"pikepayouts/payout"
	"pikepayouts/secret"
)

const origin = "http://127.0.0.1:8233"

type codecServer struct {
	*httptest.Server
	t   *testing.T
	log *bytes.Buffer
}

func startServer(t *testing.T, keyset *codec.Keyset, change func(*codec.ServerConfig)) codecServer {
	t.Helper()
	var log bytes.Buffer
	config := codec.ServerConfig{Keyset: keyset, Namespace: namespace, Origins: []string{origin}, Logger: slog.New(slog.NewJSONHandler(&log, nil))}
	if change != nil {
		change(&config)
	}
	handler, err := codec.NewServer(config)
	require.NoError(t, err)
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return codecServer{server, t, &log}
}

// post is one request; header lines are "Name: value".
func (s codecServer) post(path string, payloads []*commonpb.Payload, header ...string) (*http.Response, string) {
	s.t.Helper()
	body, err := protojson.Marshal(&commonpb.Payloads{Payloads: payloads})
	require.NoError(s.t, err)
	return s.send(http.MethodPost, path, body, header...)
}

func (s codecServer) send(method, path string, body []byte, header ...string) (*http.Response, string) {
	s.t.Helper()
	request, err := http.NewRequestWithContext(s.t.Context(), method, s.URL+path, bytes.NewReader(body))
	require.NoError(s.t, err)
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		request.Header.Set(name, value)
	}
	response, err := http.DefaultClient.Do(request)
	require.NoError(s.t, err)
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	require.NoError(s.t, err)
	return response, string(text)
}

func (s codecServer) ok(path string, payloads ...*commonpb.Payload) []*commonpb.Payload {
	s.t.Helper()
	response, text := s.post(path, payloads)
	require.Equal(s.t, http.StatusOK, response.StatusCode, text)
	var answer commonpb.Payloads
	require.NoError(s.t, protojson.Unmarshal([]byte(text), &answer))
	return answer.GetPayloads()
}

const startRequest = `{"payout_id":"p1","amount_details":{"amount":12345678901234567,"currency":"eur"},"destination":{"tokenized_card":{"token":"` + token +
	`"}},"recipient":{"full_name":"Ivanov Ivan"}}`

// TestEncodeBindsToTheWorkflow: by the path, or by what the payload says itself.
func TestEncodeBindsToTheWorkflow(t *testing.T) {
	keyset := newKeyset(t)
	s := startServer(t, keyset, nil)
	for _, tt := range []struct{ path, data, want string }{
		{"/encode", startRequest, payout.WorkflowID("p1")},
		{"/encode", `{"decision":"confirm","by":"ann","workflow_id":"payout/p1"}`, "payout/p1"},
		{"/payout/p2/encode", `{"decision":"confirm","by":"ann"}`, "payout/p2"},
		{"/payout/p2/encode", `"text"`, "payout/p2"},
		{"/payout-event/ps_1/" + token + "/encode", `{"action":"recheck","by":"ann"}`, "payout-event/ps_1/" + token},
	} {
		sealed := s.ok(tt.path, clearPayload(tt.data))
		opened, err := decrypted(codec.New(keyset).For(namespace, tt.want), sealed[0])
		require.NoError(t, err, tt)
		require.Equal(t, tt.data, string(opened.GetData()))
	}
	for _, data := range []string{`{"decision":"confirm","by":"ann"}`, `"text"`, `[1]`, `{"payout_id":7}`} {
		response, text := s.post("/encode", []*commonpb.Payload{clearPayload(data)})
		require.Equal(t, http.StatusBadRequest, response.StatusCode)
		require.Contains(t, text, "workflow_id")
	}
}

// TestDecodeMasksCards and keeps everything else as it was, to the last digit.
func TestDecodeMasksCards(t *testing.T) {
	keyset := newKeyset(t)
	c := codec.New(keyset).For(namespace, workflow1)
	s := startServer(t, keyset, nil)
	for data, want := range map[string]string{
		startRequest: strings.Replace(startRequest, token, "[masked]", 1),
		`{"destination":{"encrypted_card":{"number_hash":"` + token + `"}}}`: `{"destination":{"encrypted_card":{"number_hash":"[masked]"}}}`,
		`[{"destination":{"recurrent":{"Token":"` + token + `"}}}]`:          `[{"destination":{"recurrent":{"Token":"[masked]"}}}]`,
		`{"destination":{"encrypted_card":{"number_haſh":"` + token + `"}}}`: `{"destination":{"encrypted_card":{"number_haſh":"[masked]"}}}`,
		`{"destination":{"recurrent":{"token":"` + token + `"}}`:             `"[masked]"`, // no JSON for want of a bracket
		`1 {"token":"` + token + `"}`:                                        `"[masked]"`,
		`{"by":"ann"}`:                                                       `{"by":"ann"}`,
		`"text"`:                                                             `"text"`,
		`17`:                                                                 `17`,
	} {
		got := s.ok("/decode", encrypted(t, c, clearPayload(data)))
		require.JSONEq(t, want, string(got[0].GetData()))
		require.Contains(t, string(got[0].GetData()), number(want), "a number keeps its digits")
	}
	open := startServer(t, keyset, func(c *codec.ServerConfig) { c.ShowCards = true })
	require.JSONEq(t, startRequest, string(open.ok("/decode", encrypted(t, c, clearPayload(startRequest)))[0].GetData()))
}

func number(text string) string {
	if strings.Contains(text, "12345678901234567") {
		return "12345678901234567"
	}
	return ""
}

// TestDecodeLeavesClearTextAsItIs: the Web UI sends all that it shows.
func TestDecodeLeavesClearTextAsItIs(t *testing.T) {
	s := startServer(t, newKeyset(t), nil)
	require.Equal(t, `"x"`, string(s.ok("/decode", clearPayload(`"x"`))[0].GetData()))
}

func TestDecodeOfOneWorkflowOnly(t *testing.T) {
	keyset := newKeyset(t)
	s := startServer(t, keyset, nil)
	payload := encrypted(t, codec.New(keyset).For(namespace, workflow1), clearPayload(`"x"`))
	s.ok("/payout/p1/decode", payload)
	response, _ := s.post("/payout/p2/decode", []*commonpb.Payload{payload})
	require.Equal(t, http.StatusBadRequest, response.StatusCode)
}

// TestWhoMayCall: hazard T4.
func TestWhoMayCall(t *testing.T) {
	keyset := newKeyset(t)
	good := []*commonpb.Payload{encrypted(t, codec.New(keyset).For(namespace, workflow1), clearPayload(`"CANARY"`))}
	foreign := []*commonpb.Payload{encrypted(t, codec.New(keyset).For("other", workflow1), clearPayload(`"CANARY"`))}
	withToken := startServer(t, keyset, func(c *codec.ServerConfig) { c.Token = secret.String("correct-horse-battery") })
	noToken := startServer(t, keyset, nil)
	bearer := "Authorization: Bearer correct-horse-battery"
	tests := map[string]struct {
		server   codecServer
		payloads []*commonpb.Payload
		header   []string
		want     int
	}{
		"no browser, no token asked":  {noToken, good, nil, 200},
		"the Web UI":                  {noToken, good, []string{"Origin: " + origin, "X-Namespace: " + namespace}, 200},
		"another origin":              {noToken, good, []string{"Origin: https://evil.example"}, 403},
		"the origin with more behind": {noToken, good, []string{"Origin: " + origin + ".evil.example"}, 403},
		"the origin in capitals":      {noToken, good, []string{"Origin: HTTP://127.0.0.1:8233"}, 403},
		"no origin to tell":           {noToken, good, []string{"Origin: null"}, 403},
		"another namespace":           {noToken, good, []string{"X-Namespace: other"}, 403},
		"payload of another one":      {noToken, foreign, nil, 400},
		"the token":                   {withToken, good, []string{bearer}, 200},
		"no token":                    {withToken, good, nil, 401},
		"wrong token":                 {withToken, good, []string{bearer + "x"}, 401},
		"token without Bearer":        {withToken, good, []string{"Authorization: correct-horse-battery"}, 401},
		"token of another origin":     {withToken, good, []string{bearer, "Origin: https://evil.example"}, 403},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			response, text := tt.server.post("/decode", tt.payloads, tt.header...)
			require.Equal(t, tt.want, response.StatusCode, text)
			if tt.want != 200 {
				require.NotContains(t, text, "Q0FOQVJZ", "CANARY in base 64, as payloads come")
			}
			allowed := response.Header.Get("Access-Control-Allow-Origin")
			require.True(t, allowed == "" || allowed == origin, "allows %q", allowed)
			require.Contains(t, response.Header.Get("Vary"), "Origin")
		})
	}
}

func TestABrowserAsksFirst(t *testing.T) {
	s := startServer(t, newKeyset(t), func(c *codec.ServerConfig) { c.Token = "correct-horse-battery" })
	response, _ := s.send(http.MethodOptions, "/decode", nil, "Origin: "+origin, "Access-Control-Request-Method: POST")
	require.Equal(t, http.StatusNoContent, response.StatusCode)
	require.Equal(t, origin, response.Header.Get("Access-Control-Allow-Origin"))
	require.Contains(t, response.Header.Get("Access-Control-Allow-Headers"), "X-Namespace")
	response, _ = s.send(http.MethodOptions, "/decode", nil, "Origin: https://evil.example")
	require.Equal(t, http.StatusForbidden, response.StatusCode)
	require.Empty(t, response.Header.Get("Access-Control-Allow-Origin"))
}

func TestOtherRequests(t *testing.T) {
	s := startServer(t, newKeyset(t), nil)
	for _, tt := range []struct {
		method, path, body string
		want               int
	}{
		{"GET", "/decode", "", 405}, {"POST", "/", "{}", 404}, {"POST", "/metrics", "{}", 404},
		{"POST", "/decode", "no JSON", 400}, {"POST", "/decode", "", 400}, {"POST", "/decode", strings.Repeat(" ", 9<<20), 400},
	} {
		response, _ := s.send(tt.method, tt.path, []byte(tt.body))
		require.Equal(t, tt.want, response.StatusCode, "%s %s", tt.method, tt.path)
	}
}

// deadlines keeps the last one that a handler set.
type deadlines struct {
	*httptest.ResponseRecorder
	read time.Time
}

// SetReadDeadline is what http.ResponseController looks for.
func (d *deadlines) SetReadDeadline(at time.Time) error {
	d.read = at
	return nil
}

// TestABodyThatNeverComesIsNotWaitedFor, whoever sends it.
func TestABodyThatNeverComesIsNotWaitedFor(t *testing.T) {
	s := startServer(t, newKeyset(t), func(c *codec.ServerConfig) { c.Token = "correct-horse-battery" })
	w := &deadlines{ResponseRecorder: httptest.NewRecorder()}
	s.Config.Handler.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/decode", strings.NewReader("{")))
	require.Equal(t, http.StatusUnauthorized, w.Code)
	require.False(t, w.read.IsZero())
}

// TestEveryDecodeIsLogged: who and which payouts, never what they say (hazard T4).
func TestEveryDecodeIsLogged(t *testing.T) {
	keyset := newKeyset(t)
	s := startServer(t, keyset, nil)
	c := codec.New(keyset)
	s.post("/decode", []*commonpb.Payload{
		encrypted(t, c.For(namespace, workflow2), clearPayload(`"CANARY"`)), encrypted(t, c.For(namespace, workflow1), clearPayload(`"CANARY"`)),
		encrypted(t, c.For(namespace, workflow1), clearPayload(`"CANARY"`)), clearPayload(`"CANARY"`),
	}, "Origin: "+origin)
	s.post("/decode", []*commonpb.Payload{encrypted(t, codec.New(newKeyset(t)).For(namespace, workflow1), clearPayload(`"CANARY"`))})
	s.post("/decode", nil, "Origin: https://evil.example")

	lines := strings.Split(strings.TrimSpace(s.log.String()), "\n")
	require.Len(t, lines, 3)
	require.NotContains(t, s.log.String(), "CANARY")
	var line struct {
		Msg       string
		Remote    string
		Origin    string
		Namespace string
		Workflows []string
		Payloads  int
		Error     string
	}
	require.NoError(t, json.Unmarshal([]byte(lines[0]), &line))
	require.NotEmpty(t, line.Remote)
	line.Remote = ""
	require.Equal(t, "decode", line.Msg)
	require.Equal(t, origin, line.Origin)
	require.Equal(t, []string{workflow1, workflow2}, line.Workflows)
	require.Equal(t, 4, line.Payloads)
	require.Empty(t, line.Error)
	require.Contains(t, lines[1], "no key for this payload")
	require.Contains(t, lines[2], `"status":403`)
}

func TestServerConfigIsChecked(t *testing.T) {
	keyset := newKeyset(t)
	logger := slog.New(slog.DiscardHandler)
	for name, config := range map[string]codec.ServerConfig{
		"keyset":    {Namespace: namespace, Logger: logger},
		"namespace": {Keyset: keyset, Logger: logger},
		"logger":    {Keyset: keyset, Namespace: namespace},
		"origins":   {Keyset: keyset, Namespace: namespace, Logger: logger, Origins: []string{"*"}},
	} {
		_, err := codec.NewServer(config)
		require.ErrorContains(t, err, name)
	}
	for _, bad := range []string{"", "*", "null", "temporal.example.com", "https://", "https://x/", "https://*.example.com", "ftp://x", "https://a b", "https://u@x"} {
		require.Error(t, codec.CheckOrigin(bad), bad)
	}
	for _, good := range []string{"https://temporal.example.com", "http://127.0.0.1:8233", "http://[::1]:8233"} {
		require.NoError(t, codec.CheckOrigin(good), good)
	}
}
