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
	if got := (Coverage{"a": {{3, 4}, {7, 8}}, "b": {{1, 1}}}).Missing(); got != 2 {
		t.Errorf("missing %d, want 2", got)
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
