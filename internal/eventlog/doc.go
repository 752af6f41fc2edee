// Package eventlog keeps events in files of JSON lines: the log files that a sentry
// without a broker writes, one per event type, and the file of events that a consumer
// has rejected. Replay publishes both, under the keys that the events were written
// with.
package eventlog
