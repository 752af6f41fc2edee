package estimate

import (
	"cmp"
	"iter"
	"math"
	"slices"

	"github.com/chainbound/valtrack/internal/eth2"
)

// Verdict is the result of a test of the model.
type Verdict uint8

// Verdicts.
const (
	TooFew Verdict = iota // nodes for the test
	Passed
	Failed
	Unsure // too much of what it tests is doubtful
	TooLow // too little to be the whole network
)

func (v Verdict) String() string {
	return [...]string{"too few", "passed", "failed", "unsure", "low"}[min(v, TooLow)]
}

func verdict(enough, good bool) Verdict {
	switch {
	case !enough:
		return TooFew
	case good:
		return Passed
	}
	return Failed
}

// Node is one peer to calibrate with; its Statistics are those of one client version.
type Node struct {
	Client     eth2.Client
	Custody    Custody
	Statistics []*Statistics // by day
}

// Calibration says for each client version how it differs from what the model assumes.
type Calibration struct {
	Versions []VersionCheck // most nodes first
	// Former is the share of nodes without validators whose custody group count is still that
	// of one to eight.
	Former float64
}

// VersionCheck is what was learned of one client version, with the tests of it that
// docs/methodology.md names. The tests are for people: no verdict changes an estimate, the
// rates and shares do. The tracker stores this type.
type VersionCheck struct {
	Kind      eth2.ClientKind
	Release   string // empty where the agent does not say it
	Nodes     int
	Behaviour Behaviour `json:"Habits"` // of all nodes
	// Lifetimes (M3): subscriptions last as long, and start when, the window predicts.
	Lifetimes Verdict
	// Dispersion (M1): counts vary as if only aggregators subscribed. AllDuties of
	// Dispersed nodes vary as if every validator did.
	Dispersion           Verdict
	Dispersed, AllDuties int
	// Watched and Snapshots (M2): watches and snapshots show duties at the assumed rate, by
	// the nodes whose custody group count says how many validators they have. The ratios are
	// to the assumed rate, the errors their relative standard deviations: 0 where there were
	// too few nodes, and the assumed rate is used.
	Watched       Verdict
	Snapshots     Verdict `json:"Looked"`
	WatchedRatio  float64
	SnapshotRatio float64 `json:"LookedRatio"`
	WatchedError  float64 `json:",omitempty"`
	SnapshotError float64 `json:"LookedError,omitempty"`
	// EveryDuty and Silent are the shares of nodes that show every duty, and none.
	EveryDuty float64 `json:",omitempty"`
	Silent    float64 `json:",omitempty"`
	// Large nodes by their attestation subnets; Contradicted of them have a custody group
	// count that says otherwise (M2 too).
	Large, Contradicted int
	Trust               Trust
}

// Unproven reports whether no test had enough nodes.
func (v VersionCheck) Unproven() bool {
	return v.Lifetimes == TooFew && v.Dispersion == TooFew && v.Watched == TooFew && v.Snapshots == TooFew
}

// Calibrate learns of every client version how its nodes show duties. Under m, which should
// have a fitted prior, the versions' shares are those that it starts from.
func Calibrate(m *Model, nodes iter.Seq[Node]) *Calibration {
	m = m.central()
	checks := map[versionKey]*versionCheck{}
	for n := range nodes {
		key := keyOf(n.Client)
		if checks[key] == nil {
			checks[key] = &versionCheck{VersionCheck: VersionCheck{Kind: key.kind, Release: key.release}, windows: candidatesOf(n.Client)}
		}
		checks[key].add(m, n)
	}
	c, none, saying8 := &Calibration{}, 0.0, []float64(nil)
	for _, v := range checks {
		v.conclude(m)
		none, saying8 = none+v.none, append(saying8, v.saying8...)
		c.Versions = append(c.Versions, v.VersionCheck)
	}
	c.Former = m.formerOf(none, saying8)
	slices.SortFunc(c.Versions, func(a, b VersionCheck) int {
		return cmp.Or(cmp.Compare(b.Nodes, a.Nodes), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Release, b.Release))
	})
	return c
}

// versionCheck accumulates a VersionCheck.
type versionCheck struct {
	VersionCheck
	windows            []candidate
	lifetimes          lifetimes
	watched, snapshots rateFit
	likelihoods        []habitShares // by node, of each habit
	none               float64       // expected nodes without validators, but for those that say 8
	saying8            []float64     // of those the probability that they have none
}

func (v *versionCheck) add(m *Model, n Node) {
	v.Nodes++
	e, own := NewEvidence(n.Client, n.Custody), Behaviour{}
	for _, s := range n.Statistics {
		e.Add(s, n.Client)
		own.Add(s.Behaviour())
	}
	v.Behaviour.Add(own)
	v.lifetimes.add(own)
	v.addDispersion(m, e)
	if on, off := e.Cells(); on+off == 0 {
		return
	}
	v.watched.add(m, e, false)
	v.snapshots.add(m, e, true)
	likelihood, none := m.habitLikelihood(e)
	v.likelihoods = append(v.likelihoods, likelihood)
	if r := n.Custody.reading(e.kind); r > 0 {
		if r == eth2.ValidatorCustodyRequirement {
			v.saying8 = append(v.saying8, none)
		} else {
			v.none += none
		}
	}
	m.countLarge(&v.VersionCheck, e, n.Custody)
}

// addDispersion counts a node for M1.
func (v *versionCheck) addDispersion(m *Model, e *Evidence) {
	const epochs, odds = 10, 2
	watched := 0.0
	for _, c := range e.epochs {
		watched += c.epochs
	}
	if watched < epochs || m.params.AggregatorShare() > everyone {
		return
	}
	v.Dispersed++
	if e.everyDuty(m.params) > odds {
		v.AllDuties++
	}
}

// conclude sets the verdicts, rates and shares.
func (v *versionCheck) conclude(m *Model) {
	const leastDispersed, wide = 5, 0.1
	expected := 0.0 // logarithm of the rate of snapshots
	var window window
	if len(v.windows) == 1 {
		window = v.windows[0].window
		v.Lifetimes = v.lifetimes.fits(window, m.params)
	}
	measured := v.lifetimes.slotsOf()
	if window.policy == slotsAhead && window.slots > 0 && measured > 0 {
		expected = math.Log(float64(measured) / float64(window.slots))
	}
	v.Dispersion = verdict(v.Dispersed >= leastDispersed, 2*v.AllDuties <= v.Dispersed)
	v.WatchedRatio, v.WatchedError = v.watched.estimate(0)
	v.SnapshotRatio, v.SnapshotError = v.snapshots.estimate(expected)
	if v.SnapshotError == 0 && expected != 0 { // by the lifetimes alone
		v.SnapshotRatio, v.SnapshotError = math.Exp(expected), 2*wide
	}
	v.Watched, v.Snapshots = rateVerdict(v.WatchedRatio, v.WatchedError), rateVerdict(v.SnapshotRatio, v.SnapshotError)
	shares := fitHabits(v.likelihoods)
	v.EveryDuty, v.Silent = shares[everyDuty], shares[silent]
	if v.Watched == Failed || v.Snapshots == Failed || v.WatchedError > wide || v.Dispersion == Failed || v.Lifetimes == Failed {
		v.Trust = TrustWide
	}
}

// rateVerdict fails a rate that is surely not the assumed one.
func rateVerdict(factor, sd float64) Verdict {
	const allowed = 1.1
	return verdict(sd > 0, math.Abs(math.Log(factor)) <= math.Log(allowed)+middle90*sd)
}

// formerOf is the share of nodes without validators that say 8, by expectation maximisation over the
// nodes without validators, and those that say 8 and have none with a probability under m.
func (m *Model) formerOf(none float64, saying8 []float64) float64 {
	const (
		strength      = 50 // nodes for which the assumed share counts
		rounds, start = 100, 0.02
	)
	share := start
	for range rounds {
		sum := 0.0
		for _, p := range saying8 {
			odds := p / math.Max(1e-9, 1-p) * share / m.former
			sum += odds / (1 + odds)
		}
		share = (sum + strength*assumedFormer) / (none + sum + strength)
	}
	return share
}

// habitLikelihood is how likely a node's evidence is with each habit, up to a factor, and the
// probability of no validators.
func (m *Model) habitLikelihood(e *Evidence) (l habitShares, none float64) {
	s := m.borrow()
	defer m.spaces.Put(s)
	w, h := m.posterior(e, s)
	shares := m.fitOf(e.versions[0]).shares
	for i := range l {
		if shares[i] > 0 {
			l[i] = h.total[i] / shares[i]
		}
	}
	return l, w[0]
}

// fitHabits returns the shares under which the nodes' evidence is most likely, by expectation
// maximisation, with the default ones as so many nodes more.
func fitHabits(nodes []habitShares) habitShares {
	const (
		strength, rounds = 200, 50
		// mostSilent bounds a share that stale custody group counts are taken for.
		mostSilent = 0.03
	)
	shares := defaultShares()
	for range rounds {
		next := habitShares{}
		for i, share := range defaultShares() {
			next[i] = strength * share
		}
		for _, l := range nodes {
			sum := 0.0
			for i := range l {
				sum += shares[i] * l[i]
			}
			for i := range l {
				next[i] += shares[i] * l[i] / math.Max(sum, 1e-300)
			}
		}
		for i := range next {
			next[i] /= strength + float64(len(nodes))
		}
		if extra := next[silent] - mostSilent; extra > 0 {
			next[silent], next[byWindow] = mostSilent, next[byWindow]+extra
		}
		shares = next
	}
	return shares
}

// expected is how many cells v validators would fill if no two filled the same one.
func (m *Model) expected(p pools, v int) (n float64) {
	for _, c := range p.cells {
		n -= float64(c.on+c.off) * m.params.logEmpty(c.cell, 1, 1) * float64(v)
	}
	return n
}

// countLarge counts a node whose attestation subnets alone say more validators than
// the largest custody group count stands for.
func (m *Model) countLarge(v *VersionCheck, e *Evidence, c Custody) {
	const beyond = 200
	r := c.reading(e.kind)
	on, _ := e.Cells()
	if r == 0 || OmitsExternalValidators(e.kind) || float64(on) < m.expected(e.pools[0], supernode)/2 {
		return
	}
	alone := e.Clone()
	alone.custody = Custody{}
	s := m.borrow()
	defer m.spaces.Put(s)
	w, _ := m.posterior(alone, s)
	if _, low, _ := quantiles(m.grid, w, 1); low < beyond {
		return
	}
	v.Large++
	if r < supernode {
		v.Contradicted++
	}
}
