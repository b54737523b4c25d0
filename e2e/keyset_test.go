package e2e

import (
	"encoding/base64"
	"flag"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/client"

	"pikepayouts/codec"
	"pikepayouts/payout"
)

// encrypt is off where histories are recorded: those are read without a key.
var encrypt = flag.Bool("encrypt", true, "encrypt what Temporal keeps, as a production system does")

// keyset encrypts for this process, and in a file for all that it starts. Empty: nothing is encrypted.
type keyset struct {
	keys *codec.Keyset
	file string
	// server decrypts and encrypts for the Temporal CLI.
	server *httptest.Server
}

func newKeyset() (keyset, error) {
	if !*encrypt {
		return keyset{}, nil
	}
	keys, err := codec.NewKeyset()
	if err != nil {
		return keyset{}, fmt.Errorf("making a keyset: %w", err)
	}
	folder, err := os.MkdirTemp("", "payouts-e2e-")
	if err != nil {
		return keyset{}, fmt.Errorf("making a folder for the keyset: %w", err)
	}
	handler, err := codec.NewServer(codec.ServerConfig{Keyset: keys, Namespace: client.DefaultNamespace, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return keyset{}, fmt.Errorf("making a codec server: %w", err)
	}
	k := keyset{keys: keys, file: filepath.Join(folder, "keyset.json"), server: httptest.NewServer(handler)}
	return k, k.write()
}

// endpoint is the codec server for one workflow, or for what says itself which one it is of.
func (k keyset) endpoint(workflowID string) string {
	if k.server == nil {
		return ""
	}
	return k.server.URL + strings.TrimSuffix("/"+workflowID, "/")
}

func (k keyset) write() error {
	content, err := k.keys.JSON()
	if err != nil {
		return fmt.Errorf("writing the keyset: %w", err)
	}
	if err := os.WriteFile(k.file, content, 0o600); err != nil {
		return fmt.Errorf("writing the keyset: %w", err)
	}
	return nil
}

const aes256 = 32

// material are the bare keys: Tink writes each into the file as base 64 of a message that ends with it.
func (k keyset) material() [][]byte {
	if k.keys == nil {
		return nil
	}
	content, err := k.keys.JSON()
	if err != nil {
		return nil
	}
	var keys [][]byte
	for _, found := range regexp.MustCompile(`"value":\s*"([^"]+)"`).FindAllSubmatch(content, -1) {
		message, err := base64.StdEncoding.DecodeString(string(found[1]))
		if err != nil || len(message) < aes256 {
			return nil
		}
		keys = append(keys, message[len(message)-aes256:])
	}
	return keys
}

func (k keyset) remove() {
	if k.server != nil {
		k.server.Close()
		_ = os.RemoveAll(filepath.Dir(k.file))
	}
}

// environment is what a process needs to read and write with it.
func (k keyset) environment() string { return "PAYOUTS_ENCRYPTION_KEYSET_FILE=" + k.file }

// encrypt is for the workflow of the payout.
func (k keyset) encrypt(t *testing.T, r payout.Request, payload *commonpb.Payload) *commonpb.Payload {
	t.Helper()
	sealed, err := codec.New(k.keys).For(client.DefaultNamespace, payout.WorkflowID(r.PayoutID)).Encode([]*commonpb.Payload{payload})
	require.NoError(t, err)
	return sealed[0]
}
