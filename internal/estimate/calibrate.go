package estimate

import (
	"cmp"
	"iter"
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

// Calibration says for each client version whether it behaves as the model assumes.
type Calibration struct {
	Versions []VersionCheck // most nodes first
	byKey    map[versionKey]Trust
}

// VersionCheck are the tests of one client version, as docs/methodology.md names them.
type VersionCheck struct {
	Kind      eth2.ClientKind
	Release   string // empty where the agent does not say it
	Nodes     int
	Behaviour Behaviour `json:"Habits"` // of all nodes; the tracker stores this type
	// Lifetimes (M3): subscriptions last as long, and start when, the window predicts.
	Lifetimes Verdict
	// Dispersion (M1): counts vary as if only aggregators subscribed. AllDuties of
	// Dispersed nodes vary as if every validator did.
	Dispersion           Verdict
	Dispersed, AllDuties int
	// Watched and Snapshots (M2): the attestation subnets alone, of watches and of
	// snapshots, agree with the custody group count where that is exact. The ratios are
	// medians over nodes.
	Watched       Verdict
	Snapshots     Verdict `json:"Looked"` // the tracker stores this type
	WatchedRatio  float64
	SnapshotRatio float64 `json:"LookedRatio"`
	// Large nodes by their attestation subnets; Contradicted of them have a custody group
	// count that says otherwise (M2 too).
	Large, Contradicted int
	Trust               Trust
}

// Unproven reports whether no test had enough nodes.
func (v VersionCheck) Unproven() bool {
	return v.Lifetimes == TooFew && v.Dispersion == TooFew && v.Watched == TooFew && v.Snapshots == TooFew
}

type versionKey struct {
	kind    eth2.ClientKind
	release string
}

func keyOf(c eth2.Client) versionKey { return versionKey{c.Kind, c.Release()} }

// Calibrate tests every client version.
func Calibrate(m *Model, nodes iter.Seq[Node]) *Calibration {
	checks := map[versionKey]*versionCheck{}
	for n := range nodes {
		key := keyOf(n.Client)
		if checks[key] == nil {
			checks[key] = &versionCheck{VersionCheck: VersionCheck{Kind: key.kind, Release: key.release}, windows: candidatesOf(n.Client)}
		}
		checks[key].add(m, n)
	}
	c := &Calibration{byKey: map[versionKey]Trust{}}
	for key, v := range checks {
		v.conclude(m)
		c.Versions = append(c.Versions, v.VersionCheck)
		c.byKey[key] = v.Trust
	}
	slices.SortFunc(c.Versions, func(a, b VersionCheck) int {
		return cmp.Or(cmp.Compare(b.Nodes, a.Nodes), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Release, b.Release))
	})
	return c
}

// Trust is how far to believe a node's attestation subnets, by its client
// version and its own behaviour, summed over its days. A nil Calibration trusts every
// version.
func (c *Calibration) Trust(p Params, client eth2.Client, own Behaviour) Trust {
	if own.AllDuties(p) {
		return TrustCustody
	}
	if c == nil {
		return TrustAll
	}
	return c.byKey[keyOf(client)]
}

// versionCheck accumulates a VersionCheck.
type versionCheck struct {
	VersionCheck
	windows            []candidate
	lifetimes          lifetimes
	watched, snapshots []float64 // ratios to the custody group count
}

func (v *versionCheck) add(m *Model, n Node) {
	v.Nodes++
	e, own := NewEvidence(n.Client, n.Custody), Behaviour{}
	for _, s := range n.Statistics {
		e.Add(s, TrustAll)
		own.Add(s.Behaviour())
	}
	v.Behaviour.Add(own)
	v.lifetimes.add(own)
	if enough, all := own.dispersion(m.params); enough {
		v.Dispersed++
		if all {
			v.AllDuties++
		}
	}
	v.watched = m.againstCustody(v.watched, e, false, n.Custody)
	v.snapshots = m.againstCustody(v.snapshots, e, true, n.Custody)
	m.countLarge(&v.VersionCheck, e, n.Custody)
}

// conclude sets the verdicts.
func (v *versionCheck) conclude(m *Model) {
	if len(v.windows) == 1 {
		v.Lifetimes = v.lifetimes.fits(v.windows[0].window, m.params)
	}
	v.Dispersion = verdict(v.Dispersed >= 5, 2*v.AllDuties <= v.Dispersed)
	v.WatchedRatio, v.Watched = custodyVerdict(v.watched)
	v.SnapshotRatio, v.Snapshots = custodyVerdict(v.snapshots)
	v.Trust = v.trust(v.windows)
}

// trust follows from the verdicts.
func (v VersionCheck) trust(windows []candidate) Trust {
	const enough, wide = 10, 2.2
	switch {
	case v.Dispersion == Failed,
		v.Large >= enough && 2*v.Contradicted > v.Large,
		v.Watched == Failed && (v.WatchedRatio > wide || v.WatchedRatio < 1/wide),
		// Only a window before each duty leaves the counting of SUBSCRIBEs as it is.
		v.Lifetimes == Failed && v.Watched != Passed && (len(windows) > 1 || windows[0].policy != slotsAhead):
		return TrustCustody
	case v.Watched == Failed, v.Lifetimes == Failed && windows[0].policy != slotsAhead:
		return TrustWide
	case v.Snapshots == Failed, v.Lifetimes == Failed:
		return TrustWatched
	}
	return TrustAll
}

// againstCustody appends, for a node whose custody group count is exact, the
// estimate from the attestation subnets of watches or of snapshots over that count.
func (m *Model) againstCustody(ratios []float64, e *Evidence, snapshots bool, c Custody) []float64 {
	const least, duties = 16, 10
	r := c.reading(e.kind)
	if r < least || r >= supernode || len(e.pools) != 1 {
		return ratios
	}
	if e = e.restrict(snapshots); m.expected(e.pools[0], r) < duties {
		return ratios
	}
	return append(ratios, float64(m.Estimate(e).Median)/float64(r))
}

// expected is how many cells v validators would fill if no two filled the same one.
func (m *Model) expected(p pools, v int) (n float64) {
	for _, c := range p.cells {
		n -= float64(c.on+c.off) * m.params.logEmpty(c.cell, 1, 1) * float64(v)
	}
	return n
}

// custodyVerdict is the median of the ratios and whether it is near 1: some nodes keep
// more custody groups than they need.
func custodyVerdict(ratios []float64) (float64, Verdict) {
	const enough, low, high = 10, 0.7, 1.4
	if len(ratios) == 0 {
		return 0, TooFew
	}
	slices.Sort(ratios)
	mid := ratios[len(ratios)/2]
	return mid, verdict(len(ratios) >= enough, mid >= low && mid <= high)
}

// countLarge counts a node whose attestation subnets alone say more validators than
// the largest custody group count stands for.
func (m *Model) countLarge(v *VersionCheck, e *Evidence, c Custody) {
	const beyond = 200
	r := c.reading(e.kind)
	if r == 0 || OmitsExternalValidators(e.kind) || e.nothingFilled() {
		return
	}
	alone := e.Clone()
	alone.custody = Custody{}
	s := m.borrow()
	defer m.spaces.Put(s)
	if _, low, _ := quantiles(m.grid, m.posterior(alone, s), 1); low < beyond {
		return
	}
	v.Large++
	if r < supernode {
		v.Contradicted++
	}
}
