package payout

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"pikepayouts/secret"
	"pikepayouts/strictjson"
)

// Request is the one argument of PayoutWorkflow.
type Request struct {
	// PayoutID is the caller's idempotency key and the tail of the workflow id.
	PayoutID      string        `json:"payout_id"`
	AmountDetails AmountDetails `json:"amount_details"`
	Destination   Destination   `json:"destination"`
	Recipient     Recipient     `json:"recipient"`
	Customer      *Customer     `json:"customer,omitempty"`
	Policy        Policy        `json:"policy,omitzero"`
}

// Destination is where the money goes: exactly one field is set.
type Destination struct {
	TokenizedCard *TokenizedCard `json:"tokenized_card,omitempty"`
	EncryptedCard *EncryptedCard `json:"encrypted_card,omitempty"`
	Recurrent     *Recurrent     `json:"recurrent,omitempty"`
}

// TokenizedCard is a card token of Pike's tokenize/elements.
type TokenizedCard struct {
	Token secret.String `json:"token"`
}

// EncryptedCard is a card number hash of Pike's widget.
type EncryptedCard struct {
	NumberHash secret.String `json:"number_hash"`
}

// Recurrent is a token of Pike for recurring payouts.
type Recurrent struct {
	Token secret.String `json:"token"`
}

// Recipient is Pike's participant. FullName is required; Pike's other fields
// (country_iso3, city, ...) pass through unread.
type Recipient struct {
	FullName secret.String
	Other    map[string]json.RawMessage
}

// Customer is the caller's own user, passed to Pike as it is.
type Customer struct {
	Reference secret.String `json:"reference,omitempty"`
	Contacts  []Contact     `json:"contacts,omitempty"`
}

// Contact is one way to reach the customer.
type Contact struct {
	Email secret.String `json:"email,omitempty"`
	Phone secret.String `json:"phone,omitempty"`
}

// FieldError names the field of a request that is wrong and says what it must be.
type FieldError struct {
	Field, Problem string
}

func (e *FieldError) Error() string { return e.Field + ": " + e.Problem }

// ParseRequest decodes and validates a request. Unknown, repeated or
// misspelled fields are refused: a misspelled policy must not become a default.
// The error joins one *FieldError per problem that Validate finds.
func ParseRequest(data []byte) (Request, error) {
	var r Request
	if err := strictjson.UnmarshalKnown(data, &r); err != nil {
		var wrongType *json.UnmarshalTypeError
		if errors.As(err, &wrongType) {
			return Request{}, &FieldError{Field: cmp.Or(wrongType.Field, "request"), Problem: fmt.Sprintf("must be %s, not %s", jsonKind(wrongType.Type), valueKind(wrongType))}
		}
		return Request{}, fmt.Errorf("request: %w", err)
	}
	r = r.Normalized()
	return r, r.Validate()
}

func jsonKind(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Int, reflect.Int64:
		return "an integer"
	case reflect.String:
		return "a string"
	case reflect.Slice:
		return "a list"
	default:
		return "an object"
	}
}

// valueKind is what came instead, without the number itself, which could be a card's (hazard S8).
func valueKind(wrongType *json.UnmarshalTypeError) string {
	if strings.HasPrefix(wrongType.Value, "number ") {
		return "another number"
	}
	return wrongType.Value
}

// Normalized returns the request as it is stored: currency in lower case.
func (r Request) Normalized() Request {
	r.AmountDetails.Currency = strings.ToLower(r.AmountDetails.Currency)
	return r
}

// Validate reports every problem at once, each as a *FieldError.
func (r Request) Validate() error {
	var problems []error
	problem := func(field, format string, args ...any) {
		problems = append(problems, &FieldError{Field: field, Problem: fmt.Sprintf(format, args...)})
	}
	if !ValidID(r.PayoutID) {
		problem("payout_id", IDRule)
	}
	if r.AmountDetails.Amount <= 0 {
		problem("amount_details.amount", "must be a positive integer in minor units")
	}
	if _, known := minorUnits(r.AmountDetails.Currency); !known {
		problem("amount_details.currency", "must be an ISO 4217 code such as eur")
	}
	r.Destination.validate(problem)
	r.Recipient.validate(problem)
	r.Customer.validate(problem)
	r.Policy.validate(problem)
	r.refuseCardNumbers(problem)
	return errors.Join(problems...)
}

// refuseCardNumbers looks through every field whose own rule a card number could meet (hazard S8).
func (r Request) refuseCardNumbers(problem func(field, format string, args ...any)) {
	check := func(field, text string) {
		if HoldsCardNumber(text) {
			problem(field, cardNumberRule)
		}
	}
	check("payout_id", r.PayoutID)
	if HoldsCardNumber(strconv.FormatInt(r.AmountDetails.Amount, 10)) {
		problem("amount_details.amount", cardNumberProblem)
	}
	check("recipient."+fullNameKey, r.Recipient.FullName.Reveal())
	for _, name := range slices.Sorted(maps.Keys(r.Recipient.Other)) { // sorted: workflow code must not depend on map order
		if HoldsCardNumber(name) {
			problem("recipient", "has a field whose name %s", cardNumberRule)
		} else if jsonHoldsCardNumber(r.Recipient.Other[name]) {
			problem("recipient."+strictjson.Shown(name), cardNumberRule)
		}
	}
	if r.Customer == nil {
		return
	}
	check("customer.reference", r.Customer.Reference.Reveal())
	for i, contact := range r.Customer.Contacts {
		check(fmt.Sprintf("customer.contacts[%d].email", i), contact.Email.Reveal())
		check(fmt.Sprintf("customer.contacts[%d].phone", i), "+"+contact.Phone.Reveal()) // a phone number with or without its plus
	}
}

// Fingerprint is a hash over everything that was ordered, defaults included.
// Two starts of one payout id are the same order only if it is equal.
func (r Request) Fingerprint() string {
	r = r.Normalized()
	r.Policy = r.Policy.WithDefaults()
	canonical, err := json.Marshal(r)
	if err != nil { // only a hand-made Recipient.Other can hold invalid JSON
		canonical = fmt.Appendf(nil, "unmarshalable: %v", err)
	}
	sum := sha256.Sum256(canonical)
	return hex.EncodeToString(sum[:])
}

// LogValue implements slog.LogValuer; a Request as JSON would show its secrets.
func (r Request) LogValue() slog.Value {
	return slog.GroupValue(slog.String("payout_id", r.PayoutID), slog.String("amount", r.AmountDetails.String()),
		slog.String("destination", r.Destination.Kind()))
}

// Format implements fmt.Formatter: %s of a nested pointer would show what secret.String hides.
func (r Request) Format(state fmt.State, _ rune) {
	_, _ = fmt.Fprintf(state, "payout %s of %s to %s", r.PayoutID, r.AmountDetails, r.Destination)
}

// Format implements fmt.Formatter; it shows the kind only.
func (d Destination) Format(state fmt.State, _ rune) {
	_, _ = fmt.Fprintf(state, "%s %s", d.Kind(), secret.Redacted)
}

// Format implements fmt.Formatter; the customer is personal data.
func (c Customer) Format(state fmt.State, _ rune) { _, _ = fmt.Fprint(state, secret.Redacted) }

// Kind names the destination in Pike's words, "" if none is set.
func (d Destination) Kind() string {
	switch {
	case d.TokenizedCard != nil:
		return "tokenized_card"
	case d.EncryptedCard != nil:
		return "encrypted_card"
	case d.Recurrent != nil:
		return "recurrent"
	}
	return ""
}

// Value returns the token or hash of the destination that is set.
func (d Destination) Value() secret.String {
	switch {
	case d.TokenizedCard != nil:
		return d.TokenizedCard.Token
	case d.EncryptedCard != nil:
		return d.EncryptedCard.NumberHash
	case d.Recurrent != nil:
		return d.Recurrent.Token
	}
	return ""
}

var hex64Pattern = regexp.MustCompile(`^[0-9A-Fa-f]{64}$`)

func (d Destination) validate(problem func(field, format string, args ...any)) {
	set := 0
	for _, isSet := range []bool{d.TokenizedCard != nil, d.EncryptedCard != nil, d.Recurrent != nil} {
		if isSet {
			set++
		}
	}
	if set != 1 {
		problem("destination", "must have exactly one of tokenized_card, encrypted_card, recurrent; it has %d", set)
		return
	}
	if !hex64Pattern.MatchString(d.Value().Reveal()) {
		field := map[string]string{"tokenized_card": "token", "encrypted_card": "number_hash", "recurrent": "token"}[d.Kind()]
		problem("destination."+d.Kind()+"."+field, "must be 64 hex digits")
	}
}

const fullNameKey = "full_name"

func (r Recipient) validate(problem func(field, format string, args ...any)) {
	if strings.TrimSpace(r.FullName.Reveal()) == "" {
		problem("recipient.full_name", "is required")
	}
	requireUTF8(problem, "recipient.full_name", r.FullName)
	if err := (Recipient{Other: r.Other}).surviveJSON(); err != nil {
		problem("recipient", "must be one JSON object: %v", err)
	}
}

// surviveJSON finds what only a Recipient made in Go can hold: its JSON would be another recipient, or none.
func (r Recipient) surviveJSON() error {
	encoded, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encoding it: %w", err)
	}
	var decoded Recipient
	if err := strictjson.Unmarshal(encoded, &decoded); err != nil {
		return fmt.Errorf("decoding it: %w", err)
	}
	again, err := json.Marshal(decoded)
	if err == nil && !bytes.Equal(again, encoded) {
		err = errors.New("a name is not valid UTF-8")
	}
	return err
}

func (c *Customer) validate(problem func(field, format string, args ...any)) {
	if c == nil {
		return
	}
	requireUTF8(problem, "customer.reference", c.Reference)
	for i, contact := range c.Contacts {
		requireUTF8(problem, fmt.Sprintf("customer.contacts[%d].email", i), contact.Email)
		requireUTF8(problem, fmt.Sprintf("customer.contacts[%d].phone", i), contact.Phone)
	}
}

// requireUTF8 refuses text that JSON would change without a word.
func requireUTF8(problem func(field, format string, args ...any), field string, text secret.String) {
	if !utf8.ValidString(text.Reveal()) {
		problem(field, "must be valid UTF-8")
	}
}

// MarshalJSON writes full_name and the fields that pass through as one object.
func (r Recipient) MarshalJSON() ([]byte, error) {
	object := make(map[string]any, len(r.Other)+1)
	for key, value := range r.Other {
		object[key] = value
	}
	object[fullNameKey] = r.FullName
	return json.Marshal(object)
}

// UnmarshalJSON is the inverse of MarshalJSON.
func (r *Recipient) UnmarshalJSON(data []byte) error {
	var object map[string]json.RawMessage
	if err := json.Unmarshal(data, &object); err != nil {
		return errors.New("must be an object")
	}
	var name string
	if raw, given := object[fullNameKey]; given {
		if err := json.Unmarshal(raw, &name); err != nil {
			return errors.New("full_name must be a string")
		}
	}
	delete(object, fullNameKey)
	if len(object) == 0 {
		object = nil
	}
	*r = Recipient{FullName: secret.String(name), Other: object}
	return nil
}

// Format implements fmt.Formatter: the fields that pass through are personal data too.
func (r Recipient) Format(state fmt.State, verb rune) { r.FullName.Format(state, verb) }

// Duration is a time.Duration whose JSON form is a string such as "30m".
type Duration time.Duration

// MarshalJSON writes the string form.
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(time.Duration(d).String()) }

// UnmarshalJSON reads the string form. Null leaves the default, as for every other field.
func (d *Duration) UnmarshalJSON(data []byte) error {
	if string(data) == "null" {
		return nil
	}
	var text string
	if err := json.Unmarshal(data, &text); err != nil {
		return errors.New(`a duration must be a string such as "30m"`)
	}
	parsed, err := time.ParseDuration(text)
	if err != nil {
		return fmt.Errorf(`a duration must be a string such as "30m" or "1h30m"`)
	}
	*d = Duration(parsed)
	return nil
}
