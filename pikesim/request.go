package pikesim

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"pikepayouts/secret"
)

// The versions of the API, which differ in names only (api.md §1).
const (
	v1 = "v1"
	v2 = "v2"
)

// Error codes of calls (api.md §6).
const (
	codeIdentification       = "identification_error"
	codeAuthentication       = "authentication_error"
	codeInvalidRequest       = "invalid_request"
	codeIdempotencyKeyExists = "idempotency_key_already_exists"
	codeSessionWrongState    = "session_wrong_state"
	codeInsufficientBalance  = "insufficient_wallet_balance"
)

// refusal is why a call is refused. The description never repeats a value of
// the request: it could be a token.
type refusal struct {
	code, description string
	httpStatus        int // that of Modes.ErrorHTTP if zero
}

func (r *refusal) answer(httpStatus int) Answer {
	return Answer{HTTPStatus: httpStatus, Body: errorBody(r)}
}

func invalid(format string, args ...any) *refusal {
	return &refusal{code: codeInvalidRequest, description: fmt.Sprintf(format, args...)}
}

// object is a JSON object of a request. Names count exactly, letter case
// included; fields that are not asked for are ignored, as a provider does.
type object struct {
	path   string // of the object within the request, ending in a dot, or ""
	fields map[string]json.RawMessage
}

func parseBody(body []byte) (object, *refusal) {
	if !utf8.Valid(body) {
		return object{}, invalid("the body is not UTF-8")
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(body, &fields); err != nil || fields == nil {
		return object{}, invalid("the body is not a JSON object")
	}
	return object{fields: fields}, nil
}

func (o object) has(name string) bool { return o.fields[name] != nil }

// child returns the object in a field, which must be there.
func (o object) child(name string) (object, *refusal) {
	raw, given := o.fields[name]
	if !given {
		return object{}, invalid("%s%s is missing", o.path, name)
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil || fields == nil {
		return object{}, invalid("%s%s must be an object", o.path, name)
	}
	return object{path: o.path + name + ".", fields: fields}, nil
}

// text returns the string in a field, which must be there and not be empty.
func (o object) text(name string) (string, *refusal) {
	raw, given := o.fields[name]
	if !given {
		return "", invalid("%s%s is missing", o.path, name)
	}
	var text string
	if raw[0] != '"' || json.Unmarshal(raw, &text) != nil {
		return "", invalid("%s%s must be a string", o.path, name)
	}
	if text == "" {
		return "", invalid("%s%s must not be empty", o.path, name)
	}
	return text, nil
}

// terms are the parts of an order that create and start both may carry.
type terms struct {
	destination  *destination
	amount       *amount
	customer     secret.String // the JSON object as it came, "" if not given
	participants secret.String // likewise
	metadata     json.RawMessage
}

// terms reads what is given; the names are those of the version.
func (o object) terms(version string) (terms, *refusal) {
	var t terms
	var refused *refusal
	if t.destination, refused = o.destination(version); refused != nil {
		return terms{}, refused
	}
	if t.amount, refused = o.amount(); refused != nil {
		return terms{}, refused
	}
	if t.metadata, refused = o.metadata(); refused != nil {
		return terms{}, refused
	}
	if t.customer, refused = o.customer(); refused != nil {
		return terms{}, refused
	}
	if t.participants, refused = o.participants(); refused != nil {
		return terms{}, refused
	}
	return t, nil
}

// replacedBy lets later terms win over these (api.md §3.2).
func (t terms) replacedBy(later terms) terms {
	if later.destination != nil {
		t.destination = later.destination
	}
	if later.amount != nil {
		t.amount = later.amount
	}
	if later.customer != "" {
		t.customer = later.customer
	}
	if later.participants != "" {
		t.participants = later.participants
	}
	if later.metadata != nil {
		t.metadata = later.metadata
	}
	return t
}

// amount is in minor units, the currency in lower case.
type amount struct {
	value    int64
	currency string
}

var (
	integerPattern  = regexp.MustCompile(`^-?[0-9]+$`)
	currencyPattern = regexp.MustCompile(`^[A-Za-z]{3}$`)
	hex64Pattern    = regexp.MustCompile(`^[0-9A-Fa-f]{64}$`)
)

func (o object) amount() (*amount, *refusal) {
	if !o.has("amount_details") {
		return nil, nil
	}
	details, refused := o.child("amount_details")
	if refused != nil {
		return nil, refused
	}
	raw, given := details.fields["amount"]
	if !given {
		return nil, invalid("amount_details.amount is missing")
	}
	value, err := strconv.ParseInt(string(raw), 10, 64)
	if !integerPattern.Match(raw) || err != nil || value <= 0 {
		return nil, invalid("amount_details.amount must be a positive integer in minor units")
	}
	currency, refused := details.text("currency")
	if refused != nil {
		return nil, refused
	}
	if !currencyPattern.MatchString(currency) {
		return nil, invalid("amount_details.currency must be three letters")
	}
	return &amount{value: value, currency: strings.ToLower(currency)}, nil
}

// destination is where the money goes: a token or a hash.
type destination struct {
	kind  string // tokenized_card, encrypted_card or recurrent
	value secret.String
}

func (o object) destination(version string) (*destination, *refusal) {
	name, wrongName := "payment_method", "payout_details"
	if version == v2 {
		name, wrongName = wrongName, name
	}
	if o.has(wrongName) {
		return nil, invalid("%s is not a name of API %s, which is %s", wrongName, version, name)
	}
	if !o.has(name) {
		return nil, nil
	}
	method, refused := o.child(name)
	if refused != nil {
		return nil, refused
	}
	kind, refused := method.text("type")
	if refused != nil {
		return nil, refused
	}
	switch kind {
	case "card":
		return method.card()
	case "recurrent":
		return method.secretOf("recurrent", "token")
	}
	return nil, invalid("%stype must be card or recurrent", method.path)
}

func (o object) card() (*destination, *refusal) {
	card, refused := o.child("card")
	if refused != nil {
		return nil, refused
	}
	kind, refused := card.text("type")
	if refused != nil {
		return nil, refused
	}
	if card.has("tokenized_card") && card.has("encrypted_card") {
		return nil, invalid("%stokenized_card and encrypted_card exclude each other", card.path)
	}
	switch kind {
	case "tokenized_card":
		return card.secretOf("tokenized_card", "token")
	case "encrypted_card":
		return card.secretOf("encrypted_card", "number_hash")
	}
	return nil, invalid("%stype must be tokenized_card or encrypted_card", card.path)
}

// secretOf reads the 64 hex digits in kind.field.
func (o object) secretOf(kind, field string) (*destination, *refusal) {
	holder, refused := o.child(kind)
	if refused != nil {
		return nil, refused
	}
	value, refused := holder.text(field)
	if refused != nil {
		return nil, refused
	}
	if !hex64Pattern.MatchString(value) {
		return nil, invalid("%s%s must be 64 hex digits", holder.path, field)
	}
	return &destination{kind: kind, value: secret.String(value)}, nil
}

// metadata returns the value exactly as it came.
func (o object) metadata() (json.RawMessage, *refusal) {
	raw, given := o.fields["metadata"]
	if !given {
		return nil, nil
	}
	if raw[0] == '"' || raw[0] == '{' || integerPattern.Match(raw) {
		return raw, nil
	}
	return nil, invalid("metadata must be a string, an integer or an object")
}

// metadataKey is the text of a metadata string, or the JSON of any other.
func metadataKey(metadata json.RawMessage) string {
	var text string
	if json.Unmarshal(metadata, &text) == nil {
		return text
	}
	return string(metadata)
}

func (o object) customer() (secret.String, *refusal) {
	if !o.has("customer") {
		return "", nil
	}
	customer, refused := o.child("customer")
	if refused != nil {
		return "", refused
	}
	if customer.has("reference") {
		if _, refused := customer.text("reference"); refused != nil {
			return "", refused
		}
	}
	if customer.has("contacts") {
		if err := checkContacts(customer.fields["contacts"]); err != nil {
			return "", invalid("customer.contacts %s", err)
		}
	}
	return secret.String(o.fields["customer"]), nil
}

func checkContacts(raw json.RawMessage) error {
	var contacts []map[string]json.RawMessage
	if json.Unmarshal(raw, &contacts) != nil || contacts == nil {
		return errors.New("must be an array of objects")
	}
	for i, fields := range contacts {
		contact := object{fields: fields}
		for _, name := range []string{"email", "phone"} {
			if !contact.has(name) {
				continue
			}
			if _, refused := contact.text(name); refused != nil {
				return fmt.Errorf("[%d].%s", i, refused.description)
			}
		}
	}
	return nil
}

func (o object) participants() (secret.String, *refusal) {
	if !o.has("participant_details") {
		return "", nil
	}
	participants, refused := o.child("participant_details")
	if refused != nil {
		return "", refused
	}
	for _, role := range []string{"recipient", "sender"} {
		if !participants.has(role) {
			continue
		}
		person, refused := participants.child(role)
		if refused != nil {
			return "", refused
		}
		if !person.has("full_name") {
			continue
		}
		if _, refused := person.text("full_name"); refused != nil {
			return "", refused
		}
	}
	return secret.String(o.fields["participant_details"]), nil
}
