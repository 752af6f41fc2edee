package tracker

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestPurge(t *testing.T) {
	dir := t.TempDir()
	if n, err := Purge(t.Context(), dir, nil); n != 0 || err != nil || exists(dir) {
		t.Errorf("without a database: %d, %v", n, err)
	}
	now := time.Now()
	tr := opened(t, dir, &now)
	c := newCrawl(1)
	for _, e := range c.events(5, 3, now.Add(-time.Hour), 10*time.Minute) {
		tr.Add(e)
	}
	flush(t, tr, 7)
	if err := tr.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, rebuilt), []byte(peerID(2)), 0o644); err != nil { // of a rebuild that was killed
		t.Fatal(err)
	}
	before, err := Read(t.Context(), dir)
	if err != nil || before.Peer(peerID(2)) == nil {
		t.Fatalf("no peer to purge, %v", err)
	}
	gone := func(p *Peer) bool { return p.ID == peerID(2) }
	if n, err := Purge(t.Context(), dir, gone); n != 1 || err != nil {
		t.Fatalf("purged %d, %v", n, err)
	}
	if n, err := Purge(t.Context(), dir, gone); n != 0 || err != nil {
		t.Errorf("purged %d again, %v", n, err)
	}
	after, err := Read(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	if after.Peer(peerID(2)) != nil || after.Len() != before.Len()-1 || *after.Applied != 7 || after.Peer(peerID(1)).Observations != before.Peer(peerID(1)).Observations {
		t.Errorf("%d peers, applied %d", after.Len(), *after.Applied)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if text, err := os.ReadFile(f); err != nil || bytes.Contains(text, []byte(peerID(2))) {
			t.Errorf("%s names the peer, %v", filepath.Base(f), err)
		}
	}
}
