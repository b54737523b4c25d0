package pikepayouts_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var (
	// testName is a test as the documents name it, or what several begin with.
	testName    = regexp.MustCompile(`\b(?:Test|Fuzz)[A-Z][A-Za-z0-9]*`)
	declaration = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)[A-Za-z0-9]+)\(`)
)

// TestDocumentsNameRealTests: what a document says is proven must not rot.
func TestDocumentsNameRealTests(t *testing.T) {
	tests := declaredTests(t)
	documents, err := filepath.Glob("docs/*.md")
	require.NoError(t, err)
	named := 0
	for _, document := range append(documents, "README.md") {
		text, err := os.ReadFile(document)
		require.NoError(t, err)
		for _, name := range testName.FindAllString(string(text), -1) {
			named++
			known := slices.ContainsFunc(tests, func(test string) bool { return strings.HasPrefix(test, name) })
			assert.True(t, known, "%s names %s, which is not there", document, name)
		}
	}
	require.Greater(t, named, 100)
}

func declaredTests(t *testing.T) []string {
	t.Helper()
	var tests []string
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		source, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, match := range declaration.FindAllStringSubmatch(string(source), -1) {
			tests = append(tests, match[1])
		}
		return nil
	})
	require.NoError(t, err)
	return tests
}
