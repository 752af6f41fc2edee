package api

import (
	"maps"
	"math"
	"slices"
	"time"

	"github.com/chainbound/valtrack/internal/tracker"
)

// point is a step of the timeseries.
type point struct {
	Time           int64            `json:"time"`
	TotalsAt       *int64           `json:"totals_at,omitempty"`
	Nodes          *number          `json:"nodes,omitempty"`
	WithValidators *number          `json:"with_validators,omitempty"`
	Validators     *number          `json:"validators,omitempty"`
	Low            *number          `json:"validators_low,omitempty"`
	High           *number          `json:"validators_high,omitempty"`
	StakeETH       *number          `json:"stake_eth,omitempty"`
	StakeLow       *number          `json:"stake_low,omitempty"`
	StakeHigh      *number          `json:"stake_high,omitempty"`
	Clients        map[string]int   `json:"clients,omitempty"`
	Fork           *string          `json:"fork,omitempty"`
	ForkReady      *int             `json:"fork_ready,omitempty"`
	ForkNotReady   *int             `json:"fork_not_ready,omitempty"`
	ForkUnknown    *int             `json:"fork_unknown,omitempty"`
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
	metricForks      = "forks"
)

func getTimeseries(s *Server, r *request) (answer, *problem) {
	metrics := r.choices("metric", metricNodes, metricWith, metricValidators, metricStake, metricClients,
		tracker.CountRecords, tracker.CountHandshakes, tracker.CountWatches, metricVisits, metricForks)
	step := map[string]time.Duration{"1h": time.Hour, "6h": 6 * time.Hour, "1d": 24 * time.Hour, "all": time.Millisecond}[r.choice("step", "1h", "6h", "1d", "all")]
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
	for i, t := range v.state.History.Totals { // oldest first
		if p := at(t.Hour); p != nil {
			p.setTotals(t)
			p.TotalsAt = new(t.Hour)
			if i == 0 { // the hour began before the crawl
				if first := v.firstSeen(); first < t.Hour+time.Hour.Milliseconds() {
					p.TotalsAt = new(max(t.Hour, first))
				}
			}
			p.setForks(v.src, t)
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
	p.StakeETH, p.StakeLow, p.StakeHigh = given(t.StakeETH), given(t.StakeLow), given(t.StakeHigh)
	p.Clients = map[string]int{}
	for _, c := range t.Clients {
		p.Clients[c.Client] = c.Nodes
	}
}

// firstSeen is when the first of the nodes was seen.
func (v *view) firstSeen() int64 {
	first := int64(math.MaxInt64)
	for i := range v.nodes {
		if at := v.nodes[i].FirstSeen; at > 0 {
			first = min(first, at)
		}
	}
	return first
}

// setForks says how far nodes were prepared for the fork that was the next one at that time, as
// report.Expected does for now. Without one, and in totals of earlier versions, nothing is known.
func (p *point) setForks(src *Sources, t tracker.Totals) {
	p.Fork, p.ForkReady, p.ForkNotReady, p.ForkUnknown = nil, nil, nil, nil
	if t.NextDigests == nil || src.Clock.SlotsPerEpoch == 0 || len(src.Schedule.Periods) == 0 {
		return
	}
	epoch := src.Clock.EpochAt(time.UnixMilli(t.Hour))
	next, ok := src.Schedule.Next(epoch)
	if !ok {
		return
	}
	id, _ := src.Schedule.ForkID(epoch)
	ready := t.NextDigests[next.Digest.String()] + t.NextDigests[tracker.Announced(id.NextForkVersion, id.NextForkEpoch)]
	unknown, all := t.NextDigests[tracker.NoDigest], 0
	for _, n := range t.NextDigests {
		all += n
	}
	p.Fork, p.ForkReady, p.ForkNotReady, p.ForkUnknown = &next.Name, &ready, new(all-ready-unknown), &unknown
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
	out := point{Time: p.Time, TotalsAt: p.TotalsAt}
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
		case metricForks:
			out.Fork, out.ForkReady, out.ForkNotReady, out.ForkUnknown = p.Fork, p.ForkReady, p.ForkNotReady, p.ForkUnknown
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
