package report

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
)

// Accuracy compares the estimates with a devnet's truth. Lists are never nil.
type Accuracy struct {
	File string `json:"file"`
	// Nodes can complete a handshake; of these Estimated have an estimate. Unknown nodes of
	// the data are not in the truth: they joined later, or are of another devnet.
	Nodes     int `json:"nodes"`
	Estimated int `json:"estimated"`
	Unknown   int `json:"unknown"`
	// OtherFork nodes of the devnet announce another network or fork, so that a sentry finds
	// them and does not visit them. They are in no other number.
	OtherFork int `json:"other_fork"`
	// Unreachable nodes of the network cannot complete a handshake, NotEstimated ones can and
	// have no estimate: their validators are in no other number.
	Unreachable            int `json:"unreachable"`
	UnreachableValidators  int `json:"unreachable_validators"`
	NotEstimatedValidators int `json:"not_estimated_validators"`
	// Truth and Validators are the sums over the estimated nodes. Low and High are null when
	// the total of the report is of other nodes.
	Truth      int      `json:"truth"`
	Validators float64  `json:"validators"`
	Low        *float64 `json:"validators_low"`
	High       *float64 `json:"validators_high"`
	// Inside counts nodes whose 90 % interval holds the truth; InsideValidators are theirs.
	Inside           int `json:"inside"`
	InsideValidators int `json:"inside_validators"`
	// MedianError is the median relative error over the Large nodes, those with ten
	// validators or more; null without any.
	MedianError *float64 `json:"median_error"`
	Large       int      `json:"large"`
	// Of WithValidators nodes Found have a probability of at least 0.9; of the others
	// FalselyFound.
	WithValidators int         `json:"with_validators"`
	Found          int         `json:"found"`
	FalselyFound   int         `json:"falsely_found"`
	List           []TrueCount `json:"list"` // most validators first
}

// TrueCount is one node's truth beside its estimate.
type TrueCount struct {
	ID     string `json:"id"`
	Client string `json:"client"`
	Truth  int    `json:"truth"`
	Inside bool   `json:"inside"`
	Estimated
	EpochsWatched float64 `json:"epochs_watched"`
}

// truthNode is a node of a devnet's truth.json.
type truthNode struct {
	PeerID     string `json:"peer_id"`
	Client     string `json:"client"`
	Validators int    `json:"validators"`
	Ours       bool   `json:"ours"`
	Reachable  bool   `json:"reachable"`
	Handshake  bool   `json:"handshake"`
}

// ErrNoTruth is that a file has no truth about the nodes of a report.
var ErrNoTruth = errors.New("no truth")

// Accuracy compares the report's estimates with a devnet's truth file.
func (r *Report) Accuracy(file string) (a Accuracy, err error) {
	nodes, err := readTruth(file)
	if err != nil {
		return a, err
	}
	a.File, a.List = file, []TrueCount{}
	known, met := map[string]bool{}, 0
	for _, truth := range nodes {
		known[truth.PeerID] = true
		n := r.nodes[truth.PeerID]
		estimated := n != nil && n.Estimated != nil // also where nobody can dial the node, and it dialled us
		switch {
		case estimated:
			a.Nodes++
		case truth.Ours && truth.Reachable && truth.Handshake:
			a.Nodes++
			a.NotEstimatedValidators += truth.Validators
		case truth.Ours:
			a.Unreachable++
			a.UnreachableValidators += truth.Validators
		default:
			a.OtherFork++
		}
		if n == nil {
			continue
		}
		met++
		if estimated {
			a.add(n, truth)
		}
	}
	for _, n := range r.Nodes() {
		if !known[n.ID] {
			a.Unknown++
		}
	}
	if met == 0 && len(r.nodes) > 0 {
		return a, fmt.Errorf("%w in %s about any of the %d nodes of this data directory: it is of another devnet", ErrNoTruth, file, len(r.nodes))
	}
	a.conclude(r)
	return a, nil
}

func readTruth(file string) ([]truthNode, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoTruth, err)
	}
	var doc struct {
		Nodes []truthNode `json:"nodes"`
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		return nil, fmt.Errorf("%w in %s: %w", ErrNoTruth, file, err)
	}
	return doc.Nodes, nil
}

// add adds a node that has an estimate.
func (a *Accuracy) add(n *Node, truth truthNode) {
	v := float64(truth.Validators)
	inside := n.ValidatorsLow <= v && v <= n.ValidatorsHigh
	a.Estimated++
	a.Truth += truth.Validators
	a.Validators += n.ValidatorsMean
	if inside {
		a.Inside++
		a.InsideValidators += truth.Validators
	}
	found := n.PValidator >= 0.9
	switch {
	case truth.Validators > 0:
		a.WithValidators++
		if found {
			a.Found++
		}
	case found:
		a.FalselyFound++
	}
	a.List = append(a.List, TrueCount{n.ID, truth.Client, truth.Validators, inside, *n.Estimated, n.EpochsWatched})
}

func (a *Accuracy) conclude(r *Report) {
	slices.SortFunc(a.List, func(x, y TrueCount) int { return cmp.Or(cmp.Compare(y.Truth, x.Truth), strings.Compare(x.ID, y.ID)) })
	var errs []float64
	for _, n := range a.List {
		if n.Truth >= 10 {
			errs = append(errs, math.Abs(float64(n.Validators)/float64(n.Truth)-1))
		}
	}
	if a.Large = len(errs); a.Large > 0 {
		slices.Sort(errs)
		a.MedianError = new((errs[(a.Large-1)/2] + errs[a.Large/2]) / 2)
	}
	if v := r.validators(); v != nil && v.Nodes == a.Estimated && math.Abs(v.Validators-a.Validators) <= 0.001*a.Validators+0.5 {
		a.Low, a.High = new(v.Low), new(v.High)
	}
}
