package telemetry

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	otlp "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	"google.golang.org/protobuf/proto"
)

// clearOTLP removes what the machine that runs the tests may have set.
func clearOTLP(t *testing.T) {
	t.Helper()
	for _, name := range []string{"OTEL_SDK_DISABLED", "OTEL_METRICS_EXPORTER", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
		"OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES"} {
		t.Setenv(name, "")
	}
}

// The variables of OpenTelemetry's specification decide, and what is not spoken is an error
// that names the variable, its value and what would do.
func TestOTLPIsWanted(t *testing.T) {
	const endpoint = "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318"
	for _, c := range []struct {
		env  string // space separated
		on   bool
		want string // in the error
	}{
		{"", false, ""},
		{endpoint, true, ""},
		{"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT=http://127.0.0.1:4318/v1/metrics", true, ""},
		{"OTEL_METRICS_EXPORTER=otlp", true, ""},
		{endpoint + " OTEL_METRICS_EXPORTER=none", false, ""},
		{endpoint + " OTEL_SDK_DISABLED=true", false, ""},
		{endpoint + " OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf", true, ""},
		{endpoint + " OTEL_EXPORTER_OTLP_PROTOCOL=grpc", false, `OTEL_EXPORTER_OTLP_PROTOCOL "grpc": only http/protobuf`},
		{endpoint + " OTEL_EXPORTER_OTLP_PROTOCOL=grpc OTEL_EXPORTER_OTLP_METRICS_PROTOCOL=http/protobuf", true, ""},
		{endpoint + " OTEL_EXPORTER_OTLP_METRICS_PROTOCOL=http/json", false, `OTEL_EXPORTER_OTLP_METRICS_PROTOCOL "http/json"`},
		{"OTEL_METRICS_EXPORTER=prometheus", false, `OTEL_METRICS_EXPORTER "prometheus": want otlp or none`},
	} {
		t.Run(c.env, func(t *testing.T) {
			clearOTLP(t)
			for _, entry := range strings.Fields(c.env) {
				name, value, _ := strings.Cut(entry, "=")
				t.Setenv(name, value)
			}
			on, err := otlpWanted()
			if on != c.on || (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, %v; want %v, %q", on, err, c.on, c.want)
			}
		})
	}
}

// A collector receives the metrics of the registry under the same names, and who sent them.
func TestOTLPExports(t *testing.T) {
	clearOTLP(t)
	var got otlp.ExportMetricsServiceRequest
	var path string
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		path = r.URL.Path
		if err := proto.Unmarshal(body, &got); err != nil {
			t.Error(err)
		}
	}))
	defer server.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", server.URL)
	t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "service.instance.id=sentry-1")
	reg := NewRegistry()
	Register(reg, func() int { return 7 },
		Counter("valtrack_test_total", "A counter.", func(n int) int { return n }),
		GaugeBy("valtrack_test", "side", "A gauge.", func(n int) map[string]int { return map[string]int{"a": n} }))
	o, err := NewOTLP(reg, slog.New(slog.DiscardHandler))
	if err != nil || o == nil {
		t.Fatal(o, err)
	}
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
	text := got.String()
	for _, want := range []string{"valtrack_test_total", "valtrack_test", "process_cpu_seconds_total", "as_double:7", `"side"`, `"service.name"`, `"valtrack"`, `"sentry-1"`} {
		if !strings.Contains(strings.ReplaceAll(text, ": ", ":"), want) {
			t.Errorf("%s is not in what was sent to %s", want, path)
		}
	}
	if path != "/v1/metrics" {
		t.Errorf("sent to %s", path)
	}
}
