package webhookgw_test

import (
	"bufio"
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"pikepayouts/pike"
	"pikepayouts/webhookgw"
)

// TestBadSignaturesAllLookAlike: hazards W3 and W5. Every variant gets the same bytes.
func TestBadSignaturesAllLookAlike(t *testing.T) {
	body := webhookBody("ready_to_confirm", `"inv-1"`)
	good := sign(t, pikeKey(), body)
	want := newHarness(t).post(body)
	require.Equal(t, 401, want.Code)
	for name, signatures := range badSignatures(t, body, good) {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t)
			got := h.post(body, signatures...)
			require.Equal(t, want.Code, got.Code)
			require.Equal(t, want.Body.Bytes(), got.Body.Bytes())
			require.Equal(t, want.Header(), got.Header())
			require.Empty(t, h.signaler.seen())
			require.Equal(t, map[string]float64{"none/bad_signature": 1}, h.counts())
			h.requireNothingSecretLogged("")
		})
	}
	require.Equal(t, 200, newHarness(t).post(body, good).Code, "the variants differ from this one only")
}

func badSignatures(t *testing.T, body, good string) map[string][]string {
	raw, err := base64.StdEncoding.DecodeString(good)
	require.NoError(t, err)
	encode := base64.StdEncoding.EncodeToString
	unpadded := strings.TrimRight(good, "=")
	require.NotEqual(t, good, unpadded, "a 2048-bit signature ends in padding")
	one := func(signature string) []string { return []string{signature} }
	return map[string][]string{
		"missing": nil, "empty": one(""), "blank": one(" "), "twice": {good, good}, "good then bad": {good, "x"},
		"bad then good": {"x", good}, "good then empty": {good, ""}, "joined by a comma": one(good + "," + good),
		"not base64": one("!!!!"), "the word null": one("null"), "zero byte": one(good + "\x00"),
		"leading space": one(" " + good), "trailing space": one(good + " "), "trailing tab": one(good + "\t"),
		"trailing CRLF": one(good + "\r\n"), "folded": one(good[:64] + "\r\n " + good[64:]), "line breaks inside": one(good[:64] + "\n" + good[64:]),
		"url-safe alphabet": one(urlSafe(t, raw)), "no padding": one(unpadded), "more padding": one(good + "="), "padding inside": one(good[:4] + "====" + good[8:]),
		"trailing bits": one(changeTrailingBits(good)), "one byte short": one(encode(raw[:len(raw)-1])), "one byte long": one(encode(append([]byte{0}, raw...))),
		"half": one(encode(raw[:128])), "double": one(encode(append(append([]byte(nil), raw...), raw...))), "all zero": one(encode(make([]byte, len(raw)))),
		"first bit flipped": one(flipBit(raw, 0)), "last bit flipped": one(flipBit(raw, len(raw)*8-1)), "lower case": one(strings.ToLower(good)),
		"hex": one(hex.EncodeToString(raw)), "base64 twice": one(encode([]byte(good))), "prefixed": one("sha256=" + good), "very long": one(strings.Repeat("A", 8<<10)),
		"other key": one(sign(t, otherKey(), body)), "other body": one(sign(t, pikeKey(), body+" ")), "empty body": one(sign(t, pikeKey(), "")),
		"PSS": one(signPSS(t, body)), "SHA-1": one(signWith(t, crypto.SHA1, body)), "SHA-512": one(signWith(t, crypto.SHA512, body)),
		"without digest info": one(signWith(t, 0, body)), "HMAC with the public key": one(hmacWithPublicKey(t, body)), "plain SHA-256": one(plainDigest(body)),
	}
}

func urlSafe(t *testing.T, raw []byte) string {
	t.Helper()
	text := base64.URLEncoding.EncodeToString(raw)
	require.True(t, strings.ContainsAny(text, "-_"), "256 random bytes that need neither - nor _")
	return text
}

// changeTrailingBits gives a text that a lenient decoder takes for the same bytes (G1).
func changeTrailingBits(good string) string {
	end := strings.IndexByte(good, '=') - 1
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	changed := alphabet[strings.IndexByte(alphabet, good[end])^1]
	return good[:end] + string(changed) + good[end+1:]
}

func flipBit(raw []byte, bit int) string {
	changed := append([]byte(nil), raw...)
	changed[bit/8] ^= 1 << (7 - bit%8)
	return base64.StdEncoding.EncodeToString(changed)
}

func signPSS(t *testing.T, body string) string {
	t.Helper()
	digest := sha256.Sum256([]byte(body))
	signature, err := rsa.SignPSS(rand.Reader, pikeKey(), crypto.SHA256, digest[:], nil)
	require.NoError(t, err)
	return base64.StdEncoding.EncodeToString(signature)
}

// signWith signs with another digest; 0 signs the SHA-256 digest without naming its algorithm.
func signWith(t *testing.T, algorithm crypto.Hash, body string) string {
	t.Helper()
	var digest []byte
	switch algorithm {
	case crypto.SHA1:
		sum := sha1.Sum([]byte(body))
		digest = sum[:]
	case crypto.SHA512:
		sum := sha512.Sum512([]byte(body))
		digest = sum[:]
	default:
		sum := sha256.Sum256([]byte(body))
		digest = sum[:]
	}
	signature, err := rsa.SignPKCS1v15(rand.Reader, pikeKey(), algorithm, digest)
	require.NoError(t, err)
	return base64.StdEncoding.EncodeToString(signature)
}

func hmacWithPublicKey(t *testing.T, body string) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(&pikeKey().PublicKey)
	require.NoError(t, err)
	mac := hmac.New(sha256.New, der)
	_, _ = mac.Write([]byte(body))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

func plainDigest(body string) string {
	digest := sha256.Sum256([]byte(body))
	return base64.StdEncoding.EncodeToString(digest[:])
}

// TestFoldedHeaderOverTheWire: net/http joins a folded header with a space, which is no base64.
func TestFoldedHeaderOverTheWire(t *testing.T) {
	h := newHarness(t)
	server := httptest.NewServer(h.handler)
	defer server.Close()
	body := webhookBody("ready_to_confirm", `"inv-1"`)
	good := sign(t, pikeKey(), body)
	connection, err := net.Dial("tcp", server.Listener.Addr().String())
	require.NoError(t, err)
	defer func() { _ = connection.Close() }()
	_, err = fmt.Fprintf(connection, "POST %s HTTP/1.1\r\nHost: x\r\n%s: %s\r\n %s\r\nContent-Length: %d\r\n\r\n%s",
		webhookgw.DefaultPath, pike.HeaderSign, good[:64], good[64:], len(body), body)
	require.NoError(t, err)
	response, err := http.ReadResponse(bufio.NewReader(connection), nil)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Equal(t, 401, response.StatusCode)
	require.Empty(t, h.signaler.seen())
}

// TestOnlyTheBytesCount: hazard W4. What is signed is accepted however odd; what is equal as JSON but not as bytes is not.
func TestOnlyTheBytesCount(t *testing.T) {
	plain := webhookBody("ready_to_confirm", `"inv-1"`)
	bodies := map[string]struct{ body, wantAnswer string }{
		"plain":          {plain, "ready_to_confirm/signalled"},
		"escaped slash":  {strings.Replace(plain, `"session":{`, `"session":{"url":"https:\/\/x\/y",`, 1), "ready_to_confirm/signalled"},
		"odd spacing":    {strings.NewReplacer(":{", " : \t{", ",", " ,\r\n").Replace(plain), "ready_to_confirm/signalled"},
		"escaped text":   {strings.Replace(plain, "inv-1", `\u0069nv-1`, 1), "ready_to_confirm/signalled"},
		"escaped zero":   {strings.Replace(plain, "inv-1", `inv-1\u0000`, 1), "ready_to_confirm/uncorrelated"},
		"trailing break": {plain + "\n", "ready_to_confirm/signalled"},
		"BOM":            {"\ufeff" + plain, "none/unparsable"},
		"UTF-16":         {utf16(plain), "none/unparsable"},
		"duplicate keys": {strings.Replace(plain, `"session"`, `"type":"payment_finished","session"`, 1), "none/unparsable"},
		"case variant":   {strings.Replace(plain, `"session"`, `"Session":{},"session"`, 1), "none/unparsable"},
		"two values":     {plain + plain, "none/unparsable"},
	}
	for name, tt := range bodies {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t)
			require.Equal(t, 200, h.postSigned(tt.body).Code)
			require.Equal(t, map[string]float64{tt.wantAnswer: 1}, h.counts())
			if name != "plain" {
				require.Equal(t, 401, h.post(plain, sign(t, pikeKey(), tt.body)).Code)
				require.Equal(t, 401, h.post(tt.body, sign(t, pikeKey(), plain)).Code)
			}
		})
	}
}

func utf16(text string) string {
	wide := []byte{0xff, 0xfe}
	for _, letter := range []byte(text) {
		wide = append(wide, letter, 0)
	}
	return string(wide)
}

// TestKeyRotation: hazard W19.
func TestKeyRotation(t *testing.T) {
	body := webhookBody("ready_to_confirm", `"inv-1"`)
	withKeys := func(keys ...*rsa.PublicKey) *harness {
		return newHarness(t, func(c *webhookgw.Config) {
			var err error
			c.Verifier, err = pike.NewVerifier(keys...)
			require.NoError(t, err)
		})
	}
	oldKey, newKey := pikeKey(), otherKey()
	both := withKeys(&oldKey.PublicKey, &newKey.PublicKey)
	require.Equal(t, 200, both.post(body, sign(t, oldKey, body)).Code)
	require.Equal(t, 200, both.post(body, sign(t, newKey, body)).Code)
	onlyNew := withKeys(&newKey.PublicKey)
	require.Equal(t, 401, onlyNew.post(body, sign(t, oldKey, body)).Code)
	require.Equal(t, 200, onlyNew.post(body, sign(t, newKey, body)).Code)
}

// TestMutationsAreNeverAccepted: hazard W1.
func TestMutationsAreNeverAccepted(t *testing.T) {
	h := newHarness(t)
	genuine := webhookBody("ready_to_confirm", `"inv-1"`)
	signature := sign(t, pikeKey(), genuine)
	rapid.Check(t, func(t *rapid.T) {
		body, header := genuine, signature
		if rapid.Bool().Draw(t, "mutate the body") {
			body = mutate(t, body)
		} else {
			header = mutate(t, header)
		}
		if body == genuine && header == signature {
			t.Skip("the mutation changed nothing")
		}
		if got := h.post(body, header).Code; got != 401 {
			t.Fatalf("accepted with %d", got)
		}
	})
	require.Empty(t, h.signaler.seen())
}

func mutate(t *rapid.T, text string) string {
	from := rapid.IntRange(0, len(text)-1).Draw(t, "from")
	to := rapid.IntRange(from, len(text)).Draw(t, "to")
	switch rapid.SampledFrom([]string{"flip", "cut", "truncate", "insert", "replace", "repeat"}).Draw(t, "how") {
	case "flip":
		changed := []byte(text)
		changed[from] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		return string(changed)
	case "cut":
		return text[:from] + text[to:]
	case "truncate":
		return text[:from]
	case "insert":
		return text[:from] + rapid.String().Draw(t, "inserted") + text[from:]
	case "replace":
		return text[:from] + rapid.String().Draw(t, "replacement") + text[to:]
	}
	return text + text[from:to]
}
