package event_test

import (
	"encoding/json"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/chainbound/valtrack/internal/event"
	"github.com/chainbound/valtrack/internal/event/eventtest"
)

// A field that the fast decoder does not know would be left to encoding/json, or
// lost.
func TestFastDecoderKnowsEveryField(t *testing.T) {
	for _, want := range eventtest.Filled() {
		checkFast(t, "filled", want)
		absent := eventtest.WithoutOptional(want)
		if len(absent) < 5 {
			t.Fatalf("%s: only %d optional fields found", want.Subject(), len(absent))
		}
		for name, e := range absent {
			checkFast(t, "without "+name, e)
		}
	}
}

func checkFast(t *testing.T, name string, want event.Event) {
	t.Helper()
	data, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	got := reflect.New(reflect.TypeOf(want).Elem()).Interface().(event.Event)
	if !event.ReadFast(string(data), got) {
		t.Errorf("%s %s: left to encoding/json: %s", want.Subject(), name, data)
		return
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s %s (-want +got):\n%s", want.Subject(), name, d)
	}
}

// Every field survives the wire.
func TestFilledEventsRoundTrip(t *testing.T) {
	for _, want := range eventtest.Filled() {
		data, err := event.Encode(want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := event.Decode(want.Subject(), data)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", want.Subject(), d)
		}
	}
}
