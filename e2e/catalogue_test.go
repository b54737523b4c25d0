package e2e

import (
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

// catalogued is what deploy/prometheus/metrics.yml says of a metric.
type catalogued struct {
	On        []string            `yaml:"on"`
	Type      string              `yaml:"type"`
	Labels    map[string][]string `yaml:"labels"`
	FromStart bool                `yaml:"from_start"`
}

func readCatalogue(t *testing.T) map[string]catalogued {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "deploy", "prometheus", "metrics.yml"))
	require.NoError(t, err)
	var catalogue map[string]catalogued
	require.NoError(t, yaml.Unmarshal(text, &catalogue))
	require.NotEmpty(t, catalogue)
	return catalogue
}

// exported is what a process shows of a metric.
type exported struct {
	kind   string
	series []map[string]string // their labels
}

var (
	typeLine  = regexp.MustCompile(`^# TYPE (\S+) (\S+)$`)
	valueLine = regexp.MustCompile(`^([a-zA-Z0-9_]+)(?:\{(.*)\})? \S+$`)
	labelPair = regexp.MustCompile(`([a-zA-Z0-9_]+)="((?:[^"\\]|\\.)*)"`)
)

// exportedBy reads an ops port. The parts of a histogram are one metric, without the label `le`.
func exportedBy(t *testing.T, ops string) map[string]*exported {
	t.Helper()
	response, err := opsClient.Get("http://" + ops + "/metrics")
	require.NoError(t, err)
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	metrics := map[string]*exported{}
	var current string
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if found := typeLine.FindStringSubmatch(line); found != nil {
			current = found[1]
			metrics[current] = &exported{kind: found[2]}
		}
		if found := valueLine.FindStringSubmatch(line); found != nil {
			require.True(t, strings.HasPrefix(found[1], current), "%s is under the type of %s", found[1], current)
			labels := map[string]string{}
			for _, pair := range labelPair.FindAllStringSubmatch(found[2], -1) {
				labels[pair[1]] = pair[2]
			}
			delete(labels, "le")
			metrics[current].series = append(metrics[current].series, labels)
		}
	}
	return metrics
}

// isOurs tells our metrics from those of the SDK, of Go and of the process.
func isOurs(name string) bool {
	return strings.HasPrefix(name, "payout") || strings.HasPrefix(name, "pike") || strings.HasPrefix(name, "webhook")
}

// requireCatalogued holds what processes export, by kind of process, against the catalogue, both ways.
func requireCatalogued(t *testing.T, processes map[string]map[string]*exported) {
	t.Helper()
	catalogue := readCatalogue(t)
	for process, metrics := range processes {
		for name := range metrics {
			if isOurs(name) {
				require.Contains(t, catalogue[name].On, process, "metrics.yml does not say that a %s exports %s", process, name)
			}
		}
	}
	for name, want := range catalogue {
		for _, process := range want.On {
			got := processes[process][name]
			if assert.NotNil(t, got, "no %s exports %s", process, name) {
				want.check(t, name, got)
			}
		}
	}
}

func (c catalogued) check(t *testing.T, name string, got *exported) {
	t.Helper()
	assert.Equal(t, c.Type, got.kind, name)
	wanted := slices.Sorted(maps.Keys(c.Labels))
	seen := map[string][]string{} // values of each label
	for _, labels := range got.series {
		names := slices.Sorted(maps.Keys(labels))
		if isOurs(name) {
			require.Equal(t, wanted, names, "labels of %s", name)
		}
		require.Subset(t, names, wanted, "labels of %s", name)
		for label, value := range labels {
			seen[label] = append(seen[label], value)
		}
	}
	series := 1
	for label, values := range c.Labels {
		series *= len(values)
		if len(values) > 0 {
			assert.Subset(t, values, seen[label], "values of %s of %s", label, name)
		}
	}
	if c.FromStart && c.Type != "histogram" {
		assert.Len(t, got.series, series, "%s: one series for each combination of labels, also where nothing happened", name)
	}
}
