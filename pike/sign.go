package pike

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
)

// MinKeyBits is the smallest RSA key accepted; Go itself would take 1024 (hazard W3).
const MinKeyBits = 2048

// Sign returns the value of X-PARTNER-SIGN for exactly these bytes: RSA PKCS#1
// v1.5 over SHA-256, standard base64 on one line (api.md §2).
func Sign(signer crypto.Signer, body []byte) (string, error) {
	digest := sha256.Sum256(body)
	signature, err := signer.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		return "", fmt.Errorf("signing the body: %w", err)
	}
	return base64.StdEncoding.EncodeToString(signature), nil
}

// ParsePrivateKey reads a PEM RSA private key, PKCS#1 or PKCS#8, of at least
// MinKeyBits. Its errors never show key material.
func ParsePrivateKey(pemBytes []byte) (*rsa.PrivateKey, error) {
	block, err := onePEMBlock(pemBytes)
	if err != nil {
		return nil, err
	}
	key, err := privateKeyOf(block)
	if err != nil {
		return nil, err
	}
	if err := checkKeySize(&key.PublicKey); err != nil {
		return nil, err
	}
	return key, nil
}

func privateKeyOf(block *pem.Block) (*rsa.PrivateKey, error) {
	switch block.Type {
	case "RSA PRIVATE KEY":
		key, err := x509.ParsePKCS1PrivateKey(block.Bytes)
		if err != nil {
			return nil, errors.New("the PKCS#1 private key is damaged")
		}
		return key, nil
	case "PRIVATE KEY":
		parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if err != nil {
			return nil, errors.New("the PKCS#8 private key is damaged")
		}
		key, ok := parsed.(*rsa.PrivateKey)
		if !ok {
			return nil, fmt.Errorf("the private key must be RSA, not %T", parsed)
		}
		return key, nil
	case "PUBLIC KEY", "RSA PUBLIC KEY":
		return nil, errors.New("this is a public key; the private key is needed here")
	}
	return nil, fmt.Errorf("PEM block %q is not a private key", block.Type)
}

// ParsePublicKey reads a PEM RSA public key (PKIX or PKCS#1) of at least MinKeyBits.
func ParsePublicKey(pemBytes []byte) (*rsa.PublicKey, error) {
	block, err := onePEMBlock(pemBytes)
	if err != nil {
		return nil, err
	}
	key, err := publicKeyOf(block)
	if err != nil {
		return nil, err
	}
	if err := checkKeySize(key); err != nil {
		return nil, err
	}
	return key, nil
}

func publicKeyOf(block *pem.Block) (*rsa.PublicKey, error) {
	switch block.Type {
	case "RSA PUBLIC KEY":
		key, err := x509.ParsePKCS1PublicKey(block.Bytes)
		if err != nil {
			return nil, errors.New("the PKCS#1 public key is damaged")
		}
		return key, nil
	case "PUBLIC KEY":
		parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return nil, errors.New("the public key is damaged")
		}
		key, ok := parsed.(*rsa.PublicKey)
		if !ok {
			return nil, fmt.Errorf("the public key must be RSA, not %T", parsed)
		}
		return key, nil
	case "PRIVATE KEY", "RSA PRIVATE KEY":
		return nil, errors.New("this is a private key; Pike's public key is needed here")
	}
	return nil, fmt.Errorf("PEM block %q is not a public key", block.Type)
}

func onePEMBlock(pemBytes []byte) (*pem.Block, error) {
	block, rest := pem.Decode(pemBytes)
	if block == nil {
		return nil, errors.New("no PEM block found")
	}
	if extra, _ := pem.Decode(rest); extra != nil {
		return nil, errors.New("more than one PEM block found")
	}
	return block, nil
}

func checkKeySize(key *rsa.PublicKey) error {
	if key.N.BitLen() < MinKeyBits {
		return fmt.Errorf("the RSA key has %d bits, at least %d are needed", key.N.BitLen(), MinKeyBits)
	}
	return nil
}
