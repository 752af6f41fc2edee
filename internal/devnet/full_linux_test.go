package devnet

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/chainbound/valtrack/internal/diskio/diskiotest"
)

type lockedLog struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lockedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lockedLog) has(text string) bool { return l.count(text) > 0 }

func (l *lockedLog) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), text)
}

// On a full disk the nodes go on, which is said once; what could not be written comes later.
func TestNodesGoOnWhenTheDiskIsFull(t *testing.T) {
	t.Parallel()
	cfg := fast(4)
	cfg.Dir = diskiotest.Mount(t, "4m")
	log := &lockedLog{}
	d, err := Start(t.Context(), cfg, slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	ballast := filepath.Join(cfg.Dir, "ballast")
	diskiotest.Fill(t, ballast)
	eventually(t, "the log says it", func() bool { return log.has("cannot write the devnet's truth") })
	select {
	case <-d.Ended():
		t.Fatalf("the network has ended: %v", d.Close())
	default:
	}
	node := d.Truth().Nodes[0]
	if _, err := newCrawler(t).connect(t.Context(), node.Multiaddrs[0]); err != nil {
		t.Errorf("a node is away: %v", err)
	}
	if n := log.count("cannot write the devnet's truth"); n != 1 {
		t.Errorf("said %d times", n)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the truth is written again", func() bool { return log.has("written again") })
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	f, err := os.Open(filepath.Join(cfg.Dir, SubscriptionsFile))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	last, lines := int64(0), 0
	for scan := bufio.NewScanner(f); scan.Scan(); lines++ {
		var line subscriptionLine
		if err := json.Unmarshal(scan.Bytes(), &line); err != nil || line.PeerID == "" || line.Time < last {
			t.Fatalf("line %d: %s, %v", lines, scan.Bytes(), err)
		}
		last = line.Time
	}
	want := 0
	for i := range d.history.nodes {
		n := &d.history.nodes[i]
		want += len(n.initial.Subnets()) + len(n.changes)
	}
	if lines != want {
		t.Errorf("%d lines of %d", lines, want)
	}
}

// halves writes half of what it is given, then fails; nothing while full.
type halves struct {
	bytes.Buffer
	full bool
}

func (w *halves) Write(p []byte) (int, error) {
	if w.full {
		return 0, errors.New("full")
	}
	if len(p) < 2 {
		return w.Buffer.Write(p)
	}
	n, _ := w.Buffer.Write(p[:len(p)/2])
	return n, errors.New("full")
}

// Half a line is continued, and lines that there was no memory for are counted in the file.
func TestLinesThatCouldNotBeWritten(t *testing.T) {
	w := &halves{full: true}
	log := newNDJSON(w)
	line := strings.Repeat("x", 1<<20)
	for range maxUnwritten>>20 + 3 {
		if err := log.write(line); err != nil {
			t.Fatal(err)
		}
		if err := log.flush(); err == nil {
			t.Fatal("no error of a full disk")
		}
	}
	w.full = false
	for log.flush() != nil || log.pending.Len() > 0 {
	}
	kept := maxUnwritten >> 20
	want := strings.Repeat(`"`+line+"\"\n", kept) + `{"missing_lines":3}` + "\n"
	if got := w.String(); got != want {
		t.Errorf("%d bytes, want %d; the end is %q", len(got), len(want), got[len(got)-30:])
	}
}
