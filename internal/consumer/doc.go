// Package consumer stores events in datasets: it decodes the messages of a
// subscription, drops those stored already, derives what a handshake shows about
// validators, and appends the rows to segments. JetStream is the write-ahead log:
// a message is acknowledged only after its segment is on the disk.
//
// ingest.go is the pipeline from top to bottom; retry.go what happens while writes
// fail; seams.go the interfaces of what adds columns (Enricher) and of what follows
// committed segments (sink).
package consumer
