package sentry

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
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
		cmpopts.IgnoreFields(peer{}, "index", "visiting", "watching", "moved", "announced", "queue", "heldBy", "dial", "at", "tookMS", "moves"),
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

// write has the table's changes written, as the goroutine of Store.run would.
func write(t testing.TB, table *table, now time.Time) {
	t.Helper()
	saved := table.store.save()
	table.store.write(t.Context(), now)
	select {
	case <-saved:
	default:
		t.Error("visits are not notified that the store has written")
	}
}

// killed is a copy of the data directory as a kill leaves it now: the database and its
// log, without what only an orderly end would write.
func killed(t testing.TB, dir string) string {
	t.Helper()
	to := t.TempDir()
	for _, name := range []string{peersFile, peersFile + "-wal"} {
		content, err := os.ReadFile(filepath.Join(dir, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(to, name), content, 0o644)
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	}
	return to
}

func TestTableSurvivesAKill(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	n := testNetwork(t, now.Add(-time.Hour), 0)
	before := storedTable(t, dir, n, discardLog(), now)
	outcomes := []string{event.OutcomeOK, event.OutcomeRefused, event.OutcomeGoodbye, event.OutcomeWrongNetwork}
	for i := range 8 {
		before.offer(signedRecord(t, n, uint64(i+1), 1000+2*i), now)
	}
	code := eth2.GoodbyeTooManyPeers
	for i, outcome := range outcomes {
		p, _ := before.nextDue(now)
		p.watched = watched{watches: uint32(i), epochs: 1.5, weight: 3}
		r := result{outcome: outcome, started: now, handshaked: outcome == event.OutcomeOK}
		if outcome == event.OutcomeGoodbye {
			r.goodbye = &code
		}
		before.endVisit(p, r, now)
	}
	other := n
	other.Schedule = eth2.Schedule{Periods: []eth2.Period{{Digest: eth2.ForkDigest{9}}}}
	before.offer(signedRecord(t, other, 9, 3000), now)
	write(t, before, now) // from here on: kill -9

	after := storedTable(t, killed(t, dir), n, discardLog(), now)
	samePeers(t, after, before)
	for _, p := range after.byID {
		if old := before.byID[p.id]; p.due.Before(old.due) || p.notBefore.Before(old.notBefore) {
			t.Errorf("due %v and not before %v came back as %v and %v", old.due, old.notBefore, p.due, p.notBefore)
		}
	}
	if after.queue.len() != before.queue.len() {
		t.Errorf("%d peers queued, want %d", after.queue.len(), before.queue.len())
	}
}

func TestPeerBeingVisitedAtAKillWaits(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	n := testNetwork(t, now.Add(-time.Hour), 0)
	before := storedTable(t, dir, n, discardLog(), now)
	record := signedRecord(t, n, 1, 1000)
	before.offer(record, now)
	if p, _ := before.nextDue(now); p == nil {
		t.Fatal("not due")
	}
	write(t, before, now)

	later := now.Add(5 * time.Second)
	after := storedTable(t, killed(t, dir), n, discardLog(), later)
	if p, due := after.nextDue(later); p != nil || due.Before(later.Add(spacing)) {
		t.Errorf("dialled again in %v", due.Sub(later))
	}
	sameAddress := signedRecord(t, n, 1, 1000)
	after.offer(sameAddress, later)
	if p, due := after.nextDue(later); p != nil || due.Before(now.Truncate(time.Millisecond).Add(spacing)) {
		t.Errorf("a peer at the same address is dialled in %v", due.Sub(later))
	}
}

func TestEachStartPublishesARecordOnce(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	n := testNetwork(t, now.Add(-time.Hour), 0)
	record := signedRecord(t, n, 5, 1000)
	for start := range 3 {
		table := storedTable(t, dir, n, discardLog(), now)
		for i, want := range []bool{true, false} {
			if got := table.offer(record, now); got != want {
				t.Errorf("start %d, sight %d: published %v", start, i, got)
			}
		}
		table.store.finish(t.Context(), now)
	}
}

// What a power cut leaves of the log is a beginning of it: the transactions that are
// whole count, and nothing is damaged.
func TestATornLogCostsTheNewestWrites(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	n := testNetwork(t, now.Add(-time.Hour), 0)
	table := storedTable(t, dir, n, discardLog(), now)
	written := map[int]int{} // peers by size of the log
	for i := range 3 {
		table.offer(signedRecord(t, n, 1, 1000+2*i), now)
		write(t, table, now)
		info, err := os.Stat(filepath.Join(dir, peersFile+"-wal"))
		if err != nil {
			t.Fatal(err)
		}
		written[int(info.Size())] = i + 1
	}
	copied := killed(t, dir)
	database, err := os.ReadFile(filepath.Join(copied, peersFile))
	if err != nil {
		t.Fatal(err)
	}
	log, err := os.ReadFile(filepath.Join(copied, peersFile+"-wal"))
	if err != nil {
		t.Fatal(err)
	}
	want := 0
	for size := 0; size <= len(log); size++ {
		if peers, whole := written[size]; whole {
			want = peers
		} else if size%97 != 0 { // enough of all places
			continue
		}
		torn := t.TempDir()
		for name, content := range map[string][]byte{peersFile: database, peersFile + "-wal": log[:size]} {
			if err := os.WriteFile(filepath.Join(torn, name), content, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		var log bytes.Buffer
		again := storedTable(t, torn, n, slog.New(slog.NewTextHandler(&log, nil)), now)
		if got := len(again.byID); got != want || log.Len() > 0 {
			t.Fatalf("cut at %d: %d peers, want %d; log %q", size, got, want, log.String())
		}
		again.store.Close()
	}
	if want != 3 {
		t.Errorf("%d peers in the whole log", want)
	}
}

// manyPeers writes a table of so many peers in dir and closes it.
func manyPeers(t testing.TB, dir string, n network.Network, peers int, now time.Time) {
	t.Helper()
	table := storedTable(t, dir, n, discardLog(), now)
	for i := range peers {
		table.offer(signedRecord(t, n, 1, 1000+2*i), now)
	}
	table.store.finish(t.Context(), now)
}

// TestDatabaseSettings: every setting of openDB is in force, whatever order the driver
// applies them in.
func TestDatabaseSettings(t *testing.T) {
	table := storedTable(t, t.TempDir(), testNetwork(t, time.Now(), 0), discardLog(), time.Now())
	defer table.store.Close()
	for pragma, want := range map[string]string{
		"page_size": "1024", "journal_mode": "wal", "synchronous": "1", "busy_timeout": "1000", "wal_autocheckpoint": "8192", "secure_delete": "1",
	} {
		var got string
		if err := table.store.db.QueryRowContext(t.Context(), "PRAGMA "+pragma).Scan(&got); err != nil || got != want {
			t.Errorf("%s is %q (%v), want %q", pragma, got, err, want)
		}
	}
}

func TestDamageIsSetAsideAndTheRestTaken(t *testing.T) {
	const peers, page = 30, 1024
	now := time.Now()
	n := testNetwork(t, now.Add(-time.Hour), 0)
	garbage := func(from, pages int) func([]byte) []byte {
		return func(b []byte) []byte {
			copy(b[from*page:], bytes.Repeat([]byte{0xee}, pages*page))
			return b
		}
	}
	for name, c := range map[string]struct {
		damage func([]byte) []byte
		least  int
	}{
		"a page of records":      {func(b []byte) []byte { return garbage(bytes.LastIndex(b, []byte("enr:-"))/page, 1)(b) }, peers - 4},
		"the last page":          {func(b []byte) []byte { return garbage(len(b)/page-1, 1)(b) }, peers - 4},
		"the end is missing":     {func(b []byte) []byte { return b[:len(b)-3*page] }, peers - 3*2}, // two rows in a page
		"half a page is missing": {func(b []byte) []byte { return b[:len(b)-page/2] }, peers - 3},
		"an illegible record":    {func(b []byte) []byte { return bytes.Replace(b, []byte("enr:-"), []byte("enr:!"), 1) }, peers - 1},
		"without its schema":     {garbage(0, 1), 0},
		"another program's":      {func([]byte) []byte { return []byte("#!/bin/sh\necho hello\n") }, 0},
		"all of it but the end":  {func(b []byte) []byte { return garbage(1, len(b)/page-2)(b) }, 0},
	} {
		dir := t.TempDir()
		manyPeers(t, dir, n, peers, now)
		path := filepath.Join(dir, peersFile)
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		bad := c.damage(content)
		if err := os.WriteFile(path, bad, 0o644); err != nil {
			t.Fatal(err)
		}
		var log bytes.Buffer
		again := storedTable(t, dir, n, slog.New(slog.NewTextHandler(&log, nil)), now)
		got := len(again.byID)
		if got < c.least || !strings.Contains(log.String(), "damaged") {
			t.Errorf("%s: %d peers, want at least %d; log %q", name, got, c.least, log.String())
		}
		if kept, err := os.ReadFile(path + damagedSuffix); err != nil || !bytes.Equal(kept, bad) {
			t.Errorf("%s: the damaged file is not kept: %v", name, err)
		}
		log.Reset()
		again.store.finish(t.Context(), now)
		if third := storedTable(t, dir, n, slog.New(slog.NewTextHandler(&log, nil)), now); len(third.byID) != got || log.Len() > 0 {
			t.Errorf("%s: %d peers after one more start, want %d; log %q", name, len(third.byID), got, log.String())
		}
	}
}

func TestATableOfAnotherNetworkIsSetAside(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	n := testNetwork(t, now.Add(-time.Hour), 0)
	manyPeers(t, dir, n, 1, now)
	restarted := testNetwork(t, now, 0) // a devnet with another genesis
	var log bytes.Buffer
	if again := storedTable(t, dir, restarted, slog.New(slog.NewTextHandler(&log, nil)), now); len(again.byID) != 0 {
		t.Errorf("%d peers of another network", len(again.byID))
	}
	if !strings.Contains(log.String(), "another network") || !strings.Contains(log.String(), "level=INFO") {
		t.Errorf("log %q", log.String())
	}
	if _, err := os.Stat(filepath.Join(dir, peersFile+otherSuffix)); err != nil {
		t.Error(err)
	}
	log.Reset()
	other := restarted
	other.GenesisValidatorsRoot[0]++
	storedTable(t, dir, other, slog.New(slog.NewTextHandler(&log, nil)), now)
	if !strings.Contains(log.String(), "another network, ") || !strings.Contains(log.String(), "level=WARN") {
		t.Errorf("log %q", log.String())
	}
}

func TestATableOfALaterVersionIsRefused(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	n := testNetwork(t, now.Add(-time.Hour), 0)
	manyPeers(t, dir, n, 1, now)
	path := filepath.Join(dir, peersFile)
	db, err := openDB(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.ExecContext(t.Context(), "PRAGMA user_version = 2"); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = OpenStore(dir, n, 0, discardLog())
	if !errors.Is(err, errNewerSchema) || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "remove the file") {
		t.Errorf("error %v", err)
	}
	if after, err := os.ReadFile(path); err != nil || !bytes.Equal(after, before) {
		t.Errorf("the file has changed: %v", err)
	}
}

// Whatever moment a kill comes at, also between checkpoints, the files hold the table.
func TestWritesLoseNothing(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	n := testNetwork(t, now.Add(-time.Hour), 0)
	table := storedTable(t, dir, n, discardLog(), now)
	if _, err := table.store.db.ExecContext(t.Context(), "PRAGMA wal_autocheckpoint(500)"); err != nil {
		t.Fatal(err)
	}
	record := signedRecord(t, n, 1, 1000)
	newPeer := func(i int, seq uint64) *enr.Record {
		r := *record
		r.Seq, r.PeerID, r.NodeID = seq, fmt.Sprintf("peer%d", i), eth2.NodeID{1, byte(i), byte(i >> 8)}
		return &r
	}
	next := 0
	for step := range 1000 {
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
					table.beginVisit(p.id, now)
					table.endVisit(p, result{outcome: event.OutcomeRefused, started: now}, now)
					break
				}
			}
			now = now.Add(time.Millisecond)
		}
		write(t, table, now)
		if step%40 != 0 {
			continue
		}
		again := storedTable(t, killed(t, dir), n, discardLog(), now)
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
}

func TestFailingDiskIsLoggedAndRecovered(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	n := testNetwork(t, now.Add(-time.Hour), 0)
	var log bytes.Buffer
	table := storedTable(t, dir, n, slog.New(slog.NewTextHandler(&log, nil)), now)
	readOnly := func(on int) {
		if _, err := table.store.db.ExecContext(t.Context(), fmt.Sprintf("PRAGMA query_only = %d", on)); err != nil {
			t.Fatal(err)
		}
	}
	readOnly(1) // every write fails from now on
	table.offer(signedRecord(t, n, 1, 1000), now)
	write(t, table, now)
	if p, _ := table.nextDue(now); p == nil {
		t.Error("the crawl has stopped")
	}
	for range 10 {
		write(t, table, now) // visits are not held up
		now = now.Add(storeRetry)
	}
	if got := strings.Count(log.String(), "cannot write the peer table"); got != 1 {
		t.Errorf("%d lines in the log: %s", got, log.String())
	}
	readOnly(0)
	now = now.Add(storeRetry)
	table.offer(signedRecord(t, n, 1, 2000), now)
	write(t, table, now)
	if again := storedTable(t, killed(t, dir), n, discardLog(), now); len(again.byID) != 2 {
		t.Errorf("%d peers after the disk came back", len(again.byID))
	}
	if !strings.Contains(log.String(), "writable again") {
		t.Errorf("log %q", log.String())
	}
}

// While the disk is full, peers come and go for days.
func TestPendingChangesAreBounded(t *testing.T) {
	const peers = 20
	c := newChanges()
	for i := range peers {
		c.add(storedPeer{ID: fmt.Sprint("kept", i)}, peers)
	}
	for i := range 1000 {
		c.add(storedPeer{ID: fmt.Sprint("gone", i), Gone: true}, peers)
	}
	c.add(storedPeer{ID: "kept0", Seq: 7}, peers)
	if len(c.peers) > 2*peers || c.peers["kept0"].Seq != 7 {
		t.Errorf("%d changes of a table of %d peers, newest state %+v", len(c.peers), peers, c.peers["kept0"])
	}
}

func TestTheStoreIsBounded(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	n := testNetwork(t, now.Add(-time.Hour), 0)
	manyPeers(t, dir, n, 20, now)
	s, err := OpenStore(dir, n, 5, discardLog())
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
	s.finish(t.Context(), now)
	again, err := OpenStore(dir, n, 0, discardLog())
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if again.Peers() != 5 {
		t.Errorf("%d peers are still in the file, want 5", again.Peers())
	}
}

func TestAnExcludedPeerLeavesTheFile(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	n := testNetwork(t, now.Add(-time.Hour), 0)
	table := storedTable(t, dir, n, discardLog(), now)
	for i := range 50 {
		table.offer(signedRecord(t, n, 1, 1000+2*i), now)
	}
	write(t, table, now)
	var left *peer
	for _, left = range table.byID {
		break
	}
	id, record := left.id, left.text
	table.drop(left)
	table.store.finish(t.Context(), now)
	content, err := os.ReadFile(filepath.Join(dir, peersFile))
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(content, []byte(id)) || bytes.Contains(content, []byte(record)) {
		t.Error("a peer that has left the table can be read from the file")
	}
}

// A visit waits for its start to be written, but not forever.
func TestVisitsWaitForTheStore(t *testing.T) {
	for name, hangs := range map[string]time.Duration{"a slow disk": saveWait / 2, "a disk that hangs": 10 * saveWait} {
		synctest.Test(t, func(t *testing.T) {
			net := testNetwork(t, time.Now(), 0)
			store, err := OpenStore(t.TempDir(), net, 10, discardLog())
			if err != nil {
				t.Fatal(err)
			}
			only, err := store.db.Conn(t.Context()) // the writer cannot get it
			if err != nil {
				t.Fatal(err)
			}
			v := newFakeVisitor(time.Second, always(event.OutcomeOK))
			s := startSchedule(t, Config{Store: store}, net, v, 1)
			began := time.Now()
			time.Sleep(hangs)
			if err := only.Close(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(saveWait)
			s.stop()
			visits := v.visitsOf("p0")
			if len(visits) != 1 || visits[0].Sub(began) < min(hangs, saveWait) || visits[0].Sub(began) > saveWait {
				t.Errorf("%s: visits at %v, want one after %v", name, visits, began.Add(min(hangs, saveWait)))
			}
		})
	}
}
