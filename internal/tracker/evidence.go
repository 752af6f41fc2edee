package tracker

import (
	"iter"
	"math"
	"slices"

	"github.com/chainbound/valtrack/internal/estimate"
	"github.com/chainbound/valtrack/internal/eth2"
)

// Estimate is the estimate of one peer.
type Estimate struct {
	estimate.Estimate
	EpochsWatched float64        `json:"epochs_watched"` // that the watches in it cover
	AllSubnets    bool           `json:"all_subnets"`    // its attestation subnets are no evidence
	Trust         estimate.Trust `json:"trust"`          // in the client version that the peer runs
	// Since is when the day began since which the number of validators did not change, in Unix
	// milliseconds: earlier days are not in the estimate. 0 if it did not change within the window.
	Since int64 `json:"since,omitempty"`
}

// byVersion returns for each peer what its current client version has shown since the peer's
// number of validators last changed, Unix milliseconds (none for most peers): the custody group
// count is that of now. Days that cannot be decoded are left out: estimated drops and counts them.
func byVersion(peers []*Peer, since map[*Peer]int64) iter.Seq[estimate.Node] {
	return func(yield func(estimate.Node) bool) {
		for _, p := range peers {
			n := estimate.Node{Client: clientOf(p.Client), Custody: p.Custody}
			for _, d := range p.days {
				if *d.client == n.Client && int64(d.day)*dayMS >= since[p] {
					if s, err := d.decode(); err == nil {
						n.Statistics = append(n.Statistics, s)
					}
				}
			}
			if !yield(n) {
				return
			}
		}
	}
}

// daysOf decodes a peer's days, oldest first, and counts those that cannot be decoded.
func daysOf(p *Peer) (days []estimate.DayStatistics, undecodable uint32) {
	days = make([]estimate.DayStatistics, 0, len(p.days))
	for _, d := range p.days {
		s, err := d.decode()
		if err != nil {
			undecodable++
			continue
		}
		days = append(days, estimate.DayStatistics{Day: d.day, Client: *d.client, Statistics: s})
	}
	return days, undecodable
}

// evidenceOf sums a peer's days since its number of validators last changed, as far as its
// subnets show, and counts those that cannot be decoded.
func evidenceOf(p *Peer, m *estimate.Model) (e *estimate.Evidence, out Estimate, undecodable uint32) {
	days, undecodable := daysOf(p)
	e, out = stretch(p, m, days)
	out.AllSubnets = out.AllSubnets || p.Attnets.Count() == eth2.AttestationSubnetCount
	out.Trust = m.Trust(clientOf(p.Client))
	return e, out, undecodable
}

// stretch sums days since the last change in them.
func stretch(p *Peer, m *estimate.Model, days []estimate.DayStatistics) (e *estimate.Evidence, out Estimate) {
	e = estimate.NewEvidence(clientOf(p.Client), p.Custody)
	from := m.Stretch(days)
	watched := uint64(0)
	for _, d := range days {
		if d.Day < from {
			out.Since = int64(from) * dayMS
			continue
		}
		e.Add(d.Statistics, d.Client)
		watched += d.WatchedSlots()
	}
	out.AllSubnets = e.AllSubnets()
	out.EpochsWatched = float64(watched) / float64(max(1, m.Params().Clock.SlotsPerEpoch))
	return e, out
}

func finite(numbers ...float64) bool {
	return !slices.ContainsFunc(numbers, func(n float64) bool { return math.IsNaN(n) || math.IsInf(n, 0) })
}
