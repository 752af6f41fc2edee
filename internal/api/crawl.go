package api

import (
	"cmp"
	"maps"
	"math"
	"math/bits"
	"net/http"
	"slices"
	"time"

	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/event"
	"github.com/chainbound/valtrack/internal/tracker"
)

func getLivez(_ *Server, r *request) (answer, *problem) {
	return answer{contentType: typeText, body: []byte("ok\n")}, r.done()
}

func getReadyz(s *Server, r *request) (answer, *problem) {
	if p := r.done(); p != nil {
		return answer{}, p
	}
	if err := s.src.Ready(); err != nil {
		return answer{contentType: typeText, body: []byte(err.Error() + "\n"), status: http.StatusServiceUnavailable}, nil
	}
	return answer{contentType: typeText, body: []byte("ok\n")}, nil
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

// sentry is known by its handshakes.
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
		c.Ready, c.Reason = false, new("not ready: /readyz says why")
		if r.caller.full {
			c.Reason = new(err.Error())
		}
	}
	a := r.data(s, c)
	a.etag = "" // it changes with every event
	return a, nil
}

// sentries lists those that completed a handshake, or whose events are stored.
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
	for id, n := range ingest.Events {
		of(id).Events = new(n)
	}
	for id, n := range ingest.Missing {
		of(id).Missing = new(n)
	}
	out := []sentry{}
	for _, id := range slices.Sorted(maps.Keys(byID)) {
		out = append(out, *byID[id])
	}
	return out
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
		for set := uint64(columnBits(n)); set != 0; set &= set - 1 {
			out.Subnets[bits.TrailingZeros64(set)].LongLived++
		}
		if n.CustodyGroupCount != nil {
			custody[*n.CustodyGroupCount]++
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

// point is a step of the timeseries.
type point struct {
	Time           int64            `json:"time"`
	Nodes          *number          `json:"nodes,omitempty"`
	WithValidators *number          `json:"with_validators,omitempty"`
	Validators     *number          `json:"validators,omitempty"`
	Low            *number          `json:"validators_low,omitempty"`
	High           *number          `json:"validators_high,omitempty"`
	StakeETH       *number          `json:"stake_eth,omitempty"`
	StakeLow       *number          `json:"stake_low,omitempty"`
	StakeHigh      *number          `json:"stake_high,omitempty"`
	Clients        map[string]int   `json:"clients,omitempty"`
	Records        *int64           `json:"records,omitempty"`
	Handshakes     *int64           `json:"handshakes,omitempty"`
	Watches        *int64           `json:"watches,omitempty"`
	Visits         map[string]int64 `json:"visits,omitempty"`
}

// Metrics of the timeseries.
const (
	metricNodes      = "nodes"
	metricWith       = "with_validators"
	metricValidators = "validators"
	metricStake      = "stake_eth"
	metricClients    = "clients"
	metricVisits     = "visits"
)

func getTimeseries(s *Server, r *request) (answer, *problem) {
	metrics := r.choices("metric", metricNodes, metricWith, metricValidators, metricStake, metricClients,
		tracker.CountRecords, tracker.CountHandshakes, tracker.CountWatches, metricVisits)
	step := map[string]time.Duration{"1h": time.Hour, "6h": 6 * time.Hour, "1d": 24 * time.Hour}[r.choice("step", "1h", "6h", "1d")]
	from, to := r.span()
	format := r.choice("format", formatJSON, formatNDJSON, formatCSV)
	if p := r.done(); p != nil {
		return answer{}, p
	}
	all := r.view.series(step.Milliseconds(), from, to)
	if len(metrics) > 0 {
		for i := range all {
			all[i] = all[i].only(metrics)
		}
	}
	return tabular(s, r, format, "timeseries", all), nil
}

// series has the last totals of each step, and the sums of its counts.
func (v *view) series(step, from, to int64) []point {
	byStep := map[int64]*point{}
	at := func(hour int64) *point {
		if hour < from || hour > to {
			return nil
		}
		start := hour - hour%step
		if byStep[start] == nil {
			byStep[start] = &point{Time: start}
		}
		return byStep[start]
	}
	for _, t := range v.state.History.Totals { // oldest first
		if p := at(t.Hour); p != nil {
			p.setTotals(t)
		}
	}
	for _, c := range v.state.History.Counts {
		if p := at(c.Hour); p != nil {
			p.addCounts(c)
		}
	}
	out := []point{}
	for _, start := range slices.Sorted(maps.Keys(byStep)) {
		out = append(out, *byStep[start])
	}
	return out
}

func (p *point) setTotals(t tracker.Totals) {
	p.Nodes, p.WithValidators = optional(float64(t.Nodes)), optional(t.WithValidators)
	p.Validators, p.Low, p.High = optional(t.Validators), optional(t.Low), optional(t.High)
	p.StakeETH, p.StakeLow, p.StakeHigh = optional(t.StakeETH), optional(t.StakeLow), optional(t.StakeHigh)
	p.Clients = map[string]int{}
	for _, c := range t.Clients {
		p.Clients[c.Client] = c.Nodes
	}
}

func (p *point) addCounts(c tracker.HourCounts) {
	add := func(into **int64, n int64) {
		if *into == nil {
			*into = new(int64)
		}
		**into += n
	}
	add(&p.Records, c.Counts[tracker.CountRecords])
	add(&p.Handshakes, c.Counts[tracker.CountHandshakes])
	add(&p.Watches, c.Counts[tracker.CountWatches])
	for name, n := range c.Counts {
		if outcome, ok := tracker.VisitOutcome(name); ok {
			if p.Visits == nil {
				p.Visits = map[string]int64{}
			}
			p.Visits[outcome] += n
		}
	}
}

// only is the point with some of its metrics.
func (p point) only(metrics []string) point {
	out := point{Time: p.Time}
	for _, m := range metrics {
		switch m {
		case metricNodes:
			out.Nodes = p.Nodes
		case metricWith:
			out.WithValidators = p.WithValidators
		case metricValidators:
			out.Validators, out.Low, out.High = p.Validators, p.Low, p.High
		case metricStake:
			out.StakeETH, out.StakeLow, out.StakeHigh = p.StakeETH, p.StakeLow, p.StakeHigh
		case metricClients:
			out.Clients = p.Clients
		case tracker.CountRecords:
			out.Records = p.Records
		case tracker.CountHandshakes:
			out.Handshakes = p.Handshakes
		case tracker.CountWatches:
			out.Watches = p.Watches
		case metricVisits:
			out.Visits = p.Visits
		}
	}
	return out
}

// legacyNode is a node as the earlier program listed it. Strings are empty and numbers 0 where
// something is not known, or needs a key.
type legacyNode struct {
	PeerID            string  `json:"peer_id"`
	ENR               string  `json:"enr"`
	Multiaddr         string  `json:"multiaddr"`
	IP                string  `json:"ip"`
	Port              int     `json:"port"`
	LastSeen          int64   `json:"last_seen"`
	LastEpoch         uint64  `json:"last_epoch"`
	ClientVersion     string  `json:"client_version"`
	ValidatorCount    int     `json:"validator_count"`
	Accuracy          number  `json:"validator_count_accuracy"`
	TotalObservations uint64  `json:"total_observations"`
	Hostname          string  `json:"hostname"`
	City              string  `json:"city"`
	Region            string  `json:"region"`
	Country           string  `json:"country"`
	Latitude          float64 `json:"latitude"`
	Longitude         float64 `json:"longitude"`
	PostalCode        string  `json:"postal_code"`
	ASN               string  `json:"asn"`
	ASNOrganization   string  `json:"asn_organization"`
	ASNType           string  `json:"asn_type"`
}

// listValidators answers /validators: the nodes with validators, by id.
func listValidators(s *Server, r *request) (answer, *problem) {
	from, to := r.span()
	if p := r.done(); p != nil {
		return answer{}, p
	}
	out := []legacyNode{}
	for i := range r.view.nodes {
		n := &r.view.nodes[i]
		if n.Estimate != nil && n.Estimate.Median > 0 && from <= n.LastSeen && n.LastSeen <= to {
			out = append(out, n.legacy(r.caller.full))
		}
	}
	return answer{contentType: typeJSON, body: append(marshal(out), '\n'), etag: r.etag(s)}, nil
}

func (n *node) legacy(full bool) legacyNode {
	cell := func(name string) value { return columnNamed(name).at(n, full) }
	e := n.Estimate
	out := legacyNode{
		PeerID: n.ID, LastSeen: n.LastSeen, LastEpoch: uint64(n.LastEpoch), ClientVersion: n.agent(),
		ValidatorCount: e.Median, TotalObservations: n.Observations,
		Accuracy: number(math.Max(0, 1-(e.High-e.Low)/2/float64(e.Median))),
		City:     cell("city").s, Region: cell("region").s, Country: n.place.country, Latitude: cell("latitude").f, Longitude: cell("longitude").f,
		ASNOrganization: n.place.asName, ASNType: n.place.hosting,
	}
	if n.place.asn != 0 {
		out.ASN = "AS" + integer(n.place.asn).cell()
	}
	if full {
		out.ENR, out.Multiaddr, out.IP, out.Port = n.Record.ENR, n.Multiaddr, cell("ip").s, int(cell("port").n)
	}
	return out
}
