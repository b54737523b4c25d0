// Package config turns environment variables into the settings of each
// process. Only cmd uses it: every other package takes plain values.
package config

import (
	"maps"
	"os"
	"slices"
	"strings"
)

// Environment is where variables are read from. A variable that is set to
// nothing counts as not set, as compose files and charts often leave one so.
// It is a go-envconfig Lookuper and a lookup of Temporal's envconfig.
type Environment map[string]string

// OS returns the environment of this process.
func OS() Environment {
	e := Environment{}
	for _, pair := range os.Environ() {
		name, value, _ := strings.Cut(pair, "=")
		e[name] = value
	}
	return e
}

// Lookup implements envconfig.Lookuper of go-envconfig.
func (e Environment) Lookup(name string) (string, bool) {
	value := e[name]
	return value, value != ""
}

// LookupEnv implements EnvLookup of Temporal's envconfig.
func (e Environment) LookupEnv(name string) (string, bool) { return e.Lookup(name) }

// Environ implements EnvLookup of Temporal's envconfig.
func (e Environment) Environ() []string {
	var pairs []string
	for _, name := range slices.Sorted(maps.Keys(e)) {
		pairs = append(pairs, name+"="+e[name])
	}
	return pairs
}
