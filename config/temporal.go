package config

import (
	"os"
	"strconv"
	"strings"

	"github.com/sethvargo/go-envconfig"
	"go.temporal.io/sdk/client"
	temporalenv "go.temporal.io/sdk/contrib/envconfig"
)

// temporal reads the standard TEMPORAL_* variables and profiles.
func (r *reader) temporal() client.Options {
	// The SDK's loader ignores a switch that it cannot read: TLS would be off, or checked less, in silence.
	for _, variable := range []string{"TEMPORAL_TLS", "TEMPORAL_TLS_DISABLE_HOST_VERIFICATION"} {
		if value, set := r.lookuper.Lookup(variable); set {
			if _, err := strconv.ParseBool(value); err != nil {
				r.problem(variable, "must be true or false")
			}
		}
	}
	options, err := temporalenv.LoadClientOptions(temporalenv.LoadClientOptionsRequest{EnvLookup: temporalLookup{r.lookuper}})
	if err != nil {
		r.problem("TEMPORAL_*", "or the profile they select cannot be used: %s", err)
	}
	return options
}

// temporalLookup shows an envconfig.Lookuper to the SDK's loader.
type temporalLookup struct{ lookuper envconfig.Lookuper }

// LookupEnv implements the SDK's EnvLookup.
func (l temporalLookup) LookupEnv(key string) (string, bool) { return l.lookuper.Lookup(key) }

// Environ implements the SDK's EnvLookup, which finds TEMPORAL_GRPC_META_* by
// prefix: the names come from the process, the values from the lookuper.
func (l temporalLookup) Environ() []string {
	var environment []string
	for _, entry := range os.Environ() {
		key, _, _ := strings.Cut(entry, "=")
		if value, set := l.lookuper.Lookup(key); set {
			environment = append(environment, key+"="+value)
		}
	}
	return environment
}
