package pikesim

import (
	"encoding/json"
	"fmt"
	"time"
)

// Duration is a time.Duration whose JSON form is Go's text for it: "90s", "5h30m".
// Unlike the fields of Timing it is taken as it is: no Scale changes it.
type Duration time.Duration

// String returns Go's text of the duration.
func (d Duration) String() string { return time.Duration(d).String() }

// MarshalJSON returns the text as a JSON string.
func (d Duration) MarshalJSON() ([]byte, error) { return quote(d.String()), nil }

// UnmarshalJSON reads what MarshalJSON writes.
func (d *Duration) UnmarshalJSON(data []byte) error {
	var text string
	if err := json.Unmarshal(data, &text); err != nil {
		return fmt.Errorf(`a duration must be text such as "90s" or "5h30m", not %s`, data)
	}
	parsed, err := time.ParseDuration(text)
	if err != nil {
		return fmt.Errorf(`a duration must be text such as "90s" or "5h30m", not %q`, text)
	}
	*d = Duration(parsed)
	return nil
}
