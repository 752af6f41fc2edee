package estimate

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/chainbound/valtrack/internal/eth2"
)

// evidenceOf draws what so many epochs of watches show of a node.
func evidenceOf(r *rand.Rand, p Params, validators, epochs int, spurious float64, c Custody) *Evidence {
	e := NewEvidence(lighthouse, c)
	n := 62 * 32 * epochs
	filled := 1 - math.Exp(p.logEmpty(oneCommittee, validators, 1))*(1-spurious/p.perObservation(oneCommittee))
	on := uint32(0)
	for range n {
		if r.Float64() < filled {
			on++
		}
	}
	e.pools[0].cells = []pool{{cell: oneCommittee, counts: counts{on, uint32(n) - on}}}
	return e
}

func TestFitPriorFindsTheShares(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	p := mainnetParams()
	m := NewModel(p, DefaultPrior(), nil)
	var nodes []*Evidence
	for i := range 1000 {
		v := 0
		if i%5 == 0 { // 80 % without, 10 % with 20, 10 % with 600
			v = []int{20, 600}[i/5%2]
		}
		nodes = append(nodes, evidenceOf(r, p, v, 20, 0, Custody{}))
	}
	got := FitPrior(m, nodes)
	sum := 0.0
	for _, b := range got.Bands {
		sum += b.Share
		want := map[int]float64{0: 0.8, 9: 0.1, 400: 0.1}[b.Low]
		if math.Abs(b.Share-want) > 0.05 {
			t.Errorf("%d to %d validators: %.3f of the nodes, want %.2f", b.Low, b.High, b.Share, want)
		}
	}
	if math.Abs(sum-1) > 1e-9 {
		t.Errorf("shares sum to %v", sum)
	}
	refit := NewModel(p, got, nil)
	if was, is := m.Estimate(nodes[1]).PValidator, refit.Estimate(nodes[1]).PValidator; is > was {
		t.Errorf("with 80 %% of nodes without validators P went from %.4f to %.4f", was, is)
	}
}

// Nodes that had validators once still say 8, and show nothing. A crawl hardly tells them from those
// with one validator that showed nothing yet: neither is excluded.
func TestNodesThatSay8MayHaveNone(t *testing.T) {
	p := mainnetParams()
	saying := func(n uint64) (c Custody) { c.Observe(0, n); return c }
	held, all := 0, 0
	for seed := range uint64(8) {
		r := rand.New(rand.NewPCG(21, seed))
		var none, nodes []*Evidence
		for range 200 {
			nodes = append(nodes, evidenceOf(r, p, 0, 21, defaultSpurious, saying(4)))
		}
		for range 12 {
			none = append(none, evidenceOf(r, p, 0, 21, defaultSpurious, saying(8)))
		}
		for v := 1; v <= 8; v++ {
			for range 80 / v {
				nodes = append(nodes, evidenceOf(r, p, v, 21, defaultSpurious, saying(8)))
			}
		}
		l := Learn(p, append(nodes, none...), func(func(Node) bool) {})
		m := l.Model(p)
		for _, e := range none {
			if all++; m.Estimate(e).Low == 0 {
				held++
			}
		}
		small, with := 0, 0
		for _, e := range nodes[200:] { // each with one or more
			if with++; m.Estimate(e).High >= 1 {
				small++
			}
		}
		if small < with*9/10 {
			t.Errorf("seed %d: %d of %d intervals of nodes with validators are of none", seed, with-small, with)
		}
	}
	if held < all*85/100 {
		t.Errorf("%d of %d intervals of nodes without validators that say 8 hold", held, all)
	}
}

// A node that shows far more than it should teaches nothing about the others.
func TestFitPriorWithoutDoubtfulNodes(t *testing.T) {
	r := rand.New(rand.NewPCG(23, 23))
	m := NewModel(mainnetParams(), DefaultPrior(), nil)
	var nodes []*Evidence
	for i := range 100 {
		nodes = append(nodes, habitEvidence(r, []int{0, 0, 4, 30}[i%4], 3, byWindow, 1, uint64(required([]int{0, 0, 4, 30}[i%4]))).evidence())
	}
	before := FitPrior(m, nodes)
	after := FitPrior(m, append(nodes, habitEvidence(r, 250, 20, everyDuty, 1, 4).evidence()))
	for i, b := range after.Bands {
		if was := before.Bands[i].Share; math.Abs(b.Share-was) > 1e-9 {
			t.Errorf("%d to %d: %.5f of the nodes were %.5f", b.Low, b.High, b.Share, was)
		}
	}
}

func TestFitSpuriousFindsTheRate(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 4))
	p := mainnetParams()
	m := NewModel(p, DefaultPrior(), nil)
	var none, with Custody
	none.Observe(0, 4)
	with.Observe(0, 128)
	var nodes []*Evidence
	for i := range 400 {
		if i%4 == 0 {
			nodes = append(nodes, evidenceOf(r, p, 500, 20, 0, with)) // must not matter
			continue
		}
		nodes = append(nodes, evidenceOf(r, p, 0, 20, 0.02, none))
	}
	m = NewModel(p, DefaultPrior(), FitSpurious(m, nodes))
	if got := m.spuriousOf(eth2.ClientLighthouse); got < 0.015 || got > 0.025 {
		t.Errorf("spurious cells an observation: %v, want 0.02", got)
	}
	if got := m.spuriousOf(eth2.ClientPrysm); got != defaultSpurious {
		t.Errorf("a client without such nodes has %v", got)
	}
}

func TestTotal(t *testing.T) {
	m := NewModel(mainnetParams(), DefaultPrior(), nil)
	var nodes []Estimate
	for range 99 {
		nodes = append(nodes, Estimate{Mean: 100, Variance: 400, PValidator: 1})
	}
	nodes = append(nodes, Estimate{Mean: 50}, Estimate{Mean: 1}, Estimate{Mean: 1})
	got := totalOf(m, nodes)
	if got.WithValidators != 99 || got.Validators != 99*100+50+2 {
		t.Errorf("%+v", got)
	}
	if half := middle90 * math.Hypot(math.Hypot(math.Sqrt(99*400), systematic*got.Validators), priorShift*99*20); math.Abs(got.High-got.Validators-half) > 1e-6 || got.Low >= got.Validators {
		t.Errorf("interval [%v, %v], want %v on each side", got.Low, got.High, half)
	}
	if got.Verdict != TooLow || got.Unaccounted.Low < 0.98 {
		t.Errorf("a hundredth of the network's validators: verdict %v, %+v", got.Verdict, got.Unaccounted)
	}
	nodes[0].Mean = 900_000
	if got := totalOf(m, nodes); got.Verdict != Passed {
		t.Errorf("about as many as the network has: verdict %v", got.Verdict)
	}
	nodes[0].Mean = 2_000_000
	if got := totalOf(m, nodes); got.Verdict != Failed || got.Ratio < 2 {
		t.Errorf("twice the network's validators pass: %+v", got)
	}
	if got := totalOf(m, nil); got.Verdict != TooFew || got.Validators != 0 {
		t.Errorf("no nodes: %+v", got)
	}
}

func TestCustodyHistory(t *testing.T) {
	const hour = 3600 * 1000
	var c Custody
	for i, cgc := range []uint64{4, 128, 4, 0, 999} {
		c.Observe(int64(i)*hour, cgc)
	}
	if got := c.reading(eth2.ClientNimbus); got != 128 {
		t.Errorf("Nimbus out of sync reads %d, want 128", got)
	}
	if got := c.reading(eth2.ClientGrandine); got != 4 {
		t.Errorf("Grandine after a restart reads %d, want 4", got)
	}
	if c.withoutHistory() {
		t.Error("a node that had 128 passes for one that never had validators")
	}
	c.Observe(40*hour, 4)
	if got := c.reading(eth2.ClientNimbus); got != 4 {
		t.Errorf("Nimbus a day later reads %d, want 4", got)
	}
}

// What each signal alone says.
func TestEstimateOfEachSignal(t *testing.T) {
	p := withBalance(mainnetParams(), 43.4)
	m := NewModel(p, DefaultPrior(), nil)
	custody := func(n uint64) (c Custody) { c.Observe(0, n); return c }
	for _, c := range []struct {
		name         string
		client       eth2.Client
		custody      uint64
		pLow, pHigh  float64
		medLow, high int
		stake        float64 // 0: any
	}{
		{"nothing", lighthouse, 0, 0.5, 0.6, 0, 10, 0},
		{"4", lighthouse, 4, 0, 0.05, 0, 0, 0},
		{"4 of Nimbus", nimbus, 4, 0.2, 0.4, 0, 0, 0},
		{"8", lighthouse, 8, 0.95, 1, 1, 8, 0},
		{"50", lighthouse, 50, 0.8, 0.9, 40, 50, 1600},
		{"128", lighthouse, 128, 0.8, 0.95, 100, 2000, 0},
		{"of no meaning", lighthouse, 7, 0.5, 0.6, 0, 10, 0},
	} {
		got := m.Estimate(NewEvidence(c.client, custody(c.custody)))
		if got.PValidator < c.pLow || got.PValidator > c.pHigh || got.Median < c.medLow || got.Median > c.high {
			t.Errorf("%s: %+v", c.name, got)
		}
		if c.stake > 0 && got.Stake.Median != c.stake {
			t.Errorf("%s: stake %+v, want %v ETH", c.name, got.Stake, c.stake)
		}
	}
	s := NewStatistics(lighthouse)
	s.AddSyncnets(p, slotTime(p, 1000, 0), 1)
	s.AddSyncnets(p, slotTime(p, 1000, 5), 1) // the same period
	e := NewEvidence(lighthouse, Custody{})
	e.Add(s, lighthouse)
	if got := m.Estimate(e); got.PValidator < 0.95 || got.Median < 100 {
		t.Errorf("a sync committee subnet: %+v", got)
	}
}

// A day that reaches into the next is not counted again.
func TestEvidenceCountsADutyOnce(t *testing.T) {
	p := mainnetParams()
	s := NewStatistics(lighthouse)
	s.AddWatch(p, logOf(slotTime(p, 1000, 0), slotTime(p, 1003, 0)))
	e := NewEvidence(lighthouse, Custody{})
	e.Add(s, lighthouse)
	_, once := e.Cells()
	e.Add(s, lighthouse)
	if _, twice := e.Cells(); twice != once {
		t.Errorf("%d cells became %d", once, twice)
	}
}

// An unknown client's interval holds what the known ones' say.
func TestUnknownClientIsAMixture(t *testing.T) {
	p := mainnetParams()
	m := NewModel(p, DefaultPrior(), nil)
	var spans [][3]int64
	for i := range int64(6) {
		at := slotTime(p, 1000, 4+5*int(i)) + 300
		spans = append(spans, [3]int64{at, at + 24_000, i})
	}
	watch := logOf(slotTime(p, 1000, 0)-2000, slotTime(p, 1003, 0)+2000, spans...)
	of := func(c eth2.Client) Estimate {
		s := NewStatistics(c)
		s.AddWatch(p, watch)
		e := NewEvidence(c, Custody{})
		e.Add(s, c)
		return m.Estimate(e)
	}
	short, long, unknown := of(lighthouse), of(teku), of(stranger)
	least, most := min(long.Median, short.Median), max(long.Median, short.Median)
	if unknown.Low > float64(least) || unknown.High < float64(most) {
		t.Errorf("unknown [%v, %v], Teku %d, Lighthouse %d", unknown.Low, unknown.High, long.Median, short.Median)
	}
}
