package discv5

import (
	"bytes"
	"crypto/ecdsa"
	"net/netip"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/p2p/enode"
	gethenr "github.com/ethereum/go-ethereum/p2p/enr"
	"github.com/ethereum/go-ethereum/rlp"

	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/eth2/enr"
)

func signedRecord(t testing.TB, key *ecdsa.PrivateKey, seq uint64, entries ...gethenr.Entry) *gethenr.Record {
	t.Helper()
	var r gethenr.Record
	r.Set(gethenr.IPv4Addr(netip.MustParseAddr("127.0.0.1")))
	r.Set(gethenr.UDP(30000))
	for _, e := range entries {
		r.Set(e)
	}
	r.SetSeq(seq)
	if err := enode.SignV4(&r, key); err != nil {
		t.Fatal(err)
	}
	return &r
}

// forged is r with one byte of its port changed and the old signature.
func forged(t testing.TB, r *gethenr.Record) *gethenr.Record {
	t.Helper()
	raw, err := rlp.EncodeToBytes(r)
	if err != nil {
		t.Fatal(err)
	}
	i := bytes.Index(raw, []byte{0x75, 0x30}) // 30000
	raw[i+1]++
	var out gethenr.Record
	if err := rlp.DecodeBytes(raw, &out); err != nil {
		t.Fatal(err)
	}
	return &out
}

func testNode(t testing.TB, forkID *eth2.ENRForkID) *enode.Node {
	t.Helper()
	_, key := testKey(t)
	return nodeOf(t, key, 1, forkID)
}

func nodeOf(t testing.TB, key *ecdsa.PrivateKey, seq uint64, forkID *eth2.ENRForkID, entries ...gethenr.Entry) *enode.Node {
	t.Helper()
	if forkID != nil {
		entries = append(entries, enr.Eth2Entry(*forkID))
	}
	n, err := enode.New(enode.ValidSchemes, signedRecord(t, key, seq, entries...))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestTableIsBoundAndKeepsOurs(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	ours, foreign := testForkID(1), testForkID(2)
	table := newNodes(enode.ID{}, 20, time.Minute)
	table.setDigest(ours.ForkDigest)
	var kept []*enode.Node
	for range 10 {
		n := testNode(t, &ours)
		kept = append(kept, n)
		table.offer(n, now)
	}
	for range 200 {
		table.offer(testNode(t, &foreign), now)
		table.offer(testNode(t, nil), now)
	}
	if len(table.byID) > 20 {
		t.Errorf("%d nodes, limit 20", len(table.byID))
	}
	if q := table.queues[0].Len() + table.queues[1].Len(); q != len(table.byID) {
		t.Errorf("%d nodes in the queues, %d in the table", q, len(table.byID))
	}
	missing := 0
	for _, n := range kept {
		if table.byID[n.ID()] == nil {
			missing++
		}
	}
	if missing > 0 {
		t.Errorf("%d of our nodes made room for foreign ones", missing)
	}
}

func TestOursAreAskedFirst(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	ours, foreign := testForkID(1), testForkID(2)
	table := newNodes(enode.ID{}, 20, time.Minute)
	table.setDigest(ours.ForkDigest)
	table.offer(testNode(t, &foreign), now)
	our := testNode(t, &ours)
	table.offer(our, now)
	if n, _ := table.nextDue(now); n == nil || n.id != our.ID() {
		t.Error("the foreign node came first")
	}
	table.setDigest(foreign.ForkDigest)
	if n, _ := table.nextDue(now); n == nil || !n.ours {
		t.Error("after the fork the other node is not ours")
	}
}

func TestNoAnswerBacksOffAndANewAddressEndsIt(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	ours := testForkID(1)
	table := newNodes(enode.ID{}, 20, time.Minute)
	table.setDigest(ours.ForkDigest)
	_, key := testKey(t)
	table.offer(nodeOf(t, key, 1, &ours), now)
	last := time.Duration(0)
	for range 100 { // far past any shift that would overflow
		n, wake := table.nextDue(now)
		if n == nil {
			if !wake.After(now) {
				t.Fatalf("nothing is due, and nothing will be at %v", wake)
			}
			now = wake
			n, _ = table.nextDue(now)
		}
		table.recordFailure(n, now)
		last = n.due.Sub(now)
		if last < minRetry/2 || last > 2*maxRetry {
			t.Fatalf("next visit in %v after %d failures", last, n.fails)
		}
	}
	if last < maxRetry/2 {
		t.Errorf("after 100 failures the wait is %v", last)
	}
	moved := nodeOf(t, key, 2, &ours, gethenr.UDP(30001))
	if emit, isNew := table.offer(moved, now); !emit || isNew {
		t.Errorf("newer record: emit %v isNew %v", emit, isNew)
	}
	n, _ := table.nextDue(now)
	if n == nil {
		t.Fatal("a node with a new address is not due")
	}
	if record, err := verifiedBefore(n.text, n.id); err != nil || record.UDP() != 30001 {
		t.Errorf("the new address is not in %s: %v", n.text, err)
	}
}

func TestSameOrOlderSeqIsNotEmitted(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	table := newNodes(enode.ID{}, 20, time.Minute)
	_, key := testKey(t)
	for _, step := range []struct {
		seq  uint64
		emit bool
	}{{5, true}, {5, false}, {4, false}, {6, true}} {
		if emit, _ := table.offer(nodeOf(t, key, step.seq, nil), now); emit != step.emit {
			t.Errorf("seq %d: emit %v, want %v", step.seq, emit, step.emit)
		}
	}
}

func TestNearTop(t *testing.T) {
	for size, want := range map[int]int{0: 256, 7: 256, 8: 255, 40: 253, 1000: 249, 10_000: 245} {
		if got := nearTop(size); got != want {
			t.Errorf("nearTop(%d) = %d, want %d", size, got, want)
		}
	}
}

// A size that wavers about a bound does not change the areas each time.
func TestSteadyTop(t *testing.T) {
	top := 0
	for _, step := range []struct{ size, want int }{
		{1000, 249}, {1023, 249}, {1024, 248}, {1023, 248}, {1030, 248}, {800, 248}, {760, 249}, {1023, 249},
		{0, 256}, {7, 256}, {8, 255}, {7, 255}, {5, 256}, {100_000, 242},
	} {
		if top = steadyTop(top, step.size); top != step.want {
			t.Errorf("at size %d: %d, want %d", step.size, top, step.want)
		}
	}
}
