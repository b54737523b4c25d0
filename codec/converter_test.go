package codec_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	failurepb "go.temporal.io/api/failure/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"pikepayouts/codec"
)

var (
	workflowContext = converter.WorkflowSerializationContext{Namespace: namespace, WorkflowID: workflow1}
	activityContext = converter.ActivitySerializationContext{Namespace: namespace, WorkflowID: workflow1, ActivityType: "StartPayout"}
	otherContext    = converter.WorkflowSerializationContext{Namespace: namespace, WorkflowID: workflow2}
)

func options(use func(*client.Options)) client.Options {
	var o client.Options
	use(&o)
	return o
}

func with(o client.Options, context converter.SerializationContext) converter.DataConverter {
	return converter.WithDataConverterSerializationContext(o.DataConverter, context)
}

// TestActivitiesAndTheirWorkflowReadEachOther, and no other workflow does.
func TestActivitiesAndTheirWorkflowReadEachOther(t *testing.T) {
	o := options(func(o *client.Options) { codec.Use(o, newKeyset(t)) })
	var got string
	for _, pair := range [][2]converter.SerializationContext{{activityContext, workflowContext}, {workflowContext, activityContext}} {
		payload, err := with(o, pair[0]).ToPayload("x")
		require.NoError(t, err)
		require.NoError(t, with(o, pair[1]).FromPayload(payload, &got))
		require.ErrorIs(t, with(o, otherContext).FromPayload(payload, &got), codec.ErrPayload)
	}
}

// TestFailuresAreEncrypted: what they say, and their details.
func TestFailuresAreEncrypted(t *testing.T) {
	o := options(func(o *client.Options) { codec.Use(o, newKeyset(t)) })
	bound := converter.WithFailureConverterSerializationContext(o.FailureConverter, activityContext)
	fail := func() *failurepb.Failure {
		return bound.ErrorToFailure(temporal.NewApplicationError("says "+token, "SomeType", "detail "+token))
	}
	failure := fail()
	require.NotContains(t, failure.String(), token[:8])
	require.Equal(t, "SomeType", failure.GetApplicationFailureInfo().GetType(), "operators and metrics go by it")

	var application *temporal.ApplicationError
	require.ErrorAs(t, converter.WithFailureConverterSerializationContext(o.FailureConverter, workflowContext).FailureToError(failure), &application)
	require.Contains(t, application.Error(), "says "+token)
	var detail string
	require.NoError(t, application.Details(&detail))
	require.Equal(t, "detail "+token, detail)

	elsewhere := converter.WithFailureConverterSerializationContext(o.FailureConverter, otherContext).FailureToError(fail())
	require.NotContains(t, elsewhere.Error(), token[:8])
}

// TestFailuresWithoutContextCanBeRead: the SDK makes some. What is no failure stays refused.
func TestFailuresWithoutContextCanBeRead(t *testing.T) {
	o := options(func(o *client.Options) { codec.Use(o, newKeyset(t)) })
	failure := o.FailureConverter.ErrorToFailure(errors.New("says it"))
	require.NotContains(t, failure.String(), "says it")
	bound := converter.WithFailureConverterSerializationContext(o.FailureConverter, workflowContext)
	require.ErrorContains(t, bound.FailureToError(failure), "says it")

	payload, err := o.DataConverter.ToPayload("x")
	require.NoError(t, err)
	require.ErrorIs(t, with(o, workflowContext).FromPayload(payload, new(string)), codec.ErrPayload)
}

func TestFailuresStayInClearWithoutAKeyset(t *testing.T) {
	o := options(func(o *client.Options) { codec.Use(o, nil) })
	require.Equal(t, "says it", o.FailureConverter.ErrorToFailure(errors.New("says it")).GetMessage())
}

// TestWorkersNeverMisreadAHistory: what workflow code would be told as an error, and so act on, is a panic instead.
func TestWorkersNeverMisreadAHistory(t *testing.T) {
	keyset := newKeyset(t)
	writer := options(func(o *client.Options) { codec.Use(o, keyset) })
	good, err := with(writer, workflowContext).ToPayload("x")
	require.NoError(t, err)
	moved, err := with(writer, otherContext).ToPayload("x")
	require.NoError(t, err)
	type outside struct{}
	type hint struct{}
	refusable := func(_ workflow.Context, destination any, keyMissing bool) bool {
		switch destination.(type) {
		case *outside:
			return !keyMissing
		case *hint:
			return true
		}
		return false
	}
	worker := func(keyset *codec.Keyset) client.Options {
		return options(func(o *client.Options) { codec.UseInWorker(o, keyset, refusable) })
	}
	inWorkflow := func(o client.Options) converter.DataConverter {
		return with(o, workflowContext).(converter.ContextAware).WithWorkflowContext(struct{ workflow.Context }{})
	}
	var text string
	var event outside

	require.NoError(t, inWorkflow(worker(keyset)).FromPayload(good, &text))
	require.Error(t, inWorkflow(worker(keyset)).FromPayload(good, new(int)), "a value of another type is no matter of keys")

	require.Panics(t, func() { _ = inWorkflow(worker(nil)).FromPayload(good, &text) }, "no keyset")
	require.Panics(t, func() { _ = inWorkflow(worker(newKeyset(t))).FromPayload(good, &event) }, "another keyset, even where a refusal would do")
	require.ErrorIs(t, inWorkflow(worker(newKeyset(t))).FromPayload(good, &hint{}), codec.ErrKeyMissing)
	require.Panics(t, func() { _ = inWorkflow(worker(keyset)).FromPayload(moved, &text) })
	require.Panics(t, func() { _ = inWorkflow(worker(keyset)).FromPayload(clearPayload(`"x"`), &text) })

	require.ErrorIs(t, inWorkflow(worker(keyset)).FromPayload(moved, &event), codec.ErrPayload)
	require.ErrorIs(t, inWorkflow(worker(keyset)).FromPayload(clearPayload(`{}`), &event), codec.ErrPayload)

	require.ErrorIs(t, with(worker(nil), activityContext).FromPayload(good, &text), codec.ErrKeyMissing, "an activity just fails")
	require.ErrorIs(t, with(writer, otherContext).FromPayload(good, &text), codec.ErrPayload, "a caller is told")

	failure := converter.WithFailureConverterSerializationContext(writer.FailureConverter, activityContext).ErrorToFailure(errors.New("x"))
	require.Panics(t, func() { _ = worker(newKeyset(t)).FailureConverter.FailureToError(failure) })
}
