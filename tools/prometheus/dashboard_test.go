package prometheus_test

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/promql/parser"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// dashboard is the part of Grafana's format that can be wrong here.
type dashboard struct {
	UID           string `json:"uid"`
	SchemaVersion int    `json:"schemaVersion"`
	Templating    struct {
		List []struct {
			Name    string `json:"name"`
			Type    string `json:"type"`
			Query   string `json:"query"`
			Current struct {
				Value string `json:"value"`
			} `json:"current"`
		} `json:"list"`
	} `json:"templating"`
	Panels []panel `json:"panels"`
}

type panel struct {
	ID          int        `json:"id"`
	Type        string     `json:"type"`
	Title       string     `json:"title"`
	Description string     `json:"description"`
	Datasource  datasource `json:"datasource"`
	GridPos     struct {
		X, Y, W, H int
	} `json:"gridPos"`
	FieldConfig struct {
		Defaults struct {
			Unit string `json:"unit"`
		} `json:"defaults"`
	} `json:"fieldConfig"`
	Targets []struct {
		Datasource datasource `json:"datasource"`
		Expr       string     `json:"expr"`
		Legend     string     `json:"legendFormat"`
		RefID      string     `json:"refId"`
	} `json:"targets"`
}

type datasource struct {
	Type string `json:"type"`
	UID  string `json:"uid"`
}

func readDashboard(t *testing.T) dashboard {
	t.Helper()
	text, err := os.ReadFile(deployed("grafana", "dashboards", "payouts.json"))
	require.NoError(t, err)
	var d dashboard
	require.NoError(t, json.Unmarshal(text, &d))
	return d
}

// graphs are the panels that show something.
func (d dashboard) graphs(t *testing.T) []panel {
	t.Helper()
	var graphs []panel
	for _, p := range d.Panels {
		if p.Type != "row" {
			graphs = append(graphs, p)
		}
	}
	require.Greater(t, len(graphs), 20)
	return graphs
}

func TestDashboardUsesTheProvisionedDatasource(t *testing.T) {
	var provisioned struct {
		APIVersion  int `yaml:"apiVersion"`
		Datasources []struct {
			Name      string         `yaml:"name"`
			UID       string         `yaml:"uid"`
			Type      string         `yaml:"type"`
			Access    string         `yaml:"access"`
			URL       string         `yaml:"url"`
			IsDefault bool           `yaml:"isDefault"`
			Editable  bool           `yaml:"editable"`
			JSONData  map[string]any `yaml:"jsonData"`
		} `yaml:"datasources"`
	}
	readYAML(t, &provisioned, "grafana", "provisioning", "datasources", "prometheus.yml")
	require.Len(t, provisioned.Datasources, 1)
	d := readDashboard(t)
	require.Equal(t, "payouts", d.UID, "links to the dashboard go by it")
	require.GreaterOrEqual(t, d.SchemaVersion, 39, "of Grafana 11")
	require.Len(t, d.Templating.List, 1)
	variable := d.Templating.List[0]
	require.Equal(t, []string{"datasource", "datasource", "prometheus"}, []string{variable.Name, variable.Type, variable.Query})
	require.Equal(t, provisioned.Datasources[0].UID, variable.Current.Value)
	want := datasource{Type: provisioned.Datasources[0].Type, UID: "${datasource}"}
	for _, p := range d.graphs(t) {
		assert.Equal(t, want, p.Datasource, p.Title)
		for _, target := range p.Targets {
			assert.Equal(t, want, target.Datasource, p.Title)
		}
	}
}

func TestDashboardIsWellLaidOut(t *testing.T) {
	d := readDashboard(t)
	taken := map[[2]int]string{}
	ids := map[int]bool{}
	for _, p := range d.Panels {
		require.False(t, ids[p.ID], "two panels have the id %d", p.ID)
		ids[p.ID] = true
		require.LessOrEqual(t, p.GridPos.X+p.GridPos.W, 24, p.Title)
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				require.Empty(t, taken[[2]int{x, y}], "%s lies on another panel", p.Title)
				taken[[2]int{x, y}] = p.Title
			}
		}
	}
	for _, p := range d.graphs(t) {
		assert.NotEmpty(t, p.Title)
		assert.NotEmpty(t, p.Description, p.Title)
		assert.NotEmpty(t, p.FieldConfig.Defaults.Unit, p.Title)
		assert.NotEmpty(t, p.Targets, p.Title)
	}
}

// grafanaVariables stand in expressions for what Grafana puts there.
var grafanaVariables = strings.NewReplacer("$__rate_interval", "1m", "$__range", "6h")

var labelInLegend = regexp.MustCompile(`\{\{\s*(\w+)\s*\}\}`)

func TestDashboardNamesWhatIsExported(t *testing.T) {
	c := readCatalogue(t)
	for _, p := range readDashboard(t).graphs(t) {
		refs := map[string]bool{}
		for _, target := range p.Targets {
			expression := grafanaVariables.Replace(target.Expr)
			assert.Empty(t, c.problems(expression), p.Title)
			assert.False(t, refs[target.RefID], "%s has %s twice", p.Title, target.RefID)
			refs[target.RefID] = true
			for _, used := range labelInLegend.FindAllStringSubmatch(target.Legend, -1) {
				assert.Contains(t, labelsOf(t, expression), used[1], "%s: the legend names it", p.Title)
			}
		}
	}
}

// labelsOf are the labels by which an expression groups its result.
func labelsOf(t *testing.T, expression string) []string {
	t.Helper()
	parsed, err := parser.ParseExpr(expression)
	require.NoError(t, err)
	var grouped []string
	parser.Inspect(parsed, func(node parser.Node, _ []parser.Node) error {
		if aggregate, is := node.(*parser.AggregateExpr); is {
			grouped = append(grouped, aggregate.Grouping...)
		}
		return nil
	})
	return grouped
}

// TestEveryMetricOfOursIsShown: on the dashboard, where somebody looks.
func TestEveryMetricOfOursIsShown(t *testing.T) {
	var all strings.Builder
	for _, p := range readDashboard(t).graphs(t) {
		for _, target := range p.Targets {
			all.WriteString(target.Expr + "\n")
		}
	}
	for name := range readCatalogue(t) {
		assert.Regexp(t, `\b`+name+`(_bucket|_count|_sum)?\b`, all.String())
	}
}
