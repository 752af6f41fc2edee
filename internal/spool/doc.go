// Package spool is the sentry's queue on disk. Publish appends events to it, and a
// publisher takes them from it, acknowledges them, and may rewind to what is kept. It
// knows nothing of the broker.
//
// The spool is a log of segments, numbered files of checksummed frames, and a file
// "acked" with the position up to which events are acknowledged. An event is in the
// page cache when Publish returns, so the death of the process loses nothing, and it
// is fsynced within a second, which bounds what a power cut loses. Acknowledged
// segments are kept until consumers have stored them, or for some minutes, for a broker
// that loses what it acknowledged. Beyond the size limit the oldest segment is dropped.
//
// The decisions behind this are in docs/adr/0007-spool.md.
package spool
