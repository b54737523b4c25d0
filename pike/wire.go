package pike

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"pikepayouts/secret"
)

// SessionStatus is the status of a session (api.md §4.1).
type SessionStatus string

// The statuses of a session.
const (
	SessionCreated    SessionStatus = "created"
	SessionInProgress SessionStatus = "in_progress"
	SessionAccepted   SessionStatus = "accepted"
	SessionCancelled  SessionStatus = "cancelled"
	// SessionError is documented as not final: support settles it.
	SessionError SessionStatus = "error"
)

// PayoutStatus is the status of a payout within a session (api.md §4.2).
type PayoutStatus string

// The statuses of a payout.
const (
	PayoutInProgress PayoutStatus = "in_progress"
	PayoutPending    PayoutStatus = "pending"
	PayoutSucceeded  PayoutStatus = "succeeded"
	PayoutFailed     PayoutStatus = "failed"
)

// NextActionConfirm is the next_action of a session that waits for confirm or cancel.
const NextActionConfirm = "confirm"

// Session is a session with all operations in it, read from either naming.
type Session struct {
	ID         string
	Status     SessionStatus
	NextAction string
	Payouts    []Payout
	// IncomingPayments counts the acquiring payments; they are not this service's business.
	IncomingPayments int
	Error            *ErrorInfo
}

// MetadataText is what all payouts of the session have as theirs, "" if there is none or they disagree (hazard W25).
func (s Session) MetadataText() string {
	text := ""
	for i, p := range s.Payouts {
		if i > 0 && p.MetadataText() != text {
			return ""
		}
		text = p.MetadataText()
	}
	return text
}

// Payout is one payout of a session, read from either naming.
type Payout struct {
	ID            string
	Status        PayoutStatus
	AmountDetails AmountDetails
	// Destination is what Pike echoes; zero if it only shows masked card data.
	Destination Destination
	// RecipientName is participant_details.recipient.full_name, empty if not echoed.
	RecipientName secret.String
	// Metadata is the JSON value exactly as Pike returned it.
	Metadata json.RawMessage
	Error    *ErrorInfo
	// TransactionInfo is rrn, auth_code and whatever else Pike tells, as it came.
	TransactionInfo json.RawMessage
	// Returned: refunds[] holds something. The status stays succeeded (api.md §4.3).
	Returned bool
	// Refunds is what Pike tells of that, as it came.
	Refunds json.RawMessage
}

// MetadataText is the metadata if it is a JSON string, else "".
func (p Payout) MetadataText() string {
	var text string
	if json.Unmarshal(p.Metadata, &text) != nil {
		return ""
	}
	return text
}

// AmountDetails is an amount in minor units. Currency is lower or upper case.
type AmountDetails struct {
	Amount   int64  `json:"amount"`
	Currency string `json:"currency"`
}

// ErrorInfo is Pike's error object. Never match on Description: it varies.
type ErrorInfo struct {
	Code        string `json:"code"`
	Description string `json:"description"`
}

// redacted hides what Pike may have echoed of card data, and more of it than people read: errors reach logs, histories and people.
func (e *ErrorInfo) redacted() *ErrorInfo {
	if e == nil {
		return nil
	}
	return &ErrorInfo{Code: bounded(redact(e.Code)), Description: bounded(redact(e.Description))}
}

// Destination is one of the three ways to name a card (api.md §3.2): exactly one field is set in a request.
type Destination struct {
	CardToken      secret.String // tokenized_card
	CardNumberHash secret.String // encrypted_card
	RecurrentToken secret.String // recurrent
}

// CreateSessionRequest carries only the caller's reference: amount and
// destination are sent once, at start (api.md §10 no. 19).
type CreateSessionRequest struct {
	Metadata string
}

// StartPayoutRequest is the order itself.
type StartPayoutRequest struct {
	SessionID     string
	Destination   Destination
	AmountDetails AmountDetails
	// Recipient and Customer are JSON objects in Pike's names; Customer is optional.
	Recipient json.RawMessage
	Customer  json.RawMessage
	Metadata  string
}

// Format implements fmt.Formatter: recipient and customer are personal data in plain JSON.
func (r StartPayoutRequest) Format(state fmt.State, _ rune) {
	_, _ = fmt.Fprintf(state, "start of %s in %s", r.Metadata, r.SessionID)
}

// TokenInfoRequest asks for the card behind a destination.
type TokenInfoRequest struct {
	Destination Destination
}

// TokenInfo is what Pike tells of a card. Never store Last4 beside a number hash (hazard S2).
type TokenInfo struct {
	Type  string `json:"type"`
	Brand string `json:"brand"`
	Last4 string `json:"last4"`
}

type sessionRequest struct {
	SessionID string `json:"session_id"`
}

type createSessionWire struct {
	Metadata string `json:"metadata,omitempty"`
}

func (r CreateSessionRequest) wire() createSessionWire { return createSessionWire(r) }

type startPayoutWire struct {
	SessionID     string             `json:"session_id"`
	PaymentMethod *methodWire        `json:"payment_method,omitempty"` // v1
	PayoutDetails *methodWire        `json:"payout_details,omitempty"` // v2
	AmountDetails AmountDetails      `json:"amount_details"`
	Participants  participantsToSend `json:"participant_details"`
	Customer      json.RawMessage    `json:"customer,omitempty"`
	Metadata      string             `json:"metadata,omitempty"`
}

type participantsToSend struct {
	Recipient json.RawMessage `json:"recipient"`
}

func (r StartPayoutRequest) wire(version Version) startPayoutWire {
	wire := startPayoutWire{
		SessionID: r.SessionID, AmountDetails: r.AmountDetails, Customer: r.Customer, Metadata: r.Metadata,
		Participants: participantsToSend{Recipient: r.Recipient},
	}
	if version == V2 {
		wire.PayoutDetails = r.Destination.wire()
	} else {
		wire.PaymentMethod = r.Destination.wire()
	}
	return wire
}

type tokenInfoWire struct {
	Type           string     `json:"type"`
	Card           *cardWire  `json:"card,omitempty"`
	RecurrentToken *tokenWire `json:"recurrent_token,omitempty"`
}

func (r TokenInfoRequest) wire() tokenInfoWire {
	method := r.Destination.wire()
	if method.Recurrent != nil {
		return tokenInfoWire{Type: "recurrent_token", RecurrentToken: method.Recurrent}
	}
	return tokenInfoWire{Type: "card", Card: method.Card}
}

// methodWire is payment_method (v1) or payout_details (v2).
type methodWire struct {
	Type      string     `json:"type"`
	Card      *cardWire  `json:"card,omitempty"`
	Recurrent *tokenWire `json:"recurrent,omitempty"`
}

type cardWire struct {
	Type          string     `json:"type,omitempty"`
	TokenizedCard *tokenWire `json:"tokenized_card,omitempty"`
	EncryptedCard *hashWire  `json:"encrypted_card,omitempty"`
}

type tokenWire struct {
	Token secret.String `json:"token"`
}

type hashWire struct {
	NumberHash secret.String `json:"number_hash"`
}

func (d Destination) wire() *methodWire {
	switch {
	case d.CardToken != "":
		return &methodWire{Type: "card", Card: &cardWire{Type: "tokenized_card", TokenizedCard: &tokenWire{d.CardToken}}}
	case d.CardNumberHash != "":
		return &methodWire{Type: "card", Card: &cardWire{Type: "encrypted_card", EncryptedCard: &hashWire{d.CardNumberHash}}}
	}
	return &methodWire{Type: "recurrent", Recurrent: &tokenWire{d.RecurrentToken}}
}

func (m *methodWire) destination() Destination {
	var d Destination
	if m == nil {
		return d
	}
	if m.Recurrent != nil {
		d.RecurrentToken = m.Recurrent.Token
	}
	if m.Card != nil && m.Card.TokenizedCard != nil {
		d.CardToken = m.Card.TokenizedCard.Token
	}
	if m.Card != nil && m.Card.EncryptedCard != nil {
		d.CardNumberHash = m.Card.EncryptedCard.NumberHash
	}
	return d
}

type sessionWire struct {
	ID                string            `json:"id"`
	Status            string            `json:"status"`
	NextAction        string            `json:"next_action"`
	Payments          []payoutWire      `json:"payments"`           // v1
	PayoutList        []payoutWire      `json:"payout_list"`        // v2
	AcquiringPayments []json.RawMessage `json:"acquiring_payments"` // v1
	PaymentList       []json.RawMessage `json:"payment_list"`       // v2
	Error             *ErrorInfo        `json:"error"`
}

type payoutWire struct {
	ID              string              `json:"id"`
	Status          string              `json:"status"`
	PaymentMethod   *methodWire         `json:"payment_method"` // v1
	PayoutDetails   *methodWire         `json:"payout_details"` // v2
	AmountDetails   AmountDetails       `json:"amount_details"`
	Participants    participantsToParse `json:"participant_details"`
	Metadata        json.RawMessage     `json:"metadata"`
	Error           *ErrorInfo          `json:"error"`
	TransactionInfo json.RawMessage     `json:"transaction_info"`
	Refunds         json.RawMessage     `json:"refunds"` // of a shape that Pike does not document
}

type participantsToParse struct {
	Recipient struct {
		FullName secret.String `json:"full_name"`
	} `json:"recipient"`
}

// What a session may hold is bounded: it goes into histories, several times over, and Temporal ends a workflow
// whose result, input of the next run or search attribute is too long (hazard T12). All are far longer than
// anything that Pike documents.
const (
	maxSessionID = 255
	maxText      = 1 << 10
	maxJSON      = 16 << 10
)

// bounded cuts a text, not within a letter.
func bounded(text string) string {
	if len(text) <= maxText {
		return text
	}
	return strings.ToValidUTF8(text[:maxText], "")
}

// boundedJSON leaves out what is too long: half of it would be no JSON.
func boundedJSON(value json.RawMessage) json.RawMessage {
	if len(value) > maxJSON {
		return nil
	}
	return value
}

// session reads either naming. A session that uses both at once for one list
// is refused: which of the two is true cannot be known.
func (w sessionWire) session() (Session, error) {
	if w.Payments != nil && w.PayoutList != nil {
		return Session{}, errors.New("session has both payments and payout_list")
	}
	if len(w.ID) > maxSessionID {
		return Session{}, fmt.Errorf("session has an id of %d bytes", len(w.ID))
	}
	session := Session{
		ID: w.ID, Status: SessionStatus(spellCancelled(bounded(w.Status))), NextAction: bounded(w.NextAction), Error: w.Error.redacted(),
		IncomingPayments: len(w.AcquiringPayments) + len(w.PaymentList),
	}
	for _, wire := range append(w.Payments, w.PayoutList...) {
		payout, err := wire.payout()
		if err != nil {
			return Session{}, err
		}
		session.Payouts = append(session.Payouts, payout)
	}
	return session, nil
}

func (w payoutWire) payout() (Payout, error) {
	if w.PaymentMethod != nil && w.PayoutDetails != nil {
		return Payout{}, errors.New("payout has both payment_method and payout_details")
	}
	method := w.PaymentMethod
	if method == nil {
		method = w.PayoutDetails
	}
	return Payout{
		ID: bounded(w.ID), Status: PayoutStatus(bounded(w.Status)), Destination: method.destination(),
		AmountDetails: AmountDetails{Amount: w.AmountDetails.Amount, Currency: bounded(w.AmountDetails.Currency)},
		RecipientName: w.Participants.Recipient.FullName, Metadata: w.Metadata, Error: w.Error.redacted(), TransactionInfo: boundedJSON(w.TransactionInfo),
		Returned: holdsSomething(w.Refunds), Refunds: w.Refunds,
	}, nil
}

// holdsSomething is false for what stands for nothing in JSON.
func holdsSomething(value json.RawMessage) bool {
	switch strings.Join(strings.Fields(string(value)), "") {
	case "", "null", "[]", "{}":
		return false
	}
	return true
}

// spellCancelled maps the American spelling of Pike's prose to that of its enum (api.md §4.1).
func spellCancelled(status string) string {
	if strings.EqualFold(status, "canceled") {
		return string(SessionCancelled)
	}
	return status
}
