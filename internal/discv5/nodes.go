package discv5

import (
	"container/heap"
	"math/rand/v2"
	"time"

	"github.com/ethereum/go-ethereum/p2p/enode"
	gethenr "github.com/ethereum/go-ethereum/p2p/enr"

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
	// bootnodeRetry is the pace at which silent bootnodes are asked while nobody
	// else has answered yet.
	bootnodeRetry = 3 * time.Second
	// minRetry and maxRetry bound the wait after a visit without an answer; a
	// network's worth of dead records must not crowd out the living.
	minRetry = 10 * time.Second
	maxRetry = 3 * time.Hour
)

// node is what we know of one discv5 node.
type node struct {
	record   *enode.Node // the newest by seq
	ours     bool        // the record carries our fork digest, or any while we have none
	bootnode bool
	answered bool // ever
	tried    bool // a visit has ended
	putOff   bool // its first visit was put off

	remembered bool // it came from an earlier run
	fails      int  // visits without an answer since the last one that had one
	due        time.Time
	period     time.Duration // time to the next visit after a success
	asking     bool          // a worker has it; not in a queue
	index      int           // in its queue
}

// rank orders nodes for eviction: the lowest goes first.
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
	q[i].index, q[j].index = i, j
}
func (q *queue) Push(x any) {
	n := x.(*node)
	n.index = len(*q)
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

// size guesses how many of the known nodes are alive.
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
		if record.Seq() <= n.record.Seq() {
			return false, false
		}
		t.update(n, record, now)
		return true, false
	}
	n := &node{record: record, ours: t.isOurs(record), due: now, period: min(minRevisit, t.revisit)}
	if len(t.byID) >= t.max && !t.evictFor(n) {
		return false, false
	}
	t.byID[id] = n
	heap.Push(t.queueOf(n), n)
	return true, true
}

// update takes a newer record over. A new address makes a silent node due again.
func (t *nodes) update(n *node, record *enode.Node, now time.Time) {
	oldAddr, _ := n.record.UDPEndpoint()
	newAddr, _ := record.UDPEndpoint()
	if !n.asking {
		heap.Remove(t.queueOf(n), n.index)
	}
	n.record, n.ours = record, t.isOurs(record)
	if oldAddr != newAddr {
		n.fails, n.due = 0, now
	}
	if !n.asking {
		heap.Push(t.queueOf(n), n)
	}
}

func (t *nodes) isOurs(record *enode.Node) bool {
	var raw []byte
	if err := record.Load(gethenr.WithEntry("eth2", &raw)); err != nil {
		return false
	}
	var id eth2.ENRForkID
	return id.UnmarshalSSZ(raw) == nil && (id.ForkDigest == t.digest || t.digest == eth2.ForkDigest{})
}

// setDigest sorts the nodes anew after a fork.
func (t *nodes) setDigest(digest eth2.ForkDigest) {
	if digest == t.digest {
		return
	}
	t.digest = digest
	t.queues = [2]queue{}
	for _, n := range t.byID {
		n.ours = t.isOurs(n.record)
		if !n.asking {
			heap.Push(t.queueOf(n), n)
		}
	}
}

// evictFor makes room for a newcomer: the lowest rank of a random sample goes, if
// that is below the newcomer's. Bootnodes and nodes being asked stay.
func (t *nodes) evictFor(newcomer *node) bool {
	const sample = 16
	var worst *node
	seen := 0
	for _, n := range t.byID { // map order is random enough
		if !n.asking && !n.bootnode && (worst == nil || n.rank() < worst.rank()) {
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
	heap.Remove(t.queueOf(worst), worst.index)
	delete(t.byID, worst.record.ID())
	return true
}

// next takes the node to ask now, or tells when one will be due (zero: never).
// Nodes of our network go before others.
func (t *nodes) next(now time.Time) (n *node, wake time.Time) {
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

// recall makes the nodes due whose first visit was put off.
func (t *nodes) recall(now time.Time) {
	for _, n := range t.byID {
		if n.putOff && !n.tried && !n.asking {
			n.putOff, n.due = false, now
			heap.Fix(t.queueOf(n), n.index)
		}
	}
}

// book marks a node as asked.
func (t *nodes) book(n *node) {
	if !n.tried {
		n.tried = true
		t.tried++
	}
}

// answer books a visit that was answered; fruitful when it brought something new.
func (t *nodes) answer(n *node, fruitful bool, now time.Time) {
	t.book(n)
	if !n.answered {
		n.answered = true
		t.alive++
	}
	n.fails = 0
	limit := t.revisit
	if !n.ours {
		limit *= foreignFactor
	}
	t.requeue(n, now.Add(jitter(n.period)))
	if fruitful {
		n.period = minRevisit
	} else {
		n.period *= revisitGrowth
	}
	n.period = min(n.period, limit)
}

// silence books a visit without an answer.
func (t *nodes) silence(n *node, now time.Time) {
	t.book(n)
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
