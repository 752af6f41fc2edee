package estimate

import (
	"math"

	"github.com/chainbound/valtrack/internal/eth2"
)

// habit is how a node shows the duties of its validators.
type habit uint8

const (
	byWindow  habit = iota // those of aggregators, as its client's window says
	everyDuty              // all of them
	silent                 // none
	habits
	byChoice // all subnets are on whatever its duties, see shareAllAttnets
)

// habitShares are the shares of nodes with each habit.
type habitShares [habits]float64

// defaultShares are assumed of a version until its nodes show others.
func defaultShares() habitShares { return habitShares{0.992, 0.005, 0.003} }

// everyone is an aggregators' share above which every duty and those of aggregators do not
// differ.
const everyone = 0.7

// versionKey is a client version.
type versionKey struct {
	kind    eth2.ClientKind
	release string
}

func keyOf(c eth2.Client) versionKey { return versionKey{c.Kind, c.Release()} }

// versionFit is what was learned of a client version.
type versionFit struct {
	watched, snapshots rate
	shares             habitShares
	trust              Trust
}

// fitOf is what is known of a version: of one that was not met, what is known of its client.
func (m *Model) fitOf(k versionKey) versionFit {
	if f, ok := m.versions[k]; ok {
		return f
	}
	if f, ok := m.clients[k.kind]; ok {
		return f
	}
	if m.versions == nil {
		return versionFit{rate{factor: 1}, rate{factor: 1}, m.assumed, TrustAll}
	}
	unproven := rate{1, unprovenSD, unprovenSpread}
	return versionFit{unproven, unproven, m.assumed, TrustWide}
}

// WithVersions is the model with the rates and shares of client versions that Calibrate found,
// those with the most nodes first. Another version of their clients is taken for a new release.
func (m *Model) WithVersions(versions []VersionCheck) *Model {
	out := m.with(m.params, m.spurious)
	out.versions, out.clients = map[versionKey]versionFit{}, map[eth2.ClientKind]versionFit{}
	for _, v := range versions {
		f := out.fitOf(versionKey{v.Kind, v.Release})
		if v.WatchedError > 0 {
			f.watched = rate{v.WatchedRatio, v.WatchedError, v.WatchedSpread}
		}
		if v.SnapshotError > 0 {
			f.snapshots = rate{v.SnapshotRatio, v.SnapshotError, v.SnapshotSpread}
		}
		if v.EveryDuty > 0 && v.Silent > 0 {
			f.shares = habitShares{1 - v.EveryDuty - v.Silent, v.EveryDuty, v.Silent}
		}
		f.trust = v.Trust
		out.versions[versionKey{v.Kind, v.Release}] = f
		if _, ok := out.clients[v.Kind]; !ok {
			out.clients[v.Kind] = versionFit{f.watched.ofNewRelease(), f.snapshots.ofNewRelease(), m.assumed, f.trust}
		}
	}
	return out
}

// ofNewRelease is the rate of a release of the same client.
func (r rate) ofNewRelease() rate { return rate{r.factor, math.Hypot(r.sd, newReleaseSD), r.spread} }

// undecided is the model without what was learned of how many nodes have which number of
// validators, and of how many show every duty: what a node's own evidence says of that.
func (m *Model) undecided() *Model {
	m.open.once.Do(func() {
		o := m.WithVersions(nil)
		o.logPrior = make([]float64, len(m.grid))
		for i, v := range m.grid {
			o.logPrior[i] = math.Log(width(m.grid, i) / math.Max(1, float64(v)))
		}
		o.assumed = habitShares{0.5, 0.499, 0.001}
		for k, f := range m.versions {
			f.shares = o.assumed
			o.versions[k] = f
		}
		for k, f := range m.clients {
			f.shares = o.assumed
			o.clients[k] = f
		}
		if m.versions == nil {
			o.versions = nil
		}
		m.open.model = o
	})
	return m.open.model
}

// Trust says whether the assumed rate applies to a client's version.
func (m *Model) Trust(c eth2.Client) Trust { return m.fitOf(keyOf(c)).trust }

// deviation is how many standard deviations the logarithm of the rate of subscriptions is off,
// and the logarithm of the weight of that.
type deviation struct{ z, logWeight float64 }

// littleSD is a standard deviation of the rate below which no deviations are distinguished.
const littleSD = 0.01

// deviations are those to distinguish, for a standard deviation of the rate.
func (m *Model) deviations(sd float64) []deviation {
	var out []deviation
	switch {
	case m.params.PAggUncertainty > 0:
		for _, z := range []float64{0, -1.5, -0.75, 0.75, 1.5} {
			out = append(out, deviation{z, -z * z / 2})
		}
	case sd >= littleSD && !m.certain:
		for _, z := range []float64{0, -1.5, 1.5} {
			out = append(out, deviation{z, -z * z / 2})
		}
	default:
		return []deviation{{}}
	}
	sum := 0.0
	for _, d := range out {
		sum += math.Exp(d.logWeight)
	}
	for i := range out {
		out[i].logWeight -= math.Log(sum)
	}
	return out
}

// rateOf is that of the version of some cells.
func (m *Model) rateOf(e *Evidence, c pool) rate {
	f := m.fitOf(e.versions[c.version])
	if c.snapshot {
		return f.snapshots
	}
	return f.watched
}

// rateSD is how far the rate of one node may be from its release's factor: as the factor is not
// known exactly, as nodes differ, and as the number of active validators may be off.
func (m *Model) rateSD(r rate) float64 {
	return math.Hypot(math.Hypot(r.sd, r.spread), m.params.PAggUncertainty)
}

// CellRate is θ, the chance that a given validator fills a cell, on average over the observed
// cells of the window that the node most likely has, and by how much that may be off for one node,
// as a relative standard deviation. Both are 0 without cells.
func (m *Model) CellRate(e *Evidence) (theta, sd float64) {
	if e.sum(); len(e.pools) == 0 {
		return 0, 0
	}
	cells := 0.0
	for _, c := range e.pools[0].cells {
		r, n := m.rateOf(e, c), float64(c.on)+float64(c.off)
		theta -= n * math.Expm1(r.factor*m.cellRate(c.cell))
		sd, cells = math.Max(sd, m.rateSD(r)), cells+n
	}
	return theta / math.Max(1, cells), sd
}

// ownRate is the part of that standard deviation that the nodes of a version have in common and
// those of other versions do not.
func (m *Model) ownRate(e *Evidence, p pools) (part float64) {
	for _, c := range p.cells {
		if r := m.rateOf(e, c); r.sd > 0 {
			part = math.Max(part, r.sd/m.rateSD(r))
		}
	}
	return part
}

// littleRate is the error of the rate that the nodes of a version have in common, where it and
// their spread are so small that no deviations are distinguished; 0 elsewhere.
func (m *Model) littleRate(e *Evidence, p pools) (sd float64) {
	whole := 0.0
	for _, c := range p.cells {
		r := m.rateOf(e, c)
		sd, whole = math.Max(sd, r.sd), math.Max(whole, m.rateSD(r))
	}
	if whole >= littleSD {
		return 0
	}
	return sd
}

// rounded makes the rates of many versions share tables: to 1 %.
func rounded(factor float64) float64 {
	const step = 0.01
	return math.Exp(math.Round(math.Log(factor)/step) * step)
}

// terms are the explanations of a pool's cells: each habit, and for that of the window each
// deviation of the rate.
func (m *Model) terms(e *Evidence, p pools) (terms []term) {
	shares := m.fitOf(e.versions[0]).shares
	rates, sds, most := make([]rate, len(p.cells)), make([]float64, len(p.cells)), 0.0
	for j, c := range p.cells {
		rates[j] = m.rateOf(e, c)
		sds[j] = m.rateSD(rates[j])
		most = math.Max(most, sds[j])
	}
	everyFactor := 1 / m.params.AggregatorShare()
	if m.params.AggregatorShare() > everyone {
		shares[byWindow], shares[everyDuty] = shares[byWindow]+shares[everyDuty], 0
	}
	for _, d := range m.deviations(most) {
		t := term{habit: byWindow, z: d.z, logWeight: math.Log(shares[byWindow]) + d.logWeight}
		m.setCells(&t, e, p, func(j int) float64 {
			if m.versions == nil {
				return math.Max(0.01, 1+d.z*sds[j])
			}
			return rounded(rates[j].factor * math.Exp(d.z*sds[j]))
		})
		terms = append(terms, t)
	}
	if shares[everyDuty] > 0 {
		t := term{habit: everyDuty, logWeight: math.Log(shares[everyDuty]) + e.everyDuty(m.params)}
		m.setCells(&t, e, p, func(j int) float64 { return everyFactor * rounded(rates[j].factor) })
		terms = append(terms, t)
	}
	terms = append(terms, term{habit: silent, logWeight: math.Log(shares[silent]) + m.logSpurious(e, p)})
	if e.fullByDuties() && e.fullness.mostlyFull() {
		terms = append(terms, term{habit: byChoice, logWeight: math.Log(shareAllAttnets / (1 - shareAllAttnets))})
	}
	return terms
}

func (m *Model) setCells(t *term, e *Evidence, p pools, factor func(i int) float64) {
	t.tables, t.cells = make([]*table, len(p.cells)), p.cells
	spurious := m.spuriousOf(e.kind)
	for j, c := range p.cells {
		t.tables[j] = m.cellTable(tableKey{c.cell, spurious, factor(j)})
	}
}

// logSpurious is the likelihood of cells that no duty fills, as a logarithm.
func (m *Model) logSpurious(e *Evidence, p pools) (sum float64) {
	spurious := m.spuriousOf(e.kind)
	for _, c := range p.cells {
		eps := spurious / m.params.perObservation(c.cell)
		sum += float64(c.on)*math.Log(eps) + float64(c.off)*math.Log1p(-eps)
	}
	return sum
}
