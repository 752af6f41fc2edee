package spool

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/chainbound/valtrack/internal/event"
)

// publishOf publishes an event of a peer.
func publishOf(t *testing.T, s *Spool, peer string) {
	t.Helper()
	e := discovered(1)
	e.ID = peer
	if err := s.Publish(t.Context(), e); err != nil {
		t.Fatal(err)
	}
}

func mentions(peer string) func([]byte) bool {
	return func(data []byte) bool { return bytes.Contains(data, []byte(peer)) }
}

// The events of a peer go from every file, and all others are sent, whatever was acknowledged.
func TestPurge(t *testing.T) {
	for name, acked := range map[string]int{"nothing acknowledged": 0, "before the peer's": 1, "up to the peer's": 2, "the first file": 3, "one of the second": 4, "up to the peer's there": 5, "all": 6} {
		dir := t.TempDir()
		for boot := 1; boot <= 2; boot++ {
			s := openSpool(t, dir, boot)
			for _, peer := range []string{"A", "GONE", "B"} {
				publishOf(t, s, peer)
			}
			if boot == 2 {
				takeAll(t, s)
				s.Ack(acked, Mark{}, 0)
			}
			closeSpool(t, s)
		}
		keys, err := Keys(dir, mentions("GONE"))
		if d := cmp.Diff([]event.Key{{Sentry: "s", Boot: 1, Counter: 2}, {Sentry: "s", Boot: 2, Counter: 2}}, keys); d != "" || err != nil {
			t.Errorf("%s: %v, (-want +got):\n%s", name, err, d)
		}
		wantUnsent := map[int]int{0: 2, 1: 2, 2: 1, 3: 1, 4: 1, 5: 0, 6: 0}[acked]
		if n, unsent, err := Purge(dir, mentions("GONE")); n != 2 || unsent != wantUnsent || err != nil {
			t.Errorf("%s: %d removed, %d of them not sent, want %d, %v", name, n, unsent, wantUnsent, err)
		}
		if n, _, err := Purge(dir, mentions("GONE")); n != 0 || err != nil {
			t.Errorf("%s: again: %d removed, %v", name, n, err)
		}
		s := openSpool(t, dir, 3)
		if left := s.Stats().Events; left != map[int]int{0: 4, 1: 3, 2: 3, 3: 2, 4: 1, 5: 1, 6: 0}[acked] {
			t.Errorf("%s: %d events are not acknowledged", name, left)
		}
		s.Rewind(true) // what is acknowledged, too
		if d := cmp.Diff([]string{"s-1-1", "s-1-3", "s-2-1", "s-2-3"}, keysOf(takeAll(t, s))); d != "" {
			t.Errorf("%s: (-want +got):\n%s", name, d)
		}
		closeSpool(t, s)
	}
}

// Damage is kept unless it mentions the peer, and an empty segment goes.
func TestPurgeOfDamagedFiles(t *testing.T) {
	dir := t.TempDir()
	s := openSpool(t, dir, 1)
	publishOf(t, s, "A")
	publishOf(t, s, "GONE")
	closeSpool(t, s)
	path := segmentPath(dir, s.segments[0].seq)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	damaged := path + damagedSuffix
	torn := append(append([]byte("other damage"), whole...), whole[len(whole)/2:len(whole)-1]...)
	only := filepath.Join(dir, filepath.Base(segmentPath(dir, 77)))
	if err := errors.Join(os.WriteFile(damaged, torn, 0o600), os.WriteFile(only, whole[len(whole)/2:], 0o600), os.WriteFile(filepath.Join(dir, "note.txt"), []byte("GONE"), 0o600)); err != nil {
		t.Fatal(err)
	}
	if n, _, err := Purge(dir, mentions("GONE")); n < 3 || err != nil {
		t.Errorf("%d removed, %v", n, err)
	}
	for _, file := range []string{path, damaged} {
		text, err := os.ReadFile(file)
		if err != nil || bytes.Contains(text, []byte("GONE")) || !bytes.Contains(text, []byte(`"A"`)) {
			t.Errorf("%s: %q, %v", file, text, err)
		}
	}
	if text, err := os.ReadFile(damaged); err != nil || !bytes.HasPrefix(text, []byte("other damage")) {
		t.Errorf("%q, %v", text, err)
	}
	if _, err := os.Stat(only); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a segment without events is still there: %v", err)
	}
	for _, dir := range []string{filepath.Join(dir, "nowhere"), t.TempDir()} {
		if n, _, err := Purge(dir, mentions("GONE")); n != 0 || err != nil {
			t.Errorf("%s: %d, %v", dir, n, err)
		}
	}
	if err := os.Truncate(path, maxPurged+1); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Purge(dir, mentions("GONE")); err == nil {
		t.Error("a file that is too large gives no error")
	}
}
