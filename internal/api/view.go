package api

import (
	"cmp"
	"context"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/tracker"
	"log/slog"
	"runtime/debug"
)

const (
	// viewPoll is how often the State is looked at, viewEvery the least time between two
	// views, and buildShare how many times longer than a build took.
	viewPoll   = 200 * time.Millisecond
	viewEvery  = time.Second
	buildShare = 20
)

// view is what answers are made from: a State, and what follows from it. It is immutable,
// but for what is computed on first use.
type view struct {
	src    *Sources
	number uint64
	state  *tracker.State
	totals tracker.Totals
	nodes  []node // by id
	// groups are those of the nodes that count, by what they are grouped by, the cities as
	// the public sees them under byCityPublic.
	groups        map[string][]group
	concentration []concentrated
	funnel        funnel
	forks         forks
	summary       []byte // the JSON of its data
	event         []byte // the summary as a server-sent event
	orders        orders
	matches       matchCache

	nodeIDs struct { // places in nodes, by node id
		once sync.Once
		list []int32
	}
}

// views builds a view of each State.
type views struct {
	src     Sources
	stats   *stats
	log     *slog.Logger
	failed  *tracker.State // the last one that no view could be made of
	current atomic.Pointer[view]
	pins    pins
	exports exportViews
	changes *changeLog
	file    *changeFile // nil without a data directory
	base    *view       // the nodes of an earlier run; nil without one, and after the first view
}

func newViews(src Sources, stats *stats, log *slog.Logger) *views {
	v := &views{src: src, stats: stats, log: log}
	v.changes, v.file, v.base = openChanges(src.DataDir, log)
	return v
}

// run builds views until ctx ends.
func (v *views) run(ctx context.Context) error {
	ticker := time.NewTicker(viewPoll)
	defer ticker.Stop()
	var next time.Time
	for {
		if now := time.Now(); now.After(next) && v.update() {
			took := time.Since(now)
			next = now.Add(max(viewEvery, buildShare*took))
			v.pins.expire()
		}
		select {
		case <-ctx.Done():
			if last := v.current.Load(); last != nil && v.mayWrite() && v.file.stale {
				v.file.rewrite(v.changes, nil, last)
			}
			return nil
		case <-ticker.C:
		}
	}
}

func (v *views) mayWrite() bool { return v.file != nil && (v.src.Own == nil || v.src.Own()) }

// update builds a view if the State has changed. A State that no view can be made of, which is
// a mistake in this program, leaves the last view, and does not end the consumer.
func (v *views) update() bool {
	state := v.src.State()
	last := v.current.Load()
	if state == nil || last != nil && last.state == state || v.failed == state {
		return false
	}
	defer func() {
		if r := recover(); r != nil {
			v.failed = state
			v.log.Error("cannot build a view of the tracker's state: the API keeps serving the previous one", slog.Any("error", r), slog.String("stack", string(debug.Stack())))
		}
	}()
	began := time.Now()
	before := cmp.Or(last, v.base)
	next := newView(&v.src, state, before)
	found := v.changes.find(before, next)
	// Written before anybody sees their numbers: after a kill they would be given to other changes.
	if v.mayWrite() {
		v.file.add(v.changes, found, next)
	} else if v.file != nil {
		v.file.skip()
	}
	v.changes.add(found)
	v.current.Store(next)
	v.changes.publish()
	v.base = nil
	v.stats.built(time.Since(began), len(next.nodes))
	return true
}

// newView builds a view; last is the one before, nil for none.
func newView(src *Sources, state *tracker.State, last *view) *view {
	v := &view{src: src, state: state, totals: state.Totals(), nodes: src.nodesOf(state, last)}
	if last != nil {
		v.number = last.number + 1
		v.keepValidating(last)
	}
	if !src.Simulated {
		hide(v.nodes)
	}
	v.groups = v.groupAll()
	v.concentration = v.concentrations()
	v.forks = v.readiness()
	v.funnel = v.countFunnel()
	v.summary = v.summarise()
	v.event = appendEvent(nil, "summary", v.summary)
	if last != nil {
		v.orders.prepare(v, last.orders.recent())
		v.matches.prepare(v, &last.matches)
	}
	return v
}

// nodesOf lists the peers by id. Sentries of this program are no nodes. What follows from a peer alone
// is that of the last view, if the peer is the same.
func (src *Sources) nodesOf(state *tracker.State, last *view) []node {
	nodes := make([]node, 0, state.Len())
	for p := range state.Peers() {
		if p.Client.Kind != eth2.ClientValtrack {
			nodes = append(nodes, node{Peer: p})
		}
	}
	slices.SortFunc(nodes, func(a, b node) int { return strings.Compare(a.ID, b.ID) })
	if last == nil {
		last = &view{}
	}
	eachBoth(last, &view{nodes: nodes}, func(was, is *node) {
		switch {
		case is == nil:
		case was != nil && was.Peer == is.Peer:
			*is = *was
			is.weight, is.hidden, is.validating = math.NaN(), false, validatingOf(is.Peer)
		default:
			*is = src.nodeOf(is.Peer)
		}
	})
	counted, _ := state.Counted()
	weights := state.Weights()
	i := 0
	for k, p := range counted { // by id too
		for i < len(nodes) && nodes[i].ID < p.ID {
			i++
		}
		if i < len(nodes) && nodes[i].ID == p.ID {
			nodes[i].weight = weights[k]
		}
	}
	return nodes
}

func (src *Sources) nodeOf(p *tracker.Peer) node {
	at := src.place
	if at == nil {
		at = placeOf
	}
	n := node{Peer: p, release: p.Client.Release(), weight: math.NaN(), place: at(p), validating: validatingOf(p)}
	if p.NodeID != nil {
		n.nodeID = p.NodeID.String()
	}
	return n
}

// keepValidating takes over what was known of nodes whose estimate is unsure now.
func (v *view) keepValidating(last *view) {
	eachBoth(last, v, func(was, is *node) {
		if was != nil && is != nil && is.validating == unsure {
			is.validating = was.validating
		}
	})
}

// eachBoth calls each with the nodes of both views by id; one is nil where a view has none.
func eachBoth(last, next *view, each func(was, is *node)) {
	i, k := 0, 0
	for i < len(last.nodes) || k < len(next.nodes) {
		switch {
		case k == len(next.nodes) || i < len(last.nodes) && last.nodes[i].ID < next.nodes[k].ID:
			each(&last.nodes[i], nil)
			i++
		case i == len(last.nodes) || next.nodes[k].ID < last.nodes[i].ID:
			each(nil, &next.nodes[k])
			k++
		default:
			each(&last.nodes[i], &next.nodes[k])
			i, k = i+1, k+1
		}
	}
}

// counts reports whether the node counts in totals.
func (n *node) counts() bool { return !math.IsNaN(n.weight) }

// find finds a node by its peer id or node id; nil when there is none.
func (v *view) find(id string) *node {
	if i, ok := slices.BinarySearchFunc(v.nodes, id, func(n node, id string) int { return strings.Compare(n.ID, id) }); ok {
		return &v.nodes[i]
	}
	if !strings.HasPrefix(id, "0x") {
		return nil
	}
	v.nodeIDs.once.Do(func() {
		for i := range v.nodes {
			if v.nodes[i].nodeID != "" {
				v.nodeIDs.list = append(v.nodeIDs.list, int32(i))
			}
		}
		slices.SortFunc(v.nodeIDs.list, func(a, b int32) int { return strings.Compare(v.nodes[a].nodeID, v.nodes[b].nodeID) })
	})
	i, ok := slices.BinarySearchFunc(v.nodeIDs.list, strings.ToLower(id), func(i int32, id string) int { return strings.Compare(v.nodes[i].nodeID, id) })
	if !ok {
		return nil
	}
	return &v.nodes[v.nodeIDs.list[i]]
}

// etag is that of answers that are made from the view for a caller.
func (r *request) etag(s *Server) string {
	who := "p"
	if r.caller.full {
		who = "f"
	}
	return s.viewID(r.view) + who
}

// viewID names a view: other processes have others.
func (s *Server) viewID(v *view) string { return s.boot + "-" + strconv.FormatUint(v.number, 36) }

// meta goes with each answer.
type meta struct {
	Network     string  `json:"network"`
	Simulated   bool    `json:"simulated"`
	AsOf        *int64  `json:"as_of"`
	CoversMS    int64   `json:"covers_ms"`
	AgeMS       *int64  `json:"age_ms"`
	EstimatedAt *int64  `json:"estimated_at"`
	GeoDate     *string `json:"geo_date"`
	// GeoSources are what places and networks of addresses are from. Licences ask for their names
	// and links where places are shown.
	GeoSources []geoSource `json:"geo_sources"`
	Public     bool        `json:"public"`
}

type geoSource struct {
	Name    string `json:"name"`
	URL     string `json:"url"`
	Licence string `json:"licence"`
	Date    string `json:"date"` // of the data, empty where it is not known
}

// geoSources lists the sources, and the date of the oldest.
func (s Sources) geoSources() (list []geoSource, oldest *string) {
	list = []geoSource{}
	if s.Places == nil {
		return list, nil
	}
	for _, from := range s.Places() {
		g := geoSource{Name: from.Name, URL: from.Link, Licence: from.License}
		if !from.Date.IsZero() {
			g.Date = from.Date.UTC().Format(time.DateOnly)
			if oldest == nil || g.Date < *oldest {
				oldest = &g.Date
			}
		}
		list = append(list, g)
	}
	return list, oldest
}

// meta describes the request's view.
func (r *request) meta() meta { return r.view.meta(!r.caller.full) }

func (v *view) meta(public bool) meta {
	m := meta{
		Network: v.src.Network, Simulated: v.src.Simulated, AsOf: known(v.totals.Hour), CoversMS: (24 * time.Hour).Milliseconds(),
		EstimatedAt: known(v.state.Learned.At), Public: public,
	}
	m.GeoSources, m.GeoDate = v.src.geoSources()
	if m.AsOf != nil {
		m.AgeMS = new(max(0, time.Now().UnixMilli()-*m.AsOf))
	}
	return m
}

// known is nil for the zero value.
func known[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}

// given is nil for nil.
func given(f *float64) *number {
	if f == nil {
		return nil
	}
	return optional(*f)
}

// optional is nil for what is not finite.
func optional(f float64) *number {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return nil
	}
	return new(number(f))
}
