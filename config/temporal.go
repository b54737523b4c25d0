package config

import (
	"errors"
	"net"
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
	lookup := temporalLookup{r.lookuper}
	profile, err := temporalenv.LoadClientConfigProfile(temporalenv.LoadClientConfigProfileOptions{EnvLookup: lookup})
	if err != nil { // not shown: it quotes the file
		if _, err := temporalenv.LoadClientConfig(temporalenv.LoadClientConfigOptions{EnvLookup: lookup}); err != nil {
			r.problem("TEMPORAL_CONFIG_FILE", "(or the default file) cannot be read as a TOML file of Temporal profiles")
		} else {
			r.problem("TEMPORAL_PROFILE", "names a profile that the configuration file does not have")
		}
		return client.Options{}
	}
	options, err := profile.ToClientOptions(temporalenv.ToClientOptionsRequest{})
	if err != nil {
		r.problem("TEMPORAL_TLS_*", "(or the TLS part of the profile) cannot be used: %s", reason(err))
	}
	r.check("TEMPORAL_ADDRESS", checkServer(profile.Address))
	return options
}

// checkServer takes host:port and gRPC's own targets such as dns:///host:port; empty is the SDK's default.
func checkServer(address string) error {
	if address == "" || strings.Contains(address, "://") {
		return nil
	}
	if host, port, err := net.SplitHostPort(address); err != nil || host == "" || port == "" {
		return errors.New("must be host:port, as in localhost:7233")
	}
	return nil
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
