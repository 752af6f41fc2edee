package telemetry

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"strconv"
	"strings"
)

// otlpProtocol is the only protocol of OTEL_EXPORTER_OTLP_PROTOCOL that is spoken.
const otlpProtocol = "http/protobuf"

// otlpWanted reads the variables that decide whether metrics are exported, and how. An error
// is no reason to stop: the variables may be there for other programs.
func otlpWanted() (bool, error) {
	if strings.EqualFold(env("OTEL_SDK_DISABLED"), "true") {
		return false, nil
	}
	switch kind := env("OTEL_METRICS_EXPORTER"); kind {
	case "none":
		return false, nil
	case "":
		if env("OTEL_EXPORTER_OTLP_ENDPOINT") == "" && env("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT") == "" {
			return false, nil
		}
	case "otlp": // at http://localhost:4318 unless an endpoint is given
	default:
		return false, fmt.Errorf("OTEL_METRICS_EXPORTER %q: want otlp or none; Prometheus is served at --metrics", kind)
	}
	for _, name := range []string{"OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"} {
		switch protocol := env(name); protocol {
		case otlpProtocol:
			return true, nil
		case "":
		default:
			return false, fmt.Errorf("%s %q: only %s is spoken, for which collectors listen on port 4318", name, protocol, otlpProtocol)
		}
	}
	return true, nil
}

// env is a variable as OpenTelemetry's SDK reads it: space around it does not count.
func env(name string) string { return strings.TrimSpace(os.Getenv(name)) }

// checkOTLP refuses values of the environment that the SDK would print and then ignore. Errors
// name the variable, and never quote what may hold a secret.
func checkOTLP() error {
	for _, check := range []struct {
		fault func(string) string
		names []string
	}{
		{endpointFault, []string{"OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"}},
		{headersFault, []string{"OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_METRICS_HEADERS"}},
		{pairsFault, []string{"OTEL_RESOURCE_ATTRIBUTES"}},
		{caFault, []string{"OTEL_EXPORTER_OTLP_CERTIFICATE", "OTEL_EXPORTER_OTLP_METRICS_CERTIFICATE"}},
		{timeFault(0), []string{"OTEL_EXPORTER_OTLP_TIMEOUT", "OTEL_EXPORTER_OTLP_METRICS_TIMEOUT"}},
		{timeFault(1), []string{"OTEL_METRIC_EXPORT_INTERVAL", "OTEL_METRIC_EXPORT_TIMEOUT"}},
	} {
		for _, name := range check.names {
			value := env(name)
			if value == "" {
				continue
			}
			if fault := check.fault(value); fault != "" {
				return fmt.Errorf("%s: %s", name, fault)
			}
		}
	}
	return errors.Join(checkClientCert("OTEL_EXPORTER_OTLP_CLIENT_"), checkClientCert("OTEL_EXPORTER_OTLP_METRICS_CLIENT_"))
}

func endpointFault(value string) string {
	u, err := url.Parse(value)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" {
		return "want http://HOST:PORT or https://HOST:PORT, with a path or without, but no user, password or query: a key belongs in OTEL_EXPORTER_OTLP_HEADERS"
	}
	return ""
}

// pairsFault wants "key=value,key=value", with values that may be percent-encoded.
func pairsFault(value string) string {
	for i, pair := range strings.Split(value, ",") {
		key, v, found := strings.Cut(pair, "=")
		_, err := url.PathUnescape(v)
		if !found || strings.TrimSpace(key) == "" || err != nil {
			return fmt.Sprintf("entry %d of the list is not KEY=VALUE, in which a comma is %%2C and a percent sign is %%25", i+1)
		}
	}
	return ""
}

func headersFault(value string) string {
	if fault := pairsFault(value); fault != "" {
		return fault
	}
	for i, pair := range strings.Split(value, ",") {
		key, v, _ := strings.Cut(pair, "=")
		v, _ = url.PathUnescape(v)
		if strings.ContainsFunc(strings.TrimSpace(key), notInToken) || strings.ContainsFunc(strings.TrimSpace(v), isControl) {
			return fmt.Sprintf("entry %d of the list is not an HTTP header", i+1)
		}
	}
	return ""
}

// notInToken reports what the name of an HTTP header may not have (RFC 9110, section 5.6.2).
func notInToken(r rune) bool {
	return r <= ' ' || r > '~' || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
}

func isControl(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }

func caFault(file string) string {
	pem, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	if !x509.NewCertPool().AppendCertsFromPEM(pem) {
		return "no certificate in PEM format in " + file
	}
	return ""
}

// timeFault wants milliseconds.
func timeFault(least int) func(string) string {
	return func(value string) string {
		if n, err := strconv.Atoi(value); err != nil || n < least {
			return fmt.Sprintf("want milliseconds, %d or more, not %q", least, value)
		}
		return ""
	}
}

func checkClientCert(prefix string) error {
	cert, key := env(prefix+"CERTIFICATE"), env(prefix+"KEY")
	if cert == "" && key == "" {
		return nil
	}
	if cert == "" || key == "" {
		return fmt.Errorf("%sCERTIFICATE and %sKEY: one is missing", prefix, prefix)
	}
	if _, err := tls.LoadX509KeyPair(cert, key); err != nil {
		return fmt.Errorf("%sCERTIFICATE and %sKEY: %w", prefix, prefix, err)
	}
	return nil
}

// sdkLog writes what the SDK logs to our log, without its attributes, which are raw values of
// the environment.
type sdkLog struct{ log *slog.Logger }

// Enabled accepts the SDK's errors, and its warnings, which arrive one below slog's Info.
func (h sdkLog) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelInfo-1 }

func (h sdkLog) Handle(_ context.Context, r slog.Record) error {
	h.log.Warn("OpenTelemetry's SDK reports a fault", slog.String("fault", r.Message))
	return nil
}

func (h sdkLog) WithAttrs([]slog.Attr) slog.Handler { return h }

func (h sdkLog) WithGroup(string) slog.Handler { return h }
