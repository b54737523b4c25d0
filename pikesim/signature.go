package pikesim

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
)

// sign returns the value of X-PARTNER-SIGN: RSA PKCS#1 v1.5 over SHA-256 of the
// raw body, in standard base64 (api.md §2).
func sign(key crypto.Signer, body []byte) (string, error) {
	digest := sha256.Sum256(body)
	signature, err := key.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		return "", fmt.Errorf("signing a webhook: %w", err)
	}
	return base64.StdEncoding.EncodeToString(signature), nil
}

// verify accepts padded standard base64 only, by any of the keys.
func verify(keys []*rsa.PublicKey, body []byte, encoded string) bool {
	signature, err := base64.StdEncoding.Strict().DecodeString(encoded)
	if err != nil {
		return false
	}
	digest := sha256.Sum256(body)
	for _, key := range keys {
		if rsa.VerifyPKCS1v15(key, crypto.SHA256, digest[:], signature) == nil {
			return true
		}
	}
	return false
}
