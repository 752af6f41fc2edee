package estimate

import (
	"cmp"
	"math/bits"
	"slices"

	"github.com/chainbound/valtrack/internal/eth2"
)

// Evidence is everything observed that bears on one peer's number of validators. Days may
// be added in any order. Not safe for concurrent use.
type Evidence struct {
	kind     eth2.ClientKind
	pools    []pools
	periods  []syncReading // by period
	sync     syncCells
	custody  Custody
	fullness fullness     // of all days
	versions []versionKey // that the cells are of
	epochs   []epochCounts
	// ended subscriptions lasted endedSlots together; of begun ones atStart did when an epoch
	// began.
	ended, endedSlots, begun, atStart float64
	contradicts                       bool // see misread
	stale                             bool // pools and sync have to be recomputed
}

// pools are the cells of one client's window, summed by kind of cell.
type pools struct {
	candidate
	runs   []versionRun // as added: in no order, some of them of the same duties
	sealed []versionRun // sums of whole days, and the slots that each day covers
	days   []run
	cells  []pool
}

// versionRun is a run of one of the client versions of the Evidence.
type versionRun struct {
	run
	version uint8
}

type pool struct {
	cell     cell
	snapshot bool
	version  uint8 // of Evidence.versions
	counts
}

type counts struct{ on, off uint32 }

// syncCells are the sync committee subnets of some periods.
type syncCells struct {
	counts
	same bool // in every period the same subnets were on
}

const everySyncnet eth2.Syncnets = 1<<eth2.SyncCommitteeSubnetCount - 1

// NewEvidence is the evidence on a peer from its client and its custody group counts alone.
func NewEvidence(c eth2.Client, custody Custody) *Evidence {
	e := &Evidence{kind: c.Kind, custody: custody, versions: []versionKey{keyOf(c)}}
	for _, x := range candidatesOf(c) {
		e.pools = append(e.pools, pools{candidate: x})
	}
	return e
}

// Close sums what was added and frees the single observations, which are most of the
// memory: nothing can be added afterwards.
func (e *Evidence) Close() *Evidence {
	e.sum()
	e.periods = nil
	for i := range e.pools {
		p := &e.pools[i]
		p.runs, p.sealed, p.days = nil, nil, nil
	}
	return e
}

// SetCustody replaces the peer's custody group counts.
func (e *Evidence) SetCustody(c Custody) { e.custody = c }

// Clone is an independent copy.
func (e *Evidence) Clone() *Evidence {
	c := *e
	c.periods, c.versions, c.epochs = slices.Clone(e.periods), slices.Clone(e.versions), slices.Clone(e.epochs)
	c.pools = slices.Clone(e.pools)
	for i := range c.pools {
		c.pools[i].runs = slices.Clone(e.pools[i].runs)
		c.pools[i].sealed, c.pools[i].days = slices.Clone(e.pools[i].sealed), slices.Clone(e.pools[i].days)
		c.pools[i].cells = slices.Clone(e.pools[i].cells)
	}
	return &c
}

// maxVersions bounds the client versions of one Evidence; more count as the last.
const maxVersions = 255

// version is the place of a client's version in e.versions.
func (e *Evidence) version(c eth2.Client) uint8 {
	key := keyOf(c)
	i := slices.Index(e.versions, key)
	if i < 0 && len(e.versions) < maxVersions {
		e.versions = append(e.versions, key)
	}
	if i < 0 {
		i = len(e.versions) - 1
	}
	return uint8(i)
}

// Add adds a day's Statistics, of the node with a client. What two days
// cover counts once. A snapshot of an unknown client is not used: what it shows depends
// on the window by a factor of up to 32.
func (e *Evidence) Add(s *Statistics, c eth2.Client) {
	declared := s.fullness.declared > 0
	for _, r := range s.sync {
		if !declared || r.syncnets&everySyncnet != everySyncnet {
			e.addPeriod(r)
		}
	}
	e.stale = true
	if declared {
		return
	}
	e.fullness.add(s.fullness)
	version := e.version(c)
	if h := s.behaviour.epochs(); h.enough() {
		e.epochs = append(e.epochs, h)
	}
	for _, n := range s.behaviour.Lifetimes {
		e.ended += float64(n)
	}
	e.endedSlots += float64(s.behaviour.Slots)
	e.begun += float64(s.behaviour.Subscribed)
	e.atStart += float64(s.behaviour.AtEpochStart)
	for i := range e.pools {
		r := s.readingFor(e.pools[i].window)
		if r == nil {
			continue
		}
		p := &e.pools[i]
		into, runs := &p.runs, r.all()
		if n := len(runs); s.sealed && n > 0 {
			into = &p.sealed
			p.days = append(p.days, run{from: runs[0].from, slots: uint32(runs[n-1].end() - runs[0].from)})
		}
		for _, x := range runs {
			if !x.snapshot || len(e.pools) == 1 {
				*into = append(*into, versionRun{x, version})
			}
		}
	}
}

// addPeriod joins what was seen in one sync committee period.
func (e *Evidence) addPeriod(r syncReading) {
	i, found := slices.BinarySearchFunc(e.periods, r.period, func(x syncReading, p uint32) int { return cmp.Compare(x.period, p) })
	if !found {
		e.periods = slices.Insert(e.periods, i, syncReading{period: r.period})
	}
	e.periods[i].syncnets |= r.syncnets
}

// AllSubnets reports whether the node keeps all 64 subnets whatever its duties, by all
// days that were added and do not say so in MetaData.
func (e *Evidence) AllSubnets() bool { return !e.fullByDuties() && e.fullness.allSubnets() }

// misread reports whether the node's own subscriptions contradict its client's window, so that what
// is read with it means something else: made when an epoch begins, those of an epoch ahead last
// longer than one.
func (e *Evidence) misread() bool {
	const enough, mostly, whole = 3, 0.6, 0.95
	if !e.fullByDuties() || e.ended < enough || e.atStart < mostly*e.begun {
		return false
	}
	for _, list := range [][]versionRun{e.pools[0].runs, e.pools[0].sealed} {
		for _, r := range list {
			if epoch := float64(r.cell) - 1; !r.snapshot && r.cell != oneCommittee {
				return e.endedSlots < whole*epoch*e.ended
			}
		}
	}
	return false
}

// fullByDuties reports whether the client is one whose duties fill all subnets for
// epochs. Of the others a full snapshot counts only once it is clear that the node does not
// keep all subnets.
func (e *Evidence) fullByDuties() bool {
	return len(e.pools) == 1 && e.pools[0].policy == epochAhead
}

// sum computes pools and sync from what was added.
func (e *Evidence) sum() {
	if !e.stale {
		return
	}
	e.stale, e.sync = false, syncCells{same: true}
	all, last := e.AllSubnets(), eth2.Syncnets(0)
	e.contradicts = e.misread()
	for _, r := range e.periods {
		// A node that keeps every attestation subnet, or may do so, keeps the sync subnets
		// with them: they wait together.
		if e.fullness.mostlyFull() && r.syncnets&everySyncnet == everySyncnet {
			continue
		}
		set := r.syncnets & everySyncnet
		e.sync.same = e.sync.same && (e.sync.on+e.sync.off == 0 || set == last)
		last = set
		on := uint32(bits.OnesCount8(uint8(set)))
		e.sync.on += on
		e.sync.off += eth2.SyncCommitteeSubnetCount - on
	}
	undecided := !e.fullByDuties() && e.fullness.mostlyFull()
	for i := range e.pools {
		p := &e.pools[i]
		if p.cells = nil; !all && !e.contradicts {
			p.sum(undecided)
		}
	}
}

// readingFor is the reading that fits a window best: its own, one that subscribes at the
// same time, or the likeliest.
func (s *Statistics) readingFor(w window) *reading {
	if len(s.readings) == 0 {
		return nil
	}
	best := &s.readings[0]
	for i := range s.readings {
		switch r := &s.readings[i]; {
		case r.window == w:
			return r
		case best.window.policy == w.policy && best.window.lead == w.lead: // the first of those
		case r.window.policy == w.policy && r.window.lead == w.lead:
			best = r
		}
	}
	return best
}

// sum counts each duty slot once: of runs that overlap the earliest, and none that
// reaches into a sealed day. withoutFull leaves out runs with every subnet on.
func (p *pools) sum(withoutFull bool) {
	for _, r := range p.sealed {
		if !withoutFull || r.off > 0 {
			p.count(r)
		}
	}
	slices.SortFunc(p.runs, func(a, b versionRun) int { return compareRuns(a.run, b.run) })
	until := eth2.Slot(0)
	for _, r := range p.runs {
		inDay := func(day run) bool { return r.from < day.end() && day.from < r.end() }
		if r.from < until || withoutFull && r.off == 0 || slices.ContainsFunc(p.days, inDay) {
			continue
		}
		until = r.end()
		p.count(r)
	}
}

func (p *pools) count(r versionRun) {
	i := slices.IndexFunc(p.cells, func(x pool) bool {
		return x.cell == r.cell && x.snapshot == r.snapshot && x.version == r.version
	})
	if i < 0 {
		i = len(p.cells)
		p.cells = append(p.cells, pool{cell: r.cell, snapshot: r.snapshot, version: r.version})
	}
	p.cells[i].on += r.on
	p.cells[i].off += r.off
}

// compareRuns sorts by time, the most informative first; it is a total order.
func compareRuns(a, b run) int {
	return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(b.exposure(), a.exposure()), cmp.Compare(a.cell, b.cell),
		cmp.Compare(a.slots, b.slots), cmp.Compare(a.on, b.on))
}

// Cells counts the cells that were seen filled and those that were not, of the window
// that the peer most likely has.
func (e *Evidence) Cells() (on, off uint64) {
	if e.sum(); len(e.pools) == 0 {
		return 0, 0
	}
	for _, c := range e.pools[0].cells {
		on, off = on+uint64(c.on), off+uint64(c.off)
	}
	return on, off
}

// saturated reports whether nearly all cells are filled: more validators would hardly show.
func (e *Evidence) saturated() bool {
	const full = 0.9
	on, off := e.Cells()
	return float64(on) >= full*float64(on+off) && on > subnets
}

// SyncCells counts the sync committee subnets that the node was on and those that it was
// not on, in each period in which it told them.
func (e *Evidence) SyncCells() (on, off uint64) {
	e.sum()
	return uint64(e.sync.on), uint64(e.sync.off)
}

// OnlySync leaves the sync committee subnets, and nothing else.
func (e *Evidence) OnlySync() *Evidence {
	e.sum()
	return &Evidence{kind: e.kind, sync: e.sync}
}
