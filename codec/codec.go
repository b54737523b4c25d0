// Package codec encrypts what Temporal keeps of a payout (hazards T1-T4): a Tink
// keyset, the converters that a Temporal client is given, and the codec server
// through which the Web UI and callers in other languages read and write.
package codec

import (
	"encoding/binary"
	"errors"
	"fmt"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/converter"
	"google.golang.org/protobuf/proto"
)

const (
	// encoding marks an encrypted payload, in the word that Temporal's samples use.
	encoding = "binary/encrypted"
	// The binding stands in clear beside the ciphertext, so that whoever has no serialization
	// context (the codec server, a list) can decrypt. It is authenticated all the same.
	metadataNamespace  = "encryption-namespace"
	metadataWorkflowID = "encryption-workflow-id"
)

// Errors to find with errors.Is.
var (
	// ErrKeyMissing: this process lacks the key, or any keyset at all. The payload may be good.
	ErrKeyMissing = errors.New("no key for this payload")
	// ErrPayload: the payload is in clear, was changed, or belongs to another workflow. No key makes it good.
	ErrPayload = errors.New("payload refused")
)

// Codec encrypts and decrypts payloads. It implements converter.PayloadCodec.
type Codec struct {
	keyset *Keyset // nil: encryption is off
	// bound is the workflow that payloads must belong to, nil if that is not known.
	bound *binding
	// orToNone: payloads that belong to no workflow are good too.
	orToNone bool
}

// binding is the one workflow in whose history a ciphertext is good (hazard T2).
// It is the id, not the run: a payout that continues as new, or is reset, reads on.
type binding struct{ namespace, workflowID string }

// New returns a codec. Without a keyset it encrypts nothing, and refuses what is
// encrypted with ErrKeyMissing.
func New(keyset *Keyset) *Codec { return &Codec{keyset: keyset} }

// For returns the codec for the payloads of one workflow: it encrypts for it and
// decrypts nothing else.
func (c *Codec) For(namespace, workflowID string) *Codec {
	return &Codec{keyset: c.keyset, bound: &binding{namespace, workflowID}}
}

// WithSerializationContext implements converter.PayloadCodecWithSerializationContext.
func (c *Codec) WithSerializationContext(context converter.SerializationContext) converter.PayloadCodec {
	switch context := context.(type) {
	case converter.WorkflowSerializationContext:
		return c.For(context.Namespace, context.WorkflowID)
	case converter.ActivitySerializationContext: // what an activity takes and gives is its workflow's
		return c.For(context.Namespace, context.WorkflowID)
	}
	return c
}

// Encode implements converter.PayloadCodec.
func (c *Codec) Encode(payloads []*commonpb.Payload) ([]*commonpb.Payload, error) {
	if c.keyset == nil {
		return payloads, nil
	}
	return each(payloads, c.encrypt)
}

// Decode implements converter.PayloadCodec. Its errors are ErrKeyMissing or ErrPayload.
func (c *Codec) Decode(payloads []*commonpb.Payload) ([]*commonpb.Payload, error) {
	return each(payloads, c.decrypt)
}

func each(payloads []*commonpb.Payload, do func(*commonpb.Payload) (*commonpb.Payload, error)) ([]*commonpb.Payload, error) {
	done := make([]*commonpb.Payload, len(payloads))
	for i, payload := range payloads {
		var err error
		if done[i], err = do(payload); err != nil {
			return nil, err
		}
	}
	return done, nil
}

// encrypt without a known workflow binds to none: such a ciphertext is good for no workflow.
func (c *Codec) encrypt(payload *commonpb.Payload) (*commonpb.Payload, error) {
	plain, err := proto.Marshal(payload)
	if err != nil {
		return nil, fmt.Errorf("encoding the payload: %w", err)
	}
	var bound binding
	if c.bound != nil {
		bound = *c.bound
	}
	sealed, err := c.keyset.aead.Encrypt(plain, bound.associatedData())
	if err != nil {
		return nil, fmt.Errorf("encrypting the payload: %w", err)
	}
	return &commonpb.Payload{Data: sealed, Metadata: map[string][]byte{
		converter.MetadataEncoding: []byte(encoding),
		metadataNamespace:          []byte(bound.namespace),
		metadataWorkflowID:         []byte(bound.workflowID),
	}}, nil
}

func (c *Codec) decrypt(payload *commonpb.Payload) (*commonpb.Payload, error) {
	encrypted := isEncrypted(payload)
	switch {
	case c.keyset == nil && !encrypted:
		return payload, nil
	case c.keyset == nil:
		return nil, fmt.Errorf("%w: it is encrypted and this process has no keyset (PAYOUTS_ENCRYPTION_KEYSET_FILE)", ErrKeyMissing)
	case !encrypted:
		return nil, fmt.Errorf("%w: it is not encrypted, and a keyset is set", ErrPayload)
	}
	bound := bindingOf(payload)
	if c.bound != nil && bound != *c.bound && (!c.orToNone || bound != binding{}) {
		return nil, fmt.Errorf("%w: it was encrypted for another workflow", ErrPayload)
	}
	if err := c.keyset.knows(payload.GetData()); err != nil {
		return nil, err
	}
	plain, err := c.keyset.aead.Decrypt(payload.GetData(), bound.associatedData())
	if err != nil { // Tink says no more than that it failed
		return nil, fmt.Errorf("%w: it was changed after it was encrypted", ErrPayload)
	}
	opened := &commonpb.Payload{}
	if err := proto.Unmarshal(plain, opened); err != nil {
		return nil, fmt.Errorf("%w: what was encrypted is no payload", ErrPayload)
	}
	return opened, nil
}

func isEncrypted(payload *commonpb.Payload) bool {
	return string(payload.GetMetadata()[converter.MetadataEncoding]) == encoding
}

// bindingOf is what the payload claims; decrypting proves it.
func bindingOf(payload *commonpb.Payload) binding {
	metadata := payload.GetMetadata()
	return binding{namespace: string(metadata[metadataNamespace]), workflowID: string(metadata[metadataWorkflowID])}
}

func (b binding) associatedData() []byte {
	var data []byte
	for _, part := range []string{encoding, b.namespace, b.workflowID} {
		data = binary.AppendUvarint(data, uint64(len(part)))
		data = append(data, part...)
	}
	return data
}
