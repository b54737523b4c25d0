// Package jsontest judges decoders of JSON, in tests only: a reference decoder
// that shares no line with package strictjson or encoding/json, and a generator
// of texts that are nearly right.
package jsontest

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// maxDepth is the one that package strictjson promises.
const maxDepth = 64

// Value is one JSON value. The zero Value is a member that is not there.
type Value struct {
	kind     kind
	raw      string // as it came, without the space around it
	text     string // of a string, escapes resolved
	names    []string
	members  map[string]Value
	elements []Value
}

type kind int

const (
	absent kind = iota
	null
	boolean
	number
	text
	list
	object
)

// refusal is what a decoding panics with; Decode turns it into an error.
type refusal string

// Refuse ends a Decode with an error, from within its read function.
func Refuse(format string, args ...any) { panic(refusal(fmt.Sprintf(format, args...))) }

// Decode parses data by the letter of RFC 8259 and hands the value to read,
// which builds what the decoder under test should have built. On top of the
// RFC it refuses what two parsers could read differently (hazard W20): invalid
// UTF-8, two names of one object that are equal or differ in case only, and
// nesting deeper than 64. An unpaired surrogate reads as U+FFFD.
func Decode[T any](data []byte, read func(Value) T) (decoded T, err error) {
	defer func() {
		switch reason := recover().(type) {
		case nil:
		case refusal:
			err = fmt.Errorf("reference decoder: %s", string(reason))
		default:
			panic(reason)
		}
	}()
	return read(parse(data)), nil
}

func parse(data []byte) Value {
	if !utf8.Valid(data) {
		Refuse("invalid UTF-8")
	}
	p := &parser{rest: string(data)}
	value := p.value(0)
	if p.rest != "" {
		Refuse("trailing data")
	}
	return value
}

type parser struct{ rest string }

// value reads one value and the space around it.
func (p *parser) value(depth int) Value {
	p.space()
	if depth > maxDepth {
		Refuse("nested deeper than %d", maxDepth)
	}
	start := p.rest
	value := p.bare(depth)
	value.raw = start[:len(start)-len(p.rest)]
	p.space()
	return value
}

func (p *parser) bare(depth int) Value {
	switch {
	case p.take("null"):
		return Value{kind: null}
	case p.take("true"), p.take("false"):
		return Value{kind: boolean}
	case p.take("{"):
		return p.object(depth)
	case p.take("["):
		return p.list(depth)
	case strings.HasPrefix(p.rest, `"`):
		return Value{kind: text, text: p.string()}
	}
	p.match(numberPattern)
	return Value{kind: number}
}

var (
	numberPattern = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?`)
	stringPattern = regexp.MustCompile(`^"([^"\\\x00-\x1f]|\\["\\/bfnrt]|\\u[0-9A-Fa-f]{4})*"`)
	escapePattern = regexp.MustCompile(`(\\u[0-9A-Fa-f]{4})+|\\.`)
)

func (p *parser) object(depth int) Value {
	value := Value{kind: object, members: map[string]Value{}}
	p.space()
	for !p.take("}") {
		if len(value.names) > 0 {
			p.must(",")
			p.space()
		}
		name := p.string()
		if twin := slices.IndexFunc(value.names, func(other string) bool { return strings.EqualFold(name, other) }); twin >= 0 {
			Refuse("name %q beside %q", name, value.names[twin])
		}
		p.space()
		p.must(":")
		value.names = append(value.names, name)
		value.members[name] = p.value(depth + 1)
	}
	return value
}

func (p *parser) list(depth int) Value {
	value := Value{kind: list, elements: []Value{}}
	p.space()
	for !p.take("]") {
		if len(value.elements) > 0 {
			p.must(",")
		}
		value.elements = append(value.elements, p.value(depth+1))
	}
	return value
}

func (p *parser) string() string {
	quoted := p.match(stringPattern)
	return escapePattern.ReplaceAllStringFunc(quoted[1:len(quoted)-1], unescape)
}

var shortEscapes = map[byte]string{'"': `"`, '\\': `\`, '/': `/`, 'b': "\b", 'f': "\f", 'n': "\n", 'r': "\r", 't': "\t"}

// unescape resolves one short escape, or a run of \uXXXX, in which surrogates find their halves.
func unescape(escape string) string {
	if short, ok := shortEscapes[escape[1]]; ok {
		return short
	}
	var units []uint16
	for unit := range strings.SplitSeq(escape[len(`\u`):], `\u`) {
		parsed, err := strconv.ParseUint(unit, 16, 16)
		if err != nil {
			Refuse("escape %q", escape)
		}
		units = append(units, uint16(parsed))
	}
	return string(utf16.Decode(units))
}

func (p *parser) space() { p.rest = strings.TrimLeft(p.rest, " \t\n\r") }

func (p *parser) take(token string) bool {
	rest, taken := strings.CutPrefix(p.rest, token)
	p.rest = rest
	return taken
}

func (p *parser) must(token string) {
	if !p.take(token) {
		Refuse("no %q", token)
	}
}

func (p *parser) match(pattern *regexp.Regexp) string {
	found := pattern.FindString(p.rest)
	if found == "" {
		Refuse("not a value")
	}
	p.rest = p.rest[len(found):]
	return found
}
