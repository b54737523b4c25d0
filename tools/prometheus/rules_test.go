// Package prometheus_test holds the alerts and the dashboard of deploy/ against
// Prometheus' own parser and engine, and against what the processes export.
// It is a module of its own, so that the service has no part in Prometheus.
package prometheus_test

import (
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/annotations"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

func deployed(path ...string) string {
	return filepath.Join(append([]string{"..", "..", "deploy"}, path...)...)
}

func readYAML(t *testing.T, into any, path ...string) {
	t.Helper()
	file, err := os.Open(deployed(path...))
	require.NoError(t, err)
	defer func() { _ = file.Close() }()
	decoder := yaml.NewDecoder(file)
	decoder.KnownFields(true)
	require.NoError(t, decoder.Decode(into))
}

// readRules are the alerts; Prometheus itself checks their expressions and templates.
func readRules(t *testing.T) []rulefmt.Rule {
	t.Helper()
	file, problems := rulefmt.ParseFile(deployed("prometheus", "rules.yml"), false)
	require.Empty(t, problems)
	var rules []rulefmt.Rule
	for _, group := range file.Groups {
		rules = append(rules, group.Rules...)
	}
	require.NotEmpty(t, rules)
	return rules
}

// TestEveryAlertSaysWhatToDo: whoever is paged needs no other source.
func TestEveryAlertSaysWhatToDo(t *testing.T) {
	seen := map[string]bool{}
	for _, rule := range readRules(t) {
		require.NotEmpty(t, rule.Alert)
		require.False(t, seen[rule.Alert], "two alerts are named %s", rule.Alert)
		seen[rule.Alert] = true
		assert.Contains(t, []string{"critical", "warning"}, rule.Labels["severity"], rule.Alert)
		assert.NotEmpty(t, rule.Annotations["summary"], rule.Alert)
		assert.Greater(t, len(rule.Annotations["description"]), 100, rule.Alert)
		assert.Equal(t, "docs/runbook.md#"+strings.ToLower(rule.Alert), rule.Annotations["runbook_url"], rule.Alert)
	}
}

// TestEveryAlertIsInTheRunbook: under a heading of its name.
func TestEveryAlertIsInTheRunbook(t *testing.T) {
	runbook, err := os.ReadFile(filepath.Join("..", "..", "docs", "runbook.md"))
	require.NoError(t, err)
	for _, rule := range readRules(t) {
		assert.Regexp(t, `(?m)^#+ `+rule.Alert+`$`, string(runbook))
	}
}

// ruleTests is the part of promtool's format that rules_test.yml uses.
type ruleTests struct {
	RuleFiles          []string       `yaml:"rule_files"`
	EvaluationInterval model.Duration `yaml:"evaluation_interval"`
	Tests              []ruleTest     `yaml:"tests"`
}

type ruleTest struct {
	Name        string         `yaml:"name"`
	Interval    model.Duration `yaml:"interval"`
	InputSeries []struct {
		Series string `yaml:"series"`
		Values string `yaml:"values"`
	} `yaml:"input_series"`
	Expressions []struct {
		Expr     string         `yaml:"expr"`
		EvalTime model.Duration `yaml:"eval_time"`
		Samples  []struct {
			Labels string  `yaml:"labels"`
			Value  float64 `yaml:"value"`
		} `yaml:"exp_samples"`
	} `yaml:"promql_expr_test"`
}

func readRuleTests(t *testing.T) ruleTests {
	t.Helper()
	var tests ruleTests
	readYAML(t, &tests, "prometheus", "rules_test.yml")
	require.NotEmpty(t, tests.Tests)
	return tests
}

var engine = promql.NewEngine(promql.EngineOpts{MaxSamples: 1e6, Timeout: time.Minute, LookbackDelta: 5 * time.Minute, EnableAtModifier: true})

// TestAlerts runs rules_test.yml as promtool does: all alerts are evaluated from the
// beginning on, then each expression must give exactly the samples expected.
func TestAlerts(t *testing.T) {
	rules, tests := readRules(t), readRuleTests(t)
	step := time.Duration(tests.EvaluationInterval)
	for _, test := range tests.Tests {
		t.Run(test.Name, func(t *testing.T) {
			var until time.Duration
			for _, expression := range test.Expressions {
				until = max(until, time.Duration(expression.EvalTime))
			}
			series := test.series(t)
			alerts := newMemory()
			for _, rule := range rules {
				alerts.evaluate(t, rule, series, step, until)
			}
			for _, expression := range test.Expressions {
				want := []string{}
				for _, sample := range expression.Samples {
					metric, err := parser.ParseMetric(sample.Labels)
					require.NoError(t, err)
					want = append(want, metric.String())
					require.InDelta(t, 1, sample.Value, 0, "an alert is there or not")
				}
				got := []string{}
				for _, sample := range alerts.query(t, expression.Expr, time.Duration(expression.EvalTime)) {
					got = append(got, sample.Metric.String())
				}
				assert.ElementsMatch(t, want, got, "%s at %s", expression.Expr, expression.EvalTime)
			}
		})
	}
}

func (r ruleTest) series(t *testing.T) *memory {
	t.Helper()
	m := newMemory()
	for _, input := range r.InputSeries {
		metric, values, err := parser.ParseSeriesDesc(input.Series + " " + input.Values)
		require.NoError(t, err)
		for i, sample := range values {
			if !sample.Omitted {
				m.add(metric, time.Duration(i)*time.Duration(r.Interval), sample.Value)
			}
		}
	}
	return m
}

// memory is a storage of series; time is what has passed since the beginning.
type memory struct {
	series map[string]*promql.Series
}

func newMemory() *memory { return &memory{series: map[string]*promql.Series{}} }

func (m *memory) add(metric labels.Labels, at time.Duration, v float64) {
	key := metric.String()
	if m.series[key] == nil {
		m.series[key] = &promql.Series{Metric: metric}
	}
	m.series[key].Floats = append(m.series[key].Floats, promql.FPoint{T: at.Milliseconds(), F: v})
}

// evaluate adds series ALERTS while the rule fires, as Prometheus does, with a stale marker where that ends.
func (m *memory) evaluate(t *testing.T, rule rulefmt.Rule, series *memory, step, until time.Duration) {
	t.Helper()
	since := map[string]time.Duration{}
	firing := map[string]labels.Labels{}
	for now := time.Duration(0); now <= until; now += step {
		active := map[string]bool{}
		for _, sample := range series.query(t, rule.Expr, now) {
			key := sample.Metric.String()
			if _, already := since[key]; !already {
				since[key] = now
			}
			active[key] = true
			if now-since[key] >= time.Duration(rule.For) {
				firing[key] = alertLabels(rule, sample.Metric)
				m.add(firing[key], now, 1)
			}
		}
		for key := range since {
			if active[key] {
				continue
			}
			if alert, fired := firing[key]; fired {
				m.add(alert, now, math.Float64frombits(value.StaleNaN))
			}
			delete(since, key)
			delete(firing, key)
		}
	}
}

func alertLabels(rule rulefmt.Rule, metric labels.Labels) labels.Labels {
	builder := labels.NewBuilder(metric)
	for name, value := range rule.Labels {
		builder.Set(name, value)
	}
	return builder.Set(labels.MetricName, "ALERTS").Set(labels.AlertName, rule.Alert).Set("alertstate", "firing").Labels()
}

func (m *memory) query(t *testing.T, expression string, at time.Duration) promql.Vector {
	t.Helper()
	query, err := engine.NewInstantQuery(t.Context(), m, nil, expression, time.UnixMilli(at.Milliseconds()))
	require.NoError(t, err)
	defer query.Close()
	vector, err := query.Exec(t.Context()).Vector()
	require.NoError(t, err, expression)
	return vector
}

// Querier implements storage.Queryable.
func (m *memory) Querier(int64, int64) (storage.Querier, error) {
	return &storage.MockQuerier{SelectMockFunction: func(_ bool, _ *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
		set := &seriesSet{}
		for _, series := range m.series {
			if !slices.ContainsFunc(matchers, func(matcher *labels.Matcher) bool { return !matcher.Matches(series.Metric.Get(matcher.Name)) }) {
				set.left = append(set.left, promql.NewStorageSeries(*series))
			}
		}
		return set
	}}, nil
}

// seriesSet hands out series one by one.
type seriesSet struct {
	left    []storage.Series
	current storage.Series
}

func (s *seriesSet) Next() bool {
	if len(s.left) == 0 {
		return false
	}
	s.current, s.left = s.left[0], s.left[1:]
	return true
}

func (s *seriesSet) At() storage.Series                { return s.current }
func (s *seriesSet) Err() error                        { return nil }
func (s *seriesSet) Warnings() annotations.Annotations { return nil }

// TestEveryAlertIsTested: rules_test.yml has a moment at which it fires, and one at which it does not.
func TestEveryAlertIsTested(t *testing.T) {
	fires, silent := map[string]bool{}, map[string]bool{}
	named := regexp.MustCompile(`^ALERTS\{alertname="(\w+)",alertstate="firing"\}$`)
	for _, test := range readRuleTests(t).Tests {
		for _, expression := range test.Expressions {
			name := named.FindStringSubmatch(expression.Expr)
			require.NotNil(t, name, expression.Expr)
			if len(expression.Samples) > 0 {
				fires[name[1]] = true
			} else {
				silent[name[1]] = true
			}
		}
	}
	for _, rule := range readRules(t) {
		assert.True(t, fires[rule.Alert], "%s never fires", rule.Alert)
		assert.True(t, silent[rule.Alert], "%s is never silent", rule.Alert)
	}
}
