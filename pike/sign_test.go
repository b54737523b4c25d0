package pike_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"pikepayouts/pike"
)

func encodePEM(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func pkcs8(t *testing.T, key any) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	return encodePEM("PRIVATE KEY", der)
}

func pkix(t *testing.T, key any) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	require.NoError(t, err)
	return encodePEM("PUBLIC KEY", der)
}

// TestSignEqualsOpenSSL: api.md §2. The method is deterministic, so the texts must be equal.
func TestSignEqualsOpenSSL(t *testing.T) {
	keyFile := filepath.Join(t.TempDir(), "key.pem")
	require.NoError(t, os.WriteFile(keyFile, pkcs8(t, partnerKey()), 0o400))
	bodies := [][]byte{nil, []byte("{}"), []byte("{}\n"), {0, 0xff, '\r', '\n'}}
	for length := 1; length <= 1<<16; length *= 4 {
		body := make([]byte, length)
		_, err := rand.Read(body)
		require.NoError(t, err)
		bodies = append(bodies, body)
	}
	for _, body := range bodies {
		openssl := exec.CommandContext(t.Context(), "openssl", "dgst", "-sha256", "-sign", keyFile)
		openssl.Stdin = bytes.NewReader(body)
		want, err := openssl.Output()
		require.NoError(t, err, "the openssl program is needed by this test")
		got, err := pike.Sign(partnerKey(), body)
		require.NoError(t, err)
		require.Equal(t, base64.StdEncoding.EncodeToString(want), got, "%d bytes", len(body))
	}
}

// TestVerifierAcceptsExactlyWhatWasSigned: hazards W1 and S5.
func TestVerifierAcceptsExactlyWhatWasSigned(t *testing.T) {
	verifier, err := pike.NewVerifier(&partnerKey().PublicKey)
	require.NoError(t, err)
	rapid.Check(t, func(t *rapid.T) {
		body := rapid.SliceOf(rapid.Byte()).Draw(t, "body")
		signature, err := pike.Sign(partnerKey(), body)
		require.NoError(t, err)
		_, err = verifier.Verify(body, []string{signature})
		require.NoError(t, err)

		changed := append(bytes.Clone(body), 0)
		if len(body) > 0 && rapid.Bool().Draw(t, "flip instead of append") {
			changed = bytes.Clone(body)
			changed[rapid.IntRange(0, len(body)-1).Draw(t, "at")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		}
		_, err = verifier.Verify(changed, []string{signature})
		require.ErrorIs(t, err, pike.ErrBadSignature)

		forged := []byte(signature)
		forged[rapid.IntRange(0, len(forged)-1).Draw(t, "letter")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit of letter")
		_, err = verifier.Verify(body, []string{string(forged)})
		require.ErrorIs(t, err, pike.ErrBadSignature)
	})
}

// TestSignatureHeaderHasOneText: hazard W5. The gateway's tests hold the long list of variants.
func TestSignatureHeaderHasOneText(t *testing.T) {
	verifier, err := pike.NewVerifier(&partnerKey().PublicKey)
	require.NoError(t, err)
	good, err := pike.Sign(partnerKey(), []byte("{}"))
	require.NoError(t, err)
	// 256 bytes leave 4 unused bits in the last letter before the padding.
	end := strings.IndexByte(good, '=') - 1
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	otherBits := good[:end] + string(alphabet[strings.IndexByte(alphabet, good[end])^1]) + good[end+1:]
	for name, signatures := range map[string][]string{
		"none": nil, "empty": {""}, "twice": {good, good}, "line break": {good[:64] + "\n" + good[64:]}, "trailing bits": {otherBits},
	} {
		_, err := verifier.Verify(pike.UnverifiedBody("{}"), signatures)
		require.Equal(t, pike.ErrBadSignature, err, name)
	}
}

func TestParsePrivateKeyReadsBothForms(t *testing.T) {
	for name, text := range map[string][]byte{
		"PKCS#1": encodePEM("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(partnerKey())), "PKCS#8": pkcs8(t, partnerKey()),
	} {
		key, err := pike.ParsePrivateKey(text)
		require.NoError(t, err, name)
		require.True(t, key.Equal(partnerKey()), name)
	}
}

func TestParsePublicKeyReadsBothForms(t *testing.T) {
	for name, text := range map[string][]byte{
		"PKCS#1": encodePEM("RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(&partnerKey().PublicKey)), "PKIX": pkix(t, &partnerKey().PublicKey),
	} {
		key, err := pike.ParsePublicKey(text)
		require.NoError(t, err, name)
		require.True(t, key.Equal(&partnerKey().PublicKey), name)
	}
}

// TestBadKeys: hazards W2, W3 and S4. The error says what is wrong and shows nothing of the key.
func TestBadKeys(t *testing.T) {
	t.Setenv("GODEBUG", "rsa1024min=0")
	short := generateKey(1024)
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	private, public := pkcs8(t, partnerKey()), pkix(t, &partnerKey().PublicKey)
	damaged := encodePEM("PRIVATE KEY", x509.MarshalPKCS1PrivateKey(partnerKey())[:100])
	parsePrivate := func(text []byte) error { _, err := pike.ParsePrivateKey(text); return err }
	parsePublic := func(text []byte) error { _, err := pike.ParsePublicKey(text); return err }
	tests := []struct {
		name  string
		parse func([]byte) error
		text  []byte
		want  string
	}{
		{"private: empty", parsePrivate, nil, "no PEM block"},
		{"private: garbage", parsePrivate, []byte("MIIEvQIBADANBgkqhkiG9w0"), "no PEM block"},
		{"private: public given", parsePrivate, public, "this is a public key"},
		{"private: PKCS#1 public given", parsePrivate, encodePEM("RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(&partnerKey().PublicKey)), "this is a public key"},
		{"private: 1024 bits", parsePrivate, pkcs8(t, short), "1024 bits, at least 2048"},
		{"private: 1024 bits, PKCS#1", parsePrivate, encodePEM("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(short)), "1024 bits"},
		{"private: elliptic", parsePrivate, pkcs8(t, curve), "must be RSA"},
		{"private: damaged PKCS#8", parsePrivate, damaged, "PKCS#8 private key is damaged"},
		{"private: damaged PKCS#1", parsePrivate, encodePEM("RSA PRIVATE KEY", []byte("x")), "PKCS#1 private key is damaged"},
		{"private: certificate", parsePrivate, encodePEM("CERTIFICATE", []byte("x")), "not a private key"},
		{"private: encrypted", parsePrivate, encodePEM("ENCRYPTED PRIVATE KEY", []byte("x")), "not a private key"},
		{"private: two", parsePrivate, append(bytes.Clone(private), private...), "more than one PEM block"},
		{"public: empty", parsePublic, nil, "no PEM block"},
		{"public: private given", parsePublic, private, "this is a private key"},
		{"public: PKCS#1 private given", parsePublic, encodePEM("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(partnerKey())), "this is a private key"},
		{"public: 1024 bits", parsePublic, pkix(t, &short.PublicKey), "1024 bits, at least 2048"},
		{"public: elliptic", parsePublic, pkix(t, &curve.PublicKey), "must be RSA"},
		{"public: damaged", parsePublic, encodePEM("PUBLIC KEY", []byte("x")), "public key is damaged"},
		{"public: damaged PKCS#1", parsePublic, encodePEM("RSA PUBLIC KEY", []byte("x")), "PKCS#1 public key is damaged"},
		{"public: certificate", parsePublic, encodePEM("CERTIFICATE", []byte("x")), "not a public key"},
		{"public: private key after it", parsePublic, append(bytes.Clone(public), private...), "more than one PEM block"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.parse(tt.text)
			require.ErrorContains(t, err, tt.want)
			for line := range strings.Lines(string(tt.text)) {
				if len(line) > 40 {
					require.NotContains(t, err.Error(), strings.TrimSpace(line))
				}
			}
		})
	}
	_, err = pike.NewVerifier(&short.PublicKey)
	require.ErrorContains(t, err, "public key 1: the RSA key has 1024 bits")
}

func TestVerifierNeedsKeys(t *testing.T) {
	_, err := pike.NewVerifier()
	require.ErrorContains(t, err, "at least one public key")
	_, err = pike.NewVerifier(&partnerKey().PublicKey, nil)
	require.ErrorContains(t, err, "public key 2 is nil")
}

type brokenSigner struct{}

func (brokenSigner) Public() crypto.PublicKey { return &partnerKey().PublicKey }
func (brokenSigner) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return nil, errors.New("the HSM is away")
}

func TestASignerThatFailsMeansNotSent(t *testing.T) {
	client, server := answering(t, 200, okSession, func(c *pike.Config) { c.Signer = brokenSigner{} })
	err := start(t.Context(), client)
	_ = requireOutcome(t, pike.NotSent, err)
	require.ErrorContains(t, err, "signing the body: the HSM is away")
	require.Empty(t, server.seen())
}
