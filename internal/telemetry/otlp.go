package telemetry

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/go-logr/logr"
	promotel "go.opentelemetry.io/contrib/bridges/prometheus"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
)

// otlpFlush bounds the last export of a service that stops.
const otlpFlush = 2 * time.Second

// OTLP sends the metrics of a registry to an OpenTelemetry endpoint. OpenTelemetry's own
// environment variables have its settings: endpoint, headers, certificates, interval and
// resource, as https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables
// describes them.
type OTLP struct{ provider *metric.MeterProvider }

// NewOTLP is nil unless the environment names an endpoint. It is nil with a warning where the
// environment wants what is not spoken: such variables are often set for all programs of a
// machine. A value that cannot be used is an error that names the variable. Close it.
func NewOTLP(reg *Registry, log *slog.Logger) (*OTLP, error) {
	on, err := otlpWanted()
	if err != nil {
		log.Warn("no metrics are sent over OTLP", slog.Any("error", err))
		return nil, nil
	}
	if !on {
		return nil, nil
	}
	if err := checkOTLP(); err != nil {
		return nil, err
	}
	otel.SetLogger(logr.FromSlogHandler(sdkLog{log}))
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) {
		log.Warn("metrics could not be exported over OTLP", slog.Any("error", err))
	}))
	exporter, err := otlpmetrichttp.New(context.Background()) // connects when it exports
	if err != nil {
		return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_ENDPOINT and its relatives: %w", err)
	}
	who, err := resource.New(context.Background(), resource.WithTelemetrySDK(),
		resource.WithAttributes(attribute.String("service.name", "valtrack")), resource.WithFromEnv()) // the environment wins
	if err != nil {
		return nil, fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	reader := metric.NewPeriodicReader(exporter, metric.WithProducer(promotel.NewMetricProducer(promotel.WithGatherer(reg))))
	return &OTLP{metric.NewMeterProvider(metric.WithReader(reader), metric.WithResource(who))}, nil
}

// Close exports once more, for two seconds at most.
func (o *OTLP) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), otlpFlush)
	defer cancel()
	return o.provider.Shutdown(ctx)
}
