package api

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	defaultLimit = 100
	maxLimit     = 1000
	// maxPrepared is how many orders of a view are made before somebody asks for them: those
	// that were asked for in the last view and within preparedFor.
	maxPrepared = 6
	preparedFor = 10 * time.Minute
)

// sorting is how rows are sorted: by a column and, where that is the same, by id. Nulls
// come last.
type sorting struct {
	column     *column
	descending bool
	full       bool // with the values that need a key
}

func (o sorting) spec() string {
	if o.descending {
		return "-" + o.column.name
	}
	return o.column.name
}

// sorting reads the parameter sort.
func (r *request) sorting() (o sorting) {
	spec := r.text("sort", 64)
	if spec == "" {
		spec = "id"
	}
	name, descending := strings.CutPrefix(spec, "-")
	o = sorting{descending: descending, full: r.caller.full}
	names := []string{}
	for _, c := range columnsFor(true) {
		if c.list {
			continue
		}
		if c.name == name {
			if c.keyed && !r.caller.full {
				p := r.needsKey("sort=" + shorten(spec) + ": sorting by an address")
				p.Parameter = "sort"
				r.fail(p)
			}
			o.column = c
		}
		if !c.keyed || r.caller.full {
			names = append(names, c.name)
		}
	}
	if o.column == nil {
		r.fail(badParameter("sort", spec, "one of "+strings.Join(names, ", ")+", with - in front for the largest first", names...))
		o.column = &nodeColumns[0]
	}
	return o
}

// orders are the nodes of a view in the orders that were asked for.
type orders struct {
	mu   sync.Mutex
	made map[sorting]*order
	// sorting is held while an order is made, so that requests for many of them take one core.
	sorting sync.Mutex
}

type order struct {
	once  sync.Once
	nodes []int32 // places in view.nodes
	used  time.Time
}

// sorted gives the places of the nodes in an order.
func (v *view) sorted(by sorting) []int32 {
	by.full = by.full && (by.column.public != nil || by.column.keyed) // all others are the same for everybody
	v.orders.mu.Lock()
	o := v.orders.made[by]
	if o == nil {
		if v.orders.made == nil {
			v.orders.made = map[sorting]*order{}
		}
		o = &order{}
		v.orders.made[by] = o
	}
	o.used = time.Now()
	v.orders.mu.Unlock()
	o.once.Do(func() {
		v.orders.sorting.Lock()
		defer v.orders.sorting.Unlock()
		o.nodes = v.sort(by)
	})
	return o.nodes
}

// sortKey is a node's place in an order as far as a number can say it.
type sortKey struct {
	rank uint64
	at   int32
}

func (v *view) sort(by sorting) []int32 {
	all, nulls := make([]sortKey, 0, len(v.nodes)), []int32{}
	for i := range v.nodes {
		if key := by.column.at(&v.nodes[i], by.full); key.kind == kindNull {
			nulls = append(nulls, int32(i))
		} else {
			rank := key.rank()
			if by.descending {
				rank = ^rank
			}
			all = append(all, sortKey{rank, int32(i)})
		}
	}
	slices.SortFunc(all, func(a, b sortKey) int {
		if a.rank != b.rank {
			return cmp.Compare(a.rank, b.rank)
		}
		if key := by.column.at(&v.nodes[a.at], by.full); key.kind == kindText { // of which the rank is the beginning
			if c := key.compare(by.column.at(&v.nodes[b.at], by.full), by.descending); c != 0 {
				return c
			}
		}
		return int(a.at - b.at) // nodes are sorted by id
	})
	out := make([]int32, 0, len(v.nodes))
	for _, k := range all {
		out = append(out, k.at)
	}
	return append(out, nulls...)
}

// recent are the orders that are in use, with the times of their last use.
func (o *orders) recent() map[sorting]time.Time {
	o.mu.Lock()
	defer o.mu.Unlock()
	out := map[sorting]time.Time{}
	for by, made := range o.made {
		if time.Since(made.used) < preparedFor {
			out[by] = made.used
		}
	}
	return out
}

// prepare makes the orders that were used last, before anybody asks for them.
func (o *orders) prepare(v *view, recent map[sorting]time.Time) {
	by := []sorting{}
	for sorting := range recent {
		by = append(by, sorting)
	}
	slices.SortFunc(by, func(a, b sorting) int { return recent[b].Compare(recent[a]) })
	for _, sorting := range by[:min(maxPrepared, len(by))] {
		v.sorted(sorting)
		o.made[sorting].used = recent[sorting]
	}
}

// cursor is where a page begins: a place in an order of a view.
type cursor struct {
	View string `json:"v"`
	Sort string `json:"s"`
	At   int    `json:"n"`
}

func (c cursor) text() string { return base64.RawURLEncoding.EncodeToString(marshal(c)) }

// parseCursor reads the parameter cursor of a request with a sort.
func parseCursor(text string, by sorting) (c cursor, p *problem) {
	bad := badParameter("cursor", text, "meta.next of an answer to the same request")
	data, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return c, bad
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if dec.Decode(&c) != nil || c.At < 0 || c.View == "" {
		return c, bad
	}
	if c.Sort != by.spec() {
		return c, badParameter("cursor", text, "meta.next of an answer with the same sort: this one is of sort="+shorten(c.Sort))
	}
	return c, nil
}

// pageView makes the view in which a list goes on, or begins, that of the request.
func (s *Server) pageView(r *request, text string, by sorting, limit int) (start int, p *problem) {
	if text == "" {
		if limit > 0 && limit < len(r.view.nodes) {
			r.view = s.views.pins.begin(r.view)
		}
		return 0, nil
	}
	c, p := parseCursor(text, by)
	if p != nil {
		return 0, p
	}
	matches := func(v *view) bool { return s.viewID(v) == c.View }
	if matches(r.view) {
		return c.At, nil
	}
	if r.view = s.views.pins.find(matches); r.view == nil {
		p := newProblem(http.StatusGone, "the list behind this cursor is no longer kept: start again without a cursor. Lists are kept for %s after a page was requested, less when many clients page", pinKept)
		p.Parameter = "cursor"
		return 0, p
	}
	return c.At, nil
}
