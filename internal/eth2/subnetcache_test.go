package eth2

import (
	"math/rand/v2"
	"slices"
	"testing"
)

func TestSubnetCache(t *testing.T) {
	var c SubnetCache
	random := rand.New(rand.NewPCG(1, 2))
	for range 20_000 { // periods enough to fill it several times
		id, e := NodeID{byte(random.Uint32()), 31: byte(random.Uint32())}, Epoch(random.IntN(40*EpochsPerSubnetPeriod))
		got := c.byRule(id, e)
		for i, want := range [][]int{ComputeSubscribedSubnets(id, e), StaggeredSubnets(id, e), LighthouseSubnets(id)} {
			if !slices.Equal(want, got[i][:]) {
				t.Fatalf("node %v in epoch %d by %s: %v, want %v", id, e, subnetRules[i], got[i], want)
			}
		}
		if len(c.first) > maxShuffles {
			t.Fatalf("the cache holds %d", len(c.first))
		}
	}
}
