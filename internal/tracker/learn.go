package tracker

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/chainbound/valtrack/internal/estimate"
	"github.com/chainbound/valtrack/internal/eth2"
)

const (
	// learnFrom bounds the peers that a calibration and a fit use.
	learnFrom = 20_000
	// maxVersions bounds the client versions whose tests are kept: peers choose them.
	maxVersions = 200
)

// Learned is what was learned from all peers together.
type Learned struct {
	At       int64                   `json:"at"` // Unix milliseconds; 0 before the first time
	Prior    estimate.Prior          `json:"prior"`
	Spurious estimate.Spurious       `json:"spurious"`
	Versions []estimate.VersionCheck `json:"versions"`
	Former   float64                 `json:"former,omitempty"` // see estimate.Learned
	Params   ModelParams             `json:"params"`
	// Multiplicity of the nodes that counted then; not known in what earlier versions learned.
	Multiplicity estimate.Multiplicity `json:"multiplicity,omitzero"`
}

// ModelParams are estimate.Params as they are stored.
type ModelParams struct {
	ActiveValidators uint64  `json:"active_validators"`
	PAggUncertainty  float64 `json:"p_agg_uncertainty"`
	// Balance is zero where it was not known, or an earlier version wrote.
	Balance       estimate.Balance `json:"balance,omitzero"`
	GenesisMS     int64            `json:"genesis_ms"`
	SlotMS        int64            `json:"slot_ms"`
	SlotsPerEpoch uint64           `json:"slots_per_epoch"`
	// Of the preset: 0 where an older version wrote them and means mainnet's.
	SyncPeriod           uint64 `json:"epochs_per_sync_period,omitempty"`
	SyncCommitteeSize    uint64 `json:"sync_committee_size,omitempty"`
	MaxCommitteesPerSlot uint64 `json:"max_committees_per_slot,omitempty"`
	TargetCommitteeSize  uint64 `json:"target_committee_size,omitempty"`
}

func modelParams(p estimate.Params) ModelParams {
	c, preset := p.Clock, p.Preset
	return ModelParams{
		p.ActiveValidators, p.PAggUncertainty, p.Balance, c.Genesis.UnixMilli(), c.SlotDuration.Milliseconds(), c.SlotsPerEpoch,
		preset.EpochsPerSyncCommitteePeriod, preset.SyncCommitteeSize, preset.MaxCommitteesPerSlot, preset.TargetCommitteeSize,
	}
}

// Params are those that the last estimates were made with.
func (p ModelParams) Params() estimate.Params {
	clock := eth2.Clock{Genesis: time.UnixMilli(p.GenesisMS), SlotDuration: time.Duration(max(1, p.SlotMS)) * time.Millisecond, SlotsPerEpoch: max(1, p.SlotsPerEpoch)}
	mainnet := eth2.MainnetPreset()
	preset := eth2.Preset{
		MaxCommitteesPerSlot:         cmp.Or(p.MaxCommitteesPerSlot, mainnet.MaxCommitteesPerSlot),
		TargetCommitteeSize:          cmp.Or(p.TargetCommitteeSize, mainnet.TargetCommitteeSize),
		SyncCommitteeSize:            cmp.Or(p.SyncCommitteeSize, mainnet.SyncCommitteeSize),
		EpochsPerSyncCommitteePeriod: cmp.Or(p.SyncPeriod, mainnet.EpochsPerSyncCommitteePeriod),
	}
	return estimate.Params{Clock: clock, Preset: preset, ActiveValidators: p.ActiveValidators, PAggUncertainty: p.PAggUncertainty, Balance: p.Balance}
}

// learner has the model, and learns it from the peers. It does not change them.
type learner struct {
	params estimate.Params // the network's now
	// learned: its lists and maps are replaced, not changed, since readers have them.
	learned Learned
	model   *estimate.Model // of learned, under learned.Params
	fitted  int             // the number of peers in the last fit; 0 before the first
}

// remodel makes the model from what is learned, for the current parameters.
func (l *learner) remodel() {
	l.model = l.learned.model(l.params)
	l.learned.Params = modelParams(l.params)
}

// fit learns prior, spurious rates and client versions from peers. It does not begin with
// what was learned before, so that a rebuild gives the same result.
func (l *learner) fit(peers []*Peer, now time.Time) {
	base := estimate.NewModel(l.params, estimate.DefaultPrior(), nil)
	evidence, since := make([]*estimate.Evidence, 0, len(peers)), map[*Peer]int64{}
	for _, p := range peers {
		e, out, _ := evidenceOf(p, base)
		evidence = append(evidence, e.Close())
		if out.Since > 0 {
			since[p] = out.Since
		}
	}
	got := estimate.Learn(l.params, evidence, byVersion(calibrating(peers), since))
	if slices.ContainsFunc(got.Prior.Bands, func(b estimate.Band) bool { return !finite(b.Share) }) {
		got.Prior = l.learned.Prior
	}
	l.fitted = len(peers)
	l.learned = Learned{At: now.UnixMilli(), Prior: got.Prior, Spurious: got.Spurious, Versions: capped(got.Versions), Former: got.Former}
	l.remodel()
}

// model is the model with what was learned.
func (l *Learned) model(p estimate.Params) *estimate.Model {
	return estimate.Learned{Prior: l.Prior, Spurious: l.Spurious, Versions: l.Versions, Former: l.Former}.Model(p)
}

// OtherVersions is the client under which Learned has the sum of the versions with the fewest
// nodes.
const OtherVersions = "other"

// capped replaces the versions with the fewest nodes by their sum.
func capped(versions []estimate.VersionCheck) []estimate.VersionCheck {
	if len(versions) <= maxVersions {
		return versions
	}
	rest := estimate.VersionCheck{Kind: OtherVersions}
	for _, v := range versions[maxVersions-1:] {
		rest.Nodes += v.Nodes
		rest.Behaviour.Add(v.Behaviour)
	}
	return append(slices.Clone(versions[:maxVersions-1]), rest)
}

// estimated is what recomputing a peer's estimate gave.
type estimated struct {
	peer     *Peer
	estimate *Estimate
	damaged  bool // some of its days cannot be decoded
}

func (l *learner) estimated(p *Peer) estimated {
	e, out, undecodable := evidenceOf(p, l.model)
	out.Estimate = l.model.Estimate(e)
	if out.Since > 0 {
		out.Flags |= estimate.FlagMoved
	}
	if !finite(out.Mean, out.Variance, out.Hidden, out.PValidator, out.Stake.Mean) { // the old one is better, and JSON has no such numbers
		return estimated{p, p.Estimate, undecodable > 0}
	}
	return estimated{p, &out, undecodable > 0}
}

// amended is the peer, or its draft, with the estimate, and without days that cannot be
// decoded.
func (e estimated) amended(p *Peer) *Peer {
	next := *p
	next.Estimate = e.estimate
	if e.damaged {
		next.days = decodable(p.days)
		next.LostDays += uint32(len(p.days) - len(next.days))
	}
	return &next
}

// moved reports whether the parameters have changed since the model was made.
func (l *learner) moved() bool {
	a, b := l.params, l.model.Params()
	return a.ActiveValidators != b.ActiveValidators || a.PAggUncertainty != b.PAggUncertainty || a.Balance != b.Balance
}

// movedFar reports whether they have changed so that estimates differ by more than they
// are rounded to. Smaller changes wait for the next hour.
func (l *learner) movedFar() bool {
	const little = 0.002
	a, b := l.params, l.model.Params()
	relative := math.Abs(a.AggregatorShare()/b.AggregatorShare() - 1)
	return a.Balance.Known() != b.Balance.Known() || a.CommitteesPerSlot() != b.CommitteesPerSlot() || a.PAggUncertainty != b.PAggUncertainty || relative > little
}

// recent lists the peers to learn from: those of the last day, of each network prefix as
// many as count, by id. Of more than learnFrom it takes the first: ids are hashes of keys,
// and as good as drawn at random, but for those of a prefix that made them by the million.
func recent(peers map[string]*Peer) []*Peer {
	nodes := limited(slices.DeleteFunc(metLately(peers), func(p *Peer) bool { return p.Observations == 0 }))
	slices.SortFunc(nodes, func(a, b *Peer) int { return cmp.Compare(a.ID, b.ID) })
	return nodes[:min(len(nodes), learnFrom)]
}
