package dataset

import (
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCoverage(t *testing.T) {
	c := Coverage{}
	for _, n := range []uint64{5, 1, 3, 2, 9, 4, 0, 18446744073709551615} {
		if !c.Add("p", n) {
			t.Errorf("%d was in before it was added", n)
		}
		if c.Add("p", n) {
			t.Errorf("%d was added twice", n)
		}
	}
	if d := cmp.Diff(Coverage{"p": {{0, 5}, {9, 9}, {18446744073709551615, 18446744073709551615}}}, c); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if c.Has("p", 6) || c.Has("p", 8) || c.Has("q", 1) || !c.Has("p", 0) || !c.Has("p", 5) {
		t.Error("Has is wrong at an edge")
	}
}

func TestGaps(t *testing.T) {
	c := Coverage{"a-b-1": {{3, 4}, {7, 8}, {20, 29}}, "a-b-2": {{5, 5}, {9, 9}}, "c-1": {{1, 1}}, "@202611221200": {{1, 1}, {9, 9}}, "file-0011223344556677-0": {{1, 1}, {5, 5}}}
	rejected := Coverage{"a-b-1": {{9, 18}}, "a-b-2": {{6, 8}}, "d-1": {{1, 5}}}
	if d := cmp.Diff([]Interval{{1, 2}, {5, 6}, {19, 19}}, c.Gaps("a-b-1", rejected)); d != "" {
		t.Errorf("gaps (-want +got):\n%s", d)
	}
	if d := cmp.Diff(map[string]uint64{"a-b": 9, "c": 0}, c.Missing(rejected)); d != "" {
		t.Errorf("missing (-want +got):\n%s", d)
	}
	if d := cmp.Diff(map[string]uint64{"a-b": 22, "c": 0}, c.Missing(nil)); d != "" {
		t.Errorf("missing when nothing was rejected (-want +got):\n%s", d)
	}
	if got := c.overlap(Coverage{"a-b-1": {{1, 3}, {8, 22}}, "c-1": {{2, 9}}}); got != 5 {
		t.Errorf("overlap %d, want 5", got)
	}
}

// Against a plain set, with keys in random order and merged from two halves.
func TestCoverageIsASet(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	want := map[uint64]bool{}
	left, right := Coverage{}, Coverage{}
	for range 2000 {
		n := r.Uint64N(600)
		if added := left.Add("p", n); added == want[n] && !right.Has("p", n) {
			t.Fatalf("Add(%d) = %v, in the set: %v", n, added, want[n])
		}
		if r.IntN(3) == 0 {
			right.Add("p", n+1)
			want[n+1] = true
		}
		want[n] = true
	}
	left.Merge(right)
	text, err := left.encode()
	if err != nil {
		t.Fatal(err)
	}
	back, err := decodeCoverage(text)
	if err != nil {
		t.Fatal(err)
	}
	for n := range uint64(700) {
		if back.Has("p", n) != want[n] {
			t.Errorf("Has(%d) = %v", n, back.Has("p", n))
		}
	}
	for i, runs := 1, back["p"]; i < len(runs); i++ {
		if runs[i][0] <= runs[i-1][1]+1 {
			t.Errorf("runs %v and %v touch", runs[i-1], runs[i])
		}
	}
}

// FuzzCoverage reads two sets as they are in footers and in removed_events.json, and
// computes with them: what is decoded has its runs in order, and unions and intersections
// have as many keys as they must.
func FuzzCoverage(f *testing.F) {
	for _, text := range []string{`{}`, `{"a-1":[[1,3],[5,9]],"b-1":[[2,2]]}`, `{"a-1":[[0,18446744073709551615]]}`, `{"a-1":[[4,4]]}`, `{"a-1":[[3,1]]}`, `{"a-1":[[1,2],[3,4]]}`, `{"a-1":null}`, `[`} {
		f.Add(text, `{"a-1":[[2,4],[11,12]],"c-1":[[1,1]]}`)
	}
	f.Fuzz(func(t *testing.T, left, right string) {
		a, errA := decodeCoverage(left)
		b, errB := decodeCoverage(right)
		if errA != nil || errB != nil {
			return
		}
		total := func(c Coverage) (n uint64) {
			for _, runs := range c {
				n += count(runs)
			}
			return n
		}
		both, sum := a.overlap(b), total(a)+total(b) // modulo 2^64, as all counts
		union := Coverage{}
		union.Merge(a)
		union.Merge(b)
		if total(union) != sum-both || b.overlap(union) != total(b) || !union.contains(a) || !union.contains(b) {
			t.Errorf("%v and %v: union %v, %d in both", a, b, union, both)
		}
		text, err := union.encode()
		if err != nil {
			t.Fatal(err)
		}
		if back, err := decodeCoverage(text); err != nil || !cmp.Equal(union, back) {
			t.Errorf("%v comes back as %v, %v", union, back, err)
		}
		for producer := range union {
			union.Gaps(producer, b)
		}
	})
}

// Counters that no sentry reaches, which an earlier version stored, do not make everything
// below them missing.
func TestFarCountersAreNotMissing(t *testing.T) {
	const most = 1<<64 - 1
	for name, tt := range map[string]struct {
		runs          []Interval
		missing, last uint64
		far           uint64
	}{
		"the largest":         {[]Interval{{1, 4}, {6, 9}, {most, most}}, 1, 9, 1},
		"several":             {[]Interval{{2, 3}, {1 << 40, 1<<40 + 4}, {1 << 50, 1 << 50}}, 1, 3, 6},
		"alone":               {[]Interval{{1 << 62, 1 << 62}}, 0, 0, 1},
		"as far as it may be": {[]Interval{{1, 1}, {1 + MaxJump, 1 + MaxJump}}, MaxJump - 1, 1 + MaxJump, 0},
		"one further":         {[]Interval{{1, 1}, {2 + MaxJump, 2 + MaxJump}}, 0, 1, 1},
		"zero":                {[]Interval{{0, 2}}, 0, 2, 0},
	} {
		c := Coverage{"s-1": tt.runs}
		if got := c.Missing(nil)["s"]; got != tt.missing {
			t.Errorf("%s: %d missing, want %d", name, got, tt.missing)
		}
		h := sentries(c, nil, nil, nil)[0]
		if h.Missing != tt.missing || h.Last != tt.last || h.Far != tt.far || h.Stored != count(tt.runs)-tt.far || h.Rejected != 0 {
			t.Errorf("%s: %+v", name, h)
		}
	}
}
