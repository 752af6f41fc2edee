package estimate

import (
	"maps"
	"math"
	"sync"
	"sync/atomic"

	"github.com/chainbound/valtrack/internal/eth2"
)

// defaultSpurious is how many cells an observation shows that no duty explains:
// MetaData that lags behind a rotation, duties that a reorganisation moved.
const defaultSpurious = 0.003

// Spurious is the number of such cells an observation by client; a client that is missing has the
// default.
type Spurious map[eth2.ClientKind]float64

// Model holds what is common to all nodes. It is immutable, and safe for concurrent
// use: new parameters need a new Model.
type Model struct {
	params    Params
	spurious  Spurious
	versions  map[versionKey]versionFit
	clients   map[eth2.ClientKind]versionFit // of versions that are not in the map
	assumed   habitShares                    // of versions of which nothing was learned
	former    float64                        // see custodyShares
	certain   bool                           // no deviation of rates is considered, see central
	grid      []int
	logPrior  []float64
	units     stakeUnits
	multiples []float64 // see sharesOfMultiples
	spaces    *sync.Pool

	cells   memo[tableKey, *table]
	rates   memo[cell, float64]     // see cellRate
	sync    memo[counts, []float64] // see seats
	custody memo[custodyKey, *custodyTable]
	shares  memo[custodyKey, []float64] // see stakeUnits.shares
	open    struct {
		once  sync.Once
		model *Model
	} // see undecided
}

// tableKey names a table: a cell's kind, the spurious cells of an observation, and by
// how much the aggregators' share is off.
type tableKey struct {
	cell             cell
	spurious, factor float64
}

type custodyKey struct {
	reading int
	custodyShares
}

// table has, for each number of validators, the logarithms of the chance that a cell
// is filled and that it is empty.
type table struct {
	on, off []float64
	ends    []blockEnds
}

// blockEnds are a table's at the ends of a block of the grid, side by side.
type blockEnds struct{ firstOn, lastOn, firstOff float64 }

// NewModel makes a model. spurious may be nil.
func NewModel(p Params, prior Prior, spurious Spurious) *Model {
	m := &Model{
		spaces: new(sync.Pool),
		params: p, spurious: spurious, assumed: defaultShares(), former: assumedFormer, grid: newGrid(int(min(p.active(), maxValidators))),
	}
	m.units = newStakeUnits(m.grid, p.Balance)
	m.multiples = sharesOfMultiples(p.Balance)
	m.logPrior = prior.weights(m.grid)
	for i, w := range m.logPrior {
		m.logPrior[i] = math.Log(w)
	}
	return m
}

// Params are those that the model was made with.
func (m *Model) Params() Params { return m.params }

func (m *Model) spuriousOf(kind eth2.ClientKind) float64 {
	if s, ok := m.spurious[kind]; ok {
		return s
	}
	return defaultSpurious
}

// memo computes a value when it is first needed. Reading it again needs no lock: the map is
// replaced, not changed.
type memo[K comparable, V any] struct {
	mu   sync.Mutex
	made atomic.Pointer[map[K]V]
}

func (m *memo[K, V]) of(k K, make func() V) V {
	if v, ok := m.known()[k]; ok {
		return v
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	v, ok := m.known()[k]
	if !ok {
		v = make()
		next := maps.Clone(m.known())
		if next == nil {
			next = map[K]V{}
		}
		next[k] = v
		m.made.Store(&next)
	}
	return v
}

func (m *memo[K, V]) known() map[K]V {
	if made := m.made.Load(); made != nil {
		return *made
	}
	return nil
}

func (m *Model) cellTable(k tableKey) *table {
	return m.cells.of(k, func() *table {
		eps := k.spurious / m.params.perObservation(k.cell)
		return newTable(m.grid, eps, func(v int) float64 { return m.params.logEmpty(k.cell, v, k.factor) })
	})
}

func (m *Model) custodyTable(reading int, kind eth2.ClientKind) *custodyTable {
	k := custodyKey{reading, custodyShares{underReporting(kind), m.former}}
	return m.custody.of(k, func() *custodyTable { return newCustodyTable(m.grid, reading, k.custodyShares, m.multiples) })
}

func (m *Model) shareTable(reading int, kind eth2.ClientKind) []float64 {
	k := custodyKey{reading, custodyShares{underReporting(kind), m.former}}
	return m.shares.of(k, func() []float64 { return m.units.shares(m.grid, reading, k.custodyShares) })
}

// newTable takes the logarithm of the chance that no duty fills the cell; eps is the
// chance that something else does.
func newTable(grid []int, eps float64, logEmpty func(v int) float64) *table {
	const least = 1e-300
	t := &table{on: make([]float64, len(grid)), off: make([]float64, len(grid))}
	for i, v := range grid {
		empty := (1 - eps) * math.Exp(logEmpty(v))
		t.on[i] = math.Log(math.Max(1-empty, least))
		t.off[i] = math.Log(math.Max(empty, least))
	}
	for first := 0; first < len(grid); first += block {
		last := min(first+block, len(grid)) - 1
		t.ends = append(t.ends, blockEnds{t.on[first], t.on[last], t.off[first]})
	}
	return t
}

// add adds the table's logarithms to those of the points of the grid that begin with
// the one at from.
func (t *table) add(logw []float64, from int, c counts) {
	if c.on == 0 && c.off == 0 {
		return
	}
	on, off := float64(c.on), float64(c.off)
	a, b := t.on[from:][:len(logw)], t.off[from:][:len(logw)]
	for i := range logw {
		logw[i] += on*a[i] + off*b[i]
	}
}
