package sentry

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chainbound/valtrack/internal/event"
)

func writeFile(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestExcludeKinds(t *testing.T) {
	n := testNetwork(t, genesis, 0)
	byPeerID, byNodeID, other := signedRecord(t, n, 1, 1000), signedRecord(t, n, 1, 1002), signedRecord(t, n, 1, 1004)
	path := filepath.Join(t.TempDir(), "exclude.txt")
	writeFile(t, path, fmt.Sprintf(`# nobody we like
%s   # asked on 1 May
  %s

192.0.2.7
10.1.0.0/16
2001:db8::/32
::ffff:198.51.100.0/120
12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA
QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N
`, byPeerID.PeerID, byNodeID.NodeID))
	x, err := LoadExclude(path)
	if err != nil {
		t.Fatal(err)
	}
	if x.Len() != 8 {
		t.Errorf("%d entries, want 8", x.Len())
	}
	for _, r := range []struct {
		got, want bool
		what      string
	}{
		{x.record(byPeerID), true, "record of an excluded peer id"},
		{x.record(byNodeID), true, "record of an excluded node id"},
		{x.record(other), false, "another record"},
		{x.Peer(byNodeID.PeerID), true, "peer id of an excluded node id"},
		{x.Peer("12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA"), true, "Ed25519 peer id"},
		{x.Peer(other.PeerID), false, "another peer id"},
		{x.inboundPeer(other.PeerID, "/ip4/10.1.2.3/tcp/9000"), true, "inbound from an excluded network"},
		{x.inboundPeer(other.PeerID, "/ip4/10.2.2.3/tcp/9000"), false, "inbound from elsewhere"},
		{x.inboundPeer(other.PeerID, "nonsense"), false, "inbound from nowhere"},
		{x.event(&event.VisitEnded{ID: byPeerID.PeerID}), true, "visit of an excluded peer"},
		{x.event(&event.PeerDiscovered{ID: other.PeerID}), false, "discovery of another"},
		{(*Exclude)(nil).record(other), false, "no list"},
	} {
		if r.got != r.want {
			t.Errorf("%s: %v", r.what, r.got)
		}
	}
	for addr, want := range map[string]bool{
		"192.0.2.7": true, "192.0.2.8": false, "10.1.255.255": true, "10.2.0.0": false, "::ffff:192.0.2.7": true,
		"2001:db8:1::1": true, "2001:db9::1": false, "198.51.100.9": true, "fe80::1%eth0": false,
	} {
		if got := x.Address(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s: %v", addr, got)
		}
	}
}

func TestBadExcludeLinesAreNamed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "exclude.txt")
	for content, want := range map[string]string{
		"\n# ok\nfoo.example\n":         `exclude.txt:3: "foo.example": want a peer id`,
		"10.0.0.0/33":                   `exclude.txt:1: "10.0.0.0/33"`,
		"1.2.3\n":                       `exclude.txt:1: "1.2.3"`,
		"16Uiu2HAmBroken\n":             `exclude.txt:1: "16Uiu2HAmBroken"`,
		"1.2.3.4 5.6.7.8":               `exclude.txt:1: "1.2.3.4 5.6.7.8"`,
		strings.Repeat("a", 1<<16):      `exclude.txt:1: over 1024 bytes`,
		"0x" + strings.Repeat("0g", 32): `exclude.txt:1: "0x`,
	} {
		writeFile(t, path, content)
		if _, err := LoadExclude(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.30q: %v, want %s", content, err, want)
		}
	}
	if _, err := LoadExclude(path + ".not"); err == nil {
		t.Error("a missing file is no error")
	}
}

// While the sentry runs the file changes: whoever comes into it is left alone from
// the next look on, and a bad file changes nothing.
func TestExcludeFileIsReadAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := testNetwork(t, time.Now(), 0)
		path := filepath.Join(t.TempDir(), "exclude.txt")
		writeFile(t, path, "")
		x, err := LoadExclude(path)
		if err != nil {
			t.Fatal(err)
		}
		var log bytes.Buffer
		v := newFakeVisitor(time.Second, always(event.OutcomeOK))
		cfg := Config{Exclude: x, log: slog.New(slog.NewTextHandler(&log, nil))}
		s := startSchedule(t, cfg, n, v, 0)
		first, second := signedRecord(t, n, 1, 1000), signedRecord(t, n, 1, 1002)
		s.offer(first)
		s.offer(second)
		change := func(content string) {
			writeFile(t, path, content)
			// The file's times are the real clock's: make them differ.
			if err := os.Chtimes(path, time.Now(), time.Now()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(tidyEvery + time.Second)
		}
		change("garbage\n")
		if len(s.table.byID) != 2 {
			t.Error("a bad file changed the table")
		}
		change(first.PeerID + "\n")
		visits := len(v.visitsOf(first.PeerID))
		time.Sleep(5 * n.Clock.EpochDuration())
		if got := len(v.visitsOf(first.PeerID)); got != visits || visits == 0 {
			t.Errorf("%d visits after it was excluded, %d before", got-visits, visits)
		}
		newer := *first
		newer.Seq = 2
		if s.offer(&newer) {
			t.Error("its record is published")
		}
		if len(v.visitsOf(second.PeerID)) < 5 {
			t.Error("the other peer is no longer visited")
		}
		s.stop()
		if len(s.table.byID) != 1 {
			t.Errorf("%d peers in the table", len(s.table.byID))
		}
		if got := log.String(); strings.Count(got, "the exclude file is invalid") != 1 || !strings.Contains(got, "exclude.txt:1: ") {
			t.Errorf("log: %s", got)
		}
	})
}

// A watch may last for hours: it does not outlast the next look at the file.
func TestWatchOfAnExcludedPeerEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := testNetwork(t, time.Now(), 0)
		path := filepath.Join(t.TempDir(), "exclude.txt")
		writeFile(t, path, "")
		x, err := LoadExclude(path)
		if err != nil {
			t.Fatal(err)
		}
		w := newWatcher(n.Clock)
		w.epochs = 1000
		s := startSchedule(t, Config{Exclude: x, MaxWatched: 10, MaxConnections: 100}, n, w, 0)
		first, second := signedRecord(t, n, 1, 1000), signedRecord(t, n, 1, 1002)
		s.offer(first)
		s.offer(second)
		time.Sleep(10 * time.Second)
		if got := w.watchingNow(); got != 2 {
			t.Fatalf("%d watches", got)
		}
		writeFile(t, path, first.PeerID+"\n")
		time.Sleep(tidyEvery + time.Second)
		if got := w.watchingNow(); got != 1 {
			t.Errorf("%d watches after one of two peers was excluded", got)
		}
		time.Sleep(time.Hour)
		s.stop()
		if len(w.census[first.PeerID]) != 1 || len(w.spans[second.PeerID]) != 1 {
			t.Errorf("visits of the excluded peer at %v, watches of the other %v", w.census[first.PeerID], w.spans[second.PeerID])
		}
		if len(s.table.byID) != 1 {
			t.Errorf("%d peers in the table", len(s.table.byID))
		}
	})
}

func TestKnownRecordsAreOfNobodyExcluded(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	n := testNetwork(t, now.Add(-time.Hour), 0)
	table := storedTable(t, dir, n, discardLog(), now)
	path := filepath.Join(dir, "exclude.txt")
	var ids, kept []string
	for i := range 6 {
		r := signedRecord(t, n, 1, 1000+2*i)
		table.offer(r, now)
		if i < 4 {
			ids = append(ids, r.PeerID)
		} else {
			kept = append(kept, r.Raw)
		}
	}
	table.store.finish(t.Context(), now)
	writeFile(t, path, strings.Join(ids, "\n"))
	x, err := LoadExclude(path)
	if err != nil {
		t.Fatal(err)
	}
	s, err := OpenStore(dir, n, 10, discardLog())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	got := s.Known(3, x)
	slices.Sort(got)
	slices.Sort(kept)
	if !slices.Equal(got, kept) {
		t.Errorf("known: %v, want %v", got, kept)
	}
}

func TestOnlyRecordsOfTheShardAreTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := testNetwork(t, time.Now(), 0)
		v := newFakeVisitor(time.Second, always(event.OutcomeOK))
		shard := Shard{2, 3}
		s := startSchedule(t, Config{Shard: shard}, n, v, 0)
		for i := range 30 {
			r := signedRecord(t, n, 1, 1000+2*i)
			if got := s.offer(r); got != shard.Has(r.NodeID) {
				t.Errorf("record of another shard published: %v", got)
			}
		}
		time.Sleep(time.Minute)
		s.stop()
		for id := range s.table.byID {
			if len(v.visitsOf(id)) != 1 {
				t.Errorf("%d visits of %s", len(v.visitsOf(id)), id)
			}
		}
	})
}

func FuzzExclude(f *testing.F) {
	f.Add("10.0.0.0/8\n# x\n16Uiu2HAm")
	f.Add("::ffff:1.2.3.4/97")
	f.Fuzz(func(t *testing.T, content string) {
		r, err := parseRules(strings.NewReader(content), "f", false)
		if err != nil {
			return
		}
		x := &Exclude{}
		x.rules.Store(r)
		for net := range r.nets {
			if !x.Address(net.Addr()) {
				t.Errorf("%v does not hold its own address", net)
			}
		}
	})
}
