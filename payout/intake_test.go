package payout_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"pikepayouts/payout"
	"pikepayouts/secret"
	"pikepayouts/strictjson/jsontest"
)

func FuzzParseRequest(f *testing.F) {
	f.Add([]byte(documented))
	f.Fuzz(func(t *testing.T, data []byte) { _ = requireIntakeAsReference(t, data) })
}

func TestRequestsThatAreNearlyRight(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		for range 5 {
			if err := requireIntakeAsReference(rt, []byte(jsontest.NearMiss(documented).Draw(rt, "request"))); err != nil {
				requireNoSecret(rt, err)
			}
		}
	})
}

// requireIntakeAsReference: what ParseRequest accepts is what a strict
// reference reads and Validate accepts, with equal values (hazard W20), and it
// survives JSON. It returns why the request is refused.
func requireIntakeAsReference(t require.TestingT, data []byte) error {
	got, err := payout.ParseRequest(data)
	want, refused := jsontest.Decode(data, referenceRequest)
	accepted := refused == nil && want.Validate() == nil
	require.Equal(t, accepted, err == nil, "%q: ours %v, %v", data, err, refused)
	if refused == nil {
		card, _ := jsontest.Decode(data, referenceRequestHoldsCardNumber)
		require.Equal(t, card, err != nil && strings.Contains(err.Error(), looksLikeACard), "%q: %v", data, err)
	}
	if accepted {
		require.Equal(t, want, got, "%q", data)
		requireStable(t, got)
	}
	return err
}

// requireStable: an accepted request is the same order however often it is normalized, encoded and parsed.
func requireStable(t require.TestingT, r payout.Request) {
	require.NoError(t, r.Validate())
	require.Equal(t, r, r.Normalized())
	encoded, err := json.Marshal(r)
	require.NoError(t, err)
	again, err := payout.ParseRequest(encoded)
	require.NoError(t, err, "%s", encoded)
	require.Equal(t, r.Fingerprint(), again.Fingerprint(), "%s", encoded)
	encodedAgain, err := json.Marshal(again)
	require.NoError(t, err)
	require.Equal(t, string(encoded), string(encodedAgain))
}

// The secrets of documented; TestNothingPrintsASecret has them too.
var canaries = []string{"Ivanov", "759c9852dde2211d7531b3d9", "RUS", "user@gmail.com", "user123"}

func requireNoSecret(t require.TestingT, err error) {
	for _, canary := range canaries {
		require.NotContains(t, err.Error(), canary)
	}
}

// TestASecretInTheWrongPlaceIsNotTold: callers mix up fields, and the error of a request is kept in a history (hazard S1).
func TestASecretInTheWrongPlaceIsNotTold(t *testing.T) {
	for _, canary := range []string{"759c9852dde2211d7531b3d905c1d513fbfb914bee87fb567d99c7b2f2c2ad44", "Ivanov Ivan", "user@gmail.com"} {
		quoted := `"` + canary + `"`
		for _, body := range []string{
			quoted, `[` + quoted + `]`, `{` + quoted + `:1}`, `{` + quoted + `:1,` + quoted + `:2}`, `{"payout_id":` + quoted + `,` + quoted + `:1}`,
			`{"amount_details":` + quoted + `}`, `{"amount_details":{"amount":` + quoted + `}}`, `{"amount_details":{"amount":1,"currency":` + quoted + `}}`,
			`{"destination":` + quoted + `}`, `{"destination":{` + quoted + `:{}}}`, `{"destination":{"tokenized_card":` + quoted + `}}`,
			`{"destination":{"tokenized_card":{` + quoted + `:""}}}`, `{"destination":{"tokenized_card":{"token":[` + quoted + `]}}}`,
			`{"recipient":` + quoted + `}`, `{"recipient":{"full_name":[` + quoted + `]}}`, `{"recipient":{"x":{` + quoted + `:1,` + quoted + `:2}}}`,
			`{"customer":` + quoted + `}`, `{"customer":{"contacts":[` + quoted + `]}}`, `{"policy":{"approvals":` + quoted + `}}`,
		} {
			_, err := payout.ParseRequest([]byte(body))
			require.Error(t, err, body)
			require.NotContains(t, err.Error(), canary, body)
		}
	}
}

// TestARequestMadeInGoIsWhatItsJSONSays: the other door, through package
// starter or the flags of the command line. What Validate accepts there the
// workflow accepts, as the same order with the same texts.
func TestARequestMadeInGoIsWhatItsJSONSays(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		r := anyRequest().Draw(rt, "request").Normalized()
		if r.Validate() != nil {
			return
		}
		requireStable(rt, r)
		encoded, err := json.Marshal(r)
		require.NoError(rt, err)
		parsed, err := payout.ParseRequest(encoded)
		require.NoError(rt, err)
		require.Equal(rt, r.Recipient.FullName.Reveal(), parsed.Recipient.FullName.Reveal())
		require.Equal(rt, r.Destination, parsed.Destination)
		if r.Customer != nil {
			require.Equal(rt, r.Customer.Reference.Reveal(), parsed.Customer.Reference.Reveal())
			require.Len(rt, parsed.Customer.Contacts, len(r.Customer.Contacts))
		}
	})
}

func TestTextThatJSONWouldChangeIsRefused(t *testing.T) {
	base, err := payout.ParseRequest([]byte(documented))
	require.NoError(t, err)
	for field, change := range map[string]func(*payout.Request){
		"recipient.full_name": func(r *payout.Request) { r.Recipient.FullName = "Ivanov\xff" },
		"recipient": func(r *payout.Request) {
			r.Recipient.Other = map[string]json.RawMessage{"city": json.RawMessage("Paris")}
		},
		"customer.reference":         func(r *payout.Request) { r.Customer = &payout.Customer{Reference: "u\xff"} },
		"customer.contacts[0].email": func(r *payout.Request) { r.Customer = &payout.Customer{Contacts: []payout.Contact{{Email: "\xff"}}} },
		"customer.contacts[1].phone": func(r *payout.Request) {
			r.Customer = &payout.Customer{Contacts: []payout.Contact{{}, {Phone: "\xff"}}}
		},
	} {
		r := base
		change(&r)
		err := r.Validate()
		require.ErrorContains(t, err, field+": must be")
		requireNoSecret(t, err)
	}
	twice := base
	twice.Recipient.Other = map[string]json.RawMessage{"Full_Name": json.RawMessage(`"Petrov"`)}
	require.ErrorContains(t, twice.Validate(), "recipient: must be one JSON object: ")
}

// anyRequest is mostly valid, of odd texts and durations.
func anyRequest() *rapid.Generator[payout.Request] {
	text := rapid.Map(rapid.OneOf(rapid.String(), rapid.StringMatching(`[A-Za-z ]{1,8}(\xff|"|\\|<|&|\x{2028}|\x{fffd}|\x{1f600})?`)), func(s string) secret.String { return secret.String(s) })
	duration := rapid.Map(rapid.Int64Range(0, int64(720*time.Hour)), func(d int64) payout.Duration { return payout.Duration(d) })
	return rapid.Custom(func(t *rapid.T) payout.Request {
		r := payout.Request{
			PayoutID:      rapid.StringMatching(`[A-Za-z0-9._-]{1,64}`).Draw(t, "id"),
			AmountDetails: payout.AmountDetails{Amount: rapid.Int64Min(1).Draw(t, "amount"), Currency: rapid.SampledFrom([]string{"eur", "EUR", "Jpy", "\u017fek", "xyz"}).Draw(t, "currency")},
			Recipient:     payout.Recipient{FullName: text.Draw(t, "name")},
			Policy: payout.Policy{
				Decision:     rapid.SampledFrom([]string{"", payout.DecisionAuto, payout.DecisionManual}).Draw(t, "decision"),
				ReadyTimeout: duration.Draw(t, "ready"), ResultTimeout: duration.Draw(t, "result"),
			},
		}
		hex := secret.String(rapid.StringMatching(`[0-9a-fA-F]{64}`).Draw(t, "hex"))
		r.Destination = rapid.SampledFrom([]payout.Destination{
			{TokenizedCard: &payout.TokenizedCard{Token: hex}}, {EncryptedCard: &payout.EncryptedCard{NumberHash: hex}}, {Recurrent: &payout.Recurrent{Token: hex}},
		}).Draw(t, "destination")
		if key := rapid.SampledFrom([]string{"", "city", "full_name", "FULL_NAME", "full_na\xff"}).Draw(t, "other"); key != "" {
			value := rapid.SampledFrom([]string{`"Paris"`, `{"a": [1, null]}`, `null`, `1e400`, `{"a":1,"a":2}`, `Paris`, ``}).Draw(t, "other value")
			r.Recipient.Other = map[string]json.RawMessage{key: json.RawMessage(value)}
		}
		if rapid.Bool().Draw(t, "has a customer") {
			r.Customer = &payout.Customer{Reference: text.Draw(t, "reference"), Contacts: []payout.Contact{{Email: text.Draw(t, "email")}, {}}}
		}
		return r
	})
}

func referenceRequest(value jsontest.Value) payout.Request {
	top := value.Only("payout_id", "amount_details", "destination", "recipient", "customer", "policy")
	amount := top["amount_details"].Only("amount", "currency")
	return payout.Request{
		PayoutID:      top["payout_id"].Text(),
		AmountDetails: payout.AmountDetails{Amount: amount["amount"].Int(), Currency: strings.ToLower(amount["currency"].Text())},
		Destination:   referenceDestination(top["destination"]), Recipient: referenceRecipient(top["recipient"]),
		Customer: referenceCustomer(top["customer"]), Policy: referencePolicy(top["policy"]),
	}
}

func referenceDestination(value jsontest.Value) payout.Destination {
	var d payout.Destination
	members := value.Only("tokenized_card", "encrypted_card", "recurrent")
	text := func(value jsontest.Value, name string) secret.String {
		return secret.String(value.Only(name)[name].Text())
	}
	if card := members["tokenized_card"]; card.Given() {
		d.TokenizedCard = &payout.TokenizedCard{Token: text(card, "token")}
	}
	if card := members["encrypted_card"]; card.Given() {
		d.EncryptedCard = &payout.EncryptedCard{NumberHash: text(card, "number_hash")}
	}
	if recurrent := members["recurrent"]; recurrent.Given() {
		d.Recurrent = &payout.Recurrent{Token: text(recurrent, "token")}
	}
	return d
}

func referenceRecipient(value jsontest.Value) payout.Recipient {
	var r payout.Recipient
	for name, member := range value.Object() {
		if name == "full_name" {
			r.FullName = secret.String(member.Text())
			continue
		}
		if r.Other == nil {
			r.Other = map[string]json.RawMessage{}
		}
		r.Other[name] = member.Raw()
	}
	return r
}

func referenceCustomer(value jsontest.Value) *payout.Customer {
	if !value.Given() {
		return nil
	}
	members := value.Only("reference", "contacts")
	customer := &payout.Customer{Reference: secret.String(members["reference"].Text())}
	if members["contacts"].Given() {
		customer.Contacts = []payout.Contact{}
	}
	for _, element := range members["contacts"].List() {
		contact := element.Only("email", "phone")
		customer.Contacts = append(customer.Contacts, payout.Contact{Email: secret.String(contact["email"].Text()), Phone: secret.String(contact["phone"].Text())})
	}
	return customer
}

func referencePolicy(value jsontest.Value) payout.Policy {
	members := value.Only("decision", "ready_timeout", "decision_timeout", "confirm_timeout", "result_timeout", "approvals", "poll_interval")
	duration := func(name string) payout.Duration {
		if !members[name].Given() {
			return 0
		}
		parsed, err := time.ParseDuration(members[name].Text())
		if err != nil {
			jsontest.Refuse("%s: %v", name, err)
		}
		return payout.Duration(parsed)
	}
	return payout.Policy{
		Decision: members["decision"].Text(), Approvals: int(members["approvals"].Int()), ReadyTimeout: duration("ready_timeout"),
		DecisionTimeout: duration("decision_timeout"), ConfirmTimeout: duration("confirm_timeout"),
		ResultTimeout: duration("result_timeout"), PollInterval: duration("poll_interval"),
	}
}
