package eth2_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/chainbound/valtrack/internal/eth2"
)

// Vectors of a node whose rotations differ between the rules: prefix 41, next bits 6.
func TestStaggeredRotation(t *testing.T) {
	id := eth2.NodeID{0: 41<<2 | 3, 31: 7} // offset 41 + 6*32 = 233
	if got := eth2.NextStaggeredRotation(id, 0); got != 23 {
		t.Errorf("first rotation %d, want 23", got)
	}
	if got := eth2.NextStaggeredRotation(id, 23); got != 23+256 {
		t.Errorf("second rotation %d, want %d", got, 23+256)
	}
	if a, b := eth2.StaggeredSubnets(id, 22), eth2.StaggeredSubnets(id, 23); slices.Equal(a, b) {
		t.Errorf("subnets %v before and after the rotation", a)
	}
	// Both are the shuffling of one period at different times.
	if got, want := eth2.StaggeredSubnets(id, 23), eth2.ComputeSubscribedSubnets(id, 256); !slices.Equal(got, want) {
		t.Errorf("subnets %v, want the spec's of the same period, %v", got, want)
	}
}

// Whatever a rule gives is recognised as that rule's, in its epoch and next to it.
func TestSubnetRules(t *testing.T) {
	var c eth2.SubnetCache
	random := rand.New(rand.NewPCG(3, 4))
	for range 3000 {
		var id eth2.NodeID
		for i := range id {
			id[i] = byte(random.Uint32())
		}
		e := eth2.Epoch(1 + random.IntN(500_000))
		spec, staggered, static := eth2.ComputeSubscribedSubnets(id, e), eth2.StaggeredSubnets(id, e), eth2.LighthouseSubnets(id)
		for name, subnets := range map[string][]int{"spec": spec, "staggered": staggered, "static": static} {
			want := ""
			for _, rule := range []struct {
				name    string
				subnets []int
			}{{"spec", spec}, {"staggered", staggered}, {"static", static}} {
				if slices.Equal(rule.subnets, subnets) {
					if want != "" {
						want += "+"
					}
					want += rule.name
				}
			}
			rule, expected := c.LongLived(id, e, eth2.NewAttnets(subnets))
			if string(rule) != want || !slices.Equal(expected[:], subnets) {
				t.Fatalf("%s in epoch %d by %s: %s %v, want %s %v", id, e, name, rule, expected, want, subnets)
			}
		}
		// A node that is late expects the subnets after the rotation.
		at := eth2.NextStaggeredRotation(id, e)
		late, next := eth2.StaggeredSubnets(id, at-1), eth2.StaggeredSubnets(id, at)
		rule, expected := c.LongLived(id, at, eth2.NewAttnets(late))
		if rule == eth2.SubnetRuleStaggered && !slices.Equal(late, next) && !slices.Equal(expected[:], next) {
			t.Fatalf("%s is late in epoch %d: %s %v, want %v", id, at, rule, expected, next)
		}
		if rule == eth2.SubnetRuleNone {
			t.Fatalf("%s is late in epoch %d and follows no rule", id, at)
		}
	}
}

func TestSubnetsByNoRule(t *testing.T) {
	var c eth2.SubnetCache
	id := eth2.NodeID{0: 0xa5, 31: 0x5a}
	all := make([]int, eth2.AttestationSubnetCount)
	for i := range all {
		all[i] = i
	}
	for want, subnets := range map[eth2.SubnetRule][]int{
		"": nil, eth2.SubnetRuleAll: all, eth2.SubnetRuleNone: {0, 2, 32},
	} {
		for _, e := range []eth2.Epoch{0, 1, 490837, eth2.FarFutureEpoch} {
			rule, expected := c.LongLived(id, e, eth2.NewAttnets(subnets))
			if rule != want || !slices.Equal(expected[:], eth2.ComputeSubscribedSubnets(id, e)) {
				t.Errorf("%v in epoch %d: %q %v, want %q and the spec's subnets", subnets, e, rule, expected, want)
			}
		}
	}
}
