package event

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/chainbound/valtrack/internal/printable"
)

// evil moves a cursor, forges a line and turns the direction of what follows.
const evil = "a\x1b[2J\nb\u202ec\u009b\x7f"

// No string of an event that is accepted is obeyed by a terminal: what a peer wrote is
// cleaned, what a publisher made up is refused.
func TestTextOfEventsIsPrintable(t *testing.T) {
	cleaned := map[string]bool{"ClientVersion": true, "Error": true}
	for _, sample := range []func() Event{
		func() Event { return peerDiscovered() }, func() Event { return metadataReceived() }, func() Event { return visitEnded() },
	} {
		for _, field := range reflect.VisibleFields(reflect.TypeOf(sample()).Elem()) {
			if field.Type.Kind() != reflect.String {
				continue
			}
			for _, text := range []string{evil, "\x7f", "\u202e"} {
				e := sample()
				reflect.ValueOf(e).Elem().FieldByIndex(field.Index).SetString(text)
				if err := e.Validate(); !errors.Is(err, ErrInvalid) {
					t.Errorf("%s: Validate of %s %q: %v", e.Subject(), field.Name, text, err)
				}
				got, err := Decode(e.Subject(), wire(e))
				if !cleaned[field.Name] {
					if !errors.Is(err, ErrInvalid) || !printable.Is(err.Error()) {
						t.Errorf("%s: %s %q: %v", e.Subject(), field.Name, text, err)
					}
					continue
				}
				if err != nil {
					t.Errorf("%s: %s %q is not cleaned: %v", e.Subject(), field.Name, text, err)
				} else if value := reflect.ValueOf(got).Elem().FieldByIndex(field.Index).String(); value != printable.Clean(text) {
					t.Errorf("%s: %s %q became %q", e.Subject(), field.Name, text, value)
				}
			}
		}
	}
}

func TestKeysArePrintable(t *testing.T) {
	if _, err := ParseKey(strings.ReplaceAll(evil, "-", "") + "-1-2"); err == nil || !printable.Is(err.Error()) {
		t.Errorf("a key with control characters: %v", err)
	}
}
