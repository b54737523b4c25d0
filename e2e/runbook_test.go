package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"google.golang.org/protobuf/encoding/protojson"

	"pikepayouts/payout"
)

// section is what stands under one heading of docs/runbook.md.
type section struct {
	title  string
	text   string
	blocks []block
}

// block is what stands between two fences.
type block struct {
	line     int
	language string
	text     string
	// scene is played before the block, see scenes.
	scene string
}

// The languages of blocks. sh and json are carried out, text is what the sh before it must
// print, promql is held against metrics.yml by tools/prometheus.
var blockLanguages = []string{"sh", "json", "text", "promql"}

var (
	heading   = regexp.MustCompile(`^#{1,4} (.+)$`)
	fence     = regexp.MustCompile("^```([a-z]*)$")
	sceneMark = regexp.MustCompile(`^<!-- scene: (\w+) -->$`)
	indented  = regexp.MustCompile(`^(\t| {4,})\S`)
	// inlineCommand is a command that would be copied and that no test runs.
	inlineCommand = regexp.MustCompile("`(?:payouts|temporal|kill|curl|openssl|export) [^`]*`")
)

// parseRunbook refuses whatever could be a command that no test runs.
func parseRunbook(text string) ([]section, error) {
	sections := []section{{}}
	var open *block
	var scene string
	var problems []error
	for i, line := range strings.Split(text, "\n") {
		problem := func(what string) { problems = append(problems, fmt.Errorf("line %d: %s: %q", i+1, what, line)) }
		current := &sections[len(sections)-1]
		mark := fence.FindStringSubmatch(line)
		switch {
		case mark != nil && open != nil && mark[1] == "":
			current.blocks = append(current.blocks, *open)
			open = nil
		case mark != nil && open == nil:
			if !slices.Contains(blockLanguages, mark[1]) {
				problem("a block must be of " + strings.Join(blockLanguages, ", "))
			}
			open, scene = &block{line: i + 1, language: mark[1], scene: scene}, ""
		case open != nil:
			open.text += line + "\n"
		case heading.MatchString(line):
			sections = append(sections, section{title: heading.FindStringSubmatch(line)[1]})
		case sceneMark.MatchString(line):
			if scene != "" {
				problem("two scenes before a block")
			}
			scene = sceneMark.FindStringSubmatch(line)[1]
		case strings.Contains(line, "```"), strings.Contains(line, "~~~"), strings.Contains(line, "<!--"), strings.Contains(line, "<code"), strings.Contains(line, "<pre"), indented.MatchString(line):
			problem("commands stand between ``` fences at the beginning of a line")
		case inlineCommand.MatchString(line):
			problem("commands stand in sh blocks, where a test runs them")
		default:
			current.text += line + "\n"
		}
	}
	if open != nil || scene != "" {
		problems = append(problems, errors.New("the end: a block is not closed, or a scene has no block"))
	}
	return sections, errors.Join(problems...)
}

func readRunbook(t *testing.T) []section {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "docs", "runbook.md"))
	require.NoError(t, err)
	sections, err := parseRunbook(string(text))
	require.NoError(t, err)
	return sections
}

// TestEveryCommandOfTheRunbookWorks carries out docs/runbook.md as its reader would: every sh block by sh, every
// json block as the Web UI sends it, section by section, each from the state that its scene comment names.
func TestEveryCommandOfTheRunbookWorks(t *testing.T) {
	t.Parallel()
	encryptedOnly(t)
	sections := readRunbook(t)
	o := newOperations(t)
	require.ElementsMatch(t, namesInTable(sections, "Set first"), mapKeys(o.environment), "the reader is told to set what the commands need")
	played := map[string]bool{}
	for _, each := range sections {
		for _, b := range each.blocks {
			played[b.scene] = true
		}
		if len(each.blocks) == 0 {
			continue
		}
		t.Run(each.title, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t, o)
			for _, b := range each.blocks {
				require.NoError(t, d.play(b), "docs/runbook.md, line %d", b.line)
			}
		})
	}
	for name := range scenes {
		assert.True(t, played[name], "no block needs scene %s", name)
	}
}

// desk is where one section is worked through: a folder, an environment, and what its placeholders stand for.
type desk struct {
	t *testing.T
	*operations
	// line is between the payout's worker and Pike, where a scene has one.
	line        *link
	folder      string
	environment []string
	// words by placeholder: the document speaks of inv-1042, and a scene says which payout that is.
	words map[string]string
	// printed by the last sh block.
	printed string
}

// placeholders of the document, longest first.
var placeholders = []string{"payout-event/ps_1042/5f1c", "inv-1042", "ps_1042", "4711"}

func newDesk(t *testing.T, o *operations) *desk {
	d := &desk{t: t, operations: o, folder: t.TempDir(), words: map[string]string{}}
	for name, value := range o.environment {
		d.set(name, value)
	}
	d.set("PATH", o.tools+":"+os.Getenv("PATH"))
	d.set("HOME", d.folder)
	// No two processes of these tests share a port or, unless a scene says so, a task queue.
	d.set("PAYOUTS_OPS_ADDR", "127.0.0.1:0")
	d.set("WEBHOOKGW_ADDR", "127.0.0.1:0")
	d.set("PAYOUTS_CODEC_ADDR", "127.0.0.1:0")
	d.set("PAYOUTS_TASK_QUEUE", o.stack.apart(t).taskQueue)
	return d
}

// set wins over what was set before.
func (d *desk) set(name, value string) { d.environment = append(d.environment, name+"="+value) }

func (d *desk) play(b block) error {
	if b.scene != "" {
		scene := scenes[b.scene]
		if scene == nil {
			return fmt.Errorf("there is no scene %s", b.scene)
		}
		scene(d)
	}
	text, err := d.fill(b.text)
	if err != nil {
		return err
	}
	switch b.language {
	case "sh":
		return d.shell(text)
	case "json":
		d.printed = ""
		return d.updateInTheWebUI(text)
	case "text":
		return d.requirePrinted(text)
	}
	return nil
}

func (d *desk) fill(text string) (string, error) {
	var pairs []string
	for _, placeholder := range placeholders {
		word := d.words[placeholder]
		if word == "" && strings.Contains(text, placeholder) {
			return "", fmt.Errorf("no scene says what %s is", placeholder)
		}
		pairs = append(pairs, placeholder, word)
	}
	return strings.NewReplacer(pairs...).Replace(text), nil
}

// startsProcess is a block that ends in a process which runs until it is stopped.
var startsProcess = regexp.MustCompile(`(?m)^[^#\n]*\bpayouts (worker|webhookgw|codec-server)\n\z`)

// seen refuses a script in which sh -e would not notice that a command fails: pipes lead into grep alone, which then finds nothing.
func seen(script string) error {
	bare := quoted.ReplaceAllString(script, "''")
	if found := unseen.FindString(bare) + substitution.FindString(script); found != "" {
		return fmt.Errorf("with %q a command could fail unseen", found)
	}
	for _, pipe := range pipeInto.FindAllStringSubmatch(bare, -1) {
		if pipe[1] != "grep" {
			return fmt.Errorf("a command could fail unseen before %q", pipe[0])
		}
	}
	return nil
}

var (
	quoted       = regexp.MustCompile(`'[^']*'|"[^"]*"`)
	unseen       = regexp.MustCompile(`(?m)\|\||&|!|\(|<<|(?:^|;|\bdo)\s*(?:true|:|set|exit|trap|if|until|eval|exec)(?:\s|;|$)`)
	substitution = regexp.MustCompile("\\$\\(|`")
	pipeInto     = regexp.MustCompile(`\|\s*(\S*)`)
)

func (d *desk) shell(script string) error {
	if err := seen(script); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(d.t.Context(), 3*time.Minute)
	defer cancel()
	var printed logTap
	// The trap lets sh wait for its process to end well; sh itself is stopped with it.
	command := exec.CommandContext(ctx, "sh", "-eu", "-c", "trap : TERM\n"+script)
	command.Dir, command.Env, command.Stdout, command.Stderr = d.folder, d.environment, &printed, &printed
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	command.Cancel = func() error { return syscall.Kill(-command.Process.Pid, syscall.SIGKILL) }
	if err := command.Start(); err != nil {
		return fmt.Errorf("starting sh: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- command.Wait() }()
	if startsProcess.MatchString(script) {
		if err := untilItRuns(&printed, ended); err != nil {
			return fmt.Errorf("%s%s: %w", script, &printed, err)
		}
		_ = syscall.Kill(-command.Process.Pid, syscall.SIGTERM)
	}
	err := <-ended
	d.printed = printed.String()
	_, _ = io.WriteString(shared.evidence.of("runbook.out"), d.printed)
	if err != nil {
		return fmt.Errorf("%s%s: %w", script, d.printed, err)
	}
	return nil
}

var processRuns = regexp.MustCompile(`"msg":"(worker|gateway|codec server) runs"`)

func untilItRuns(printed *logTap, ended <-chan error) error {
	for ticker := time.Tick(20 * time.Millisecond); !processRuns.MatchString(printed.String()); {
		select {
		case err := <-ended:
			return fmt.Errorf("the process has ended: %w", err)
		case <-ticker:
		}
	}
	return nil
}

// requirePrinted: each line stands in a line of what was printed. Spaces are one, … is anything.
func (d *desk) requirePrinted(lines string) error {
	for _, line := range strings.Split(strings.TrimSpace(lines), "\n") {
		var parts []string
		for part := range strings.SplitSeq(line, "…") {
			parts = append(parts, strings.Join(strings.Fields(regexp.QuoteMeta(part)), `\s+`))
		}
		if !regexp.MustCompile(strings.Join(parts, ".*")).MatchString(d.printed) {
			return fmt.Errorf("%q was not printed, but %s", line, d.printed)
		}
	}
	return nil
}

// updateInTheWebUI sends what was typed into the Web UI's form as it does: encoded by the codec server, which is not told the workflow.
func (d *desk) updateInTheWebUI(input string) error {
	var typed struct {
		Decision   string `json:"decision"`
		WorkflowID string `json:"workflow_id"`
	}
	if err := json.Unmarshal([]byte(input), &typed); err != nil {
		return fmt.Errorf("%s: %w", input, err)
	}
	name := payout.UpdateResolve
	if typed.Decision != "" {
		name = payout.UpdateDecide
	}
	payload, err := d.encode(input)
	if err != nil {
		return err
	}
	browser, _ := d.stack.in(d.t).callerWith(nil)
	handle, err := browser.UpdateWorkflow(testContext(d.t), client.UpdateWorkflowOptions{
		WorkflowID: typed.WorkflowID, UpdateName: name, WaitForStage: client.WorkflowUpdateStageCompleted,
		Args: []any{converter.NewRawValue(payload)},
	})
	if err == nil {
		err = handle.Get(testContext(d.t), nil)
	}
	if err != nil {
		return fmt.Errorf("%s of %s: %w", name, input, err)
	}
	return nil
}

func (d *desk) encode(input string) (*commonpb.Payload, error) {
	body, err := protojson.Marshal(&commonpb.Payloads{Payloads: []*commonpb.Payload{
		{Metadata: map[string][]byte{converter.MetadataEncoding: []byte(converter.MetadataEncodingJSON)}, Data: []byte(input)},
	}})
	if err != nil {
		return nil, fmt.Errorf("asking the codec server: %w", err)
	}
	response, err := http.Post(d.operations.environment["TEMPORAL_CODEC_ENDPOINT"]+"/encode", "application/json", bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("asking the codec server: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the codec server answers %s %s: %w", response.Status, answer, err)
	}
	var encoded commonpb.Payloads
	if err := protojson.Unmarshal(answer, &encoded); err != nil {
		return nil, fmt.Errorf("the codec server answers %s: %w", answer, err)
	}
	return encoded.GetPayloads()[0], nil
}

// namesInTable are the variables in the first column of a section's table.
func namesInTable(sections []section, title string) []string {
	var names []string
	for _, each := range sections {
		if each.title != title {
			continue
		}
		for _, row := range regexp.MustCompile("(?m)^\\| `([A-Z_]+)`").FindAllStringSubmatch(each.text, -1) {
			names = append(names, row[1])
		}
	}
	return names
}

func mapKeys(m map[string]string) []string {
	var keys []string
	for key := range m {
		keys = append(keys, key)
	}
	return keys
}

// TestTheRunbookHasEveryReasonAndAlert, each with its three parts; the reasons in the words that the Web UI shows.
func TestTheRunbookHasEveryReasonAndAlert(t *testing.T) {
	t.Parallel()
	sections := readRunbook(t)
	find := func(title string) section {
		i := slices.IndexFunc(sections, func(s section) bool { return s.title == title })
		if !assert.GreaterOrEqual(t, i, 0, "no section %s", title) {
			return section{}
		}
		for _, part := range []string{"**Means**", "**Look**", "**Do**"} {
			assert.Equal(t, 1, strings.Count(sections[i].text, part), "%s: %s", title, part)
		}
		return sections[i]
	}
	for _, reason := range payout.AttentionReasons() {
		assert.Contains(t, find(string(reason)).text, reason.Meaning().Means)
	}
	rules, err := os.ReadFile(filepath.Join("..", "deploy", "prometheus", "rules.yml"))
	require.NoError(t, err)
	alerts := regexp.MustCompile(`(?m)^ +- alert: (\w+)$`).FindAllSubmatch(rules, -1)
	require.NotEmpty(t, alerts)
	for _, alert := range alerts {
		find(string(alert[1]))
	}
}

// TestLinksOfTheRunbookLead somewhere: to a heading, or to a file.
func TestLinksOfTheRunbookLead(t *testing.T) {
	t.Parallel()
	var anchors []string
	sections := readRunbook(t)
	for _, each := range sections {
		anchors = append(anchors, anchorOf(each.title))
	}
	links := 0
	for _, each := range sections {
		for _, link := range regexp.MustCompile(`\]\(([^)#]*)(?:#([^)]*))?\)`).FindAllStringSubmatch(each.text, -1) {
			links++
			if link[1] == "" {
				assert.Contains(t, anchors, link[2], each.title)
				continue
			}
			_, err := os.Stat(filepath.Join("..", "docs", link[1]))
			assert.NoError(t, err, each.title)
		}
	}
	require.Greater(t, links, 30)
}

// anchorOf is how GitHub makes an anchor of a heading.
func anchorOf(title string) string {
	kept := regexp.MustCompile(`[^a-z0-9 _-]`).ReplaceAllString(strings.ToLower(title), "")
	return strings.ReplaceAll(kept, " ", "-")
}

// TestARunbookThatRotsIsFound: what the tests above would pass unseen.
func TestARunbookThatRotsIsFound(t *testing.T) {
	t.Parallel()
	encryptedOnly(t)
	for name, text := range map[string]string{
		"a language that is not run":  "```bash\nls\n```",
		"no language":                 "```\nls\n```",
		"a fence in a list":           "- x\n  ```sh\n  ls\n  ```",
		"tildes":                      "~~~sh\nls\n~~~",
		"an indented block":           "Do:\n\n    payouts list",
		"a command in the text":       "Do `payouts list --attention any`.",
		"a block that is not closed":  "```sh\nls",
		"a comment that is no scene":  "<!-- scenes: late_event -->\n```sh\nls\n```",
		"a scene without a block":     "<!-- scene: late_event -->\n",
		"two scenes before one block": "<!-- scene: late_event -->\n<!-- scene: mismatch -->\n```sh\nls\n```",
	} {
		_, err := parseRunbook(text)
		require.Error(t, err, name)
	}
	d := newDesk(t, &operations{stack: newStack(t, stackOptions{noWorker: true}), environment: map[string]string{"TEMPORAL_ADDRESS": shared.address}, tools: toolFolder(t)})
	for name, text := range map[string]string{
		"a flag that is gone":              "```sh\npayouts list --attentions any\n```",
		"a command that fails before one":  "```sh\npayouts status inv-of-nobody\npayouts list\n```",
		"a command that fails unseen":      "```sh\npayouts status inv-of-nobody || true\n```",
		"a command that fails in a list":   "```sh\npayouts status inv-of-nobody && payouts version\npayouts version\n```",
		"a command that fails in a pipe":   "```sh\npayouts status inv-of-nobody | cat\n```",
		"a pipe that finds nothing":        "```sh\npayouts status inv-of-nobody | grep State\n```",
		"a command that fails in another":  "```sh\npayouts list --session \"$(payouts status inv-of-nobody)\"\n```",
		"a variable that nobody sets":      "```sh\npayouts list --session \"$NOWHERE\"\n```",
		"a placeholder that is nothing":    "```sh\npayouts status inv-1042\n```",
		"a scene that is not there":        "<!-- scene: nowhere -->\n```sh\npayouts list\n```",
		"a line that is not printed":       "```sh\npayouts version\n```\n```text\nnot printed by it\n```",
		"a process that does not begin":    "```sh\nPIKE_BASE_URL=nowhere payouts worker\n```",
		"JSON that the Web UI cannot send": "```json\n{\"decision\":\"confirm\"}\n```",
	} {
		sections, err := parseRunbook(text)
		require.NoError(t, err, name)
		err = nil
		for _, b := range sections[0].blocks {
			err = errors.Join(err, d.play(b))
		}
		require.Error(t, err, name)
	}
	sections, err := parseRunbook("```sh\npayouts version\n```\n```text\nSDK … v1\n```")
	require.NoError(t, err)
	require.NoError(t, d.play(sections[0].blocks[0]), "as it should be")
}
