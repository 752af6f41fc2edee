package report

import (
	"maps"
	"slices"

	"github.com/chainbound/valtrack/internal/estimate"
	"github.com/chainbound/valtrack/internal/tracker"
)

// Calibration has the tests of the client versions against the model's assumptions. Lists
// are never nil.
type Calibration struct {
	At       int64             `json:"at"` // Unix milliseconds; 0 for never
	Versions []VersionVerdicts `json:"versions"`
	// Total is M4: the sum of all nodes against the active validators. PerActive is their ratio,
	// with its 90 % interval; Multiplicity is the same by an old name.
	Total            string  `json:"total"`
	PerActive        float64 `json:"attachments_per_active"`
	PerActiveLow     float64 `json:"attachments_per_active_low"`
	PerActiveHigh    float64 `json:"attachments_per_active_high"`
	Multiplicity     float64 `json:"multiplicity"`
	MultiplicityLow  float64 `json:"multiplicity_low"`
	MultiplicityHigh float64 `json:"multiplicity_high"`
	// Prior is the share of nodes in each band of validators, Spurious how many
	// short-lived subnets an observation shows that no duty explains, by client: as fitted
	// to the nodes of the last day.
	Prior    []PriorBand    `json:"prior"`
	Spurious []SpuriousRate `json:"spurious"`
	// Known is M5, for nodes whose validators somebody knows; absent without any.
	Known *KnownNodes `json:"known,omitempty"`
}

// PriorBand is a range of validators, both ends included.
type PriorBand struct {
	Low   int     `json:"low"`
	High  int     `json:"high"`
	Share float64 `json:"share"`
}

// SpuriousRate is the rate of one client. Clients that are not listed have the default.
type SpuriousRate struct {
	Client         string  `json:"client"`
	PerObservation float64 `json:"per_observation"`
}

// VersionVerdicts are those of one client version: each is passed, failed, heterogeneous (nodes
// of more than one kind), unsure (not known to within a tenth) or too few.
type VersionVerdicts struct {
	Client  string `json:"client"`
	Version string `json:"version"` // empty where the agent has none
	Nodes   int    `json:"nodes"`
	// Dispersion is M1; AllDuties of Dispersed nodes subscribe for every duty.
	Dispersion string `json:"dispersion"`
	Dispersed  int    `json:"dispersed"`
	AllDuties  int    `json:"all_duties"`
	// Watched and Looked are M2: the ratios are the rates at which watches, and snapshots,
	// show duties over the assumed ones, by the nodes whose custody groups say how many there are.
	Watched      string  `json:"watched"`
	WatchedRatio float64 `json:"watched_ratio"`
	Looked       string  `json:"looked"`
	LookedRatio  float64 `json:"looked_ratio"`
	Large        int     `json:"large"`
	Contradicted int     `json:"contradicted"`
	// Lifetimes is M3; LifetimeCounts are subscriptions by their slots: 0, 1, 2, 3, 4,
	// 5-8, 9-16, 17-32, 33-64, more.
	Lifetimes      string                        `json:"lifetimes"`
	LifetimeCounts [estimate.LifetimeBins]uint32 `json:"lifetime_counts"`
	// WatchedError and LookedError are the relative standard deviations of those ratios, by
	// which the rates are corrected, WatchedSpread and LookedSpread those of the rates of the
	// version's nodes. WatchedNodes and LookedNodes are how many nodes the ratios are from; with
	// few, they are mostly those of the client's other versions. EveryDuty and Silent are the
	// shares of nodes that show every duty, and none.
	WatchedError  float64 `json:"watched_error"`
	LookedError   float64 `json:"looked_error"`
	WatchedSpread float64 `json:"watched_spread"`
	LookedSpread  float64 `json:"looked_spread"`
	WatchedNodes  int     `json:"watched_nodes"`
	LookedNodes   int     `json:"looked_nodes"`
	EveryDuty     float64 `json:"every_duty"`
	Silent        float64 `json:"silent"`
	// Flagged versions show duties at other rates than assumed, or their rates are not known to
	// within a tenth. Unproven ones had too few nodes for any test: their rates are those of the
	// client's other versions, if it has any.
	Flagged  bool   `json:"flagged"`
	Unproven bool   `json:"unproven"`
	Used     string `json:"used"`
}

// NewCalibration has the last tests of the client versions. state may be nil.
func NewCalibration(state *tracker.State) Calibration {
	out := Calibration{Versions: []VersionVerdicts{}, Total: estimate.TooFew.String(), Prior: []PriorBand{}, Spurious: []SpuriousRate{}}
	if state == nil {
		return out
	}
	total, learned := state.Totals(), state.Learned
	out.At, out.Total, out.Multiplicity = learned.At, total.Verdict, total.Ratio
	active := float64(max(1, total.ActiveValidators))
	out.MultiplicityLow, out.MultiplicityHigh = total.Low/active, total.High/active
	out.PerActive, out.PerActiveLow, out.PerActiveHigh = out.Multiplicity, out.MultiplicityLow, out.MultiplicityHigh
	for _, v := range learned.Versions {
		out.Versions = append(out.Versions, VersionVerdicts{
			Client: string(v.Kind), Version: v.Release, Nodes: v.Nodes,
			Dispersion: v.Dispersion.String(), Dispersed: v.Dispersed, AllDuties: v.AllDuties,
			Watched: v.Watched.String(), WatchedRatio: v.WatchedRatio, Looked: v.Snapshots.String(), LookedRatio: v.SnapshotRatio,
			WatchedError: v.WatchedError, LookedError: v.SnapshotError, EveryDuty: v.EveryDuty, Silent: v.Silent,
			Large: v.Large, Contradicted: v.Contradicted, Lifetimes: v.Lifetimes.String(), LifetimeCounts: v.Behaviour.Lifetimes,
			WatchedSpread: v.WatchedSpread, LookedSpread: v.SnapshotSpread, WatchedNodes: v.WatchedNodes, LookedNodes: v.SnapshotNodes,
			Flagged: v.Trust != estimate.TrustAll && !v.Unproven(), Unproven: v.Unproven(), Used: used(v.Trust, v.Unproven()),
		})
	}
	for _, b := range learned.Prior.Bands {
		out.Prior = append(out.Prior, PriorBand{b.Low, b.High, b.Share})
	}
	for _, kind := range slices.Sorted(maps.Keys(learned.Spurious)) {
		out.Spurious = append(out.Spurious, SpuriousRate{string(kind), learned.Spurious[kind]})
	}
	return out
}

func used(t estimate.Trust, unproven bool) string {
	if t == estimate.TrustAll || unproven {
		return "everything"
	}
	return "everything, at fitted rates"
}
