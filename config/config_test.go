package config_test

import (
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

	"github.com/stretchr/testify/require"

	"pikepayouts/config"
	"pikepayouts/pike"
)

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
func none(t *testing.T) config.Environment {
	return config.Environment{"TEMPORAL_CONFIG_FILE": filepath.Join(t.TempDir(), "none.toml")}
}

func worker(t *testing.T) config.Environment {
	e := none(t)
	e["PIKE_BASE_URL"], e["PIKE_PROJECT"] = "https://pike.example", "p1"
	e["PIKE_PRIVATE_KEY_FILE"] = file(t, privatePEM(rsaKey()), 0o600)
	return e
}

func gateway(t *testing.T) config.Environment {
	e := none(t)
	e["PIKE_WEBHOOK_PUBLIC_KEY_FILES"] = file(t, publicPEM(rsaKey()), 0o644)
	return e
}

func with(e config.Environment, changes config.Environment) config.Environment {
	e = maps.Clone(e)
	maps.Copy(e, changes)
	return e
}

func TestWorkerDefaults(t *testing.T) {
	c, err := config.LoadWorker(worker(t))
	require.NoError(t, err)
	require.Equal(t, config.Log{Level: "info", Format: "json"}, c.Log)
	require.Equal(t, "payouts", c.TaskQueue)
	require.Equal(t, ":9090", c.OpsAddr)
	require.Equal(t, pike.V1, c.Pike.Version)
	require.Equal(t, 30*time.Second, c.Pike.Timeout)
	require.Zero(t, c.RateLimit)
	require.Equal(t, "localhost:7233", c.Temporal.HostPort)
	require.Equal(t, "default", c.Temporal.Namespace)
	require.True(t, rsaKey().Equal(c.Pike.Signer))
	_, err = pike.NewClient(c.Pike.ClientConfig())
	require.NoError(t, err)
}

func TestWorkerSettings(t *testing.T) {
	e := with(worker(t), config.Environment{
		"TEMPORAL_ADDRESS": "temporal:7233", "TEMPORAL_NAMESPACE": "pay", "PAYOUTS_TASK_QUEUE": "q", "PAYOUTS_OPS_ADDR": "127.0.0.1:0",
		"PAYOUTS_LOG_LEVEL": "debug", "PAYOUTS_LOG_FORMAT": "text", "PIKE_API_VERSION": "v2", "PIKE_SUBMERCHANT": "s1",
		"PIKE_TIMEOUT": "5s", "PIKE_RATE_LIMIT": "2.5", "PIKE_PRIVATE_KEY_FILE": "", "PIKE_PRIVATE_KEY": privatePEM(rsaKey()),
	})
	c, err := config.LoadWorker(e)
	require.NoError(t, err)
	require.Equal(t, "temporal:7233", c.Temporal.HostPort)
	require.Equal(t, "pay", c.Temporal.Namespace)
	require.Equal(t, config.Log{Level: "debug", Format: "text"}, c.Log)
	require.Equal(t, "q", c.TaskQueue)
	require.Equal(t, 2.5, c.RateLimit)
	require.Equal(t, 5*time.Second, c.Pike.Timeout)
	require.Equal(t, pike.V2, c.Pike.Version)
	require.Equal(t, "s1", c.Pike.Submerchant)
}

// TestEveryProblemAtOnce sets every variable wrong and reads all of them in one error.
func TestEveryProblemAtOnce(t *testing.T) {
	bad := none(t)
	for _, variable := range append(config.WorkerVariables(), config.GatewayVariables()...) {
		bad[variable.Name] = canary + "\n"
	}
	bad["TEMPORAL_ADDRESS"] = canary
	delete(bad, "PIKE_PRIVATE_KEY")
	delete(bad, "PIKE_WEBHOOK_PUBLIC_KEYS")
	delete(bad, "PAYOUTS_TASK_QUEUE") // any text is a task queue
	tests := map[string]struct {
		load func(config.Environment) error
		want []string
	}{
		"worker": {loadWorker, []string{"PAYOUTS_LOG_LEVEL", "PAYOUTS_LOG_FORMAT", "TEMPORAL_ADDRESS", "PAYOUTS_OPS_ADDR", "PIKE_BASE_URL", "PIKE_API_VERSION",
			"PIKE_PROJECT", "PIKE_SUBMERCHANT", "PIKE_PRIVATE_KEY_FILE", "PIKE_TIMEOUT", "PIKE_RATE_LIMIT"}},
		"gateway": {loadGateway, []string{"PAYOUTS_LOG_LEVEL", "PAYOUTS_LOG_FORMAT", "TEMPORAL_ADDRESS", "PAYOUTS_OPS_ADDR", "PIKE_WEBHOOK_PUBLIC_KEY_FILES",
			"WEBHOOKGW_ADDR", "WEBHOOKGW_PATH", "WEBHOOKGW_MAX_BODY", "WEBHOOKGW_SIGNAL_TIMEOUT"}},
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
	_, err := config.LoadCaller(none(t))
	require.NoError(t, err)
}

func loadWorker(e config.Environment) error  { _, err := config.LoadWorker(e); return err }
func loadGateway(e config.Environment) error { _, err := config.LoadGateway(e); return err }

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
		require.True(t, strings.HasPrefix(lines[i], problem.Variable+": "))
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
		{"TEMPORAL_PROFILE", canary, "does not have"},
		{"TEMPORAL_TLS_CLIENT_CERT_PATH", "/" + canary, "other must be present"},
		{"TEMPORAL_TLS_SERVER_CA_CERT_PATH", "/" + canary, "no such file"},
	}
	for _, tt := range tests {
		t.Run(tt.variable+"="+tt.value, func(t *testing.T) {
			err := loadWorker(with(worker(t), config.Environment{tt.variable: tt.value}))
			require.Len(t, variablesIn(t, err), 1)
			require.ErrorContains(t, err, tt.want)
			require.ErrorContains(t, err, tt.variable[:5])
		})
	}
}

func TestTemporalProfileFile(t *testing.T) {
	e := worker(t)
	e["TEMPORAL_CONFIG_FILE"] = file(t, "[profile.default]\naddress = \"from-file:7233\"\n", 0o600)
	c, err := config.LoadWorker(e)
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
		{"huge", strings.Repeat(canary, 20000), 0o600, "cannot be a key"},
	}
	t.Setenv("GODEBUG", "rsa1024min=0")
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			requireProblem(t, loadWorker(with(worker(t), config.Environment{"PIKE_PRIVATE_KEY_FILE": file(t, tt.text, tt.mode)})), "PIKE_PRIVATE_KEY_FILE", tt.want)
		})
	}
	t.Run("a folder", func(t *testing.T) {
		folder := t.TempDir()
		require.NoError(t, os.Chmod(folder, 0o700)) //nolint:gosec // a folder needs x
		requireProblem(t, loadWorker(with(worker(t), config.Environment{"PIKE_PRIVATE_KEY_FILE": folder})), "PIKE_PRIVATE_KEY_FILE", "is a directory")
	})
	t.Run("the key instead of its file", func(t *testing.T) {
		err := loadWorker(with(worker(t), config.Environment{"PIKE_PRIVATE_KEY_FILE": good}))
		requireProblem(t, err, "PIKE_PRIVATE_KEY_FILE", "cannot open the file")
		require.NotContains(t, err.Error(), "BEGIN")
	})
	t.Run("both", func(t *testing.T) {
		requireProblem(t, loadWorker(with(worker(t), config.Environment{"PIKE_PRIVATE_KEY": good})), "PIKE_PRIVATE_KEY_FILE", "both set")
	})
	t.Run("bad text", func(t *testing.T) {
		e := with(worker(t), config.Environment{"PIKE_PRIVATE_KEY_FILE": "", "PIKE_PRIVATE_KEY": publicPEM(rsaKey())})
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
		{"damaged then good", damaged + second, 0, "no PEM block"},
		{"good then damaged", good + damaged, 0, "key 2: no PEM block"},
		{"escaped line breaks", strings.ReplaceAll(good, "\n", `\n`), 0, "real line breaks"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := config.LoadGateway(with(none(t), config.Environment{"PIKE_WEBHOOK_PUBLIC_KEYS": tt.text}))
			requireProblem(t, err, "PIKE_WEBHOOK_PUBLIC_KEYS", tt.want)
			if tt.want == "" {
				require.Len(t, c.PublicKeys, tt.keys)
			}
			_, err = config.LoadGateway(with(none(t), config.Environment{"PIKE_WEBHOOK_PUBLIC_KEY_FILES": file(t, tt.text, 0o644)}))
			requireProblem(t, err, "PIKE_WEBHOOK_PUBLIC_KEY_FILES", tt.want)
		})
	}
	t.Run("files", func(t *testing.T) {
		c, err := config.LoadGateway(with(none(t), config.Environment{"PIKE_WEBHOOK_PUBLIC_KEY_FILES": file(t, good, 0o644) + ", " + file(t, second, 0o644)}))
		require.NoError(t, err)
		require.Len(t, c.PublicKeys, 2)
	})
	t.Run("a missing file among them", func(t *testing.T) {
		err := loadGateway(with(none(t), config.Environment{"PIKE_WEBHOOK_PUBLIC_KEY_FILES": file(t, good, 0o644) + ",/" + canary}))
		requireProblem(t, err, "PIKE_WEBHOOK_PUBLIC_KEY_FILES", "file 2 of the list: cannot open the file: no such file")
	})
	t.Run("both", func(t *testing.T) {
		requireProblem(t, loadGateway(with(gateway(t), config.Environment{"PIKE_WEBHOOK_PUBLIC_KEYS": good})), "PIKE_WEBHOOK_PUBLIC_KEY_FILES", "both set")
	})
}

func TestGatewaySettings(t *testing.T) {
	c, err := config.LoadGateway(gateway(t))
	require.NoError(t, err)
	require.Equal(t, ":8080", c.Addr)
	require.Equal(t, "/webhooks/pike", c.Path)
	require.Equal(t, int64(65536), c.MaxBody)
	require.Equal(t, 4*time.Second, c.SignalTimeout)
	for variable, value := range map[string]string{
		"WEBHOOKGW_ADDR": "8080", "WEBHOOKGW_PATH": "/hooks/:id", "WEBHOOKGW_MAX_BODY": "0", "WEBHOOKGW_SIGNAL_TIMEOUT": "10s",
	} {
		require.Equal(t, []string{variable}, variablesIn(t, loadGateway(with(gateway(t), config.Environment{variable: value}))))
	}
}

// TestDocumentedVariables is the table of the design, spelled out once more.
func TestDocumentedVariables(t *testing.T) {
	defaults := map[string]string{}
	for _, list := range [][]config.Variable{config.WorkerVariables(), config.GatewayVariables(), config.CallerVariables(), config.PikeVariables(), config.LogVariables()} {
		for _, variable := range list {
			defaults[variable.Name] = variable.Default
			require.NotEmpty(t, variable.Help, variable.Name)
		}
	}
	require.Equal(t, map[string]string{
		"PAYOUTS_TASK_QUEUE": "payouts", "PAYOUTS_OPS_ADDR": ":9090", "PAYOUTS_LOG_LEVEL": "info", "PAYOUTS_LOG_FORMAT": "json",
		"PIKE_BASE_URL": "", "PIKE_API_VERSION": "v1", "PIKE_PROJECT": "", "PIKE_SUBMERCHANT": "", "PIKE_PRIVATE_KEY_FILE": "", "PIKE_PRIVATE_KEY": "",
		"PIKE_TIMEOUT": "30s", "PIKE_RATE_LIMIT": "0", "PIKE_WEBHOOK_PUBLIC_KEY_FILES": "", "PIKE_WEBHOOK_PUBLIC_KEYS": "",
		"WEBHOOKGW_ADDR": ":8080", "WEBHOOKGW_PATH": "/webhooks/pike", "WEBHOOKGW_MAX_BODY": "65536", "WEBHOOKGW_SIGNAL_TIMEOUT": "4s",
	}, defaults)
}

func TestOSEnvironment(t *testing.T) {
	t.Setenv("PIKE_PROJECT", "a=b")
	value, set := config.OS().Lookup("PIKE_PROJECT")
	require.Equal(t, "a=b", value)
	require.True(t, set)
	require.Contains(t, config.OS().Environ(), "PIKE_PROJECT=a=b")
}
