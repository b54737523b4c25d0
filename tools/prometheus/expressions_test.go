package prometheus_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// metric is what deploy/prometheus/metrics.yml says of one.
type metric struct {
	On        []string            `yaml:"on"`
	Type      string              `yaml:"type"`
	Labels    map[string][]string `yaml:"labels"`
	FromStart bool                `yaml:"from_start"`
}

// catalogue is every metric that an expression may use.
type catalogue map[string]metric

func readCatalogue(t *testing.T) catalogue {
	t.Helper()
	metrics := catalogue{}
	readYAML(t, &metrics, "prometheus", "metrics.yml")
	severities := []string{"critical", "warning"}
	// Prometheus' own.
	metrics["up"] = metric{Type: "gauge"}
	metrics["ALERTS"] = metric{Type: "gauge", Labels: map[string][]string{"alertname": nil, "alertstate": {"pending", "firing"}, "severity": severities}}
	jobs := scrapeJobs(t)
	for name, m := range metrics {
		m.Labels = maps.Clone(m.Labels)
		if m.Labels == nil {
			m.Labels = map[string][]string{}
		}
		m.Labels["job"], m.Labels["instance"] = jobs, nil
		metrics[name] = m
	}
	return metrics
}

func scrapeJobs(t *testing.T) []string {
	t.Helper()
	var config struct {
		ScrapeConfigs []struct {
			Job     string `yaml:"job_name"`
			Targets any    `yaml:"static_configs"`
		} `yaml:"scrape_configs"`
		Global    any `yaml:"global"`
		RuleFiles any `yaml:"rule_files"`
	}
	readYAML(t, &config, "prometheus", "prometheus.yml")
	var jobs []string
	for _, scrape := range config.ScrapeConfigs {
		jobs = append(jobs, scrape.Job)
	}
	require.NotEmpty(t, jobs)
	return jobs
}

// find gives the metric of a series: histograms have three names.
func (c catalogue) find(series string) (metric, bool) {
	if m, found := c[series]; found {
		return m, m.Type != "histogram"
	}
	for _, suffix := range []string{"_bucket", "_sum", "_count"} {
		m, found := c[strings.TrimSuffix(series, suffix)]
		if !found || m.Type != "histogram" || !strings.HasSuffix(series, suffix) {
			continue
		}
		if suffix == "_bucket" {
			m.Labels = maps.Clone(m.Labels)
			m.Labels["le"] = nil
		}
		m.Type = "counter"
		return m, true
	}
	return metric{}, false
}

// problems are what an expression names that no process exports.
func (c catalogue) problems(expression string) []string {
	parsed, err := parser.ParseExpr(expression)
	if err != nil {
		return []string{err.Error()}
	}
	var found []string
	parser.Inspect(parsed, func(node parser.Node, _ []parser.Node) error {
		switch node := node.(type) {
		case *parser.VectorSelector:
			found = append(found, c.problemsOf(node)...)
		case *parser.AggregateExpr:
			found = append(found, c.withoutLabels(node.Expr, node.Grouping)...)
		case *parser.BinaryExpr:
			if node.VectorMatching != nil && node.VectorMatching.On {
				found = append(found, c.withoutLabels(node, node.VectorMatching.MatchingLabels)...)
			}
		case *parser.Call:
			found = append(found, c.ratesOfGauges(node)...)
		}
		return nil
	})
	return found
}

func (c catalogue) problemsOf(selector *parser.VectorSelector) []string {
	m, known := c.find(selector.Name)
	if !known {
		return []string{"no metric " + selector.Name}
	}
	var found []string
	for _, matcher := range selector.LabelMatchers {
		if matcher.Name == labels.MetricName {
			continue
		}
		values, known := m.Labels[matcher.Name]
		if !known {
			found = append(found, fmt.Sprintf("%s has no label %s", selector.Name, matcher.Name))
			continue
		}
		for _, value := range matched(matcher) {
			if len(values) > 0 && !slices.Contains(values, value) {
				found = append(found, fmt.Sprintf("%s of %s is never %q", matcher.Name, selector.Name, value))
			}
		}
	}
	return found
}

// matched are the values that a matcher names; regular expressions are lists here.
func matched(matcher *labels.Matcher) []string {
	if matcher.Type == labels.MatchRegexp || matcher.Type == labels.MatchNotRegexp {
		return strings.Split(matcher.Value, "|")
	}
	return []string{matcher.Value}
}

// withoutLabels are series in the expression that lack a label by which they are put together.
func (c catalogue) withoutLabels(expression parser.Expr, wanted []string) []string {
	var found []string
	for _, selector := range selectors(expression) {
		m, known := c.find(selector.Name)
		for _, label := range wanted {
			if _, there := m.Labels[label]; known && !there {
				found = append(found, fmt.Sprintf("%s has no label %s", selector.Name, label))
			}
		}
	}
	return found
}

func (c catalogue) ratesOfGauges(call *parser.Call) []string {
	if !slices.Contains([]string{"rate", "irate", "increase"}, call.Func.Name) {
		return nil
	}
	var found []string
	for _, selector := range selectors(call) {
		if m, known := c.find(selector.Name); known && m.Type != "counter" {
			found = append(found, fmt.Sprintf("%s of %s, a %s", call.Func.Name, selector.Name, m.Type))
		}
	}
	return found
}

func selectors(expression parser.Node) []*parser.VectorSelector {
	var all []*parser.VectorSelector
	parser.Inspect(expression, func(node parser.Node, _ []parser.Node) error {
		if selector, is := node.(*parser.VectorSelector); is {
			all = append(all, selector)
		}
		return nil
	})
	return all
}

// TestWhatIsMisspeltIsFound: a guard that finds nothing would guard nothing.
func TestWhatIsMisspeltIsFound(t *testing.T) {
	c := readCatalogue(t)
	for expression, want := range map[string]string{
		`max(payouts_atention) > 0`:                                 `no metric payouts_atention`,
		`payout_ready_seconds`:                                      `no metric payout_ready_seconds`,
		`payouts_open_count`:                                        `no metric payouts_open_count`,
		`max(payouts_attention{state="confirming"})`:                `payouts_attention has no label state`,
		`max(payouts_attention{reason="overdue"})`:                  `reason of payouts_attention is never "overdue"`,
		`sum(rate(webhooks_total{answer=~"unavailable|503"}[5m]))`:  `answer of webhooks_total is never "503"`,
		`max by (reasons) (payouts_attention)`:                      `payouts_attention has no label reasons`,
		`sum by (le) (rate(payout_ready_seconds_count[5m]))`:        `payout_ready_seconds_count has no label le`,
		`payouts_open / on (state) group_left () payouts_attention`: `payouts_attention has no label state`,
		`rate(payouts_open[5m])`:                                    `rate of payouts_open, a gauge`,
		`up{job="gateway"}`:                                         `job of up is never "gateway"`,
		`sum(payouts_open`:                                          `unclosed left parenthesis`,
	} {
		assert.Contains(t, strings.Join(c.problems(expression), "\n"), want, expression)
	}
	assert.Empty(t, c.problems(`histogram_quantile(0.9, sum by (le, result) (rate(payout_result_seconds_bucket{job="worker"}[5m])))`))
}

var labelInTemplate = regexp.MustCompile(`\$labels\.(\w+)`)

func TestAlertsNameWhatIsExported(t *testing.T) {
	c := readCatalogue(t)
	for _, rule := range readRules(t) {
		assert.Empty(t, c.problems(rule.Expr), rule.Alert)
		parsed, err := parser.ParseExpr(rule.Expr)
		require.NoError(t, err)
		for _, text := range rule.Annotations {
			for _, used := range labelInTemplate.FindAllStringSubmatch(text, -1) {
				assert.Empty(t, c.withoutLabels(parsed, used[1:]), "%s: %s", rule.Alert, text)
			}
		}
	}
}

var runbookQuery = regexp.MustCompile("(?m)^```promql\n((?s:.*?))^```$")

func TestTheRunbookNamesWhatIsExported(t *testing.T) {
	c := readCatalogue(t)
	runbook, err := os.ReadFile(filepath.Join("..", "..", "docs", "runbook.md"))
	require.NoError(t, err)
	queries := runbookQuery.FindAllSubmatch(runbook, -1)
	require.Greater(t, len(queries), 5)
	require.Len(t, queries, strings.Count(string(runbook), "promql"))
	for _, query := range queries {
		assert.Empty(t, c.problems(string(query[1])), "%s", query[1])
	}
}

// TestEveryMetricIsDocumented in a table or, if it is the SDK's, in the text.
func TestEveryMetricIsDocumented(t *testing.T) {
	document, err := os.ReadFile(filepath.Join("..", "..", "docs", "deploy.md"))
	require.NoError(t, err)
	var metrics catalogue
	readYAML(t, &metrics, "prometheus", "metrics.yml")
	for name := range metrics {
		if strings.HasPrefix(name, "temporal_") {
			assert.Contains(t, string(document), "temporal_*")
			continue
		}
		var names []string
		for label := range metrics[name].Labels {
			names = append(names, "`"+label+"`")
		}
		row := regexp.MustCompile("(?m)^\\| `" + name + "` \\| (.*?) ?\\| ").FindSubmatch(document)
		if assert.NotNil(t, row, "docs/deploy.md lacks %s", name) {
			assert.ElementsMatch(t, names, strings.Fields(strings.ReplaceAll(string(row[1]), ",", "")), "labels of %s", name)
		}
	}
}

// TestAlertsSeeTheFirstTime: a counter that begins with 1 has not increased, as far as Prometheus knows.
func TestAlertsSeeTheFirstTime(t *testing.T) {
	c := readCatalogue(t)
	for _, rule := range readRules(t) {
		parsed, err := parser.ParseExpr(rule.Expr)
		require.NoError(t, err)
		parser.Inspect(parsed, func(node parser.Node, _ []parser.Node) error {
			call, is := node.(*parser.Call)
			if !is || call.Func.Name != "increase" {
				return nil
			}
			for _, selector := range selectors(call) {
				m, _ := c.find(selector.Name)
				newSeries := selector.String() + " unless " + selector.String() + " offset"
				assert.True(t, m.FromStart || strings.Contains(rule.Expr, newSeries), "%s misses the first %s", rule.Alert, selector.Name)
			}
			return nil
		})
	}
}

// TestEveryReasonHasAnAlert of its own.
func TestEveryReasonHasAnAlert(t *testing.T) {
	alerted := map[string]bool{}
	for _, rule := range readRules(t) {
		parsed, err := parser.ParseExpr(rule.Expr)
		require.NoError(t, err)
		for _, selector := range selectors(parsed) {
			for _, matcher := range selector.LabelMatchers {
				if selector.Name == "payouts_attention" && matcher.Name == "reason" {
					alerted[matcher.Value] = true
				}
			}
		}
	}
	for _, reason := range readCatalogue(t)["payouts_attention"].Labels["reason"] {
		assert.True(t, alerted[reason], "no alert for %s", reason)
	}
}
