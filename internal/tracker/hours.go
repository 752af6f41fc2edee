package tracker

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/chainbound/valtrack/internal/estimate"
	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/event"
)

// Names of hourly counts; those of visits have the outcome behind visitPrefix.
const (
	CountRecords    = "records"
	CountHandshakes = "handshakes"
	CountWatches    = "watches"
	visitPrefix     = "visits."
)

// counts are events by the hour of their timestamp, in Unix milliseconds, and name.
type counts map[int64]map[string]int64

// add counts an event; visits are the names of outcomes.
func (c counts) add(e event.Event, visits *memory[string]) {
	common, _ := ofEvent(e)
	hour := common.Timestamp - common.Timestamp%time.Hour.Milliseconds()
	if c[hour] == nil {
		c[hour] = map[string]int64{}
	}
	switch e := e.(type) {
	case *event.PeerDiscovered:
		c[hour][CountRecords]++
	case *event.MetadataReceived:
		c[hour][CountHandshakes]++
	case *event.VisitEnded:
		if e.Watch != nil {
			c[hour][CountWatches]++
		}
		if !e.More {
			c[hour][visits.of(e.Outcome, func(outcome string) string { return visitPrefix + outcome })]++
		}
	}
}

func (c counts) merge(o counts) {
	for hour, names := range o {
		if c[hour] == nil {
			c[hour] = map[string]int64{}
		}
		for name, n := range names {
			c[hour][name] += n
		}
	}
}

// Totals are the network's at one hour.
type Totals struct {
	Hour int64 `json:"hour"` // Unix milliseconds
	// Nodes were shaken hands with in the day before, each address once; CountedTwice
	// peer ids were left out for that. InboundOnly of the nodes were never dialled with
	// success: they have no address, and one under two ids counts twice.
	Nodes          int     `json:"nodes"`
	CountedTwice   uint64  `json:"counted_twice"`
	InboundOnly    int     `json:"inbound_only"`
	WithValidators float64 `json:"with_validators"`
	// Validators are attachments: one that is run through several nodes counts on each.
	Validators       float64 `json:"validators"`
	Low              float64 `json:"validators_low"`
	High             float64 `json:"validators_high"`
	StakeETH         float64 `json:"stake_eth"`
	StakeLow         float64 `json:"stake_low"`
	StakeHigh        float64 `json:"stake_high"`
	ActiveValidators uint64  `json:"active_validators"`
	// Multiplicity is Validators over ActiveValidators. Verdict (M4) is failed when it is
	// more than fallback nodes and distributed validators explain.
	Multiplicity float64        `json:"multiplicity"`
	Verdict      string         `json:"verdict"`
	Clients      []ClientTotals `json:"clients"` // most nodes first
}

// ClientTotals are those of one client.
type ClientTotals struct {
	Client         string  `json:"client"`
	Nodes          int     `json:"nodes"`
	WithValidators float64 `json:"with_validators"`
	Validators     float64 `json:"validators"`
	Low            float64 `json:"validators_low"`
	High           float64 `json:"validators_high"`
	StakeETH       float64 `json:"stake_eth"`
}

// PeerEstimate is one row of peer_estimates.
type PeerEstimate struct {
	*Peer
	Hour             int64 // Unix milliseconds
	ActiveValidators uint64
}

// Hour gives the rows of the hour that has begun since the last, if one has: the
// estimates of all counted nodes, made anew. They belong to the open segment, and
// come again when it is dropped.
func (t *Tracker) Hour() []PeerEstimate {
	every := t.cfg.EstimateEvery.Milliseconds()
	hour := t.now().UnixMilli() / every * every
	if len(t.totals) > 0 || hour <= t.hour || len(t.peers) == 0 { // there is nothing to learn from yet
		return nil
	}
	if t.learnedLately() {
		t.estimateChanged(true)
	} else {
		t.learn()
	}
	nodes, twice := counted(t.peers)
	if len(nodes) == 0 {
		return nil
	}
	var sum Sums
	rows := make([]PeerEstimate, len(nodes))
	for i, p := range nodes {
		rows[i] = PeerEstimate{p, hour, t.model.Params().ActiveValidators}
		sum.Add(p.Client.Kind, p.Estimate.Estimate)
	}
	total := sum.totals(t.model, hour)
	total.CountedTwice, total.InboundOnly = twice, inboundOnly(nodes)
	t.totals = append(t.totals, total)
	return rows
}

// LastHour is that of the newest totals, Unix milliseconds; 0 before the first.
func (t *Tracker) LastHour() int64 { return t.hour }

// AddTotals adds an hour's totals to the open segment: those whose rows are in the
// datasets already. Rows do not tell how many ids were left out, how many nodes were
// inbound only, or how uncertain the active validators were: the first two are 0, the
// last is taken as it is now. KeepHistory puts hours of the database in use in their
// place.
func (t *Tracker) AddTotals(hour int64, active uint64, sum Sums) {
	p := t.model.Params()
	p.ActiveValidators = active
	t.totals = append(t.totals, sum.totals(estimate.NewModel(p, estimate.DefaultPrior(), nil), hour))
}

// Sums add up estimates by client. The zero value is empty.
type Sums struct{ clients map[eth2.ClientKind]*sums }

type sums struct {
	nodes int
	estimate.Estimate
}

// Add adds one node, of which Mean, Variance, PValidator and Stake.Mean count.
func (s *Sums) Add(client eth2.ClientKind, e estimate.Estimate) {
	if s.clients == nil {
		s.clients = map[eth2.ClientKind]*sums{}
	}
	c := s.clients[client]
	if c == nil {
		c = &sums{}
		s.clients[client] = c
	}
	c.nodes++
	c.sum(e)
}

func (c *sums) sum(e estimate.Estimate) {
	c.Mean += e.Mean
	c.Variance += e.Variance
	c.Shared += e.Shared
	c.PValidator += e.PValidator
	c.Stake.Mean += e.Stake.Mean
}

func (s *Sums) totals(m *estimate.Model, hour int64) Totals {
	out := Totals{Hour: hour, Clients: []ClientTotals{}}
	var all sums
	for _, kind := range slices.Sorted(maps.Keys(s.clients)) {
		c := s.clients[kind]
		all.nodes += c.nodes
		all.sum(c.Estimate)
		t := c.total(m)
		out.Clients = append(out.Clients, ClientTotals{string(kind), c.nodes, t.WithValidators, t.Validators, t.Low, t.High, t.StakeETH})
	}
	slices.SortStableFunc(out.Clients, func(a, b ClientTotals) int { return cmp.Compare(b.Nodes, a.Nodes) })
	t := all.total(m)
	out.Nodes, out.WithValidators = all.nodes, t.WithValidators
	out.Validators, out.Low, out.High = t.Validators, t.Low, t.High
	out.StakeETH, out.StakeLow, out.StakeHigh = t.StakeETH, t.StakeLow, t.StakeHigh
	out.ActiveValidators, out.Multiplicity, out.Verdict = t.ActiveValidators, t.Multiplicity, t.Verdict.String()
	return out
}

// total sums as the model does: means and variances add up, so the sum of many nodes
// counts as one.
func (c *sums) total(m *estimate.Model) estimate.Total {
	if c.nodes == 0 || math.IsNaN(c.Mean) {
		return m.Total(nil)
	}
	return m.Total([]estimate.Estimate{c.Estimate})
}
