package spool

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/chainbound/valtrack/internal/diskio"
)

// stopSyncLoop is for tests that flush by themselves.
func stopSyncLoop(s *Spool) {
	close(s.stop)
	s.worker.Wait()
	s.stop = make(chan struct{}) // for Close
}

// What fits neither on disk nor into memory is dropped, counted, and a gap in the keys.
func TestSpoolDropsWhenMemoryIsFull(t *testing.T) {
	dir := t.TempDir()
	s := openSpool(t, dir, 1)
	stopSyncLoop(s)
	s.cfg.Dir = "/dev/null" // where no segment can be created
	big := longVisit(100_000)
	accepted := 0
	var err error
	for err == nil && accepted < 1000 {
		if err = s.Publish(t.Context(), big); err == nil {
			accepted++
		}
	}
	if !errors.Is(err, errFull) || accepted < maxHeld/200_000 || s.Stats().Dropped != 1 {
		t.Fatalf("error %v after %d events, %d dropped", err, accepted, s.Stats().Dropped)
	}
	taken := takeAll(t, s)
	if len(taken) != accepted {
		t.Errorf("%d events come out, want %d", len(taken), accepted)
	}
	s.Ack(len(taken), Mark{}, 0)
	s.flush() // forgets what is acknowledged
	if err := s.Publish(t.Context(), big); err != nil {
		t.Fatal(err)
	}
	if got := keysOf(takeAll(t, s)); len(got) != 1 || got[0] != "s-1-"+strconv.Itoa(accepted+2) {
		t.Errorf("after the dropped event comes %v", got)
	}
	if err := s.Close(); err == nil || !strings.Contains(err.Error(), "1 events are lost") {
		t.Errorf("close hides that an event is lost: %v", err)
	}
}

// What cannot be read is quarantined, at the start and while it runs, and the rest
// continues.
func TestUnreadableSegmentIsQuarantined(t *testing.T) {
	dir := t.TempDir()
	for boot := 1; boot <= 4; boot++ {
		s := openSpool(t, dir, boot)
		fillSpool(t, s, 5)
		closeSpool(t, s)
	}
	spoil := func(seq uint64) { // a directory can be opened and not read
		t.Helper()
		if err := errors.Join(os.Remove(segmentPath(dir, seq)), os.Mkdir(segmentPath(dir, seq), 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	spoil(2)
	s := openSpool(t, dir, 5)
	defer closeSpool(t, s)
	spoil(3)
	fillSpool(t, s, 5)
	taken := takeAll(t, s)
	if d := cmp.Diff(slices.Concat(keyRange(1, 1, 5), keyRange(4, 1, 5), keyRange(5, 1, 5)), keysOf(taken)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if n := s.Stats().Damaged; n != 2 {
		t.Errorf("%d damaged, want 2", n)
	}
	s.Ack(len(taken), Mark{}, 0)
	if n := s.Stats().Events; n != 0 {
		t.Errorf("%d events are left", n)
	}
	if aside, _ := filepath.Glob(filepath.Join(dir, "*"+damagedSuffix)); len(aside) != 2 {
		t.Errorf("quarantined %v, want two", aside)
	}
}

// After the newest segment is quarantined, an older one is the last; events that were
// appended there would never be read.
func TestEventsAfterTheNewestSegmentIsQuarantined(t *testing.T) {
	dir := t.TempDir()
	s := openSpool(t, dir, 1)
	defer closeSpool(t, s)
	big := longVisit(10_000)
	for len(s.segments) < 2 {
		if err := s.Publish(t.Context(), big); err != nil {
			t.Fatal(err)
		}
	}
	newest := s.segments[1].path()
	if err := errors.Join(os.Remove(newest), os.Mkdir(newest, 0o755)); err != nil {
		t.Fatal(err)
	}
	takeAll(t, s)
	if n := s.Stats().Damaged; n != 1 {
		t.Fatalf("%d damaged, want 1", n)
	}
	before := s.counter
	fillSpool(t, s, 10)
	taken := takeAll(t, s)
	if d := cmp.Diff(keyRange(1, int(before)+1, int(before)+10), keysOf(taken)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// Acknowledged segments are kept for as long as the publisher asks, and not shorter than
// the default.
func TestAcknowledgedSegmentsAreKept(t *testing.T) {
	for _, c := range []struct {
		ask, age time.Duration
		kept     bool
	}{
		{0, keepAcked - time.Minute, true},
		{0, keepAcked + time.Minute, false},
		{time.Hour, 59 * time.Minute, true},
		{time.Hour, 61 * time.Minute, false},
	} {
		dir := t.TempDir()
		first := openSpool(t, dir, 1)
		fillSpool(t, first, 5)
		closeSpool(t, first)
		s := openSpool(t, dir, 2)
		stopSyncLoop(s)
		fillSpool(t, s, 1)
		taken := takeAll(t, s)
		s.Keep(0, c.ask)
		s.Ack(5, Mark{}, 1)
		s.segments[0].ackedAt = s.segments[0].ackedAt.Add(-c.age)
		s.Ack(len(taken)-5, Mark{}, 2)
		s.tidy()
		if n := s.Rewind(true); (n == 6) != c.kept {
			t.Errorf("asked for %v, after %v: %d of 6 events are kept", c.ask, c.age, n)
		}
		closeSpool(t, s)
	}
}

// A segment that is reduced to its last frame may end where the acknowledged position of
// its old content was.
func TestShrunkSegmentIsNotTakenForAcknowledged(t *testing.T) {
	dir := t.TempDir()
	s := openSpool(t, dir, 1)
	fillSpool(t, s, 5) // frames of one size
	takeAll(t, s)
	s.Ack(1, Mark{}, 0)
	closeSpool(t, s) // the position is on the disk
	s = openSpool(t, dir, 2)
	s.mu.Lock()
	if !s.shrink(s.segments[0]) {
		t.Error("not shrunk")
	}
	s.mu.Unlock()
	// As if killed here: the position is not written again.
	again := openSpool(t, dir, 3)
	if d := cmp.Diff(keyRange(1, 5, 5), keysOf(takeAll(t, again))); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	closeSpool(t, again)
	closeSpool(t, s)
}

func TestShrinkThatFailsLeavesNothingBehind(t *testing.T) {
	dir := t.TempDir()
	blocked := filepath.Join(dir, "d") // no file takes the place of a directory
	if err := os.Mkdir(blocked, 0o755); err != nil {
		t.Fatal(err)
	}
	seg := newSegment(blocked, 1, "s-1")
	if err := seg.append([]byte("abc")); err == nil { // it is held
		t.Error("a directory was written to")
	}
	if err := seg.keepLast(); err == nil {
		t.Error("no error")
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*.tmp")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// After a failed fsync no second one on that descriptor is believed, and the directory's
// is tried again.
func TestFailedSyncIsNotRepeatedOnTheSameFile(t *testing.T) {
	s := openSpool(t, t.TempDir(), 1)
	stopSyncLoop(s)
	defer closeSpool(t, s)
	fillSpool(t, s, 1)
	reader, writer, err := os.Pipe() // takes bytes and knows no fsync
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	failed := s.segments[0]
	if err := failed.file.Close(); err != nil {
		t.Fatal(err)
	}
	path := failed.path()
	failed.file, s.cfg.Dir = diskio.NewAppendFile(path, writer), s.cfg.Dir+"/missing"
	fillSpool(t, s, 1)
	if err := s.flush(); err == nil || !strings.Contains(err.Error(), "sync "+path) || !s.dirty {
		t.Errorf("flush: %v, directory to be fsynced %t", err, s.dirty)
	}
	s.cfg.Dir = filepath.Dir(path)
	if err := failed.file.Append([]byte("x")); err != nil { // as when a frame came during the fsync
		t.Fatal(err)
	}
	if err := s.flush(); err != nil || s.dirty {
		t.Errorf("flush: %v, directory to be fsynced %t", err, s.dirty)
	}
	fillSpool(t, s, 1)
	if len(s.segments) != 2 {
		t.Errorf("%d segments, want a new one", len(s.segments))
	}
}

// The broker may be away for longer than acknowledged segments are kept.
func TestKeptSegmentsOutlastAnOutage(t *testing.T) {
	dir := t.TempDir()
	first := openSpool(t, dir, 1)
	fillSpool(t, first, 5)
	closeSpool(t, first)
	s := openSpool(t, dir, 2)
	stopSyncLoop(s)
	defer closeSpool(t, s)
	fillSpool(t, s, 5)
	taken := takeAll(t, s)
	if len(taken) != 10 {
		t.Fatalf("%d events", len(taken))
	}
	s.Ack(5, Mark{}, 0)
	if err := s.flush(); err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	s.segments[0].ackedAt, s.ackedAt = s.segments[0].ackedAt.Add(-2*keepAcked), s.ackedAt.Add(-2*keepAcked)
	s.mu.Unlock()
	s.tidy()
	if len(s.segments) != 2 {
		t.Error("a segment has gone while no acknowledgement came")
	}
	s.Ack(1, Mark{}, 0)
	s.tidy()
	if len(s.segments) != 1 {
		t.Error("a segment is never removed")
	}
}
