package discv5

import (
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/p2p/enode"
)

func TestAreas(t *testing.T) {
	var a areas
	if !a.resize(248) || a.resize(248) {
		t.Error("the size is new once")
	}
	one, same, other := a.of(enode.ID{1, 2}), a.of(enode.ID{1, 3}), a.of(enode.ID{2})
	if one != same || one == other {
		t.Error("eight bits of the id make the area")
	}
	for range enumeratedAfter {
		one.begin()
	}
	if one.saturated() {
		t.Error("busy with as many visits as it needs at least")
	}
	one.begin()
	if !one.saturated() || one.enumerated() {
		t.Error("not busy with more visits than it needs, or enumerated before their end")
	}
	for range enumeratedAfter {
		one.end(true, false)
	}
	one.end(false, false)
	if !one.enumerated() {
		t.Error("not enumerated after as many unproductive visits")
	}
	one.begin()
	one.end(true, true)
	if one.enumerated() {
		t.Error("still enumerated after a visit that brought something new")
	}
	if !a.resize(247) || a.of(enode.ID{1, 2}) == one {
		t.Error("areas of another size are remembered")
	}
	for _, top := range []int{256, 240, 0} {
		a.resize(top)
		a.of(enode.ID{0xff}).begin()
	}
}

// Nodes of an enumerated area are deferred once, and due when areas change.
func TestFirstVisitsArePutOff(t *testing.T) {
	f := newFinder(t, nil)
	c := f.newCrawl(nil)
	forkID := testForkID(1)
	n := testNode(t, &forkID)
	now := time.Now()
	c.areas.resize(256)
	c.table.offer(n, now)
	ar := c.areas.of(n.ID())
	ar.unproductive = enumeratedAfter
	got, at := c.nextVisit(now)
	if got != nil || at.Before(now) || at.After(now.Add(maxDeferral)) {
		t.Errorf("next = %v, due in %v", got, at.Sub(now))
	}
	c.table.resumeDeferred(now)
	if got, _ := c.nextVisit(now); got != nil {
		t.Error("not deferred again after resumeDeferred")
	}
	if got, _ := c.nextVisit(now.Add(maxDeferral)); got == nil || got.id != n.ID() {
		t.Error("not asked at its time")
	}
}
