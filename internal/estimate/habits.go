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

// rate is by what factor a version's duties show more often than its window says, and the
// relative standard deviation of that factor.
type rate struct{ factor, sd float64 }

// versionFit is what was learned of a client version.
type versionFit struct {
	watched, snapshots rate
	shares             habitShares
	trust              Trust
}

// unprovenSD is the rate's of versions with too few nodes to fit one, where others were fitted.
const unprovenSD = 0.04

// fitOf is what is known of a version.
func (m *Model) fitOf(k versionKey) versionFit {
	if f, ok := m.versions[k]; ok {
		return f
	}
	unproven := rate{factor: 1}
	if m.versions != nil {
		unproven.sd = unprovenSD
	}
	return versionFit{unproven, unproven, m.assumed, TrustAll}
}

// WithVersions is the model with the rates and shares of client versions that Calibrate found.
func (m *Model) WithVersions(versions []VersionCheck) *Model {
	out := m.with(m.params, m.spurious)
	out.versions = map[versionKey]versionFit{}
	for _, v := range versions {
		f := out.fitOf(versionKey{v.Kind, v.Release})
		if v.WatchedError > 0 {
			f.watched = rate{v.WatchedRatio, v.WatchedError}
		}
		if v.SnapshotError > 0 {
			f.snapshots = rate{v.SnapshotRatio, v.SnapshotError}
		}
		if v.EveryDuty > 0 && v.Silent > 0 {
			f.shares = habitShares{1 - v.EveryDuty - v.Silent, v.EveryDuty, v.Silent}
		}
		f.trust = v.Trust
		out.versions[versionKey{v.Kind, v.Release}] = f
	}
	return out
}

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
		if m.versions == nil {
			o.versions = nil
		}
		m.open.model = o
	})
	return m.open.model
}

// Trust says whether the assumed rate applies to a client's version.
func (m *Model) Trust(c eth2.Client) Trust { return m.fitOf(keyOf(c)).trust }

// deviation is how many standard deviations the rate of subscriptions is off, and the
// logarithm of the weight of that.
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

// rateSD is the largest standard deviation of the rates of a pool's versions.
func (m *Model) rateSD(e *Evidence, p pools) (sd float64) {
	for _, c := range p.cells {
		sd = math.Max(sd, m.rateOf(e, c).sd)
	}
	return sd
}

// ownRate is the part of the rate's standard deviation that is the version's, not the network's.
func (m *Model) ownRate(e *Evidence, p pools) float64 {
	sd := m.rateSD(e, p)
	if sd == 0 {
		return 0
	}
	return sd / math.Hypot(sd, m.params.PAggUncertainty)
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
	rates, rateSD := make([]rate, len(p.cells)), m.rateSD(e, p)
	for j, c := range p.cells {
		rates[j] = m.rateOf(e, c)
	}
	everyFactor := 1 / m.params.AggregatorShare()
	if m.params.AggregatorShare() > everyone {
		shares[byWindow], shares[everyDuty] = shares[byWindow]+shares[everyDuty], 0
	}
	deviations := m.deviations(rateSD)
	for _, d := range deviations {
		t := term{habit: byWindow, z: d.z, logWeight: math.Log(shares[byWindow]) + d.logWeight}
		m.setCells(&t, e, p, func(j int) float64 {
			factor := 1 + d.z*math.Hypot(m.params.PAggUncertainty, rates[j].sd)
			if m.versions == nil {
				return math.Max(0.01, factor)
			}
			return rounded(math.Max(0.01, rates[j].factor*factor))
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
