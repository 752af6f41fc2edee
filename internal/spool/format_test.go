package spool

import (
	"encoding/binary"
	"os"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/chainbound/valtrack/internal/event"
)

// A spool of an earlier version is published: 12 events of boot 1, of which 5 are
// acknowledged, and 3 of boot 2, written by the package that this one comes from.
func TestSpoolOfAnEarlierVersion(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("testdata/before-split")); err != nil {
		t.Fatal(err)
	}
	s := openSpool(t, dir, 3)
	defer closeSpool(t, s)
	var mark Mark
	for i, n := range []uint64{1763800000000000001, 77, 0xfedcba9876543210} {
		binary.LittleEndian.PutUint64(mark[8*i:], n)
	}
	if s.Mark() != mark {
		t.Errorf("mark %x, want %x", s.Mark(), mark)
	}
	events := takeAll(t, s)
	if d := cmp.Diff(append(keyRange(1, 6, 12), keyRange(2, 1, 3)...), keysOf(events)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	var want []event.Event
	for _, n := range []int{5, 6, 7, 8, 9, 10, 11, 0, 1} {
		want = append(want, discovered(n))
	}
	for i, e := range append(want, visit(1)) {
		got, err := event.Decode(events[i].Subject, events[i].Data)
		if d := cmp.Diff(e, got); err != nil || d != "" {
			t.Errorf("%s: %v (-want +got):\n%s", events[i].Key, err, d)
		}
	}
	if n := s.Rewind(false); n != 15 || !slices.Equal(keysOf(takeAll(t, s))[:5], keyRange(1, 1, 5)) {
		t.Errorf("%d events are kept, want 15", n)
	}
}
