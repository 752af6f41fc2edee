package estimate

import "github.com/chainbound/valtrack/internal/eth2"

// FitSpurious learns, by client, how many short-lived subnets an observation shows
// that no duty explains: from the nodes whose custody group count says that they never
// had a validator, each as far as the model believes it. Few nodes give back nearly
// what the model has.
func FitSpurious(m *Model, nodes []*Evidence) Spurious {
	const (
		strength    = 200 // observations that the model's own rate counts for
		least, most = 0.0002, 0.3
	)
	filled, observed := map[eth2.ClientKind]float64{}, map[eth2.ClientKind]float64{}
	for _, n := range nodes {
		if !n.withoutValidators() {
			continue
		}
		without := m.posterior(n)[0]
		for _, c := range n.pools[0].cells {
			filled[n.kind] += without * float64(c.on)
			observed[n.kind] += without * float64(c.on+c.off) / m.params.perObservation(c.cell)
		}
	}
	out := Spurious{}
	for kind, n := range observed {
		rate := (filled[kind] + strength*m.spuriousOf(kind)) / (n + strength)
		out[kind] = min(max(rate, least), most)
	}
	return out
}

// withoutValidators reports whether a node of a known client says by its custody
// groups that it has none. Of Nimbus that says nothing.
func (e *Evidence) withoutValidators() bool {
	return len(e.pools) == 1 && e.kind != eth2.ClientNimbus && e.custody.withoutHistory() && e.sync.on == 0
}
