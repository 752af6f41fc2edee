package discv5

import (
	"container/heap"
	"math/rand/v2"
	"time"

	"github.com/ethereum/go-ethereum/p2p/enode"

	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/prefix"
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
	// maxBootnodeRetry bounds it: bootnodes may have banned us.
	maxBootnodeRetry = time.Minute
	// leaveAlone is how long a node is not visited that may have banned us: for how
	// long Lighthouse's packet filter bans.
	leaveAlone = time.Hour
	// moveInterval is how often a new endpoint ends the wait, after the first two.
	moveInterval = time.Hour
	// minRetry and maxRetry bound the wait after a visit without an answer; a
	// network's worth of dead records must not crowd out live nodes.
	minRetry = 10 * time.Second
	maxRetry = 3 * time.Hour
)

// node is what we know about one discv5 node. There may be 100 000: the record is kept
// as its text, shared with those it was emitted to, and decoded for a visit.
type node struct {
	id   enode.ID
	text string // of the newest record by seq, or the node's own, "enr:..."
	seq  uint64
	own  bool // the node itself gave it
	// refused is the highest seq that the node itself has contradicted: others may
	// relay such records for long.
	refused uint64
	// claim is the text of a record that others relay, which is tried when the node
	// does not answer at the known one: a lower seq at another endpoint, or a higher
	// one before the node of an earlier run was asked. claimFailed is the seq of the
	// last lower one at whose endpoint the node did not answer.
	claim       string
	claimFailed uint64
	digest      eth2.ForkDigest // the record's
	forked      bool            // it has an eth2 entry, hence a digest

	// at are the groups of the record's endpoint, visitedAt those of the ongoing visit.
	at, visitedAt prefix.Groups
	moves         time.Time // when a new endpoint may end the wait twice again

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
		if !t.believes(n, record, now) {
			return false, false
		}
		t.update(n, record, now)
		n.own = false
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

// believes reports whether a record that others relay replaces the known one.
// One that may turn out to be right is kept as the claim.
func (t *nodes) believes(n *node, record *enode.Node, now time.Time) bool {
	seq := record.Seq()
	switch {
	case seq == n.seq || seq > n.seq && seq <= n.refused:
	case seq > n.seq && (n.tried || !n.fromEarlierRun):
		return true
	case seq > n.seq: // the node will be asked first
		n.claim = record.String()
	case n.fails > 0 && seq != n.claimFailed && n.claim == "" && !n.hasEndpoint(record):
		n.claim = record.String()
		if !n.asking && n.mayMove(now) {
			n.due = now
			heap.Fix(t.queueOf(n), int(n.index))
		}
	}
	return false
}

// offerOwn applies the record that the node itself gave in an authenticated answer,
// which is right whatever its seq. It reports whether it differs from the known one.
func (t *nodes) offerOwn(n *node, record *enode.Node, now time.Time) (changed bool) {
	if claim, err := verifiedBefore(n.claim, n.id); err == nil && claim.Seq() > record.Seq() {
		n.refused = max(n.refused, claim.Seq())
	}
	n.claim = ""
	if record.Seq() < n.seq {
		n.refused = max(n.refused, n.seq)
	}
	changed = record.String() != n.text
	if changed {
		t.update(n, record, now)
	}
	n.own = true
	return changed
}

// noAnswerAt notes that the node did not answer at the endpoint of a record. It returns
// the record that is believed now instead, nil when that has not changed.
func (t *nodes) noAnswerAt(n *node, asked string, now time.Time) *enode.Node {
	claim, err := verifiedBefore(n.claim, n.id)
	switch {
	case err != nil: // none
	case asked == n.claim:
		n.claim, n.claimFailed = "", claim.Seq()
	case claim.Seq() > n.seq:
		n.claim, n.own = "", false
		t.update(n, claim, now)
		return claim
	}
	return nil
}

// update replaces the record with a newer one. A new address makes a node that did not
// answer due again, but only now and then: whoever makes up addresses would be asked
// without end.
func (t *nodes) update(n *node, record *enode.Node, now time.Time) {
	moved := !n.hasEndpoint(record)
	if !n.asking {
		heap.Remove(t.queueOf(n), int(n.index))
	}
	t.describe(n, record)
	if moved && n.mayMove(now) {
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
	endpoint, _ := record.UDPEndpoint()
	n.at = prefix.Of(endpoint.Addr())
}

// mayMove reports whether a new endpoint may end the wait now, and counts it.
func (n *node) mayMove(now time.Time) bool {
	moves := laterOf(now, n.moves).Add(moveInterval)
	if moves.Sub(now) > 2*moveInterval {
		return false
	}
	n.moves = moves
	return true
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
	if n.answered && n.fails > 1 { // gone, or we are banned
		wait = max(wait, leaveAlone)
	}
	if n.bootnode && t.alive == 0 {
		wait = min(bootnodeRetry<<min(n.fails-1, 10), maxBootnodeRetry)
	}
	t.requeue(n, now.Add(jitter(wait)))
}

// leave lets a node that may have banned us alone.
func (t *nodes) leave(n *node, now time.Time) {
	n.due = now.Add(leaveAlone + rand.N(leaveAlone/4))
	heap.Fix(t.queueOf(n), int(n.index))
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
