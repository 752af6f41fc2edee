package event_test

import (
	"encoding/json"
	"reflect"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/chainbound/valtrack/internal/event"
	"github.com/chainbound/valtrack/internal/event/eventtest"
)

// A field that the fast decoder does not know would be left to encoding/json, or
// lost.
func TestFastDecoderKnowsEveryField(t *testing.T) {
	for _, want := range eventtest.Filled() {
		if !readsFast(t, "", want) {
			continue // events without a field say the same again
		}
		absent := eventtest.WithoutOptional(want)
		if len(absent) < 5 {
			t.Fatalf("%s: only %d optional fields found", want.Subject(), len(absent))
		}
		for name, e := range absent {
			readsFast(t, " without "+name, e)
		}
	}
}

func readsFast(t *testing.T, name string, want event.Event) bool {
	t.Helper()
	data, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	got := reflect.New(reflect.TypeOf(want).Elem()).Interface().(event.Event)
	if fast, at := event.ReadFast(string(data), got); !fast {
		t.Errorf("%s%s: field %s is not read by internal/event/decode.go, or not at its position in the struct", want.Subject(), name, fieldAt(string(data), at))
		return false
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s%s (-want +got):\n%s", want.Subject(), name, d)
		return false
	}
	return true
}

// fieldAt is the name of the first field at or after a position in JSON.
func fieldAt(text string, at int) string {
	if m := regexp.MustCompile(`^.*?"(\w+)":`).FindStringSubmatch(text[at:]); m != nil {
		return m[1]
	}
	return "after " + text[at:]
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
