package event

import (
	"encoding/json"
	"fmt"
	"strconv"
)

// Encode validates an event and returns its JSON, one line without a newline and at
// most MaxSize bytes. Every error wraps ErrInvalid.
func Encode(e Event) ([]byte, error) {
	if err := e.Validate(); err != nil {
		return nil, err
	}
	data, err := json.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrInvalid, e.Subject(), err)
	}
	return data, checkSize(e.Subject(), len(data))
}

func checkSize(subject string, size int) error {
	if size > MaxSize {
		return invalid(subject, "%d bytes, limit %d", size, MaxSize)
	}
	return nil
}

// MarshalJSON gives [at, subnet, 1 or 0].
func (c SubnetChange) MarshalJSON() ([]byte, error) {
	b := strconv.AppendInt([]byte{'['}, c.At, 10)
	b = strconv.AppendInt(append(b, ','), int64(c.Subnet), 10)
	if c.Subscribed {
		return append(b, ",1]"...), nil
	}
	return append(b, ",0]"...), nil
}

// UnmarshalJSON is the inverse of MarshalJSON.
func (c *SubnetChange) UnmarshalJSON(data []byte) error {
	var wire [3]int64
	if err := json.Unmarshal(data, &wire); err != nil {
		return err
	}
	if wire[2] != 0 && wire[2] != 1 {
		return fmt.Errorf("subnet change %s: want [ms, subnet, 1 or 0]", data)
	}
	*c = SubnetChange{At: wire[0], Subnet: int(wire[1]), Subscribed: wire[2] == 1}
	return nil
}
