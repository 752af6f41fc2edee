package api

import (
	"math"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/chainbound/valtrack/internal/tracker"
)

// Kinds of changes.
const (
	appeared = "appeared"
	vanished = "vanished"
	moved    = "moved"
	upgraded = "upgraded"
	started  = "started_validating"
	stopped  = "stopped_validating"
)

const changesDay = 24 * time.Hour

// change is something that happened to a node. From and To are versions, places or numbers
// of validators; of a node that moved, callers with a key see addresses.
type change struct {
	Kind     string  `json:"kind"`
	ID       string  `json:"id"`
	At       int64   `json:"at"`
	Client   *string `json:"client"`
	Version  *string `json:"version"`
	From     *string `json:"from"`
	To       *string `json:"to"`
	Replaces *string `json:"replaces"`
	// The ends of the 90 % intervals of From and To where these are numbers of validators, and the
	// flags of the latter; nil elsewhere, and where an earlier version found the change.
	FromLow  *number  `json:"from_low"`
	FromHigh *number  `json:"from_high"`
	ToLow    *number  `json:"to_low"`
	ToHigh   *number  `json:"to_high"`
	Flags    []string `json:"flags"`
	// Seq numbers the changes in the order in which they were found, at FoundAt.
	Seq     int64 `json:"seq"`
	FoundAt int64 `json:"found_at"`

	from, to string // addresses, of a node that moved
}

// forCaller is the change with what the caller may see.
func (c change) forCaller(full bool) change {
	if full && c.Kind == moved {
		c.From, c.To = known(c.from), known(c.to)
	}
	return c
}

func (n *node) change(kind string, at int64) change {
	return change{Kind: kind, ID: n.ID, At: at, Client: known(clientName(n)), Version: known(n.release)}
}

// changesBetween compares the nodes of two views.
func changesBetween(last, next *view) (out []change) {
	begun := next.begun()
	left := map[string]string{} // who had an address, and does not count any more
	var fresh []int
	eachBoth(last, next, func(was, is *node) {
		if was != nil && was.counts() && (is == nil || !is.counts()) {
			left[was.Address] = was.ID
		}
		switch {
		case is == nil: // forgotten by the tracker, which says nothing of the node
		case was == nil || !was.handshaken():
			if is.handshaken() && is.FirstSeen > begun {
				fresh = append(fresh, len(out))
				out = append(out, is.change(appeared, is.LastHandshake))
				out[len(out)-1].to = is.Address
			}
		default:
			if was.LastMet() >= last.dayAgo() && is.LastMet() < next.dayAgo() {
				out = append(out, is.vanished())
			}
			out = is.appendChanges(out, was)
		}
	})
	for _, i := range fresh {
		if address := out[i].to; address != "" {
			out[i].Replaces, out[i].to = known(left[address]), ""
		}
	}
	return out
}

// dayAgo is when the day begins in which a node must have been met to be there.
func (v *view) dayAgo() int64 { return v.totals.Hour - changesDay.Milliseconds() }

// vanished is that a node was not met for a day: it completed no handshake, and was not watched.
func (n *node) vanished() change {
	return n.change(vanished, n.LastMet()+changesDay.Milliseconds())
}

// appendChanges adds what changed about a node that is known in both views.
func (n *node) appendChanges(out []change, was *node) []change {
	if n.ToldClient() > was.ToldClient() && (clientName(was) != clientName(n) || was.release != n.release) {
		c := n.change(upgraded, n.ToldClient())
		c.From, c.To = versionText(was.Client.Kind, was.release, n), versionText(n.Client.Kind, n.release, was)
		out = append(out, c)
	}
	if n.LastHandshake > was.LastHandshake {
		from, to := ipOf(was.Address), ipOf(n.Address)
		if from.IsValid() && to.IsValid() && from != to && from.Is4() == to.Is4() {
			c := n.change(moved, n.LastHandshake)
			c.from, c.to, c.From, c.To = from.String(), to.String(), was.placeText(), n.placeText()
			out = append(out, c)
		}
	}
	if was.validating != n.validating && was.validating != unsure && n.validating != unsure {
		kind := started
		if n.validating == no {
			kind = stopped
		}
		c := n.change(kind, n.LastSeen)
		c.From, c.To = known(medianText(was)), known(medianText(n))
		c.FromLow, c.FromHigh = was.interval()
		c.ToLow, c.ToHigh = n.interval()
		if n.Estimate != nil {
			c.Flags = append([]string{}, n.Estimate.Flags.Names()...)
		}
		out = append(out, c)
	}
	return out
}

// interval has the ends of the estimate's 90 % interval, nil where they are not known.
func (n *node) interval() (low, high *number) {
	if n.Estimate == nil {
		return nil, nil
	}
	return optional(rounded(n.Estimate.Low)), optional(rounded(n.Estimate.High))
}

// versionText is a release, with the client where that changed too.
func versionText[K ~string](kind K, release string, other *node) *string {
	if string(kind) != string(other.Client.Kind) {
		return known(strings.TrimSpace(string(kind) + " " + release))
	}
	return known(release)
}

func medianText(n *node) string {
	if n.Estimate == nil {
		return ""
	}
	return strconv.Itoa(n.Estimate.Median)
}

// placeText is a node's place as the public sees it.
func (n *node) placeText() *string {
	parts := []string{n.place.city, n.place.country, n.place.asName}
	if n.hidden {
		parts[0] = ""
	}
	return known(strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), ", "))
}

// ipOf is the IP address in transport/ip:port.
func ipOf(address string) netip.Addr {
	_, text, _ := strings.Cut(address, "/")
	at, err := netip.ParseAddrPort(text)
	if err != nil {
		return netip.Addr{}
	}
	return at.Addr().Unmap()
}

// pastChanges are those before the first view that the State tells of: nodes that appeared
// and vanished, moved, or run another release than on an earlier day.
func (v *view) pastChanges() (out []change) {
	old := v.totals.Hour - changesKept.Milliseconds()
	begun := v.begun()
	for i := range v.nodes {
		n := &v.nodes[i]
		if !n.handshaken() {
			continue
		}
		if n.FirstSeen >= old && n.FirstSeen > begun {
			out = append(out, n.change(appeared, n.FirstSeen))
		}
		if n.LastMet() < v.dayAgo() && n.LastMet()+changesDay.Milliseconds() >= old {
			out = append(out, n.vanished())
		}
		out = n.appendPast(out, old)
	}
	return out
}

// begun is when the crawl knew the network: in its first day, of as many slots as one of
// mainnet, all nodes appear, which says nothing of the network.
func (v *view) begun() int64 {
	counts := v.state.History.Counts
	if len(counts) == 0 {
		return math.MaxInt64
	}
	return counts[0].Hour + v.state.Params().Clock.Scale(changesDay).Milliseconds()
}

func (n *node) appendPast(out []change, old int64) []change {
	for i := 1; i < len(n.Endpoints); i++ {
		from, to := ipOf(n.Endpoints[i-1].Address), ipOf(n.Endpoints[i].Address)
		if at := n.Endpoints[i].First; at >= old && from.IsValid() && to.IsValid() && from != to && from.Is4() == to.Is4() {
			c := n.change(moved, at)
			c.from, c.to = from.String(), to.String()
			out = append(out, c)
		}
	}
	var was tracker.VersionDay
	for day := range n.VersionDays() {
		if was.Day != 0 && was.Day < day.Day && was.Client.Release() != day.Client.Release() && was.Client.Kind == day.Client.Kind {
			c := n.change(upgraded, int64(day.Day)*changesDay.Milliseconds())
			c.From, c.To = known(was.Client.Release()), known(day.Client.Release())
			out = append(out, c)
		}
		was = day
	}
	return out
}

// changesLimit is how many changes a page has.
const changesLimit = 1000

// changesRequest is a request for changes.
type changesRequest struct {
	since  int64
	kinds  []string
	format string
	limit  int // 0 for all
	// before and after are numbers of changes; before is math.MaxInt64, after is -1 without one.
	before, after int64
}

// listChanges answers /api/v1/changes: the newest first or, after a cursor, the oldest first.
func listChanges(s *Server, r *request) (answer, *problem) {
	q := r.changesRequest(s.views.changes)
	if p := r.done(); p != nil {
		return answer{}, p
	}
	if q.format != formatJSON {
		return exportChanges(s, r, &q)
	}
	all, last := s.views.changes.from(q.after + 1)
	rows, more := q.rows(all, r.caller.full)
	m := struct {
		meta
		Next   *string `json:"next"`
		Latest string  `json:"latest"`
	}{meta: r.meta(), Latest: s.views.changes.cursor(q.latest(rows, more, last))}
	if more {
		m.Next = new(s.views.changes.cursor(rows[len(rows)-1].Seq))
	}
	a := r.wrapped(s, marshal(rows), m)
	a.etag = "" // the parameters' absent values depend on the time
	return a, nil
}

// exportChanges answers with rows alone. Without a limit these are all, which takes a slot of exports.
func exportChanges(s *Server, r *request, q *changesRequest) (answer, *problem) {
	var rows []change
	var release func()
	if r.Method != http.MethodHead {
		if q.limit == 0 {
			var p *problem
			if release, p = s.limits.exports.acquire(r.Context(), r.client); p != nil {
				return answer{}, p
			}
		}
		all, _ := s.views.changes.from(q.after + 1)
		rows, _ = q.rows(all, r.caller.full)
	}
	a := tabular(s, r, q.format, "changes", rows)
	a.etag, a.release = "", release // no tag, as of pages: they depend on the time
	return a, nil
}

func (r *request) changesRequest(l *changeLog) changesRequest {
	now := time.Now().UnixMilli()
	q := changesRequest{before: math.MaxInt64, after: -1}
	after := r.text("after", 64)
	absent := now - changesDay.Milliseconds()
	if after != "" {
		absent = 0
	}
	q.since = r.millis("since", absent)
	q.kinds = r.choices("kind", appeared, vanished, moved, upgraded, started, stopped)
	q.format = r.choice("format", formatJSON, formatNDJSON, formatCSV)
	all := int64(changesLimit)
	if q.format != formatJSON {
		all = 0
	}
	q.limit = int(r.integer("limit", 1, changesLimit, all))
	if oldest := now - changesKept.Milliseconds(); after == "" && q.since < oldest && r.err == nil {
		r.fail(badParameter("since", strconv.FormatInt(q.since, 10), "a time of the last 30 days, from "+strconv.FormatInt(oldest, 10)+" on"))
	}
	number := func(name, text string, mustBeKept bool) int64 {
		n, valid, kept := l.number(text)
		switch {
		case !valid:
			r.fail(badParameter(name, text, "meta.next or meta.latest of an answer, or the id of an event"))
		case !kept && mustBeKept:
			p := newProblem(http.StatusGone, "%s=%s: changes after it are no longer kept, or it comes from another log: ask with since=, the time of your last response", name, shorten(text))
			p.Parameter = name
			r.fail(p)
		}
		return n
	}
	if cursor := r.text("cursor", 64); cursor != "" {
		if n := number("cursor", cursor, true); after == "" {
			q.before = n
		} else {
			q.after = n
		}
	}
	if after != "" {
		q.after = max(q.after, number("after", after, true))
	}
	return q
}

// rows are the changes of a page, and whether there are more.
func (q *changesRequest) rows(all []change, full bool) (rows []change, more bool) {
	rows = []change{}
	take := func(c change) bool {
		if c.Seq >= q.before || c.FoundAt < q.since || len(q.kinds) > 0 && !slices.Contains(q.kinds, c.Kind) {
			return true
		}
		if more = q.limit > 0 && len(rows) == q.limit; !more {
			rows = append(rows, c.forCaller(full))
		}
		return !more
	}
	if q.after >= 0 {
		for i := 0; i < len(all) && take(all[i]); i++ {
		}
		return rows, more
	}
	for i := len(all) - 1; i >= 0 && take(all[i]); i-- {
	}
	return rows, more
}

// latest is the number after which the next request finds what is new.
func (q *changesRequest) latest(rows []change, more bool, last int64) int64 {
	if q.after >= 0 && more {
		return rows[len(rows)-1].Seq
	}
	return last
}
