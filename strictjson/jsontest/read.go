package jsontest

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// The readers below refuse a value of another kind. A member that is not there
// and null both read as the zero value, as in encoding/json.

// Given says whether there is a value other than null.
func (v Value) Given() bool { return v.kind != absent && v.kind != null }

// Object returns the members of an object. Unknown names are allowed, those that differ from a known one in case only are not.
func (v Value) Object(known ...string) map[string]Value {
	for _, name := range v.must(object).names {
		variant := func(of string) bool { return name != of && strings.EqualFold(name, of) }
		if slices.ContainsFunc(known, variant) {
			Refuse("name %q is a variant of a known one", name)
		}
	}
	return v.members
}

// Only is Object without unknown names.
func (v Value) Only(known ...string) map[string]Value {
	for _, name := range v.must(object).names {
		if !slices.Contains(known, name) {
			Refuse("unknown name %q", name)
		}
	}
	return v.members
}

// List returns the elements of a list.
func (v Value) List() []Value { return v.must(list).elements }

// Text returns a string.
func (v Value) Text() string { return v.must(text).text }

var integerPattern = regexp.MustCompile(`^-?[0-9]+$`)

// Int returns a number that is written as an integer of 64 bits: 1e4 and 10000.0 are none.
func (v Value) Int() int64 {
	if !v.must(number).Given() {
		return 0
	}
	parsed, err := strconv.ParseInt(v.raw, 10, 64)
	if err != nil || !integerPattern.MatchString(v.raw) {
		Refuse("%s is no integer", v.raw)
	}
	return parsed
}

// Raw returns the text of a value of any kind, null included; nil if it is not there.
func (v Value) Raw() []byte {
	if v.kind == absent {
		return nil
	}
	return []byte(v.raw)
}

func (v Value) must(want kind) Value {
	if v.Given() && v.kind != want {
		Refuse("value of the wrong kind")
	}
	return v
}
