package config_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sethvargo/go-envconfig"
	"github.com/stretchr/testify/require"
	sdkworker "go.temporal.io/sdk/worker"

	"pikepayouts/codec"
	"pikepayouts/config"
	"pikepayouts/pike"
)

// environment stands in for the process's own.
type environment map[string]string

func (e environment) lookuper() envconfig.Lookuper { return envconfig.MapLookuper(e) }

// canary is in every bad value; no message may show it.
const canary = "CANARY"

var rsaKey = sync.OnceValue(func() *rsa.PrivateKey { return mustRSA(2048) })

func mustRSA(bits int) *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		panic(err)
	}
	return key
}

func privatePEM(key any) string {
	encoded, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		panic(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded}))
}

func publicPEM(key *rsa.PrivateKey) string {
	encoded, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		panic(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: encoded}))
}

func file(t *testing.T, text string, mode os.FileMode) string {
	path := filepath.Join(t.TempDir(), canary+".pem")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	require.NoError(t, os.Chmod(path, mode)) // WriteFile is subject to the umask
	return path
}

// none keeps a developer's own Temporal profile out of the tests.
func none(t *testing.T) environment {
	return environment{"TEMPORAL_CONFIG_FILE": filepath.Join(t.TempDir(), "none.toml")}
}

func worker(t *testing.T) environment {
	e := none(t)
	e["PIKE_BASE_URL"], e["PIKE_PROJECT"] = "https://pike.example", "p1"
	e["PIKE_PRIVATE_KEY_FILE"] = file(t, privatePEM(rsaKey()), 0o600)
	return e
}

func gateway(t *testing.T) environment {
	e := none(t)
	e["PIKE_WEBHOOK_PUBLIC_KEY_FILES"] = file(t, publicPEM(rsaKey()), 0o644)
	return e
}

func with(e environment, changes environment) environment {
	e = maps.Clone(e)
	maps.Copy(e, changes)
	return e
}

func TestWorkerDefaults(t *testing.T) {
	c, err := config.LoadWorker(t.Context(), worker(t).lookuper())
	require.NoError(t, err)
	require.Equal(t, config.Log{Level: "info", Format: "json"}, c.Log)
	require.Equal(t, "payouts", c.TaskQueue)
	require.Equal(t, ":9090", c.OpsAddr)
	require.Equal(t, pike.V1, c.Pike.Version)
	require.Equal(t, 30*time.Second, c.Pike.Timeout)
	require.Zero(t, c.RateLimit)
	require.Empty(t, c.Temporal.HostPort, "the SDK's default")
	require.Zero(t, c.Version, "not versioned")
	require.True(t, rsaKey().Equal(c.Pike.PrivateKey))
}

func TestWorkerSettings(t *testing.T) {
	e := with(worker(t), environment{
		"TEMPORAL_ADDRESS": "temporal:7233", "TEMPORAL_NAMESPACE": "pay", "PAYOUTS_TASK_QUEUE": "q", "PAYOUTS_OPS_ADDR": "127.0.0.1:0",
		"PAYOUTS_LOG_LEVEL": "debug", "PAYOUTS_LOG_FORMAT": "text", "PIKE_API_VERSION": "v2", "PIKE_SUBMERCHANT": "s1",
		"PIKE_TIMEOUT": "5s", "PIKE_RATE_LIMIT": "2.5", "PAYOUTS_OBSERVE_ONLY": "true", "PIKE_PRIVATE_KEY_FILE": "", "PIKE_PRIVATE_KEY": privatePEM(rsaKey()),
		"TEMPORAL_DEPLOYMENT_NAME": "payouts", "TEMPORAL_WORKER_BUILD_ID": "v1.2.3",
	})
	c, err := config.LoadWorker(t.Context(), e.lookuper())
	require.NoError(t, err)
	require.Equal(t, "temporal:7233", c.Temporal.HostPort)
	require.Equal(t, "pay", c.Temporal.Namespace)
	require.Equal(t, config.Log{Level: "debug", Format: "text"}, c.Log)
	require.Equal(t, "q", c.TaskQueue)
	require.InDelta(t, 2.5, c.RateLimit, 0)
	require.True(t, c.ObserveOnly)
	require.Equal(t, 5*time.Second, c.Pike.Timeout)
	require.Equal(t, pike.V2, c.Pike.Version)
	require.Equal(t, "s1", c.Pike.Submerchant)
	require.Equal(t, sdkworker.WorkerDeploymentVersion{DeploymentName: "payouts", BuildID: "v1.2.3"}, c.Version)
}

// TestEveryProblemAtOnce sets every variable wrong and reads all of them in one error.
func TestEveryProblemAtOnce(t *testing.T) {
	bad := none(t)
	for _, variable := range []string{
		"PAYOUTS_LOG_LEVEL", "PAYOUTS_LOG_FORMAT", "PAYOUTS_OPS_ADDR", "PIKE_BASE_URL", "PIKE_API_VERSION", "PIKE_PROJECT", "PIKE_SUBMERCHANT",
		"PIKE_PRIVATE_KEY_FILE", "PIKE_TIMEOUT", "PIKE_RATE_LIMIT", "PIKE_WEBHOOK_PUBLIC_KEY_FILES", "PAYOUTS_OBSERVE_ONLY",
		"WEBHOOKGW_ADDR", "WEBHOOKGW_PATH", "WEBHOOKGW_MAX_BODY", "WEBHOOKGW_SIGNAL_TIMEOUT",
		"PAYOUTS_ENCRYPTION_KEYSET_FILE", "PAYOUTS_CODEC_ADDR", "PAYOUTS_CODEC_ORIGINS", "PAYOUTS_CODEC_TOKEN_FILE", "PAYOUTS_CODEC_SHOW_CARDS",
	} {
		bad[variable] = canary + "\n"
	}
	bad["TEMPORAL_ADDRESS"] = canary
	tests := map[string]struct {
		load func(environment) error
		want []string
	}{
		"worker": {loadWorker, []string{"TEMPORAL_ADDRESS", "PAYOUTS_ENCRYPTION_KEYSET_FILE", "PAYOUTS_LOG_LEVEL", "PAYOUTS_LOG_FORMAT", "PAYOUTS_OPS_ADDR", "PIKE_BASE_URL", "PIKE_API_VERSION",
			"PIKE_PROJECT", "PIKE_SUBMERCHANT", "PIKE_PRIVATE_KEY_FILE", "PIKE_TIMEOUT", "PIKE_RATE_LIMIT", "PAYOUTS_OBSERVE_ONLY"}},
		"gateway": {loadGateway, []string{"TEMPORAL_ADDRESS", "PAYOUTS_ENCRYPTION_KEYSET_FILE", "PAYOUTS_LOG_LEVEL", "PAYOUTS_LOG_FORMAT", "PAYOUTS_OPS_ADDR",
			"WEBHOOKGW_ADDR", "WEBHOOKGW_PATH", "WEBHOOKGW_MAX_BODY", "WEBHOOKGW_SIGNAL_TIMEOUT", "PIKE_WEBHOOK_PUBLIC_KEY_FILES"}},
		"codec server": {loadCodecServer, []string{"PAYOUTS_CODEC_ADDR", "PAYOUTS_CODEC_ORIGINS", "PAYOUTS_CODEC_SHOW_CARDS", "PAYOUTS_CODEC_TOKEN_FILE",
			"PAYOUTS_LOG_LEVEL", "PAYOUTS_LOG_FORMAT", "PAYOUTS_OPS_ADDR", "TEMPORAL_ADDRESS", "PAYOUTS_ENCRYPTION_KEYSET_FILE"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, tt.want, variablesIn(t, tt.load(bad)))
		})
	}
}

func TestWhatIsMissing(t *testing.T) {
	require.Equal(t, []string{"PIKE_BASE_URL", "PIKE_PROJECT", "PIKE_PRIVATE_KEY_FILE"}, variablesIn(t, loadWorker(none(t))))
	require.Equal(t, []string{"PIKE_WEBHOOK_PUBLIC_KEY_FILES"}, variablesIn(t, loadGateway(none(t))))
	require.Equal(t, []string{"PAYOUTS_ENCRYPTION_KEYSET_FILE"}, variablesIn(t, loadCodecServer(none(t))))
	require.Equal(t, []string{"TEMPORAL_WORKER_BUILD_ID"}, variablesIn(t, loadWorker(with(worker(t), environment{"TEMPORAL_DEPLOYMENT_NAME": canary}))))
	require.Equal(t, []string{"TEMPORAL_DEPLOYMENT_NAME"}, variablesIn(t, loadWorker(with(worker(t), environment{"TEMPORAL_WORKER_BUILD_ID": canary}))))
	_, err := config.LoadCaller(t.Context(), none(t).lookuper())
	require.NoError(t, err)
}

func loadWorker(e environment) error {
	_, err := config.LoadWorker(context.Background(), e.lookuper())
	return err
}

func loadGateway(e environment) error {
	_, err := config.LoadGateway(context.Background(), e.lookuper())
	return err
}

func loadCodecServer(e environment) error {
	_, err := config.LoadCodecServer(context.Background(), e.lookuper())
	return err
}

func keysetFile(t *testing.T) string {
	t.Helper()
	keyset, err := codec.NewKeyset()
	require.NoError(t, err)
	content, err := keyset.JSON()
	require.NoError(t, err)
	return file(t, string(content), 0o600)
}

// TestKeyset: every process and caller takes the same file.
func TestKeyset(t *testing.T) {
	set := environment{"PAYOUTS_ENCRYPTION_KEYSET_FILE": keysetFile(t)}
	w, err := config.LoadWorker(t.Context(), with(worker(t), set).lookuper())
	require.NoError(t, err)
	g, err := config.LoadGateway(t.Context(), with(gateway(t), set).lookuper())
	require.NoError(t, err)
	c, err := config.LoadCaller(t.Context(), with(none(t), set).lookuper())
	require.NoError(t, err)
	s, err := config.LoadCodecServer(t.Context(), with(none(t), set).lookuper())
	require.NoError(t, err)
	for _, keyset := range []*codec.Keyset{w.Keyset, g.Keyset, c.Keyset, s.Keyset} {
		require.Len(t, keyset.Keys(), 2)
	}
	c, err = config.LoadCaller(t.Context(), none(t).lookuper())
	require.NoError(t, err)
	require.Nil(t, c.Keyset, "encryption is off by default")

	for name, tt := range map[string]struct {
		path, want string
	}{
		"others can read it": {file(t, "{}", 0o644), "chmod 600"},
		"no keyset":          {file(t, `{"`+canary+`":1}`, 0o600), "no Tink keyset"},
		"not there":          {"/" + canary, "no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			requireProblem(t, loadWorker(with(worker(t), environment{"PAYOUTS_ENCRYPTION_KEYSET_FILE": tt.path})), "PAYOUTS_ENCRYPTION_KEYSET_FILE", tt.want)
		})
	}
}

func TestCodecServer(t *testing.T) {
	base := with(none(t), environment{"PAYOUTS_ENCRYPTION_KEYSET_FILE": keysetFile(t)})
	c, err := config.LoadCodecServer(t.Context(), base.lookuper())
	require.NoError(t, err)
	require.Equal(t, "127.0.0.1:8234", c.Addr)
	require.Equal(t, "default", c.Namespace)
	require.Empty(t, c.Origins)
	require.Empty(t, c.Token.Reveal())
	require.False(t, c.ShowCards)

	c, err = config.LoadCodecServer(t.Context(), with(base, environment{
		"PAYOUTS_CODEC_ORIGINS": "https://a.example, http://127.0.0.1:8233", "PAYOUTS_CODEC_TOKEN_FILE": file(t, "correct-horse-battery\n", 0o600),
		"PAYOUTS_CODEC_SHOW_CARDS": "true", "TEMPORAL_NAMESPACE": "pay",
	}).lookuper())
	require.NoError(t, err)
	require.Equal(t, []string{"https://a.example", "http://127.0.0.1:8233"}, c.Origins)
	require.Equal(t, "correct-horse-battery", c.Token.Reveal())
	require.True(t, c.ShowCards)
	require.Equal(t, "pay", c.Namespace)

	for name, tt := range map[string]struct{ variable, value, want string }{
		"wildcard":       {"PAYOUTS_CODEC_ORIGINS", "*", "exact origins"},
		"with a path":    {"PAYOUTS_CODEC_ORIGINS", "https://a.example/", "exact origins"},
		"short token":    {"PAYOUTS_CODEC_TOKEN_FILE", file(t, "short", 0o600), "openssl rand"},
		"two words":      {"PAYOUTS_CODEC_TOKEN_FILE", file(t, "correct horse battery", 0o600), "one word"},
		"open to others": {"PAYOUTS_CODEC_TOKEN_FILE", file(t, "correct-horse-battery", 0o644), "chmod 600"},
	} {
		t.Run(name, func(t *testing.T) {
			requireProblem(t, loadCodecServer(with(base, environment{tt.variable: tt.value})), tt.variable, tt.want)
		})
	}
}

// variablesIn also checks what holds for every error: one line per variable, and no value.
func variablesIn(t *testing.T, err error) []string {
	t.Helper()
	var problems *config.Error
	require.ErrorAs(t, err, &problems)
	require.NotContains(t, err.Error(), canary)
	lines := strings.Split(err.Error(), "\n")
	require.Len(t, lines, len(problems.Problems))
	var names []string
	for i, problem := range problems.Problems {
		require.True(t, strings.HasPrefix(lines[i], problem.Variable+" "))
		names = append(names, problem.Variable)
	}
	return names
}

func TestBadValues(t *testing.T) {
	tests := []struct{ variable, value, want string }{
		{"PIKE_TIMEOUT", "31s", "at most 30s"},
		{"PIKE_TIMEOUT", "0s", "more than 0"},
		{"PIKE_TIMEOUT", "30", "must be a duration"},
		{"PIKE_API_VERSION", "v3", "must be v1 or v2"},
		{"PIKE_BASE_URL", "http://pike.example", "must be https"},
		{"PIKE_BASE_URL", "https://pike.example/api", "nothing more"},
		{"PIKE_RATE_LIMIT", "-1", "calls per second"},
		{"PIKE_RATE_LIMIT", "NaN", "calls per second"},
		{"PIKE_PROJECT", "p1\n", "printable ASCII"},
		{"PAYOUTS_OPS_ADDR", ":70000", "host:port"},
		{"PAYOUTS_OPS_ADDR", "9090", "host:port"},
		{"PAYOUTS_LOG_LEVEL", "loud", "debug, info, warn or error"},
		{"PAYOUTS_LOG_FORMAT", "xml", "json or text"},
		{"TEMPORAL_ADDRESS", "temporal", "host:port"},
		{"TEMPORAL_TLS", "yes", "true or false"},
		{"TEMPORAL_PROFILE", canary, "does not have"},
		{"TEMPORAL_TLS_CLIENT_CERT_PATH", "/" + canary, "other must be present"},
		{"TEMPORAL_TLS_SERVER_CA_CERT_PATH", "/" + canary, "no such file"},
	}
	for _, tt := range tests {
		t.Run(tt.variable+"="+tt.value, func(t *testing.T) {
			err := loadWorker(with(worker(t), environment{tt.variable: tt.value}))
			require.Len(t, variablesIn(t, err), 1)
			require.ErrorContains(t, err, tt.want)
			require.ErrorContains(t, err, tt.variable[:5])
		})
	}
}

func TestTemporalProfileFile(t *testing.T) {
	e := worker(t)
	e["TEMPORAL_CONFIG_FILE"] = file(t, "[profile.default]\naddress = \"from-file:7233\"\n", 0o600)
	c, err := config.LoadWorker(t.Context(), e.lookuper())
	require.NoError(t, err)
	require.Equal(t, "from-file:7233", c.Temporal.HostPort)
	e["TEMPORAL_CONFIG_FILE"] = file(t, "[profile.default]\napi_key = "+canary, 0o600)
	require.Equal(t, []string{"TEMPORAL_CONFIG_FILE"}, variablesIn(t, loadWorker(e)))
}

func TestPrivateKeys(t *testing.T) {
	elliptic, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	good := privatePEM(rsaKey())
	tests := []struct {
		name, text string
		mode       os.FileMode
		want       string // "" if accepted
	}{
		{"good", good, 0o600, ""},
		{"read only", good, 0o400, ""},
		{"readable by the group", good, 0o640, "chmod 600"},
		{"readable by all", good, 0o604, "chmod 600"},
		{"writable by the group", good, 0o620, "chmod 600"},
		{"1024 bits", privatePEM(mustRSA(1024)), 0o600, "at least 2048"},
		{"public key", publicPEM(rsaKey()), 0o600, "this is a public key"},
		{"not RSA", privatePEM(elliptic), 0o600, "must be RSA"},
		{"two keys", good + good, 0o600, "more than one"},
		{"empty", "", 0o600, "no PEM block"},
		{"garbage", canary, 0o600, "no PEM block"},
		{"huge", strings.Repeat(canary, 20000), 0o600, "larger than"},
	}
	t.Setenv("GODEBUG", "rsa1024min=0")
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			requireProblem(t, loadWorker(with(worker(t), environment{"PIKE_PRIVATE_KEY_FILE": file(t, tt.text, tt.mode)})), "PIKE_PRIVATE_KEY_FILE", tt.want)
		})
	}
	t.Run("a folder", func(t *testing.T) {
		folder := t.TempDir()
		require.NoError(t, os.Chmod(folder, 0o700)) //nolint:gosec // a folder needs x
		requireProblem(t, loadWorker(with(worker(t), environment{"PIKE_PRIVATE_KEY_FILE": folder})), "PIKE_PRIVATE_KEY_FILE", "not a file")
	})
	t.Run("the key instead of its file", func(t *testing.T) {
		err := loadWorker(with(worker(t), environment{"PIKE_PRIVATE_KEY_FILE": good}))
		requireProblem(t, err, "PIKE_PRIVATE_KEY_FILE", "is not usable")
		require.NotContains(t, err.Error(), "BEGIN")
	})
	t.Run("both", func(t *testing.T) {
		requireProblem(t, loadWorker(with(worker(t), environment{"PIKE_PRIVATE_KEY": good})), "PIKE_PRIVATE_KEY_FILE", "both set")
	})
	t.Run("bad text", func(t *testing.T) {
		e := with(worker(t), environment{"PIKE_PRIVATE_KEY_FILE": "", "PIKE_PRIVATE_KEY": publicPEM(rsaKey())})
		requireProblem(t, loadWorker(e), "PIKE_PRIVATE_KEY", "this is a public key")
	})
}

func requireProblem(t *testing.T, err error, variable, want string) {
	t.Helper()
	if want == "" {
		require.NoError(t, err)
		return
	}
	require.Equal(t, []string{variable}, variablesIn(t, err))
	require.ErrorContains(t, err, want)
}

// TestWebhookKeys: whatever is wrong with the keys, there is no gateway (hazard W2).
func TestWebhookKeys(t *testing.T) {
	t.Setenv("GODEBUG", "rsa1024min=0")
	good, second := publicPEM(rsaKey()), publicPEM(mustRSA(2048))
	damaged := strings.Replace(good, "-----END", "----END", 1)
	tests := []struct {
		name, text string
		keys       int
		want       string
	}{
		{"one", good, 1, ""},
		{"two", good + "\n" + second, 2, ""},
		{"empty", " \n", 0, "no PEM block"},
		{"garbage", canary, 0, "no PEM block"},
		{"1024 bits", publicPEM(mustRSA(1024)), 0, "at least 2048"},
		{"private key", privatePEM(rsaKey()), 0, "this is a private key"},
		{"good then private", good + privatePEM(rsaKey()), 0, "key 2: this is a private key"},
		{"damaged then good", damaged + second, 0, "only 1 are whole"},
		{"good then damaged", good + damaged, 0, "only 1 are whole"},
		{"escaped line breaks", strings.ReplaceAll(good, "\n", `\n`), 0, "real line breaks"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := config.LoadGateway(t.Context(), with(none(t), environment{"PIKE_WEBHOOK_PUBLIC_KEYS": tt.text}).lookuper())
			requireProblem(t, err, "PIKE_WEBHOOK_PUBLIC_KEYS", tt.want)
			if tt.want == "" {
				require.Len(t, c.Webhooks.PublicKeys, tt.keys)
			}
			_, err = config.LoadGateway(t.Context(), with(none(t), environment{"PIKE_WEBHOOK_PUBLIC_KEY_FILES": file(t, tt.text, 0o644)}).lookuper())
			requireProblem(t, err, "PIKE_WEBHOOK_PUBLIC_KEY_FILES", tt.want)
		})
	}
	t.Run("files", func(t *testing.T) {
		c, err := config.LoadGateway(t.Context(), with(none(t), environment{"PIKE_WEBHOOK_PUBLIC_KEY_FILES": file(t, good, 0o644) + ", " + file(t, second, 0o644)}).lookuper())
		require.NoError(t, err)
		require.Len(t, c.Webhooks.PublicKeys, 2)
	})
	t.Run("a missing file among them", func(t *testing.T) {
		err := loadGateway(with(none(t), environment{"PIKE_WEBHOOK_PUBLIC_KEY_FILES": file(t, good, 0o644) + ",/" + canary}))
		requireProblem(t, err, "PIKE_WEBHOOK_PUBLIC_KEY_FILES", "file 2: no such file")
	})
	t.Run("both", func(t *testing.T) {
		requireProblem(t, loadGateway(with(gateway(t), environment{"PIKE_WEBHOOK_PUBLIC_KEYS": good})), "PIKE_WEBHOOK_PUBLIC_KEY_FILES", "both set")
	})
}

func TestGatewaySettings(t *testing.T) {
	c, err := config.LoadGateway(t.Context(), gateway(t).lookuper())
	require.NoError(t, err)
	require.Equal(t, ":8080", c.Webhooks.Addr)
	require.Equal(t, "/webhooks/pike", c.Webhooks.Path)
	require.Equal(t, int64(65536), c.Webhooks.MaxBody)
	require.Equal(t, 4*time.Second, c.Webhooks.SignalTimeout)
	for variable, value := range map[string]string{
		"WEBHOOKGW_ADDR": "8080", "WEBHOOKGW_PATH": "/hooks/:id", "WEBHOOKGW_MAX_BODY": "0", "WEBHOOKGW_SIGNAL_TIMEOUT": "10s",
	} {
		require.Equal(t, []string{variable}, variablesIn(t, loadGateway(with(gateway(t), environment{variable: value}))))
	}
}

func TestGatewayOnOnePort(t *testing.T) {
	for address, problem := range map[string]string{"127.0.0.1:8080": "another port", "127.0.0.1:0": ""} {
		requireProblem(t, loadGateway(with(gateway(t), environment{"WEBHOOKGW_ADDR": address, "PAYOUTS_OPS_ADDR": address})), "PAYOUTS_OPS_ADDR", problem)
	}
}

// TestEmptyIsNotSet: compose files and charts pass on what nobody has set.
func TestEmptyIsNotSet(t *testing.T) {
	c, err := config.LoadWorker(t.Context(), with(worker(t), environment{"PIKE_TIMEOUT": "", "PAYOUTS_TASK_QUEUE": "", "PIKE_PRIVATE_KEY": ""}).lookuper())
	require.NoError(t, err)
	require.Equal(t, 30*time.Second, c.Pike.Timeout)
	require.Equal(t, "payouts", c.TaskQueue)
	require.Equal(t, []string{"PIKE_PROJECT"}, variablesIn(t, loadWorker(with(worker(t), environment{"PIKE_PROJECT": ""}))))
}

// TestTemporalMetadata: TEMPORAL_GRPC_META_* are found by prefix, which a lookuper alone cannot do.
func TestTemporalMetadata(t *testing.T) {
	for variable, value := range none(t) {
		t.Setenv(variable, value)
	}
	t.Setenv("TEMPORAL_GRPC_META_TEAM", "pay")
	c, err := config.LoadCaller(t.Context(), envconfig.OsLookuper())
	require.NoError(t, err)
	headers, err := c.Temporal.HeadersProvider.GetHeaders(t.Context())
	require.NoError(t, err)
	require.Equal(t, "pay", headers["team"])
}

// TestSetupReadsOnlyWhereTemporalIs: a keyset that is elsewhere, or a wrong variable of traces, does not stop it.
func TestSetupReadsOnlyWhereTemporalIs(t *testing.T) {
	temporal, err := config.LoadSetup(t.Context(), with(none(t), environment{
		"TEMPORAL_NAMESPACE": "payments", "PAYOUTS_ENCRYPTION_KEYSET_FILE": "/" + canary, "OTEL_EXPORTER_OTLP_PROTOCOL": canary, "OTEL_TRACES_EXPORTER": "otlp",
	}).lookuper())
	require.NoError(t, err)
	require.Equal(t, "payments", temporal.Namespace)
	_, err = config.LoadSetup(t.Context(), with(none(t), environment{"TEMPORAL_TLS": "perhaps"}).lookuper())
	require.Equal(t, []string{"TEMPORAL_TLS"}, variablesIn(t, err))
}

func TestTokenInfoAndSimulator(t *testing.T) {
	tokenInfo, err := config.LoadTokenInfo(t.Context(), worker(t).lookuper())
	require.NoError(t, err)
	require.Equal(t, "p1", tokenInfo.Pike.Project)
	_, err = config.LoadTokenInfo(t.Context(), none(t).lookuper())
	require.Equal(t, []string{"PIKE_BASE_URL", "PIKE_PROJECT", "PIKE_PRIVATE_KEY_FILE"}, variablesIn(t, err))
	simulator, err := config.LoadSimulator(t.Context(), none(t).lookuper())
	require.NoError(t, err)
	require.Equal(t, config.Log{Level: "info", Format: "json"}, simulator.Log)
}
