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
		for name, e := range withoutOptional(t, want) {
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

// withoutOptional gives copies of an event of which one field that may be absent, or
// whose list may be null, is.
func withoutOptional(t *testing.T, e event.Event) map[string]event.Event {
	t.Helper()
	out := map[string]event.Event{}
	optional(reflect.TypeOf(e).Elem(), nil, func(path []int, name string) {
		data, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		c := reflect.New(reflect.TypeOf(e).Elem())
		if err := json.Unmarshal(data, c.Interface()); err != nil {
			t.Fatal(err)
		}
		v := c.Elem()
		for _, i := range path {
			if v.Kind() == reflect.Pointer {
				v = v.Elem()
			}
			if v.Kind() == reflect.Slice {
				v = v.Index(1)
			}
			v = v.Field(i)
		}
		v.SetZero()
		out[name] = c.Interface().(event.Event)
	})
	if len(out) < 5 {
		t.Fatalf("%s: only %d optional fields found", e.Subject(), len(out))
	}
	return out
}

// optional visits the fields that encoding/json omits when they are empty, and lists.
func optional(typ reflect.Type, path []int, visit func(path []int, name string)) {
	for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice {
		typ = typ.Elem()
	}
	if typ.Kind() != reflect.Struct {
		return
	}
	for i := range typ.NumField() {
		f := typ.Field(i)
		at := append(path[:len(path):len(path)], i)
		tag := f.Tag.Get("json")
		if len(tag) > 10 && tag[len(tag)-10:] == ",omitempty" || f.Type.Kind() == reflect.Slice {
			visit(at, typ.Name()+"."+f.Name)
		}
		optional(f.Type, at, visit)
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
