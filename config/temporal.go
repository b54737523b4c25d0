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
	sdkworker "go.temporal.io/sdk/worker"
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

// deploymentVersion reads the variables that the Temporal Worker Controller gives
// its pods. One without the other would be a worker that is not versioned, in silence.
func (r *reader) deploymentVersion() sdkworker.WorkerDeploymentVersion {
	var v struct {
		Deployment string `env:"TEMPORAL_DEPLOYMENT_NAME"`
		BuildID    string `env:"TEMPORAL_WORKER_BUILD_ID"`
	}
	r.read(&v)
	switch {
	case v.Deployment == "" && v.BuildID != "":
		r.problem("TEMPORAL_DEPLOYMENT_NAME", "is missing: set the name of the worker deployment, as TEMPORAL_WORKER_BUILD_ID is set; both or neither")
	case v.Deployment != "" && v.BuildID == "":
		r.problem("TEMPORAL_WORKER_BUILD_ID", "is missing: set the id of this build, as TEMPORAL_DEPLOYMENT_NAME is set; both or neither")
	case strings.ContainsAny(v.Deployment, ".:"): // Temporal joins name and build id with them
		r.problem("TEMPORAL_DEPLOYMENT_NAME", "must not contain . or :")
	}
	return sdkworker.WorkerDeploymentVersion{DeploymentName: v.Deployment, BuildID: v.BuildID}
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
