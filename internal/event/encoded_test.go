package event

import (
	"errors"
	"testing"
)

func TestEncode(t *testing.T) {
	good := peerDiscovered()
	data, err := Encode(good)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Decode(good.Subject(), data); err != nil {
		t.Error(err)
	}
	long := visitEnded()
	long.Watch = &Watch{From: long.Started, To: long.Ended, MetaDataChanges: make([]WatchMetaData, MaxSize/50)}
	for name, bad := range map[string]Event{"without its fields": &MetadataReceived{}, "too long": long} {
		if _, err := Encode(bad); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}
