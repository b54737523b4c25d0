package pikepayouts_test

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

// processes are the sub-commands that make sense in a container of the stack.
var processes = []string{"worker", "webhookgw", "pikesim", "setup", "keygen", "healthcheck", "codec-server", "list"}

// environment is every variable that payouts reads besides TEMPORAL_*.
var environment = []string{
	"PAYOUTS_TASK_QUEUE", "PAYOUTS_OPS_ADDR", "PAYOUTS_LOG_LEVEL", "PAYOUTS_LOG_FORMAT",
	"PIKE_BASE_URL", "PIKE_API_VERSION", "PIKE_PROJECT", "PIKE_SUBMERCHANT", "PIKE_PRIVATE_KEY_FILE", "PIKE_TIMEOUT",
	"PIKE_RATE_LIMIT", "PIKE_WEBHOOK_PUBLIC_KEY_FILES", "PAYOUTS_OBSERVE_ONLY",
	"WEBHOOKGW_ADDR", "WEBHOOKGW_PATH", "WEBHOOKGW_MAX_BODY", "WEBHOOKGW_SIGNAL_TIMEOUT",
	"PAYOUTS_ENCRYPTION_KEYSET_FILE", "PAYOUTS_CODEC_ADDR", "PAYOUTS_CODEC_ORIGINS",
}

type composeFile struct {
	Services map[string]composeService `yaml:"services"`
	Networks map[string]any            `yaml:"networks"`
	Volumes  map[string]any            `yaml:"volumes"`
}

type composeService struct {
	Image       string                       `yaml:"image"`
	Build       composeBuild                 `yaml:"build"`
	Command     []string                     `yaml:"command"`
	Environment map[string]string            `yaml:"environment"`
	Ports       []string                     `yaml:"ports"`
	Volumes     []string                     `yaml:"volumes"`
	Networks    composeNetworks              `yaml:"networks"`
	NetworkMode string                       `yaml:"network_mode"`
	DependsOn   map[string]composeDependency `yaml:"depends_on"`
	Healthcheck struct {
		Test []string `yaml:"test"`
	} `yaml:"healthcheck"`
	Restart string   `yaml:"restart"`
	CapDrop []string `yaml:"cap_drop"`
}

// composeNetworks are the networks of a service.
type composeNetworks map[string]composeNetwork

type composeNetwork struct {
	Aliases []string `yaml:"aliases"` // its other names there
}

// UnmarshalYAML also reads the short form, which is a list.
func (n *composeNetworks) UnmarshalYAML(node *yaml.Node) error {
	if node.Kind == yaml.MappingNode {
		return node.Decode((*map[string]composeNetwork)(n))
	}
	var names []string
	if err := node.Decode(&names); err != nil {
		return err
	}
	*n = composeNetworks{}
	for _, name := range names {
		(*n)[name] = composeNetwork{}
	}
	return nil
}

type composeBuild struct {
	Context string `yaml:"context"`
	Target  string `yaml:"target"`
}

type composeDependency struct {
	Condition string `yaml:"condition"`
}

// isOurs tells the services that run the image of payouts.
func (s composeService) isOurs() bool { return s.Build.Target == "payouts" }

func readCompose(t *testing.T) composeFile {
	t.Helper()
	content, err := os.ReadFile("docker-compose.yml")
	require.NoError(t, err)
	var file composeFile
	require.NoError(t, yaml.Unmarshal(content, &file))
	require.Contains(t, file.Services, "worker-1")
	return file
}

func TestComposeServices(t *testing.T) {
	file := readCompose(t)
	stages := stageNames(readDockerfile(t))
	for name, service := range file.Services {
		t.Run(name, func(t *testing.T) {
			checkImage(t, service, stages)
			checkDependencies(t, file, service)
			checkPorts(t, service)
			checkMounts(t, file, service)
			assert.NotEmpty(t, service.Restart, "say what happens when it ends")
			if service.isOurs() {
				checkOurs(t, service)
			}
		})
	}
}

func checkImage(t *testing.T, service composeService, stages []string) {
	t.Helper()
	if service.Build.Context != "" {
		assert.Contains(t, stages, service.Build.Target, "no such stage in the Dockerfile")
		return
	}
	assert.NoError(t, checkPinned(service.Image))
}

// TestComposeImagesAreBuiltOneWay: two services that build one name from two stages would run what was built last.
func TestComposeImagesAreBuiltOneWay(t *testing.T) {
	targets := map[string]string{}
	for name, service := range readCompose(t).Services {
		if target, known := targets[service.Image]; known {
			assert.Equal(t, target, service.Build.Target, "service %s, image %s", name, service.Image)
		}
		targets[service.Image] = service.Build.Target
	}
}

func TestComposePortsArePublishedOnce(t *testing.T) {
	publishers := map[string]string{}
	for name, service := range readCompose(t).Services {
		for _, port := range service.Ports {
			published := port[:strings.LastIndex(port, ":")]
			assert.Empty(t, publishers[published], "%s is published by %s too", published, name)
			publishers[published] = name
		}
	}
}

// TestComposeServicesSayHowTheyAre: whoever waits for the stack (`up --wait`) waits for its health.
func TestComposeServicesSayHowTheyAre(t *testing.T) {
	const hasNoShell = "ui" // nor anything else to ask itself with
	for name, service := range readCompose(t).Services {
		if service.Restart == "unless-stopped" && name != hasNoShell {
			assert.NotEmpty(t, service.Healthcheck.Test, "service %s", name)
		}
	}
}

func checkDependencies(t *testing.T, file composeFile, service composeService) {
	t.Helper()
	for other, dependency := range service.DependsOn {
		target, known := file.Services[other]
		if !assert.True(t, known, "depends on %s, which is not there", other) {
			continue
		}
		switch dependency.Condition {
		case "service_healthy":
			assert.NotEmpty(t, target.Healthcheck.Test, "%s has no health check to wait for", other)
		case "service_completed_successfully":
			assert.Contains(t, []string{"no", "on-failure:5"}, target.Restart, "%s would be restarted for ever", other)
		default:
			assert.Equal(t, "service_started", dependency.Condition)
		}
	}
	for network := range service.Networks {
		assert.Contains(t, file.Networks, network)
	}
	if other, shared := strings.CutPrefix(service.NetworkMode, "service:"); shared {
		assert.Contains(t, service.DependsOn, other, "shares its network")
		assert.Empty(t, service.Ports, "ports belong to the service whose network it is")
	}
}

func checkPorts(t *testing.T, service composeService) {
	t.Helper()
	for _, port := range service.Ports {
		assert.Regexp(t, `^127\.0\.0\.1:\d+:\d+$`, port, "published to more than this machine")
	}
}

func checkMounts(t *testing.T, file composeFile, service composeService) {
	t.Helper()
	for _, mount := range service.Volumes {
		source, _, _ := strings.Cut(mount, ":")
		if !strings.HasPrefix(source, ".") && !strings.HasPrefix(source, "/") {
			assert.Contains(t, file.Volumes, source, "no such volume")
			continue
		}
		_, err := os.Stat(filepath.FromSlash(source))
		assert.NoError(t, err)
	}
}

func checkOurs(t *testing.T, service composeService) {
	t.Helper()
	require.NotEmpty(t, service.Command)
	assert.Contains(t, processes, service.Command[0], "no such sub-command")
	if len(service.Healthcheck.Test) > 0 {
		require.Greater(t, len(service.Healthcheck.Test), 2)
		assert.Equal(t, []string{"CMD", "/payouts"}, service.Healthcheck.Test[:2], "the image has no shell")
		assert.Contains(t, processes, service.Healthcheck.Test[2])
	}
	for variable := range service.Environment {
		assert.True(t, strings.HasPrefix(variable, "TEMPORAL_") || slices.Contains(environment, variable), "payouts does not read %s", variable)
	}
	assert.Equal(t, []string{"ALL"}, service.CapDrop)
}

// TestComposeFitsTheProgram runs what the file says against payouts itself.
func TestComposeFitsTheProgram(t *testing.T) {
	_ = readSources(t, "cmd/payouts") // for the cache of `go test`: the build below escapes it
	payouts := filepath.Join(t.TempDir(), "payouts")
	output, err := exec.CommandContext(t.Context(), "go", "build", "-o", payouts, "./cmd/payouts").CombinedOutput()
	require.NoError(t, err, "%s", output)

	keys, keyset := t.TempDir(), t.TempDir()
	for range 2 { // the second start of the stack finds the keys of the first
		script := exec.CommandContext(t.Context(), "sh", "deploy/compose/keys.sh")
		script.Env = append(os.Environ(), "PAYOUTS="+payouts, "KEYS="+keys, "KEYSET="+filepath.Join(keyset, "keyset.json"))
		output, err := script.CombinedOutput()
		require.NoError(t, err, "%s", output)
	}
	for name, service := range readCompose(t).Services {
		for _, text := range append(slices.Collect(maps.Values(service.Environment)), service.Command...) {
			for _, file := range regexp.MustCompile(`/(keys|keyset)/([\w.-]+)`).FindAllStringSubmatch(text, -1) {
				folder := map[string]string{"keys": keys, "keyset": keyset}[file[1]]
				assert.FileExists(t, filepath.Join(folder, file[2]), "service %s", name)
				assert.Contains(t, service.Volumes, file[1]+":/"+file[1]+":ro", "service %s", name)
			}
		}
		if service.isOurs() { // with --help, the flags are checked and nothing runs
			output, err := exec.CommandContext(t.Context(), payouts, append(service.Command, "--help")...).CombinedOutput()
			assert.NoError(t, err, "service %s: %s", name, output)
		}
	}
}

func TestComposeVariablesAreRead(t *testing.T) {
	variables := readSources(t, "config")
	for _, name := range environment {
		assert.Regexp(t, `env:"`+name+`[",]`, variables)
	}
}

func readSources(t *testing.T, folder string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "*.go"))
	require.NoError(t, err)
	var all strings.Builder
	for _, file := range files {
		content, err := os.ReadFile(file)
		require.NoError(t, err)
		all.Write(content)
	}
	return all.String()
}

// The simulator is reached by http, which is for loopback only.
func TestComposeWorkersReachTheSimulatorOnLoopback(t *testing.T) {
	file := readCompose(t)
	simulator := file.Services["pikesim"]
	for _, name := range []string{"worker-1", "worker-2"} {
		worker := file.Services[name]
		assert.Equal(t, "service:pikesim", worker.NetworkMode)
		addr, isHTTP := strings.CutPrefix(worker.Environment["PIKE_BASE_URL"], "http://127.0.0.1:")
		require.True(t, isHTTP)
		assert.Contains(t, simulator.Command, "--addr=127.0.0.1:"+addr)
		assert.Contains(t, simulator.Command, "--project="+worker.Environment["PIKE_PROJECT"])
	}
}

func TestComposeSimulatorReachesEveryGateway(t *testing.T) {
	file := readCompose(t)
	for _, name := range []string{"webhookgw-1", "webhookgw-2"} {
		assert.Equal(t, []string{"webhookgw"}, file.Services[name].Networks["default"].Aliases)
	}
	assert.Contains(t, file.Services["pikesim"].Command, "--webhook-url=http://webhookgw:8080/webhooks/pike")
}

// TestComposeKeysetIsWithThoseWhoNeedIt: with it every payout can be read.
func TestComposeKeysetIsWithThoseWhoNeedIt(t *testing.T) {
	var holders []string
	for name, service := range readCompose(t).Services {
		if slices.ContainsFunc(service.Volumes, func(mount string) bool { return strings.HasPrefix(mount, "keyset:") }) {
			holders = append(holders, name)
			assert.True(t, name == "keys" || service.Environment["PAYOUTS_ENCRYPTION_KEYSET_FILE"] != "", "%s has it for nothing", name)
		}
	}
	slices.Sort(holders)
	assert.Equal(t, []string{"cli", "codec-server", "keys", "webhookgw-1", "webhookgw-2", "worker-1", "worker-2"}, holders)
}

// TestComposeBrowserReachesTheCodecServer: it is the browser that asks it, from the page of the Web UI.
func TestComposeBrowserReachesTheCodecServer(t *testing.T) {
	file := readCompose(t)
	ui, codec := file.Services["ui"], file.Services["codec-server"]
	published, _, _ := strings.Cut(ui.Ports[0], ":8080")
	assert.Contains(t, strings.Split(codec.Environment["PAYOUTS_CODEC_ORIGINS"], ","), "http://"+published)
	endpoint, _ := strings.CutPrefix(ui.Environment["TEMPORAL_CODEC_ENDPOINT"], "http://")
	_, inside, _ := net.SplitHostPort(codec.Environment["PAYOUTS_CODEC_ADDR"])
	assert.Equal(t, []string{endpoint + ":" + inside}, codec.Ports)
}

// opsTargets are the ops ports of workers and gateways as the other services reach them.
func (f composeFile) opsTargets() []string {
	var targets []string
	for name, service := range f.Services {
		if !service.isOurs() || !slices.Contains([]string{"worker", "webhookgw"}, service.Command[0]) {
			continue
		}
		host := name
		if other, shared := strings.CutPrefix(service.NetworkMode, "service:"); shared {
			host = other
		}
		targets = append(targets, host+cmp.Or(service.Environment["PAYOUTS_OPS_ADDR"], ":9090"))
	}
	slices.Sort(targets)
	return targets
}

func TestPrometheusScrapesEveryProcess(t *testing.T) {
	var settings struct {
		RuleFiles     []string `yaml:"rule_files"`
		ScrapeConfigs []struct {
			StaticConfigs []struct {
				Targets []string `yaml:"targets"`
			} `yaml:"static_configs"`
		} `yaml:"scrape_configs"`
	}
	readYAML(t, "deploy/prometheus/prometheus.yml", &settings)
	file := readCompose(t)
	var targets []string
	for _, scrape := range settings.ScrapeConfigs {
		for _, static := range scrape.StaticConfigs {
			targets = append(targets, static.Targets...)
		}
	}
	slices.Sort(targets)
	assert.Equal(t, file.opsTargets(), targets)
	require.NotEmpty(t, settings.RuleFiles)
	for _, rules := range settings.RuleFiles {
		assert.NotEmpty(t, file.Services["prometheus"].sourceOf(path.Join("/etc/prometheus", rules)), "%s is not mounted", rules)
	}
}

// sourceOf is what is mounted at the path, "" if nothing is.
func (s composeService) sourceOf(target string) string {
	for _, mount := range s.Volumes {
		if parts := strings.Split(mount, ":"); parts[1] == target {
			return parts[0]
		}
	}
	return ""
}

func TestGrafanaIsProvisioned(t *testing.T) {
	file := readCompose(t)
	grafana := file.Services["grafana"]
	provisioning := grafana.sourceOf("/etc/grafana/provisioning")
	require.NotEmpty(t, provisioning)
	var sources struct {
		Datasources []struct {
			URL string `yaml:"url"`
		} `yaml:"datasources"`
	}
	readYAML(t, onlyFile(t, provisioning+"/datasources/*.yml"), &sources)
	require.Len(t, sources.Datasources, 1)
	assert.Equal(t, "http://prometheus:9090", sources.Datasources[0].URL)
	assert.Contains(t, file.Services, "prometheus")

	var dashboards struct {
		Providers []struct {
			Options struct {
				Path string `yaml:"path"`
			} `yaml:"options"`
		} `yaml:"providers"`
	}
	readYAML(t, onlyFile(t, provisioning+"/dashboards/*.yml"), &dashboards)
	require.Len(t, dashboards.Providers, 1)
	folder := grafana.sourceOf(dashboards.Providers[0].Options.Path)
	require.NotEmpty(t, folder, "%s is not mounted", dashboards.Providers[0].Options.Path)
	onlyFile(t, folder+"/*.json")
}

// onlyFile is the one that the pattern finds.
func onlyFile(t *testing.T, pattern string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.FromSlash(pattern))
	require.NoError(t, err)
	require.Len(t, found, 1, pattern)
	return found[0]
}

func readYAML(t *testing.T, name string, into any) {
	t.Helper()
	content, err := os.ReadFile(filepath.FromSlash(name))
	require.NoError(t, err)
	require.NoError(t, yaml.Unmarshal(content, into))
}

// No file of this kind may hold what nobody else should know.
func TestComposeHoldsNoSecret(t *testing.T) {
	for name, service := range readCompose(t).Services {
		for variable := range service.Environment {
			assert.NotRegexp(t, `(?i)passw|pwd|secret|token|api_key|private_key$`, variable, "service %s", name)
		}
	}
}

// TestComposeLoads has Compose's own loader read the file: its schema, and all that refers to something.
func TestComposeLoads(t *testing.T) {
	content, err := os.ReadFile("docker-compose.yml") // for the cache of `go test`: the loader escapes it
	require.NoError(t, err)
	loader := filepath.Join(t.TempDir(), "loader")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", loader, ".")
	build.Dir = filepath.Join("tools", "compose")
	output, err := build.CombinedOutput()
	require.NoError(t, err, "%s", output)
	output, err = exec.CommandContext(t.Context(), loader, "docker-compose.yml").CombinedOutput()
	require.NoError(t, err, "%s", output)

	broken := filepath.Join(t.TempDir(), "docker-compose.yml")
	require.NoError(t, os.WriteFile(broken, bytes.ReplaceAll(content, []byte("start_period"), []byte("start_time")), 0o600))
	output, err = exec.CommandContext(t.Context(), loader, broken).CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(output), "start_time")
}

// checkPinned wants an exact version, or a digest.
func checkPinned(image string) error {
	if regexp.MustCompile(`@sha256:[0-9a-f]{64}$`).MatchString(image) {
		return nil
	}
	_, tag, tagged := strings.Cut(image[strings.LastIndex(image, "/")+1:], ":")
	exact := `^v?\d+\.\d+\.\d+`
	if strings.HasPrefix(image, "postgres:") {
		exact = `^\d+\.\d+` // its versions have two numbers
	}
	if !tagged || !regexp.MustCompile(exact).MatchString(tag) {
		return fmt.Errorf("image %q: name an exact version", image)
	}
	return nil
}

func TestCheckPinned(t *testing.T) {
	for _, image := range []string{"postgres:16.15", "temporalio/ui:2.51.0", "reg.example:5000/a/b:1.2.3", "a@sha256:" + strings.Repeat("0f", 32)} {
		assert.NoError(t, checkPinned(image))
	}
	for _, image := range []string{"", "postgres", "postgres:latest", "postgres:16", "reg.example:5000/a/b", "reg.example:5000/a/b:1.2", "a:nonroot", "a@sha256:00"} {
		assert.Error(t, checkPinned(image), image)
	}
}

// dockerInstruction is one line of the Dockerfile, continuation lines joined.
type dockerInstruction struct{ name, rest string }

func readDockerfile(t *testing.T) []dockerInstruction {
	t.Helper()
	content, err := os.ReadFile("Dockerfile")
	require.NoError(t, err)
	var instructions []dockerInstruction
	for line := range strings.Lines(strings.ReplaceAll(string(content), "\\\n", " ")) {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		name, rest, _ := strings.Cut(line, " ")
		instructions = append(instructions, dockerInstruction{strings.ToUpper(name), strings.TrimSpace(rest)})
	}
	return instructions
}

// base splits the rest of a FROM instruction.
func (i dockerInstruction) base() (image, stage string) {
	words := slices.DeleteFunc(strings.Fields(i.rest), func(word string) bool { return strings.HasPrefix(word, "--") })
	if len(words) == 3 && strings.EqualFold(words[1], "AS") {
		stage = words[2]
	}
	return words[0], stage
}

func stageNames(dockerfile []dockerInstruction) []string {
	var names []string
	for _, instruction := range dockerfile {
		if instruction.name == "FROM" {
			_, stage := instruction.base()
			names = append(names, stage)
		}
	}
	return names
}

func TestDockerfileBasesArePinned(t *testing.T) {
	for _, instruction := range readDockerfile(t) {
		if instruction.name == "FROM" {
			image, stage := instruction.base()
			assert.NoError(t, checkPinned(image), "stage %s", stage)
		}
	}
}

func TestDockerfileEndsInTheServiceAsANonRootUser(t *testing.T) {
	dockerfile := readDockerfile(t)
	var last []dockerInstruction
	for i, instruction := range dockerfile {
		if instruction.name == "FROM" {
			last = dockerfile[i:]
		}
	}
	require.NotEmpty(t, last)
	_, stage := last[0].base()
	assert.Equal(t, "payouts", stage, "a plain `docker build .` must make the service")
	settings := map[string]string{}
	for _, instruction := range last {
		settings[instruction.name] = instruction.rest
	}
	assert.Regexp(t, `^[1-9]\d*(:[1-9]\d*)?$`, settings["USER"], "a number, and not root's")
	assert.JSONEq(t, `["/payouts"]`, settings["ENTRYPOINT"])
	assert.NotContains(t, settings, "RUN", "the last stage has no shell")
}

// The image is built with the Go version that the tests ran with, or a newer one of the same minor.
func TestDockerfileHasTheGoOfTheModule(t *testing.T) {
	content, err := os.ReadFile("go.mod")
	require.NoError(t, err)
	wanted := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindSubmatch(content)
	require.NotNil(t, wanted)
	image, _ := readDockerfile(t)[0].base()
	assert.Regexp(t, `^golang:`+regexp.QuoteMeta(string(wanted[1]))+`\.\d+`, image)
}

func TestDockerfileCopiesFilesThatExist(t *testing.T) {
	for _, instruction := range readDockerfile(t) {
		if instruction.name != "COPY" || strings.Contains(instruction.rest, "--from=") {
			continue
		}
		words := slices.DeleteFunc(strings.Fields(instruction.rest), func(word string) bool { return strings.HasPrefix(word, "--") })
		for _, source := range words[:len(words)-1] {
			_, err := os.Stat(filepath.FromSlash(source))
			assert.NoError(t, err)
		}
	}
}
