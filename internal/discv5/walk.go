package discv5

import (
	"context"
	crand "crypto/rand"
	"time"

	"github.com/ethereum/go-ethereum/p2p/enode"
)

const (
	// walkPause is the pause between two requests of the random walk: a lookup about
	// every 30 s.
	walkPause = time.Second
	// pingEvery is how often a node of the routing table is pinged. Their answers tell
	// where others see us; ten within five minutes are needed.
	pingEvery = 3 * time.Second
)

// walk looks up random targets until ctx ends, and sends the nodes that it meets to
// the crawl.
func (f *Finder) walk(ctx context.Context, walked chan<- *enode.Node) {
	for pause(ctx, walkPause) {
		var target enode.ID
		_, _ = crand.Read(target[:]) // never fails
		f.lookup(ctx, target, walked)
	}
}

// lookup asks the nodes closest to the target for closer ones, one at a time, until
// the closest of all have been asked.
func (f *Finder) lookup(ctx context.Context, target enode.ID, walked chan<- *enode.Node) {
	seen := map[enode.ID]bool{f.local.ID(): true}
	asked := map[enode.ID]bool{}
	list := closest(target, f.udp.routing.all())
	for _, n := range list {
		seen[n.ID()] = true
	}
	for {
		n := firstOf(list, asked)
		if n == nil {
			return
		}
		asked[n.ID()] = true
		if !f.acceptable(n) || !f.mayAskNow(n) {
			continue
		}
		a, _ := f.udp.findnode(ctx, n, lookupDistances(target, n.ID()))
		f.count(&a)
		for _, met := range a.nodes {
			if seen[met.ID()] {
				continue
			}
			seen[met.ID()] = true
			select {
			case walked <- met:
			case <-ctx.Done():
				return
			}
			list = append(list, met)
		}
		list = closest(target, list)
		if !pause(ctx, walkPause) {
			return
		}
	}
}

// mayAskNow reports whether the pace allows a whole burst to the node.
func (f *Finder) mayAskNow(n *enode.Node) bool {
	endpoint, _ := n.UDPEndpoint()
	now := time.Now()
	return !f.pace.ready(endpoint, now).After(now)
}

// firstOf is the first node that was not asked, nil when all were.
func firstOf(list []*enode.Node, asked map[enode.ID]bool) *enode.Node {
	for _, n := range list {
		if !asked[n.ID()] {
			return n
		}
	}
	return nil
}

// lookupDistances are the distance of the target from a node, and its neighbours.
func lookupDistances(target, from enode.ID) []uint {
	d := uint(enode.LogDist(target, from))
	list := []uint{d}
	if d < 256 {
		list = append(list, d+1)
	}
	if d > 1 {
		list = append(list, d-1)
	}
	return list
}

// pingNodes pings the nodes of the routing table in turn until ctx ends.
func (f *Finder) pingNodes(ctx context.Context) {
	for pause(ctx, pingEvery) {
		n := f.udp.routing.random()
		if n == nil {
			continue
		}
		if !f.acceptable(n) { // it came to be skipped
			f.udp.routing.remove(n.ID())
			continue
		}
		if !f.mayAskNow(n) {
			continue
		}
		if err := f.udp.ping(ctx, n); err != nil && ctx.Err() == nil {
			f.udp.routing.remove(n.ID())
		}
	}
}

// pause returns false when ctx ends before the time is over.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
