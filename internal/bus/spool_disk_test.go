package bus

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The sentry's disk is full for a while, and then not.
func TestSpoolOnAFullDisk(t *testing.T) {
	dir := t.TempDir()
	switch err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); {
	case errors.Is(err, syscall.EPERM): // no root, or a container that may not
		t.Skipf("cannot mount a small disk: %v", err)
	case err != nil:
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
	port := freePort(t)
	log := newRecorder()
	p, spool := spoolPublisher(t, connectLater(t, serverURL(port), quiet()), dir+"/spool", 1, slog.New(log))
	const n = 10_000
	publishN(t, p, n) // several times what the disk takes
	until(t, "a line about it", func() bool { return log.has("cannot write the spool") && log.has("no space left") })
	if s := spool.Stats(); s.Held == 0 || s.Dropped != 0 || s.Events != n || s.Err == nil {
		t.Errorf("stats %+v", s)
	}
	server := startServer(t, OnPort(port))
	got := collect(t, subscribe(t, connect(t, server.URL(), quiet())))
	got.checkAll(t, keyRange(1, 1, n)) // what the disk does not take is published all the same
	until(t, "every acknowledgement", func() bool { return spool.Stats().Events == 0 })
	server.Close()
	publishN(t, p, n)
	until(t, "the client to notice", func() bool { return !p.conn.Connected() })
	if s := spool.Stats(); s.Held == 0 || s.Dropped != 0 {
		t.Errorf("the disk is not full: %+v", s)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT, "size=64m"); err != nil {
		t.Fatal(err)
	}
	until(t, "room on the disk", func() bool { s := spool.Stats(); return s.Held == 0 && s.Err == nil })
	closePublisher(t, p)
	again := openSpool(t, dir+"/spool", 2)
	defer closeSpool(t, again)
	kept := map[string]bool{}
	for _, key := range keysOf(takeAll(t, again)) {
		kept[key] = true
	}
	for _, key := range keyRange(1, n+1, 2*n) {
		if !kept[key] {
			t.Fatalf("%s is not on the disk", key)
		}
	}
}

// What neither disk nor memory takes is dropped, counted, and a gap in the keys.
func TestSpoolDropsWhenNothingTakesIt(t *testing.T) {
	dir := t.TempDir()
	s := openSpool(t, dir, 1)
	s.mu.Lock()
	s.cfg.Dir = "/dev/null" // where no segment can be made
	s.mu.Unlock()
	big := longVisit(14_000) // 100 kB
	accepted := 0
	var err error
	for err == nil && accepted < 1000 {
		if err = s.Publish(t.Context(), big); err == nil {
			accepted++
		}
	}
	if !errors.Is(err, ErrSpoolFull) || accepted < heldMax/200_000 || s.Stats().Dropped != 1 {
		t.Fatalf("error %v after %d events, %d dropped", err, accepted, s.Stats().Dropped)
	}
	taken := takeAll(t, s)
	if len(taken) != accepted {
		t.Errorf("%d events come out, want %d", len(taken), accepted)
	}
	s.settle(taken[len(taken)-1], streamMark{})
	s.flush() // forgets what is acknowledged
	if err := s.Publish(t.Context(), big); err != nil {
		t.Fatal(err)
	}
	if got := keysOf(takeAll(t, s)); len(got) != 1 || got[0] != "s-1-"+strconv.Itoa(accepted+2) {
		t.Errorf("after the dropped event comes %v", got)
	}
	if err := s.close(); err == nil || !strings.Contains(err.Error(), "1 events are lost") {
		t.Errorf("close hides that an event is lost: %v", err)
	}
}

// What cannot be read is set aside, at the start and while it runs, and the rest goes on.
func TestUnreadableSegmentIsSetAside(t *testing.T) {
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
	s.settle(taken[len(taken)-1], streamMark{})
	if n := s.Stats().Events; n != 0 {
		t.Errorf("%d events wait for ever", n)
	}
	if aside, _ := filepath.Glob(filepath.Join(dir, "*"+damagedSuffix)); len(aside) != 2 {
		t.Errorf("set aside %v, want two", aside)
	}
}

// A segment that is reduced to its last frame may end where the acknowledged position of
// its old content was.
func TestShrunkSegmentIsNotTakenForAcknowledged(t *testing.T) {
	dir := t.TempDir()
	s := openSpool(t, dir, 1)
	fillSpool(t, s, 5) // frames of one size
	s.settle(takeAll(t, s)[0], streamMark{})
	closeSpool(t, s) // the position is on the disk
	s = openSpool(t, dir, 2)
	s.mu.Lock()
	if !s.shrink(s.segments[0]) || !s.dirty {
		t.Error("not shrunk, or the directory is not to be fsynced")
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
	seg := &segment{appendFile: appendFile{path: blocked, buf: []byte("abc")}, size: 3}
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
	close(s.stop) // the test flushes
	s.worker.Wait()
	s.stop = make(chan struct{}) // for close
	defer closeSpool(t, s)
	fillSpool(t, s, 1)
	reader, writer, err := os.Pipe() // takes bytes and knows no fsync
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	suspect := s.segments[0]
	if err := suspect.close(); err != nil {
		t.Fatal(err)
	}
	suspect.file, s.cfg.Dir = writer, s.cfg.Dir+"/missing"
	if err := s.flush(); err == nil || !strings.Contains(err.Error(), "sync "+suspect.path) || !s.dirty {
		t.Errorf("flush: %v, directory to be fsynced %t", err, s.dirty)
	}
	s.cfg.Dir = filepath.Dir(suspect.path)
	suspect.unsynced = true // as when a frame came during the fsync
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
	defer closeSpool(t, s)
	fillSpool(t, s, 5)
	taken := takeAll(t, s)
	settle := func(e *pending) {
		t.Helper()
		s.settle(e, streamMark{})
		if err := s.flush(); err != nil {
			t.Fatal(err)
		}
	}
	settle(taken[4])
	s.mu.Lock()
	s.segments[0].settledAt, s.ackedAt = s.segments[0].settledAt.Add(-2*keepAcked), s.ackedAt.Add(-2*keepAcked)
	s.mu.Unlock()
	s.tidy()
	if len(s.segments) != 2 {
		t.Error("a segment has gone while no acknowledgement came")
	}
	s.settle(taken[5], streamMark{})
	s.tidy()
	if len(s.segments) != 1 {
		t.Error("a segment stays for ever")
	}
}
