package event

import (
	"errors"
	"testing"
)

func TestEncodeChecked(t *testing.T) {
	good := peerDiscovered()
	data, err := EncodeChecked(good)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Decode(good.Subject(), data); err != nil {
		t.Error(err)
	}
	long := visitEnded()
	long.Watch = &Watch{From: long.Started, To: long.Ended, MetaDataChanges: make([]WatchMetaData, MaxSize/50)}
	for name, bad := range map[string]Event{"without its fields": &MetadataReceived{}, "too long": long} {
		if _, err := EncodeChecked(bad); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}
