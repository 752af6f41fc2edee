package discv5

import (
	"encoding/binary"
	"net/netip"
	"runtime"
	"testing"
	"time"
	"unsafe"

	"github.com/ethereum/go-ethereum/p2p/enode"
	gethenr "github.com/ethereum/go-ethereum/p2p/enr"

	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/eth2/enr"
)

// syntheticRecord is all but the address and signature of a record of 260 bytes.
func syntheticRecord(forkID eth2.ENRForkID) (r gethenr.Record) {
	for _, e := range []gethenr.Entry{
		gethenr.ID("v4"), gethenr.UDP(9000), gethenr.TCP(9000), enr.QUICEntry(9001),
		gethenr.WithEntry("secp256k1", make([]byte, 33)),
		enr.Eth2Entry(forkID), enr.AttnetsEntry(eth2.Attnets{}), enr.SyncnetsEntry(0), enr.CGCEntry(8),
		enr.NFDEntry(eth2.ForkDigest{}), gethenr.WithEntry("client", make([]byte, 40)),
	} {
		r.Set(e)
	}
	return r
}

// syntheticNode is the i-th of any number of nodes. Its signature and its key are no
// real ones, which would take minutes to make.
func syntheticNode(t testing.TB, i int, r gethenr.Record) *enode.Node {
	t.Helper()
	id := enode.ID{31: 1}
	binary.BigEndian.PutUint64(id[8:], uint64(i))
	binary.BigEndian.PutUint32(id[:], uint32(i)*2654435761) // spread over the id space
	r.Set(gethenr.IPv4Addr(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})))
	if err := r.SetSig(trusted(id), append(make([]byte, 32), id[:]...)); err != nil {
		t.Fatal(err)
	}
	n, err := enode.New(trusted(id), &r)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// liveHeap is what a collection leaves, in bytes.
func liveHeap() int64 {
	runtime.GC()
	runtime.GC() // the first may have met a cycle under way
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// A full table with the memory of verified records is a part of what 100 000 known
// records may take, 250 MiB with the collector's room of about as much again.
func TestKnownNodesTakeLittleMemory(t *testing.T) {
	const known, limit = defaultMaxNodes, 765 // bytes a node, its text of some 350 included
	f := newFinder(t, nil)
	f.SetFork(testForkID(1), eth2.ForkDigest{})
	c := f.newCrawl(func(enr.Record) {})
	now := time.Now()
	records := []gethenr.Record{syntheticRecord(testForkID(1)), syntheticRecord(testForkID(2))}
	before := liveHeap()
	size := 0
	for i := range known {
		n := syntheticNode(t, i, records[min(i%5, 1)]) // one in five is ours
		if emitted, isNew := c.offer(n, now); !emitted || !isNew {
			t.Fatalf("node %d: emitted %v, new %v", i, emitted, isNew)
		}
		size += len(c.table.byID[n.ID()].text)
		h, err := hashRecord(n.Record())
		if err != nil {
			t.Fatal(err)
		}
		f.schemes.mu.Lock()
		f.schemes.ids.put(h, n.ID())
		f.schemes.mu.Unlock()
	}
	each := float64(liveHeap()-before) / known
	t.Logf("%.0f bytes of live heap for each of %d nodes with texts of %d", each, known, size/known)
	if each > limit {
		t.Errorf("%.0f bytes of live heap a node, want at most %d", each, limit)
	}
	if got := f.Nodes(); got != known {
		t.Errorf("%d nodes known, want %d", got, known)
	}
	runtime.KeepAlive(c)
}

// Whoever keeps the emitted record has the table's text and not another 350 bytes.
func TestEmittedTextIsTheTables(t *testing.T) {
	f := newFinder(t, nil)
	var raw string
	c := f.newCrawl(func(r enr.Record) { raw = r.Raw })
	n := syntheticNode(t, 1, syntheticRecord(testForkID(1)))
	c.offer(n, time.Now())
	if kept := c.table.byID[n.ID()].text; raw != n.String() || unsafe.StringData(raw) != unsafe.StringData(kept) {
		t.Errorf("emitted %.20q, kept %.20q", raw, kept)
	}
}

func TestVerifiedBeforeIsTheRecord(t *testing.T) {
	forkID := testForkID(1)
	want := testNode(t, &forkID)
	got, err := verifiedBefore(want.String(), want.ID())
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != want.String() || got.ID() != want.ID() || got.UDP() != want.UDP() || got.IPAddr() != want.IPAddr() {
		t.Errorf("got %v, want %v", got, want)
	}
	for _, text := range []string{"", "enr:", "enr:!", "enr:AAAA", "enode://x"} {
		if n, err := verifiedBefore(text, want.ID()); err == nil {
			t.Errorf("%q is the record %v", text, n)
		}
	}
}

// Of nodes that are alike the longest unseen goes, and none of ours for a foreign one.
func TestLongUnseenMakeRoom(t *testing.T) {
	ours, foreign := syntheticRecord(testForkID(1)), syntheticRecord(testForkID(2))
	const max = 16 // as many as are looked at
	table := newNodes(enode.ID{}, max, time.Minute)
	table.setDigest(testForkID(1).ForkDigest)
	start := time.Unix(1_700_000_000, 0)
	var first, second *enode.Node
	for i := range max {
		n := syntheticNode(t, i, ours)
		table.offer(n, start.Add(time.Duration(i)*time.Second))
		switch i {
		case 0:
			first = n
		case 1:
			second = n
		}
	}
	later := start.Add(time.Hour)
	if emit, _ := table.offer(syntheticNode(t, 100, foreign), later); emit {
		t.Error("one of ours made room for a foreign node")
	}
	table.offer(first, later) // others tell of it
	if emit, _ := table.offer(syntheticNode(t, 101, ours), later); !emit {
		t.Error("no room for one of ours")
	}
	if table.byID[first.ID()] == nil || table.byID[second.ID()] != nil {
		t.Errorf("the node seen just now is kept: %v, the longest unseen: %v", table.byID[first.ID()] != nil, table.byID[second.ID()] != nil)
	}
}
