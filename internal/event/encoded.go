package event

import (
	"fmt"
	"time"
)

// Encoded is an event in its wire form, under the key it is published with.
type Encoded struct {
	Subject string
	Key     string    // see Key
	Time    time.Time // when the event was encoded, as far as that is known
	Data    []byte    // JSON
}

// EncodeChecked is Encode for producers: an event that is not valid, or longer than
// MaxSize, is an ErrInvalid.
func EncodeChecked(e Event) ([]byte, error) {
	if err := e.Validate(); err != nil {
		return nil, err
	}
	data, err := Encode(e)
	if err != nil {
		return nil, err
	}
	if len(data) > MaxSize {
		return nil, fmt.Errorf("%w: %s of %d bytes, limit %d", ErrInvalid, e.Subject(), len(data), MaxSize)
	}
	return data, nil
}
