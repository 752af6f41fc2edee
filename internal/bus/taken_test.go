package bus

import (
	"errors"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
)

// Events that are in a stream of another name are found at once, and the error names it: no
// second stream can have their subjects.
func TestStreamOfAnotherName(t *testing.T) {
	url := startServer(t).URL()
	first := connect(t, url, discardLog())
	p, err := NewDirectPublisher(t.Context(), first)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	second := connect(t, url, discardLog())
	second.stream = "T2"
	_, err = NewDirectPublisher(t.Context(), second)
	if !errors.Is(err, ErrForeignStream) || !strings.Contains(err.Error(), "give --stream EVENTS") || strings.Contains(err.Error(), "err_code") {
		t.Errorf("%v", err)
	}
	if _, err := second.js.Stream(t.Context(), "T2"); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("a second stream: %v", err)
	}
}
