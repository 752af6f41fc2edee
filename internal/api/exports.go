package api

import (
	"net/http"
	"slices"
	"sync"
	"time"
)

const (
	// exportTime bounds how long an answer that is written row by row may take.
	exportTime = 5 * time.Minute
	// maxExported is how many nodes the views have that exports read, if more than minExported views
	// are read.
	maxExported = 200_000
	minExported = 2
)

// exportViews are the views that exports read. A view, and the State of it, stays in memory until the
// last of its exports ends, which is long for a slow client: when there is no room for another, an
// export reads one that others read already.
type exportViews struct {
	mu   sync.Mutex
	list []*exportView // by when they were opened
}

type exportView struct {
	view    *view
	opened  time.Time
	readers int
}

// open gives the view that an export reads: v, or the newest that others read if there is no room for
// v. It gives nil if that is old, or if it must be v, and else what must be called when the export ends.
func (e *exportViews) open(v *view, must bool) (*view, func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	nodes := len(v.nodes)
	for _, x := range e.list {
		nodes += len(x.view.nodes)
	}
	i := slices.IndexFunc(e.list, func(x *exportView) bool { return x.view == v })
	switch last := len(e.list) - 1; {
	case i >= 0:
	case nodes <= maxExported || len(e.list) < minExported:
		e.list = append(e.list, &exportView{view: v, opened: time.Now()})
		i = last + 1
	case !must && time.Since(e.list[last].opened) < exportTime:
		i = last
	default:
		return nil, nil
	}
	x := e.list[i]
	x.readers++
	return x.view, sync.OnceFunc(func() { e.close(x) })
}

func (e *exportViews) close(x *exportView) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if x.readers--; x.readers == 0 {
		e.list = slices.DeleteFunc(e.list, func(o *exportView) bool { return o == x })
	}
}

// export takes a slot for an export of the request's view or, unless it must be that, of one that
// others read. release must be called once when the problem is nil, by answer.release.
func (s *Server) export(r *request, must bool) (release func(), p *problem) {
	slot, p := s.limits.exports.acquire(r.Context(), r.client)
	if p != nil {
		return nil, p
	}
	v, done := s.views.exports.open(r.view, must)
	if v == nil {
		slot()
		p := newProblem(http.StatusServiceUnavailable, "other exports of older data are still being read: try again later")
		p.retryAfter = slotRetry
		return nil, p
	}
	r.view = v
	return func() { done(); slot() }, nil
}
