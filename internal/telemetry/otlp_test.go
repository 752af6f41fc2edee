package telemetry

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	otlp "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	"google.golang.org/protobuf/proto"
)

// clearOTLP removes what the machine that runs the tests may have set.
func clearOTLP(t *testing.T) {
	t.Helper()
	for _, entry := range os.Environ() {
		if name, _, _ := strings.Cut(entry, "="); strings.HasPrefix(name, "OTEL_") {
			t.Setenv(name, "")
		}
	}
}

// The variables of OpenTelemetry's specification decide, and what is not spoken is a fault
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
		{endpoint + " OTEL_SDK_DISABLED=True", false, ""},
		{endpoint + " OTEL_SDK_DISABLED=false", true, ""},
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

// What other programs need is a warning, and no metrics are sent.
func TestOTLPOfOthers(t *testing.T) {
	for _, entry := range []string{"OTEL_METRICS_EXPORTER=prometheus", "OTEL_METRICS_EXPORTER=console", "OTEL_EXPORTER_OTLP_PROTOCOL=grpc", "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL=http/json"} {
		t.Run(entry, func(t *testing.T) {
			clearOTLP(t)
			t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
			name, value, _ := strings.Cut(entry, "=")
			t.Setenv(name, value)
			var log bytes.Buffer
			o, err := NewOTLP(NewRegistry(), slog.New(slog.NewTextHandler(&log, nil)))
			if o != nil || err != nil || !strings.Contains(log.String(), "level=WARN") || !strings.Contains(log.String(), name) || !strings.Contains(log.String(), value) {
				t.Errorf("%v, %v, log %s", o, err, &log)
			}
		})
	}
}

// A value that OpenTelemetry's SDK would ignore is an error that names the variable; what may
// be a secret is in neither error nor log.
func TestOTLPSettings(t *testing.T) {
	const secret = "hunter2"
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ env, value, want string }{ // want: in the error; "": none
		{"OTEL_EXPORTER_OTLP_ENDPOINT", "https://[::1]:4318/otlp", ""},
		{"OTEL_EXPORTER_OTLP_ENDPOINT", "HTTP://collector", ""},
		{"OTEL_EXPORTER_OTLP_ENDPOINT", "http://user:" + secret + "@127.0.0.1:port", "want http://HOST:PORT"},
		{"OTEL_EXPORTER_OTLP_ENDPOINT", "http://user:" + secret + "@127.0.0.1:4318", "OTEL_EXPORTER_OTLP_HEADERS"},
		{"OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318?key=" + secret, "no user, password or query"},
		{"OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318/%zz" + secret, "want http://HOST:PORT"},
		{"OTEL_EXPORTER_OTLP_ENDPOINT", "127.0.0.1:4318", "want http://HOST:PORT"},
		{"OTEL_EXPORTER_OTLP_ENDPOINT", "localhost:4318", "want http://HOST:PORT"},
		{"OTEL_EXPORTER_OTLP_ENDPOINT", "http://:4318", "want http://HOST:PORT"},
		{"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "ftp://127.0.0.1", "want http://HOST:PORT"},
		{"OTEL_EXPORTER_OTLP_HEADERS", "a=1, api-key = " + secret + "%20%C3%A9", ""},
		{"OTEL_EXPORTER_OTLP_HEADERS", "Authorization=Basic c2VjcmV0==", ""},
		{"OTEL_EXPORTER_OTLP_HEADERS", "a=1,api-key:" + secret, "entry 2"},
		{"OTEL_EXPORTER_OTLP_HEADERS", "=" + secret, "entry 1"},
		{"OTEL_EXPORTER_OTLP_HEADERS", "api-key=%" + secret, "entry 1"},
		{"OTEL_EXPORTER_OTLP_HEADERS", "api key=" + secret, "entry 1 of the list is not an HTTP header"},
		{"OTEL_EXPORTER_OTLP_HEADERS", "ä=" + secret, "not an HTTP header"},
		{"OTEL_EXPORTER_OTLP_METRICS_HEADERS", "api-key=" + secret + "%0A", ""}, // space around it does not count
		{"OTEL_EXPORTER_OTLP_METRICS_HEADERS", "api-key=" + secret + "%0Ab", "not an HTTP header"},
		{"OTEL_RESOURCE_ATTRIBUTES", "service.instance.id=sentry-1,k8s.pod.label.app/x=y", ""},
		{"OTEL_RESOURCE_ATTRIBUTES", "a=%" + secret, "entry 1"},
		{"OTEL_RESOURCE_ATTRIBUTES", secret, "entry 1"},
		{"OTEL_EXPORTER_OTLP_CERTIFICATE", "/nowhere.pem", "no such file"},
		{"OTEL_EXPORTER_OTLP_METRICS_CERTIFICATE", empty, "no certificate in PEM format"},
		{"OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", empty, "OTEL_EXPORTER_OTLP_CLIENT_KEY: one is missing"},
		{"OTEL_EXPORTER_OTLP_METRICS_CLIENT_KEY", empty, "OTEL_EXPORTER_OTLP_METRICS_CLIENT_KEY: one is missing"},
		{"OTEL_EXPORTER_OTLP_TIMEOUT", "10s", "want milliseconds"},
		{"OTEL_METRIC_EXPORT_INTERVAL", "0", `want milliseconds, 1 or more, not "0"`},
		{"OTEL_METRIC_EXPORT_TIMEOUT", "1000", ""},
	} {
		t.Run(c.env+" "+c.value, func(t *testing.T) {
			clearOTLP(t)
			t.Setenv("OTEL_METRICS_EXPORTER", "otlp")
			t.Setenv(c.env, c.value)
			err := checkOTLP()
			if (err == nil) != (c.want == "") || err != nil && (!strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), c.env)) {
				t.Errorf("error %v; want %q", err, c.want)
			}
			if err != nil && strings.Contains(err.Error(), secret) {
				t.Errorf("a secret is in %v", err)
			}
		})
	}
}

// What the SDK reports goes to our log, without values.
func TestOTLPReportsOfTheSDK(t *testing.T) {
	clearOTLP(t)
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", server.URL)
	t.Setenv("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "hunter2")
	var log bytes.Buffer
	o, err := NewOTLP(NewRegistry(), slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil || o == nil {
		t.Fatal(o, err)
	}
	defer o.Close()
	if !strings.Contains(log.String(), "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE") || strings.Contains(log.String(), "hunter2") {
		t.Errorf("log %s", &log)
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
