// Package pikepayouts_test holds the tests of the repository itself: which
// package may import which, and that the Docker files are sound.
package pikepayouts_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const module = "pikepayouts"

// leaves are small types that every package may use.
var leaves = []string{"secret", "strictjson"}

// rule says what the production code of one package may import besides the
// standard library and the leaves.
type rule struct {
	// ours are packages of this module; everyOne is all of them.
	ours []string
	// others are modules of other people, with all packages in them; everyOne is all of them.
	others []string
}

var everyOne = []string{"*"}

// rules is the architecture: arrows point one way, from what knows more to what
// knows less. Money, the contract and the simulator stay free of other people's code.
var rules = map[string]rule{
	".":           {}, // tests only
	"secret":      {},
	"strictjson":  {},
	"payout":      {},
	"pike":        {},
	"pikesim":     {ours: []string{"pike"}, others: []string{"golang.org/x/sync"}},
	"activities":  {ours: []string{"payout", "pike"}, others: everyOne},
	"workflows":   {ours: []string{"payout", "activities"}, others: everyOne},
	"worker":      {ours: []string{"payout", "workflows", "activities"}, others: everyOne},
	"webhookgw":   {ours: []string{"payout", "pike"}, others: everyOne},
	"starter":     {ours: []string{"payout"}, others: everyOne},
	"codec":       {others: everyOne},
	"config":      {ours: []string{"pike", "codec"}, others: everyOne},
	"telemetry":   {ours: []string{"payout"}, others: everyOne},
	"examples/go": {ours: []string{"payout", "starter", "codec"}, others: []string{"go.temporal.io/sdk"}},
	"cmd/payouts": {ours: everyOne, others: everyOne},
	"e2e":         {ours: everyOne, others: everyOne},
	"e2e/chaos":   {}, // tests only

	"strictjson/jsontest": {others: []string{"pgregory.net/rapid"}}, // for tests only
}

func TestImportsFollowTheArchitecture(t *testing.T) {
	packages := productionImports(t)
	require.Greater(t, len(packages), 10, "the packages of the module were not found")
	for folder, imports := range packages {
		r, known := rules[folder]
		if !assert.True(t, known, "package %s is new: give it a rule in imports_test.go", folder) {
			continue
		}
		for imported, file := range imports {
			assert.True(t, r.allows(folder, imported), "%s imports %s, which package %s may not", file, imported, folder)
		}
	}
}

func TestRulesNameRealPackages(t *testing.T) {
	packages := productionImports(t)
	for folder, r := range rules {
		assert.Contains(t, packages, folder, "a rule for a package that is not there")
		for _, name := range r.ours {
			assert.True(t, name == "*" || packages[name] != nil, "the rule of %s names %s, which is not there", folder, name)
		}
	}
}

func (r rule) allows(folder, imported string) bool {
	ours, isOurs := strings.CutPrefix(imported, module+"/")
	switch {
	case isOurs && slices.Contains(leaves, folder):
		return false
	case isOurs:
		return slices.Contains(leaves, ours) || matches(r.ours, ours, func(allowed string) bool { return allowed == ours })
	case imported == "C":
		return false
	case isStandard(imported):
		return true
	}
	return matches(r.others, imported, func(allowed string) bool {
		return imported == allowed || strings.HasPrefix(imported, allowed+"/")
	})
}

func matches(allowed []string, imported string, match func(string) bool) bool {
	return imported != "" && (slices.Equal(allowed, everyOne) || slices.ContainsFunc(allowed, match))
}

// isStandard goes by the dot that every module path on the network has in its first element.
func isStandard(imported string) bool {
	first, _, _ := strings.Cut(imported, "/")
	return !strings.Contains(first, ".")
}

// productionImports is, for every folder with Go files, what the files that are
// not tests import, with one file that does. It reads the files itself: the
// cache of `go test` then knows what the result depends on, which it would not
// of `go list`. Build constraints are ignored, so no file escapes by one.
func productionImports(t *testing.T) map[string]map[string]string {
	t.Helper()
	packages := map[string]map[string]string{}
	require.NoError(t, filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir():
			return skipForeign(path, entry)
		case filepath.Ext(path) != ".go":
			return nil
		}
		folder := filepath.ToSlash(filepath.Dir(path))
		if packages[folder] == nil {
			packages[folder] = map[string]string{}
		}
		if strings.HasSuffix(path, "_test.go") {
			return nil
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range parsed.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			packages[folder][imported] = path
		}
		return nil
	}))
	return packages
}

// skipForeign skips what is no package of this module: hidden folders, test data, other modules.
func skipForeign(path string, entry fs.DirEntry) error {
	if path == "." {
		return nil
	}
	_, err := os.Stat(filepath.Join(path, "go.mod"))
	if name := entry.Name(); err == nil || name[0] == '.' || name[0] == '_' || name == "testdata" || name == "bin" {
		return filepath.SkipDir
	}
	return nil
}
