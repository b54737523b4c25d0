package strictjson_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"pikepayouts/strictjson"
	"pikepayouts/strictjson/jsontest"
)

type order struct {
	Session struct {
		Amount int64 `json:"amount"`
	} `json:"session"`
	Items []item          `json:"items"`
	Free  json.RawMessage `json:"free"`
	At    seconds         `json:"at"`
}

// seconds decodes itself.
type seconds int

func (s *seconds) UnmarshalJSON(data []byte) error {
	var n *int
	if err := json.Unmarshal(data, &n); err != nil {
		return errors.New("must be a number of seconds")
	}
	if n != nil {
		*s = seconds(*n)
	}
	return nil
}

type item struct {
	ID string `json:"id"`
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
		{"dotted capital I is no i", `{"session":{"amount":1},"İtems":1}`, ""},
		{"a key that is no name is not shown", `{"new":{"Ivanov Ivan":1,"Ivanov Ivan":2}}`, "new.(key of 11 bytes): key given twice (as (key of 11 bytes) and"},
		{"a value of a type that decodes itself", `{"at":{}}`, "at: must be a number of seconds"},
		{"a scalar of a type that decodes itself", `{"at":"x"}`, "at: must be a number of seconds"},
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

func FuzzUnmarshal(f *testing.F) {
	f.Add([]byte(goodOrder))
	f.Add([]byte(`{"Session":{"amount":1,"amount":2}}`))
	f.Fuzz(func(t *testing.T, data []byte) { requireAgreement(t, data) })
}

const goodOrder = `{"session":{"amount":10000},"items":[{"id":"a"},{"id":"b"}],"free":{"A":[1,{"a":null}]},"at":7,"extra":"x"}`

func TestNearMisses(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		for range 5 {
			requireAgreement(rt, []byte(jsontest.NearMiss(goodOrder).Draw(rt, "order")))
		}
	})
}

// requireAgreement: what is accepted is what a strict reference accepts, with equal values (hazard W20);
// encoding/json, which every other program of ours may use, reads it alike.
func requireAgreement(t require.TestingT, data []byte) {
	for name, unmarshal := range map[string]struct {
		ours      func([]byte, any) error
		reference func(jsontest.Value) order
	}{
		"Unmarshal":      {strictjson.Unmarshal, referenceOrder(jsontest.Value.Object)},
		"UnmarshalKnown": {strictjson.UnmarshalKnown, referenceOrder(jsontest.Value.Only)},
	} {
		var got, lenient order
		err := unmarshal.ours(data, &got)
		want, refused := jsontest.Decode(data, unmarshal.reference)
		require.Equal(t, refused == nil, err == nil, "%s of %q: ours %v, %v", name, data, err, refused)
		if err == nil {
			require.Equal(t, want, got, "%s of %q", name, data)
			require.NoError(t, json.Unmarshal(data, &lenient))
			require.Equal(t, lenient, got, "%s of %q", name, data)
		}
	}
}

func referenceOrder(members func(jsontest.Value, ...string) map[string]jsontest.Value) func(jsontest.Value) order {
	return func(value jsontest.Value) order {
		top := members(value, "session", "items", "free", "at")
		o := order{Free: top["free"].Raw(), At: seconds(top["at"].Int())}
		o.Session.Amount = members(top["session"], "amount")["amount"].Int()
		if top["items"].Given() {
			o.Items = make([]item, 0)
		}
		for _, element := range top["items"].List() {
			o.Items = append(o.Items, item{ID: members(element, "id")["id"].Text()})
		}
		return o
	}
}
