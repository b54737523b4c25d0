// Package strictjson decodes JSON the one way that two parsers cannot read
// differently (hazard W20): encoding/json alone takes the last of duplicate
// keys, matches names without regard to case and, through a Decoder, ignores
// what follows the first value.
package strictjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxDepth bounds nesting; nothing this project reads is deeper than a dozen levels.
const maxDepth = 64

// Unmarshal decodes data into target (a pointer). It refuses invalid UTF-8,
// duplicate keys (also such that differ only in case), a key that is a case
// variant of a field of target, and anything after the value. Unknown keys are
// ignored.
func Unmarshal(data []byte, target any) error {
	if err := check(data, reflect.TypeOf(target), false); err != nil {
		return err
	}
	return json.Unmarshal(data, target)
}

// UnmarshalKnown is Unmarshal that also refuses keys which no field of target
// has, naming the path. A type with its own UnmarshalJSON takes any key.
func UnmarshalKnown(data []byte, target any) error {
	if err := check(data, reflect.TypeOf(target), true); err != nil {
		return err
	}
	return json.Unmarshal(data, target)
}

func check(data []byte, target reflect.Type, knownOnly bool) error {
	if !utf8.Valid(data) {
		return errors.New("not valid UTF-8")
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	w := walker{data: data, decoder: decoder, knownOnly: knownOnly}
	if err := w.value("", target, 0); err != nil {
		return err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return errors.New("data after the JSON value")
	}
	return nil
}

type walker struct {
	data      []byte
	decoder   *json.Decoder
	knownOnly bool
}

func (w walker) value(path string, target reflect.Type, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("%s: nested deeper than %d levels", path, maxDepth)
	}
	token, err := w.decoder.Token()
	if err != nil {
		return fmt.Errorf("not valid JSON: %w", err)
	}
	start := w.decoder.InputOffset() - int64(len("{"))
	switch token {
	case json.Delim('{'):
		err = w.object(path, fieldsOf(target), depth)
	case json.Delim('['):
		err = w.array(path, elementOf(target), depth)
	default:
		return tryOwn(path, target, token)
	}
	if err != nil {
		return err
	}
	return tryOwn(path, target, json.RawMessage(w.data[start:w.decoder.InputOffset()]))
}

// tryOwn lets a type that decodes itself refuse its value here, where the path
// is known; encoding/json would pass its error on without one.
func tryOwn(path string, target reflect.Type, value any) error {
	target = direct(target)
	if value == nil || target == nil || !reflect.PointerTo(target).Implements(unmarshaler) {
		return nil
	}
	text, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if err := reflect.New(target).Interface().(json.Unmarshaler).UnmarshalJSON(text); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

func (w walker) object(path string, known map[string]reflect.Type, depth int) error {
	seen := map[string]string{}
	for w.decoder.More() {
		token, err := w.decoder.Token()
		if err != nil {
			return fmt.Errorf("not valid JSON: %w", err)
		}
		key := token.(string)
		keyPath := strings.TrimPrefix(path+"."+Shown(key), ".")
		folded := fold(key)
		if first, twice := seen[folded]; twice {
			return fmt.Errorf("%s: key given twice (as %s and %s)", keyPath, Shown(first), Shown(key))
		}
		seen[folded] = key
		fieldType, isKnown := known[key]
		if !isKnown && known != nil {
			if name, variant := variantOf(folded, known); variant {
				return fmt.Errorf("%s: wrong letter case, the field is %q", keyPath, name)
			}
			if w.knownOnly {
				return fmt.Errorf("%s: unknown field", keyPath)
			}
		}
		if err := w.value(keyPath, fieldType, depth+1); err != nil {
			return err
		}
	}
	return w.closing()
}

func (w walker) array(path string, element reflect.Type, depth int) error {
	for i := 0; w.decoder.More(); i++ {
		if err := w.value(fmt.Sprintf("%s[%d]", path, i), element, depth+1); err != nil {
			return err
		}
	}
	return w.closing()
}

func (w walker) closing() error {
	if _, err := w.decoder.Token(); err != nil {
		return fmt.Errorf("not valid JSON: %w", err)
	}
	return nil
}

// fold maps a key to the form in which encoding/json compares names: it folds
// more than ASCII (U+017F "ſ" equals "s"), but "İ" is no "i".
func fold(key string) string { return strings.Map(foldRune, key) }

// foldRune returns the smallest of the runes that differ from r in case only.
func foldRune(r rune) rune {
	for {
		next := unicode.SimpleFold(r)
		if next <= r {
			return next
		}
		r = next
	}
}

// plainKey has a few digits at most: country_iso3.
var plainKey = regexp.MustCompile(`^[A-Za-z_]+(?:[0-9][A-Za-z_]*){0,4}$`)

const maxShownKey = 40

// Shown is a key for an error text. What looks like no name could be card data
// or a name of a person in the wrong place, a forged log line, or a megabyte (hazards S1, X19).
func Shown(key string) string {
	if len(key) <= maxShownKey && plainKey.MatchString(key) {
		return key
	}
	return fmt.Sprintf("(key of %d bytes)", len(key))
}

func variantOf(folded string, known map[string]reflect.Type) (string, bool) {
	for _, name := range slices.Sorted(maps.Keys(known)) { // sorted: workflow code must not depend on map order
		if fold(name) == folded {
			return name, true
		}
	}
	return "", false
}

var unmarshaler = reflect.TypeFor[json.Unmarshaler]()

// fieldsOf returns the JSON fields of a struct type, nil where any key is
// allowed: maps, and types that decode themselves.
func fieldsOf(t reflect.Type) map[string]reflect.Type {
	t = direct(t)
	if t == nil || t.Kind() != reflect.Struct || reflect.PointerTo(t).Implements(unmarshaler) {
		return nil
	}
	fields := map[string]reflect.Type{}
	for _, field := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if name != "" && name != "-" {
			fields[name] = field.Type
		}
	}
	return fields
}

func elementOf(t reflect.Type) reflect.Type {
	t = direct(t)
	if t == nil || (t.Kind() != reflect.Slice && t.Kind() != reflect.Array) {
		return nil
	}
	return t.Elem()
}

func direct(t reflect.Type) reflect.Type {
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t
}
