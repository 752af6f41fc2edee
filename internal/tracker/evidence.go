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
}

// byVersion returns for each peer what its current client version has shown. Days
// that cannot be decoded are left out: estimated drops and counts them.
func byVersion(peers []*Peer) iter.Seq[estimate.Node] {
	return func(yield func(estimate.Node) bool) {
		for _, p := range peers {
			n := estimate.Node{Client: clientOf(p.Client), Custody: p.Custody}
			for _, d := range p.days {
				if *d.client == n.Client {
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

// evidenceOf sums a peer's days, as far as the client version of each is trusted, and counts
// those that cannot be decoded.
func evidenceOf(p *Peer, params estimate.Params, trusted func(eth2.Client, estimate.Behaviour) estimate.Trust) (e *estimate.Evidence, out Estimate, undecodable uint32) {
	out.AllSubnets = p.Attnets.Count() == eth2.AttestationSubnetCount
	e = estimate.NewEvidence(clientOf(p.Client), p.Custody)
	statistics := make([]*estimate.Statistics, len(p.days))
	behaviour := map[eth2.Client]estimate.Behaviour{}
	for i, d := range p.days {
		s, err := d.decode()
		if err != nil {
			undecodable++
			continue
		}
		statistics[i] = s
		h := behaviour[*d.client]
		h.Add(s.Behaviour())
		behaviour[*d.client] = h
	}
	watched := uint64(0)
	for i, d := range p.days {
		s := statistics[i]
		if s == nil {
			continue
		}
		trust := trusted(*d.client, behaviour[*d.client])
		e.Add(s, trust)
		if *d.client == clientOf(p.Client) {
			out.Trust = max(out.Trust, trust)
		}
		watched += s.WatchedSlots()
	}
	out.AllSubnets = out.AllSubnets || e.AllSubnets()
	out.EpochsWatched = float64(watched) / float64(max(1, params.Clock.SlotsPerEpoch))
	return e, out, undecodable
}

func finite(numbers ...float64) bool {
	return !slices.ContainsFunc(numbers, func(n float64) bool { return math.IsNaN(n) || math.IsInf(n, 0) })
}
