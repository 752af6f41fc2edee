package sentry

import (
	"bytes"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/p2p/enode"
	gethenr "github.com/ethereum/go-ethereum/p2p/enr"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/eth2/enr"
	"github.com/chainbound/valtrack/internal/eth2/network"
	"github.com/chainbound/valtrack/internal/event"
)

// signedRecord is a real record with our digest, of a new key.
func signedRecord(t testing.TB, n network.Network, seq uint64, port int) *enr.Record {
	t.Helper()
	key, err := crypto.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	var r gethenr.Record
	id, nfd := n.Schedule.ForkID(0)
	for _, e := range []gethenr.Entry{
		gethenr.IPv4(net.IPv4(127, 0, 0, 1)), gethenr.TCP(port), gethenr.UDP(port), enr.QUICEntry(uint16(port + 1)),
		enr.Eth2Entry(id), enr.NFDEntry(nfd), enr.AttnetsEntry(eth2.Attnets{1}), enr.SyncnetsEntry(0), enr.CGCEntry(8),
	} {
		r.Set(e)
	}
	r.SetSeq(seq)
	if err := enode.SignV4(&r, key); err != nil {
		t.Fatal(err)
	}
	node, err := enode.New(enode.ValidSchemes, &r)
	if err != nil {
		t.Fatal(err)
	}
	record := enr.FromNode(node)
	return &record
}

// storedTable opens the store in dir and gives a table that has taken it over.
func storedTable(t testing.TB, dir string, n network.Network, log *slog.Logger, now time.Time) *table {
	t.Helper()
	cfg := Config{AllowPrivate: true}.withDefaults(n.Name)
	s, err := OpenStore(dir, n, cfg.MaxPeers, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	table := newTable(cfg, forksOf(n))
	table.adopt(s, newGate(cfg, forksOf(n)).keeps, now)
	return table
}

// samePeers compares what must survive a restart.
func samePeers(t testing.TB, got, want *table) {
	t.Helper()
	diff := cmp.Diff(want.byID, got.byID, cmp.AllowUnexported(peer{}, watched{}),
		cmpopts.IgnoreFields(peer{}, "index", "visiting", "watching", "moved", "announced"),
		cmpopts.EquateApproxTime(time.Millisecond), cmpopts.EquateComparable(netip.AddrPort{}), cmp.Comparer(sameRecord))
	if diff != "" {
		t.Errorf("the table after the restart differs (-want +got):\n%s", diff)
	}
	if got.reachable != want.reachable {
		t.Errorf("%d peers reachable, want %d", got.reachable, want.reachable)
	}
}

func sameRecord(a, b *enr.Record) bool {
	return a == b || a != nil && b != nil && cmp.Equal(*a, *b, cmpopts.EquateComparable(a.IP4))
}

func TestTableSurvivesAKill(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	n := testNetwork(t, now.Add(-time.Hour), 0)
	before := storedTable(t, dir, n, quietLog(), now)
	outcomes := []string{event.OutcomeOK, event.OutcomeRefused, event.OutcomeGoodbye, event.OutcomeWrongNetwork}
	for i := range 8 {
		before.offer(signedRecord(t, n, uint64(i+1), 1000+2*i), now)
	}
	code := eth2.GoodbyeTooManyPeers
	for i, outcome := range outcomes {
		p, _ := before.next(now)
		p.watched = watched{turns: uint32(i), epochs: 1.5, weight: 3}
		r := result{outcome: outcome, started: now, handshaked: outcome == event.OutcomeOK}
		if outcome == event.OutcomeGoodbye {
			r.goodbye = &code
		}
		before.end(p, r, now)
	}
	other := n
	other.Schedule = eth2.Schedule{Periods: []eth2.Period{{Digest: eth2.ForkDigest{9}}}}
	before.offer(signedRecord(t, other, 9, 3000), now)
	before.store.tick(before, now) // the batch of new records; from here on: kill -9

	after := storedTable(t, dir, n, quietLog(), now)
	samePeers(t, after, before)
	for _, p := range after.byID {
		if old := before.byID[p.id]; p.due.Before(old.due) || p.notBefore.Before(old.notBefore) {
			t.Errorf("due %v and not before %v came back as %v and %v", old.due, old.notBefore, p.due, p.notBefore)
		}
	}
	if after.queue.Len() != before.queue.Len() {
		t.Errorf("%d peers queued, want %d", after.queue.Len(), before.queue.Len())
	}
}

func TestPeerBeingVisitedAtAKillWaits(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	n := testNetwork(t, now.Add(-time.Hour), 0)
	before := storedTable(t, dir, n, quietLog(), now)
	record := signedRecord(t, n, 1, 1000)
	before.offer(record, now)
	if p, _ := before.next(now); p == nil {
		t.Fatal("not due")
	}

	later := now.Add(5 * time.Second)
	after := storedTable(t, dir, n, quietLog(), later)
	if p, due := after.next(later); p != nil || due.Before(later.Add(spacing)) {
		t.Errorf("dialled again in %v", due.Sub(later))
	}
	sameAddress := signedRecord(t, n, 1, 1000)
	after.offer(sameAddress, later)
	if p, due := after.next(later); p != nil || due.Before(now.Truncate(time.Millisecond).Add(spacing)) {
		t.Errorf("a peer at the same address is dialled in %v", due.Sub(later))
	}
}

func TestEachStartPublishesARecordOnce(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	n := testNetwork(t, now.Add(-time.Hour), 0)
	record := signedRecord(t, n, 5, 1000)
	for start := range 3 {
		table := storedTable(t, dir, n, quietLog(), now)
		for i, want := range []bool{true, false} {
			if got := table.offer(record, now); got != want {
				t.Errorf("start %d, sight %d: published %v", start, i, got)
			}
		}
		table.store.finish(table, now)
	}
}

func TestATornEndCostsOneLine(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	n := testNetwork(t, now.Add(-time.Hour), 0)
	table := storedTable(t, dir, n, quietLog(), now)
	for i := range 3 {
		table.offer(signedRecord(t, n, 1, 1000+2*i), now)
	}
	table.store.tick(table, now)
	path := filepath.Join(dir, peersFile)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for size := range whole {
		if err := os.WriteFile(path, whole[:size], 0o644); err != nil {
			t.Fatal(err)
		}
		var log bytes.Buffer
		again := storedTable(t, dir, n, slog.New(slog.NewTextHandler(&log, nil)), now)
		lines := bytes.Count(whole[:size], []byte("\n"))
		if got, want := len(again.byID), max(0, lines-1); got != want || log.Len() > 0 {
			t.Fatalf("cut at %d of %d: %d peers, want %d; log %q", size, len(whole), got, want, log.String())
		}
		again.store.Close()
	}
}

func TestDamageIsSetAsideAndTheRestTaken(t *testing.T) {
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
		table := storedTable(t, dir, n, quietLog(), now)
		for i := range 3 {
			table.offer(signedRecord(t, n, 1, 1000+2*i), now)
		}
		table.store.finish(table, now)
		path := filepath.Join(dir, peersFile)
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		bad := strings.Join(damage(strings.SplitAfter(string(text), "\n")), "")
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
		if kept, err := os.ReadFile(path + ".damaged"); err != nil || string(kept) != bad {
			t.Errorf("%s: the damaged file is not kept: %v", name, err)
		}
		log.Reset()
		again.store.finish(again, now)
		if third := storedTable(t, dir, n, slog.New(slog.NewTextHandler(&log, nil)), now); len(third.byID) != peers || log.Len() > 0 {
			t.Errorf("%s: %d peers after one more start; log %q", name, len(third.byID), log.String())
		}
	}
}

func TestATableOfAnotherNetworkIsSetAside(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	n := testNetwork(t, now.Add(-time.Hour), 0)
	table := storedTable(t, dir, n, quietLog(), now)
	table.offer(signedRecord(t, n, 1, 1000), now)
	table.store.finish(table, now)
	anew := testNetwork(t, now, 0) // a devnet with another genesis
	var log bytes.Buffer
	if again := storedTable(t, dir, anew, slog.New(slog.NewTextHandler(&log, nil)), now); len(again.byID) != 0 {
		t.Errorf("%d peers of another network", len(again.byID))
	}
	if !strings.Contains(log.String(), "another network") {
		t.Errorf("log %q", log.String())
	}
	if _, err := os.Stat(filepath.Join(dir, peersFile+".other")); err != nil {
		t.Error(err)
	}
}

// Compactions run while the table changes; whatever step a kill comes at, the file
// holds the table.
func TestCompactionLosesNothing(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	n := testNetwork(t, now.Add(-time.Hour), 0)
	table := storedTable(t, dir, n, quietLog(), now)
	record := signedRecord(t, n, 1, 1000)
	newPeer := func(i int, seq uint64) *enr.Record {
		r := *record
		r.Seq, r.PeerID, r.NodeID = seq, fmt.Sprintf("peer%d", i), eth2.NodeID{byte(i), byte(i >> 8)}
		return &r
	}
	next, compactions, copied := 0, 0, t.TempDir()
	for step := 0; step < 4000 && compactions < 3; step++ {
		for range 50 {
			switch rand.IntN(4) {
			case 0:
				if len(table.byID) < 4500 {
					table.offer(newPeer(next, 1), now)
					next++
				}
			case 1:
				for _, p := range table.byID {
					if p.visiting == 0 {
						table.drop(p)
					}
					break
				}
			default:
				for _, p := range table.byID {
					table.begin(p.id, now)
					table.end(p, result{outcome: event.OutcomeRefused, started: now}, now)
					break
				}
			}
			now = now.Add(time.Millisecond)
		}
		compacting := table.store.next != nil
		if !compacting && step == 20 {
			table.store.live = -1 << 40 // grown enough
		}
		table.store.tick(table, now)
		if compacting && table.store.next == nil {
			compactions++
			table.store.live = -1 << 40
		}
		if step%40 != 0 && compacting == (table.store.next != nil) {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, peersFile))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(copied, peersFile), text, 0o644); err != nil {
			t.Fatal(err)
		}
		again := storedTable(t, copied, n, quietLog(), now)
		if len(again.byID) != len(table.byID) {
			t.Fatalf("step %d: %d peers after a kill, want %d", step, len(again.byID), len(table.byID))
		}
		for id, p := range table.byID {
			if q := again.byID[id]; q == nil || q.fails != p.fails || q.due.Before(p.due) {
				t.Fatalf("step %d: %+v came back as %+v", step, p, q)
			}
		}
		again.store.Close()
	}
	if compactions < 3 {
		t.Errorf("%d compactions", compactions)
	}
}

func TestAFailingDiskIsToldAndMended(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	n := testNetwork(t, now.Add(-time.Hour), 0)
	var log bytes.Buffer
	table := storedTable(t, dir, n, slog.New(slog.NewTextHandler(&log, nil)), now)
	table.store.file.Close() // every write fails from now on
	record := signedRecord(t, n, 1, 1000)
	table.offer(record, now)
	table.store.tick(table, now)
	if p, _ := table.next(now); p == nil {
		t.Error("the crawl stands still")
	}
	if got := strings.Count(log.String(), "cannot be written"); got != 1 {
		t.Errorf("%d lines in the log: %s", got, log.String())
	}
	now = now.Add(storeLogEvery)
	deadline := time.Now().Add(waitLong)
	for table.store.tick(table, now); table.store.next != nil; table.store.tick(table, now) {
		if time.Now().After(deadline) {
			t.Fatal("the compaction does not end")
		}
	}
	if again := storedTable(t, dir, n, quietLog(), now); len(again.byID) != 1 {
		t.Errorf("%d peers after the disk came back", len(again.byID))
	}
}

func TestTheStoreIsBounded(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	n := testNetwork(t, now.Add(-time.Hour), 0)
	table := storedTable(t, dir, n, quietLog(), now)
	for i := range 20 {
		table.offer(signedRecord(t, n, 1, 1000+2*i), now)
	}
	table.store.finish(table, now)
	s, err := OpenStore(dir, n, 5, quietLog())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if s.Peers() != 5 {
		t.Errorf("%d peers, want 5", s.Peers())
	}
	if got := len(s.Known(3, nil)); got != 3 {
		t.Errorf("%d known records, want 3", got)
	}
}

func FuzzStoreLine(f *testing.F) {
	f.Add([]byte(`{"id":"16Uiu2HA","seq":1,"due":5}`))
	f.Add([]byte(`{"id":"a","gone":true}`))
	f.Add([]byte(`{"address":"127.0.0.1:9000","began":1}`))
	f.Add([]byte(`{"id":"a","node_id":"0x00","enr":"enr:-"}`))
	n := testNetwork(f, genesis, 0)
	f.Fuzz(func(t *testing.T, line []byte) {
		s := &Store{header: headerOf(n), log: quietLog()}
		s.loaded = newLoaded()
		s.take(line, 1, 10, genesis)
		s.take(line, 2, 10, genesis)
		table := newTable(Config{}.withDefaults(""), forksOf(n))
		table.adopt(s, func(*peer) bool { return true }, genesis)
		for _, p := range table.byID {
			if p.due.After(genesis.Add(longestWait)) {
				t.Errorf("due at %v", p.due)
			}
		}
	})
}

// BenchmarkOpenStore reads 100 000 peers, all with a record of ours.
func BenchmarkOpenStore(b *testing.B) {
	dir, now := b.TempDir(), time.Now()
	n := testNetwork(b, now.Add(-time.Hour), 0)
	cfg := Config{AllowPrivate: true, MaxPeers: 100_000}.withDefaults(n.Name)
	record := signedRecord(b, n, 1, 1000)
	s, err := OpenStore(dir, n, cfg.MaxPeers, quietLog())
	if err != nil {
		b.Fatal(err)
	}
	table := newTable(cfg, forksOf(n))
	table.adopt(s, func(*peer) bool { return true }, now)
	for i := range cfg.MaxPeers {
		r := *record
		r.PeerID, r.NodeID = fmt.Sprintf("16Uiu2HAm%044d", i), eth2.NodeID{byte(i), byte(i >> 8), byte(i >> 16)}
		table.offer(&r, now)
	}
	table.store.finish(table, now)
	b.ResetTimer()
	for range b.N {
		s, err := OpenStore(dir, n, cfg.MaxPeers, quietLog())
		if err != nil {
			b.Fatal(err)
		}
		table := newTable(cfg, forksOf(n))
		table.adopt(s, func(*peer) bool { return true }, now)
		s.Close()
		if len(table.byID) != cfg.MaxPeers {
			b.Fatalf("%d peers", len(table.byID))
		}
		b.StopTimer()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		b.ReportMetric(float64(m.HeapAlloc)/(1<<20), "MiB")
		runtime.KeepAlive(table)
		b.StartTimer()
	}
}
