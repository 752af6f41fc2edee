package devnet

import (
	"math"
	"testing"
	"time"

	"github.com/chainbound/valtrack/internal/eth2"
)

// TestWindows holds the slots visible at each client: facts of the clients' code.
func TestWindows(t *testing.T) {
	windows := make(map[eth2.ClientKind]window)
	for _, p := range profiles() {
		windows[p.kind] = p.window
	}
	for _, c := range []struct {
		client         eth2.ClientKind
		duty, from, to eth2.Slot
	}{
		{eth2.ClientLighthouse, 100, 99, 101},
		{eth2.ClientLighthouse, 0, 0, 1},
		{eth2.ClientGrandine, 96, 95, 97},
		{eth2.ClientLodestar, 100, 98, 101},
		{eth2.ClientNimbus, 100, 97, 101},
		{eth2.ClientPrysm, 100, 96, 101}, // the start of its epoch
		{eth2.ClientPrysm, 127, 96, 128},
		{eth2.ClientPrysm, 96, 64, 97}, // an epoch's first slot belongs to the epoch before
		{eth2.ClientPrysm, 0, 0, 1},
		{eth2.ClientTeku, 100, 64, 101}, // an epoch ahead
		{eth2.ClientTeku, 127, 64, 128},
		{eth2.ClientTeku, 5, 0, 6},
	} {
		if from, to := windows[c.client](c.duty, 32); from != c.from || to != c.to {
			t.Errorf("%s: duty at %d: subscribed from %d to %d, want %d to %d", c.client, c.duty, from, to, c.from, c.to)
		}
	}
}

func TestAggregatorDuties(t *testing.T) {
	const validators, epochs, p = 2000, 20, 1.0 / 28
	var bySlot, bySubnet [64]int
	total := 0
	for e := range eth2.Epoch(epochs) {
		for _, d := range aggregatorDuties(stream(1, "test", uint64(e)), validators, e, 32, 64, p) {
			if d.slot/32 != eth2.Slot(e) {
				t.Fatalf("duty at slot %d in epoch %d", d.slot, e)
			}
			bySlot[d.slot%32]++
			bySubnet[d.subnet]++
			total++
		}
	}
	if want := validators * epochs * p; math.Abs(float64(total)-want) > 5*math.Sqrt(want) {
		t.Errorf("%d duties, want about %.0f", total, want)
	}
	for i, n := range bySubnet {
		if n == 0 {
			t.Errorf("subnet %d never", i)
		}
	}
	for i, n := range bySlot[:32] {
		if n == 0 {
			t.Errorf("slot %d never", i)
		}
	}
}

// TestFewCommittees: with C committees a slot reaches C subnets
// (compute_subnet_for_attestation).
func TestFewCommittees(t *testing.T) {
	for _, d := range aggregatorDuties(stream(1, "test"), 500, 3, 32, 1, 1) {
		if want := int(d.slot % 32); d.subnet != want {
			t.Fatalf("slot %d: subnet %d, want %d", d.slot, d.subnet, want)
		}
	}
}

func TestCustodyRequirement(t *testing.T) {
	for validators, want := range map[int]uint64{0: 4, 1: 8, 8: 8, 9: 9, 127: 127, 128: 128, 5000: 128} {
		if got := custodyRequirement(validators); got != want {
			t.Errorf("%d validators: cgc %d, want %d", validators, got, want)
		}
	}
}

func TestAggregatorProbabilityOfMainnet(t *testing.T) {
	for active, want := range map[int]float64{950_000: 28, 1_050_000: 32, 64: 1} {
		if got := 1 / (Config{ActiveValidators: active}).withDefaults(time.Unix(1_800_000_000, 0)).AggregatorProbability; math.Abs(got-want) > 1e-9 {
			t.Errorf("%d active validators: one in %v aggregates, want %v", active, got, want)
		}
	}
}

// TestAgentsAreKnown: the truth and the agent parser read agents alike.
func TestAgentsAreKnown(t *testing.T) {
	plans, _, err := planNodes(Config{Nodes: 100}.withDefaults(time.Unix(1_800_000_000, 0)))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range plans {
		want := eth2.Client{Kind: p.profile.kind, Version: p.version, OS: p.os, Arch: p.arch}
		if got := eth2.ParseAgent(p.agent); got != want {
			t.Errorf("agent %q: %+v, truth %+v", p.agent, got, want)
		}
	}
}
