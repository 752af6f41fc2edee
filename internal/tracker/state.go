package tracker

import (
	"cmp"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/chainbound/valtrack/internal/estimate"
	"github.com/chainbound/valtrack/internal/eth2"
)

// State is what a tracker knows at one moment: the peers with their estimates, what was
// learned from all of them, and the recent history of the network. It is immutable and
// safe for concurrent use. Tracker.State gives that of a running tracker, Read that of a
// data directory.
type State struct {
	Network string
	Learned Learned
	// Applied is the last segment whose events are in; nil before the first.
	Applied *uint64
	// History is that of the last HistoryHours; ReadHistory reads all of it.
	History History

	peers    map[string]*Peer
	sentries map[string]*Sentry

	// Computed on first use.
	sum struct {
		once         sync.Once
		counted      []*Peer
		duplicateIDs uint64
		weights      []float64 // of counted
		totals       Totals
		lostDays     uint64
	}
	seen struct {
		once    sync.Once
		figures []SentryFigures
		nodes   NodeViews
	}
}

// Len is the number of peers.
func (s *State) Len() int { return len(s.peers) }

// Params are those of the last estimates.
func (s *State) Params() estimate.Params { return s.Learned.Params.Params() }

// Counted lists the nodes that count in totals, by peer id, and how many peer ids are
// left out as duplicates: earlier ids at the address of a counted node. The list is
// shared: do not change it.
func (s *State) Counted() (nodes []*Peer, duplicateIDs uint64) {
	s.sumUp()
	return s.sum.counted, s.sum.duplicateIDs
}

// Weights are those of the nodes that Counted lists, in Totals: below 1 where their network
// prefix has too many, or claims too much. The list is shared: do not change it.
func (s *State) Weights() []float64 {
	s.sumUp()
	return s.sum.weights
}

// Totals are the network's, from the newest estimates. Hour is when the last of its nodes was
// met.
func (s *State) Totals() Totals {
	s.sumUp()
	return s.sum.totals
}

// LostDays counts, over all peers, the days of statistics that were dropped because they
// could not be decoded. A rebuild recomputes them from the datasets.
func (s *State) LostDays() uint64 {
	s.sumUp()
	return s.sum.lostDays
}

func (s *State) sumUp() {
	s.sum.once.Do(func() {
		for _, p := range s.peers {
			s.sum.lostDays += uint64(p.LostDays)
		}
		nodes, duplicateIDs := counted(s.peers)
		newest := int64(0)
		for _, p := range nodes {
			newest = max(newest, p.LastMet())
		}
		model := estimate.NewModel(s.Params(), estimate.DefaultPrior(), nil)
		w := weightsOf(nodes, model)
		s.sum.counted, s.sum.duplicateIDs, s.sum.weights = nodes, duplicateIDs, w.of
		s.sum.totals = totalsOf(nodes, duplicateIDs, w, model, s.Learned.Multiplicity, newest)
	})
}

// Peer finds a peer by its id, or by its node id as 0x and hex; nil when there is none.
func (s *State) Peer(id string) *Peer {
	if p := s.peers[id]; p != nil || !strings.HasPrefix(id, "0x") {
		return p
	}
	for _, p := range s.peers {
		if p.NodeID != nil && p.NodeID.String() == id {
			return p
		}
	}
	return nil
}

// SameAddress lists the other peers that were found at an address of p, or have it in
// their record, by when they were met last: the same node under earlier or later ids, or
// others behind the same address.
func (s *State) SameAddress(p *Peer) (others []*Peer) {
	all := func(p *Peer) []string {
		out := p.endpoints()
		for _, e := range p.Endpoints {
			out = append(out, e.Address)
		}
		return out
	}
	own := all(p)
	// Endpoints that follow from a record have the IP address that was dialled: most peers can
	// be told apart by that, without the work.
	var hosts []string
	for _, e := range own {
		if _, at, _ := strings.Cut(e, "/"); at != "" {
			hosts = append(hosts, at[:strings.LastIndexByte(at, ':')+1])
		}
	}
	near := func(address string) bool {
		return slices.ContainsFunc(hosts, func(host string) bool { return strings.Contains(address, host) })
	}
	for _, o := range s.peers {
		if !near(o.Address) && !slices.ContainsFunc(o.Endpoints, func(e Endpoint) bool { return near(e.Address) }) {
			continue
		}
		if o.ID != p.ID && slices.ContainsFunc(all(o), func(e string) bool { return slices.Contains(own, e) }) {
			others = append(others, o)
		}
	}
	slices.SortFunc(others, func(a, b *Peer) int {
		return cmp.Or(cmp.Compare(a.LastMet(), b.LastMet()), strings.Compare(a.ID, b.ID))
	})
	return others
}

// Day is one day's statistics with one client version.
type Day struct {
	Day    int32 // since 1970
	Client eth2.Client
	*estimate.Statistics
}

// Days gives a peer's statistics, oldest first, and counts those that cannot be decoded:
// they are left out. A tracker drops them and counts them in LostDays when it next
// recomputes the peer's estimate.
func (s *State) Days(p *Peer) (days []Day, undecodable uint32) {
	for _, d := range p.days {
		statistics, err := d.decode()
		if err != nil {
			undecodable++
			continue
		}
		days = append(days, Day{d.day, *d.client, statistics})
	}
	return days, undecodable
}

// Why explains a peer's estimate: what its custody groups alone say, what its subnets alone
// say and, of these, its sync committee subnets alone; how many of the observed cells were
// filled (On) and empty (Off), and the same of the sync committee subnets.
type Why struct {
	Custody, Subnets, Sync estimate.Estimate
	On, Off                uint64
	SyncOn, SyncOff        uint64
	// CellRate and CellRateSD are those of estimate.Model.CellRate.
	CellRate, CellRateSD float64
}

// Why explains an estimate with what was learned last.
func (s *State) Why(p *Peer) Why {
	m := s.Learned.model(s.Params())
	e, _, _ := evidenceOf(p, m)
	out := Why{Custody: m.Estimate(estimate.NewEvidence(clientOf(p.Client), p.Custody))}
	out.On, out.Off = e.Cells()
	out.SyncOn, out.SyncOff = e.SyncCells()
	out.CellRate, out.CellRateSD = m.CellRate(e)
	out.Sync = m.Estimate(e.OnlySync())
	alone := e.Clone()
	alone.SetCustody(estimate.Custody{})
	out.Subnets = m.Estimate(alone)
	return out
}

// Stretch is a time in which a peer's number of validators did not change.
type Stretch struct {
	From, To int64 // Unix milliseconds: whole days
	Estimate estimate.Estimate
}

// Stretches are the numbers of a peer within the window, oldest first: one, if it did not
// change. The last is that of its estimate, the others are by its subnets alone.
func (s *State) Stretches(p *Peer) (out []Stretch) {
	m := s.Learned.model(s.Params())
	days, _ := daysOf(p)
	for len(days) > 0 {
		e, _ := stretch(p, m, days)
		from := m.Stretch(days)
		if len(out) > 0 { // the custody group count is of now
			e.SetCustody(estimate.Custody{})
		}
		out = append(out, Stretch{int64(from) * dayMS, int64(days[len(days)-1].Day+1) * dayMS, m.Estimate(e)})
		days = days[:slices.IndexFunc(days, func(d estimate.DayStatistics) bool { return d.Day >= from })]
	}
	slices.Reverse(out)
	return out
}

// Peers gives every peer, in no order.
func (s *State) Peers() iter.Seq[*Peer] { return maps.Values(s.peers) }

// VersionDay is a day on which a peer was observed with a client version.
type VersionDay struct {
	Day    int32 // since 1970
	Client eth2.Client
}

// VersionDays gives the days of which a peer has statistics, oldest first, without decoding
// these.
func (p *Peer) VersionDays() iter.Seq[VersionDay] {
	return func(yield func(VersionDay) bool) {
		for _, d := range p.days {
			if !yield(VersionDay{d.day, *d.client}) {
				return
			}
		}
	}
}
