package config

import (
	"context"
	"reflect"
	"strings"

	"github.com/sethvargo/go-envconfig"
)

// The raw structs name every variable with its default. All fields are strings:
// go-envconfig stops at the first value that it cannot convert, and quotes it,
// but every problem must be told at once and no value ever.

type rawLog struct {
	Level  string `env:"PAYOUTS_LOG_LEVEL, default=info" help:"debug, info, warn or error"`
	Format string `env:"PAYOUTS_LOG_FORMAT, default=json" help:"json or text"`
}

type rawTaskQueue struct {
	TaskQueue string `env:"PAYOUTS_TASK_QUEUE, default=payouts" help:"task queue of the workers"`
}

type rawOps struct {
	Addr string `env:"PAYOUTS_OPS_ADDR, default=:9090" help:"host:port of /healthz, /readyz and /metrics"`
}

type rawPike struct {
	BaseURL        string `env:"PIKE_BASE_URL" help:"required; https://host, http only to this machine"`
	Version        string `env:"PIKE_API_VERSION, default=v1" help:"v1 or v2"`
	Project        string `env:"PIKE_PROJECT" help:"required; Pike's project id"`
	Submerchant    string `env:"PIKE_SUBMERCHANT" help:"Pike's submerchant id"`
	PrivateKeyFile string `env:"PIKE_PRIVATE_KEY_FILE" help:"PEM file of the RSA private key, mode 0600 or 0400; or"`
	PrivateKey     string `env:"PIKE_PRIVATE_KEY" help:"the PEM text itself; one of the two is required"`
	Timeout        string `env:"PIKE_TIMEOUT, default=30s" help:"one HTTP call, at most 30s"`
}

type rawRateLimit struct {
	RateLimit string `env:"PIKE_RATE_LIMIT, default=0" help:"Pike calls per second over all workers; 0 is no limit"`
}

type rawWebhooks struct {
	PublicKeyFiles string `env:"PIKE_WEBHOOK_PUBLIC_KEY_FILES" help:"PEM files of Pike's public keys, separated by commas; or"`
	PublicKeys     string `env:"PIKE_WEBHOOK_PUBLIC_KEYS" help:"the PEM texts, one after another; one of the two is required"`
	Addr           string `env:"WEBHOOKGW_ADDR, default=:8080" help:"host:port that Pike reaches"`
	Path           string `env:"WEBHOOKGW_PATH, default=/webhooks/pike" help:"the one path that is served"`
	MaxBody        string `env:"WEBHOOKGW_MAX_BODY, default=65536" help:"largest webhook in bytes"`
	SignalTimeout  string `env:"WEBHOOKGW_SIGNAL_TIMEOUT, default=4s" help:"hand-off to Temporal, below 10s"`
}

type rawWorker struct {
	Log       rawLog
	TaskQueue rawTaskQueue
	Ops       rawOps
	Pike      rawPike
	RateLimit rawRateLimit
}

type rawGateway struct {
	Log      rawLog
	Ops      rawOps
	Webhooks rawWebhooks
}

// read fills the strings of target, a pointer to a raw struct.
func read(environment Environment, target any) {
	err := envconfig.ProcessWith(context.Background(), &envconfig.Config{Target: target, Lookuper: environment})
	if err != nil {
		panic("config: malformed struct tag: " + err.Error()) // strings cannot fail otherwise
	}
}

// Variable is one environment variable, for help texts.
type Variable struct {
	Name, Default, Help string
}

// WorkerVariables lists what LoadWorker reads beside TEMPORAL_*.
func WorkerVariables() []Variable { return variablesOf(reflect.TypeFor[rawWorker]()) }

// GatewayVariables lists what LoadGateway reads beside TEMPORAL_*.
func GatewayVariables() []Variable { return variablesOf(reflect.TypeFor[rawGateway]()) }

// CallerVariables lists what LoadCaller reads beside TEMPORAL_*.
func CallerVariables() []Variable { return variablesOf(reflect.TypeFor[rawTaskQueue]()) }

// PikeVariables lists what LoadPike reads.
func PikeVariables() []Variable { return variablesOf(reflect.TypeFor[rawPike]()) }

// LogVariables lists what LoadLog reads.
func LogVariables() []Variable { return variablesOf(reflect.TypeFor[rawLog]()) }

func variablesOf(raw reflect.Type) []Variable {
	var variables []Variable
	for i := range raw.NumField() {
		field := raw.Field(i)
		if field.Type.Kind() == reflect.Struct {
			variables = append(variables, variablesOf(field.Type)...)
			continue
		}
		name, option, _ := strings.Cut(field.Tag.Get("env"), ",")
		variables = append(variables, Variable{
			Name: name, Default: strings.TrimPrefix(strings.TrimSpace(option), "default="), Help: field.Tag.Get("help"),
		})
	}
	return variables
}
