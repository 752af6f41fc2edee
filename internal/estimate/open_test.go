package estimate

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/chainbound/valtrack/internal/eth2"
)

// withSync adds what MetaData said of the sync committee subnets in so many periods.
func withSync(e *Evidence, set eth2.Syncnets, periods int) *Evidence {
	for i := range periods {
		e.addPeriod(syncReading{uint32(10 + i), set})
	}
	e.stale = true
	return e
}

// What silent nodes leave open is said beside the total, and is in the interval of their stake; the
// total itself is not useless because some nodes keep all columns by choice.
func TestWhatSilentNodesHideIsSaid(t *testing.T) {
	const each, count = 300, 600
	p := mainnetParams()
	p.Balance = Balance{Mean: 32, Error: 0.01}
	m := NewModel(p, DefaultPrior(), nil)
	for _, c := range []struct {
		name            string
		silent, keepers int // of the nodes
		widest          float64
	}{
		{"healthy", 0, 24, 1.12}, // 8 % of those without validators
		{"silent", 30, 24, 1.12},
	} {
		r := rand.New(rand.NewPCG(3, 3))
		var sum Sum
		truth := 0.0
		for i := range count {
			v, h := []int{0, 100, 200, 400, 0, 5, 800, 0, 0, 300}[i%10], byWindow
			custody := uint64(required(v))
			if i%10 == 4 && i/10 < c.keepers {
				custody = 128
			}
			if i%10 == 9 && i/10 < c.silent {
				v, h, custody = each, silent, 128
			}
			truth += float64(v)
			e := m.Estimate(habitEvidence(r, v, 20, h, 1, custody).evidence())
			sum.Add(e, 1)
			if h == silent && (e.Flags&FlagSilent == 0 || e.Hidden < 100 || e.Stake.High < 32*each || e.High < each) {
				t.Fatalf("%s: a silent node of %d validators is %+v", c.name, each, e)
			}
		}
		all, _ := m.Totals([]Sum{sum})
		if all.Low > truth || all.High+all.Hidden < truth || all.High > c.widest*truth {
			t.Errorf("%s: %.0f [%.0f to %.0f] of %.0f, %.0f nodes hide up to %.0f", c.name, all.Validators, all.Low, all.High, truth, all.Silent, all.Hidden)
		}
		if want := float64(c.silent + c.keepers); all.Silent != want || all.Hidden < 100*want {
			t.Errorf("%s: %.0f nodes hide up to %.0f, want %.0f nodes", c.name, all.Silent, all.Hidden, want)
		}
		if u := all.Unaccounted; u.Low > 1-truth/950_000 {
			t.Errorf("%s: at least %.3f of the network are on no node", c.name, u.Low)
		}
	}
}

// A node that may show every duty is as unsure in a total, and in its stake, as its interval is
// wide.
func TestWhatEveryDutyNodesLeaveOpenIsInTheTotal(t *testing.T) {
	p := mainnetParams()
	p.Balance = Balance{Mean: 32, Error: 0.01}
	m := NewModel(p, DefaultPrior(), nil)
	r := rand.New(rand.NewPCG(4, 4))
	found := 0
	for range 20 {
		e := m.Estimate(habitEvidence(r, 30, 3, everyDuty, 1, 128).evidence())
		if e.Flags&FlagEveryDuty == 0 {
			continue
		}
		found++
		if wide := e.High - e.Low; e.Variance < wide*wide/40 {
			t.Errorf("%.0f to %.0f with a variance of %.0f", e.Low, e.High, e.Variance)
		}
		if e.Stake.Low > 32*30 || e.Stake.High < 32*30 {
			t.Errorf("30 validators hold %.0f to %.0f ETH", e.Stake.Low, e.Stake.High)
		}
	}
	if found < 15 {
		t.Errorf("%d of 20 are flagged", found)
	}
}

// One odd set of sync committee subnets that stays is one fact, and excludes the node's
// attestation subnets: nothing carries the estimate alone.
func TestOddSyncSubnets(t *testing.T) {
	m := NewModel(mainnetParams(), DefaultPrior(), nil)
	r := rand.New(rand.NewPCG(5, 5))
	for _, c := range []struct {
		name       string
		validators int
		custody    uint64
		set        eth2.Syncnets
		periods    int
		conflict   bool
	}{
		{"without validators, two subnets for a week", 0, 4, 3, 7, true},
		{"without validators, three subnets for a week, all columns", 0, 128, 7, 7, true},
		{"without validators, two subnets once", 0, 4, 5, 1, true},
		{"with many, as its seats say", 5000, 128, 7, 1, false},
		{"with a few, none", 20, 20, 0, 7, false},
		{"keeps all four", 20, 20, 15, 7, false},
	} {
		e := m.Estimate(withSync(habitEvidence(r, c.validators, 40, byWindow, 1, c.custody).evidence(), c.set, c.periods))
		if got := e.Flags&FlagConflict != 0; got != c.conflict || e.Low > float64(c.validators) || e.High < float64(c.validators) {
			t.Errorf("%s: %d [%.0f to %.0f] %v", c.name, e.Median, e.Low, e.High, e.Flags.Names())
		}
	}
}

// The distribution is what the estimate summarises: its median and its probability of none are those
// of the estimate, whatever flags it has.
func TestDistributionIsThatOfTheEstimate(t *testing.T) {
	m := NewModel(mainnetParams(), DefaultPrior(), nil)
	r := rand.New(rand.NewPCG(5, 5))
	for name, e := range map[string]*Evidence{
		"odd sync committee subnets":    withSync(habitEvidence(r, 0, 40, byWindow, 1, 4).evidence(), 3, 7),
		"odd, with all columns":         withSync(habitEvidence(r, 0, 40, byWindow, 1, 128).evidence(), 7, 7),
		"custody that says too little":  habitEvidence(r, 120, 40, byWindow, 1, 20).evidence(),
		"custody that says what showed": habitEvidence(r, 20, 40, byWindow, 1, 20).evidence(),
		"silent":                        habitEvidence(r, 300, 40, silent, 1, 128).evidence(),
	} {
		got, all, median := m.Estimate(e), m.Distribution(e), 0
		if none := all[0]; none.Validators != 0 || math.Abs(none.AtMost-(1-got.PValidator)) > 1e-9 {
			t.Errorf("%s: none with %v in the distribution, some with %v in the estimate %v", name, none.AtMost, got.PValidator, got.Flags.Names())
		}
		for _, p := range all {
			if median = p.Validators; p.AtMost >= 0.5 {
				break
			}
		}
		if median != got.Median {
			t.Errorf("%s: a median of %d in the distribution, of %d in the estimate %v", name, median, got.Median, got.Flags.Names())
		}
	}
}

// A node that shows no duty shows no seat in a sync committee either.
func TestSilentCoversSync(t *testing.T) {
	m := NewModel(mainnetParams(), DefaultPrior(), nil)
	r := rand.New(rand.NewPCG(6, 6))
	for _, periods := range []int{0, 7} {
		e := m.Estimate(withSync(habitEvidence(r, 2000, 40, silent, 1, 128).evidence(), 0, periods))
		if e.Flags&FlagSilent == 0 || e.High < 300 {
			t.Errorf("%d periods: %d [%.0f to %.0f] %v", periods, e.Median, e.Low, e.High, e.Flags.Names())
		}
	}
	with, without := m.Estimate(withSync(habitEvidence(r, 2000, 40, silent, 1, 128).evidence(), 0, 7)), m.Estimate(habitEvidence(r, 2000, 40, silent, 1, 128).evidence())
	if with.Hidden < 0.9*without.Hidden {
		t.Errorf("it hides %.0f, without the sync subnets %.0f", with.Hidden, without.Hidden)
	}
}

// A small error of a rate is shared, too; and what is shared does not count again for each node.
func TestErrorsCountOnce(t *testing.T) {
	p := mainnetParams()
	r := rand.New(rand.NewPCG(7, 7))
	e := habitEvidence(r, 1000, 40, byWindow, 1, 128).evidence()
	for _, sd := range []float64{0.005, 0.009, 0.011, 0.03} {
		m := NewModel(p, DefaultPrior(), nil).WithVersions([]VersionCheck{{Kind: lighthouse.Kind, Release: lighthouse.Release(), WatchedRatio: 1, WatchedError: sd}})
		if got := m.Estimate(e); got.Shared < 0.7*sd*1000 || got.Shared > 1.4*sd*1000 {
			t.Errorf("an error of %.3f is %.1f of %.0f validators", sd, got.Shared, got.Mean)
		}
	}
	p.PAggUncertainty = 0.05
	m := NewModel(p, DefaultPrior(), nil)
	var sum Sum
	for range 100 {
		sum.Add(Estimate{Mean: 100, Variance: 400 + 25 + 36, Shared: 6, PValidator: 1}, 1)
	}
	if errors := totalOfSum(m, sum).Errors; errors.Nodes != 100*400 || errors.Clients != 600*600 || errors.Aggregators != 500*500 {
		t.Errorf("%+v", errors)
	}
}

// A version's rate is also that at which its nodes show every duty.
func TestEveryDutyAtARate(t *testing.T) {
	const rate, validators = 0.6, 60
	versions := []VersionCheck{{Kind: lighthouse.Kind, Release: lighthouse.Release(), WatchedRatio: rate, WatchedError: 0.02}}
	m := NewModel(mainnetParams(), DefaultPrior(), nil).WithVersions(versions)
	r := rand.New(rand.NewPCG(8, 8))
	held := 0
	for range 20 {
		n := habitEvidence(r, int(rate*validators), 7, everyDuty, 1, validators)
		if e := m.Estimate(n.evidence()); e.Low <= validators && validators <= e.High && e.Median > 0.9*validators {
			held++
		}
	}
	if held < 17 {
		t.Errorf("%d of 20 nodes with every duty at a rate of %v are right", held, rate)
	}
}
