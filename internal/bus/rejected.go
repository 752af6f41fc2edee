package bus

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/chainbound/valtrack/internal/event"
)

// RejectedFile is the file in a consumer's data directory that keeps invalid
// events, a RejectedEvent a line.
const RejectedFile = "rejected_events.ndjson"

// maxRejected bounds a line of RejectedFile: JSON may take six bytes for one of
// the payload.
const maxRejected = 6*event.MaxSize + 64<<10

// RejectedEvent is a message that a consumer could not store.
type RejectedEvent struct {
	Time    int64  `json:"time"` // of the rejection, Unix milliseconds
	Reason  string `json:"reason"`
	Subject string `json:"subject"`
	Key     string `json:"key,omitempty"` // empty when the publisher set none
	Seq     uint64 `json:"stream_seq"`
	// Payload is the message as text, PayloadBase64 when it is not UTF-8.
	Payload       string `json:"payload,omitempty"`
	PayloadBase64 []byte `json:"payload_base64,omitempty"`
}

// Data is the message's content.
func (r *RejectedEvent) Data() []byte {
	if r.PayloadBase64 != nil {
		return r.PayloadBase64
	}
	return []byte(r.Payload)
}

// parseRejected gives the message of a line, to be published again: under the key
// that it had, else under one that is the line's for ever. A message that is still
// invalid is an error.
func parseRejected(line []byte) (subject, key string, data []byte, err error) {
	var r RejectedEvent
	if err := json.Unmarshal(line, &r); err != nil {
		return "", "", nil, fmt.Errorf("%w: %w", event.ErrInvalid, err)
	}
	if _, err := event.Decode(r.Subject, r.Data()); err != nil {
		return "", "", nil, fmt.Errorf("still rejected: %w", err)
	}
	if _, err := event.ParseKey(r.Key); err != nil {
		sum := sha256.Sum256(line)
		r.Key = event.Key{Sentry: "file-" + hex.EncodeToString(sum[:8]), Counter: 1}.String()
	}
	return r.Subject, r.Key, r.Data(), nil
}
