package estimate

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/chainbound/valtrack/internal/eth2"
)

// sharedCrawl is a crawl in which one of part nodes is in a cluster of k nodes, which have the
// same validators. Each node is watched for visits of three epochs, at random times in
// span epochs.
type sharedCrawl struct{ k, visits, span, part int }

func (c sharedCrawl) draw(r *rand.Rand, nodes int) (list []DutyNode, truth float64) {
	attachments, validators := 0, 0
	for len(list) < nodes {
		members := 1
		if len(list) < nodes/c.part {
			members = c.k
		}
		size := int(math.Min(20_000, math.Exp(r.NormFloat64()*1.5+3)))
		validators, attachments = validators+size, attachments+members*size
		duties := map[int][]uint64{} // by epoch
		for range members {
			d, kept := Duties(nil), uint64(r.IntN(subnets))
			for range c.visits {
				for start, n := r.IntN(c.span-2), 0; n < 3; n++ {
					of, ok := duties[start+n]
					if !ok {
						of = dutiesIn(r, size)
						duties[start+n] = of
					}
					shown := slices.DeleteFunc(slices.Clone(of), func(x uint64) bool { return x%subnets == kept || x%subnets == (kept+1)%subnets })
					d = d.with(dutyEpoch{from: eth2.Slot(32 * (1000 + start + n)), slots: 32, visible: 62.0 / 64, duties: shown})
				}
			}
			list = append(list, DutyNode{d, float64(size)})
		}
	}
	return list, float64(attachments) / float64(validators)
}

// dutiesIn are those of so many validators in an epoch.
func dutiesIn(r *rand.Rand, validators int) (out []uint64) {
	for range validators {
		if r.IntN(29) == 0 {
			out = append(out, uint64(r.IntN(32*subnets)))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// The bound of a crawl in which each validator of a tenth of the nodes runs on four, or on
// seven: within 20 %, and the interval holds. Also for the number of nodes itself, where
// nodes are watched together often.
func TestMultiplicity(t *testing.T) {
	const replications = 3
	for _, c := range []struct {
		sharedCrawl
		nodes float64 // tolerance of Multiplicity.Nodes; 0 for none
	}{
		{sharedCrawl{1, 7, 21, 10}, 0},
		{sharedCrawl{4, 1, 3, 10}, 0.2},
		{sharedCrawl{4, 1, 20, 10}, 0},
		{sharedCrawl{4, 7, 21, 10}, 0.2},
		{sharedCrawl{7, 7, 21, 10}, 0.2},
		{sharedCrawl{7, 7, 100, 10}, 0.3},
		{sharedCrawl{2, 7, 225, 2}, 0}, // every second node has a fallback node
	} {
		held := 0
		for rep := range uint64(replications) {
			list, truth := c.draw(rand.New(rand.NewPCG(rep, 7)), 800)
			m := FitMultiplicity(mainnetParams(), list)
			if m.Low <= truth && truth <= m.High {
				held++
			}
			if off := m.Mean/truth - 1; math.Abs(off) > 0.1 || m.High-m.Low > 0.6 || m.Measured < 0.9 {
				t.Errorf("%+v: %+v, of %.3f", c, m, truth)
			}
			if c.nodes > 0 && math.Abs(m.Nodes/float64(c.k)-1) > c.nodes {
				t.Errorf("%+v: shared validators are on %.1f nodes each", c, m.Nodes)
			}
			if c.k == 1 && m.Shared > 0.01 {
				t.Errorf("%+v: %.3f of the attachments are taken for shared", c, m.Shared)
			}
		}
		if held < replications-1 {
			t.Errorf("%+v: the interval holds %d of %d", c, held, replications)
		}
	}
}

// Where two nodes are hardly ever watched together, many nodes with one fallback each look like
// few with many: the interval says so.
func TestMultiplicityOfRareVisits(t *testing.T) {
	for _, c := range []sharedCrawl{{2, 7, 1575, 2}, {4, 7, 1575, 10}, {1, 7, 1575, 10}} {
		for rep := range uint64(3) {
			list, truth := c.draw(rand.New(rand.NewPCG(rep, 7)), 1000)
			m := FitMultiplicity(mainnetParams(), list)
			if m.Low > truth || truth > m.High || math.Abs(m.Mean/truth-1) > 0.2 {
				t.Errorf("%+v: %+v, of %.3f", c, m, truth)
			}
		}
	}
}

// Without enough evidence nothing is said.
func TestMultiplicityIsNotMeasured(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	list, _ := sharedCrawl{4, 1, 3, 10}.draw(r, 200)
	small := mainnetParams()
	small.ActiveValidators = 20_000 // four committees per slot
	apart := slices.Clone(list)
	for i := range apart { // no two are watched at one time
		for _, e := range apart[i].Duties.decode()[:1] {
			e.from += eth2.Slot(1000 * i)
			apart[i].Duties = Duties(nil).with(e)
		}
	}
	for name, m := range map[string]Multiplicity{
		"no nodes": FitMultiplicity(mainnetParams(), nil), "no duties": FitMultiplicity(mainnetParams(), make([]DutyNode, 500)),
		"few committees": FitMultiplicity(small, list), "apart": FitMultiplicity(mainnetParams(), apart),
		"no validators": FitMultiplicity(mainnetParams(), slices.Collect(func(yield func(DutyNode) bool) {
			for _, n := range list {
				if !yield(DutyNode{n.Duties, 0}) {
					return
				}
			}
		})),
	} {
		if m.Known() {
			t.Errorf("%s: %+v", name, m)
		}
	}
}

func BenchmarkFitMultiplicity(b *testing.B) {
	list, _ := sharedCrawl{4, 7, 225, 10}.draw(rand.New(rand.NewPCG(1, 1)), 10_000)
	p := mainnetParams()
	for b.Loop() {
		FitMultiplicity(p, list)
	}
}

// A node that was not watched for weeks says nothing about the multiplicity of now, and does not
// stretch the time in which the others are compared.
func TestMultiplicityOfAStaleNode(t *testing.T) {
	old, _ := sharedCrawl{4, 7, 21, 10}.draw(rand.New(rand.NewPCG(1, 7)), 800)
	var list []DutyNode
	for _, n := range old {
		later := Duties(nil)
		for _, e := range n.Duties.decode() {
			e.from += 32 * 20_000
			later = later.with(e)
		}
		list = append(list, DutyNode{later, n.Validators})
	}
	p := mainnetParams()
	fresh := FitMultiplicity(p, list)
	with := FitMultiplicity(p, append(list, DutyNode{old[0].Duties, 1}))
	if math.Abs(with.Mean-fresh.Mean) > 0.01 || math.Abs(with.High-fresh.High) > 0.01 || fresh.Low <= 1 || with.Low <= 1 {
		t.Errorf("%+v, with a stale node %+v", fresh, with)
	}
}
