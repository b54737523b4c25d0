package secret_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"

	"pikepayouts/secret"
)

const canary = "759c9852dde2211d"

type holder struct {
	Token secret.String `json:"token"`
	Ptr   *secret.String
}

func TestNoVerbShowsTheClearText(t *testing.T) {
	s := secret.String(canary)
	values := []any{s, &s, holder{Token: s, Ptr: &s}, &holder{Token: s}, []secret.String{s}, map[string]secret.String{"k": s}}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
		for _, v := range values {
			require.NotContains(t, fmt.Sprintf(verb, v), canary, "%s of %T", verb, v)
			require.NotContains(t, fmt.Sprintf(verb, v), fmt.Sprintf("%x", canary), "%s of %T", verb, v)
		}
	}
	require.NotContains(t, errors.Join(fmt.Errorf("token %v", s)).Error(), canary)
}

func TestSlogShowsRedacted(t *testing.T) {
	var out bytes.Buffer
	for _, handler := range []slog.Handler{slog.NewJSONHandler(&out, nil), slog.NewTextHandler(&out, nil)} {
		slog.New(handler).Info("x", "token", secret.String(canary))
	}
	require.NotContains(t, out.String(), canary)
	require.Contains(t, out.String(), secret.Redacted)
}

func TestJSONKeepsTheClearText(t *testing.T) {
	out, err := json.Marshal(holder{Token: canary})
	require.NoError(t, err)
	var back holder
	require.NoError(t, json.Unmarshal(out, &back))
	require.Equal(t, canary, back.Token.Reveal())
}
