package api

import (
	"slices"
	"sync"
	"time"
)

const (
	// maxPins is how many views are kept for cursors, maxPinned how many nodes they have, if more
	// than minPins are kept; pinKept is for how long after their last use.
	minPins, maxPins = 2, 8
	maxPinned        = 400_000
	pinKept          = 10 * time.Minute
	// pinLeast is for how long a view stays at least after its last use, however many lists begin.
	pinLeast = 32 * time.Second
)

// pinShare is for how long lists begin in the view that was kept last, of so many nodes: by the time
// that as many more as there is room for were kept, pinLeast is over.
func pinShare(nodes int) time.Duration {
	return pinLeast / time.Duration(min(maxPins, max(minPins, maxPinned/max(1, nodes))))
}

// pins are recent views that cursors point into, so that all pages of a list are of one view.
type pins struct {
	mu   sync.Mutex
	list []pin // by when they were kept
}

type pin struct {
	view       *view
	kept, used time.Time
}

// begin is the view in which a list of several pages begins: current, or one that was kept just now.
func (p *pins) begin(current *view) *view {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.list); n > 0 {
		if last := p.list[n-1]; time.Since(last.kept) < pinShare(len(last.view.nodes)) {
			return last.view
		}
	}
	return current
}

// keep keeps a view that a cursor was given out for.
func (p *pins) keep(v *view) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if i := slices.IndexFunc(p.list, func(x pin) bool { return x.view == v }); i >= 0 {
		p.list[i].used = now
	} else {
		p.list = append(p.list, pin{v, now, now})
	}
	p.drop(now)
	for len(p.list) > minPins && (len(p.list) > maxPins || p.nodes() > maxPinned) {
		oldest := 0
		for i, x := range p.list {
			if x.used.Before(p.list[oldest].used) {
				oldest = i
			}
		}
		p.list = slices.Delete(p.list, oldest, oldest+1)
	}
}

func (p *pins) nodes() (n int) {
	for _, x := range p.list {
		n += len(x.view.nodes)
	}
	return n
}

func (p *pins) drop(now time.Time) {
	p.list = slices.DeleteFunc(p.list, func(x pin) bool { return now.Sub(x.used) > pinKept })
}

// expire drops the views whose time is over.
func (p *pins) expire() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.drop(time.Now())
}

// find finds a view that was kept; nil when it is gone.
func (p *pins) find(matches func(*view) bool) *view {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.list {
		if x := &p.list[i]; matches(x.view) && time.Since(x.used) <= pinKept {
			x.used = time.Now()
			return x.view
		}
	}
	return nil
}
