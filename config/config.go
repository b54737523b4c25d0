// Package config reads what the processes need from the environment (design
// §3.6) and refuses to hand out anything that is incomplete: every missing or
// bad variable is reported at once, by name, never by value.
package config

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/sethvargo/go-envconfig"
	"go.temporal.io/sdk/client"
	sdkworker "go.temporal.io/sdk/worker"

	"pikepayouts/codec"
	"pikepayouts/secret"
)

// Worker is what `payouts worker` needs.
type Worker struct {
	Temporal client.Options
	// Keyset encrypts what Temporal keeps; nil: nothing is encrypted. The same below.
	Keyset    *codec.Keyset
	TaskQueue string
	Log
	OpsAddr string
	Pike    Pike
	// RateLimit bounds Pike calls per second over all workers; 0 is no limit.
	RateLimit float64
	// ObserveOnly holds every start, confirm and cancel.
	ObserveOnly bool
	// Version is the worker's deployment version; zero is none.
	Version sdkworker.WorkerDeploymentVersion
	// Traces: OTEL_* asks for traces, and says the rest to OpenTelemetry itself.
	Traces bool
}

// Gateway is what `payouts webhookgw` needs.
type Gateway struct {
	Temporal client.Options
	Keyset   *codec.Keyset
	// TaskQueue is that of the workers: late events are kept there.
	TaskQueue string
	Log
	OpsAddr  string
	Webhooks Webhooks
	// Traces: see Worker.
	Traces bool
}

// Caller is what the commands that start, read and steer payouts need.
type Caller struct {
	Temporal  client.Options
	Keyset    *codec.Keyset
	TaskQueue string
	// Traces: see Worker.
	Traces bool
}

// CodecServer is what `payouts codec-server` needs.
type CodecServer struct {
	Log
	OpsAddr   string
	Addr      string
	Namespace string
	Keyset    *codec.Keyset // never nil
	// Origins are the exact origins of the Web UIs that may call.
	Origins []string
	// Token, unless empty, is asked of every caller.
	Token secret.String
	// ShowCards leaves card tokens and hashes in clear.
	ShowCards bool
}

// Simulator is what `payouts pikesim` takes from the environment; the rest is flags.
type Simulator struct {
	Log
}

// TokenInfo is what `payouts token-info` needs.
type TokenInfo struct {
	Pike Pike
}

// LoadWorker reads a Worker. The error is an *Error.
func LoadWorker(ctx context.Context, lookuper envconfig.Lookuper) (Worker, error) {
	r := newReader(ctx, lookuper)
	config := Worker{
		Temporal: r.temporal(), Keyset: r.keyset(), TaskQueue: r.taskQueue(), Log: r.log(), OpsAddr: r.opsAddr(), Pike: r.pike(), RateLimit: r.rateLimit(),
		ObserveOnly: r.observeOnly(), Version: r.deploymentVersion(), Traces: r.traces(),
	}
	return result(config, r)
}

// LoadGateway reads a Gateway. The error is an *Error.
func LoadGateway(ctx context.Context, lookuper envconfig.Lookuper) (Gateway, error) {
	r := newReader(ctx, lookuper)
	config := Gateway{
		Temporal: r.temporal(), Keyset: r.keyset(), TaskQueue: r.taskQueue(), Log: r.log(), OpsAddr: r.opsAddr(), Webhooks: r.webhooks(), Traces: r.traces(),
	}
	if config.OpsAddr == config.Webhooks.Addr && checkAddr(config.OpsAddr) == nil && !strings.HasSuffix(config.OpsAddr, ":0") {
		r.problem("PAYOUTS_OPS_ADDR", "must be another port than WEBHOOKGW_ADDR: health and metrics are not for Pike")
	}
	return result(config, r)
}

// LoadCaller reads a Caller. The error is an *Error.
func LoadCaller(ctx context.Context, lookuper envconfig.Lookuper) (Caller, error) {
	r := newReader(ctx, lookuper)
	return result(Caller{Temporal: r.temporal(), Keyset: r.keyset(), TaskQueue: r.taskQueue(), Traces: r.traces()}, r)
}

// LoadSetup reads where Temporal is: `payouts setup` touches no payout. The error is an *Error.
func LoadSetup(ctx context.Context, lookuper envconfig.Lookuper) (client.Options, error) {
	r := newReader(ctx, lookuper)
	return result(r.temporal(), r)
}

// LoadCodecServer reads a CodecServer. The error is an *Error.
func LoadCodecServer(ctx context.Context, lookuper envconfig.Lookuper) (CodecServer, error) {
	r := newReader(ctx, lookuper)
	config := r.codecServer()
	config.Log, config.OpsAddr, config.Namespace = r.log(), r.opsAddr(), cmp.Or(r.temporal().Namespace, client.DefaultNamespace)
	if config.Keyset = r.keyset(); config.Keyset == nil {
		r.missing("PAYOUTS_ENCRYPTION_KEYSET_FILE", "is missing: set the path of the keyset; `payouts keygen --keyset FILE` makes one")
	}
	return result(config, r)
}

// LoadSimulator reads a Simulator. The error is an *Error.
func LoadSimulator(ctx context.Context, lookuper envconfig.Lookuper) (Simulator, error) {
	r := newReader(ctx, lookuper)
	return result(Simulator{Log: r.log()}, r)
}

// LoadTokenInfo reads a TokenInfo. The error is an *Error.
func LoadTokenInfo(ctx context.Context, lookuper envconfig.Lookuper) (TokenInfo, error) {
	r := newReader(ctx, lookuper)
	return result(TokenInfo{Pike: r.pike()}, r)
}

// Error holds every problem of a configuration.
type Error struct {
	Problems []Problem
}

// Problem is one variable and what is wrong with it. It never holds the value.
type Problem struct {
	Variable, Text string
}

func (e *Error) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.Variable + " " + p.Text
	}
	return strings.Join(lines, "\n")
}

func result[T any](config T, r *reader) (T, error) {
	if len(r.problems) == 0 {
		return config, nil
	}
	var none T
	return none, &Error{Problems: r.problems}
}

// reader collects problems while it reads one group of variables after another.
type reader struct {
	ctx      context.Context //nolint:containedctx // lives as long as one Load
	lookuper envconfig.Lookuper
	problems []Problem
}

func newReader(ctx context.Context, lookuper envconfig.Lookuper) *reader {
	return &reader{ctx: ctx, lookuper: nonEmpty{lookuper}}
}

// missing notes the problem unless the variable has one already.
func (r *reader) missing(variable, text string) {
	if !slices.ContainsFunc(r.problems, func(p Problem) bool { return p.Variable == variable }) {
		r.problem(variable, "%s", text)
	}
}

func (r *reader) problem(variable, format string, args ...any) {
	r.problems = append(r.problems, Problem{Variable: variable, Text: fmt.Sprintf(format, args...)})
}

// check notes the error, if there is one, as a problem of the variable.
func (r *reader) check(variable string, err error) {
	if err != nil {
		r.problem(variable, "%s", err)
	}
}

// read fills the tagged strings of variables. They are strings only, because
// go-envconfig stops at the first value that it cannot convert and quotes it.
func (r *reader) read(variables any) {
	err := envconfig.ProcessWith(r.ctx, &envconfig.Config{Target: variables, Lookuper: r.lookuper})
	if err != nil {
		panic("config: a tag is wrong: " + err.Error())
	}
}

// nonEmpty treats a variable that is set to nothing as not set, which is what
// an empty line in a compose file means.
type nonEmpty struct{ envconfig.Lookuper }

// Lookup implements envconfig.Lookuper.
func (l nonEmpty) Lookup(key string) (string, bool) {
	value, set := l.Lookuper.Lookup(key)
	return value, set && value != ""
}

// reason is the error without the path that os puts in front: the path is the variable's value.
func reason(err error) string {
	for inner := errors.Unwrap(err); inner != nil; inner = errors.Unwrap(err) {
		err = inner
	}
	return err.Error()
}
