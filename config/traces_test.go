package config_test

import (
	"maps"
	"testing"

	"github.com/stretchr/testify/require"

	"pikepayouts/config"
)

func TestTracesAreOffUntilOTELAsksForThem(t *testing.T) {
	const endpoint, ofTraces = "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
	tests := []struct {
		set  environment
		want bool
	}{
		{environment{}, false},
		{environment{"OTEL_SERVICE_NAME": "x", "OTEL_RESOURCE_ATTRIBUTES": "a=b"}, false},
		{environment{endpoint: "http://collector:4318"}, true},
		{environment{ofTraces: "https://collector/v1/traces"}, true},
		{environment{"OTEL_TRACES_EXPORTER": "otlp"}, true},
		{environment{"OTEL_TRACES_EXPORTER": "none", endpoint: "http://collector:4318"}, false},
		{environment{"OTEL_SDK_DISABLED": "TRUE", endpoint: "http://collector:4318"}, false},
		{environment{"OTEL_SDK_DISABLED": "false", endpoint: "http://collector:4318"}, true},
		{environment{endpoint: "http://collector:4318", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, true},
		{environment{endpoint: "http://c:4318", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf"}, true},
		{environment{"OTEL_TRACES_EXPORTER": "none", endpoint: "nonsense", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, false},
	}
	for _, tt := range tests {
		worker, gateway, caller := worker(t), gateway(t), none(t)
		for _, e := range []environment{worker, gateway, caller} {
			maps.Copy(e, tt.set)
		}
		w, err := config.LoadWorker(t.Context(), worker.lookuper())
		require.NoError(t, err)
		g, err := config.LoadGateway(t.Context(), gateway.lookuper())
		require.NoError(t, err)
		c, err := config.LoadCaller(t.Context(), caller.lookuper())
		require.NoError(t, err)
		require.Equal(t, []bool{tt.want, tt.want, tt.want}, []bool{w.Traces, g.Traces, c.Traces}, tt.set)
	}
}

// TestTracesThatWouldGoNowhere: OpenTelemetry itself would ignore such values, or show them.
func TestTracesThatWouldGoNowhere(t *testing.T) {
	const endpoint = "OTEL_EXPORTER_OTLP_ENDPOINT"
	for variable, set := range map[string]environment{
		"OTEL_TRACES_EXPORTER":               {"OTEL_TRACES_EXPORTER": canary},
		endpoint:                             {endpoint: "collector" + canary + ":4318"},
		"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://" + canary + ":pw@collector"},
		"OTEL_EXPORTER_OTLP_PROTOCOL":        {endpoint: "http://collector:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
		"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": {endpoint: "http://collector:4317", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc"},
	} {
		e := none(t)
		maps.Copy(e, set)
		_, err := config.LoadCaller(t.Context(), e.lookuper())
		require.ErrorContains(t, err, variable+" must be")
		require.NotContains(t, err.Error(), canary)
	}
}
