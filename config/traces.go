package config

import (
	"errors"
	"net/url"
	"strings"
)

// otlpProtocol is the only one this binary speaks, and OpenTelemetry's default.
const otlpProtocol = "http/protobuf"

// traces says whether OTEL_* asks for traces. OpenTelemetry reads the rest of
// its variables by itself, and ignores what it cannot read: what would leave the
// process without traces, in silence, is checked here.
func (r *reader) traces() bool {
	var v struct {
		Disabled string `env:"OTEL_SDK_DISABLED"`
		Exporter string `env:"OTEL_TRACES_EXPORTER"`
		Endpoint string `env:"OTEL_EXPORTER_OTLP_ENDPOINT"`
		Traces   string `env:"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"`
	}
	r.read(&v)
	switch {
	case strings.EqualFold(v.Disabled, "true"), v.Exporter == "none", v.Exporter+v.Endpoint+v.Traces == "":
		return false
	case v.Exporter != "" && v.Exporter != "otlp":
		r.problem("OTEL_TRACES_EXPORTER", "must be otlp or none")
	}
	r.check("OTEL_EXPORTER_OTLP_ENDPOINT", checkCollector(v.Endpoint))
	r.check("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", checkCollector(v.Traces))
	r.collectorProtocol()
	return true
}

func (r *reader) collectorProtocol() {
	var v struct {
		Protocol string `env:"OTEL_EXPORTER_OTLP_PROTOCOL,default=http/protobuf"`
		Traces   string `env:"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"`
	}
	r.read(&v)
	switch {
	case v.Traces != "" && v.Traces != otlpProtocol:
		r.problem("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "must be %s", otlpProtocol)
	case v.Traces == "" && v.Protocol != otlpProtocol:
		r.problem("OTEL_EXPORTER_OTLP_PROTOCOL", "must be %s, or set OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", otlpProtocol)
	}
}

// checkCollector refuses a user in the URL: it would show in errors.
func checkCollector(endpoint string) error {
	if endpoint == "" {
		return nil
	}
	u, err := url.Parse(endpoint)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil {
		return errors.New("must be http(s)://host:port without a user; credentials go into OTEL_EXPORTER_OTLP_HEADERS")
	}
	return nil
}
