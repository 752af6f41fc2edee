package estimate

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/chainbound/valtrack/internal/eth2"
)

// ofRelease are nodes of a Lighthouse release with 20 to 110 validators.
func ofRelease(r *rand.Rand, version string, nodes, days int, rateOf func(i int) float64) (list []Node) {
	for i := range nodes {
		v := []int{20, 40, 80, 110}[i%4]
		n := habitEvidence(r, v, days, byWindow, rateOf(i), uint64(required(v)))
		n.Client.Version = version
		list = append(list, n)
	}
	return list
}

func always(rate float64) func(int) float64 { return func(int) float64 { return rate } }

func checkOf(t *testing.T, c *Calibration, version string) VersionCheck {
	t.Helper()
	release := eth2.Client{Version: version}.Release()
	i := slices.IndexFunc(c.Versions, func(v VersionCheck) bool { return v.Release == release })
	if i < 0 {
		t.Fatalf("no version %s", version)
	}
	return c.Versions[i]
}

// A release with few nodes has its client's rate, and is known as well as the client's
// releases resemble each other; so has one that was not met yet.
func TestYoungReleaseHasItsClientsRate(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 11))
	m := NewModel(mainnetParams(), DefaultPrior(), nil)
	nodes := slices.Concat(ofRelease(r, "v8.0.0", 60, 10, always(0.75)), ofRelease(r, "v8.0.1", 30, 10, always(0.75)), ofRelease(r, "v8.1.0", 2, 2, always(0.75)))
	none := ofRelease(r, "v9.0.0", 1, 2, always(0.75))
	none[0].Custody = Custody{}
	c := Calibrate(m, slices.Values(append(nodes, none...)))
	for _, version := range []string{"v8.1.0", "v9.0.0"} {
		got := checkOf(t, c, version)
		if math.Abs(got.WatchedRatio/0.75-1) > 0.06 || got.WatchedError < 0.02 || got.WatchedError > 0.1 || got.Watched != TooFew {
			t.Errorf("%s: rate %.3f with an error of %.3f (%v), want 0.75", version, got.WatchedRatio, got.WatchedError, got.Watched)
		}
	}
	fit := m.WithVersions(c.Versions).fitOf(versionKey{eth2.ClientLighthouse, "10.0.0"}).watched
	if math.Abs(fit.factor/0.75-1) > 0.05 || fit.sd < newReleaseSD || fit.sd > 0.1 {
		t.Errorf("a release that was not met: %+v", fit)
	}
}

// What nobody measured is not known, however many nodes say next to nothing of it.
func TestRateWithoutEvidenceIsWide(t *testing.T) {
	m := NewModel(mainnetParams(), DefaultPrior(), nil)
	for _, count := range []int{0, 4, 5, 12} {
		r := rand.New(rand.NewPCG(12, 12))
		nodes := ofRelease(r, "v8.0.0", 1, 1, always(1))
		nodes[0].Client.Kind = eth2.ClientGrandine
		nodes[0].Custody = Custody{}
		for range count {
			n := habitEvidence(r, 20, 1, byWindow, 1, 20) // some two duties
			n.Client.Kind, n.Client.Version = eth2.ClientGrandine, "v8.0.0"
			nodes = append(nodes, n)
		}
		got := Calibrate(m, slices.Values(nodes)).Versions[0]
		if math.Abs(got.WatchedRatio-1) > 0.3 || got.WatchedError <= wideRate || got.WatchedError > 0.4 || got.Trust != TrustWide {
			t.Errorf("%d nodes that say little: rate %.3f with an error of %.3f, trust %v", count, got.WatchedRatio, got.WatchedError, got.Trust)
		}
		if want := map[bool]Verdict{false: TooFew, true: Unsure}[count >= leastNodes]; got.Watched != want || got.WatchedNodes != count {
			t.Errorf("%d nodes that say little: verdict %v of %d nodes, want %v", count, got.Watched, got.WatchedNodes, want)
		}
	}
	if fit := m.WithVersions([]VersionCheck{{Kind: eth2.ClientTeku}}).fitOf(versionKey{kind: eth2.ClientPrysm}).watched; fit != (rate{1, unprovenSD, unprovenSpread}) {
		t.Errorf("another client: %+v", fit)
	}
}

// The constants of what is not known are those of the distributions.
func TestUnprovenIsThePrior(t *testing.T) {
	flat := []*releaseFit{{kind: eth2.ClientTeku}}
	fitRates(flat)
	got := flat[0].rate
	if math.Abs(got.factor-1) > 1e-6 || math.Abs(got.sd/unprovenSD-1) > 0.1 || math.Abs(got.spread/unprovenSpread-1) > 0.1 {
		t.Errorf("a release without nodes: %+v", got)
	}
	_, sd := normalLogs(1e-6).through(releaseDifference.kernel()).summary(0)
	if math.Abs(sd/newReleaseSD-1) > 0.1 {
		t.Errorf("releases of one client differ by %.4f, want %v", sd, newReleaseSD)
	}
}

// Nodes of two kinds in one version are found, and each node's interval allows for both; nodes of
// one kind are not taken for several.
func TestNodesOfTwoKinds(t *testing.T) {
	m := NewModel(mainnetParams(), DefaultPrior(), nil)
	kinds := func(i int) float64 { return []float64{0.5, 1.2}[i/4%2] }
	for _, c := range []struct {
		name string
		rate func(int) float64
		want Verdict
	}{{"one kind", always(1), Passed}, {"two kinds", kinds, Heterogeneous}} {
		for seed := range uint64(4) {
			r := rand.New(rand.NewPCG(13, seed))
			got := Calibrate(m, slices.Values(ofRelease(r, "v8.0.0", 60, 7, c.rate))).Versions[0]
			wide := c.want == Heterogeneous
			if got.Watched != c.want || (got.WatchedSpread > 0.25) != wide || (got.WatchedSpread > 0.1) != wide || (got.Trust == TrustWide) != wide {
				t.Errorf("%s, seed %d: %v, trust %v, rate %.3f with an error of %.3f and a spread of %.3f", c.name, seed, got.Watched, got.Trust, got.WatchedRatio, got.WatchedError, got.WatchedSpread)
			}
			fitted, held := m.WithVersions([]VersionCheck{got}), 0
			for i := range 20 {
				n := habitEvidence(r, 300, 7, byWindow, c.rate(4*i), 0)
				n.Client.Version = "v8.0.0"
				if e := fitted.Estimate(n.evidence()); e.Low <= 300 && 300 <= e.High {
					held++
				}
			}
			if held < 16 {
				t.Errorf("%s, seed %d: %d of 20 intervals hold, with a rate of %.3f, an error of %.3f and a spread of %.3f", c.name, seed, held, got.WatchedRatio, got.WatchedError, got.WatchedSpread)
			}
		}
	}
}

// By how much nodes of a version differ is in each node's interval, and is no error that they
// share.
func TestSpreadIsInEachNodesInterval(t *testing.T) {
	r := rand.New(rand.NewPCG(14, 14))
	m := NewModel(mainnetParams(), DefaultPrior(), nil)
	e := habitEvidence(r, 500, 40, byWindow, 1, 0).evidence()
	of := func(sd, spread float64) Estimate {
		v := VersionCheck{Kind: lighthouse.Kind, Release: lighthouse.Release(), WatchedRatio: 1, WatchedError: sd, WatchedSpread: spread}
		return m.WithVersions([]VersionCheck{v}).Estimate(e)
	}
	exact, differ, common := of(0.005, 0), of(0.005, 0.2), of(0.2, 0)
	if differ.High-differ.Low < 3*(exact.High-exact.Low) || differ.Variance < 4*exact.Variance {
		t.Errorf("with a spread of 0.2 [%.0f to %.0f], without [%.0f to %.0f]", differ.Low, differ.High, exact.Low, exact.High)
	}
	if differ.Shared > common.Shared/10 || common.Shared < 50 {
		t.Errorf("shared: %.1f of a spread, %.1f of a common error", differ.Shared, common.Shared)
	}
}

// A few nodes do not own a young release, whatever they show; many do change it.
func TestFewNodesDoNotOwnARelease(t *testing.T) {
	m := NewModel(mainnetParams(), DefaultPrior(), nil)
	for _, c := range []struct {
		claiming int
		changes  bool
	}{{5, false}, {25, true}} {
		r := rand.New(rand.NewPCG(15, 15))
		nodes := append(ofRelease(r, "v8.0.0", 60, 7, always(1)), ofRelease(r, "v8.1.0", c.claiming, 7, always(2))...)
		fit := m.WithVersions(Calibrate(m, slices.Values(nodes)).Versions).fitOf(versionKey{eth2.ClientLighthouse, "8.1.0"}).watched
		low, high := math.Log(fit.factor)-middle90*fit.sd, math.Log(fit.factor)+middle90*fit.sd
		if (low > 0.1) != c.changes || !c.changes && fit.factor > 1.3 || c.changes && high < math.Log(1.9) {
			t.Errorf("%d nodes that show twice: %+v, [%.2f to %.2f]", c.claiming, fit, math.Exp(low), math.Exp(high))
		}
	}
}

// A rate far from the assumed one is found, and one that is beyond all that are considered is
// not known.
func TestFarRates(t *testing.T) {
	m := NewModel(mainnetParams(), DefaultPrior(), nil)
	for _, want := range []float64{0.2, 5} {
		r := rand.New(rand.NewPCG(16, 16))
		got := Calibrate(m, slices.Values(ofRelease(r, "v8.0.0", 60, 7, always(want)))).Versions[0]
		if math.Abs(math.Log(got.WatchedRatio/want)) > 0.15 || got.Watched != Failed {
			t.Errorf("rate %v: %.3f with an error of %.3f, %v", want, got.WatchedRatio, got.WatchedError, got.Watched)
		}
	}
	var beyond logLikelihood
	for i := range beyond {
		beyond[i] = 0.1 * float64(i)
	}
	if factor, sd := beyond.summary(0); sd < 1 {
		t.Errorf("beyond the grid: %.3f with an error of %.3f", factor, sd)
	}
}

// A verdict on a rate says that it is not known where it is not.
func TestVerdictOfARate(t *testing.T) {
	for _, c := range []struct {
		nodes int
		rate  rate
		mixed bool
		want  Verdict
	}{
		{4, rate{factor: 1, sd: 0.01}, false, TooFew},
		{5, rate{factor: 1, sd: 0.05}, false, Passed},
		{5, rate{factor: 1.12, sd: 0.05}, false, Passed},
		{50, rate{factor: 1.3, sd: 0.05}, false, Failed},
		{50, rate{factor: 0.75, sd: 0.05}, true, Failed},
		{50, rate{factor: 2, sd: 0.5}, false, Unsure},
		{50, rate{factor: 1, sd: 0.2}, false, Unsure},
		{50, rate{factor: 1, sd: 0.2}, true, Heterogeneous},
	} {
		fit := releaseFit{fit: &rateFit{nodes: c.nodes}, rate: c.rate, mixed: c.mixed}
		if got := fit.verdict(); got != c.want {
			t.Errorf("%d nodes, %+v, of several kinds %v: %v, want %v", c.nodes, c.rate, c.mixed, got, c.want)
		}
	}
}

// A version is as doubtful as the rate that its estimates use.
func TestTrustHasTheRateThatIsUsed(t *testing.T) {
	known, open := rate{factor: 1, sd: 0.03}, rate{factor: 1, sd: 0.3}
	for _, c := range []struct {
		watched, snapshots rate
		uses               [2]int
		want               Trust
	}{
		{known, open, [2]int{1000, 0}, TrustAll},
		{known, open, [2]int{1000, 20}, TrustAll},
		{known, open, [2]int{1000, 1000}, TrustWide},
		{known, known, [2]int{1000, 1000}, TrustAll},
		{open, known, [2]int{0, 1000}, TrustAll},
		{open, known, [2]int{1000, 1000}, TrustWide},
	} {
		v := versionCheck{VersionCheck: VersionCheck{Nodes: 1000}, watched: releaseFit{rate: c.watched}, snapshots: releaseFit{rate: c.snapshots}, uses: c.uses}
		v.conclude(NewModel(mainnetParams(), DefaultPrior(), nil))
		if v.Trust != c.want {
			t.Errorf("%+v: trust %v, want %v", c, v.Trust, c.want)
		}
	}
}

// smoothed keeps the sum, and spreads by the standard deviation.
func TestSmoothed(t *testing.T) {
	for _, s := range spreads {
		l := make([]float64, ratePoints)
		l[rateSteps] = 1
		sum, square := 0.0, 0.0
		for i, x := range smoothed(l, s.sd) {
			d := rateStep * float64(i-rateSteps)
			sum, square = sum+x, square+x*d*d
		}
		if math.Abs(sum-1) > 0.01 || math.Abs(math.Sqrt(square/sum)/s.sd-1) > 0.1 {
			t.Errorf("spread by %.3f, sum %.3f, want %v", math.Sqrt(square/sum), sum, s.sd)
		}
	}
}

// A habit that one node has does not change what is taken for usual, those of several do.
func TestOneNodeHasNoHabitOfItsVersion(t *testing.T) {
	for _, c := range []struct {
		name     string
		nodes    int
		expected float64
	}{{"none", 0, 1}, {"one", 1, 1}, {"eleven", 11, 11}} {
		var nodes []habitShares
		for i := range 200 {
			l := habitShares{1, 1e-6, 1e-6}
			if i < c.nodes {
				l = habitShares{1e-9, 1, 1e-9}
			}
			nodes = append(nodes, l)
		}
		if got := fitHabits(nodes)[everyDuty]; math.Abs(got-c.expected/400) > 1e-4 {
			t.Errorf("%s: a share of %.5f, want %.5f", c.name, got, c.expected/400)
		}
	}
}
