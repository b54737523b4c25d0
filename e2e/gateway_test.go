package e2e

import (
	"crypto/rsa"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"pikepayouts/payout"
	"pikepayouts/pike"
	"pikepayouts/pikesim"
	"pikepayouts/webhookgw"
)

// webhook is the body of a webhook for the payout's session.
func webhook(kind, sessionID, payoutID string) string {
	return fmt.Sprintf(`{"type":%q,"session":{"id":%q,"status":"in_progress","next_action":"confirm","payments":[
		{"id":"po_1","status":"pending","amount_details":{"amount":10000,"currency":"eur"},"metadata":%q}]}}`, kind, sessionID, payoutID)
}

// post sends a body signed with the key to a gateway and returns the answer's status.
func post(t *testing.T, url, body string, key *rsa.PrivateKey) int {
	t.Helper()
	status, err := tryPost(t, url, body, key)
	require.NoError(t, err)
	return status
}

func tryPost(t *testing.T, url, body string, key *rsa.PrivateKey) (int, error) {
	signature, err := pike.Sign(key, []byte(body))
	if err != nil {
		return 0, err
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+webhookgw.DefaultPath, strings.NewReader(body))
	if err != nil {
		return 0, err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set(pike.HeaderSign, signature)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err
	}
	return response.StatusCode, response.Body.Close()
}

func (s *stack) signals(r payout.Request) int {
	n := 0
	for _, event := range s.history(r) {
		if event.GetEventType() == enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED {
			n++
		}
	}
	return n
}

func TestCopiesOfAWebhookAreOneEvent(t *testing.T) {
	t.Parallel()
	s := newStack(t, stackOptions{})
	r := order(t, pikesim.PresetNeverReadyCancellable, polling(time.Hour))
	s.start(r)
	s.eventually(r, payout.StateAwaitingReady)
	status, err := s.starter.Get(testContext(t), r.PayoutID)
	require.NoError(t, err)
	body := webhook("ready_to_confirm", status.SessionID, r.PayoutID)
	var copies errgroup.Group
	for range 50 {
		copies.Go(func() error {
			answer, err := tryPost(t, s.gateway.URL, body, shared.pikeKey)
			if err == nil && answer != http.StatusOK {
				err = fmt.Errorf("answered %d", answer)
			}
			return err
		})
	}
	require.NoError(t, copies.Wait())
	require.Equal(t, 1, s.signals(r))

	s.cancelOnceUndecided(r)
	require.Equal(t, payout.StateCancelled, s.wait(r).State)
	require.Zero(t, s.calls(r, "session/confirm"), "the webhook was genuine, the session was not ready")
}

func TestForgedWebhooksDoNotReachTemporal(t *testing.T) {
	t.Parallel()
	s := newStack(t, stackOptions{})
	r := order(t, pikesim.PresetConfirmed, manual, polling(time.Hour))
	s.start(r)
	s.eventually(r, payout.StateAwaitingDecision)
	before := s.signals(r)
	forged := webhook("payment_finished", "ps_1", r.PayoutID)
	require.Equal(t, http.StatusUnauthorized, post(t, s.gateway.URL, forged, shared.partnerKey))
	require.Equal(t, before, s.signals(r))
}

// TestWebhookForgedAtTemporalItself: whoever can signal directly still moves nothing (hazard W23).
func TestWebhookForgedAtTemporalItself(t *testing.T) {
	t.Parallel()
	s := newStack(t, stackOptions{})
	r := order(t, pikesim.PresetNeverReadyCancellable, polling(time.Hour))
	s.start(r)
	s.eventually(r, payout.StateAwaitingReady)
	status, err := s.starter.Get(testContext(t), r.PayoutID)
	require.NoError(t, err)
	for _, kind := range []string{payout.SignalReadyToConfirm, payout.SignalPaymentFinished} {
		event := payout.Event{Type: kind, SessionID: status.SessionID, SessionStatus: "accepted", PayoutStatus: "succeeded"}
		require.NoError(t, shared.temporal.SignalWorkflow(testContext(t), payout.WorkflowID(r.PayoutID), "", kind, event))
		require.NoError(t, shared.temporal.SignalWorkflow(testContext(t), payout.WorkflowID(r.PayoutID), "", kind, "no event at all"))
	}
	require.Eventually(t, func() bool { return s.calls(r, "session/status") >= 1 }, time.Minute, 20*time.Millisecond)
	s.cancelOnceUndecided(r)
	require.Equal(t, payout.StateCancelled, s.wait(r).State)
	require.Zero(t, s.calls(r, "session/confirm"))
}

// TestALargeSignalForgedAtTemporalItself: a payout that handed on all of it would be terminated by the server (hazard W23).
func TestALargeSignalForgedAtTemporalItself(t *testing.T) {
	t.Parallel()
	s := newStack(t, stackOptions{})
	r := order(t, pikesim.PresetNeverReadyCancellable, polling(time.Hour))
	s.start(r)
	s.eventually(r, payout.StateAwaitingReady)
	session := fmt.Sprintf("ps_forged_%d", time.Now().UnixNano())
	large := fmt.Sprintf(`{"session_id":%q,"next_action":%q}`, session, strings.Repeat("<", 400_000)) // six times as long once Go writes it
	s.signalRaw(r, shared.keyset.encrypt(t, r, &commonpb.Payload{Metadata: map[string][]byte{"encoding": []byte("json/plain")}, Data: []byte(large)}))
	late := s.eventuallyLate(session, needsPerson)
	require.Equal(t, payout.LateOtherSession, late.Reason)
	s.cancelOnceUndecided(r)
	require.Equal(t, payout.StateCancelled, s.wait(r).State)
}

// signalRaw signals payment_finished with that very payload.
func (s *stack) signalRaw(r payout.Request, payload *commonpb.Payload) {
	s.t.Helper()
	_, err := shared.temporal.WorkflowService().SignalWorkflowExecution(testContext(s.t), &workflowservice.SignalWorkflowExecutionRequest{
		Namespace: client.DefaultNamespace, WorkflowExecution: &commonpb.WorkflowExecution{WorkflowId: payout.WorkflowID(r.PayoutID)},
		SignalName: payout.SignalPaymentFinished, Input: &commonpb.Payloads{Payloads: []*commonpb.Payload{payload}},
	})
	require.NoError(s.t, err)
}

// cancelOnceUndecided repeats a cancel that came while a hint was looked into: the payout is decided for that moment.
func (s *stack) cancelOnceUndecided(r payout.Request) {
	s.t.Helper()
	require.Eventually(s.t, func() bool {
		_, err := s.starter.Cancel(testContext(s.t), r.PayoutID, "ann", "")
		return err == nil
	}, time.Minute, 20*time.Millisecond)
}

func metricValue(t *testing.T, registry *prometheus.Registry, name, answer string) float64 {
	t.Helper()
	families, err := registry.Gather()
	require.NoError(t, err)
	total := 0.0
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, metric := range family.GetMetric() {
			for _, label := range metric.GetLabel() {
				if label.GetName() == "answer" && label.GetValue() == answer {
					total += metric.GetCounter().GetValue()
				}
			}
		}
	}
	return total
}

// TestGatewayWithoutTemporalAsksPikeToRepeat: never 200 for what is not durable (hazards W12, W14).
func TestGatewayWithoutTemporalAsksPikeToRepeat(t *testing.T) {
	t.Parallel()
	nowhere := httptest.NewServer(http.NotFoundHandler())
	address := strings.TrimPrefix(nowhere.URL, "http://")
	nowhere.Close()
	temporal, err := client.NewLazyClient(client.Options{HostPort: address, Logger: quiet(),
		ConnectionOptions: client.ConnectionOptions{DialOptions: []grpc.DialOption{webhookgw.RequestIDDialOption()}}})
	require.NoError(t, err)
	defer temporal.Close()
	verifier, err := pike.NewVerifier(&shared.pikeKey.PublicKey)
	require.NoError(t, err)
	registry := prometheus.NewRegistry()
	handler, err := webhookgw.New(webhookgw.Config{Verifier: verifier, Temporal: webhookgw.NewTemporal(temporal, ""),
		Registerer: registry, Logger: testLogger(), SignalTimeout: time.Second})
	require.NoError(t, err)
	gateway := newTestServer(t, handler)
	require.Equal(t, http.StatusServiceUnavailable, post(t, gateway.URL, webhook("ready_to_confirm", "ps_1", "p1"), shared.pikeKey))
	require.InDelta(t, 1, metricValue(t, registry, "webhooks_total", "unavailable"), 0)
}
