package estimate

import (
	"math/bits"
	"slices"

	"github.com/chainbound/valtrack/internal/eth2"
)

// Evidence is all that speaks for one peer's number of validators. Not safe for
// concurrent use.
type Evidence struct {
	kind    eth2.ClientKind
	pools   []pools
	sync    counts
	custody Custody
	period  uint32 // the first sync committee period that is not in
	trust   Trust  // the least of what was added
}

// pools are the cells of one client's window, summed by kind of cell.
type pools struct {
	window window
	until  eth2.Slot // duties before it are in
	cells  []pool
}

type pool struct {
	cell     cell
	snapshot bool
	counts
}

type counts struct{ on, off uint32 }

const everySyncnet eth2.Syncnets = 1<<eth2.SyncCommitteeSubnetCount - 1

// NewEvidence is for a peer of which nothing is known but its client, and what it has
// said of its custody groups.
func NewEvidence(c eth2.Client, custody Custody) *Evidence {
	e := &Evidence{kind: c.Kind, custody: custody}
	for _, w := range windowsOf(c) {
		e.pools = append(e.pools, pools{window: w})
	}
	return e
}

// SetCustody replaces what the peer has said of its custody groups.
func (e *Evidence) SetCustody(c Custody) { e.custody = c }

// Clone is a copy that can be added to by itself.
func (e *Evidence) Clone() *Evidence {
	c := *e
	c.pools = slices.Clone(e.pools)
	for i := range c.pools {
		c.pools[i].cells = slices.Clone(e.pools[i].cells)
	}
	return &c
}

// Add adds a day's Statistics, as far as its client version is trusted. Days must
// come in order: what an earlier one covered already is not counted again.
func (e *Evidence) Add(s *Statistics, trust Trust) {
	all := s.AllSubnets()
	for _, r := range s.sync {
		if r.period < e.period || all && r.syncnets&everySyncnet == everySyncnet {
			continue
		}
		on := uint32(bits.OnesCount8(uint8(r.syncnets & everySyncnet)))
		e.sync.on += on
		e.sync.off += eth2.SyncCommitteeSubnetCount - on
		e.period = r.period + 1
	}
	if all || trust == TrustCustody {
		return
	}
	e.trust = max(e.trust, trust)
	for i := range e.pools {
		if r := s.readingFor(e.pools[i].window); r != nil {
			e.pools[i].add(r.runs, trust)
		}
	}
}

// readingFor is the reading that fits a window best: its own, that of the client's
// other versions, or the only one.
func (s *Statistics) readingFor(w window) *reading {
	for i := range s.readings {
		if s.readings[i].window.kind == w.kind {
			return &s.readings[i]
		}
	}
	if len(s.readings) == 0 {
		return nil
	}
	return &s.readings[0]
}

func (p *pools) add(runs []run, trust Trust) {
	for _, r := range runs {
		if r.from < p.until || r.snapshot && trust != TrustAll {
			continue
		}
		p.until = r.end()
		i := slices.IndexFunc(p.cells, func(x pool) bool { return x.cell == r.cell && x.snapshot == r.snapshot })
		if i < 0 {
			i = len(p.cells)
			p.cells = append(p.cells, pool{cell: r.cell, snapshot: r.snapshot})
		}
		p.cells[i].on += r.on
		p.cells[i].off += r.off
	}
}

// Cells counts the cells that were seen filled and those that were not, of the window
// that the peer most likely has.
func (e *Evidence) Cells() (on, off uint64) {
	if len(e.pools) == 0 {
		return 0, 0
	}
	for _, c := range e.pools[0].cells {
		on, off = on+uint64(c.on), off+uint64(c.off)
	}
	return on, off
}

// restrict leaves the attestation cells of watches or of snapshots, and nothing else:
// what calibration compares with custody.
func (e *Evidence) restrict(snapshots bool) *Evidence {
	out := e.Clone()
	out.custody, out.sync = Custody{}, counts{}
	for i := range out.pools {
		p := &out.pools[i]
		p.cells = slices.DeleteFunc(p.cells, func(x pool) bool { return x.snapshot != snapshots })
	}
	return out
}
