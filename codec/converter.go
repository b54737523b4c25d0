package codec

import (
	"context"
	"errors"
	"fmt"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"
)

// Refusable says of a payload that cannot be read whether workflow code may be told
// so: one that cannot be good (ErrPayload), or whose key is missing here. It is asked
// with where the value would have gone. If not, the workflow task fails and is tried
// again: the payout waits for its operator.
//
// Without it the SDK would hand the error to the workflow, or end the workflow
// with it: an open payout must not end because a worker was started with the
// wrong keyset.
type Refusable func(ctx workflow.Context, destination any, keyMissing bool) bool

// Use makes a Temporal client encrypt with the keyset: payloads, memo, summaries,
// details, and what failures say. With a nil keyset nothing is encrypted, and
// encrypted payloads are errors.
func Use(options *client.Options, keyset *Keyset) {
	use(options, &dataConverter{codec: New(keyset)})
}

// UseInWorker is Use for a process that runs workflows: what it cannot read, and is
// not Refusable, fails the workflow task and never the workflow.
func UseInWorker(options *client.Options, keyset *Keyset, refusable Refusable) {
	use(options, &dataConverter{codec: New(keyset), refusable: refusable})
}

func use(options *client.Options, c *dataConverter) {
	options.DataConverter = c
	options.FailureConverter = newFailureConverter(c)
}

// dataConverter is the SDK's JSON, encrypted.
type dataConverter struct {
	codec *Codec
	// refusable is set in workers, ctx in workflow code.
	refusable Refusable
	ctx       workflow.Context
	// ofHistory: what is read here is a part of a workflow's history.
	ofHistory bool
}

var (
	_ converter.DataConverterWithSerializationContext = (*dataConverter)(nil)
	_ converter.ContextAware                          = (*dataConverter)(nil)
)

// WithSerializationContext implements converter.DataConverterWithSerializationContext.
func (d *dataConverter) WithSerializationContext(context converter.SerializationContext) converter.DataConverter {
	bound := *d
	bound.codec, _ = d.codec.WithSerializationContext(context).(*Codec)
	return &bound
}

// WithWorkflowContext implements converter.ContextAware.
func (d *dataConverter) WithWorkflowContext(ctx workflow.Context) converter.DataConverter {
	inWorkflow := *d
	inWorkflow.ctx, inWorkflow.ofHistory = ctx, true
	return &inWorkflow
}

// WithContext implements converter.ContextAware.
func (d *dataConverter) WithContext(context.Context) converter.DataConverter { return d }

// plain is the SDK's own converter around the codec.
func (d *dataConverter) plain() converter.DataConverter {
	return converter.NewCodecDataConverter(converter.GetDefaultDataConverter(), d.codec)
}

// ToPayload implements converter.DataConverter.
func (d *dataConverter) ToPayload(value any) (*commonpb.Payload, error) {
	return d.plain().ToPayload(value) //nolint:wrapcheck // the SDK's converter, made to measure
}

// ToPayloads implements converter.DataConverter.
func (d *dataConverter) ToPayloads(values ...any) (*commonpb.Payloads, error) {
	return d.plain().ToPayloads(values...) //nolint:wrapcheck // as above
}

// FromPayload implements converter.DataConverter.
func (d *dataConverter) FromPayload(payload *commonpb.Payload, destination any) error {
	return d.checked(d.plain().FromPayload(payload, destination), destination)
}

// FromPayloads implements converter.DataConverter.
func (d *dataConverter) FromPayloads(payloads *commonpb.Payloads, destinations ...any) error {
	return d.checked(d.plain().FromPayloads(payloads, destinations...), destinations...)
}

// ToString implements converter.DataConverter.
func (d *dataConverter) ToString(payload *commonpb.Payload) string {
	return d.plain().ToString(payload)
}

// ToStrings implements converter.DataConverter.
func (d *dataConverter) ToStrings(payloads *commonpb.Payloads) []string {
	return d.plain().ToStrings(payloads)
}

// checked panics where an error would go into a payout's history as if it were
// true: the panic fails the workflow task, which is tried again.
func (d *dataConverter) checked(err error, destinations ...any) error {
	switch {
	case d.refusable != nil && isVersion(destinations) && (errors.Is(err, ErrKeyMissing) || errors.Is(err, ErrPayload)):
		panic(fmt.Sprintf("which way this payout went at a change of its workflow cannot be read: %v", err))
	case d.refusable == nil || !d.ofHistory || d.mayRefuse(destinations, err):
		return err
	case errors.Is(err, ErrKeyMissing):
		panic(fmt.Sprintf("a worker that cannot read this payout must not run it: %v", err))
	case errors.Is(err, ErrPayload) && d.ctx != nil:
		panic(fmt.Sprintf("a part of the payout's own history cannot be read: %v", err))
	}
	return err
}

// isVersion tells the marker of workflow.GetVersion, of which the SDK ignores every error: it would
// go the old way where the history went the new one.
func isVersion(destinations []any) bool {
	if len(destinations) == 0 {
		return false
	}
	_, is := destinations[0].(*workflow.Version)
	return is
}

// mayRefuse goes by the first destination: nothing that comes from outside has a second.
func (d *dataConverter) mayRefuse(destinations []any, why error) bool {
	return why != nil && d.ctx != nil && len(destinations) > 0 && d.refusable(d.ctx, destinations[0], errors.Is(why, ErrKeyMissing))
}

// failureConverter encrypts what a failure says, bound like any payload; the SDK's own knows no serialization context.
type failureConverter struct {
	converter.FailureConverter
	dataConverter *dataConverter
}

func newFailureConverter(c *dataConverter) *failureConverter {
	reading, lenient := *c, *c.codec
	lenient.orToNone = true // the SDK forgets the context of what it reports of a worker that is stopping (fact E13)
	reading.codec, reading.ofHistory = &lenient, true
	return &failureConverter{dataConverter: c, FailureConverter: temporal.NewDefaultFailureConverter(temporal.DefaultFailureConverterOptions{
		DataConverter: &reading, EncodeCommonAttributes: c.codec.keyset != nil,
	})}
}

// WithSerializationContext implements converter.FailureConverterWithSerializationContext.
func (f *failureConverter) WithSerializationContext(context converter.SerializationContext) converter.FailureConverter {
	bound, _ := f.dataConverter.WithSerializationContext(context).(*dataConverter)
	return newFailureConverter(bound)
}
