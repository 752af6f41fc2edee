package api

import (
	"cmp"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
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

const (
	// changesKept is for how long changes are kept, maxChanges how many.
	changesKept = 30 * 24 * time.Hour
	maxChanges  = 50_000
	changesDay  = 24 * time.Hour
)

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

	from, to string // addresses, of a node that moved
}

// forCaller is the change with what the caller may see.
func (c change) forCaller(full bool) change {
	if full && c.Kind == moved {
		c.From, c.To = known(c.from), known(c.to)
	}
	return c
}

// changeLog is what changed between views, and before the first as far as the State tells.
type changeLog struct {
	mu      sync.Mutex
	all     []change // by the time they were found, oldest first
	first   int      // number of all[0], counted from the first change of all
	updated chan struct{}
}

func newChangeLog() *changeLog { return &changeLog{updated: make(chan struct{})} }

// add compares two views; last is nil for the first one, whose State says what changed before.
func (l *changeLog) add(last, next *view) {
	var found []change
	if last == nil {
		found = next.pastChanges()
	} else {
		found = changesBetween(last, next)
	}
	slices.SortStableFunc(found, func(a, b change) int { return cmp.Or(cmp.Compare(a.At, b.At), strings.Compare(a.ID, b.ID)) })
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, found...)
	old := next.totals.Hour - changesKept.Milliseconds()
	drop := max(0, len(l.all)-maxChanges)
	for drop < len(l.all) && l.all[drop].At < old {
		drop++
	}
	l.all, l.first = slices.Clone(l.all[drop:]), l.first+drop
}

// publish wakes who waits for a new view.
func (l *changeLog) publish() {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.updated)
	l.updated = make(chan struct{})
}

// next is closed when there is a new view.
func (l *changeLog) next() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.updated
}

// after lists the changes from a number on, and gives the number of the next one.
func (l *changeLog) after(number int) ([]change, int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	end := l.first + len(l.all)
	return slices.Clone(l.all[min(max(0, number-l.first), len(l.all)):]), end
}

// end is the number of the next change.
func (l *changeLog) end() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.first + len(l.all)
}

func (n *node) change(kind string, at int64) change {
	return change{Kind: kind, ID: n.ID, At: at, Client: known(clientName(n)), Version: known(n.release)}
}

// changesBetween compares the nodes of two views.
func changesBetween(last, next *view) (out []change) {
	now := next.totals.Hour
	begun := next.begun()
	gone := map[string]string{} // addresses of those that vanished
	var fresh []int
	eachBoth(last, next, func(was, is *node) {
		switch {
		case is == nil:
			if was.counts() {
				out = append(out, was.change(vanished, now))
			}
			return
		case was == nil || !was.handshaken():
			if is.handshaken() && is.LastHandshake > begun {
				fresh = append(fresh, len(out))
				out = append(out, is.change(appeared, is.LastHandshake))
				out[len(out)-1].to = is.Address
			}
			return
		}
		if was.counts() && !is.counts() && is.LastHandshake < now-changesDay.Milliseconds() {
			out = append(out, is.change(vanished, now))
			gone[is.Address] = is.ID
		}
		out = is.appendChanges(out, was)
	})
	for _, i := range fresh {
		if out[i].to != "" {
			out[i].Replaces = known(gone[out[i].to])
		}
	}
	return out
}

// appendChanges adds what changed about a node that is known in both views.
func (n *node) appendChanges(out []change, was *node) []change {
	if n.LastHandshake > was.LastHandshake {
		if clientName(was) != clientName(n) || was.release != n.release {
			c := n.change(upgraded, n.LastHandshake)
			c.From, c.To = versionText(was.Client.Kind, was.release, n), versionText(n.Client.Kind, n.release, was)
			out = append(out, c)
		}
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
		out = append(out, c)
	}
	return out
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
	now := v.totals.Hour
	old := now - changesKept.Milliseconds()
	begun := v.begun()
	for i := range v.nodes {
		n := &v.nodes[i]
		if !n.handshaken() {
			continue
		}
		if n.FirstSeen >= old && n.FirstSeen > begun {
			out = append(out, n.change(appeared, n.FirstSeen))
		}
		if gone := n.LastHandshake + changesDay.Milliseconds(); gone >= old && gone < now {
			out = append(out, n.change(vanished, gone))
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

// listChanges answers /api/v1/changes, the newest first.
func listChanges(s *Server, r *request) (answer, *problem) {
	now := time.Now().UnixMilli()
	since := r.millis("since", now-changesDay.Milliseconds())
	kinds := r.choices("kind", appeared, vanished, moved, upgraded, started, stopped)
	format := r.choice("format", formatJSON, formatNDJSON, formatCSV)
	if oldest := now - changesKept.Milliseconds(); since < oldest && r.err == nil {
		r.fail(badParameter("since", strconv.FormatInt(since, 10), "a time of the last 30 days, from "+strconv.FormatInt(oldest, 10)+" on"))
	}
	if p := r.done(); p != nil {
		return answer{}, p
	}
	all, _ := s.views.changes.after(0)
	rows := []change{}
	for _, c := range all {
		if c.At >= since && (len(kinds) == 0 || slices.Contains(kinds, c.Kind)) {
			rows = append(rows, c.forCaller(r.caller.full))
		}
	}
	slices.SortStableFunc(rows, func(a, b change) int { return cmp.Or(cmp.Compare(b.At, a.At), strings.Compare(a.ID, b.ID)) })
	return tabular(s, r, format, "changes", rows), nil
}
