package payout_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"pikepayouts/payout"
	"pikepayouts/strictjson/jsontest"
)

const looksLikeACard = "looks like a card number"

func TestHoldsCardNumber(t *testing.T) {
	for text, want := range map[string]bool{
		// The brands' own test numbers.
		"4111111111111111": true, "4222222222222": true, "5555555555554444": true, "2223003122003222": true, "378282246310005": true,
		"30569309025904": true, "36227206271667": true, "6011111111111117": true, "3530111333300000": true, "6205500000000000004": true,
		"6759649826438453": true, "5018000000000009": true, "2200000000000004": true,
		"4111111111111112": false, "4222222222223": false, // a wrong check digit
		"1111111111111117": false, "9111111111111110": false, "0000000000000000": false, // right, but of no issuer
		"411111111111116": false, "51111111111111112": false, "37828224631003": false, // of no such length
		"424242424242": false, "42424242424242424242": false, // 12 and 20 digits

		// In groups.
		"4111 1111 1111 1111": true, "4111-1111-1111-1111": true, "4111.1111.1111.1111": true, "4111_1111_1111_1111": true,
		"3782 822463 10005": true, "411111 1111111111": true, "4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1": true,
		"4111\u00a01111\u00a01111\u00a01111": true, "4111\u20111111\u20111111\u20111111": true, "4111–1111–1111–1111": true, "4111−1111−1111−1111": true,
		"4111  1111  1111  1111": false, "4111 1111-1111 1111": false, "4111/1111/1111/1111": false, "4111 1111\n1111 1111": false,

		// In other text.
		"card 4111111111111111, exp 12/28": true, "4111 1111 1111 1111 12 28 737": true, "7 4111 1111 1111 1111": true, "4111111111111111=2812": true,
		"(4111111111111111)": true, "inv-4111111111111111": true, "4111111111111111.pdf": true, "номер4111111111111111": true, "卡号4111111111111111。": true,
		`{"pan":"4111111111111111"}`: true, "-4111111111111111": true, "\xff4111111111111111\xff": true, "DE89 4111 1111 1111 1111": true,
		"+4111111111111111": true, "550e8400-e29b-41d4-a716-446655440000 4111111111111111": true, "IBAN DE89 3704 0044 0532 0130 00 4111 1111 1111 1111": true,
		"inv4111111111111111": false, "4111111111111111x": false, "4111 1111 1111 1111a": false, "a4111 1111 1111 1111": false, "04111111111111111": false,

		// In other digits.
		"４１１１１１１１１１１１１１１１": true, "４１１１　１１１１　１１１１　１１１１": true, "٤١١١١١١١١١١١١١١١": true, "४१११११११११११११११": true, "𝟒𝟙𝟣𝟭𝟷𝟏𝟙𝟣𝟭𝟷𝟏𝟙𝟣𝟭𝟷𝟏": true,
		"４１１１１１１１１１１１１１１２": false, "④①①①①①①①①①①①①①①①": false,

		// What ids, dates, phones and accounts look like; with a right check digit.
		"20260314120003": false, "2026-03-14-12000003": false, "2026031412000003": false, "1773489600008": false, "1773489600000000008": false, "0000000000000018": false,
		"+4915112345678": false, "+49 151 12345678": false, "tel:+49-1511234567-8": false, "+49 151 123456789 4111 1111 1111 1111": true, "4915112345678": true,
		"DE89 3704 0044 0532 0130 00": false, "DE44 5001 0517 5407 3249 31": false, "DE41 4111 1111 1111 1111 99": false, "DE42 4111 1111 1111 1111 99": true, "RF18 5390 0754 7034": false,
		"AT61 1904 3002 3457 3201 EUR": false, "GB82 WEST 1234 5698 7654 32": false, "DE56370400440532013000": false,
		"41234567-4123-4122-8123-412345674123": false, "payout_41234567-4123-4122-8123-412345674123": false,
		"00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff": false, "4111111111111111" + strings.Repeat("0", 48): false,
		"52.529407, 13.377498": false, "192.168.100.200": false, "": false,
	} {
		require.Equal(t, want, payout.HoldsCardNumber(text), "%q", text)
	}
}

// TestCardNumbersAreThoseOfIssuers compares with the published ranges, and measures how often a random number is taken for a card's.
func TestCardNumbersAreThoseOfIssuers(t *testing.T) {
	for length := 10; length <= 22; length++ {
		held := 0
		for beginning := range 10000 {
			for check := range 10 {
				number := fmt.Sprintf("%04d%s%d", beginning, "918273645546372819"[:length-5], check)
				holds := payout.HoldsCardNumber(number)
				require.Equal(t, referenceIssued(number) && referenceLuhn(number), holds, number)
				if holds {
					held++
				}
			}
		}
		if length == 16 {
			require.InDelta(t, 1.0/25, float64(held)/100000, 0.001)
		}
	}
}

// TestNoFieldTakesACardNumber puts one into every field there is, also one that a later version adds.
func TestNoFieldTakesACardNumber(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		r := fullRequest()
		places := placesIn("", reflect.ValueOf(&r).Elem())
		place := places[rapid.SampledFrom(sortedKeys(places)).Draw(rt, "field")]
		card := anyCard().Draw(rt, "card")
		if len(card.digits) == 13 && strings.HasSuffix(place.field, ".phone") {
			return // there it is a phone number
		}
		place.set(around(card.grouped).Draw(rt, "text"), card.digits)
		requireRefused(rt, r.Validate(), place.field, card)

		encoded, err := json.Marshal(r)
		if err == nil { // else only Go can make it
			_, err = payout.ParseRequest(encoded)
			require.Error(rt, err)
			requireNoDigitsOf(rt, err, card)
		}
	})
}

func TestPlacesAreFound(t *testing.T) {
	r := fullRequest()
	require.NoError(t, r.Validate())
	found := sortedKeys(placesIn("", reflect.ValueOf(&r).Elem()))
	require.Subset(t, found, []string{
		"payout_id", "amount_details.amount", "amount_details.currency", "destination.tokenized_card.token", "recipient.full_name", "recipient.city",
		"customer.reference", "customer.contacts[0].email", "customer.contacts[1].phone", "policy.decision", "policy.approvals",
	})
}

// TestNoJSONTakesACardNumber: the same through the door of other languages, where a field may hold a value of the wrong kind.
func TestNoJSONTakesACardNumber(t *testing.T) {
	leaves := []string{
		`"inv-1042"`, `10000`, `"EUR"`, `"759c9852dde2211d7531b3d905c1d513fbfb914bee87fb567d99c7b2f2c2ad44"`, `"Ivanov Ivan"`, `"RUS"`, `"country_iso3"`,
		`"user123"`, `"user@gmail.com"`, `"manual"`, `"1h30m"`, `2}}`, `"payout_id"`, `"policy"`, `{"full_name":"Ivanov Ivan","country_iso3":"RUS"}`,
	}
	rapid.Check(t, func(rt *rapid.T) {
		card := anyCard().Draw(rt, "card")
		quoted := string(marshal(rt, around(card.grouped).Draw(rt, "text")))
		value := rapid.SampledFrom([]string{
			quoted, card.digits, card.digits + ".0", "-" + card.digits, card.digits[:1] + "." + card.digits[1:] + fmt.Sprintf("e%d", len(card.digits)-1),
			`[` + quoted + `]`, `{"a":[null,{"b":` + quoted + `}]}`, `{` + quoted + `:1}`, `[true,` + card.digits + `]`, escaped(card.digits), `"_` + card.digits + `"`,
		}).Draw(rt, "value")
		leaf := rapid.SampledFrom(leaves).Draw(rt, "leaf")
		require.Contains(rt, documented, leaf)
		if strings.HasSuffix(leaf, "}}") {
			value += "}}"
		}
		err := requireIntakeAsReference(rt, []byte(strings.Replace(documented, leaf, value, 1)))
		require.Error(rt, err, value)
		requireNoDigitsOf(rt, err, card)
	})
}

// TestCardNumberInARecipientsOtherField names the field, unless its name could tell something.
func TestCardNumberInARecipientsOtherField(t *testing.T) {
	for member, want := range map[string]string{
		`"city":"4111 1111 1111 1111"`:                        "recipient.city: looks like",
		`"account":4111111111111111`:                          "recipient.account: looks like",
		`"account":4111111111111111.00`:                       "recipient.account: looks like",
		`"account":4.111111111111111e+15`:                     "recipient.account: looks like",
		`"account":411111111111111.1E1`:                       "recipient.account: looks like",
		`"address":{"lines":["x",{"4111111111111111":null}]}`: "recipient.address: looks like",
		`"Ivanov Ivan":"4111111111111111"`:                    "recipient.(key of 11 bytes): looks like",
		`"4111111111111111":"x"`:                              "recipient: has a field whose name looks like",
		`"_4111111111111111":"x"`:                             "recipient: has a field whose name looks like",
		`"account":0.04111111111111111e17`:                    "recipient.account: looks like",
		`"n":4111111111111111e999999999999999999`:             "",
		`"latitude":48.13743219999999`:                        "",
		`"n":4111111111111111.5`:                              "",
		`"n":41.11111111111111e-20`:                           "",
		`"n":4111111111111111e99999999999999999999`:           "",
		`"iban":"DE44 5001 0517 5407 3249 31"`:                "",
		`"phone":"+49 151 12345678"`:                          "",
	} {
		_, err := payout.ParseRequest([]byte(strings.Replace(documented, `"country_iso3":"RUS"`, member, 1)))
		if want == "" {
			require.NoError(t, err, member)
			continue
		}
		require.ErrorContains(t, err, want, member)
		var field *payout.FieldError
		require.ErrorAs(t, err, &field)
		require.NotContains(t, err.Error(), "1111")
	}
}

func TestACustomersPhoneNumberIsNoCardNumber(t *testing.T) {
	r := fullRequest()
	r.Customer.Contacts = []payout.Contact{{Phone: "+49 151 12345678"}, {Phone: "4915112345678"}, {Phone: "49 151 12345678"}}
	require.NoError(t, r.Validate())
	r.Customer.Contacts[2].Phone = "378282246310005"
	require.ErrorContains(t, r.Validate(), "customer.contacts[2].phone: looks like")
}

func TestTheErrorTellsTheWayOut(t *testing.T) {
	r := fullRequest()
	r.PayoutID = "inv-4111111111111111"
	require.EqualError(t, r.Validate(), "payout_id: looks like a card number; if it is none put a letter right before its digits")
	r.PayoutID = "inv4111111111111111"
	require.NoError(t, r.Validate())
}

func TestNoDecisionOrResolutionTakesACardNumber(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		decide := payout.DecideRequest{Decision: payout.DecisionConfirm, By: "ann", Reason: "checked"}
		resolve := payout.ResolveRequest{Action: payout.ResolveClosePaid, By: "ann", Reason: "settled", Evidence: "ticket 4711"}
		recheck := payout.ResolveRequest{Action: payout.ResolveRecheck, By: "ann", Evidence: "x"}
		request := rapid.SampledFrom([]interface{ Validate() error }{&decide, &resolve, &recheck}).Draw(rt, "request")
		require.NoError(rt, request.Validate())
		places := placesIn("", reflect.ValueOf(request).Elem())
		delete(places, "workflow_id") // the workflow takes its own id there, and nothing else
		place := places[rapid.SampledFrom(sortedKeys(places)).Draw(rt, "field")]
		card := anyCard().Draw(rt, "card")
		place.set(around(card.grouped).Draw(rt, "text"), card.digits)
		requireRefused(rt, request.Validate(), place.field, card)
	})
}

// TestIDsOfTheUsualKindsAreNeverRefused, however many there are.
func TestIDsOfTheUsualKindsAreNeverRefused(t *testing.T) {
	for name, id := range map[string]*rapid.Generator[string]{
		"UUID":             uuids(`[0-9a-f]`),
		"UUID, decimal":    uuids(`[0-9]`),
		"prefixed UUID":    rapid.Map(uuids(`[0-9A-F]`), func(id string) string { return "payout_" + id }),
		"UUID, bare":       rapid.StringMatching(`[0-9a-f]{32}`).Filter(func(id string) bool { return strings.ContainsAny(id, "abcdef") }),
		"ULID":             rapid.StringMatching(`01[0-9A-HJKMNP-TV-Z]{24}`),
		"KSUID":            rapid.StringMatching(`[0-9A-Za-z]{27}`),
		"nano id":          rapid.StringMatching(`pay_[0-9a-z]{12}`),
		"invoice":          rapid.StringMatching(`inv-20[0-9]{2}-[0-9]{6,9}`),
		"number":           rapid.StringMatching(`(order-|[A-Z]{2})?[0-9]{1,12}`),
		"letter first":     rapid.StringMatching(`(inv-)?[a-z][0-9]{13,19}`),
		"padded number":    rapid.StringMatching(`(inv-)?0[0-9]{12,18}`),
		"time":             rapid.StringMatching(`20[0-9]{2}(0[1-9]|1[0-2])[0-3][0-9][0-2][0-9]{5}([0-9]{1,5})?`),
		"time, dashed":     rapid.StringMatching(`20[0-9]{2}-(0[1-9]|1[0-2])-[0-3][0-9]-[0-9]{2,8}`),
		"Unix time":        rapid.StringMatching(`1[0-9]{9}([0-9]{3}){0,3}`),
		"hash":             rapid.StringMatching(`[0-9a-f]{64}`),
		"digits of a hash": rapid.StringMatching(`[0-9]{64}`),
	} {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				for range 20 {
					text := id.Draw(rt, "id")
					require.False(rt, payout.HoldsCardNumber(text), text)
				}
			})
		})
	}
}

func TestAccountsAndPhonesAreNeverRefused(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		for range 20 {
			account := iban(rapid.SampledFrom([]string{"DE", "AT", "FI", "NO", "RF"}).Draw(rt, "country"), rapid.StringMatching(`[0-9]{11,22}`).Draw(rt, "account"))
			require.False(rt, payout.HoldsCardNumber(account), account)
			require.False(rt, payout.HoldsCardNumber("IBAN: "+inGroups(account, 4, " ")+" (Ivanov)"), account)
			phone := "+" + rapid.StringMatching(`[1-9][0-9]{6,12}`).Draw(rt, "phone")
			require.False(rt, payout.HoldsCardNumber(phone), phone)
		}
	})
}

// TestTextsLikeCardNumbers compares with another way to find one, in texts that nearly hold it.
func TestTextsLikeCardNumbers(t *testing.T) {
	held := 0
	rapid.Check(t, func(rt *rapid.T) {
		pieces := rapid.SliceOfN(rapid.OneOf(
			rapid.Map(anyCard(), func(c card) string { return c.grouped }), rapid.Map(anyCard(), func(c card) string { return c.digits }),
			rapid.StringMatching(`[0-9]{1,6}`), rapid.SampledFrom([]string{" ", "-", ".", "_", "+", "  ", "x", "Z", "ж", "卡", "/", "\u00a0", "\u2011", "−", "．", "١", "\xff"}),
		), 1, 5).Draw(rt, "pieces")
		text := strings.Join(pieces, "")
		require.Equal(rt, referenceHoldsCardNumber(text), payout.HoldsCardNumber(text), "%q", text)
		if payout.HoldsCardNumber(text) {
			held++
		}
	})
	require.Positive(t, held)
}

func TestEveryDecimalDigitOfUnicodeCounts(t *testing.T) {
	for r := range unicode.MaxRune {
		if unicode.IsDigit(r) && referenceDigit(r) == 4 {
			require.True(t, payout.HoldsCardNumber(string(r)+"111111111111111"), "%U", r)
		}
	}
}

// card is a card number and a way to write it.
type card struct{ digits, grouped string }

func anyCard() *rapid.Generator[card] {
	return rapid.Custom(func(t *rapid.T) card {
		body := rapid.OneOf(
			rapid.StringMatching(`4([0-9]{11}|[0-9]{14}|[0-9]{17})`), rapid.StringMatching(`5[1-5][0-9]{13}`), rapid.StringMatching(`2[3-6][0-9]{13}`),
			rapid.StringMatching(`3[47][0-9]{12}`), rapid.StringMatching(`3[689][0-9]{11}`), rapid.StringMatching(`(35|50|56|62|6011|65|220[0-4])[0-9]{13,14}`).Filter(func(s string) bool { return len(s) >= 15 && len(s) <= 18 }),
		).Draw(t, "body")
		digits := body + string("0123456789"[slices.IndexFunc([]byte("0123456789"), func(c byte) bool { return referenceLuhn(body + string(c)) })])
		separator := rapid.SampledFrom([]string{"", " ", "-", ".", "_", "\u00a0", "\u2011", "\u3000"}).Draw(t, "separator")
		groupings := []string{inGroups(digits, 4, separator), inGroups(digits, rapid.IntRange(1, len(digits)-1).Draw(t, "size"), separator), inGroupsOfChance(t, digits, separator)}
		grouped := rapid.SampledFrom(groupings).Draw(t, "grouping")
		zero := rapid.SampledFrom([]rune{'0', '0', '０', '٠', '𝟘'}).Draw(t, "zero")
		return card{digits, strings.Map(func(r rune) rune {
			if '0' <= r && r <= '9' {
				return zero + r - '0'
			}
			return r
		}, grouped)}
	})
}

func inGroups(text string, size int, separator string) string {
	var groups []string
	for group := range slices.Chunk([]byte(text), size) {
		groups = append(groups, string(group))
	}
	return strings.Join(groups, separator)
}

func inGroupsOfChance(t *rapid.T, digits, separator string) string {
	grouped := digits[:1]
	for _, digit := range digits[1:] {
		if rapid.Bool().Draw(t, "split") {
			grouped += separator
		}
		grouped += string(digit)
	}
	return grouped
}

// around puts a card number alone or into other text.
func around(number string) *rapid.Generator[string] {
	return rapid.SampledFrom([]string{number, "card " + number, number + " 12/28", "inv-" + number, "(" + number + ")", "карта" + number + "卡", number + "\n\x00", "1a " + number + ", 7"})
}

// escaped is the JSON text of digits without a digit of theirs in it as it is.
func escaped(digits string) string {
	text := `"`
	for _, digit := range digits {
		text += fmt.Sprintf(`\u%04x`, digit)
	}
	return text + `"`
}

func uuids(digit string) *rapid.Generator[string] {
	return rapid.StringMatching(digit + `{8}-` + digit + `{4}-4` + digit + `{3}-[89]` + digit + `{3}-` + digit + `{12}`)
}

// iban is the account with the check digits of ISO 7064.
func iban(country, account string) string {
	numbers := ""
	for _, c := range account + country + "00" {
		if c >= 'A' {
			numbers += fmt.Sprint(c - 'A' + 10)
		} else {
			numbers += string(c)
		}
	}
	value, _ := new(big.Int).SetString(numbers, 10)
	return fmt.Sprintf("%s%02d%s", country, 98-new(big.Int).Mod(value, big.NewInt(97)).Int64(), account)
}

func fullRequest() payout.Request {
	return payout.Request{
		PayoutID: "inv-1042", AmountDetails: payout.AmountDetails{Amount: 10000, Currency: "eur"},
		Destination: payout.Destination{TokenizedCard: &payout.TokenizedCard{Token: "759c9852dde2211d7531b3d905c1d513fbfb914bee87fb567d99c7b2f2c2ad44"}},
		Recipient:   payout.Recipient{FullName: "Ivanov Ivan", Other: map[string]json.RawMessage{"city": json.RawMessage(`"Paris"`)}},
		Customer:    &payout.Customer{Reference: "user123", Contacts: []payout.Contact{{Email: "user@gmail.com", Phone: "+49 30 123456"}, {Phone: "112"}}},
		Policy: payout.Policy{
			Decision: payout.DecisionManual, ReadyTimeout: payout.Duration(1), DecisionTimeout: payout.Duration(1), ConfirmTimeout: payout.Duration(1),
			ResultTimeout: payout.Duration(1), Approvals: 2, PollInterval: payout.Duration(1e9),
		},
	}
}

// place is where a request can hold a text or a number.
type place struct {
	field string
	set   func(text, digits string)
}

// placesIn finds every text and number of a value, by the names that the JSON has.
func placesIn(path string, value reflect.Value) map[string]place {
	found := map[string]place{}
	add := func(name string, of reflect.Value) {
		for field, place := range placesIn(strings.TrimPrefix(path+name, "."), of) {
			found[field] = place
		}
	}
	if value.Type() == reflect.TypeFor[payout.Duration]() {
		return nil // no text, and as JSON never a bare number
	}
	switch value.Kind() {
	case reflect.Pointer:
		if !value.IsNil() {
			add("", value.Elem())
		}
	case reflect.Slice:
		for i := range value.Len() {
			add(fmt.Sprintf("[%d]", i), value.Index(i))
		}
	case reflect.Struct:
		for i := range value.NumField() {
			name, _, _ := strings.Cut(value.Type().Field(i).Tag.Get("json"), ",")
			if name == "" { // Recipient
				name = map[string]string{"FullName": "full_name", "Other": ""}[value.Type().Field(i).Name]
			}
			add(strings.TrimSuffix("."+name, "."), value.Field(i))
		}
	case reflect.String:
		found[path] = place{path, func(text, _ string) { value.SetString(text) }}
	case reflect.Int, reflect.Int64:
		found[path] = place{path, func(_, digits string) {
			number, ok := new(big.Int).SetString(digits, 10)
			value.SetInt(number.Int64())
			if !ok {
				panic(digits)
			}
		}}
	case reflect.Map:
		for _, key := range value.MapKeys() {
			found[path+"."+key.String()] = place{path + "." + key.String(), func(text, _ string) {
				encoded, err := json.Marshal(map[string]any{"a": []string{text}})
				if err != nil {
					panic(err)
				}
				value.SetMapIndex(key, reflect.ValueOf(json.RawMessage(encoded)))
			}}
		}
	default:
		panic("a kind of field that the test does not know: " + path)
	}
	return found
}

func sortedKeys[T any](of map[string]T) []string {
	var keys []string
	for key := range of {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// requireRefused: one error names the field, and none tells a digit of the card.
func requireRefused(t require.TestingT, err error, field string, card card) {
	require.Error(t, err, field)
	requireNoDigitsOf(t, err, card)
	problems := []error{err}
	var joined interface{ Unwrap() []error }
	if errors.As(err, &joined) {
		problems = joined.Unwrap()
	}
	named := slices.ContainsFunc(problems, func(problem error) bool {
		var wrong *payout.FieldError
		return errors.As(problem, &wrong) && wrong.Field == field
	})
	require.True(t, named, "%v does not name %s", err, field)
}

var digitsOfErrors = strings.NewReplacer("ISO 4217", "")

// requireNoDigitsOf: not a few digits of a card's number in a row, nor how many there are.
func requireNoDigitsOf(t require.TestingT, err error, card card) {
	text := digitsOfErrors.Replace(err.Error())
	require.NotContains(t, text, card.grouped)
	require.NotRegexp(t, `\pN{3}`, text)
}

func marshal(t require.TestingT, value any) []byte {
	encoded, err := json.Marshal(value)
	require.NoError(t, err)
	return encoded
}

// What follows finds card numbers by another way: it tries every stretch of a text.

var exemptible = regexp.MustCompile(`[A-Z]{2}\pN{2}\pZ|(?:[-\pPd]\pN{4}){3}`)

// referenceHoldsCardNumber knows no UUIDs and IBANs: what could be one is believed.
func referenceHoldsCardNumber(text string) bool {
	if exemptible.MatchString(text) {
		return payout.HoldsCardNumber(text)
	}
	runes := []rune(text)
	for from := range runes {
		for to := from + 13; to <= min(from+37, len(runes)); to++ {
			if referenceDigit(runes[from]) >= 0 && referenceStretch(runes, from, to) {
				return true
			}
		}
	}
	return false
}

var (
	alone     = regexp.MustCompile(`^[^0-9A-Za-z]?$`)
	separated = regexp.MustCompile(`^[0-9]+(?:( [0-9]+)*|(-[0-9]+)*|([._][0-9]+)*)$`)
)

func referenceStretch(runes []rune, from, to int) bool {
	before, stretch, after := referenceASCII(runes[max(0, from-1):from]), referenceASCII(runes[from:to]), referenceASCII(runes[to:min(len(runes), to+1)])
	if !alone.MatchString(before) || !alone.MatchString(after) || !separated.MatchString(stretch) {
		return false
	}
	digits := strings.NewReplacer(" ", "", "-", "", ".", "", "_", "").Replace(stretch)
	return referenceIssued(digits) && referenceLuhn(digits) && (before != "+" || len(digits) != 13)
}

func referenceASCII(runes []rune) string {
	text := ""
	for _, r := range runes {
		switch digit := referenceDigit(r); {
		case digit >= 0:
			text += fmt.Sprint(digit)
		case unicode.In(r, unicode.Zs):
			text += " "
		case unicode.In(r, unicode.Pd) || r == '−':
			text += "-"
		case r == '．':
			text += "."
		default:
			text += string(r)
		}
	}
	return text
}

// referenceDigit is -1 for what is no digit. The rows of Unicode's table begin with a zero.
func referenceDigit(r rune) int {
	for _, row := range unicode.Nd.R16 {
		if rune(row.Lo) <= r && r <= rune(row.Hi) {
			return int(r-rune(row.Lo)) % 10
		}
	}
	for _, row := range unicode.Nd.R32 {
		if rune(row.Lo) <= r && r <= rune(row.Hi) {
			return int(r-rune(row.Lo)) % 10
		}
	}
	return -1
}

// referenceIssued goes by the first four digits and the length.
func referenceIssued(digits string) bool {
	var beginning int
	if len(digits) < 13 || len(digits) > 19 {
		return false
	}
	_, _ = fmt.Sscanf(digits[:4], "%d", &beginning)
	for _, issuer := range []struct {
		from, to int
		lengths  []int
	}{
		{4000, 4999, []int{13, 16, 19}},                  // Visa
		{5100, 5599, []int{16}}, {2221, 2720, []int{16}}, // Mastercard
		{3400, 3499, []int{15}}, {3700, 3799, []int{15}}, // American Express
		{3000, 3099, []int{14, 16, 17, 18, 19}}, {3600, 3699, []int{14, 16, 17, 18, 19}}, {3800, 3999, []int{14, 16, 17, 18, 19}}, // Diners Club
		{3500, 3599, []int{16, 17, 18, 19}},                                      // JCB
		{5000, 5099, []int{16, 17, 18, 19}}, {5600, 5899, []int{16, 17, 18, 19}}, // Maestro
		{6000, 6999, []int{16, 17, 18, 19}}, // Discover, UnionPay, Maestro
		{2200, 2205, []int{16, 17, 18, 19}}, // Mir
	} {
		if issuer.from <= beginning && beginning <= issuer.to && slices.Contains(issuer.lengths, len(digits)) {
			return true
		}
	}
	return false
}

// referenceLuhn adds up from the right, every second digit by its doubled digit sum.
func referenceLuhn(digits string) bool {
	sum := 0
	for i := range digits {
		row := "0123456789"
		if (len(digits)-i)%2 == 0 {
			row = "0246813579"
		}
		sum += int(row[digits[i]-'0'] - '0')
	}
	return sum%10 == 0
}

// referenceRequestHoldsCardNumber looks through every value of a request; a card's destination and the policy have rules of their own.
func referenceRequestHoldsCardNumber(request jsontest.Value) bool {
	top := request.Object()
	held := referenceHoldsCardNumber(top["payout_id"].Text()) || referenceHoldsCardNumber(string(top["amount_details"].Object()["amount"].Raw())) ||
		referenceValueHoldsCardNumber(top["recipient"])
	if !top["customer"].Given() {
		return held
	}
	customer := top["customer"].Object()
	held = held || referenceValueHoldsCardNumber(customer["reference"])
	for _, contact := range customer["contacts"].List() {
		held = held || referenceValueHoldsCardNumber(contact.Object()["email"]) || referenceHoldsCardNumber("+"+contact.Object()["phone"].Text())
	}
	return held
}

func referenceValueHoldsCardNumber(value jsontest.Value) bool {
	raw := string(value.Raw())
	switch {
	case !value.Given() || raw == "true" || raw == "false":
		return false
	case raw[0] == '"':
		return referenceHoldsCardNumber(value.Text())
	case raw[0] == '[':
		return slices.ContainsFunc(value.List(), referenceValueHoldsCardNumber)
	case raw[0] == '{':
		for name, member := range value.Object() {
			if referenceHoldsCardNumber(name) || referenceValueHoldsCardNumber(member) {
				return true
			}
		}
		return false
	}
	number, ok := new(big.Rat).SetString(raw)
	return ok && len(raw) < 60 && number.IsInt() && referenceHoldsCardNumber(number.Num().String())
}
