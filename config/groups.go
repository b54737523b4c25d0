package config

import (
	"crypto/rsa"
	"errors"
	"fmt"
	"math"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"pikepayouts/codec"
	"pikepayouts/pike"
	"pikepayouts/secret"
)

// Log is how a process logs.
type Log struct {
	Level, Format string
}

// Logging is how the process logs.
func (l Log) Logging() Log { return l }

func (r *reader) log() Log {
	var v struct {
		Level  string `env:"PAYOUTS_LOG_LEVEL,default=info"`
		Format string `env:"PAYOUTS_LOG_FORMAT,default=json"`
	}
	r.read(&v)
	if !slices.Contains([]string{"debug", "info", "warn", "error"}, v.Level) {
		r.problem("PAYOUTS_LOG_LEVEL", "must be debug, info, warn or error")
	}
	if !slices.Contains([]string{"json", "text"}, v.Format) {
		r.problem("PAYOUTS_LOG_FORMAT", "must be json or text")
	}
	return Log{Level: v.Level, Format: v.Format}
}

func (r *reader) taskQueue() string {
	var v struct {
		TaskQueue string `env:"PAYOUTS_TASK_QUEUE,default=payouts"`
	}
	r.read(&v)
	return v.TaskQueue
}

func (r *reader) opsAddr() string {
	var v struct {
		Addr string `env:"PAYOUTS_OPS_ADDR,default=:9090"`
	}
	r.read(&v)
	r.check("PAYOUTS_OPS_ADDR", checkAddr(v.Addr))
	return v.Addr
}

// Pike is how to call the provider.
type Pike struct {
	BaseURL              string
	Version              pike.Version
	Project, Submerchant string
	PrivateKey           *rsa.PrivateKey
	Timeout              time.Duration
}

func (r *reader) pike() Pike {
	var v struct {
		BaseURL     string `env:"PIKE_BASE_URL"`
		Version     string `env:"PIKE_API_VERSION,default=v1"`
		Project     string `env:"PIKE_PROJECT"`
		Submerchant string `env:"PIKE_SUBMERCHANT"`
		Timeout     string `env:"PIKE_TIMEOUT,default=30s"`
	}
	r.read(&v)
	config := Pike{BaseURL: v.BaseURL, Version: pike.Version(v.Version), Project: v.Project, Submerchant: v.Submerchant}
	if v.BaseURL == "" {
		r.problem("PIKE_BASE_URL", "is missing: set Pike's server, such as https://proxy-demo.pikepayments.com for tests")
	} else {
		r.check("PIKE_BASE_URL", pike.CheckBaseURL(v.BaseURL))
	}
	if config.Version != pike.V1 && config.Version != pike.V2 {
		r.problem("PIKE_API_VERSION", "must be v1 or v2")
	}
	if v.Project == "" {
		r.problem("PIKE_PROJECT", "is missing: set the project id that Pike gave you")
	} else {
		r.check("PIKE_PROJECT", checkHeader(v.Project))
	}
	r.check("PIKE_SUBMERCHANT", checkHeader(v.Submerchant))
	config.PrivateKey = r.privateKey()
	config.Timeout = r.duration("PIKE_TIMEOUT", v.Timeout, pike.MaxTimeout)
	return config
}

func (r *reader) observeOnly() bool {
	var v struct {
		ObserveOnly string `env:"PAYOUTS_OBSERVE_ONLY,default=false"`
	}
	r.read(&v)
	return r.boolean("PAYOUTS_OBSERVE_ONLY", v.ObserveOnly)
}

func (r *reader) rateLimit() float64 {
	var v struct {
		RateLimit string `env:"PIKE_RATE_LIMIT,default=0"`
	}
	r.read(&v)
	limit, err := strconv.ParseFloat(v.RateLimit, 64)
	if err != nil || !(limit >= 0) || math.IsInf(limit, 0) { // the negation catches NaN
		r.problem("PIKE_RATE_LIMIT", "must be a number of calls per second, 0 or more; 0 is no limit")
	}
	return limit
}

// Webhooks is how Pike's webhooks are taken in.
type Webhooks struct {
	Addr, Path    string
	MaxBody       int64
	SignalTimeout time.Duration
	// PublicKeys has at least one key.
	PublicKeys []*rsa.PublicKey
}

const (
	// A session with one payout is about 2 KiB; what is larger than the upper bound is no webhook.
	minMaxBody, maxMaxBody = 4 << 10, 1 << 20
	// maxSignalTimeout leaves time to answer within Pike's 10s.
	maxSignalTimeout = 9 * time.Second
)

func (r *reader) webhooks() Webhooks {
	var v struct {
		Addr          string `env:"WEBHOOKGW_ADDR,default=:8080"`
		Path          string `env:"WEBHOOKGW_PATH,default=/webhooks/pike"`
		MaxBody       string `env:"WEBHOOKGW_MAX_BODY,default=65536"`
		SignalTimeout string `env:"WEBHOOKGW_SIGNAL_TIMEOUT,default=4s"`
	}
	r.read(&v)
	config := Webhooks{Addr: v.Addr, Path: v.Path}
	r.check("WEBHOOKGW_ADDR", checkAddr(v.Addr))
	if !strings.HasPrefix(v.Path, "/") || strings.ContainsAny(v.Path, ":*?#%{}\\ \t\r\n") {
		r.problem("WEBHOOKGW_PATH", "must begin with / and have no wildcard, query, escape or space, as in /webhooks/pike")
	}
	var err error
	if config.MaxBody, err = strconv.ParseInt(v.MaxBody, 10, 64); err != nil || config.MaxBody < minMaxBody || config.MaxBody > maxMaxBody {
		r.problem("WEBHOOKGW_MAX_BODY", "must be a number of bytes from %d to %d", minMaxBody, maxMaxBody)
	}
	config.SignalTimeout = r.duration("WEBHOOKGW_SIGNAL_TIMEOUT", v.SignalTimeout, maxSignalTimeout)
	config.PublicKeys = r.publicKeys()
	return config
}

func (r *reader) boolean(variable, value string) bool {
	parsed, err := strconv.ParseBool(value)
	if err != nil {
		r.problem(variable, "must be true or false")
	}
	return parsed
}

func (r *reader) duration(variable, text string, longest time.Duration) time.Duration {
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 || d > longest {
		r.problem(variable, "must be a duration such as 5s, more than 0 and at most %s", longest)
	}
	return d
}

func checkAddr(addr string) error {
	_, port, err := net.SplitHostPort(addr)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return errors.New("must be host:port or :port, as in :8080 or 127.0.0.1:8080")
	}
	return nil
}

// checkHeader refuses what net/http would refuse, or quietly change, in every single call.
func checkHeader(value string) error {
	for _, c := range []byte(value) {
		if c <= ' ' || c > '~' {
			return errors.New("must be printable ASCII without spaces")
		}
	}
	return nil
}

// minToken is the shortest token that is not to be guessed.
const minToken = 16

func (r *reader) codecServer() CodecServer {
	var v struct {
		Addr      string `env:"PAYOUTS_CODEC_ADDR,default=127.0.0.1:8234"`
		Origins   string `env:"PAYOUTS_CODEC_ORIGINS"`
		TokenFile string `env:"PAYOUTS_CODEC_TOKEN_FILE"`
		ShowCards string `env:"PAYOUTS_CODEC_SHOW_CARDS,default=false"`
	}
	r.read(&v)
	r.check("PAYOUTS_CODEC_ADDR", checkAddr(v.Addr))
	config := CodecServer{Addr: v.Addr}
	for origin := range strings.SplitSeq(v.Origins, ",") {
		if origin = strings.TrimSpace(origin); origin != "" {
			r.check("PAYOUTS_CODEC_ORIGINS", codec.CheckOrigin(origin))
			config.Origins = append(config.Origins, origin)
		}
	}
	config.ShowCards = r.boolean("PAYOUTS_CODEC_SHOW_CARDS", v.ShowCards)
	if v.TokenFile != "" {
		token, err := readToken(v.TokenFile)
		r.check("PAYOUTS_CODEC_TOKEN_FILE", isUnusable(err))
		config.Token = token
	}
	return config
}

func readToken(path string) (secret.String, error) {
	content, err := readSecretFile(path)
	if err != nil {
		return "", err
	}
	token := strings.TrimSpace(string(content))
	if len(token) < minToken || strings.ContainsAny(token, " \t\r\n") {
		return "", fmt.Errorf("it must hold one word of %d characters or more, such as `openssl rand -hex 32` prints", minToken)
	}
	return secret.String(token), nil
}
