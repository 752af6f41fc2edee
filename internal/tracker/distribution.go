package tracker

import "github.com/chainbound/valtrack/internal/estimate"

// Distribution is the posterior that the estimate of a peer summarises, with what was learned last;
// nil before the first estimate.
func (s *State) Distribution(p *Peer) []estimate.Probability {
	if p.Estimate == nil {
		return nil
	}
	m := s.Learned.model(s.Params())
	e, _, _ := evidenceOf(p, m)
	return m.Distribution(e)
}
