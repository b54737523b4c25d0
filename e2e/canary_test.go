package e2e

import (
	"bytes"
	"crypto/rsa"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"pikepayouts/payout"
	"pikepayouts/pikesim"
)

// recipientName is in every order of the suite.
const recipientName = "Ivanov Ivan"

// evidence is all that a suite at debug level leaves behind where people and
// programs look: logs, metrics, traces, and the files of Temporal's database.
// Nothing secret may be in it (hazards S1, S2, T1).
type evidence struct {
	folder string
	mu     sync.Mutex
	files  map[string]*os.File
}

func newEvidence() (*evidence, error) {
	folder, err := os.MkdirTemp("", "payouts-evidence-")
	if err != nil {
		return nil, fmt.Errorf("making a folder for logs and data: %w", err)
	}
	return &evidence{folder: folder, files: map[string]*os.File{}}, nil
}

// database is where the server keeps its tables.
func (e *evidence) database() string { return filepath.Join(e.folder, "temporal.db") }

// of is what one kind of output is written to.
func (e *evidence) of(kind string) io.Writer { return evidenceWriter{e, kind} }

type evidenceWriter struct {
	evidence *evidence
	kind     string
}

// Write implements io.Writer.
func (w evidenceWriter) Write(text []byte) (int, error) {
	e := w.evidence
	e.mu.Lock()
	defer e.mu.Unlock()
	file, open := e.files[w.kind]
	if !open {
		var err error
		if file, err = os.Create(filepath.Join(e.folder, w.kind)); err != nil {
			return 0, fmt.Errorf("keeping evidence: %w", err)
		}
		e.files[w.kind] = file
	}
	return file.Write(text) //nolint:wrapcheck // its own text says all
}

func (e *evidence) logger() *slog.Logger {
	return slog.New(slog.NewJSONHandler(e.of("in-process.log"), &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// showServerErrors prints the last words of the servers: by them a server that fails is told from a payout that does.
func (e *evidence) showServerErrors(to io.Writer) {
	content, err := os.ReadFile(filepath.Join(e.folder, "temporal.log"))
	if err != nil {
		return // no server got as far as a word
	}
	lines := strings.Split(strings.TrimSpace(string(content)), "\n")
	_, _ = fmt.Fprintln(to, "e2e: the last lines of the Temporal servers' log:")
	for _, line := range lines[max(0, len(lines)-20):] {
		_, _ = fmt.Fprintf(to, "  %.500s\n", line)
	}
}

// hasDatabase is an error if the server kept its tables elsewhere: then there was nothing to search.
func (e *evidence) hasDatabase() error {
	content, err := os.ReadFile(e.database())
	if err != nil {
		return fmt.Errorf("reading the database: %w", err)
	}
	if !bytes.Contains(content, []byte(payout.SearchAttributeState)) {
		return errors.New("the database that was searched is not the server's")
	}
	return nil
}

func (e *evidence) remove() {
	for _, file := range e.files {
		_ = file.Close()
	}
	_ = os.RemoveAll(e.folder)
}

// canaries are the secrets of the suite, by what they are.
func canaries() map[string][]byte {
	secrets := map[string][]byte{"a recipient's name": []byte(recipientName), "an API key of Temporal": []byte(apiKey)}
	for _, preset := range pikesim.Presets() {
		secrets["the card token of "+string(preset.Name)] = []byte(pikesim.Token(preset.Name))
	}
	for name, key := range map[string]*rsa.PrivateKey{"Pike's private key": shared.pikeKey, "the partner's private key": shared.partnerKey} {
		secrets[name] = key.D.Bytes()
		secrets[name+" in PEM"] = []byte(strings.Split(pemOf(key), "\n")[10])
	}
	for i, key := range shared.keyset.material() {
		secrets[fmt.Sprintf("key %d of the keyset", i+1)] = key
	}
	return secrets
}

// search looks for every canary in every file, as it is and as payloads are often printed.
func (e *evidence) search(secrets map[string][]byte) error {
	var leaks []error
	err := filepath.WalkDir(e.folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("reading evidence: %w", err)
		}
		for name, secret := range secrets {
			for _, form := range forms(secret) {
				if at := bytes.Index(content, form); at >= 0 {
					leaks = append(leaks, fmt.Errorf("%s is in %s, %d times: ...%q", name, entry.Name(), bytes.Count(content, form), content[max(0, at-150):at]))
				}
			}
		}
		return nil
	})
	return errors.Join(append(leaks, err)...)
}

// forms are the secret itself, in hexadecimal, and in base 64 wherever it begins in the encoded text.
func forms(secret []byte) [][]byte {
	all := [][]byte{secret, []byte(hex.EncodeToString(secret))}
	for offset := range 3 {
		encoded := base64.StdEncoding.EncodeToString(append(make([]byte, offset), secret...))
		// The characters at both ends also depend on the neighbours.
		all = append(all, []byte(encoded[(offset*8+5)/6:len(encoded)-4]))
	}
	return all
}

// TestTheKeysetIsAmongTheCanaries: the file itself, as somebody could log it, is found.
func TestTheKeysetIsAmongTheCanaries(t *testing.T) {
	t.Parallel()
	encryptedOnly(t)
	content, err := shared.keyset.keys.JSON()
	require.NoError(t, err)
	e, err := newEvidence()
	require.NoError(t, err)
	defer e.remove()
	_, err = e.of("some.log").Write(content)
	require.NoError(t, err)
	err = e.search(canaries())
	for i := range shared.keyset.keys.Keys() {
		require.ErrorContains(t, err, fmt.Sprintf("key %d of the keyset is in some.log", i+1))
	}
}

// TestTheSearchFindsSecrets in every form; a search that finds nothing proves nothing.
func TestTheSearchFindsSecrets(t *testing.T) {
	t.Parallel()
	secret := map[string][]byte{"a secret": []byte("canary-0123456789")}
	for name, text := range map[string]string{
		"as it is": `{"x":"canary-0123456789"}`, "in hexadecimal": hex.EncodeToString([]byte("canary-0123456789")),
		"in base 64": base64.StdEncoding.EncodeToString([]byte(`{"x":"canary-0123456789"}`)), "in base 64, a byte later": base64.StdEncoding.EncodeToString([]byte(`{"xy":"canary-0123456789"}`)),
		"in base 64, two bytes later": base64.StdEncoding.EncodeToString([]byte(`{"xyz":"canary-0123456789"}`)),
	} {
		e, err := newEvidence()
		require.NoError(t, err)
		_, err = e.of("some.log").Write([]byte("before " + text + " after"))
		require.NoError(t, err)
		require.ErrorContains(t, e.search(secret), "a secret is in some.log", name)
		e.remove()
	}
}
