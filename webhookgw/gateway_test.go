package webhookgw_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"

	"pikepayouts/payout"
	"pikepayouts/pike"
	"pikepayouts/webhookgw"
)

// TestGenuineWebhooks is the answer table (hazards.md after W25) for signed bodies.
func TestGenuineWebhooks(t *testing.T) {
	ready := webhookBody("ready_to_confirm", `"inv-1"`)
	session := func(rest string) string {
		return `{"type":"payment_finished","session":{"id":"ps_1","status":"accepted",` + rest + `}}`
	}
	tests := []struct {
		name       string
		body       string
		temporal   error
		wantStatus int
		wantCount  string
		wantSignal bool
	}{
		{"ready to confirm", ready, nil, 200, "ready_to_confirm/signalled", true},
		{"payment finished", webhookBody("payment_finished", `"inv-1"`), nil, 200, "payment_finished/signalled", true},
		{"v2 naming", session(`"payout_list":[` + payoutItem("po_1", `"inv-1"`) + `]`), nil, 200, "payment_finished/signalled", true},
		{"two payouts of one order", session(`"payments":[` + payoutItem("po_1", `"inv-1"`) + `,` + payoutItem("po_2", `"inv-1"`) + `]`), nil, 200, "payment_finished/signalled", true},
		{"payout beside an incoming payment", session(`"acquiring_payments":[{}],"payments":[` + payoutItem("po_1", `"inv-1"`) + `]`), nil, 200, "payment_finished/signalled", true},

		{"closed or unknown payout", ready, serviceerror.NewNotFound("workflow execution already completed"), 200, "ready_to_confirm/no_open_payout", true},
		{"signal limit", ready, serviceerror.NewInvalidArgument("exceeded workflow execution limit for signal events"), 200, "ready_to_confirm/poison", true},

		{"Temporal down", ready, serviceerror.NewUnavailable("connection refused"), 503, "ready_to_confirm/unavailable", true},
		{"Temporal slow", ready, serviceerror.NewDeadlineExceeded("slow"), 503, "ready_to_confirm/unavailable", true},
		{"own deadline", ready, fmt.Errorf("signalling: %w", context.DeadlineExceeded), 503, "ready_to_confirm/unavailable", true},
		{"workflow is closing", ready, serviceerror.NewResourceExhausted(enumspb.RESOURCE_EXHAUSTED_CAUSE_BUSY_WORKFLOW, "workflow is closing"), 503, "ready_to_confirm/unavailable", true},
		{"cancelled", ready, serviceerror.NewCanceled("closing"), 503, "ready_to_confirm/unavailable", true},
		{"no permission", ready, serviceerror.NewPermissionDenied("no", ""), 503, "ready_to_confirm/hand_off_failed", true},
		{"no such namespace", ready, serviceerror.NewNamespaceNotFound("payouts"), 503, "ready_to_confirm/hand_off_failed", true},
		{"codec fault", ready, errors.New("keyset: no primary key"), 503, "ready_to_confirm/hand_off_failed", true},

		{"refund", webhookBody("payment_refunded", `"inv-1"`), nil, 200, "payment_refunded/refunded", false},
		{"action required", webhookBody("action_required", `"inv-1"`), nil, 200, "action_required/type_ignored", false},
		{"ready to capture", webhookBody("ready_to_capture", `"inv-1"`), nil, 200, "ready_to_capture/type_ignored", false},
		{"unknown type", webhookBody("card_blessed", `"inv-1"`), nil, 200, "other/type_ignored", false},
		{"another unknown type", webhookBody("READY_TO_CONFIRM", `"inv-1"`), nil, 200, "other/type_ignored", false},

		{"only incoming payments, v1", session(`"acquiring_payments":[{"id":"pm_1"}]`), nil, 200, "payment_finished/incoming_only", false},
		{"only incoming payments, v2", session(`"payment_list":[{"id":"pm_1"}]`), nil, 200, "payment_finished/incoming_only", false},

		{"no payout at all", session(`"payments":[]`), nil, 200, "payment_finished/uncorrelated", false},
		{"no metadata", session(`"payments":[{"id":"po_1"}]`), nil, 200, "payment_finished/uncorrelated", false},
		{"metadata is an integer", webhookBody("payment_finished", `7`), nil, 200, "payment_finished/uncorrelated", false},
		{"metadata is an object", webhookBody("payment_finished", `{"payout_id":"inv-1"}`), nil, 200, "payment_finished/uncorrelated", false},
		{"metadata is no payout id", webhookBody("payment_finished", `"inv/1"`), nil, 200, "payment_finished/uncorrelated", false},
		{"two orders", session(`"payments":[` + payoutItem("po_1", `"inv-1"`) + `,` + payoutItem("po_2", `"inv-2"`) + `]`), nil, 200, "payment_finished/uncorrelated", false},
		{"an order and a stranger", session(`"payments":[` + payoutItem("po_1", `"inv-1"`) + `,` + payoutItem("po_2", `null`) + `]`), nil, 200, "payment_finished/uncorrelated", false},

		{"not JSON", `<html>` + canary, nil, 200, "none/unparsable", false},
		{"empty", ``, nil, 200, "none/unparsable", false},
		{"no type", `{"session":{"id":"ps_1"}}`, nil, 200, "none/unparsable", false},
		{"no session", `{"type":"ready_to_confirm"}`, nil, 200, "none/unparsable", false},
		{"amount is text", strings.Replace(ready, "10000", `"`+canary+`"`, 1), nil, 200, "none/unparsable", false},
		{"both namings", session(`"payments":[],"payout_list":[]`), nil, 200, "none/unparsable", false},
		{"duplicate key", strings.Replace(ready, `"session"`, `"`+canary+`":1,"`+canary+`":2,"session"`, 1), nil, 200, "none/unparsable", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := newHarness(t)
			h.signaler.hook = func(context.Context) error { return tt.temporal }
			signature := sign(t, pikeKey(), tt.body)
			response := h.post(tt.body, signature)
			require.Equal(t, tt.wantStatus, response.Code)
			require.Equal(t, tt.wantStatus == 503, response.Header().Get("Retry-After") != "")
			require.Equal(t, map[string]float64{tt.wantCount: 1}, h.counts())
			require.Equal(t, tt.wantSignal, len(h.signaler.seen()) == 1)
			h.requireKept(keptFor[webhookgw.Answer(strings.Split(tt.wantCount, "/")[1])])
			require.Contains(t, h.log.String(), `"answer":"`+strings.Split(tt.wantCount, "/")[1]+`"`)
			h.requireNothingSecretLogged(signature)
		})
	}
}

// keptFor are the answers before which a late event must be durable.
var keptFor = map[webhookgw.Answer]payout.LateReason{
	webhookgw.AnswerNoOpenPayout: payout.LateNoOpenPayout, webhookgw.AnswerPoison: payout.LatePoison, webhookgw.AnswerUnparsable: payout.LateUnparsable,
	webhookgw.AnswerUncorrelated: payout.LateUncorrelated, webhookgw.AnswerRefunded: payout.LateRefunded,
}

// requireKept looks for one late event of the reason, or for none.
func (h *harness) requireKept(reason payout.LateReason) {
	h.t.Helper()
	if reason == "" {
		require.Empty(h.t, h.signaler.kept)
		return
	}
	require.Len(h.t, h.signaler.kept, 1)
	kept := h.signaler.kept[0]
	require.Equal(h.t, reason, kept.Reason)
	require.True(h.t, payout.IsLateEventWorkflowID(payout.LateEventWorkflowID(kept.Event)))
	require.Equal(h.t, noon, kept.Event.ReceivedAt)
	require.Equal(h.t, reason == payout.LateUncorrelated || reason == payout.LateUnparsable, kept.PayoutID == "", "only what is a payout id is taken for one")
	require.NotContains(h.t, fmt.Sprintf("%+v", kept), canary, "card data does not travel in events")
}

// TestWhatCannotBeKeptComesAgain: 200 only after the late event is durable (hazards W12, W13, W15).
func TestWhatCannotBeKeptComesAgain(t *testing.T) {
	tests := []struct {
		temporal error
		want     string
	}{
		{serviceerror.NewUnavailable("down"), "unavailable"}, {context.DeadlineExceeded, "unavailable"},
		{serviceerror.NewPermissionDenied("no", ""), "hand_off_failed"}, {serviceerror.NewInvalidArgument("no"), "hand_off_failed"},
		{serviceerror.NewNamespaceNotFound("payouts"), "hand_off_failed"}, {serviceerror.NewNotFound("no"), "hand_off_failed"},
	}
	bodies := map[string]string{
		"ready_to_confirm": webhookBody("ready_to_confirm", `"inv-1"`), "payment_refunded": webhookBody("payment_refunded", `"inv-1"`),
		"payment_finished": webhookBody("payment_finished", `7`), "none": `<html>`,
	}
	for kind, body := range bodies {
		for _, tt := range tests {
			h := newHarness(t)
			h.signaler.hook = func(context.Context) error { return serviceerror.NewNotFound("workflow execution already completed") }
			h.signaler.keepHook = func(context.Context) error { return tt.temporal }
			response := h.postSigned(body)
			require.Equal(t, 503, response.Code)
			require.NotEmpty(t, response.Header().Get("Retry-After"))
			require.Equal(t, map[string]float64{kind + "/" + tt.want: 1}, h.counts())
		}
	}
}

// TestAnUnreadableWebhookIsKeptByItsDigest: what can be glanced at helps to look the session up, nothing else is taken over.
func TestAnUnreadableWebhookIsKeptByItsDigest(t *testing.T) {
	h := newHarness(t)
	body := `{"type":"payment_finished","session":{"id":"ps_1","payments":[{"amount_details":{"amount":"` + canary + `"}}]}}`
	for range 3 {
		require.Equal(t, 200, h.postSigned(body).Code)
	}
	for _, kept := range h.signaler.kept {
		require.Equal(t, payout.LateEvent{Reason: payout.LateUnparsable, Event: payout.Event{
			ID: kept.Event.ID, Type: "payment_finished", SessionID: "ps_1", ReceivedAt: noon,
		}}, kept)
		require.Equal(t, h.signaler.kept[0].Event.ID, kept.Event.ID)
	}
	h.postSigned(`{"type":["` + canary + `"],"session":{"id":"` + strings.Repeat("x", 65) + `"}}`)
	last := h.signaler.kept[3].Event
	require.Empty(t, last.Type+last.SessionID)
	require.NotEqual(t, h.signaler.kept[0].Event.ID, last.ID)
}

func TestLogNamesThePayout(t *testing.T) {
	h := newHarness(t)
	h.postSigned(webhookBody("ready_to_confirm", `"inv-1"`))
	for _, want := range []string{`"payout_id":"inv-1"`, `"workflow_id":"payout/inv-1"`, `"session_id":"ps_3230"`, `"type":"ready_to_confirm"`, `"level":"INFO"`} {
		require.Contains(t, h.log.String(), want)
	}
}

func TestLevelsOfTheLog(t *testing.T) {
	ready := webhookBody("ready_to_confirm", `"inv-1"`)
	levels := []struct {
		temporal error
		want     string
	}{
		{serviceerror.NewNotFound("gone"), "WARN"}, {serviceerror.NewInvalidArgument("too many"), "WARN"},
		{serviceerror.NewUnavailable("down"), "WARN"}, {serviceerror.NewPermissionDenied("no", ""), "ERROR"},
	}
	for _, tt := range levels {
		h := newHarness(t)
		h.signaler.hook = func(context.Context) error { return tt.temporal }
		h.postSigned(ready)
		require.Contains(t, h.log.String(), `"level":"`+tt.want+`"`, "%T", tt.temporal)
	}
	forged := newHarness(t)
	forged.post(ready, "x")
	require.Contains(t, forged.log.String(), `"level":"DEBUG"`, "strangers must not be able to flood the log")
}

func TestMethodAndPathComeFirst(t *testing.T) {
	tests := []struct {
		method, path string
		want         int
	}{
		{http.MethodGet, webhookgw.DefaultPath, 405}, {http.MethodHead, webhookgw.DefaultPath, 405},
		{http.MethodPut, webhookgw.DefaultPath, 405}, {http.MethodOptions, webhookgw.DefaultPath, 405},
		{http.MethodPost, "/", 404}, {http.MethodPost, webhookgw.DefaultPath + "/", 404},
		{http.MethodPost, "/" + webhookgw.DefaultPath, 404}, {http.MethodPost, strings.ToUpper(webhookgw.DefaultPath), 404},
		{http.MethodGet, "/metrics", 404}, {http.MethodGet, "/healthz", 404}, {http.MethodGet, "/debug/pprof/", 404},
	}
	for _, tt := range tests {
		h := newHarness(t)
		request := httptest.NewRequest(tt.method, "http://gateway"+tt.path, nil)
		require.Equal(t, tt.want, h.do(request).Code, "%s %s", tt.method, tt.path)
		require.Empty(t, h.counts())
	}
}

func TestEventIsFilled(t *testing.T) {
	h := newHarness(t)
	h.postSigned(`{"type":"payment_finished","session":{"id":"ps_1","status":"canceled","next_action":"confirm",
		"error":{"code":"session_code","description":"of the session"},
		"payments":[{"id":"po_1","status":"failed","amount_details":{"amount":250,"currency":"EUR"},"metadata":"inv-1",
		"error":{"code":"payout_code","description":"of the payout"}}]}}`)
	require.Regexp(t, `^[0-9a-f]{64}$`, h.signaler.seen()[0].event.ID)
	require.Equal(t, []payout.Event{{
		ID: h.signaler.seen()[0].event.ID, Type: "payment_finished", SessionID: "ps_1", SessionStatus: "cancelled", NextAction: "confirm", PikePayoutID: "po_1",
		PayoutStatus: "failed", AmountDetails: payout.AmountDetails{Amount: 250, Currency: "EUR"},
		Error: &payout.Error{Code: "payout_code", Description: "of the payout"}, ReceivedAt: noon,
	}}, eventsOf(h.signaler.seen()))

	h.postSigned(`{"type":"payment_finished","session":{"id":"ps_1","status":"error",
		"error":{"code":"session_code","description":"of the session"},"payments":[{"id":"po_1","status":"failed","metadata":"inv-1"}]}}`)
	require.Equal(t, &payout.Error{Code: "session_code", Description: "of the session"}, h.signaler.seen()[1].event.Error)
}

func eventsOf(calls []signalCall) []payout.Event {
	var events []payout.Event
	for _, call := range calls {
		events = append(events, call.event)
	}
	return events
}

// TestEventID: hazard W8, equal for repeats and different for everything a payout must hear of.
func TestEventID(t *testing.T) {
	idOf := func(body string) string {
		h := newHarness(t)
		require.Equal(t, 200, h.postSigned(body).Code)
		return h.signaler.seen()[0].event.ID
	}
	body := webhookBody("ready_to_confirm", `"inv-1"`)
	first := idOf(body)
	require.Regexp(t, `^[0-9a-f]{64}$`, first)
	for what, same := range map[string]string{
		"repeat": body, "odd spacing": strings.ReplaceAll(body, ",", " ,\n"), "new date": strings.Replace(body, "2024", "2025", 1),
		"v2 naming": strings.NewReplacer("payments", "payout_list", "payment_method", "payout_details").Replace(body),
	} {
		require.Equal(t, first, idOf(same), what)
	}
	seen := map[string]string{first: "the first"}
	for what, other := range map[string]string{
		"session id": strings.Replace(body, "ps_3230", "ps_3231", 1), "type": strings.Replace(body, "ready_to_confirm", "payment_finished", 1),
		"payout id": strings.Replace(body, "po_1234", "po_1235", 1), "payout status": strings.Replace(body, "pending", "failed", 1),
		"session status": strings.Replace(body, `"in_progress"`, `"accepted"`, 1),
		"shifted border": strings.NewReplacer("po_1234", "po_1234p", `"pending"`, `"ending"`).Replace(body),
		"second payout":  strings.Replace(body, `"payments":[`, `"payments":[`+payoutItem("po_1", `"inv-1"`)+",", 1),
	} {
		id := idOf(other)
		require.NotContains(t, seen, id, "%s and %s", what, seen[id])
		seen[id] = what
	}
}

// TestEachReturnOfMoneyIsAnEvent: a second one changes no status.
func TestEachReturnOfMoneyIsAnEvent(t *testing.T) {
	h := newHarness(t)
	for _, refunds := range []string{`[{"id":"rf_1"}]`, "[ {\"id\": \"rf_1\"}\n]", `[{"id":"rf_1"},{"id":"rf_2"}]`, `[]`} {
		body := strings.Replace(webhookBody("payment_refunded", `"inv-1"`), `"metadata"`, `"refunds":`+refunds+`,"metadata"`, 1)
		require.Equal(t, 200, h.postSigned(body).Code)
	}
	kept := map[string]bool{}
	for _, late := range h.signaler.kept {
		kept[late.Event.ID] = true
	}
	require.Len(t, kept, 3, "the repeat of the first is one with it")
}

// TestDisconnectDoesNotUndoTheHandOff: hazard W16.
func TestDisconnectDoesNotUndoTheHandOff(t *testing.T) {
	h := newHarness(t)
	requestContext := make(chan context.Context, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requestContext <- r.Context()
		h.handler.ServeHTTP(w, r)
	}))
	defer server.Close()
	ctx, hangUp := context.WithCancel(t.Context())
	handedOver := make(chan error, 1)
	h.signaler.hook = func(ctx context.Context) error {
		hangUp()
		<-(<-requestContext).Done() // the server has noticed
		_, bounded := ctx.Deadline()
		if !bounded {
			handedOver <- errors.New("the hand-off has no deadline")
			return nil
		}
		handedOver <- ctx.Err()
		return ctx.Err()
	}
	body := webhookBody("ready_to_confirm", `"inv-1"`)
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, server.URL+webhookgw.DefaultPath, strings.NewReader(body))
	require.NoError(t, err)
	request.Header.Set(pike.HeaderSign, sign(t, pikeKey(), body))
	_, err = http.DefaultClient.Do(request)
	require.ErrorIs(t, err, context.Canceled)
	require.NoError(t, <-handedOver)
}

func TestSignalTimeoutBoundsTheHandOff(t *testing.T) {
	h := newHarness(t, func(c *webhookgw.Config) { c.SignalTimeout = time.Millisecond })
	h.signaler.hook = func(ctx context.Context) error {
		<-ctx.Done()
		return ctx.Err()
	}
	require.Equal(t, 503, h.postSigned(webhookBody("ready_to_confirm", `"inv-1"`)).Code)
	require.Equal(t, map[string]float64{"ready_to_confirm/unavailable": 1}, h.counts())
}

// TestPanic: hazard W18. The slot must be free afterwards.
func TestPanic(t *testing.T) {
	h := newHarness(t, func(c *webhookgw.Config) { c.MaxConcurrent = 1 })
	body := webhookBody("ready_to_confirm", `"inv-1"`)
	signature := sign(t, pikeKey(), body)
	var empty []int
	for _, problem := range []func(){
		func() { panic(body + signature) }, func() { panic(errors.New(body)) }, func() { _ = empty[len(body)] },
	} {
		h.signaler.hook = func(context.Context) error { problem(); return nil }
		require.Equal(t, 500, h.post(body, signature).Code)
	}
	require.Equal(t, map[string]float64{"none/panic": 3}, h.counts())
	h.requireNothingSecretLogged(signature)
	require.Contains(t, h.log.String(), "index out of range")
	require.Contains(t, h.log.String(), "gateway_test.go", "the stack tells where")
	h.signaler.hook = nil
	require.Equal(t, 200, h.post(body, signature).Code)
}

func TestAbortIsLeftToTheServer(t *testing.T) {
	h := newHarness(t)
	h.signaler.hook = func(context.Context) error { panic(http.ErrAbortHandler) }
	require.PanicsWithValue(t, http.ErrAbortHandler, func() { h.postSigned(webhookBody("ready_to_confirm", `"inv-1"`)) })
}

func TestOverloadIsAnsweredAtOnce(t *testing.T) {
	h := newHarness(t, func(c *webhookgw.Config) { c.MaxConcurrent = 1 })
	body := webhookBody("ready_to_confirm", `"inv-1"`)
	inHand, release, done := make(chan struct{}), make(chan struct{}), make(chan int)
	h.signaler.hook = func(context.Context) error {
		close(inHand)
		<-release
		return nil
	}
	go func() { done <- h.postSigned(body).Code }()
	<-inHand
	response := h.postSigned(body)
	require.Equal(t, 503, response.Code)
	require.NotEmpty(t, response.Header().Get("Retry-After"))
	close(release)
	require.Equal(t, 200, <-done)
	h.signaler.hook = nil
	require.Equal(t, 200, h.postSigned(body).Code)
	require.Equal(t, map[string]float64{"none/overload": 1, "ready_to_confirm/signalled": 2}, h.counts())
}

// TestSlowBodiesUseUpNothing: hazard W7, a client that dribbles its body must not keep Pike out.
func TestSlowBodiesUseUpNothing(t *testing.T) {
	h := newHarness(t, func(c *webhookgw.Config) { c.MaxConcurrent = 1 })
	slow, feed := io.Pipe()
	done := make(chan int)
	go func() {
		done <- h.do(httptest.NewRequest(http.MethodPost, webhookgw.DefaultPath, slow)).Code
	}()
	_, err := feed.Write([]byte("{"))
	require.NoError(t, err)
	require.Equal(t, 200, h.postSigned(webhookBody("ready_to_confirm", `"inv-1"`)).Code)
	require.NoError(t, feed.CloseWithError(io.ErrUnexpectedEOF))
	require.Equal(t, 400, <-done)
	require.Equal(t, map[string]float64{"ready_to_confirm/signalled": 1, "none/unreadable": 1}, h.counts())
}

func TestSignatureFailuresAreCounted(t *testing.T) {
	h := newHarness(t)
	body := webhookBody("ready_to_confirm", `"inv-1"`)
	h.post(body)
	h.post(body, "x")
	h.postSigned(body)
	require.Equal(t, map[string]float64{"none/bad_signature": 2, "ready_to_confirm/signalled": 1}, h.counts())
	families, err := h.registry.Gather()
	require.NoError(t, err)
	require.Equal(t, "webhook_signature_failures_total", families[0].GetName())
	require.InDelta(t, 2, families[0].GetMetric()[0].GetCounter().GetValue(), 0)
}

func TestNewRefuses(t *testing.T) {
	verifier, err := pike.NewVerifier(&pikeKey().PublicKey)
	require.NoError(t, err)
	good := webhookgw.Config{Verifier: verifier, Temporal: &fakeSignaler{}, Registerer: prometheus.NewRegistry(), Logger: discard}
	tests := map[string]struct {
		change func(*webhookgw.Config)
		want   string
	}{
		"no verifier":          {func(c *webhookgw.Config) { c.Verifier = nil }, "verifier"},
		"no Temporal":          {func(c *webhookgw.Config) { c.Temporal = nil }, "Temporal"},
		"no registerer":        {func(c *webhookgw.Config) { c.Registerer = nil }, "registerer"},
		"no logger":            {func(c *webhookgw.Config) { c.Logger = nil }, "logger"},
		"relative path":        {func(c *webhookgw.Config) { c.Path = "hooks" }, "path"},
		"wildcard path":        {func(c *webhookgw.Config) { c.Path = "/*any" }, "path"},
		"parameter in path":    {func(c *webhookgw.Config) { c.Path = "/:any" }, "path"},
		"negative body limit":  {func(c *webhookgw.Config) { c.MaxBody = -1 }, "positive"},
		"negative timeout":     {func(c *webhookgw.Config) { c.SignalTimeout = -1 }, "positive"},
		"negative concurrency": {func(c *webhookgw.Config) { c.MaxConcurrent = -1 }, "positive"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			config := good
			tt.change(&config)
			_, err := webhookgw.New(config)
			require.ErrorContains(t, err, tt.want)
		})
	}
	_, err = webhookgw.New(good)
	require.NoError(t, err)
	_, err = webhookgw.New(good)
	require.ErrorContains(t, err, "registering metrics", "two gateways cannot share a registry")
}
