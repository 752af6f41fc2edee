// Package telemetry sets up what an operator watches: structured logs, Prometheus
// metrics, health answers and profiles.
package telemetry
