package api

import (
	"cmp"
	"maps"
	"math/bits"
	"net/http"
	"slices"

	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/event"
)

func getLivez(_ *Server, r *request) (answer, *problem) {
	return answer{contentType: typeText, body: []byte("ok\n")}, r.done()
}

func getReadyz(s *Server, r *request) (answer, *problem) {
	if p := r.done(); p != nil {
		return answer{}, p
	}
	a := answer{contentType: typeText, body: []byte("ok\n")}
	if err := s.src.Ready(); err != nil {
		a.status, a.body = http.StatusServiceUnavailable, []byte("not ready: see /api/v1/crawl with a key, or the log\n")
		if r.caller.full {
			a.body = []byte(err.Error() + "\n")
		}
	}
	return a, nil
}

// crawl is how the crawl goes.
type crawl struct {
	Ready    bool           `json:"ready"`
	Reason   *string        `json:"reason"`
	Sentries []sentry       `json:"sentries"`
	Funnel   funnel         `json:"funnel"`
	Outcomes []visitOutcome `json:"outcomes"`
	Events   eventCounts    `json:"events"`
	GeoDate  *string        `json:"geo_date"`
}

// sentry is known by its events.
type sentry struct {
	ID        string  `json:"id"`
	Location  *string `json:"location"`
	LastEvent *int64  `json:"last_event"`
	Events    *uint64 `json:"events"`
	Missing   *uint64 `json:"missing_events"`
}

type eventCounts struct {
	Lag         uint64  `json:"lag"`
	Stored      uint64  `json:"stored"`
	Rejected    uint64  `json:"rejected"`
	LastSegment *uint64 `json:"last_segment"`
	LastCommit  *int64  `json:"last_commit"`
}

func getCrawl(s *Server, r *request) (answer, *problem) {
	if p := r.done(); p != nil {
		return answer{}, p
	}
	ingest := s.src.Ingest()
	c := crawl{
		Ready: true, Funnel: r.view.funnel, Outcomes: r.view.visitOutcomes(), Sentries: r.view.sentries(ingest),
		Events: eventCounts{Lag: ingest.Lag, Stored: ingest.Stored, Rejected: ingest.Rejected, LastSegment: r.view.state.Applied},
	}
	if !ingest.LastCommit.IsZero() {
		c.Events.LastCommit = new(ingest.LastCommit.UnixMilli())
	}
	if err := s.src.Ready(); err != nil {
		// The whole text may name paths and addresses of this machine.
		c.Ready, c.Reason = false, new("not ready: the log says why, or this with a key")
		if r.caller.full {
			c.Reason = new(err.Error())
		}
	}
	_, c.GeoDate = s.src.geoSources()
	a := r.data(s, c)
	a.etag = "" // it changes with every event
	return a, nil
}

// sentries lists those that completed a handshake, or whose events are stored, each once: events are
// counted by the id in their keys, which is another one where the sentry has a --crawler-id.
func (v *view) sentries(ingest Ingest) []sentry {
	byID := map[string]*sentry{}
	of := func(id string) *sentry {
		if byID[id] == nil {
			byID[id] = &sentry{ID: id}
		}
		return byID[id]
	}
	for i := range v.nodes {
		c := &v.nodes[i].Crawler
		if c.CrawlerID == "" {
			continue
		}
		if x := of(c.CrawlerID); x.LastEvent == nil || *x.LastEvent < c.Timestamp {
			x.Location, x.LastEvent = known(c.CrawlerLocation), known(c.Timestamp)
		}
	}
	figures, _ := v.state.Sentries()
	for _, f := range figures {
		if x := of(f.ID); x.LastEvent == nil || *x.LastEvent < f.LastSeen {
			x.Location, x.LastEvent = known(f.Location), known(f.LastSeen)
		}
	}
	for key, n := range ingest.Events {
		x := of(v.state.SentryOf(key))
		x.Events = sum(x.Events, n)
	}
	for key, n := range ingest.Missing {
		x := of(v.state.SentryOf(key))
		x.Missing = sum(x.Missing, n)
	}
	out := []sentry{}
	for _, id := range slices.Sorted(maps.Keys(byID)) {
		out = append(out, *byID[id])
	}
	return out
}

// sum adds to what may not be known yet.
func sum(known *uint64, n uint64) *uint64 {
	if known != nil {
		n += *known
	}
	return &n
}

// visitOutcome is how often visits ended in a way.
type visitOutcome struct {
	Outcome string `json:"outcome"`
	Visits  uint64 `json:"visits"`
	Nodes   int    `json:"nodes"` // whose last visit ended so
}

func (v *view) visitOutcomes() []visitOutcome {
	names := event.Outcomes()
	rows := make([]visitOutcome, len(names))
	for i := range v.nodes {
		for k, n := range v.nodes[i].Outcomes {
			rows[k].Visits += uint64(n)
			rows[k].Nodes += one(v.nodes[i].LastOutcome == names[k])
		}
	}
	for k, name := range names {
		rows[k].Outcome = name
	}
	rows = slices.DeleteFunc(rows, func(o visitOutcome) bool { return o.Visits == 0 && o.Nodes == 0 })
	slices.SortStableFunc(rows, func(a, b visitOutcome) int { return cmp.Compare(b.Visits, a.Visits) })
	return rows
}

func listErrors(s *Server, r *request) (answer, *problem) {
	format := r.choice("format", formatJSON, formatNDJSON, formatCSV)
	if p := r.done(); p != nil {
		return answer{}, p
	}
	return tabular(s, r, format, "errors", r.view.visitOutcomes()), nil
}

type subnetCounts struct {
	Subnets []subnetCount  `json:"subnets"`
	Custody []custodyCount `json:"custody_group_counts"`
}

type subnetCount struct {
	Subnet    int `json:"subnet"`
	LongLived int `json:"long_lived"`
}

type custodyCount struct {
	Count *uint64 `json:"custody_group_count"`
	Nodes int     `json:"nodes"`
}

// listSubnets counts the nodes that count in totals.
func listSubnets(s *Server, r *request) (answer, *problem) {
	if p := r.done(); p != nil {
		return answer{}, p
	}
	out := subnetCounts{Subnets: make([]subnetCount, eth2.AttestationSubnetCount), Custody: []custodyCount{}}
	for i := range out.Subnets {
		out.Subnets[i].Subnet = i
	}
	custody, untold := map[uint64]int{}, 0
	for i := range r.view.nodes {
		n := &r.view.nodes[i]
		if !n.counts() {
			continue
		}
		for set := uint64(subnetBits(n)); set != 0; set &= set - 1 {
			out.Subnets[bits.TrailingZeros64(set)].LongLived++
		}
		if count := n.custody(); count != nil {
			custody[*count]++
		} else {
			untold++
		}
	}
	for _, count := range slices.Sorted(maps.Keys(custody)) {
		out.Custody = append(out.Custody, custodyCount{&count, custody[count]})
	}
	if untold > 0 {
		out.Custody = append(out.Custody, custodyCount{nil, untold})
	}
	return r.data(s, out), nil
}
