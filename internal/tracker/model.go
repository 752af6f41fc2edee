package tracker

import (
	"cmp"
	"iter"
	"log/slog"
	"maps"
	"math"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/chainbound/valtrack/internal/estimate"
	"github.com/chainbound/valtrack/internal/eth2"
)

// Estimate is what is thought of one peer.
type Estimate struct {
	estimate.Estimate
	EpochsWatched float64        `json:"epochs_watched"` // that the watches in it cover
	AllSubnets    bool           `json:"all_subnets"`    // its attestation subnets tell nothing
	Trust         estimate.Trust `json:"trust"`
}

// Learned is what all peers together tell.
type Learned struct {
	At       int64                   `json:"at"` // Unix milliseconds; 0 before the first time
	Prior    estimate.Prior          `json:"prior"`
	Spurious estimate.Spurious       `json:"spurious"`
	Versions []estimate.VersionCheck `json:"versions"`
	Params   ModelParams             `json:"params"`
}

// ModelParams are estimate.Params as they are stored.
type ModelParams struct {
	ActiveValidators uint64  `json:"active_validators"`
	PAggUncertainty  float64 `json:"p_agg_uncertainty"`
	GenesisMS        int64   `json:"genesis_ms"`
	SlotMS           int64   `json:"slot_ms"`
	SlotsPerEpoch    uint64  `json:"slots_per_epoch"`
	// Of the preset: 0 where an older version wrote them and means mainnet's.
	SyncPeriod           uint64 `json:"epochs_per_sync_period,omitempty"`
	SyncCommitteeSize    uint64 `json:"sync_committee_size,omitempty"`
	MaxCommitteesPerSlot uint64 `json:"max_committees_per_slot,omitempty"`
	TargetCommitteeSize  uint64 `json:"target_committee_size,omitempty"`
}

func modelParams(p estimate.Params) ModelParams {
	c, preset := p.Clock, p.Preset
	return ModelParams{
		p.ActiveValidators, p.PAggUncertainty, c.Genesis.UnixMilli(), c.SlotDuration.Milliseconds(), c.SlotsPerEpoch,
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
	return estimate.Params{Clock: clock, Preset: preset, ActiveValidators: p.ActiveValidators, PAggUncertainty: p.PAggUncertainty}
}

// learnFrom bounds the peers that a calibration and a fit look at.
const learnFrom = 20_000

// remodel makes the model from what is learned, for the present parameters.
func (t *Tracker) remodel() {
	if was := t.learned.Params.Params(); was.ActiveValidators > 0 && !was.SameDuties(t.params) {
		t.dropStatistics(was)
	}
	t.unwritten.learned = true
	t.model, t.stale = estimate.NewModel(t.params, t.learned.Prior, t.learned.Spurious), false
	t.learned.Params = modelParams(t.params)
}

// dropStatistics forgets what was reduced under another number of committees a slot, or
// other epochs or sync committee periods: its cells are others. It stays in the datasets. The caller holds mu, or is alone.
func (t *Tracker) dropStatistics(was estimate.Params) {
	n := 0
	for id, p := range t.peers {
		if len(p.days) == 0 {
			continue
		}
		next := *p
		next.days = nil
		t.peers[id], t.unwritten.peers[id] = &next, true
		n++
	}
	for _, d := range t.drafts {
		d.days, d.statistics = nil, nil
	}
	t.live = 0
	if n > 0 {
		t.cfg.Log.Warn("dropped what the peers' subnets showed, as the network's committees have changed; 'valtrack rebuild' reads what is in the datasets",
			slog.Uint64("committees_per_slot", t.params.CommitteesPerSlot()), slog.Uint64("before", was.CommitteesPerSlot()), slog.Int("peers", n))
	}
}

// learn calibrates the client versions, refits spurious rates and prior, and makes all
// estimates with them.
func (t *Tracker) learn() {
	start := time.Now()
	t.mu.Lock()
	t.remodel()
	base := estimate.NewModel(t.params, estimate.DefaultPrior(), nil)
	t.mu.Unlock()
	nodes := t.recent()
	calibration := estimate.Calibrate(base, byVersion(nodes)) // not what was learned: a rebuild has to find the same
	t.calibrated, t.learnedOf = calibration, len(nodes)
	evidence := make([]*estimate.Evidence, 0, len(nodes))
	for _, p := range nodes {
		e, _ := t.evidence(p)
		evidence = append(evidence, e.Close())
	}
	spurious := estimate.FitSpurious(base, evidence)
	prior := estimate.FitPrior(estimate.NewModel(base.Params(), estimate.DefaultPrior(), spurious), evidence)
	if slices.ContainsFunc(prior.Bands, func(b estimate.Band) bool { return !finite(b.Share) }) {
		prior = t.learned.Prior
	}
	t.mu.Lock()
	t.learned.At, t.learned.Prior, t.learned.Spurious, t.learned.Versions = t.now().UnixMilli(), prior, spurious, capped(calibration.Versions)
	t.remodel()
	t.mu.Unlock()
	t.evict()
	for id, p := range t.peers {
		if p.Observations > 0 {
			t.changed[id] = time.Time{}
		}
	}
	t.estimateChanged(true)
	t.cfg.Log.Debug("learned from all peers", slog.Int("peers", len(nodes)), slog.Duration("took", time.Since(start)))
}

// maxVersions bounds the client versions whose tests are kept: peers choose them.
const maxVersions = 200

// capped makes one of those with the fewest nodes.
func capped(versions []estimate.VersionCheck) []estimate.VersionCheck {
	if len(versions) <= maxVersions {
		return versions
	}
	rest := estimate.VersionCheck{Kind: "other"}
	for _, v := range versions[maxVersions-1:] {
		rest.Nodes += v.Nodes
		rest.Habits.Add(v.Habits)
	}
	return append(slices.Clone(versions[:maxVersions-1]), rest)
}

// refresh makes the estimates of changed peers that are due, or learns anew when the
// parameters moved or there are many more nodes.
func (t *Tracker) refresh(all bool) {
	t.mu.RLock()
	moved := t.stale && differ(t.params, t.model.Params())
	t.mu.RUnlock()
	switch {
	case t.calibrated == nil && len(t.peers) > 0, moved, t.grown():
		t.learn()
	default:
		t.estimateChanged(all)
	}
}

// grown reports whether there are half as many nodes again as were learned from: the
// first minutes of a crawl know a few of them.
func (t *Tracker) grown() bool {
	return 2*len(t.recent()) >= 3*max(1, t.learnedOf)
}

// learnedLately reports whether to learn again would say the same.
func (t *Tracker) learnedLately() bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.calibrated != nil && !t.stale && t.now().UnixMilli()-t.learned.At < t.refreshEvery().Milliseconds()
}

// recent gives the peers to learn from: those of the last day.
func (t *Tracker) recent() []*Peer {
	newest := int64(0)
	for _, p := range t.peers {
		newest = max(newest, p.LastHandshake)
	}
	var nodes []*Peer
	for _, p := range t.peers {
		if p.Observations > 0 && p.LastHandshake >= newest-countedFor.Milliseconds() {
			nodes = append(nodes, p)
		}
	}
	// Peer ids are keys: their order is as good as drawn.
	slices.SortFunc(nodes, func(a, b *Peer) int { return cmp.Compare(a.ID, b.ID) })
	return nodes[:min(len(nodes), learnFrom)]
}

// byVersion gives for each peer what the client version that it runs now has shown.
func byVersion(peers []*Peer) iter.Seq[estimate.Node] {
	return func(yield func(estimate.Node) bool) {
		for _, p := range peers {
			n := estimate.Node{Client: clientOf(p.Client), Custody: p.Custody}
			for _, d := range p.days {
				if *d.client == n.Client {
					if s, err := d.decode(); err == nil {
						n.Statistics = append(n.Statistics, s)
					}
				}
			}
			if !yield(n) {
				return
			}
		}
	}
}

// evidence sums a peer's days, each as far as its client version is trusted.
func (t *Tracker) evidence(p *Peer) (*estimate.Evidence, Estimate) {
	params := t.model.Params()
	return evidenceOf(p, params, func(c eth2.Client, own estimate.Habits) estimate.Trust { return t.calibrated.Trust(params, c, own) })
}

func evidenceOf(p *Peer, params estimate.Params, trusted func(eth2.Client, estimate.Habits) estimate.Trust) (*estimate.Evidence, Estimate) {
	out := Estimate{AllSubnets: p.Attnets.Count() == eth2.AttestationSubnetCount}
	e := estimate.NewEvidence(clientOf(p.Client), p.Custody)
	statistics := make([]*estimate.Statistics, len(p.days))
	habits := map[eth2.Client]estimate.Habits{}
	for i, d := range p.days {
		s, err := d.decode()
		if err != nil {
			continue // damaged
		}
		statistics[i] = s
		h := habits[*d.client]
		h.Add(s.Habits())
		habits[*d.client] = h
	}
	watched := uint64(0)
	for i, d := range p.days {
		s := statistics[i]
		if s == nil {
			continue
		}
		trust := trusted(*d.client, habits[*d.client])
		e.Add(s, trust)
		if *d.client == clientOf(p.Client) {
			out.Trust = max(out.Trust, trust)
		}
		watched += s.WatchedSlots()
	}
	out.AllSubnets = out.AllSubnets || e.AllSubnets()
	out.EpochsWatched = float64(watched) / float64(max(1, params.Clock.SlotsPerEpoch))
	return e, out
}

// due reports whether a changed peer is to have its estimate made anew. A visit each
// epoch hardly moves it, so the next visit's is waited for, which writes the peer anyway,
// but not for long.
func (t *Tracker) due(id string, since time.Time) bool {
	if p := t.peers[id]; p == nil || p.Estimate == nil {
		return true
	}
	waited := t.now().Sub(since)
	return waited >= stale*t.refreshEvery() || waited >= stale/2*t.refreshEvery() && t.unwritten.peers[id]
}

// estimateChanged makes the estimates of changed peers, or only of those that are due,
// on all processors.
func (t *Tracker) estimateChanged(all bool) {
	ids := make(chan string)
	fresh := make([]map[string]*Peer, runtime.GOMAXPROCS(0))
	var workers sync.WaitGroup
	for i := range fresh {
		fresh[i] = map[string]*Peer{}
		workers.Go(func() {
			for id := range ids {
				if p := t.peers[id]; p != nil && p.Observations > 0 {
					fresh[i][id] = t.estimated(p)
				}
			}
		})
	}
	for id, since := range t.changed {
		if all || t.due(id, since) {
			ids <- id
			delete(t.changed, id)
		}
	}
	close(ids)
	workers.Wait()
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, peers := range fresh {
		for id := range peers {
			t.unwritten.peers[id] = true
		}
		maps.Copy(t.peers, peers)
	}
}

// estimated is the peer with its estimate made anew.
func (t *Tracker) estimated(p *Peer) *Peer {
	e, out := t.evidence(p)
	out.Estimate = t.model.Estimate(e)
	if !finite(out.Mean, out.Variance, out.PValidator, out.Stake.Mean) {
		return p // better an old one than none, and JSON has no such numbers
	}
	next := *p
	next.Estimate = &out
	return &next
}

func finite(numbers ...float64) bool {
	return !slices.ContainsFunc(numbers, func(n float64) bool { return math.IsNaN(n) || math.IsInf(n, 0) })
}

// evict forgets peers that were not heard of for long, what is beyond maxPeers, and old
// addresses.
func (t *Tracker) evict() {
	t.mu.Lock()
	defer t.mu.Unlock()
	oldest := t.now().Add(-forgetAfter).UnixMilli()
	var gone []*Peer
	for _, p := range t.peers {
		if max(p.LastSeen, p.LastVisit) < oldest {
			gone = append(gone, p)
		}
	}
	if over := len(t.peers) - len(gone) - t.maxPeers; over > 0 {
		all := slices.DeleteFunc(slices.Collect(maps.Values(t.peers)), func(p *Peer) bool { return max(p.LastSeen, p.LastVisit) < oldest })
		slices.SortFunc(all, func(a, b *Peer) int {
			return cmp.Or(cmp.Compare(min(a.Observations, 1), min(b.Observations, 1)), cmp.Compare(a.LastSeen, b.LastSeen))
		})
		gone = append(gone, all[:over]...)
	}
	for _, p := range gone {
		delete(t.peers, p.ID)
		delete(t.changed, p.ID)
		t.unwritten.peers[p.ID] = true
	}
	before := t.now().Add(-forgetAddresses).UnixMilli()
	for id, p := range t.peers {
		if next := p.withoutAddresses(before); next != p {
			t.peers[id], t.unwritten.peers[id] = next, true
		}
	}
}

// differ reports whether two counts of active validators make estimates differ by more
// than they are rounded to; what is less waits for the next hour.
func differ(a, b estimate.Params) bool {
	const little = 0.002
	relative := math.Abs(a.AggregatorShare()/b.AggregatorShare() - 1)
	return a.CommitteesPerSlot() != b.CommitteesPerSlot() || a.PAggUncertainty != b.PAggUncertainty || relative > little
}
