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
	// Heterogeneous: the nodes are of more than one kind.
	Heterogeneous
)

func (v Verdict) String() string {
	return [...]string{"too few", "passed", "failed", "unsure", "low", "heterogeneous"}[min(v, Heterogeneous)]
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

// Node is one peer to calibrate with; its Statistics are those of one client version, since its
// number of validators last changed.
type Node struct {
	Client     eth2.Client
	Custody    Custody
	Statistics []*Statistics // by day
}

// Calibration says for each client version how it differs from what the model assumes.
type Calibration struct {
	Versions []VersionCheck // most nodes first
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
	// the nodes whose custody group count says how many validators they have: WatchedNodes and
	// SnapshotNodes. The ratios are to the assumed rate, the errors their standard deviations
	// (of the logarithm), the spreads those of the rates of the version's nodes. With few
	// nodes they are mostly what is known of the client.
	Watched        Verdict
	Snapshots      Verdict `json:"Looked"`
	WatchedRatio   float64
	SnapshotRatio  float64 `json:"LookedRatio"`
	WatchedError   float64 `json:",omitempty"`
	SnapshotError  float64 `json:"LookedError,omitempty"`
	WatchedSpread  float64 `json:",omitempty"`
	SnapshotSpread float64 `json:"LookedSpread,omitempty"`
	WatchedNodes   int     `json:",omitempty"`
	SnapshotNodes  int     `json:"LookedNodes,omitempty"`
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
	var checks []*versionCheck // a list, so that sums do not depend on the order of a map
	byKey, fits := map[versionKey]*versionCheck{}, map[eth2.ClientKind]int{}
	for n := range nodes {
		key := keyOf(n.Client)
		v := byKey[key]
		if v == nil {
			v = &versionCheck{VersionCheck: VersionCheck{Kind: key.kind, Release: key.release}, windows: candidatesOf(n.Client)}
			byKey[key], checks = v, append(checks, v)
		}
		v.add(m, n, fits)
	}
	fitVersions(checks)
	c := &Calibration{}
	for _, v := range checks {
		v.conclude(m)
		c.Versions = append(c.Versions, v.VersionCheck)
	}
	slices.SortFunc(c.Versions, func(a, b VersionCheck) int {
		return cmp.Or(cmp.Compare(b.Nodes, a.Nodes), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Release, b.Release))
	})
	return c
}

// fitVersions fits the rates of all versions together.
func fitVersions(checks []*versionCheck) {
	all := map[eth2.ClientKind]*lifetimes{}
	for _, v := range checks {
		if all[v.Kind] == nil {
			all[v.Kind] = &lifetimes{}
		}
		all[v.Kind].votes = append(all[v.Kind].votes, v.lifetimes.votes...)
	}
	var watched, snapshots []*releaseFit
	for _, v := range checks {
		v.watched.kind, v.snapshots.kind = v.Kind, v.Kind
		v.snapshots.centre = v.measured(all[v.Kind])
		watched, snapshots = append(watched, &v.watched), append(snapshots, &v.snapshots)
	}
	fitRates(watched)
	fitRates(snapshots)
}

// versionCheck accumulates a VersionCheck.
type versionCheck struct {
	VersionCheck
	windows            []candidate
	lifetimes          lifetimes
	watched, snapshots releaseFit
	uses               [2]int        // nodes with watches, and with snapshots
	likelihoods        []habitShares // by node, of each habit
}

// add adds a node. fits counts the versions of each client that have a fit.
func (v *versionCheck) add(m *Model, n Node, fits map[eth2.ClientKind]int) {
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
	v.addRates(m, e, fits)
	// One that fills nearly all cells would show every duty or those of aggregators by the prior alone.
	if !e.saturated() {
		v.likelihoods = append(v.likelihoods, m.habitLikelihood(e))
	}
	m.countLarge(&v.VersionCheck, e, n.Custody)
}

// addRates adds a node to the fits of the rates.
func (v *versionCheck) addRates(m *Model, e *Evidence, fits map[eth2.ClientKind]int) {
	for i, into := range []*releaseFit{&v.watched, &v.snapshots} {
		p := e.cellsOf(i == 1)
		if len(p.cells) > 0 {
			v.uses[i]++
		}
		if !m.calibrates(e, p) {
			continue
		}
		if into.fit == nil {
			if fits[v.Kind] == 2*maxFits {
				continue
			}
			fits[v.Kind]++
			into.fit = &rateFit{}
		}
		if into.fit.nodes < mostNodes {
			into.fit.add(m.rateLikelihood(e, p, i == 0))
		}
	}
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

// wideRate is the standard deviation above which a rate is not known.
const wideRate = 0.1

// measured is the logarithm of the rate of snapshots by how long subscriptions last, where they
// begin before each duty: those of the version or, with too few, of the client.
func (v *versionCheck) measured(client *lifetimes) float64 {
	if len(v.windows) != 1 || v.windows[0].policy != slotsAhead || v.windows[0].slots == 0 {
		return 0
	}
	slots := v.lifetimes.slotsOf()
	if slots == 0 && len(v.lifetimes.votes) < voters {
		slots = client.slotsOf()
	}
	if slots == 0 {
		return 0
	}
	return math.Log(float64(slots) / float64(v.windows[0].slots))
}

// conclude sets the verdicts, rates and shares.
func (v *versionCheck) conclude(m *Model) {
	const leastDispersed = 5
	if len(v.windows) == 1 {
		v.Lifetimes = v.lifetimes.fits(v.windows[0].window, m.params)
	}
	v.Dispersion = verdict(v.Dispersed >= leastDispersed, 2*v.AllDuties <= v.Dispersed)
	r := v.watched.rate
	v.WatchedRatio, v.WatchedError, v.WatchedSpread = r.factor, r.sd, r.spread
	r = v.snapshots.rate
	v.SnapshotRatio, v.SnapshotError, v.SnapshotSpread = r.factor, r.sd, r.spread
	v.WatchedNodes, v.SnapshotNodes = v.watched.nodes(), v.snapshots.nodes()
	v.Watched, v.Snapshots = v.watched.verdict(), v.snapshots.verdict()
	shares := fitHabits(v.likelihoods)
	v.EveryDuty, v.Silent = shares[everyDuty], shares[silent]
	if v.Dispersion == Failed || v.Lifetimes == Failed || v.doubtful(0, v.watched) || v.doubtful(1, v.snapshots) {
		v.Trust = TrustWide
	}
}

// doubtful reports whether a rate that estimates use is not the assumed one, or not known.
func (v *versionCheck) doubtful(i int, r releaseFit) bool {
	const used = 0.1 // of the nodes
	verdict := r.verdict()
	if verdict == Failed || verdict == Heterogeneous {
		return true
	}
	return r.rate.sd > wideRate && float64(v.uses[i]) >= used*float64(v.Nodes)
}

func (r *releaseFit) nodes() int {
	if r.fit == nil {
		return 0
	}
	return r.fit.nodes
}

// verdict fails a rate that is surely not the assumed one, and passes one that surely is about that.
func (r *releaseFit) verdict() Verdict {
	const allowed = 1.1
	switch off := math.Abs(math.Log(r.rate.factor)); {
	case r.nodes() < leastNodes:
		return TooFew
	case off > math.Log(allowed)+middle90*r.rate.sd:
		return Failed
	case r.mixed:
		return Heterogeneous
	case r.rate.sd > wideRate:
		return Unsure
	}
	return Passed
}

// habitLikelihood is how likely a node's evidence is with each habit, up to a factor.
func (m *Model) habitLikelihood(e *Evidence) (l habitShares) {
	s := m.borrow()
	defer m.spaces.Put(s)
	_, h := m.posterior(e, s)
	shares := m.fitOf(e.versions[0]).shares
	for i := range l {
		if shares[i] > 0 {
			l[i] = h.total[i] / shares[i]
		}
	}
	return l
}

// fitHabits returns the shares under which the nodes' evidence is most likely, by expectation
// maximisation, with the default ones as so many nodes more. The node that has a habit the most
// does not count for it: one that does what it likes must not change the others' estimates.
func fitHabits(nodes []habitShares) habitShares {
	const (
		strength, rounds = 200, 50
		// mostSilent bounds a share that stale custody group counts are taken for.
		mostSilent = 0.03
	)
	shares := defaultShares()
	for range rounds {
		next, largest := habitShares{}, habitShares{}
		for i, share := range defaultShares() {
			next[i] = strength * share
		}
		for _, l := range nodes {
			sum := 0.0
			for i := range l {
				sum += shares[i] * l[i]
			}
			for i := range l {
				p := shares[i] * l[i] / math.Max(sum, 1e-300)
				next[i] += p
				largest[i] = math.Max(largest[i], p)
			}
		}
		for _, i := range []habit{everyDuty, silent} {
			next[i], next[byWindow] = next[i]-largest[i], next[byWindow]+largest[i]
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
