package discv5

import (
	"slices"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/p2p/discover/v5wire"
	"github.com/ethereum/go-ethereum/p2p/enode"
	gethenr "github.com/ethereum/go-ethereum/p2p/enr"

	"github.com/chainbound/valtrack/internal/eth2/enr"
)

// visitOf is a visit of a server that the crawl knows.
func visitOf(t *testing.T, c *crawl, s *server, near, far []uint) visit {
	t.Helper()
	c.offer(s.local.Node(), time.Now())
	n := c.table.byID[s.local.ID()]
	if n == nil {
		t.Fatal("the server is not in the table")
	}
	if !n.asking {
		if got, _ := c.table.nextDue(time.Now().Add(24 * time.Hour)); got != n {
			t.Fatalf("next is %v", got)
		}
	}
	return visit{node: n, text: n.text, near: near, far: far}
}

// An answer that lacks packets, or has more than are read, is known as cut, and asked
// for again at single distances.
func TestCutAnswersAreAskedForAgain(t *testing.T) {
	forkID := testForkID(1)
	for _, tt := range []struct {
		each     int // records in a packet
		far      int // records at distance 256; at 255 there are 5
		lost     int // packets that are announced but not sent
		requests int
		cut      bool
	}{
		{4, 7, 0, 1, false}, {3, 7, 0, 1, false}, {2, 7, 0, 1, false}, {1, 7, 0, 1, false},
		{4, 12, 0, 3, false}, {1, 12, 0, 3, false}, // 17 records do not fit into an answer
		{3, 7, 1, 3, true},
	} {
		var at [2][]*enode.Node
		s := newServer(t, forkID, nil)
		s.with(func() {
			s.rawAnswer = func(distances []uint) []*rawNodes {
				var list []*enode.Node
				for _, d := range distances {
					list = append(list, at[256-d]...)
				}
				packets := rawPacked(t, list, tt.each)
				return packets[:len(packets)-tt.lost]
			}
		})
		at = [2][]*enode.Node{s.atDistance(t, 256, tt.far, forkID), s.atDistance(t, 255, 5, forkID)}
		f := newFinder(t, nil)
		c := f.newCrawl(func(enr.Record) {})
		got := f.query(t.Context(), visitOf(t, c, s, []uint{255, 256}, nil))
		if asked := s.requests(); len(asked) != tt.requests || got.nearCut != tt.cut {
			t.Errorf("%+v: asked for %v, cut %v", tt, asked, got.nearCut)
		}
		found := map[enode.ID]bool{}
		for _, n := range got.near {
			found[n.ID()] = true
		}
		if !tt.cut && len(found) != tt.far+5 {
			t.Errorf("%+v: %d of %d found", tt, len(found), tt.far+5)
		}
	}
}

// What a node gives as its own is told from what it knows of others.
func TestOwnRecordComesWithTheNeighbours(t *testing.T) {
	forkID := testForkID(1)
	var s *server
	var neighbours []*enode.Node
	s = newServer(t, forkID, func(distances []uint) []*v5wire.Nodes {
		list := slices.Clone(neighbours)
		if slices.Contains(distances, 0) {
			list = append(list, s.local.Node())
		}
		return packed(list, 3)
	})
	neighbours = s.atDistance(t, 256, 3, forkID)
	f := newFinder(t, nil)
	c := f.newCrawl(func(enr.Record) {})
	got := f.query(t.Context(), visitOf(t, c, s, []uint{0, 256}, nil))
	if got.self == nil || got.self.ID() != s.local.ID() || len(got.near) != 3 || len(s.requests()) != 1 {
		t.Errorf("own record %v and %d others after %v", got.self, len(got.near), s.requests())
	}
}

// Sparse buckets are asked for together.
func TestSparseBucketsInOneRequest(t *testing.T) {
	s := newServer(t, testForkID(1), func([]uint) []*v5wire.Nodes { return packed(nil, 3) })
	f := newFinder(t, nil)
	got := f.query(t.Context(), visitOf(t, f.newCrawl(func(enr.Record) {}), s, nil, distances(farLevels)))
	if asked := s.requests(); len(asked) != 5 || got.farAsked != 5 || len(asked[1]) != maxDistances {
		t.Errorf("asked for %v", asked)
	}
}

// A node that answers and then falls silent, or that never ends the handshake, may
// have banned us: it is left alone. One that was silent from the start is not there.
func TestANodeThatFallsSilentIsLeftAlone(t *testing.T) {
	for _, tt := range []struct {
		name     string
		answered int // packets
		banned   bool
	}{{"silent", 0, false}, {"WHOAREYOU, then silent", 1, true}, {"one answer, then silent", 2, true}, {"always answers", 1000, false}} {
		s := newServer(t, testForkID(1), func([]uint) []*v5wire.Nodes { return packed(nil, 3) })
		s.with(func() { s.drop = func(packet int) bool { return packet > tt.answered } })
		f := newFinder(t, nil)
		c := f.newCrawl(func(enr.Record) {})
		got := f.query(t.Context(), visitOf(t, c, s, nil, distances(farLevels)))
		if got.banned != tt.banned {
			t.Errorf("%s: banned %v after %d packets", tt.name, got.banned, s.packets())
		}
		c.handleAnswers(got)
		wait := time.Until(c.table.byID[s.local.ID()].due)
		if left := wait > leaveAlone*9/10; left != tt.banned {
			t.Errorf("%s: the next visit in %v", tt.name, wait)
		}
		if most := tt.answered + 4; s.packets() > most {
			t.Errorf("%s: %d packets", tt.name, s.packets())
		}
	}
}

// A visit begins when a whole burst may be sent, and is put off until then.
func TestVisitsWaitForThePace(t *testing.T) {
	s := newServer(t, testForkID(1), func([]uint) []*v5wire.Nodes { return packed(nil, 3) })
	f := newFinder(t, nil)
	c := f.newCrawl(func(enr.Record) {})
	v := visitOf(t, c, s, []uint{256}, nil)
	if got := f.query(t.Context(), v); !got.answered {
		t.Fatal("no answer")
	}
	asked := len(s.requests())
	got := f.query(t.Context(), v)
	if got.notBefore.IsZero() || len(s.requests()) != asked {
		t.Errorf("asked again at once: %v", s.requests())
	}
	c.handleAnswers(got)
	if n := c.table.byID[s.local.ID()]; n.asking || n.tried || n.fails > 0 || n.due.Before(got.notBefore) {
		t.Errorf("a visit that was put off: %+v", n)
	}
}

// Nodes at ports that go-ethereum leaves out, such as 443 and 53, are ordinary nodes.
func TestFindsNodesAtLowPorts(t *testing.T) {
	forkID := testForkID(1)
	var list []*enode.Node
	for _, port := range []uint16{1, 53, 443, 1024, 1025} {
		_, key := testKey(t)
		list = append(list, nodeOf(t, key, 1, &forkID, gethenr.UDP(port)))
	}
	s := newServer(t, forkID, nil)
	s.with(func() {
		s.answer = func(distances []uint) []*v5wire.Nodes {
			var at []*enode.Node
			for _, n := range list {
				if slices.Contains(distances, uint(enode.LogDist(s.local.ID(), n.ID()))) {
					at = append(at, n)
				}
			}
			return packed(at, 3)
		}
	})
	f := newFinder(t, func(c *Config) { c.Bootnodes = []string{s.local.Node().String()} })
	found := newSeen()
	run(t, f, found.found)
	found.wait(t, "the server and five others", func() bool { return found.count() == 6 })
}

// The node's own answer wins, whatever its seq; what others relay wins only above it.
func TestTheNodesOwnRecordWins(t *testing.T) {
	forkID := testForkID(1)
	_, key := testKey(t)
	now := time.Unix(1_700_000_000, 0)
	record := func(seq uint64, port uint16) *enode.Node { return nodeOf(t, key, seq, &forkID, gethenr.UDP(port)) }
	table := newNodes(enode.ID{}, 20, time.Minute)
	table.offer(record(57, 9000), now)
	n, _ := table.nextDue(now)
	if emit, _ := table.offer(record(1, 9001), now); emit || n.claim != "" {
		t.Error("a relayed record with a lower seq was believed, or kept while the node answers")
	}
	table.recordFailure(n, now)
	if emit, _ := table.offer(record(1, 9001), now); emit || n.claim == "" || n.due.After(now) {
		t.Errorf("a lower seq at another port, after silence: emitted %v, claim %q, due %v", emit, n.claim, n.due)
	}
	table.nextDue(now)
	if !table.offerOwn(n, record(1, 9001), now) || n.seq != 1 || !n.own {
		t.Errorf("the node's own record was not believed: %+v", n)
	}
	table.recordAnswer(n, true, now)
	for _, step := range []struct {
		seq  uint64
		emit bool
	}{{57, false}, {2, false}, {1, false}, {58, true}} {
		if emit, _ := table.offer(record(step.seq, 9000), now); emit != step.emit {
			t.Errorf("relayed seq %d after the own seq 1: emitted %v, want %v", step.seq, emit, step.emit)
		}
	}
	if !table.offerOwn(n, record(2, 9001), now) || n.seq != 2 {
		t.Error("the node's own next record was not believed")
	}
}

// After a restart what others relay waits until the node was asked where it was.
func TestTheNodesOwnRecordWinsAfterARestart(t *testing.T) {
	forkID := testForkID(1)
	_, key := testKey(t)
	now := time.Now().Add(time.Minute)
	own, stale := nodeOf(t, key, 1, &forkID, gethenr.UDP(9001)), nodeOf(t, key, 57, &forkID, gethenr.UDP(9000))
	for _, answers := range []bool{true, false} {
		var emitted []uint64
		c := newFinder(t, nil).newCrawl(func(r enr.Record) { emitted = append(emitted, r.Seq) })
		c.offerKnown(knownRecord{own.String(), own})
		n, _ := c.table.nextDue(now)
		c.offer(stale, now)
		a := answersOf(n, answers, own)
		c.handleAnswers(a)
		want := []uint64{57}
		if answers {
			want = []uint64{1}
		}
		if !slices.Equal(emitted, want) {
			t.Errorf("the node answers %v: emitted %v, want %v", answers, emitted, want)
		}
		if c.offer(stale, now); answers && len(emitted) > 1 {
			t.Errorf("the stale record was emitted after the node's own: %v", emitted)
		}
	}
}

func answersOf(n *node, answered bool, own *enode.Node) answers {
	a := answers{node: n, asked: n.text, answered: answered, noAnswer: !answered}
	if answered {
		a.self = own
	}
	return a
}

// The whole way: the node counts from 1 again at a new port, others relay both records.
func TestFindsANodeThatLostItsSeq(t *testing.T) {
	forkID := testForkID(1)
	_, key := testKey(t)
	var moved *server
	moved = newServerWith(t, key, forkID, func(distances []uint) []*v5wire.Nodes {
		if slices.Contains(distances, 0) {
			return packed([]*enode.Node{moved.local.Node()}, 3)
		}
		return packed(nil, 3)
	})
	now := moved.local.Node()
	before := nodeOf(t, key, now.Seq()+57, &forkID, gethenr.UDP(1025)) // nothing is there
	relay := newServer(t, forkID, nil)
	answers := 0
	relay.with(func() {
		relay.answer = func(distances []uint) []*v5wire.Nodes {
			if slices.Contains(distances, uint(enode.LogDist(relay.local.ID(), now.ID()))) {
				// One after the other: of an answer, one record of a node is kept.
				both := []*enode.Node{before, now}
				answers++
				return packed(both[answers%2:][:1], 3)
			}
			return packed(nil, 3)
		}
	})
	f := newFinder(t, func(c *Config) {
		c.Revisit = time.Second
		c.Known = []string{before.String()}
		c.Bootnodes = []string{relay.local.Node().String()}
	})
	s := newSeen()
	run(t, f, s.found)
	s.wait(t, "the node's own record", func() bool {
		got := s.of(now.ID())
		return len(got) > 0 && got[len(got)-1].Raw == now.String() && got[len(got)-1].Own
	})
}
