package report

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/chainbound/valtrack/internal/diskio"
	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/eth2/enr"
	"github.com/chainbound/valtrack/internal/printable"
	"github.com/chainbound/valtrack/internal/tracker"
)

// KnownNode is a node whose number of validators somebody knows. It is read for one report, and
// stored nowhere.
type KnownNode struct {
	PeerID     string
	Validators int
	Since      time.Time // from when on it has had that number
}

const (
	maxKnownLine = 1024
	maxKnown     = 100_000
	knownWant    = `want a peer id, a number of validators and since when, as in "16Uiu2HAm... 120 2026-11-01"`
)

// ReadKnown reads known nodes, one per line: a peer id, the number of validators and the date or
// time since when, separated by spaces, tabs or commas. Empty lines and what follows a # are
// left out. Errors name the line.
func ReadKnown(r io.Reader) (known []KnownNode, err error) {
	lines := diskio.NewLineReader(r, maxKnownLine)
	seen := map[string]int{}
	for lines.Next() {
		line := lines.Line()
		text, _, _ := strings.Cut(string(line.Text), "#")
		fields := strings.FieldsFunc(text, func(c rune) bool { return c == ',' || c == ' ' || c == '\t' || c == '\r' })
		if len(fields) == 0 && !line.TooLong {
			continue
		}
		node, err := parseKnown(fields)
		if line.TooLong {
			err = fmt.Errorf("more than %d bytes: %s", maxKnownLine, knownWant)
		}
		if first := seen[node.PeerID]; err == nil && first > 0 {
			err = fmt.Errorf("%s is in line %d already: remove one of them", node.PeerID, first)
		}
		if err == nil && len(known) == maxKnown {
			err = fmt.Errorf("more than %d nodes", maxKnown)
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", line.Number, err)
		}
		seen[node.PeerID] = line.Number
		known = append(known, node)
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if len(known) == 0 {
		return nil, errors.New("no node in it: " + knownWant)
	}
	return known, nil
}

func parseKnown(fields []string) (n KnownNode, err error) {
	if len(fields) != 3 {
		return n, fmt.Errorf("%d values: %s", len(fields), knownWant)
	}
	n.PeerID = fields[0]
	if _, err := enr.NodeIDFromPeerID(n.PeerID); err != nil {
		return n, fmt.Errorf("%.80q is no peer id: %s", printable.Clean(fields[0]), knownWant)
	}
	if n.Validators, err = strconv.Atoi(fields[1]); err != nil || n.Validators < 0 {
		return n, fmt.Errorf("%.80q is no number of validators: %s", printable.Clean(fields[1]), knownWant)
	}
	for _, layout := range []string{time.DateOnly, time.RFC3339} {
		if n.Since, err = time.Parse(layout, fields[2]); err == nil {
			return n, nil
		}
	}
	return n, fmt.Errorf("%.80q is no date or time: %s", printable.Clean(fields[2]), knownWant)
}

// KnownNodes compares estimates with known numbers of validators, by client version (M5). It
// names no node.
type KnownNodes struct {
	Versions []KnownVersion `json:"versions"` // most nodes first
	// Missing nodes have no estimate; Recent ones have had their number for less than the days
	// that an estimate uses. Both are left out.
	Missing int `json:"missing"`
	Recent  int `json:"recent"`
	// Withheld nodes are of versions with fewer than five of them: the residuals would be those
	// of single nodes.
	Withheld int `json:"withheld"`
}

// leastKnown is how many nodes a version's residuals are of at least.
const leastKnown = 5

// KnownVersion are the residuals of one client version.
type KnownVersion struct {
	Client  string `json:"client"`
	Version string `json:"version"` // empty where the agent has none
	Nodes   int    `json:"nodes"`
	// Held counts nodes whose 90 % interval holds the known number.
	Held int `json:"held"`
	// Ratio is the sum of the estimates' means over that of the known numbers, null where that is 0.
	Ratio *float64 `json:"ratio"`
	// Residual is the mean of estimate minus known number, in standard deviations of the
	// estimate (of one validator at least).
	Residual float64 `json:"residual"`

	estimated, known float64
}

// NewKnownNodes compares a state with known nodes. state may be nil.
func NewKnownNodes(state *tracker.State, known []KnownNode) *KnownNodes {
	out := &KnownNodes{Versions: []KnownVersion{}}
	versions := map[eth2.Client]*KnownVersion{}
	for _, k := range known {
		var p *tracker.Peer
		if state != nil {
			p = state.Peer(k.PeerID)
		}
		switch {
		case p == nil || p.Estimate == nil:
			out.Missing++
			continue
		case k.Since.AddDate(0, 0, tracker.Window).UnixMilli() > p.LastSeen:
			out.Recent++
			continue
		}
		key := eth2.Client{Kind: p.Client.Kind, Version: p.Client.Release()}
		v := versions[key]
		if v == nil {
			v = &KnownVersion{Client: string(key.Kind), Version: key.Version}
			versions[key] = v
		}
		e, truth := p.Estimate, float64(k.Validators)
		v.Nodes++
		if e.Low <= truth && truth <= e.High {
			v.Held++
		}
		v.estimated, v.known = v.estimated+e.Mean, v.known+truth
		v.Residual += (e.Mean - truth) / max(1, math.Sqrt(e.Variance))
	}
	for _, v := range versions {
		if v.Nodes < leastKnown {
			out.Withheld += v.Nodes
			continue
		}
		v.Residual /= float64(v.Nodes)
		if v.known > 0 {
			v.Ratio = new(v.estimated / v.known)
		}
		out.Versions = append(out.Versions, *v)
	}
	slices.SortFunc(out.Versions, func(a, b KnownVersion) int {
		return cmp.Or(cmp.Compare(b.Nodes, a.Nodes), cmp.Compare(a.Client, b.Client), cmp.Compare(a.Version, b.Version))
	})
	return out
}

// write writes the comparison for people; nothing without known nodes.
func (k *KnownNodes) write(p *page) {
	if k == nil {
		return
	}
	rows := [][]string{}
	for _, v := range k.Versions {
		ratio := "-"
		if v.Ratio != nil {
			ratio = fmt.Sprintf("%.2f", *v.Ratio)
		}
		rows = append(rows, []string{orUnknown(v.Client), orUnknown(v.Version), fmt.Sprint(v.Nodes), fmt.Sprintf("%d of %d", v.Held, v.Nodes), ratio, fmt.Sprintf("%+.2f", v.Residual)})
	}
	p.table([]column{
		{"M5 KNOWN NODES", plainColumn, 0}, {"VERSION", textColumn, 0}, {"NODES", plainColumn, 0},
		{"INTERVALS HOLD", plainColumn, 0}, {"ESTIMATED/KNOWN", plainColumn, 0}, {"RESIDUAL", plainColumn, 1},
	}, rows)
	p.sentence("(residual: the mean of estimate minus known number, in standard deviations; left out: %d without an estimate, %d whose number is known for less than %d days; withheld: %d of versions with fewer than %d)", k.Missing, k.Recent, tracker.Window, k.Withheld, leastKnown)
}
