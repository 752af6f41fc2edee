package discv5

import (
	"container/heap"
	"math/rand/v2"
	"time"

	"github.com/ethereum/go-ethereum/p2p/enode"

	"github.com/chainbound/valtrack/internal/eth2"
)

// Times between visits of one node.
const (
	// minRevisit is the pace while visits still bring something new.
	minRevisit = 30 * time.Second
	// revisitGrowth multiplies the time after a visit that brought nothing new.
	revisitGrowth = 4
	// foreignFactor is how much slower nodes of other chains are visited, and retried
	// from the second failure on.
	foreignFactor = 10
	// bootnodeRetry is the pace at which bootnodes that do not answer are asked while
	// nobody else has answered yet.
	bootnodeRetry = 3 * time.Second
	// minRetry and maxRetry bound the wait after a visit without an answer; a
	// network's worth of dead records must not crowd out live nodes.
	minRetry = 10 * time.Second
	maxRetry = 3 * time.Hour
)

// node is what we know about one discv5 node. There may be 100 000: the record is kept
// as its text, shared with those it was emitted to, and decoded for a visit.
type node struct {
	id     enode.ID
	text   string // of the newest record by seq, "enr:..."
	seq    uint64
	digest eth2.ForkDigest // the record's
	forked bool            // it has an eth2 entry, hence a digest

	ours     bool // it carries our fork digest, or any while we have none
	bootnode bool
	answered bool // ever
	tried    bool // a visit has ended
	deferred bool // its first visit was deferred

	fromEarlierRun bool  // it came from an earlier run
	unpublished    bool  // and was not emitted yet in this one
	asking         bool  // a worker has it; not in a queue
	fails          int32 // visits without an answer since the last one that had one
	index          int32 // in its queue
	due            time.Time
	seen           time.Time     // when it last answered or others reported it
	period         time.Duration // time to the next visit after a success
}

// rank orders nodes for eviction: the lowest goes first, the long unseen before the
// rest of its rank. One of our network ranks above every other.
func (n *node) rank() int {
	rank := 0
	if n.ours {
		rank += 4
	}
	if n.answered {
		rank += 2
	}
	if n.fails == 0 {
		rank++
	}
	return rank
}

// queue is a heap of nodes by due time.
type queue []*node

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].due.Before(q[j].due) }
func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = int32(i), int32(j)
}
func (q *queue) Push(x any) {
	n := x.(*node)
	n.index = int32(len(*q))
	*q = append(*q, n)
}
func (q *queue) Pop() any {
	last := len(*q) - 1
	n := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	return n
}

// nodes is the bounded table of known nodes, with a queue for those of our network
// and one for the rest. One goroutine owns it.
type nodes struct {
	max     int
	revisit time.Duration
	self    enode.ID
	digest  eth2.ForkDigest
	byID    map[enode.ID]*node
	queues  [2]queue // ours, foreign
	// alive counts the nodes that ever answered, tried those that were ever asked.
	alive, tried int
}

func newNodes(self enode.ID, max int, revisit time.Duration) *nodes {
	return &nodes{max: max, revisit: revisit, self: self, byID: make(map[enode.ID]*node)}
}

// size estimates how many of the known nodes are alive.
func (t *nodes) size() int {
	if t.tried == 0 {
		return 0
	}
	return int(int64(len(t.byID)) * int64(t.alive) / int64(t.tried))
}

func (t *nodes) queueOf(n *node) *queue {
	if n.ours {
		return &t.queues[0]
	}
	return &t.queues[1]
}

// offer puts a record into the table. emit is true when it is new or newer than
// the one before; isNew when the node was not known.
func (t *nodes) offer(record *enode.Node, now time.Time) (emit, isNew bool) {
	id := record.ID()
	if id == t.self {
		return false, false
	}
	if n := t.byID[id]; n != nil {
		n.seen = now
		if record.Seq() <= n.seq {
			return false, false
		}
		t.update(n, record, now)
		return true, false
	}
	n := &node{id: id, due: now, seen: now, period: min(minRevisit, t.revisit)}
	t.describe(n, record)
	if len(t.byID) >= t.max && !t.evictFor(n) {
		return false, false
	}
	t.byID[id] = n
	heap.Push(t.queueOf(n), n)
	return true, true
}

// update replaces the record with a newer one. A new address makes a node that did not answer due again.
func (t *nodes) update(n *node, record *enode.Node, now time.Time) {
	moved := !n.hasEndpoint(record)
	if !n.asking {
		heap.Remove(t.queueOf(n), int(n.index))
	}
	t.describe(n, record)
	if moved {
		n.fails, n.due = 0, now
	}
	if !n.asking {
		heap.Push(t.queueOf(n), n)
	}
}

// describe notes what is kept of a record.
func (t *nodes) describe(n *node, record *enode.Node) {
	n.text, n.seq = record.String(), record.Seq()
	n.digest, n.forked = digestOf(record)
	n.ours = t.isOurs(n)
}

func (t *nodes) isOurs(n *node) bool {
	return n.forked && (n.digest == t.digest || t.digest == eth2.ForkDigest{})
}

// setDigest sorts the nodes again after a fork.
func (t *nodes) setDigest(digest eth2.ForkDigest) {
	if digest == t.digest {
		return
	}
	t.digest = digest
	t.queues = [2]queue{}
	for _, n := range t.byID {
		n.ours = t.isOurs(n)
		if !n.asking {
			heap.Push(t.queueOf(n), n)
		}
	}
}

// evictFor makes room for a newcomer: of a random sample the lowest rank goes, the
// longest unseen of those, unless that is above the newcomer's. Bootnodes and nodes
// being asked stay.
func (t *nodes) evictFor(newcomer *node) bool {
	const sample = 16
	var worst *node
	seen := 0
	for _, n := range t.byID { // map order is random enough
		if !n.asking && !n.bootnode && (worst == nil || n.rank() < worst.rank() ||
			n.rank() == worst.rank() && n.seen.Before(worst.seen)) {
			worst = n
		}
		if seen++; seen == sample {
			break
		}
	}
	if worst == nil || worst.rank() > newcomer.rank() {
		return false
	}
	if worst.answered {
		t.alive--
	}
	if worst.tried {
		t.tried--
	}
	heap.Remove(t.queueOf(worst), int(worst.index))
	delete(t.byID, worst.id)
	return true
}

// nextDue takes the node to query now, or returns the time at which one is due (zero:
// never).
// Nodes of our network go before others.
func (t *nodes) nextDue(now time.Time) (n *node, wake time.Time) {
	for i := range t.queues {
		q := &t.queues[i]
		if q.Len() == 0 {
			continue
		}
		due := (*q)[0].due
		if !due.After(now) {
			n = heap.Pop(q).(*node)
			n.asking = true
			return n, time.Time{}
		}
		if wake.IsZero() || due.Before(wake) {
			wake = due
		}
	}
	return nil, wake
}

// resumeDeferred makes the nodes due whose first visit was deferred.
func (t *nodes) resumeDeferred(now time.Time) {
	for _, n := range t.byID {
		if n.deferred && !n.tried && !n.asking {
			n.deferred, n.due = false, now
			heap.Fix(t.queueOf(n), int(n.index))
		}
	}
}

// markTried marks a node as queried.
func (t *nodes) markTried(n *node) {
	if !n.tried {
		n.tried = true
		t.tried++
	}
}

// recordAnswer notes a visit that was answered; productive when it brought something
// new.
func (t *nodes) recordAnswer(n *node, productive bool, now time.Time) {
	t.markTried(n)
	if !n.answered {
		n.answered = true
		t.alive++
	}
	n.fails, n.seen = 0, now
	limit := t.revisit
	if !n.ours {
		limit *= foreignFactor
	}
	t.requeue(n, now.Add(jitter(n.period)))
	if productive {
		n.period = minRevisit
	} else {
		n.period *= revisitGrowth
	}
	n.period = min(n.period, limit)
}

// recordFailure notes a visit without an answer.
func (t *nodes) recordFailure(n *node, now time.Time) {
	t.markTried(n)
	wait := maxRetry
	if shift := 2 * n.fails; shift <= 10 { // 10 s, 40 s, 160 s, ...
		wait = minRetry << shift
	}
	if !n.ours && n.fails > 0 { // the first may be a lost packet
		wait *= foreignFactor
	}
	wait = min(wait, maxRetry)
	n.fails++
	if n.bootnode && t.alive == 0 {
		wait = bootnodeRetry
	}
	t.requeue(n, now.Add(jitter(wait)))
}

func (t *nodes) requeue(n *node, due time.Time) {
	n.asking = false
	n.due = due
	heap.Push(t.queueOf(n), n)
}

// jitter spreads a wait over three quarters to five quarters of it.
func jitter(d time.Duration) time.Duration {
	return d*3/4 + rand.N(d/2+1)
}
