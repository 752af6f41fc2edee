package discv5

import (
	"context"
	"log/slog"
	"math/bits"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/ethereum/go-ethereum/p2p/enode"
	gethenr "github.com/ethereum/go-ethereum/p2p/enr"
	"golang.org/x/sync/errgroup"

	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/eth2/enr"
	"github.com/chainbound/valtrack/internal/prefix"
)

const (
	// bucketSize is how many records a FINDNODE answer holds at most, over all the
	// distances asked: in go-ethereum and in sigp/discv5.
	bucketSize = 16
	// maxDistances in one request: older sigp/discv5 refuses more.
	maxDistances = 5
	// nearTarget is the number of records that the near request should return. Half
	// of bucketSize leaves room for an uneven spread.
	nearTarget = 8
	// farLevels bounds how deep a full enumeration goes: 2^20 times the nodes of one
	// near request.
	farLevels = 20
	// bootstrapVisits is the number of answering nodes enumerated in full before the
	// size of the network is guessed.
	bootstrapVisits = 16
	// farPerVisit is how many distant buckets a visit asks for. With the near request
	// that is what may be sent at once (endpointBurst).
	farPerVisit = 2
	// farEvery: even when far buckets bring nothing new, one visit in so many asks
	// for some, to notice when they do again.
	farEvery = 32
	// minFarYield is the number of new nodes that makes a far request worth its cost:
	// answers have up to bucketSize, and reading known ones costs as much.
	minFarYield = 4
	// maxDeferral is the longest time by which a first visit is deferred.
	maxDeferral = 30 * time.Second
	// saturatedWait is how long a first visit waits for others in its area.
	saturatedWait = 100 * time.Millisecond
)

// Run searches until ctx ends and calls found, from one goroutine at a time, with
// each record that is new, has a higher seq than the last one of its node, or differs from it and was
// given by the node itself (enr.Record.Own). The
// search waits while found does. Returns nil when ctx ends.
func (f *Finder) Run(ctx context.Context, found func(enr.Record)) error {
	visits := make(chan visit)
	results := make(chan answers)
	walked := make(chan *enode.Node)
	known := make(chan knownRecord)
	g, ctx := errgroup.WithContext(ctx)
	for range workers {
		g.Go(func() error {
			for v := range visits {
				select {
				case results <- f.query(ctx, v):
				case <-ctx.Done():
				}
			}
			return nil
		})
	}
	g.Go(func() error { f.walk(ctx, walked); return nil })
	g.Go(func() error { f.pingNodes(ctx); return nil })
	g.Go(func() error { f.feedKnown(ctx, known); return nil })
	g.Go(func() error {
		defer close(visits)
		f.newCrawl(found).run(ctx, visits, results, walked, known)
		return nil
	})
	return g.Wait()
}

// crawl is the state of one Run; its goroutine owns it.
type crawl struct {
	f     *Finder
	found func(enr.Record)
	table *nodes
	areas areas
	// farYield is the recent number of new nodes per far request, a moving average.
	farYield float64
	visits   int
	top      int // distance up to which near requests ask
	// running counts the visits by group of addresses. A node whose group has its share
	// waits for one of the group's turns.
	running prefix.Counter
	turns   prefix.Rate
}

// queryBudget bounds the running visits of one group of addresses: a node that does not
// answer holds a worker for long, and records are free. turnBudget bounds how often those
// that wait look again, in a turnPeriod.
var (
	queryBudget = prefix.Budget{Host: 4, Net: 8}
	turnBudget  = prefix.Budget{Host: 8, Net: 16}
)

const turnPeriod = 4 * time.Second

func (f *Finder) newCrawl(found func(enr.Record)) *crawl {
	c := &crawl{f: f, found: found, farYield: bucketSize, turns: prefix.Rate{Budget: turnBudget, Period: turnPeriod}}
	c.table = newNodes(f.local.ID(), f.cfg.MaxNodes, f.cfg.Revisit)
	c.table.setDigest(f.ourDigest())
	now := time.Now()
	for _, b := range f.bootnodes {
		c.offer(b, now)
		if n := c.table.byID[b.ID()]; n != nil {
			n.bootnode = true
		}
	}
	return c
}

func (c *crawl) run(ctx context.Context, visits chan<- visit, results <-chan answers, walked <-chan *enode.Node, known <-chan knownRecord) {
	wake := time.NewTimer(0)
	defer wake.Stop()
	tick := time.NewTicker(turnPeriod)
	defer tick.Stop()
	var pending *visit
	for {
		var out chan<- visit
		if pending == nil {
			pending = c.plan(wake)
		}
		var v visit
		if pending != nil {
			out, v = visits, *pending
		}
		select {
		case out <- v:
			pending = nil
		case a := <-results:
			c.handleAnswers(a)
		case n := <-walked:
			c.offer(n, time.Now())
		case n := <-c.f.udp.contacts:
			c.offer(n, time.Now())
		case r := <-known:
			c.offerKnown(r)
		case <-tick.C:
			c.turns.Forget(time.Now())
		case <-c.f.forked:
			c.table.setDigest(c.f.ourDigest())
		case <-wake.C:
		case <-ctx.Done():
			return
		}
	}
}

// plan picks the next visit; when none is due it sets the timer and returns nil.
func (c *crawl) plan(wake *time.Timer) *visit {
	now := time.Now()
	c.top = steadyTop(c.top, c.table.size())
	top := c.top
	if c.areas.resize(top) {
		c.table.resumeDeferred(now)
	}
	n, at := c.nextVisit(now)
	if n == nil {
		if !at.IsZero() {
			wake.Reset(at.Sub(now))
		}
		return nil
	}
	c.visits++
	n.visitedAt = n.at // a newer record may change that meanwhile
	c.running.Add(n.visitedAt)
	v := &visit{node: n, text: n.text}
	if !n.tried {
		v.area = c.areas.of(n.id)
		v.area.begin()
	}
	if n.claim != "" && n.fails > 0 {
		v.text, v.near = n.claim, []uint{0}
		return v
	}
	if n.answered || n.fromEarlierRun {
		v.near = append(v.near, 0)
	}
	if c.table.alive < bootstrapVisits {
		v.far = distances(farLevels)
		return v
	}
	for d := max(1, top-maxDistances+1+len(v.near)); d <= top; d++ {
		v.near = append(v.near, uint(d))
	}
	if c.farYield > minFarYield || c.visits%farEvery == 0 {
		far := distances(256 - top)
		rand.Shuffle(len(far), func(i, j int) { far[i], far[j] = far[j], far[i] })
		v.far = far[:min(farPerVisit, len(far))]
	}
	return v
}

// nextVisit takes the node to query now, or returns the time at which one is due. First
// visits that are unlikely to bring anything new are deferred.
func (c *crawl) nextVisit(now time.Time) (*node, time.Time) {
	for {
		n, at := c.table.nextDue(now)
		if n == nil {
			return nil, at
		}
		if full := c.running.Full(n.at, queryBudget); full != 0 {
			c.table.requeue(n, c.nextTurn(n.at, full, now))
			continue
		}
		if n.tried || n.bootnode {
			return n, at
		}
		switch area := c.areas.of(n.id); {
		case area.enumerated() && !n.deferred:
			n.deferred = true // once: its own record and its life count too
			c.table.requeue(n, now.Add(rand.N(maxDeferral)))
		case area.saturated() && !area.enumerated():
			c.table.requeue(n, now.Add(saturatedWait))
		default:
			return n, at
		}
	}
}

// nextTurn is when a node may look again whether the group that was full has room. It is a
// turn of that group alone: a long queue at one address must not delay its neighbours.
func (c *crawl) nextTurn(at prefix.Groups, full prefix.Key, now time.Time) time.Time {
	group := prefix.Groups{Host: full}
	if full == at.Net {
		group = prefix.Groups{Net: full}
	}
	turn := c.turns.Next(group, now.Add(turnPeriod/time.Duration(turnBudget.Host)))
	c.turns.Add(group, turn)
	return turn
}

// distances lists the n largest, which have the fullest buckets.
func distances(n int) []uint {
	list := make([]uint, n)
	for i := range list {
		list[i] = uint(256 - i)
	}
	return list
}

// nearTop is the largest distance at which, and below which together, a node has
// about nearTarget neighbours in a network of the given size: half of the network
// is at distance 256, a quarter at 255, and so on.
func nearTop(size int) int {
	return 256 - bits.Len(uint(size/nearTarget))
}

// steadyTop is nearTop, but keeps the last value until the network is a quarter
// smaller than its bound: the size is an estimate that fluctuates, and each change costs a
// walk over the table.
func steadyTop(last, size int) int {
	top := nearTop(size)
	if last < top && last >= nearTop(size+size/3+1) {
		return last
	}
	return top
}

// handleAnswers applies the answers of a visit to the table.
func (c *crawl) handleAnswers(a answers) {
	now := time.Now()
	c.running.Remove(a.node.visitedAt)
	switch {
	case !a.notBefore.IsZero():
		a.area.end(false, false)
		c.table.requeue(a.node, a.notBefore)
		return
	case a.answered:
		c.handleAnswered(a, now)
	default:
		a.area.end(false, false)
		if record := c.table.noAnswerAt(a.node, a.asked, now); record != nil {
			c.emit(a.node, record)
		}
		c.table.recordFailure(a.node, now)
	}
	if a.banned {
		c.f.cfg.Log.Debug("a node has stopped answering, leaving it alone for a while", slog.String("node_id", a.node.id.String()), slog.Duration("for", leaveAlone))
		c.table.leave(a.node, now)
	}
}

func (c *crawl) handleAnswered(a answers, now time.Time) {
	productive := a.self != nil && c.offerOwn(a.node, a.self, now)
	if a.node.unpublished {
		if record, err := verifiedBefore(a.node.text, a.node.id); err == nil {
			c.emit(a.node, record)
		}
	}
	fresh := 0
	for _, n := range a.far {
		if c.isNew(n, now) {
			fresh++
		}
	}
	if a.farAsked > 0 {
		const weight = 0.1
		c.farYield += weight * (float64(fresh)/float64(a.farAsked) - c.farYield)
	}
	freshNear := 0
	for _, n := range a.near {
		if c.isNew(n, now) {
			freshNear++
		}
	}
	// An answer that was cut, or is empty, says nothing about the rest.
	whole := len(a.near) > 0 && !a.nearCut
	a.area.end(true, freshNear > 0 || !whole)
	c.table.recordAnswer(a.node, productive || fresh+freshNear > 0, now)
}

// isNew offers n and reports whether it is a node of our network that was not known.
func (c *crawl) isNew(n *enode.Node, now time.Time) bool {
	_, isNew := c.offer(n, now)
	return isNew && c.table.byID[n.ID()].ours
}

// offer puts a record into the table. It emits one that is new or newer, and of an
// earlier run's the first that comes.
func (c *crawl) offer(n *enode.Node, now time.Time) (newer, isNew bool) {
	if !c.f.acceptable(n) {
		return false, false
	}
	newer, isNew = c.table.offer(n, now)
	c.f.nodes.Store(int64(len(c.table.byID)))
	if known := c.table.byID[n.ID()]; newer || known != nil && known.unpublished && n.Seq() == known.seq {
		c.emit(known, n)
	}
	return newer, isNew
}

// offerOwn applies the record that a node itself gave, and emits it when it is another
// than the known one, also with a lower seq.
func (c *crawl) offerOwn(known *node, n *enode.Node, now time.Time) (changed bool) {
	if !c.f.acceptable(n) || !c.table.offerOwn(known, n, now) {
		return false
	}
	c.emit(known, n)
	return true
}

func (c *crawl) emit(known *node, n *enode.Node) {
	known.unpublished = false
	r := enr.FromNode(n)
	r.Own = known.own
	r.Raw = known.text // the same text is kept here and there
	c.found(r)
}

// offerKnown puts a record of an earlier run into the table. It is emitted when its node
// answers, or others report it: a crash may have lost its event.
func (c *crawl) offerKnown(r knownRecord) {
	if !c.f.acceptable(r.node) {
		return
	}
	if _, isNew := c.table.offer(r.node, time.Now()); isNew {
		n := c.table.byID[r.node.ID()]
		n.fromEarlierRun, n.unpublished, n.text = true, true, r.text
	}
	c.f.nodes.Store(int64(len(c.table.byID)))
}

// acceptable reports whether we can query the record's node, at an address that we may use. A
// record with our own address is ours, of a key that we no longer have.
func (f *Finder) acceptable(n *enode.Node) bool {
	addr, ok := n.UDPEndpoint()
	own, known := f.local.Node().UDPEndpoint()
	if !ok || known && addr == own {
		return false
	}
	return enr.MayContact(addr.Addr(), f.cfg.AllowPrivate) && !f.skips(n)
}

// skips reports whether the record's node is excluded.
func (f *Finder) skips(n *enode.Node) bool {
	var ip4 gethenr.IPv4Addr
	var ip6 gethenr.IPv6Addr
	_, _ = n.Load(&ip4), n.Load(&ip6) // stay invalid when the record has none
	return f.cfg.Skip(eth2.NodeID(n.ID()), netip.Addr(ip4), netip.Addr(ip6))
}
