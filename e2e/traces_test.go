package e2e

import (
	"bytes"
	"context"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	collectorpb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	otlppb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/contrib/opentelemetry"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/workflow"
	"google.golang.org/protobuf/proto"

	"pikepayouts/activities"
	"pikepayouts/payout"
	"pikepayouts/pike"
	"pikepayouts/pikesim"
	"pikepayouts/starter"
	"pikepayouts/telemetry"
	"pikepayouts/webhookgw"
	"pikepayouts/worker"
)

// collector takes spans in over OTLP/HTTP, as OpenTelemetry's own does.
type collector struct {
	url         string
	connections atomic.Int64

	mu    sync.Mutex
	spans []span
	raw   bytes.Buffer // all that was sent
}

// span is one of a process.
type span struct {
	*tracepb.Span
	service string
}

func (s span) attribute(key string) string { return attributeOf(s.Attributes, key) }

func attributeOf(attributes []*otlppb.KeyValue, key string) string {
	for _, attribute := range attributes {
		if attribute.GetKey() == key {
			if number, is := attribute.GetValue().GetValue().(*otlppb.AnyValue_IntValue); is {
				return strconv.FormatInt(number.IntValue, 10)
			}
			return attribute.GetValue().GetStringValue()
		}
	}
	return ""
}

func newCollector(t *testing.T) *collector {
	t.Helper()
	c := &collector{}
	server := httptest.NewUnstartedServer(c)
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			c.connections.Add(1)
		}
	}
	server.Start()
	t.Cleanup(server.Close)
	c.url = server.URL
	return c
}

func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	var batch collectorpb.ExportTraceServiceRequest
	if err != nil || r.URL.Path != "/v1/traces" || proto.Unmarshal(body, &batch) != nil {
		http.Error(w, "no", http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.raw.Write(body)
	_, _ = shared.evidence.of("traces.otlp").Write(body)
	for _, resource := range batch.GetResourceSpans() {
		service := attributeOf(resource.GetResource().GetAttributes(), "service.name")
		for _, scope := range resource.GetScopeSpans() {
			for _, s := range scope.GetSpans() {
				c.spans = append(c.spans, span{s, service})
			}
		}
	}
}

// environment makes a process export to the collector at once.
func (c *collector) environment() []string {
	return []string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + c.url, "OTEL_BSP_SCHEDULE_DELAY=50", "OTEL_RESOURCE_ATTRIBUTES=deployment.environment.name=e2e"}
}

func (c *collector) all() []span {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.spans)
}

// named are the spans of the payout by that name.
func (c *collector) named(name, payoutID string) []span {
	return slices.DeleteFunc(c.all(), func(s span) bool { return s.GetName() != name || s.attribute("payout_id") != payoutID })
}

// count counts a span once, however often it was exported: a workflow task that Temporal has repeated ends twice, with the same ids.
func (c *collector) count(name, payoutID string) int {
	ids := map[string]bool{}
	for _, s := range c.named(name, payoutID) {
		ids[string(s.GetTraceId())+string(s.GetSpanId())] = true
	}
	return len(ids)
}

// await is the span of the payout by that name, the first of several.
func (c *collector) await(t *testing.T, name, payoutID string) span {
	t.Helper()
	require.Eventually(t, func() bool { return len(c.named(name, payoutID)) > 0 }, time.Minute, 20*time.Millisecond, "no span %q", name)
	return c.named(name, payoutID)[0]
}

// path is the span's ancestors, root first, and itself, each as "service: name".
func (c *collector) path(s span) []string {
	path := []string{s.service + ": " + s.GetName()}
	for _, other := range c.all() {
		if bytes.Equal(other.GetTraceId(), s.GetTraceId()) && bytes.Equal(other.GetSpanId(), s.GetParentSpanId()) {
			return append(c.path(other), path...)
		}
	}
	if len(s.GetParentSpanId()) > 0 {
		return append([]string{"a span that nobody exported"}, path...)
	}
	return path
}

// requirePath waits for the span, and for its ancestors: processes export each for itself.
func (c *collector) requirePath(t *testing.T, payoutID string, want ...string) {
	t.Helper()
	_, name, _ := strings.Cut(want[len(want)-1], ": ")
	s := c.await(t, name, payoutID)
	require.Eventually(t, func() bool { return slices.Equal(c.path(s), want) }, time.Minute, 20*time.Millisecond, "%s\nhas not the path %q", name, want)
}

// payoutsCLI runs the command line for the stack's task queue.
func payoutsCLI(t *testing.T, s *stack, environment []string, arguments ...string) {
	t.Helper()
	payouts(t, append([]string{"PAYOUTS_TASK_QUEUE=" + s.taskQueue}, environment...), arguments...)
}

func (s *stack) startByCLI(r payout.Request, environment []string, arguments ...string) {
	s.t.Helper()
	payoutsCLI(s.t, s, environment, append([]string{"start", "--id", r.PayoutID, "--amount", "10000", "--currency", "eur",
		"--token", string(r.Destination.TokenizedCard.Token), "--full-name", recipientName}, arguments...)...)
}

// headerLog is a proxy before Pike that keeps the names of all headers.
type headerLog struct {
	url  string
	mu   sync.Mutex
	seen map[string]bool
}

func newHeaderLog(t *testing.T, pikeURL string) *headerLog {
	t.Helper()
	target, err := url.Parse(pikeURL)
	require.NoError(t, err)
	h := &headerLog{seen: map[string]bool{}}
	proxy := httputil.NewSingleHostReverseProxy(target)
	h.url = newTestServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.mu.Lock()
		for name := range r.Header {
			h.seen[name] = true
		}
		h.mu.Unlock()
		proxy.ServeHTTP(w, r)
	})).URL
	return h
}

func (h *headerLog) names() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Sorted(maps.Keys(h.seen))
}

// TestTracesOfRealProcesses follows one payout through the command line, two workers one after the other, and a
// gateway. The second worker replays what the first did, and goes on in the same trace.
func TestTracesOfRealProcesses(t *testing.T) {
	t.Parallel()
	c := newCollector(t)
	gateway := startGatewayProcess(t, c.environment()...)
	s := newStack(t, stackOptions{noWorker: true, webhooks: "http://" + gateway.host()})
	headers := newHeaderLog(t, s.simURL)
	environment := append(workerEnvironment(t, s, headers.url), c.environment()...)
	r := order(t, pikesim.PresetConfirmed)

	worker := startWorkerProcess(t, environment)
	s.startByCLI(r, c.environment(), "--decision", "manual")
	s.eventually(r, payout.StateAwaitingDecision)
	worker.stop()
	worker = startWorkerProcess(t, environment)
	payoutsCLI(t, s, c.environment(), "confirm", r.PayoutID, "--by", "ann")
	status := s.wait(r)
	require.Equal(t, payout.StateSucceeded, status.State)

	t.Run("from the caller to Pike", func(t *testing.T) {
		for method, activity := range map[string]string{
			"session/create": "CreateSession", "session/start/payout": "StartPayout", "session/confirm": "ConfirmSession",
		} {
			c.requirePath(t, r.PayoutID, "payouts-cli: StartWorkflow:PayoutWorkflow", "payouts-worker: RunWorkflow:PayoutWorkflow",
				"payouts-worker: StartActivity:"+activity, "payouts-worker: RunActivity:"+activity, "payouts-worker: Pike "+method)
		}
		start := c.await(t, "Pike session/start/payout", r.PayoutID)
		require.Equal(t, "done", start.attribute("pike.outcome"))
		require.Equal(t, "200", start.attribute("http.response.status_code"))
		require.Equal(t, status.SessionID, start.attribute("session_id"))
	})
	t.Run("from the webhook to the signal", func(t *testing.T) {
		for _, kind := range []string{payout.SignalReadyToConfirm, payout.SignalPaymentFinished} {
			c.requirePath(t, r.PayoutID, "payouts-webhookgw: webhook", "payouts-webhookgw: SignalWorkflow:"+kind, "payouts-worker: HandleSignal:"+kind)
		}
		hook := c.await(t, "webhook", r.PayoutID)
		require.Equal(t, "signalled", hook.attribute("webhook.answer"))
		require.Equal(t, status.SessionID, hook.attribute("session_id"))
	})
	t.Run("from the decision to the workflow", func(t *testing.T) {
		c.requirePath(t, r.PayoutID, "payouts-cli: UpdateWorkflow:decide", "payouts-worker: HandleUpdate:decide")
	})
	worker.stop()
	gateway.stop()
	require.Equal(t, 1, c.count("RunWorkflow:PayoutWorkflow", r.PayoutID), "a replay, or a worker that stops, is no end of the run")
	require.Equal(t, 1, c.count("HandleUpdate:decide", r.PayoutID))
	require.Contains(t, headers.names(), "X-Partner-Sign")
	for _, name := range headers.names() {
		require.NotContains(t, strings.ToLower(name), "trace", "trace context is nothing for Pike")
	}
	c.requireNothingOf(t, string(r.Destination.TokenizedCard.Token), recipientName)
}

func (c *collector) requireNothingOf(t *testing.T, secrets ...string) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	require.NotZero(t, c.raw.Len())
	for _, secret := range secrets {
		require.NotContains(t, c.raw.String(), secret)
	}
}

// exporter sends to the collector, from this process.
func (c *collector) exporter(t *testing.T) sdktrace.SpanExporter {
	t.Helper()
	exporter, err := otlptracehttp.New(t.Context(), otlptracehttp.WithEndpointURL(c.url+"/v1/traces"))
	require.NoError(t, err)
	return exporter
}

// tracedWorker runs a worker in this process, where the flag -sticky-cache counts: with 0 each workflow task
// is a replay. The returned function stops the worker, and returns once all its spans are with the collector.
func (s *stack) tracedWorker(c *collector) (stop func()) {
	s.t.Helper()
	traces, err := telemetry.TracesTo(s.t.Context(), c.exporter(s.t), "worker", testLogger())
	require.NoError(s.t, err)
	options := temporalOptions(shared.address)
	options.Interceptors = traces.Interceptors()
	temporal, err := client.Dial(options)
	require.NoError(s.t, err)
	w := worker.New(temporal, s.workerOptions(activities.Traced(s.pikeClient(pike.V1), traces.Tracer())))
	require.NoError(s.t, w.Start())
	stop = sync.OnceFunc(func() { w.Stop(); temporal.Close(); traces.Stop(s.t.Context()) })
	s.t.Cleanup(stop)
	return stop
}

// TestTracesOfAServiceThatStartsPayouts: it has a Temporal client, and a span, of its own.
func TestTracesOfAServiceThatStartsPayouts(t *testing.T) {
	t.Parallel()
	c := newCollector(t)
	s := newStack(t, stackOptions{noWorker: true})
	stop := s.tracedWorker(c)
	shop := sdktrace.NewTracerProvider(sdktrace.WithSyncer(c.exporter(t)), sdktrace.WithResource(resource.NewSchemaless(attribute.String("service.name", "shop"))))
	tracing, err := opentelemetry.NewTracingInterceptor(opentelemetry.TracerOptions{Tracer: shop.Tracer("shop")})
	require.NoError(t, err)
	options := temporalOptions(shared.address)
	options.Interceptors = []interceptor.ClientInterceptor{tracing}
	temporal, err := client.Dial(options)
	require.NoError(t, err)
	defer temporal.Close()
	payouts := starter.New(temporal, starter.Options{TaskQueue: s.taskQueue, DataConverter: options.DataConverter})
	r := order(t, pikesim.PresetConfirmed, manual)

	ctx, checkout := shop.Tracer("shop").Start(testContext(t), "checkout")
	_, err = payouts.Start(ctx, r)
	require.NoError(t, err)
	s.eventually(r, payout.StateAwaitingDecision)
	_, err = payouts.Confirm(ctx, r.PayoutID, "ann", "")
	require.NoError(t, err)
	checkout.End()
	require.Equal(t, payout.StateSucceeded, s.wait(r).State)
	_, err = payouts.Get(ctx, r.PayoutID) // a query of an ended run, which may replay it
	require.NoError(t, err)
	stop()
	s.replaysWithoutTraces(r)

	run := []string{"shop: checkout", "shop: StartWorkflow:PayoutWorkflow", "worker: RunWorkflow:PayoutWorkflow"}
	c.requirePath(t, r.PayoutID, append(run, "worker: StartActivity:StartPayout", "worker: RunActivity:StartPayout", "worker: Pike session/start/payout")...)
	c.requirePath(t, r.PayoutID, append(run, "worker: StartActivity:ConfirmSession", "worker: RunActivity:ConfirmSession", "worker: Pike session/confirm")...)
	c.requirePath(t, r.PayoutID, "shop: checkout", "shop: UpdateWorkflow:decide", "worker: HandleUpdate:decide")
	for _, once := range []string{"RunWorkflow:PayoutWorkflow", "HandleUpdate:decide", "StartActivity:StartPayout", "RunActivity:StartPayout", "Pike session/confirm"} {
		require.Equal(t, 1, c.count(once, r.PayoutID), once)
	}
}

// TestCopiesOfATracedWebhookAreOneEvent: each delivery has a trace of its own, and they have one request id.
func TestCopiesOfATracedWebhookAreOneEvent(t *testing.T) {
	t.Parallel()
	c := newCollector(t)
	gateway := startGatewayProcess(t, c.environment()...)
	box := newMailbox(t)
	copies, err := box.next(shared.pikeKey)
	require.NoError(t, err)
	for range 3 {
		require.Equal(t, http.StatusOK, copies.send(testContext(t), newPike(), gateway.url).status)
	}
	gateway.stop()
	box.requireEachStoredOnce()
	require.Equal(t, 3, c.count("webhook", box.payoutID))
	require.Equal(t, 3, c.count("SignalWorkflow:ready_to_confirm", box.payoutID))
}

// replaysWithoutTraces: they may be turned off while payouts are open.
func (s *stack) replaysWithoutTraces(r payout.Request) {
	s.t.Helper()
	require.Contains(s.t, headersOf(s.t, r), "_tracer-data")
	require.NoError(s.t, replayEncrypted(s.t, s.history(r), shared.keyset.keys))
}

// unreadableTrace is a client's trace context that no worker can read.
type unreadableTrace struct{ workflow.ContextPropagator }

func (unreadableTrace) Inject(_ context.Context, headers workflow.HeaderWriter) error {
	headers.Set("_tracer-data", &commonpb.Payload{Metadata: map[string][]byte{"encoding": []byte("json/plain")}, Data: []byte(`{"traceparent":"00-no"}`)})
	return nil
}

// TestATraceThatCannotBeReadCostsNoPayout: the SDK's interceptor would fail the workflow by default.
func TestATraceThatCannotBeReadCostsNoPayout(t *testing.T) {
	t.Parallel()
	s := newStack(t, stackOptions{noWorker: true})
	s.tracedWorker(newCollector(t))
	options := temporalOptions(shared.address)
	options.ContextPropagators = []workflow.ContextPropagator{unreadableTrace{}}
	temporal, err := client.Dial(options)
	require.NoError(t, err)
	defer temporal.Close()
	r := order(t, pikesim.PresetConfirmed)
	_, err = starter.New(temporal, starter.Options{TaskQueue: s.taskQueue, DataConverter: options.DataConverter}).Start(testContext(t), r)
	require.NoError(t, err)
	require.NoError(t, temporal.SignalWorkflow(testContext(t), payout.WorkflowID(r.PayoutID), "", payout.SignalReadyToConfirm, payout.Event{}))
	require.Equal(t, payout.StateSucceeded, s.wait(r).State)
}

// TestACollectorThatIsDownCostsNoPayout: neither one that refuses connections nor one that never answers.
func TestACollectorThatIsDownCostsNoPayout(t *testing.T) {
	t.Parallel()
	over := make(chan struct{})
	silent := newTestServer(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-over }))
	t.Cleanup(func() { close(over) })
	for name, endpoint := range map[string]string{"refuses": "http://" + closedPort(t), "never answers": silent.URL} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tracing := []string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=" + endpoint, "OTEL_BSP_SCHEDULE_DELAY=20"}
			gateway, gatewayLine, gatewayLog := startLogged(t, "gateway runs", append(gatewayEnvironment(t), tracing...), "webhookgw")
			s := newStack(t, stackOptions{noWorker: true, webhooks: strings.TrimSuffix(gatewayLine.Webhooks, webhookgw.DefaultPath)})
			worker, _, workerLog := startLogged(t, "worker runs", append(workerEnvironment(t, s, s.simURL), tracing...), "worker")
			for range 3 {
				r := order(t, pikesim.PresetConfirmed)
				s.startByCLI(r, tracing)
				require.Equal(t, payout.StateSucceeded, s.wait(r).State)
			}
			worker.stop()
			gateway.stop()
			for _, log := range []*logTap{workerLog, gatewayLog} {
				lines := log.lines(t)
				told := slices.DeleteFunc(slices.Clone(lines), func(l logLine) bool { return l["msg"] != "traces cannot be exported, payouts go on without" })
				if endpoint != silent.URL { // the other's first export may not have given up yet
					require.Len(t, told, 1)
				}
				require.Less(t, len(lines), 60)
			}
		})
	}
}

// closedPort is one at which nobody listens.
func closedPort(t *testing.T) string {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, listener.Close())
	return listener.Addr().String()
}

// TestTracesAreOffUnlessAskedFor: nothing connects to a collector that is known, but switched off.
func TestTracesAreOffUnlessAskedFor(t *testing.T) {
	t.Parallel()
	for _, off := range []string{"OTEL_SDK_DISABLED=true", "OTEL_TRACES_EXPORTER=none"} {
		t.Run(off, func(t *testing.T) {
			t.Parallel()
			c := newCollector(t)
			environment := append(c.environment(), off, "OTEL_RESOURCE_ATTRIBUTES=nonsense") // metrics are OpenTelemetry's too, and complain
			gateway, line, gatewayLog := startLogged(t, "gateway runs", append(gatewayEnvironment(t), environment...), "webhookgw")
			s := newStack(t, stackOptions{noWorker: true, webhooks: strings.TrimSuffix(line.Webhooks, webhookgw.DefaultPath)})
			worker, _, workerLog := startLogged(t, "worker runs", append(workerEnvironment(t, s, s.simURL), environment...), "worker")
			r := order(t, pikesim.PresetConfirmed)
			s.startByCLI(r, environment)
			require.Equal(t, payout.StateSucceeded, s.wait(r).State)
			worker.stop()
			gateway.stop()
			require.Zero(t, c.connections.Load())
			require.NotContains(t, headersOf(t, r), "_tracer-data")
			for _, line := range append(workerLog.lines(t), gatewayLog.lines(t)...) {
				require.NotContains(t, line, "trace_id")
			}
		})
	}
}

// headersOf are the names of the headers with which the payout was started.
func headersOf(t *testing.T, r payout.Request) []string {
	t.Helper()
	events := shared.temporal.GetWorkflowHistory(testContext(t), payout.WorkflowID(r.PayoutID), "", false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	first, err := events.Next()
	require.NoError(t, err)
	return slices.Collect(maps.Keys(first.GetWorkflowExecutionStartedEventAttributes().GetHeader().GetFields()))
}
