package strictjson_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"pikepayouts/strictjson"
)

type order struct {
	Session struct {
		Amount int64 `json:"amount"`
	} `json:"session"`
	Items []struct {
		ID string `json:"id"`
	} `json:"items"`
	Free json.RawMessage `json:"free"`
}

func TestUnmarshal(t *testing.T) {
	tests := []struct{ name, body, wantErr string }{
		{"plain", `{"session":{"amount":1},"items":[{"id":"a"},{"id":"b"}],"free":{"A":1}}`, ""},
		{"unknown key", `{"session":{"amount":1,"new":{"x":1}}}`, ""},
		{"duplicate", `{"session":{"amount":1,"amount":2}}`, "session.amount: key given twice"},
		{"duplicate in an unknown object", `{"new":{"x":1,"x":2}}`, "new.x: key given twice"},
		{"duplicate through an escape", `{"session":{"amount":1,"\u0061mount":2}}`, "session.amount: key given twice"},
		{"duplicate by case", `{"new":{"x":1,"X":2}}`, "new.X: key given twice"},
		{"case variant", `{"Session":{"amount":1}}`, "wrong letter case"},
		{"case variant outside ASCII", `{"ſession":{"amount":1}}`, "wrong letter case"},
		{"case variant in an array", `{"items":[{"id":"a"},{"ID":"b"}]}`, "items[1].ID: wrong letter case"},
		{"any key inside free", `{"free":{"Session":1}}`, ""},
		{"trailing value", `{"session":{"amount":1}}{}`, "data after"},
		{"trailing garbage", `{"session":{"amount":1}} x`, "data after"},
		{"cut", `{"session":{"amount":1`, "not valid JSON"},
		{"empty", ``, "not valid JSON"},
		{"byte order mark", "\ufeff{}", "not valid JSON"},
		{"invalid UTF-8", "{\"new\":\"\xff\"}", "UTF-8"},
		{"exponent", `{"session":{"amount":1e4}}`, "session.amount"},
		{"string amount", `{"session":{"amount":"1"}}`, "session.amount"},
		{"too deep", strings.Repeat("[", 100) + strings.Repeat("]", 100), "nested deeper"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got order
			err := strictjson.Unmarshal([]byte(tt.body), &got)
			if tt.wantErr == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, tt.wantErr)
		})
	}
}

func TestUnmarshalKnownNamesTheUnknownField(t *testing.T) {
	var got order
	require.ErrorContains(t, strictjson.UnmarshalKnown([]byte(`{"session":{"amonut":1}}`), &got), "session.amonut: unknown field")
	require.NoError(t, strictjson.UnmarshalKnown([]byte(`{"session":{"amount":1},"free":{"any":1}}`), &got))
}

func FuzzUnmarshalIsNarrowerThanEncodingJSON(f *testing.F) {
	f.Add([]byte(`{"session":{"amount":1}}`))
	f.Add([]byte(`{"Session":{"amount":1,"amount":2}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var strict, lenient order
		if strictjson.Unmarshal(data, &strict) != nil {
			return
		}
		require.NoError(t, json.Unmarshal(data, &lenient))
		require.Equal(t, lenient, strict)
	})
}
