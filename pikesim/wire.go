package pikesim

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"time"
)

// The JSON here is written by hand, field after field in the order of Pike's
// documents: encoding/json would rewrite a partner's metadata, which must come
// back byte for byte.

// field is a member of a JSON object; with a nil value it is left out.
type field struct {
	name  string
	value []byte
}

func objectOf(fields ...field) []byte {
	size := len("{}")
	for _, f := range fields {
		size += len(`"":,`) + len(f.name) + len(f.value)
	}
	out := append(make([]byte, 0, size), '{')
	for _, f := range fields {
		if f.value == nil {
			continue
		}
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = append(out, '"')
		out = append(out, f.name...)
		out = append(out, '"', ':')
		out = append(out, f.value...)
	}
	return append(out, '}')
}

func arrayOf(items ...[]byte) []byte {
	return append(append([]byte{'['}, bytes.Join(items, []byte{','})...), ']')
}

// quote returns text as a JSON string, nil if it is empty.
func quote(text string) []byte {
	if text == "" {
		return nil
	}
	if plain(text) {
		quoted := append(make([]byte, 0, len(text)+len(`""`)), '"')
		return append(append(quoted, text...), '"')
	}
	quoted, err := json.Marshal(text)
	if err != nil {
		panic(err) // a string always has a JSON form
	}
	return quoted
}

// plain says that text is its own JSON form, as nearly all is that is quoted here.
func plain(text string) bool {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c > '~' || strings.IndexByte(`"\\<>&`, c) >= 0 {
			return false
		}
	}
	return true
}

// date is Pike's form of a time of a session, nil if it is zero.
func date(t time.Time) []byte {
	if t.IsZero() {
		return nil
	}
	return quote(t.UTC().Format("2006-01-02T15:04:05.000000Z"))
}

func okBody(result field) []byte { return objectOf(field{"status", quote("ok")}, result) }

func errorBody(refused *refusal) []byte {
	why := failure{refused.code, refused.description}
	return objectOf(field{"status", quote("error")}, field{"error", why.json()})
}

func (f *failure) json() []byte {
	if f == nil {
		return nil
	}
	return objectOf(field{"code", quote(f.code)}, field{"description", quote(f.description)})
}

// json shows the session as the view has it, in the names of the version.
func (s *session) json(version string, v view) []byte {
	status, payoutStatus, nextAction := v.phase.statuses()
	listName := "payments"
	if version == v2 {
		listName = "payout_list"
	}
	var payouts []byte
	if len(v.payouts) > 0 {
		items := make([][]byte, len(v.payouts))
		for i := range v.payouts {
			items[i] = v.payoutJSON(&v.payouts[i], version, payoutStatus)
		}
		payouts = arrayOf(items...)
	}
	return objectOf(
		field{"id", quote(s.id)}, field{"status", quote(status)},
		field{"created_at", date(s.createdAt)}, field{"updated_at", date(v.updatedAt)},
		field{"next_action", quote(nextAction)}, field{listName, payouts}, field{"error", v.failure.json()},
	)
}

func (v *view) payoutJSON(p *payout, version, status string) []byte {
	methodName := "payment_method"
	if version == v2 {
		methodName = "payout_details"
	}
	return objectOf(
		field{"id", quote(p.id)}, field{"status", quote(status)},
		field{"created_at", date(p.createdAt)}, field{"finished_at", v.finishedAt(p)},
		field{"customer", rawOrNil(p.terms.customer.Reveal())},
		field{"participant_details", rawOrNil(p.terms.participants.Reveal())},
		field{methodName, p.terms.destination.json()}, field{"amount_details", p.terms.amount.json()},
		field{"metadata", p.terms.metadata}, field{"transaction_info", p.transactionInfo()},
		field{"refunds", p.refunds()}, field{"error", v.failure.json()},
	)
}

// finishedAt is shown of final states only: an error may still be settled.
func (v *view) finishedAt(p *payout) []byte {
	if v.phase == phaseError {
		return nil
	}
	return date(p.finishedAt)
}

func (p *payout) transactionInfo() []byte {
	if p.rrn == "" {
		return nil
	}
	return objectOf(field{"rrn", quote(p.rrn)}, field{"auth_code", quote(p.authCode)})
}

func (p *payout) refunds() []byte {
	if p.returnID == "" {
		return nil
	}
	return arrayOf(objectOf(
		field{"id", quote(p.returnID)}, field{"status", quote("accepted")},
		field{"created_at", date(p.returnedAt)}, field{"amount_details", p.terms.amount.json()},
	))
}

func (a *amount) json() []byte {
	return objectOf(field{"amount", strconv.AppendInt(nil, a.value, 10)}, field{"currency", quote(a.currency)})
}

func (d *destination) json() []byte {
	value := quote(d.value.Reveal())
	switch d.kind {
	case "recurrent":
		return objectOf(field{"type", quote("recurrent")}, field{"recurrent", objectOf(field{"token", value})})
	case "encrypted_card":
		return cardJSON(d.kind, field{"number_hash", value})
	}
	return cardJSON(d.kind, field{"token", value})
}

func cardJSON(kind string, value field) []byte {
	card := objectOf(field{"type", quote(kind)}, field{kind, objectOf(value)})
	return objectOf(field{"type", quote("card")}, field{"card", card})
}

// info is the answer of token/info: one and the same card for all that ask.
func (d *destination) info(at time.Time) []byte {
	value := quote(d.value.Reveal())
	card := []field{{"brand", quote("visa")}, {"last4", quote("4242")}, {"type", quote("card")}}
	switch d.kind {
	case "recurrent_token":
		created := at.UTC().Format("2006-01-02T15:04:05-07:00") // these dates have no fraction (api.md §3.9)
		return objectOf(field{"token", value}, field{"created_at", quote(created)},
			field{"is_active", []byte("true")}, field{"type", quote("recurrent_token")})
	case "encrypted_card":
		return objectOf(append([]field{{"number_hash", value}}, card...)...)
	}
	return objectOf(append([]field{{"token", value}}, card...)...)
}

func rawOrNil(raw string) []byte {
	if raw == "" {
		return nil
	}
	return []byte(raw)
}
