package bus

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/chainbound/valtrack/internal/event"
)

func TestMemoryQueue(t *testing.T) {
	q := newMemoryQueue()
	keys := keyRange(1, 1, 5)
	for _, key := range keys {
		if err := q.put(t.Context(), event.Encoded{Key: key}); err != nil {
			t.Fatal(err)
		}
	}
	take := func(n, wantLeft int, want []string) {
		t.Helper()
		events, left, err := q.Take(n)
		if d := cmp.Diff(want, keysOf(events)); err != nil || left != wantLeft || d != "" {
			t.Errorf("take %d: %d left, error %v (-want +got):\n%s", n, left, err, d)
		}
	}
	take(3, 2, keys[:3])
	take(0, 2, nil)
	q.Ack(2, [32]byte{}, 0)
	take(10, 0, keys[3:])
	if n := q.Rewind(true); n != 3 {
		t.Errorf("%d events after the rewind, want those that are not acknowledged", n)
	}
	take(10, 0, keys[2:])
	q.Ack(3, [32]byte{}, 0)
	if len(q.slots) != 0 {
		t.Errorf("%d slots are taken, want none", len(q.slots))
	}
	q.shut()
	if err := q.put(t.Context(), event.Encoded{}); !errors.Is(err, errClosed) {
		t.Errorf("error %v", err)
	}
}

func TestMarkIsReadAsItIsWritten(t *testing.T) {
	want := streamMark{created: 1763800000000000001, lastSeq: 77, server: 0xfedcba9876543210}
	if got := decodeMark(want.encode()); got != want {
		t.Errorf("%+v is read as %+v", want, got)
	}
}
