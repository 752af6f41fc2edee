package estimate

// Identities are free, addresses are not. The nodes of one network prefix can be one
// party's, so a prefix has at most the weight of so many nodes, whatever its nodes claim.
const (
	// fewNodes always count: of the 101 nodes of the sample of May 2024 no prefix has more.
	fewNodes = 3
	// prefixShare of the nodes may be in one prefix and count in full. In the sample two
	// nodes are in the same /24 with a chance of 0.16 %: of 8,500 nodes, one shares its /24
	// with 13 others. One percent are 85.
	prefixShare = 0.01
	// large is the share of the active validators above which the claims of a prefix are
	// reported, and count in full for a single node only.
	large = 0.05
)

// Prefix is the nodes of one network prefix.
type Prefix struct {
	Nodes      int
	Validators float64 // that they claim: the sum of their means
	// Private addresses are in a network whose nodes are one operator's anyway.
	Private bool
}

// Large reports whether the prefix claims so much of the network that a reader should know.
// Of a private network this is to be expected, unless one address has several nodes.
func (p Prefix) Large(active uint64) bool {
	return (!p.Private || p.Nodes > 1) && p.Validators > large*float64(active)
}

// PrefixNodes is how many nodes of one prefix count: a share of the nodes that are in prefixes
// with few, so that a flood does not raise its own limit. Nodes that are in no prefix are in
// others.
func PrefixNodes(prefixes []Prefix, others Prefix) int {
	return countedOf(withFew(prefixes, others))
}

// countedOf is PrefixNodes for the result of withFew.
func countedOf(few Prefix) int { return max(fewNodes, int(prefixShare*float64(few.Nodes))) }

// withFew are the nodes in prefixes with few, or all when there is nothing to compare with.
func withFew(prefixes []Prefix, others Prefix) Prefix {
	all := others
	for _, p := range prefixes {
		all.Nodes += p.Nodes
		all.Validators += p.Validators
		if p.Nodes <= fewNodes {
			others.Nodes += p.Nodes
			others.Validators += p.Validators
		}
	}
	if others.Nodes < fewNodes {
		return all
	}
	return others
}

// Weights are what the nodes of each prefix count for in totals, from 0 to 1. Nodes that
// are in no prefix are in others.
//
// Up to three nodes of a prefix count in full, as long as they do not claim a large share of
// the network together. More nodes count for at most PrefixNodes, and not for more
// than as many average nodes of prefixes with few: what one party claims must not be the
// measure of its own weight.
func (m *Model) Weights(prefixes []Prefix, others Prefix) []float64 {
	few := withFew(prefixes, others)
	allowed := float64(countedOf(few))
	admitted := allowed * few.Validators / float64(max(1, few.Nodes))
	weights := make([]float64, len(prefixes))
	for i, p := range prefixes {
		switch weights[i] = 1; {
		case p.Nodes > fewNodes:
			weights[i] = min(1, allowed/float64(p.Nodes), ratio(admitted, p.Validators))
		case p.Nodes > 1 && !p.Private:
			weights[i] = min(1, ratio(large*float64(m.params.active()), p.Validators))
		}
	}
	return weights
}

// ratio is 1 for nothing of nothing.
func ratio(of, whole float64) float64 {
	if whole <= of {
		return 1
	}
	return of / whole
}
