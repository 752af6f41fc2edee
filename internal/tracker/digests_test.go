package tracker

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/chainbound/valtrack/internal/eth2"
)

// Records of before nfd announce a version and its epoch.
func TestNextDigestsOfOldRecords(t *testing.T) {
	version, epoch := eth2.Version{7}, eth2.Epoch(5)
	nodes := []*Peer{{Record: Record{NextForkVersion: &version, NextForkEpoch: &epoch}}, {Record: Record{NextForkVersion: &version}}}
	if diff := cmp.Diff(map[string]int{"0x07000000@5": 1, NoDigest: 1}, nextDigests(nodes)); diff != "" {
		t.Error(diff)
	}
}

// TestNextDigestsAreBounded: however many digests nodes announce, every node is counted once and
// few digests are kept.
func TestNextDigestsAreBounded(t *testing.T) {
	node := func(digest *eth2.ForkDigest) *Peer {
		p := &Peer{}
		p.Record.NFD = digest
		return p
	}
	nodes := []*Peer{node(nil), node(nil)}
	for i := range 100 {
		nodes = append(nodes, node(&eth2.ForkDigest{1, 2, 3, 4}), node(&eth2.ForkDigest{9, byte(i)}))
	}
	got := nextDigests(nodes)
	sum := 0
	for _, n := range got {
		sum += n
	}
	if sum != len(nodes) || len(got) > maxDigests+2 {
		t.Errorf("%d of %d nodes, %d digests", sum, len(nodes), len(got))
	}
	want := map[string]int{"0x01020304": 100, NoDigest: 2, OtherDigest: 100 - (maxDigests - 1)}
	for name := range want {
		if diff := cmp.Diff(want[name], got[name]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
