package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// edit replaces a text in a file of the repository, which is named from its root.
type edit struct{ file, old, new string }

// overlay writes the edited files beside the tree and returns what the go
// command takes as -overlay: the tree itself stays as it is.
func overlay(t *testing.T, edits ...edit) string {
	t.Helper()
	root, err := filepath.Abs("..")
	require.NoError(t, err)
	texts := map[string]string{}
	for _, e := range edits {
		if _, read := texts[e.file]; !read {
			text, err := os.ReadFile(filepath.Join(root, e.file))
			require.NoError(t, err)
			texts[e.file] = string(text)
		}
		require.Equal(t, 1, strings.Count(texts[e.file], e.old), "%s must hold this exactly once, the code has moved on: %s", e.file, e.old)
		texts[e.file] = strings.Replace(texts[e.file], e.old, e.new, 1)
	}
	folder := t.TempDir()
	replaced := map[string]string{}
	for file, text := range texts {
		path := filepath.Join(folder, fmt.Sprint(len(replaced), filepath.Ext(file)))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		replaced[filepath.Join(root, file)] = path
	}
	list, err := json.Marshal(map[string]any{"Replace": replaced})
	require.NoError(t, err)
	path := filepath.Join(folder, "overlay.json")
	require.NoError(t, os.WriteFile(path, list, 0o600))
	return path
}

// buildVariant builds the binary with edits.
func buildVariant(t *testing.T, edits ...edit) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "payouts")
	build := exec.CommandContext(testContext(t), "go", "build", "-overlay", overlay(t, edits...), "-o", binary, "../cmd/payouts")
	output, err := build.CombinedOutput()
	require.NoError(t, err, string(output))
	return binary
}
