package sentry

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chainbound/valtrack/internal/eth2/network"
)

// writeJournal writes a table as earlier versions did, and gives the file's path.
func writeJournal(t testing.TB, dir string, n network.Network, table *table) string {
	t.Helper()
	id := networkIDOf(n)
	var text bytes.Buffer
	lines := json.NewEncoder(&text)
	errs := []error{lines.Encode(journalHeader{journalFormat, id.name, id.genesisValidatorsRoot, id.genesisTime})}
	for _, p := range table.byID {
		whole := rowOf(p)
		state := whole
		state.ENR = ""
		errs = append(errs, lines.Encode(whole), lines.Encode(state))
	}
	path := filepath.Join(dir, journalFile)
	if err := errors.Join(append(errs, os.WriteFile(path, text.Bytes(), 0o644))...); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestJournalIsTakenOver(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	n := testNetwork(t, now.Add(-time.Hour), 0)
	before := newTable(Config{AllowPrivate: true}.withDefaults(n.Name), forksOf(n))
	for i := range 8 {
		before.offer(signedRecord(t, n, uint64(i+1), 1000+2*i), now)
	}
	for range 3 {
		p, _ := before.nextDue(now)
		before.endVisit(p, result{outcome: "ok", started: now, handshaked: true}, now)
	}
	path := writeJournal(t, dir, n, before)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append(text, `{"id":"half a li`...), 0o644); err != nil { // a kill's
		t.Fatal(err)
	}
	for start := range 2 {
		var log bytes.Buffer
		after := storedTable(t, dir, n, slog.New(slog.NewTextHandler(&log, nil)), now)
		samePeers(t, after, before)
		if told := strings.Contains(log.String(), "peers=8"); told != (start == 0) {
			t.Errorf("start %d: log %q", start, log.String())
		}
		after.store.finish(t.Context(), now)
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the old file is still there: %v", err)
		}
	}
}

// A start that was ended between importing the journal and removing it leaves both files:
// the journal is not imported a second time, whatever happens to the database.
func TestJournalIsTakenOverOnce(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	n := testNetwork(t, now.Add(-time.Hour), 0)
	table := newTable(Config{AllowPrivate: true}.withDefaults(n.Name), forksOf(n))
	table.offer(signedRecord(t, n, 1, 1000), now)
	path := writeJournal(t, dir, n, table)
	journal, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	start := func() int {
		s, err := OpenStore(dir, n, 0, discardLog())
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		return s.Peers()
	}
	if peers := start(); peers != 1 {
		t.Fatalf("%d peers imported, want 1", peers)
	}
	if err := os.WriteFile(path, journal, 0o644); err != nil { // as if it had not been removed
		t.Fatal(err)
	}
	if peers := start(); peers != 1 {
		t.Errorf("%d peers at the second start, want 1", peers)
	}
	for _, file := range []string{"", "-wal", "-shm"} { // from nothing
		if err := os.RemoveAll(filepath.Join(dir, peersFile) + file); err != nil {
			t.Fatal(err)
		}
	}
	if peers := start(); peers != 0 {
		t.Errorf("%d peers after the database was removed, want 0", peers)
	}
}

// An ongoing visit, and a peer that had left, in the format of the old file.
func TestJournalLinesAddUp(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	n := testNetwork(t, now.Add(-time.Hour), 0)
	table := newTable(Config{AllowPrivate: true}.withDefaults(n.Name), forksOf(n))
	gone, open := signedRecord(t, n, 1, 1000), signedRecord(t, n, 1, 2000)
	table.offer(gone, now)
	table.offer(open, now)
	path := writeJournal(t, dir, n, table)
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	lines := json.NewEncoder(f)
	err = errors.Join(lines.Encode(storedPeer{ID: gone.PeerID, Gone: true}),
		lines.Encode(storedPeer{ID: open.PeerID, Seq: 1, Began: now.UnixMilli()}),
		lines.Encode(storedPeer{Address: "127.0.0.1:3000", Began: now.UnixMilli()}), f.Close())
	if err != nil {
		t.Fatal(err)
	}
	later := now.Add(5 * time.Second)
	after := storedTable(t, dir, n, discardLog(), later)
	if len(after.byID) != 1 || after.byID[open.PeerID] == nil {
		t.Fatalf("%d peers", len(after.byID))
	}
	if p, due := after.nextDue(later); p != nil || due.Before(later.Add(spacing)) {
		t.Errorf("dialled again in %v", due.Sub(later))
	}
	if len(after.dialled) != 3 {
		t.Errorf("addresses %v, want the peer's two and one more", after.dialled)
	}
}

func TestJournalDamageIsSetAsideAndTheRestTaken(t *testing.T) {
	now := time.Now()
	n := testNetwork(t, now.Add(-time.Hour), 0)
	for name, damage := range map[string]func(lines []string) []string{
		"a line of zeros":   func(l []string) []string { l[2] = strings.Repeat("\x00", 100) + "\n"; return l },
		"half a line":       func(l []string) []string { l[2] = l[2][:len(l[2])/2] + "\n"; return l },
		"an endless line":   func(l []string) []string { l[2] = strings.Repeat("x", 1<<20) + "\n"; return l },
		"a record no more":  func(l []string) []string { l[2] = strings.Replace(l[2], `"enr:`, `"enr:-xyz`, 1); return l },
		"without an id":     func(l []string) []string { l[2] = strings.Replace(l[2], `"id"`, `"ix"`, 1); return l },
		"without its head":  func(l []string) []string { return l[1:3] },
		"another program's": func([]string) []string { return []string{"#!/bin/sh\n", "echo hello\n"} },
	} {
		dir := t.TempDir()
		table := newTable(Config{AllowPrivate: true}.withDefaults(n.Name), forksOf(n))
		for i := range 3 {
			table.offer(signedRecord(t, n, 1, 1000+2*i), now)
		}
		path := writeJournal(t, dir, n, table)
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var lines []string // without the second line of each peer
		for i, line := range strings.SplitAfter(string(text), "\n") {
			if i == 0 || i%2 == 1 {
				lines = append(lines, line)
			}
		}
		bad := strings.Join(damage(lines), "")
		if err := os.WriteFile(path, []byte(bad), 0o644); err != nil {
			t.Fatal(err)
		}
		var log bytes.Buffer
		again := storedTable(t, dir, n, slog.New(slog.NewTextHandler(&log, nil)), now)
		want := map[string]int{"without its head": 1, "another program's": 0}
		peers, special := want[name]
		if !special {
			peers = 2
		}
		if len(again.byID) != peers || !strings.Contains(log.String(), "damaged") {
			t.Errorf("%s: %d peers, want %d; log %q", name, len(again.byID), peers, log.String())
		}
		if kept, err := os.ReadFile(path + damagedSuffix); err != nil || string(kept) != bad {
			t.Errorf("%s: the damaged file is not kept: %v", name, err)
		}
		log.Reset()
		again.store.finish(t.Context(), now)
		if third := storedTable(t, dir, n, slog.New(slog.NewTextHandler(&log, nil)), now); len(third.byID) != peers || log.Len() > 0 {
			t.Errorf("%s: %d peers after one more start; log %q", name, len(third.byID), log.String())
		}
	}
}

func TestAJournalOfAnotherNetworkIsSetAside(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	n := testNetwork(t, now.Add(-time.Hour), 0)
	table := newTable(Config{AllowPrivate: true}.withDefaults(n.Name), forksOf(n))
	table.offer(signedRecord(t, n, 1, 1000), now)
	path := writeJournal(t, dir, n, table)
	var log bytes.Buffer
	if again := storedTable(t, dir, testNetwork(t, now, 0), slog.New(slog.NewTextHandler(&log, nil)), now); len(again.byID) != 0 {
		t.Errorf("%d peers of another network", len(again.byID))
	}
	if _, err := os.Stat(path + otherSuffix); err != nil || !strings.Contains(log.String(), "another network") {
		t.Errorf("%v; log %q", err, log.String())
	}
}

func FuzzJournalLine(f *testing.F) {
	f.Add([]byte(`{"id":"16Uiu2HA","seq":1,"due":5}`))
	f.Add([]byte(`{"id":"a","gone":true}`))
	f.Add([]byte(`{"address":"127.0.0.1:9000","began":1}`))
	f.Add([]byte(`{"id":"a","node_id":"0x00","enr":"enr:-"}`))
	n := testNetwork(f, genesis, 0)
	f.Fuzz(func(t *testing.T, line []byte) {
		s := &Store{network: networkIDOf(n), maxPeers: 10, log: discardLog(), loaded: newLoaded(), pending: newChanges()}
		s.applyLine(line, 1, genesis)
		s.applyLine(line, 2, genesis)
		table := newTable(Config{}.withDefaults(""), forksOf(n))
		table.adopt(s, func(*peer) bool { return true }, genesis)
		for _, p := range table.byID {
			if p.due.After(genesis.Add(longestWait)) {
				t.Errorf("due at %v", p.due)
			}
		}
	})
}
