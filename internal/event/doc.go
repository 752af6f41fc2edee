// Package event is the contract between sentry and consumer: the event types, their
// JSON on the wire, their subjects, their keys and their validation. Field names are
// those of docs/data-dictionary.md.
//
// Encode is encoding/json: a sentry makes some 26 events a second. Decode has a fast
// path for exactly the bytes that Encode writes, as a consumer that catches up reads
// as many as it can; its tests fill events by reflection, so that a new field cannot
// be forgotten.
package event
