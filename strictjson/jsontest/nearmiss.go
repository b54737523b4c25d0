package jsontest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"pgregory.net/rapid"
)

// NearMiss draws a text that differs from the good one in a few places: names
// in other cases or given twice, numbers in other spellings, null, values of
// other kinds, depth, and damage to the text itself. Random bytes seldom get
// past the grammar; most of these do.
func NearMiss(good string) *rapid.Generator[string] {
	value := parse([]byte(good))
	return rapid.Custom(func(t *rapid.T) string {
		count := rapid.IntRange(0, 3).Draw(t, "changes")
		r := renderer{t: t, changeAt: rapid.SliceOfN(rapid.IntRange(0, value.size()-1), count, count).Draw(t, "at")}
		return rapid.SampledFrom(damages).Draw(t, "damage")(r.value(value))
	})
}

// size counts the value and all values in it.
func (v Value) size() int {
	size := 1
	for _, member := range v.members {
		size += member.size()
	}
	for _, element := range v.elements {
		size += element.size()
	}
	return size
}

// renderer writes a value, changing the values whose turn is in changeAt.
type renderer struct {
	t        *rapid.T
	turn     int
	changeAt []int
}

func (r *renderer) value(v Value) string {
	changed := slices.Contains(r.changeAt, r.turn)
	r.turn++
	switch {
	case changed:
		return rapid.SampledFrom(replacements(v.raw)).Draw(r.t, "value")
	case v.kind == object:
		return r.object(v)
	case v.kind == list:
		return r.list(v)
	}
	return v.raw
}

func (r *renderer) object(v Value) string {
	var members []string
	for _, name := range v.names {
		if slices.Contains(r.changeAt, r.turn) && rapid.Bool().Draw(r.t, "the name, not the value") {
			r.turn++
			members = append(members, renamed(r.t, name, v.members[name].raw)...)
			continue
		}
		members = append(members, quote(name)+":"+r.value(v.members[name]))
	}
	return "{" + strings.Join(members, ",") + "}"
}

func (r *renderer) list(v Value) string {
	var elements []string
	for _, element := range v.elements {
		elements = append(elements, r.value(element))
	}
	return "[" + strings.Join(elements, ",") + "]"
}

// renamed are the members that take the place of one: none, the same in another spelling, or two.
func renamed(t *rapid.T, name, raw string) []string {
	spelling := rapid.SampledFrom([]string{
		name, strings.ToUpper(name), strings.ToUpper(name[:1]) + name[1:], "\u200b" + name, name + " ", "extra",
		strings.Replace(name, "s", "ſ", 1), strings.Replace(name, "k", "\u212a", 1), strings.Replace(name, "i", "İ", 1), strings.Replace(name, "i", "ı", 1),
	}).Draw(t, "name")
	first, size := utf8.DecodeRuneInString(spelling)
	quoted := rapid.SampledFrom([]string{quote(spelling), fmt.Sprintf(`"\u%04x%s"`, first, spelling[size:])}).Draw(t, "spelled")
	other := quoted + ":" + rapid.SampledFrom(replacements(raw)).Draw(t, "value")
	original := quote(name) + ":" + raw
	return rapid.SampledFrom([][]string{nil, {other}, {original, other}, {other, original}}).Draw(t, "members")
}

func quote(text string) string { return `"` + text + `"` }

// replacements are values to put in the place of one.
func replacements(raw string) []string {
	return []string{
		raw, "null", "true", "[]", "{}", "[null]", `""`, `"x"`, "0", "-0", "-1", "1e4", "1E+4", "10000.0", "10000", `"10000"`, "01", "+1", ".5", "0x10", "NaN",
		"9223372036854775807", "9223372036854775808", "-9223372036854775808", "1e400", strconv.Quote(raw), "[" + raw + "]", `{"a":` + raw + `}`,
		`{"a":1,"a":2}`, `{"a":1,"A":2}`, `{"k":1,"` + "\u212a" + `":2}`, `{"i":1,"İ":2}`, `{"\ud800":1,"\ud801":2}`, `"\ud83d\ude00"`, `"\ud800"`, `"\ude00\ud83d"`,
		`"\u0000"`, "\"\x00\"", `"\x41"`, "\"\xff\"", "\"\ufffd\"", "'x'", `"30m"`, `"1h1h"`, `"-1s"`, `"eur"`, `"EUR"`,
		deep(maxDepth - 8), deep(maxDepth), deep(10 * maxDepth), "{\"a\":" + deep(maxDepth-9) + "}",
	}
}

func deep(levels int) string { return strings.Repeat("[", levels) + strings.Repeat("]", levels) }

// damages are done to a whole text, mostly none.
var damages = []func(string) string{
	same, same, same, same, same, same, same, same, same,
	func(text string) string { return " \t\r\n" + text + "\n" },
	func(text string) string { return text + "{}" },
	func(text string) string { return text + "\x00" },
	func(text string) string { return "\ufeff" + text },
	func(text string) string { return text[:len(text)-1] },
	func(text string) string { return strings.Replace(text, ",", ",,", 1) },
	func(text string) string { return strings.Replace(text, "}", ",}", 1) },
	func(text string) string { return strings.Replace(text, ":", "\v:", 1) },
}

func same(text string) string { return text }
