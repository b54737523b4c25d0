package codec_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/converter"
	"pgregory.net/rapid"

	"pikepayouts/codec"
)

const (
	namespace = "default"
	workflow1 = "payout/p1"
	workflow2 = "payout/p2"
	token     = "759c9852dde2211d4c5a7f1e0b3d6c8a759c9852dde2211d4c5a7f1e0b3d6c8a"
)

func newKeyset(t testing.TB) *codec.Keyset {
	t.Helper()
	keyset, err := codec.NewKeyset()
	require.NoError(t, err)
	return keyset
}

func clearPayload(text string) *commonpb.Payload {
	return &commonpb.Payload{Metadata: map[string][]byte{converter.MetadataEncoding: []byte(converter.MetadataEncodingJSON)}, Data: []byte(text)}
}

func encrypted(t require.TestingT, c *codec.Codec, payload *commonpb.Payload) *commonpb.Payload {
	sealed, err := c.Encode([]*commonpb.Payload{payload})
	require.NoError(t, err)
	return sealed[0]
}

func decrypted(c *codec.Codec, payload *commonpb.Payload) (*commonpb.Payload, error) {
	opened, err := c.Decode([]*commonpb.Payload{payload})
	if err != nil {
		return nil, err
	}
	return opened[0], nil
}

func TestRoundTrip(t *testing.T) {
	c := codec.New(newKeyset(t))
	for name, codecs := range map[string]struct{ encodes, decodes *codec.Codec }{
		"bound":                             {c.For(namespace, workflow1), c.For(namespace, workflow1)},
		"bound, read without context":       {c.For(namespace, workflow1), c},
		"without context, read without one": {c, c},
	} {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				payload := &commonpb.Payload{
					Metadata: rapid.MapOf(rapid.StringN(0, 20, 40), rapid.SliceOf(rapid.Byte())).Draw(t, "metadata"),
					Data:     rapid.SliceOf(rapid.Byte()).Draw(t, "data"),
				}
				got, err := decrypted(codecs.decodes, encrypted(t, codecs.encodes, payload))
				require.NoError(t, err)
				require.True(t, bytes.Equal(payload.GetData(), got.GetData()))
				require.Len(t, got.GetMetadata(), len(payload.GetMetadata()))
				for key, value := range payload.GetMetadata() {
					require.True(t, bytes.Equal(value, got.GetMetadata()[key]))
				}
			})
		})
	}
}

// TestWhatIsRefused: hazard T2.
func TestWhatIsRefused(t *testing.T) {
	keyset, other := newKeyset(t), newKeyset(t)
	c := codec.New(keyset).For(namespace, workflow1)
	payload := clearPayload(`"x"`)
	tests := map[string]struct {
		reader  *codec.Codec
		payload *commonpb.Payload
		want    error
	}{
		"plaintext":                         {c, payload, codec.ErrPayload},
		"of another workflow":               {c, encrypted(t, codec.New(keyset).For(namespace, workflow2), payload), codec.ErrPayload},
		"of another namespace":              {c, encrypted(t, codec.New(keyset).For("other", workflow1), payload), codec.ErrPayload},
		"of no workflow":                    {c, encrypted(t, codec.New(keyset), payload), codec.ErrPayload},
		"damaged":                           {c, altered(encrypted(t, c, payload), func(p *commonpb.Payload) { p.Data = p.GetData()[:3] }), codec.ErrPayload},
		"empty":                             {c, altered(encrypted(t, c, payload), func(p *commonpb.Payload) { p.Data = nil }), codec.ErrPayload},
		"claims to be of this workflow":     {c, claiming(encrypted(t, codec.New(keyset).For(namespace, workflow2), payload), workflow1), codec.ErrPayload},
		"false claim, read without context": {codec.New(keyset), claiming(encrypted(t, c, payload), workflow2), codec.ErrPayload},
		"of another keyset":                 {c, encrypted(t, codec.New(other).For(namespace, workflow1), payload), codec.ErrKeyMissing},
		"encrypted, and encryption is off":  {codec.New(nil).For(namespace, workflow1), encrypted(t, c, payload), codec.ErrKeyMissing},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := decrypted(tt.reader, tt.payload)
			require.ErrorIs(t, err, tt.want)
		})
	}
}

func altered(payload *commonpb.Payload, alter func(*commonpb.Payload)) *commonpb.Payload {
	alter(payload)
	return payload
}

func claiming(payload *commonpb.Payload, workflowID string) *commonpb.Payload {
	return altered(payload, func(p *commonpb.Payload) { p.Metadata["encryption-workflow-id"] = []byte(workflowID) })
}

// TestNoChangedBitIsRead: of the ciphertext, and of the binding beside it.
func TestNoChangedBitIsRead(t *testing.T) {
	c := codec.New(newKeyset(t))
	rapid.Check(t, func(t *rapid.T) {
		payload := encrypted(t, c.For(namespace, workflow1), clearPayload(`{"token":"`+token+`"}`))
		target := payload.Data
		if field := rapid.SampledFrom([]string{"", "encryption-namespace", "encryption-workflow-id"}).Draw(t, "field"); field != "" {
			target = payload.GetMetadata()[field]
		}
		bit := rapid.IntRange(0, 8*len(target)-1).Draw(t, "bit")
		target[bit/8] ^= 1 << (bit % 8)
		_, err := decrypted(c, payload)
		require.Error(t, err)
	})
}

func TestNothingIsEncryptedWithoutAKeyset(t *testing.T) {
	c := codec.New(nil).For(namespace, workflow1)
	payload := clearPayload(`"x"`)
	require.Equal(t, payload, encrypted(t, c, payload))
	got, err := decrypted(c, payload)
	require.NoError(t, err)
	require.Equal(t, payload, got)
}

func TestAPayloadShowsNothingButWhereItBelongs(t *testing.T) {
	payload := encrypted(t, codec.New(newKeyset(t)).For(namespace, workflow1), clearPayload(`{"token":"`+token+`"}`))
	require.NotContains(t, payload.String(), token[:8])
	require.NotContains(t, payload.String(), "json/plain")
	require.Equal(t, map[string][]byte{
		"encoding": []byte("binary/encrypted"), "encryption-namespace": []byte(namespace), "encryption-workflow-id": []byte(workflow1),
	}, payload.GetMetadata())
}

// TestRotation: the file may reach the machines in any order, because each reads
// what one rotation later is written (hazard T3).
func TestRotation(t *testing.T) {
	keysets := []*codec.Keyset{newKeyset(t)}
	for range 3 {
		next, err := keysets[len(keysets)-1].Rotate()
		require.NoError(t, err)
		keysets = append(keysets, reread(t, next))
	}
	for written, writer := range keysets {
		payload := encrypted(t, codec.New(writer).For(namespace, workflow1), clearPayload(`"x"`))
		for read, reader := range keysets {
			_, err := decrypted(codec.New(reader).For(namespace, workflow1), payload)
			if read >= written-1 {
				require.NoError(t, err, "written with keyset %d, read with %d", written, read)
			} else {
				require.ErrorIs(t, err, codec.ErrKeyMissing, "written with keyset %d, read with %d", written, read)
			}
		}
	}
	var roles []codec.Role
	for _, key := range keysets[3].Keys() {
		roles = append(roles, key.Role)
	}
	require.Equal(t, []codec.Role{codec.RoleDecrypts, codec.RoleDecrypts, codec.RoleDecrypts, codec.RoleEncrypts, codec.RoleNext}, roles)
}

func reread(t *testing.T, keyset *codec.Keyset) *codec.Keyset {
	t.Helper()
	content, err := keyset.JSON()
	require.NoError(t, err)
	again, err := codec.ParseKeyset(content)
	require.NoError(t, err)
	require.Equal(t, keyset.Keys(), again.Keys())
	return again
}

// BenchmarkPayload is the price of one payload, such as a session that an activity returns.
func BenchmarkPayload(b *testing.B) {
	keyset := newKeyset(b)
	payload := clearPayload(`{"data":"` + string(bytes.Repeat([]byte("x"), 1000)) + `"}`)
	for _, c := range []struct {
		name  string
		codec *codec.Codec
	}{{"encrypted", codec.New(keyset).For(namespace, workflow1)}, {"clear", codec.New(nil)}} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				if _, err := decrypted(c.codec, encrypted(b, c.codec, payload)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
