package codec_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/mac"
	tinkpb "github.com/tink-crypto/tink-go/v2/proto/tink_go_proto"

	"pikepayouts/codec"
)

// tinkJSON is a keyset as Tink's own tools make it.
func tinkJSON(t *testing.T, template *tinkpb.KeyTemplate) []byte {
	t.Helper()
	handle, err := keyset.NewHandle(template)
	require.NoError(t, err)
	var content bytes.Buffer
	require.NoError(t, insecurecleartextkeyset.Write(handle, keyset.NewJSONWriter(&content)))
	return content.Bytes()
}

func raw(template *tinkpb.KeyTemplate) *tinkpb.KeyTemplate {
	template.OutputPrefixType = tinkpb.OutputPrefixType_RAW
	return template
}

func TestParseKeysetRefuses(t *testing.T) {
	for name, tt := range map[string]struct {
		content []byte
		want    string
	}{
		"nothing":        {nil, "no Tink keyset"},
		"other JSON":     {[]byte(`{"secret":"CANARY"}`), "no Tink keyset"},
		"text":           {[]byte("CANARY"), "no Tink keyset"},
		"empty keyset":   {[]byte(`{"primaryKeyId":1,"key":[]}`), "keyset"},
		"keys for a MAC": {tinkJSON(t, mac.HMACSHA256Tag256KeyTemplate()), "AEAD"},
		"without prefix": {tinkJSON(t, raw(aead.AES256GCMKeyTemplate())), "no TINK prefix"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := codec.ParseKeyset(tt.content)
			require.ErrorContains(t, err, tt.want)
			require.NotContains(t, err.Error(), "CANARY")
		})
	}
}

// TestAKeysetOfTinksOwnTools has no next key: the first rotation adds one and changes nothing else.
func TestAKeysetOfTinksOwnTools(t *testing.T) {
	one, err := codec.ParseKeyset(tinkJSON(t, aead.AES256GCMKeyTemplate()))
	require.NoError(t, err)
	require.Equal(t, codec.RoleEncrypts, one.Keys()[0].Role)
	two, err := one.Rotate()
	require.NoError(t, err)
	require.Equal(t, []codec.Key{one.Keys()[0], {ID: two.Keys()[1].ID, Role: codec.RoleNext}}, two.Keys())
	three, err := two.Rotate()
	require.NoError(t, err)
	require.Equal(t, codec.Key{ID: two.Keys()[1].ID, Role: codec.RoleEncrypts}, three.Keys()[1])
}

// TestADisabledKeyDecryptsNothing: it is as if it were not there.
func TestADisabledKeyDecryptsNothing(t *testing.T) {
	old := newKeyset(t)
	payload := encrypted(t, codec.New(old).For(namespace, workflow1), clearPayload(`"x"`))
	rotated, err := old.Rotate()
	require.NoError(t, err)
	content, err := rotated.JSON()
	require.NoError(t, err)
	content = []byte(strings.Replace(string(content), "ENABLED", "DISABLED", 1))
	disabled, err := codec.ParseKeyset(content)
	require.NoError(t, err)
	require.Len(t, disabled.Keys(), 2)
	_, err = decrypted(codec.New(disabled), payload)
	require.ErrorIs(t, err, codec.ErrKeyMissing)
}
