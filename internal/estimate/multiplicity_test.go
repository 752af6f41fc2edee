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
			list = append(list, DutyNode{Duties: d, Validators: float64(size)})
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
				if !yield(DutyNode{Duties: n.Duties}) {
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
		list = append(list, DutyNode{Duties: later, Validators: n.Validators})
	}
	p := mainnetParams()
	fresh := FitMultiplicity(p, list)
	with := FitMultiplicity(p, append(list, DutyNode{Duties: old[0].Duties, Validators: 1}))
	if math.Abs(with.Mean-fresh.Mean) > 0.01 || math.Abs(with.High-fresh.High) > 0.01 || fresh.Low <= 1 || with.Low <= 1 {
		t.Errorf("%+v, with a stale node %+v", fresh, with)
	}
}

// A peer that copies what others do, and counts for few validators, does not halve them; nor is
// it a sign against validators that do run on several nodes.
func TestMultiplicityWithAMirror(t *testing.T) {
	for _, k := range []int{1, 4} {
		list, truth := sharedCrawl{k, 7, 21, 10}.draw(rand.New(rand.NewPCG(2, 7)), 400)
		before := FitMultiplicity(mainnetParams(), list)
		byEpoch := map[eth2.Slot]dutyEpoch{}
		for _, n := range list[200:] { // what half of the nodes do
			for _, e := range n.Duties.decode() {
				all := byEpoch[e.from]
				all.from, all.slots, all.visible = e.from, e.slots, e.visible
				all.duties = append(all.duties, e.duties...)
				byEpoch[e.from] = all
			}
		}
		var mirror Duties
		for _, e := range byEpoch {
			slices.Sort(e.duties)
			e.duties = slices.Compact(e.duties)
			mirror = append(mirror, e.encode()...)
		}
		mirrors := slices.Repeat([]DutyNode{{Duties: sorted(mirror), Validators: 10}}, 3)
		got := FitMultiplicity(mainnetParams(), append(list, mirrors...))
		if math.Abs(got.Mean/before.Mean-1) > 0.05 || got.Low > truth || got.High < truth {
			t.Errorf("%d nodes per validator, %.3f on average: %+v, without the mirrors %+v", k, truth, got, before)
		}
	}
}

// sorted are duties by time.
func sorted(d Duties) (out Duties) {
	var list []dutyEpoch
	for len(d) > 0 {
		e, size := d.first(true)
		list, d = append(list, e), d[size:]
	}
	slices.SortFunc(list, func(a, b dutyEpoch) int { return int(a.from) - int(b.from) })
	for _, e := range list {
		out = append(out, e.encode()...)
	}
	return out
}

// A client whose duties are taken for those of other slots is recognised by where they coincide
// with those of a client that was measured, and one that shares no validators stays as it is.
func TestLeadsAreLearned(t *testing.T) {
	for _, by := range []int{-3, -1, 0, 2} {
		list, truth := sharedCrawl{4, 7, 21, 10}.draw(rand.New(rand.NewPCG(3, 7)), 600)
		for i := range list {
			list[i].Client = []eth2.ClientKind{eth2.ClientLighthouse, eth2.ClientNimbus, eth2.ClientPrysm, eth2.ClientLodestar}[i%4]
			if list[i].Client != eth2.ClientNimbus {
				continue
			}
			var moved Duties
			for _, e := range list[i].Duties.decode() {
				e.from += eth2.Slot(by)
				moved = append(moved, e.encode()...)
			}
			list[i].Duties = moved
		}
		got := FitMultiplicity(mainnetParams(), list)
		if math.Abs(got.Mean/truth-1) > 0.05 || got.Low > truth || got.High < truth || math.Abs(got.Nodes-4) > 0.8 {
			t.Errorf("Nimbus %d slots off: %+v, of %.3f", by, got, truth)
		}
	}
	list, _ := sharedCrawl{1, 7, 21, 10}.draw(rand.New(rand.NewPCG(4, 7)), 300)
	for i := range list {
		list[i].Client = []eth2.ClientKind{eth2.ClientLighthouse, eth2.ClientNimbus}[i%2]
	}
	before := list[1].Duties.decode()[0].from
	if d := dutiesOf(mainnetParams(), list); d.epochs[1][0].from != before {
		t.Errorf("without shared validators the duties are moved by %d slots", int(d.epochs[1][0].from)-int(before))
	}
}
