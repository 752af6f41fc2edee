package event

import "time"

// Encoded is an event in its wire form, under the key it is published with.
type Encoded struct {
	Subject string
	Key     string    // see Key
	Time    time.Time // when the event was encoded, as far as that is known
	Data    []byte    // JSON
}
