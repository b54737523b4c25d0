package config

import (
	"bytes"
	"crypto/rsa"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"pikepayouts/codec"
	"pikepayouts/pike"
)

const (
	// maxKeyFile is far more than any key; it keeps a wrong path such as /dev/zero harmless.
	maxKeyFile = 64 << 10
	// othersMask are the rights of group and others.
	othersMask = 0o077
)

// privateKey reads the partner's key from exactly one of its two variables.
func (r *reader) privateKey() *rsa.PrivateKey {
	var v struct {
		File string `env:"PIKE_PRIVATE_KEY_FILE"`
		PEM  string `env:"PIKE_PRIVATE_KEY"`
	}
	r.read(&v)
	switch {
	case v.File == "" && v.PEM == "":
		r.problem("PIKE_PRIVATE_KEY_FILE", "is missing: set the path of your PEM private key (or its text in PIKE_PRIVATE_KEY); `payouts keygen` makes one")
		return nil
	case v.File != "" && v.PEM != "":
		r.problem("PIKE_PRIVATE_KEY_FILE", "and PIKE_PRIVATE_KEY are both set: unset one of them")
		return nil
	case v.PEM != "":
		key, err := parsePrivateKey([]byte(v.PEM))
		r.check("PIKE_PRIVATE_KEY", isUnusable(err))
		return key
	}
	key, err := ReadPrivateKey(v.File)
	r.check("PIKE_PRIVATE_KEY_FILE", isUnusable(err))
	return key
}

// publicKeys reads Pike's keys from exactly one of their two variables. Without
// one there is no gateway (hazard W2).
func (r *reader) publicKeys() []*rsa.PublicKey {
	var v struct {
		Files string `env:"PIKE_WEBHOOK_PUBLIC_KEY_FILES"`
		PEM   string `env:"PIKE_WEBHOOK_PUBLIC_KEYS"`
	}
	r.read(&v)
	switch {
	case v.Files == "" && v.PEM == "":
		r.problem("PIKE_WEBHOOK_PUBLIC_KEY_FILES", "is missing: set the paths of Pike's PEM public keys, separated by commas (or their text in PIKE_WEBHOOK_PUBLIC_KEYS)")
		return nil
	case v.Files != "" && v.PEM != "":
		r.problem("PIKE_WEBHOOK_PUBLIC_KEY_FILES", "and PIKE_WEBHOOK_PUBLIC_KEYS are both set: unset one of them")
		return nil
	case v.PEM != "":
		keys, err := parsePublicKeys([]byte(v.PEM))
		r.check("PIKE_WEBHOOK_PUBLIC_KEYS", isUnusable(err))
		return keys
	}
	keys, err := readPublicKeys(strings.Split(v.Files, ","))
	r.check("PIKE_WEBHOOK_PUBLIC_KEY_FILES", isUnusable(err))
	return keys
}

func isUnusable(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("is not usable: %w", err)
}

// readPublicKeys goes on after a bad file, to name all of them by their place in the list.
func readPublicKeys(paths []string) ([]*rsa.PublicKey, error) {
	var keys []*rsa.PublicKey
	var bad []string
	for i, path := range paths {
		inFile, err := ReadPublicKeys(strings.TrimSpace(path))
		if err != nil {
			bad = append(bad, fmt.Sprintf("file %d: %s", i+1, err))
		}
		keys = append(keys, inFile...)
	}
	if len(bad) > 0 {
		return nil, errors.New(strings.Join(bad, "; "))
	}
	return keys, nil
}

// ReadPrivateKey reads a PEM private key that only its owner may read (hazard
// S4). Its errors show neither the path nor the content.
func ReadPrivateKey(path string) (*rsa.PrivateKey, error) {
	content, err := readSecretFile(path)
	if err != nil {
		return nil, err
	}
	return parsePrivateKey(content)
}

// ReadKeyset reads a keyset file that only its owner may read. Its errors show neither the path nor the content.
func ReadKeyset(path string) (*codec.Keyset, error) {
	content, err := readSecretFile(path)
	if err != nil {
		return nil, err
	}
	keyset, err := codec.ParseKeyset(content)
	if err != nil {
		return nil, err //nolint:wrapcheck // the caller names the variable
	}
	return keyset, nil
}

// readSecretFile reads a file that only its owner may read.
func readSecretFile(path string) ([]byte, error) {
	content, mode, err := readKeyFile(path)
	if err != nil {
		return nil, err
	}
	if mode.Perm()&othersMask != 0 {
		return nil, fmt.Errorf("its mode %04o lets others use it: chmod 600 the file, and change what is in it if others had access", mode.Perm())
	}
	return content, nil
}

// keyset is nil if none is set.
func (r *reader) keyset() *codec.Keyset {
	var v struct {
		File string `env:"PAYOUTS_ENCRYPTION_KEYSET_FILE"`
	}
	r.read(&v)
	if v.File == "" {
		return nil
	}
	keyset, err := ReadKeyset(v.File)
	r.check("PAYOUTS_ENCRYPTION_KEYSET_FILE", isUnusable(err))
	return keyset
}

func parsePrivateKey(content []byte) (*rsa.PrivateKey, error) {
	if err := checkLineBreaks(content); err != nil {
		return nil, err
	}
	key, err := pike.ParsePrivateKey(content)
	if err != nil {
		return nil, err //nolint:wrapcheck // the caller names the variable
	}
	return key, nil
}

// checkLineBreaks catches a PEM text that went through JSON or an .env file.
func checkLineBreaks(content []byte) error {
	if bytes.Contains(content, []byte(`\n`)) {
		return errors.New(`it has \n as text where PEM needs real line breaks`)
	}
	return nil
}

// ReadPublicKeys reads one or more PEM public keys. Its errors show neither the path nor the content.
func ReadPublicKeys(path string) ([]*rsa.PublicKey, error) {
	content, _, err := readKeyFile(path)
	if err != nil {
		return nil, err
	}
	return parsePublicKeys(content)
}

// parsePublicKeys reads PEM blocks one after another. A block that is cut or
// damaged must not just be missing from the set, so the BEGIN lines are counted.
func parsePublicKeys(content []byte) ([]*rsa.PublicKey, error) {
	if err := checkLineBreaks(content); err != nil {
		return nil, err
	}
	var keys []*rsa.PublicKey
	rest := content
	for block, next := pem.Decode(rest); block != nil; block, next = pem.Decode(rest) {
		rest = next
		key, err := pike.ParsePublicKey(pem.EncodeToMemory(block))
		if err != nil {
			return nil, fmt.Errorf("key %d: %w", len(keys)+1, err)
		}
		keys = append(keys, key)
	}
	switch begun := bytes.Count(content, []byte("-----BEGIN")); {
	case begun == 0:
		return nil, errors.New("no PEM block found")
	case begun > len(keys):
		return nil, fmt.Errorf("%d PEM blocks begin, only %d are whole", begun, len(keys))
	}
	return keys, nil
}

// readKeyFile takes mode and content from one open file, so that they belong together.
func readKeyFile(path string) ([]byte, os.FileMode, error) {
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() { // before Open, which would wait for the writer of a pipe
		return nil, 0, errors.New("it is not a file")
	}
	file, err := os.Open(path) //nolint:gosec // the operator names the file
	if err != nil {
		return nil, 0, errors.New(reason(err))
	}
	defer func() { _ = file.Close() }()
	if info, err = file.Stat(); err != nil {
		return nil, 0, errors.New(reason(err))
	}
	content, err := io.ReadAll(io.LimitReader(file, maxKeyFile+1))
	if err != nil {
		return nil, 0, errors.New(reason(err))
	}
	if len(content) > maxKeyFile {
		return nil, 0, fmt.Errorf("it is larger than %d bytes", maxKeyFile)
	}
	return content, info.Mode(), nil
}
