package eth2_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/chainbound/valtrack/internal/eth2"
)

func TestSubnetVectors(t *testing.T) {
	var file struct {
		Count   int
		Vectors []struct {
			NodeID           eth2.NodeID `json:"node_id"`
			Epoch            eth2.Epoch
			Subnets          []int
			LighthouseStatic []int       `json:"lighthouse_static"`
			NextChangeEpoch  *eth2.Epoch `json:"next_change_epoch"`
		}
	}
	readVectors(t, "subscribed_subnets.json", &file)
	if len(file.Vectors) != 797 || file.Count != 797 {
		t.Fatalf("%d vectors: want 797", len(file.Vectors))
	}
	for _, v := range file.Vectors {
		if diff := cmp.Diff(v.Subnets, eth2.ComputeSubscribedSubnets(v.NodeID, v.Epoch), sorted); diff != "" {
			t.Errorf("node %s epoch %d: subscribed subnets (-want +got):\n%s", v.NodeID, v.Epoch, diff)
		}
		if diff := cmp.Diff(v.LighthouseStatic, eth2.LighthouseSubnets(v.NodeID), sorted); diff != "" {
			t.Errorf("node %s: Lighthouse subnets (-want +got):\n%s", v.NodeID, diff)
		}
		// The generator gives none for epochs that no chain reaches.
		if want := v.NextChangeEpoch; want != nil && eth2.NextSubnetRotation(v.NodeID, v.Epoch) != *want {
			t.Errorf("node %s epoch %d: next rotation %d, want %d", v.NodeID, v.Epoch, eth2.NextSubnetRotation(v.NodeID, v.Epoch), *want)
		}
	}
}

// The vectors list subnets as the spec's generator yields them, 63 before 0.
var sorted = cmp.Transformer("sorted", eth2.NewAttnets)

func TestSubnetsAreSorted(t *testing.T) {
	id := eth2.NodeID{0: 0xff} // prefix 63
	if diff := cmp.Diff([]int{0, 63}, eth2.LighthouseSubnets(id)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// The last epochs of all must not wrap into the first period.
func TestSubnetsAtTheLastEpoch(t *testing.T) {
	id := eth2.NodeID{31: 0xff}
	if got := eth2.ComputeSubscribedSubnets(id, eth2.FarFutureEpoch); len(got) != eth2.SubnetsPerNode {
		t.Errorf("subnets %v: want %d", got, eth2.SubnetsPerNode)
	}
	if got := eth2.NextSubnetRotation(id, eth2.FarFutureEpoch); got != eth2.FarFutureEpoch {
		t.Errorf("next rotation %d: want none", got)
	}
}

func BenchmarkComputeSubscribedSubnets(b *testing.B) {
	for b.Loop() {
		eth2.ComputeSubscribedSubnets(eth2.NodeID{0: 0xa5, 31: 0x5a}, 490837)
	}
}
