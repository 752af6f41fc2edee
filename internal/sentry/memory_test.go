package sentry

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/eth2/enr"
)

// liveHeap is what a collection leaves, in bytes.
func liveHeap() int64 {
	runtime.GC()
	runtime.GC() // the first may have met a cycle under way
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// knownRecord is the i-th of any number of records; one in five is of our network.
// Its text has about 350 characters.
func knownRecord(t testing.TB, ours eth2.ForkDigest, i int) *enr.Record {
	t.Helper()
	if i%5 != 0 {
		ours[0]++
	}
	id := fmt.Sprintf("16Uiu2HAm%044d", i) // as long as a peer id
	r := testRecordAt(ours, id, 1, 9000, 9001, make([]byte, 138)...)
	binary.BigEndian.PutUint64(r.NodeID[:], uint64(i))
	return r
}

// A full table is a part of what 100 000 known records may take, 250 MiB with the
// collector's room of about as much again. discv5 shares the records' text.
func TestKnownPeersTakeLittleMemory(t *testing.T) {
	const known, limit = defaultMaxPeers, 800 // bytes a peer, its text included
	table, net := newTestTable(t, known)
	ours := net.Schedule.Periods[0].Digest
	before := liveHeap()
	size := 0
	for i := range known {
		r := knownRecord(t, ours, i)
		size += len(r.Raw)
		if !table.offer(r, genesis.Add(time.Duration(i)*time.Millisecond)) {
			t.Fatalf("record %d is not taken", i)
		}
	}
	each := float64(liveHeap()-before) / known
	t.Logf("%.0f bytes of live heap for each of %d peers with texts of %d", each, known, size/known)
	if each > limit {
		t.Errorf("%.0f bytes of live heap a peer, want at most %d", each, limit)
	}
	runtime.KeepAlive(table)
}

func TestForeignRecordsNeverEvictOurs(t *testing.T) {
	const max = 16 // as many as an eviction looks at
	table, net := newTestTable(t, max)
	ours := net.Schedule.Periods[0].Digest
	for i := range max {
		table.offer(testRecordAt(ours, fmt.Sprint("ours", i), 1, uint16(1000+i), 0), genesis.Add(time.Duration(i)*time.Second))
	}
	late := genesis.Add(time.Hour)
	if table.offer(testRecordAt(eth2.ForkDigest{9}, "foreign", 1, 1000, 0), late) {
		t.Error("one of ours made room for a foreign record")
	}
	if !table.offer(testRecordAt(ours, "new", 1, 1000, 0), late) || table.byID["ours0"] != nil {
		t.Error("the longest unseen did not make room for one of ours")
	}
}
