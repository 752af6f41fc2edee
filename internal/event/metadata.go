package event

import (
	"encoding/json"
	"errors"
)

// UnmarshalJSON demands seq_number and attnets: an absent attnets would read as a
// peer without subnets.
func (m *MetaData) UnmarshalJSON(b []byte) error {
	type plain MetaData // without this method
	wire := struct {
		SeqNumber *uint64          `json:"seq_number"`
		Attnets   *json.RawMessage `json:"attnets"`
		*plain
	}{plain: (*plain)(m)}
	if err := json.Unmarshal(b, &wire); err != nil {
		return err
	}
	if wire.SeqNumber == nil || wire.Attnets == nil {
		return errors.New("metadata: seq_number or attnets is missing")
	}
	m.SeqNumber = *wire.SeqNumber
	return json.Unmarshal(*wire.Attnets, &m.Attnets)
}

// UnmarshalJSON reads at beside the MetaData, whose own method would hide it.
func (w *WatchMetaData) UnmarshalJSON(b []byte) error {
	at := struct {
		At int64 `json:"at"`
	}{}
	if err := json.Unmarshal(b, &at); err != nil {
		return err
	}
	w.At = at.At
	return w.MetaData.UnmarshalJSON(b)
}
