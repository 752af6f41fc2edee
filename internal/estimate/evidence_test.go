package estimate

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/chainbound/valtrack/internal/eth2"
)

// snapshotsOf are snapshots an epoch apart from an epoch on, the first of them with only so
// many subnets.
func snapshotsOf(p Params, c eth2.Client, epoch, snapshots, partial, subnets int) *Statistics {
	s := NewStatistics(c)
	for i := range snapshots {
		n := 64
		if i < partial {
			n = subnets
		}
		var on []int
		for subnet := range n {
			on = append(on, subnet)
		}
		s.AddSnapshot(p, Snapshot{At: slotTime(p, epoch+i, 9) + 5000, Subscribed: on, LongLived: eth2.NewAttnets([]int{1, 2})})
	}
	return s
}

// A node on all subnets that does not say so has no validators by its subnets: neither
// in its first snapshot, nor after midnight, nor when one snapshot of many shows fewer.
func TestAllSubnetsUndeclared(t *testing.T) {
	p := mainnetParams()
	m := NewModel(p, DefaultPrior(), nil)
	var custody Custody
	custody.Observe(0, 4)
	for _, c := range []eth2.Client{lodestar, prysm, lighthouse, stranger} {
		for name, days := range map[string][]*Statistics{
			"first snapshot":       {snapshotsOf(p, c, 1000, 1, 0, 0)},
			"after midnight":       {snapshotsOf(p, c, 1000, 200, 0, 0), snapshotsOf(p, c, 1225, 1, 0, 0)},
			"one snapshot of less": {snapshotsOf(p, c, 1000, 200, 1, 60)},
			"twice a day":          {snapshotsOf(p, c, 1000, 2, 0, 0), snapshotsOf(p, c, 1225, 2, 0, 0)},
		} {
			e := NewEvidence(c, custody)
			for _, d := range days {
				e.Add(d, c)
			}
			if got := m.Estimate(e); got.PValidator > 0.5 || got.Mean > 100 {
				t.Errorf("%s, %s: P %.3f, mean %.0f", c.Kind, name, got.PValidator, got.Mean)
			}
		}
	}
}

// A Prysm node of many validators is on all subnets at times, and is counted.
func TestManyDutiesAreNotAllSubnets(t *testing.T) {
	p := mainnetParams()
	e := NewEvidence(prysm, Custody{})
	e.Add(snapshotsOf(p, prysm, 1000, 20, 10, 55), prysm)
	if on, off := e.Cells(); e.AllSubnets() || on != 10*62+10*53 || off != 10*9 {
		t.Errorf("all subnets %v, %d cells filled, %d empty, want %d and 90", e.AllSubnets(), on, off, 10*62+10*53)
	}
}

// What snapshots show of an unknown client depends far too much on the client.
func TestSnapshotsOfUnknownClients(t *testing.T) {
	p := mainnetParams()
	e := NewEvidence(stranger, Custody{})
	e.Add(snapshotsOf(p, stranger, 1000, 20, 20, 9), stranger)
	if on, off := e.Cells(); on+off != 0 {
		t.Errorf("%d cells of snapshots", on+off)
	}
	s := NewStatistics(stranger)
	s.AddWatch(p, logOf(slotTime(p, 1000, 0)-2000, slotTime(p, 1003, 0)+2000))
	e.Add(s, stranger)
	if _, off := e.Cells(); off == 0 {
		t.Error("no cells of a watch")
	}
}

// Two versions in one day, and days in any order, say the same.
func TestDaysInAnyOrder(t *testing.T) {
	p := mainnetParams()
	early, late := NewStatistics(lighthouse), NewStatistics(lighthouse)
	early.AddWatch(p, logOf(slotTime(p, 1000, 0)-2000, slotTime(p, 1003, 0)+2000))
	late.AddWatch(p, logOf(slotTime(p, 1050, 0)-2000, slotTime(p, 1053, 0)+2000))
	late.AddSyncnets(p, slotTime(p, 1050, 0), 1)
	early.AddSyncnets(p, slotTime(p, 1000, 0), 2)
	a, b := NewEvidence(lighthouse, Custody{}), NewEvidence(lighthouse, Custody{})
	a.Add(early, lighthouse)
	a.Add(late, lighthouse)
	b.Add(late, lighthouse)
	b.Add(early, lighthouse)
	on, off := a.Cells()
	if on2, off2 := b.Cells(); on != on2 || off != off2 || off != 6*32*62 || a.sync != b.sync {
		t.Errorf("%d and %d cells, in the other order %d and %d, want 0 and %d; sync %v, %v", on, off, on2, off2, 6*32*62, a.sync, b.sync)
	}
}

// A version that is off by 1.6 is off in all its nodes: the total's interval holds the
// truth regardless.
func TestWideTotal(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 9))
	p := mainnetParams()
	m := NewModel(p, DefaultPrior(), nil).WithVersions([]VersionCheck{
		{Kind: lighthouse.Kind, Release: lighthouse.Release(), WatchedRatio: 1, WatchedError: 0.4},
	})
	const validators, nodes = 300, 200
	var list []Estimate
	for range nodes {
		e := evidenceOf(r, p, validators*16/10, 20, 0.003, Custody{})
		list = append(list, m.Estimate(e))
	}
	if got := totalOf(m, list); got.Low > validators*nodes || got.High < validators*nodes {
		t.Errorf("total [%.0f, %.0f], truth %d", got.Low, got.High, validators*nodes)
	}
}

// Gnosis has sync committee periods of 512 epochs.
func TestSyncPeriodOfGnosis(t *testing.T) {
	for period, want := range map[uint64]uint32{256: 8, 512: 4} {
		p := paramsOf(300_000, 16)
		p.Preset.EpochsPerSyncCommitteePeriod = period
		s := NewStatistics(lighthouse)
		s.AddSyncnets(p, slotTime(p, 1030, 0), 1)
		s.AddSyncnets(p, slotTime(p, 1500, 0), 1)
		e := NewEvidence(lighthouse, Custody{})
		e.Add(s, lighthouse)
		e.sum()
		if got := e.sync.on + e.sync.off; got != want {
			t.Errorf("periods of %d epochs: %d cells, want %d", period, got, want)
		}
	}
}

// A number between two bands could never be an estimate.
func TestPriorsCoverEveryNumber(t *testing.T) {
	for name, bands := range map[string][]Band{"default": DefaultPrior().Bands, "fitted": fittedBands()} {
		next := 0
		for _, b := range bands {
			if b.Low != next || b.High < b.Low {
				t.Errorf("%s: a band from %d to %d, want one from %d on", name, b.Low, b.High, next)
			}
			next = b.High + 1
		}
		if next != maxValidators+1 {
			t.Errorf("%s: the bands end with %d, want %d", name, next-1, maxValidators)
		}
	}
	sum := 0.0
	for _, b := range DefaultPrior().Bands {
		sum += b.Share
	}
	if math.Abs(sum-1) > 1e-9 {
		t.Errorf("the shares of the default prior sum to %v", sum)
	}
}

// The grid ends at the most that there can be, and the prior's mean is of this world.
func TestGridAndPrior(t *testing.T) {
	for _, n := range []int{1, 64, 201, 300, 1000, 2048, 12_345} {
		if g := newGrid(n); g[len(g)-1] != n {
			t.Errorf("the grid for %d ends at %d", n, g[len(g)-1])
		}
	}
	got := NewModel(mainnetParams(), DefaultPrior(), nil).Estimate(NewEvidence(lighthouse, Custody{}))
	if got.Mean < 80 || got.Mean > 150 {
		t.Errorf("a node of which nothing is known has %.0f validators, want about 110", got.Mean)
	}
}

// A node that keeps all sync committee subnets by choice, with few validators, is never
// estimated far beyond its custody group count: neither when it keeps all attestation
// subnets as well, whatever its client, nor when it does not.
func TestSyncSubnetsByChoice(t *testing.T) {
	p := mainnetParams()
	m := NewModel(p, DefaultPrior(), nil)
	for _, c := range []eth2.Client{lodestar, prysm, lighthouse, teku, stranger} {
		for _, groups := range []uint64{4, 8, 16, 64} {
			for name, day := range map[string]func() *Statistics{
				"no subnets seen":            func() *Statistics { return NewStatistics(c) },
				"all subnets at first sight": func() *Statistics { return snapshotsOf(p, c, 1000, 1, 0, 0) },
				"all subnets for epochs":     func() *Statistics { return snapshotsOf(p, c, 1000, 20, 0, 0) },
				"two long-lived subnets": func() *Statistics {
					s := NewStatistics(c)
					for i := range 5 {
						s.AddSnapshot(p, Snapshot{At: slotTime(p, 1000+i, 9) + 5000, Subscribed: []int{1, 2}, LongLived: eth2.NewAttnets([]int{1, 2})})
					}
					return s
				},
			} {
				for _, periods := range []int{1, 3} {
					s := day()
					for i := range periods {
						s.AddSyncnets(p, slotTime(p, 1030+256*i, 0), everySyncnet)
					}
					var custody Custody
					custody.Observe(0, groups)
					e := NewEvidence(c, custody)
					e.Add(s, c)
					if got := m.Estimate(e); got.Mean > 3*float64(groups)+200 {
						t.Errorf("%s, %d groups, %s, %d periods: mean %.0f, median %d, [%.0f to %.0f]", c.Kind, groups, name, periods, got.Mean, got.Median, got.Low, got.High)
					}
				}
			}
		}
	}
}

// A node that declares all attestation subnets keeps the sync committee subnets with them, whether
// it told its subscriptions or not.
func TestDeclaredSubnetsWithoutSubscriptions(t *testing.T) {
	p := mainnetParams()
	m := NewModel(p, DefaultPrior(), nil)
	all := make([]int, eth2.AttestationSubnetCount)
	for i := range all {
		all[i] = i
	}
	for _, c := range []eth2.Client{lodestar, prysm, lighthouse, teku, stranger} {
		var custody Custody
		custody.Observe(0, 128)
		want := m.Estimate(NewEvidence(c, custody))
		for _, subscribed := range [][]int{nil, {}, {1, 2}, all} {
			s := NewStatistics(c)
			s.AddSnapshot(p, Snapshot{At: slotTime(p, 1000, 9) + 5000, Subscribed: subscribed, LongLived: eth2.NewAttnets(all)})
			s.AddSyncnets(p, slotTime(p, 1000, 9), everySyncnet)
			e := NewEvidence(c, custody)
			e.Add(s, c)
			if got := m.Estimate(e); !s.AllSubnets() || got.Mean != want.Mean || got.Low != want.Low || got.High != want.High {
				t.Errorf("%s, subscribed to %d: mean %.0f [%.0f to %.0f], want that of custody, %.0f [%.0f to %.0f]",
					c.Kind, len(subscribed), got.Mean, got.Low, got.High, want.Mean, want.Low, want.High)
			}
		}
	}
}

// The same subnets, with duties to match, are those of a large node.
func TestSyncSubnetsOfALargeNode(t *testing.T) {
	p := mainnetParams()
	m := NewModel(p, DefaultPrior(), nil)
	for periods := 1; periods <= 3; periods++ {
		s := NewStatistics(lighthouse)
		for i := range periods {
			s.AddSyncnets(p, slotTime(p, 1030+256*i, 0), everySyncnet)
		}
		var custody Custody
		custody.Observe(0, 128)
		e := NewEvidence(lighthouse, custody)
		without := m.Estimate(e)
		e.Add(s, lighthouse)
		if with := m.Estimate(e); with.Mean <= without.Mean || with.High < 5000 {
			t.Errorf("%d periods: mean %.0f, up to %.0f; without them %.0f", periods, with.Mean, with.High, without.Mean)
		}
	}
}
