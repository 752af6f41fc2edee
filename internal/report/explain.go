package report

import "github.com/chainbound/valtrack/internal/tracker"

// Explain says in a sentence what is known of a peer's validators, and explains its estimate.
func Explain(state *tracker.State, p *tracker.Peer) (why string, t *Tracked) {
	n := &Node{
		ID: p.ID, Client: string(p.Client.Kind), Agent: string(p.Client.Kind) + "/" + p.Client.Version, Observations: int(p.Observations),
		LastOutcome: p.LastOutcome, handshake: p.LastHandshake,
	}
	for _, visits := range p.Outcomes {
		n.visits += int(visits)
	}
	t = newTracked(state, p)
	if why = whyNode(n, state, p, t); n.handshake == 0 && !n.sentry() {
		why += " " + uncounted
	}
	return why, t
}

// Histogram counts the nodes that count in totals by their medians. state may be nil.
func Histogram(state *tracker.State) []Bucket {
	out := buckets()
	if state == nil {
		return out
	}
	nodes, _ := state.Counted()
	for k, p := range nodes {
		weight := state.Weights()[k]
		for i := len(out) - 1; i >= 0; i-- {
			if b := &out[i]; p.Estimate.Median >= b.Low {
				b.Nodes++
				b.Validators += weight * float64(p.Estimate.Median)
				break
			}
		}
	}
	return out
}
