package estimate

import (
	"encoding/json"
	"math"
	"os"
	"slices"
	"testing"

	"github.com/chainbound/valtrack/internal/eth2"
)

// The same observations give what an independent program makes of them:
// testdata/vectors.py.
func TestAgreesWithTheReference(t *testing.T) {
	text, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors []struct {
		Client    eth2.ClientKind
		CGC       uint64
		Unc       float64
		Obs       [][4]uint32 // cells of an observation, slots of a cell, filled, empty
		Median    int
		Low, High float64
		Mean, P   float64
	}
	if err := json.Unmarshal(text, &vectors); err != nil {
		t.Fatal(err)
	}
	if len(vectors) != 1000 {
		t.Fatalf("%d vectors, want 1000", len(vectors))
	}
	models := map[float64]*Model{}
	for i, v := range vectors {
		m := models[v.Unc]
		if m == nil {
			m = NewModel(referenceParams(v.Unc), referencePrior(), nil)
			models[v.Unc] = m
		}
		var c Custody
		c.Observe(0, v.CGC)
		e := NewEvidence(eth2.Client{Kind: v.Client}, c)
		for _, o := range v.Obs {
			x := pool{cell: cell(o[1]), counts: counts{o[2], o[3]}}
			if o[0] > subnets {
				x.cell = oneCommittee
			}
			e.pools[0].cells = append(e.pools[0].cells, x)
		}
		got := m.Estimate(e)
		for _, c := range []struct {
			name      string
			got, want float64
		}{{"median", float64(got.Median), float64(v.Median)}, {"low", got.Low, v.Low}, {"high", got.High, v.High}} {
			if c.name == "high" && got.Flags&FlagSilent != 0 && c.got > c.want {
				continue // the reference does not widen those
			}
			if step := math.Max(1, 0.011*c.want); math.Abs(c.got-c.want) > 1.01*step {
				t.Errorf("%d: %s %v, the reference has %v: %+v", i, c.name, c.got, c.want, v)
			}
		}
		if math.Abs(got.PValidator-v.P) > 0.001 || math.Abs(got.Mean-v.Mean) > 0.002*v.Mean+0.001 {
			t.Errorf("%d: mean %v, P %v, the reference has %v, %v", i, got.Mean, got.PValidator, v.Mean, v.P)
		}
		if t.Failed() {
			t.Fatal(`this is the first of the vectors that differ: if a constant was changed on purpose, see "A constant of the estimator" in CONTRIBUTING.md`)
		}
	}
}

// referenceParams give committees of 463 members, of which each one's share is 1/28.
func referenceParams(unc float64) Params {
	p := mainnetParams()
	p.ActiveValidators = 463 * 2048
	p.PAggUncertainty = unc
	return p
}

func TestGrid(t *testing.T) {
	g := newGrid(maxValidators)
	if !slices.IsSorted(g) || g[200] != 200 || g[201] != 201 || g[len(g)-1] < 98_000 || g[len(g)-1] > maxValidators {
		t.Errorf("grid of %d points ends %v", len(g), g[len(g)-3:])
	}
	if small := newGrid(64); len(small) != 65 || small[64] != 64 {
		t.Errorf("a network of 64 has the grid %v", small)
	}
}

// referencePrior is the one that the reference's numbers were made with.
func referencePrior() Prior {
	return Prior{[]Band{{0, 0, 0.45}, {1, 8, 0.23}, {9, 127, 0.13}, {128, maxValidators, 0.19}}}
}
