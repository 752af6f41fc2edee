package discv5

import (
	"context"
	"log/slog"
	"net/netip"
	"time"

	"github.com/ethereum/go-ethereum/p2p/enode"
)

// visit is one round of requests to one node.
type visit struct {
	node *node
	text string // the record to ask at: the node's, or a claim
	area *area  // nil on later visits
	// near are the distances of the first request. 0 is the node's own record, which
	// is fresher than what its neighbours hand on. Not on the first visit, when the
	// record has just come, unless from an earlier run.
	near []uint
	far  []uint // asked one at a time, or together where buckets are sparse
}

// answers is the result of a visit.
type answers struct {
	node      *node
	area      *area
	asked     string    // the record of which the endpoint was asked
	notBefore time.Time // nothing was asked: too soon for the endpoint or its address
	answered  bool
	noAnswer  bool // the last request was not answered
	// banned means that the node answered, or sent WHOAREYOU, and then fell silent:
	// its packet filter may have banned us.
	banned   bool
	self     *enode.Node // the node's own record, nil when it did not give it
	near     []*enode.Node
	nearCut  bool // near may not be all
	far      []*enode.Node
	farAsked int
}

// query carries out a visit. Any answer shows that the node is alive.
func (f *Finder) query(ctx context.Context, v visit) answers {
	a := answers{node: v.node, area: v.area, asked: v.text}
	record, err := verifiedBefore(v.text, v.node.id)
	if err != nil { // not of a record that was
		f.cfg.Log.Error("record of the node table", slog.String("enr", v.text), slog.Any("error", err))
		return a
	}
	if f.skips(record) { // since it came into the table
		return a
	}
	q := queries{f: f, to: record, answers: &a}
	q.endpoint, _ = record.UDPEndpoint()
	if now := time.Now(); f.pace.ready(q.endpoint, now).After(now) {
		a.notBefore = f.pace.ready(q.endpoint, now)
		return a
	}
	q.before = f.pace.heardFrom(q.endpoint)
	if len(v.near) > 0 {
		q.findNear(ctx, v.near)
	}
	q.findFar(ctx, v.far)
	f.far.Add(int64(a.farAsked))
	a.banned = a.noAnswer && q.wasHeard() && ctx.Err() == nil
	f.route(record, q.endpoint, &a)
	return a
}

// route keeps the routing table to nodes that answer, with records whose endpoint is the one
// that was asked: others are told of them, and must not be sent to a third party.
func (f *Finder) route(record *enode.Node, asked netip.AddrPort, a *answers) {
	switch {
	case a.noAnswer:
		f.udp.routing.remove(record.ID())
	case a.self != nil && f.acceptable(a.self) && isAt(a.self, asked):
		f.udp.routing.add(a.self)
	case a.answered:
		f.udp.routing.add(record)
	}
}

func isAt(n *enode.Node, endpoint netip.AddrPort) bool {
	at, ok := n.UDPEndpoint()
	return ok && at == endpoint
}

// queries are the requests of one visit, in order. After one that is not answered no
// more are sent.
type queries struct {
	*answers
	f        *Finder
	to       *enode.Node
	endpoint netip.AddrPort
	before   int // packets heard from it before the visit
	sent     int // requests
}

// wasHeard reports whether the node sent anything during the visit.
func (q *queries) wasHeard() bool {
	return q.answered || q.f.pace.heardFrom(q.endpoint) > q.before
}

func (q *queries) findNear(ctx context.Context, distances []uint) {
	var got []*enode.Node
	got, q.nearCut = q.find(ctx, distances)
	for _, n := range got {
		if n.ID() == q.to.ID() {
			q.self = n
		} else {
			q.near = append(q.near, n)
		}
	}
}

// findFar asks for full buckets one at a time, since an answer has room for one. Once
// one is sparse, the next, of half the range, are asked for together.
func (q *queries) findFar(ctx context.Context, distances []uint) {
	sparse := false
	for len(distances) > 0 && !q.noAnswer {
		count := 1
		if sparse {
			count = min(maxDistances, len(distances))
		}
		before := q.sent
		got, _ := q.find(ctx, distances[:count])
		q.farAsked += q.sent - before
		q.far = append(q.far, got...)
		sparse = sparse || len(got) < bucketSize/2
		distances = distances[count:]
	}
}

// find asks for the nodes at some distances. An answer to several that was cut is
// asked for again, one distance at a time; cut then says whether one of those was.
func (q *queries) find(ctx context.Context, distances []uint) (got []*enode.Node, cut bool) {
	got, cut = q.findOnce(ctx, distances)
	if q.noAnswer && q.wasHeard() { // perhaps a packet was lost
		got, cut = q.findOnce(ctx, distances)
	}
	if !cut || len(distances) == 1 {
		return got, cut
	}
	cut = false
	for _, distance := range distances {
		if distance == 0 || q.noAnswer {
			continue
		}
		one, oneCut := q.findOnce(ctx, []uint{distance})
		got, cut = append(got, one...), cut || oneCut || q.noAnswer
	}
	return got, cut
}

// findOnce is one request. cut means that the answer may not be all.
func (q *queries) findOnce(ctx context.Context, distances []uint) (got []*enode.Node, cut bool) {
	if ctx.Err() != nil {
		q.noAnswer = true
		return nil, true
	}
	a, err := q.f.udp.findnode(ctx, q.to, distances)
	q.sent++
	q.f.count(&a)
	q.noAnswer = a.packets == 0
	q.answered = q.answered || !q.noAnswer
	return a.nodes, err != nil || a.cut()
}
