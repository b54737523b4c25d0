package pikesim

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Modes are what Pike's documents leave open (api.md §10), and what a project's
// contract with Pike may change. They hold for the whole server, and each that a
// payout's Behaviour sets holds for that payout instead. An empty one means the
// first of its values.
type Modes struct {
	SecondStart   SecondStart   `json:"second_start,omitempty"`
	SecondConfirm SecondConfirm `json:"second_confirm,omitempty"`
	// IdempotencyKeys overrides Options.IdempotencyKeys.
	IdempotencyKeys Switch `json:"idempotency_keys,omitempty"`
	// ErrorHTTP is the HTTP status of an ordinary refusal: 400, 401, 403, 404, or 200 with "status":"error".
	ErrorHTTP int `json:"error_http,omitempty"`
	// StatusLag: session/status shows the session as it was so long ago.
	StatusLag Duration `json:"status_lag,omitempty"`
	// ConfirmDeadline overrides Timing.ConfirmDeadline.
	ConfirmDeadline Duration `json:"confirm_deadline,omitempty"`
}

const modeFields = "second_start, second_confirm, idempotency_keys, error_http, status_lag, confirm_deadline"

// SecondStart is how session/start/payout of a session that was started already is treated.
type SecondStart string

// The treatments of a second start.
const (
	SecondStartRefuse    SecondStart = "refuse"     // session_wrong_state
	SecondStartAddPayout SecondStart = "add_payout" // the session gets one more payout, which is paid with the others
	SecondStartNoOp      SecondStart = "no_op"      // ok, and nothing happens
)

// SecondConfirm is how session/confirm of a session that was confirmed already is treated.
type SecondConfirm string

// The treatments of a second confirm.
const (
	SecondConfirmRefuse   SecondConfirm = "refuse"    // session_wrong_state
	SecondConfirmPayAgain SecondConfirm = "pay_again" // every confirm pays
	SecondConfirmNoOp     SecondConfirm = "no_op"     // ok, and nothing happens
)

// Switch is on or off; empty leaves it as it is.
type Switch string

// The positions of a switch.
const (
	On  Switch = "on"
	Off Switch = "off"
)

var (
	secondStarts   = []SecondStart{SecondStartRefuse, SecondStartAddPayout, SecondStartNoOp}
	secondConfirms = []SecondConfirm{SecondConfirmRefuse, SecondConfirmPayAgain, SecondConfirmNoOp}
	switches       = []Switch{On, Off}
	errorStatuses  = []int{http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusOK}
)

func (m Modes) validate() error {
	return errors.Join(
		oneOf("second_start", m.SecondStart, secondStarts...),
		oneOf("second_confirm", m.SecondConfirm, secondConfirms...),
		oneOf("idempotency_keys", m.IdempotencyKeys, switches...),
		m.validateErrorHTTP(),
		notNegative("status_lag", m.StatusLag),
		notNegative("confirm_deadline", m.ConfirmDeadline),
	)
}

func (m Modes) validateErrorHTTP() error {
	if m.ErrorHTTP == 0 || slices.Contains(errorStatuses, m.ErrorHTTP) {
		return nil
	}
	texts := make([]string, len(errorStatuses))
	for i, status := range errorStatuses {
		texts[i] = strconv.Itoa(status)
	}
	return fmt.Errorf("error_http must be one of %s, not %d", strings.Join(texts, ", "), m.ErrorHTTP)
}

func notNegative(name string, d Duration) error {
	if d < 0 {
		return fmt.Errorf("%s must not be negative", name)
	}
	return nil
}

// over lets these modes win over those of the server.
func (m Modes) over(server Modes) Modes {
	return Modes{
		SecondStart: cmp.Or(m.SecondStart, server.SecondStart), SecondConfirm: cmp.Or(m.SecondConfirm, server.SecondConfirm),
		IdempotencyKeys: cmp.Or(m.IdempotencyKeys, server.IdempotencyKeys), ErrorHTTP: cmp.Or(m.ErrorHTTP, server.ErrorHTTP),
		StatusLag: cmp.Or(m.StatusLag, server.StatusLag), ConfirmDeadline: cmp.Or(m.ConfirmDeadline, server.ConfirmDeadline),
	}
}

// SetModes chooses how Pike treats whatever no behaviour says otherwise of, from now on and for payouts that run already too.
func (c *Core) SetModes(modes Modes) error {
	if err := modes.validate(); err != nil {
		return err
	}
	c.modes = modes
	return nil
}

func (c *Core) keysCount(b Behaviour) bool {
	switch b.Modes.over(c.modes).IdempotencyKeys {
	case On:
		return true
	case Off:
		return false
	}
	return c.options.IdempotencyKeys
}

func (c *Core) confirmDeadline(s *session) time.Duration {
	return cmp.Or(time.Duration(s.behaviour.Modes.over(c.modes).ConfirmDeadline), c.timing.ConfirmDeadline)
}
