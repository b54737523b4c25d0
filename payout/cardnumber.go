package payout

import (
	"bytes"
	"cmp"
	"encoding/json"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// cardNumberProblem is what is wrong with a number that HoldsCardNumber. In a
// text the letter makes a number of the caller's own none.
const (
	cardNumberProblem = "looks like a card number"
	cardNumberRule    = cardNumberProblem + "; if it is none put a letter right before its digits"
)

// HoldsCardNumber says whether the text is or contains what looks like a card
// number (hazard S8): 13 to 19 digits, of any script, whose last is the right
// check digit, and that begin as card numbers of that length do. They may stand
// in groups of any size with one space, dash, dot or underscore between, the same everywhere.
//
// The trade-off: a card number that gets through pulls Temporal, with all that
// reads it, into the scope of PCI DSS; a number that only looks like one blocks
// a genuine payout, until the caller changes it as the error says. Of random
// numbers of 16 digits one in 25 looks like one. So that ids of the usual kinds
// never do, these are none:
//
//   - digits right beside an ASCII letter or among more digits: tokens, hashes, ULIDs, IBANs, "inv4111…";
//   - a UUID, and an IBAN or creditor reference in groups of four whose own check digits are right;
//   - up to 13 digits right after a plus, which are a phone number (+49 151 12345678);
//   - what begins with a year up to 2199, with Unix time up to 2039 or with zeros: no issuer has these.
//
// The price: a card number right after a letter gets through, and one whose
// groups stand further apart or in several fields.
func HoldsCardNumber(text string) bool {
	text = strings.Map(plain, text)
	return hasCardNumber(text) && hasCardNumber(withoutIBANs(withoutUUIDs(text)))
}

// plain maps digits of any script, spaces and dashes of any kind to their ASCII forms.
func plain(r rune) rune {
	switch {
	case r == '_', r == '\uff0e': // the full-width dot
		return '.'
	case r < utf8.RuneSelf:
		return r
	case unicode.IsDigit(r):
		return '0' + digitValue(r)
	case unicode.Is(unicode.Zs, r):
		return ' '
	case unicode.Is(unicode.Pd, r), r == '\u2212': // the minus sign
		return '-'
	}
	return r
}

// digitValue counts the digits before r: Unicode has each script's ten in a row, some rows right after another.
func digitValue(r rune) rune {
	before := rune(0)
	for unicode.IsDigit(r - before - 1) {
		before++
	}
	return before % 10
}

const (
	minCardDigits = 13
	maxCardDigits = 19
	// phoneDigits is the most that phone numbers have in practice, and what the oldest Visas have.
	phoneDigits = 13
	// separators are what plain leaves of all that may stand between two groups.
	separators = " -."
)

func hasCardNumber(text string) bool {
	for i := range len(text) {
		beginsGroup := isDigit(text[i]) && (i == 0 || !isDigit(text[i-1]) && !isLetter(text[i-1]))
		if beginsGroup && beginsWithCardNumber(text[i:], i > 0 && text[i-1] == '+') {
			return true
		}
	}
	return false
}

// beginsWithCardNumber says whether the first few groups of digits, at least one, make a card number.
func beginsWithCardNumber(text string, afterPlus bool) bool {
	digits, separator := make([]byte, 0, 2*maxCardDigits), ""
	for {
		group := leadingDigits(text)
		digits, text = append(digits, group...), text[len(group):]
		if group == "" || len(digits) > maxCardDigits || text != "" && isLetter(text[0]) {
			return false
		}
		isPhone := afterPlus && len(digits) <= phoneDigits
		if !isPhone && isCardNumber(digits) {
			return true
		}
		if text == "" || !strings.Contains(separators, text[:1]) || separator != "" && separator != text[:1] {
			return false
		}
		separator, text = text[:1], text[1:]
	}
}

// leadingDigits returns the digits that the text begins with, of many only enough to see that they are too many.
func leadingDigits(text string) string {
	n := 0
	for n < len(text) && n <= maxCardDigits && isDigit(text[n]) {
		n++
	}
	return text[:n]
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }

// issuedPattern is what card numbers begin with, by length. It is wide where brands share ranges (50, 56-58, 6).
var issuedPattern = regexp.MustCompile(`^(?:` + strings.Join([]string{
	`4(?:[0-9]{12}|[0-9]{15}|[0-9]{18})`,                                                // Visa
	`(?:5[1-5][0-9]{2}|222[1-9]|22[3-9][0-9]|2[3-6][0-9]{2}|27[01][0-9]|2720)[0-9]{12}`, // Mastercard
	`3[47][0-9]{13}`,                    // American Express
	`3[0689][0-9]{12}(?:[0-9]{2,5})?`,   // Diners Club
	`(?:35|5[0678]|6[0-9])[0-9]{14,17}`, // JCB; Maestro and national brands; Discover, UnionPay
	`220[0-5][0-9]{12,15}`,              // Mir
}, "|") + `)$`)

func isCardNumber(digits []byte) bool {
	return len(digits) >= minCardDigits && luhn(digits) && issuedPattern.Match(digits)
}

// luhn says whether the last digit is the check digit of the others (ISO/IEC 7812-1).
func luhn(digits []byte) bool {
	sum := 0
	for i := range len(digits) {
		digit := int(digits[len(digits)-1-i] - '0')
		if i%2 == 1 {
			digit *= 2
		}
		sum += digit/10 + digit%10
	}
	return sum%10 == 0
}

var uuidPattern = regexp.MustCompile(`\b[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}\b`)

func withoutUUIDs(text string) string { return uuidPattern.ReplaceAllLiteralString(text, "UUID") }

// ibanPattern may match a few words more than the IBAN has groups.
var ibanPattern = regexp.MustCompile(`\b[A-Z]{2}[0-9]{2}(?: [0-9A-Z]{4}){2,7}(?: [0-9A-Z]{1,4})?\b`)

// minIBAN is the length of a Norwegian one.
const minIBAN = 15

func withoutIBANs(text string) string {
	return ibanPattern.ReplaceAllStringFunc(text, func(words string) string {
		for iban := words; iban != ""; iban = iban[:max(0, strings.LastIndexByte(iban, ' '))] {
			if isIBAN(iban) {
				return "IBAN" + words[len(iban):]
			}
		}
		return words
	})
}

// isIBAN checks the check digits of an IBAN (ISO 13616) or a creditor reference (RF…, ISO 11649).
func isIBAN(text string) bool {
	compact := strings.ReplaceAll(text, " ", "")
	if len(compact) < minIBAN {
		return false
	}
	remainder := 0
	for _, c := range compact[4:] + compact[:4] {
		if c >= 'A' {
			remainder = (remainder*100 + int(c-'A') + 10) % 97
		} else {
			remainder = (remainder*10 + int(c-'0')) % 97
		}
	}
	return remainder == 1
}

// jsonHoldsCardNumber looks through every text, name and number of a JSON value. What is no JSON is refused elsewhere.
func jsonHoldsCardNumber(value json.RawMessage) bool {
	decoder := json.NewDecoder(bytes.NewReader(value))
	decoder.UseNumber()
	for {
		token, err := decoder.Token()
		if err != nil {
			return false
		}
		switch token := token.(type) {
		case string:
			if HoldsCardNumber(token) {
				return true
			}
		case json.Number:
			if HoldsCardNumber(integerText(token)) {
				return true
			}
		}
	}
}

// maxNumberDigits leaves room for zeros before a card number.
const maxNumberDigits = 100

// integerText is the number without fraction and exponent, "" if it has no such form of a sane length:
// a card number that passed through a float reads 4.1e15 or ends in ".0", a coordinate is none.
func integerText(number json.Number) string {
	mantissa, exponent, _ := strings.Cut(strings.ToLower(number.String()), "e")
	whole, fraction, _ := strings.Cut(strings.TrimPrefix(mantissa, "-"), ".")
	shift, err := strconv.Atoi(cmp.Or(exponent, "0"))
	digits, point := whole+fraction, len(whole)+shift
	if err != nil || point < 0 || point > maxNumberDigits {
		return ""
	}
	if missing := point - len(digits); missing > 0 {
		digits += strings.Repeat("0", missing)
	}
	if strings.Trim(digits[point:], "0") != "" {
		return ""
	}
	return strings.TrimLeft(digits[:point], "0")
}
