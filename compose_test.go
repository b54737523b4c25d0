package pikepayouts_test

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
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
var processes = []string{"worker", "webhookgw", "pikesim", "setup", "keygen", "healthcheck"}

// environment is every variable that payouts reads besides TEMPORAL_*.
var environment = []string{
	"PAYOUTS_TASK_QUEUE", "PAYOUTS_OPS_ADDR", "PAYOUTS_LOG_LEVEL", "PAYOUTS_LOG_FORMAT",
	"PIKE_BASE_URL", "PIKE_API_VERSION", "PIKE_PROJECT", "PIKE_SUBMERCHANT", "PIKE_PRIVATE_KEY_FILE", "PIKE_TIMEOUT",
	"PIKE_RATE_LIMIT", "PIKE_WEBHOOK_PUBLIC_KEY_FILES", "PAYOUTS_OBSERVE_ONLY",
	"WEBHOOKGW_ADDR", "WEBHOOKGW_PATH", "WEBHOOKGW_MAX_BODY", "WEBHOOKGW_SIGNAL_TIMEOUT",
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
	Networks    []string                     `yaml:"networks"`
	NetworkMode string                       `yaml:"network_mode"`
	DependsOn   map[string]composeDependency `yaml:"depends_on"`
	Healthcheck struct {
		Test []string `yaml:"test"`
	} `yaml:"healthcheck"`
	Restart string   `yaml:"restart"`
	CapDrop []string `yaml:"cap_drop"`
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
	require.Contains(t, file.Services, "worker")
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
	for _, network := range service.Networks {
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
		assert.FileExists(t, filepath.FromSlash(source))
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

	keys := t.TempDir()
	for range 2 { // the second start of the stack finds the keys of the first
		script := exec.CommandContext(t.Context(), "sh", "deploy/compose/keys.sh")
		script.Env = append(os.Environ(), "PAYOUTS="+payouts, "KEYS="+keys)
		output, err := script.CombinedOutput()
		require.NoError(t, err, "%s", output)
	}
	for name, service := range readCompose(t).Services {
		for _, text := range append(slices.Collect(maps.Values(service.Environment)), service.Command...) {
			for _, file := range regexp.MustCompile(`/keys/([\w.-]+)`).FindAllStringSubmatch(text, -1) {
				assert.FileExists(t, filepath.Join(keys, file[1]), "service %s", name)
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
func TestComposeWorkerReachesTheSimulatorOnLoopback(t *testing.T) {
	file := readCompose(t)
	worker, simulator := file.Services["worker"], file.Services["pikesim"]
	assert.Equal(t, "service:pikesim", worker.NetworkMode)
	addr, isHTTP := strings.CutPrefix(worker.Environment["PIKE_BASE_URL"], "http://127.0.0.1:")
	require.True(t, isHTTP)
	assert.Contains(t, simulator.Command, "--addr=127.0.0.1:"+addr)
	assert.Contains(t, simulator.Command, "--project="+worker.Environment["PIKE_PROJECT"])
}

// No file of this kind may hold what nobody else should know.
func TestComposeHoldsNoSecret(t *testing.T) {
	for name, service := range readCompose(t).Services {
		for variable := range service.Environment {
			assert.NotRegexp(t, `(?i)passw|pwd|secret|token|api_key|private_key$`, variable, "service %s", name)
		}
	}
}

// TestComposeConfig asks Docker Compose itself where it is installed; it needs no engine.
func TestComposeConfig(t *testing.T) {
	for _, compose := range [][]string{{"docker", "compose"}, {"docker-compose"}} {
		if exec.CommandContext(t.Context(), compose[0], append(compose[1:], "version")...).Run() != nil {
			continue
		}
		command := append(slices.Clone(compose), "-f", "docker-compose.yml", "config", "-q")
		output, err := exec.CommandContext(t.Context(), command[0], command[1:]...).CombinedOutput()
		require.NoError(t, err, "%s", output)
		return
	}
	t.Skip("no Docker Compose on this machine; the other tests read the file themselves")
}

// checkPinned wants an exact version, or a digest.
func checkPinned(image string) error {
	if regexp.MustCompile(`@sha256:[0-9a-f]{64}$`).MatchString(image) {
		return nil
	}
	_, tag, tagged := strings.Cut(image[strings.LastIndex(image, "/")+1:], ":")
	if !tagged || !regexp.MustCompile(`^v?\d+\.\d+`).MatchString(tag) {
		return fmt.Errorf("image %q: name an exact version", image)
	}
	return nil
}

func TestCheckPinned(t *testing.T) {
	for _, image := range []string{"postgres:16.15", "temporalio/ui:2.51.0", "reg.example:5000/a/b:1.2", "a@sha256:" + strings.Repeat("0f", 32)} {
		assert.NoError(t, checkPinned(image))
	}
	for _, image := range []string{"", "postgres", "postgres:latest", "postgres:16", "reg.example:5000/a/b", "a:nonroot", "a@sha256:00"} {
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
