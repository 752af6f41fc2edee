package spool

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chainbound/valtrack/internal/event"
	"github.com/google/go-cmp/cmp"
)

func openSpool(t testing.TB, dir string, boot int) *Spool {
	t.Helper()
	s, err := Open(Config{Dir: dir, Sentry: "s", Boot: uint64(boot), MaxBytes: MinSize, Log: discardLog()})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func fillSpool(t testing.TB, s *Spool, n int) {
	t.Helper()
	for i := range n {
		if err := s.Publish(context.Background(), discovered(i)); err != nil {
			t.Fatal(err)
		}
	}
}

func closeSpool(t testing.TB, s *Spool) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// takeAll gives what the spool gives.
func takeAll(t testing.TB, s *Spool) (out []event.Encoded) {
	t.Helper()
	for {
		events, _, err := s.Take(100)
		if err != nil {
			t.Fatal(err)
		}
		if len(events) == 0 {
			return out
		}
		out = append(out, events...)
	}
}

// longVisit is an event of at least so many bytes.
func longVisit(bytes int) *event.VisitEnded {
	v := visit(1)
	v.Watch = &event.Watch{From: v.Started, To: v.Ended, MetaDataChanges: make([]event.WatchMetaData, bytes/50)}
	return v
}

func keysOf(events []event.Encoded) (keys []string) {
	for _, e := range events {
		keys = append(keys, e.Key)
	}
	return keys
}

func keyRange(boot, from, to int) (keys []string) {
	for i := from; i <= to; i++ {
		keys = append(keys, fmt.Sprintf("s-%d-%d", boot, i))
	}
	return keys
}

func TestSpoolGivesEachEventInOrderAfterRestarts(t *testing.T) {
	dir := t.TempDir()
	first := openSpool(t, dir, 1)
	fillSpool(t, first, 30)
	taken := takeAll(t, first)
	want, err := event.Encode(discovered(4))
	if err != nil {
		t.Fatal(err)
	}
	if got := taken[4]; got.Subject != event.SubjectPeerDiscovered || !bytes.Equal(got.Data, want) {
		t.Errorf("fifth event is %s %s", got.Subject, got.Data)
	}
	first.Ack(10, Mark{}, 0)
	closeSpool(t, first)
	if err := first.Publish(t.Context(), discovered(0)); !errors.Is(err, os.ErrClosed) {
		t.Errorf("publish after close: %v", err)
	}

	second := openSpool(t, dir, 2)
	if n := second.Stats().Events; n != 20 {
		t.Errorf("%d events after the restart, want 20", n)
	}
	fillSpool(t, second, 5)
	taken = takeAll(t, second)
	if d := cmp.Diff(append(keyRange(1, 11, 30), keyRange(2, 1, 5)...), keysOf(taken)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	second.Ack(22, Mark{1, 2, 23: 3}, 0) // the whole first segment, and two more
	closeSpool(t, second)

	third := openSpool(t, dir, 3)
	defer closeSpool(t, third)
	if d := cmp.Diff(keyRange(2, 3, 5), keysOf(takeAll(t, third))); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if files, _ := filepath.Glob(filepath.Join(dir, "*"+segmentSuffix)); len(files) != 2 {
		t.Errorf("segments %v, want the one that is not acknowledged and the one that still may be sent again", files)
	}
	if third.Mark() != (Mark{1, 2, 23: 3}) {
		t.Errorf("mark %+v", third.Mark())
	}
	if n := third.Rewind(false); n != 35 || len(takeAll(t, third)) != n {
		t.Errorf("%d events are kept, want 35", n)
	}
}

// The clock is only for what people read.
func TestSpoolDoesNotCareForTheClock(t *testing.T) {
	dir := t.TempDir()
	clock := time.Unix(1763800000, 0)
	var segment []byte
	for _, key := range keyRange(1, 1, 50) {
		clock = clock.Add(-time.Hour)
		segment = appendFrame(segment, event.Encoded{Subject: event.SubjectPeerDiscovered, Key: key, Time: clock, Data: []byte("{}")})
	}
	if err := os.WriteFile(segmentPath(dir, 1), segment, 0o644); err != nil {
		t.Fatal(err)
	}
	s := openSpool(t, dir, 2)
	defer closeSpool(t, s)
	if d := cmp.Diff(keyRange(1, 1, 50), keysOf(takeAll(t, s))); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// Past the bound the oldest go, but for the last event of each start: so every gap
// has an event after it.
func TestSpoolDropsTheOldest(t *testing.T) {
	dir := t.TempDir()
	big := longVisit(10_000)
	fill := func(s *Spool, n int) {
		t.Helper()
		for range n {
			if err := s.Publish(t.Context(), big); err != nil {
				t.Fatal(err)
			}
		}
	}
	first := openSpool(t, dir, 1)
	fill(first, 300)
	closeSpool(t, first)
	second := openSpool(t, dir, 2)
	given, _, err := second.Take(1)
	if err != nil || len(given) != 1 {
		t.Fatalf("%d events, error %v", len(given), err)
	}
	fill(second, 2000)
	st := second.Stats()
	if st.Bytes > MinSize {
		t.Errorf("%d bytes, bound %d", st.Bytes, MinSize)
	}
	keys := keysOf(takeAll(t, second))
	if keys[0] != "s-1-300" {
		t.Errorf("the first start's last event is not kept: %s comes first", keys[0])
	}
	from := 2001 - (len(keys) - 1)
	if d := cmp.Diff(keyRange(2, from, 2000), keys[1:]); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	// One was given before, and with the 300th all else is dropped or given.
	if want := 2300 - 1 - len(keys); int(st.Dropped) != want {
		t.Errorf("%d dropped, want %d", st.Dropped, want)
	}
	closeSpool(t, second)
	third := openSpool(t, dir, 3)
	defer closeSpool(t, third)
	if d := cmp.Diff(keys, keysOf(takeAll(t, third))); d != "" {
		t.Errorf("after a restart (-want +got):\n%s", d)
	}
}

// damagedSpool writes the bytes as a segment and gives the keys that come out.
func damagedSpool(t testing.TB, dir string, segment []byte) []event.Encoded {
	t.Helper()
	for _, old := range []string{ackedName, filepath.Base(segmentPath("", 1))} {
		os.Remove(filepath.Join(dir, old))
	}
	if err := os.WriteFile(segmentPath(dir, 1), segment, 0o644); err != nil {
		t.Fatal(err)
	}
	s := openSpool(t, dir, 9)
	defer closeSpool(t, s)
	return takeAll(t, s)
}

// segmentOf is a segment of n events, and where each frame ends.
func segmentOf(t testing.TB, n int) (segment []byte, ends []int) {
	t.Helper()
	s := openSpool(t, t.TempDir(), 1)
	fillSpool(t, s, n)
	takeAll(t, s)
	for _, pos := range s.taken {
		ends = append(ends, int(pos.off))
	}
	closeSpool(t, s)
	segment, err := os.ReadFile(segmentPath(s.cfg.Dir, 1))
	if err != nil {
		t.Fatal(err)
	}
	return segment, ends
}

// checkDamage wants every event that the damage from byte from to byte to leaves
// whole, and no other.
func checkDamage(t testing.TB, what string, whole, got []event.Encoded, ends []int, from, to int) {
	t.Helper()
	var want []string
	begin := 0
	for i, key := range keysOf(whole) {
		if ends[i] <= from || begin >= to {
			want = append(want, key)
		}
		begin = ends[i]
	}
	if d := cmp.Diff(want, keysOf(got)); d != "" {
		t.Fatalf("%s (-want +got):\n%s", what, d)
	}
	for _, e := range got {
		i := slices.Index(keysOf(whole), e.Key)
		if !bytes.Equal(e.Data, whole[i].Data) || e.Subject != whole[i].Subject {
			t.Fatalf("%s: wrong event %s", what, e.Data)
		}
	}
}

// FuzzSpoolDamage cuts the segment at a place, or changes bits there.
func FuzzSpoolDamage(f *testing.F) {
	segment, ends := segmentOf(f, 5)
	dir := f.TempDir()
	whole := damagedSpool(f, dir, segment)
	for at := range segment {
		f.Add(uint16(at), byte(0))
		f.Add(uint16(at), byte(1<<(at%8)))
	}
	f.Fuzz(func(t *testing.T, offset uint16, bits byte) {
		at := int(offset) % len(segment)
		dir := t.TempDir() // targets run side by side
		if bits == 0 {
			checkDamage(t, fmt.Sprintf("cut at %d", at), whole, damagedSpool(t, dir, segment[:at]), ends, at, len(segment))
			return
		}
		damaged := bytes.Clone(segment)
		damaged[at] ^= bits
		checkDamage(t, fmt.Sprintf("bits %08b of byte %d", bits, at), whole, damagedSpool(t, dir, damaged), ends, at, at+1)
	})
}

// FuzzFrames reads anything at all.
func FuzzFrames(f *testing.F) {
	segment, _ := segmentOf(f, 2)
	f.Add(segment)
	f.Add([]byte(frameMagic + frameMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		for {
			got, start, end, ok := findFrame(b)
			if !ok {
				return
			}
			again := appendFrame(nil, got.Encoded)
			if !bytes.Equal(again, b[start:end]) {
				t.Fatalf("frame %x reads as %x", b[start:end], again)
			}
			b = b[end:]
		}
	})
}

func TestDamagedPositionMeansTheBeginning(t *testing.T) {
	dir := t.TempDir()
	s := openSpool(t, dir, 1)
	fillSpool(t, s, 10)
	takeAll(t, s)
	s.Ack(5, Mark{}, 0)
	closeSpool(t, s)
	path := filepath.Join(dir, ackedName)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 4
		if err := os.WriteFile(path, bad, 0o644); err != nil {
			t.Fatal(err)
		}
		again := openSpool(t, dir, 2)
		if n := again.Stats().Events; n != 10 {
			t.Errorf("byte %d changed: %d events, want 10", i, n)
		}
		closeSpool(t, again)
	}
}

func TestSpoolNamesAnUnusableDirectory(t *testing.T) {
	if _, err := Open(Config{Dir: "/dev/null/spool", Log: discardLog()}); err == nil || !strings.Contains(err.Error(), "/dev/null") {
		t.Errorf("error %v", err)
	}
}

func TestInvalidEventTakesNoKey(t *testing.T) {
	s := openSpool(t, t.TempDir(), 1)
	defer closeSpool(t, s)
	if err := s.Publish(t.Context(), &event.MetadataReceived{}); !errors.Is(err, event.ErrInvalid) {
		t.Errorf("error %v", err)
	}
	fillSpool(t, s, 1)
	if d := cmp.Diff(keyRange(1, 1, 1), keysOf(takeAll(t, s))); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}
