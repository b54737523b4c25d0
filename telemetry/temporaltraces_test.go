package telemetry_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
	sdkworker "go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
)

// canary is in texts that no span may show.
const canary = "CANARY"

// TestSpansTellTheTypeOfAnErrorAlone: texts of errors could hold anything.
func TestSpansTellTheTypeOfAnErrorAlone(t *testing.T) {
	failures := map[string]error{
		"PikeUnknown":                   temporal.NewApplicationError(canary, "PikeUnknown", canary),
		"*serviceerror.NotFound":        fmt.Errorf("%s: %w", canary, serviceerror.NewNotFound(canary)),
		"context.deadlineExceededError": context.DeadlineExceeded,
	}
	for want, failure := range failures {
		var spans []sdktrace.ReadOnlySpan
		traces := tracesTo(t, exporterFunc(func(batch []sdktrace.ReadOnlySpan) error { spans = append(spans, batch...); return nil }), quiet())
		var suite testsuite.WorkflowTestSuite
		env := suite.NewTestActivityEnvironment()
		env.SetWorkerOptions(sdkworker.Options{Interceptors: workerInterceptors(traces.Interceptors())})
		env.RegisterActivityWithOptions(func(context.Context) error { return failure }, activity.RegisterOptions{Name: "fails"})
		_, err := env.ExecuteActivity("fails")
		require.Error(t, err)
		traces.Stop(t.Context())
		require.Len(t, spans, 1)
		require.Equal(t, "RunActivity:fails", spans[0].Name())
		require.Equal(t, sdktrace.Status{Code: codes.Error}, spans[0].Status())
		require.Empty(t, spans[0].Events())
		require.Contains(t, spans[0].Attributes(), attribute.String("error.type", want))
		require.NotContains(t, fmt.Sprint(spans[0].Attributes()), canary)
	}
}

// TestAContinuedRunHasNotFailed: for the SDK the end of such a run is an error.
func TestAContinuedRunHasNotFailed(t *testing.T) {
	var spans []sdktrace.ReadOnlySpan
	traces := tracesTo(t, exporterFunc(func(batch []sdktrace.ReadOnlySpan) error { spans = append(spans, batch...); return nil }), quiet())
	var suite testsuite.WorkflowTestSuite
	env := suite.NewTestWorkflowEnvironment()
	env.SetWorkerOptions(sdkworker.Options{Interceptors: workerInterceptors(traces.Interceptors())})
	env.RegisterWorkflowWithOptions(func(ctx workflow.Context) error {
		return workflow.NewContinueAsNewError(ctx, "again")
	}, workflow.RegisterOptions{Name: "again"})
	env.ExecuteWorkflow("again")
	require.ErrorContains(t, env.GetWorkflowError(), "continue as new")
	traces.Stop(t.Context())
	require.Len(t, spans, 1)
	require.Equal(t, "RunWorkflow:again", spans[0].Name())
	require.Equal(t, codes.Unset, spans[0].Status().Code)
}

// TestTheSpanOfARunIsKnownByTheRun: whichever worker makes it, and whether or not it has a parent.
func TestTheSpanOfARunIsKnownByTheRun(t *testing.T) {
	var seen []sdktrace.ReadOnlySpan
	for range 2 {
		traces := tracesTo(t, exporterFunc(func(batch []sdktrace.ReadOnlySpan) error { seen = append(seen, batch...); return nil }), quiet())
		var suite testsuite.WorkflowTestSuite // its run id is always the same
		env := suite.NewTestWorkflowEnvironment()
		env.SetWorkerOptions(sdkworker.Options{Interceptors: workerInterceptors(traces.Interceptors())})
		env.RegisterWorkflowWithOptions(func(ctx workflow.Context) error { return workflow.Sleep(ctx, time.Hour) }, workflow.RegisterOptions{Name: "sleep"})
		env.ExecuteWorkflow("sleep")
		require.NoError(t, env.GetWorkflowError())
		traces.Stop(t.Context())
	}
	require.Len(t, seen, 2)
	require.True(t, seen[0].SpanContext().IsValid())
	require.Equal(t, seen[0].SpanContext(), seen[1].SpanContext())
}

// TestATraceThatCannotBeReadFailsNoWorkflow: by default the SDK's interceptor would, before the workflow's code has run.
func TestATraceThatCannotBeReadFailsNoWorkflow(t *testing.T) {
	for name, header := range map[string]*commonpb.Payload{
		"no trace context": {Metadata: map[string][]byte{"encoding": []byte("json/plain")}, Data: []byte(`{"traceparent":"00-no"}`)},
		"no map":           {Metadata: map[string][]byte{"encoding": []byte("json/plain")}, Data: []byte(`"x"`)},
		"encrypted":        {Metadata: map[string][]byte{"encoding": []byte("binary/encrypted")}, Data: []byte{1, 2, 3}},
	} {
		traces := tracesTo(t, tracetest.NewNoopExporter(), quiet())
		var suite testsuite.WorkflowTestSuite
		env := suite.NewTestWorkflowEnvironment()
		env.SetWorkerOptions(sdkworker.Options{Interceptors: workerInterceptors(traces.Interceptors())})
		env.SetHeader(&commonpb.Header{Fields: map[string]*commonpb.Payload{"_tracer-data": header}})
		env.RegisterWorkflowWithOptions(func(workflow.Context) error { return nil }, workflow.RegisterOptions{Name: "pays"})
		env.ExecuteWorkflow("pays")
		require.NoError(t, env.GetWorkflowError(), name)
	}
}

// workerInterceptors is what a worker makes of its client's interceptors.
func workerInterceptors(ofClient []interceptor.ClientInterceptor) []interceptor.WorkerInterceptor {
	var ofWorker []interceptor.WorkerInterceptor
	for _, i := range ofClient {
		ofWorker = append(ofWorker, i.(interceptor.WorkerInterceptor))
	}
	return ofWorker
}
