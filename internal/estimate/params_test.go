package estimate

import (
	"math"
	"math/bits"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/chainbound/valtrack/internal/eth2"
)

func mainnetParams() Params { return paramsOf(950_000, 32) }

// withBalance is a network whose validators hold so much on average, in ETH.
func withBalance(p Params, mean float64) Params {
	p.Balance = Balance{Mean: mean, Error: 0.02}
	return p
}

func paramsOf(validators, slotsPerEpoch uint64) Params {
	return Params{
		Clock:            eth2.Clock{Genesis: time.Unix(1_606_824_023, 0), SlotDuration: 12 * time.Second, SlotsPerEpoch: slotsPerEpoch},
		Preset:           eth2.MainnetPreset(),
		ActiveValidators: validators,
	}
}

func TestCommittees(t *testing.T) {
	for _, c := range []struct {
		validators, slots, committees uint64
		share                         float64
	}{
		{950_000, 32, 64, mixed(950_000, 2048)},
		{463 * 2048, 32, 64, 1.0 / 28},
		{2048, 32, 1, 1.0 / 4},
		{64, 32, 1, 1},
		{300_000, 16, 64, mixed(300_000, 1024)},
		{0, 32, 1, 1},
	} {
		p := paramsOf(c.validators, c.slots)
		if got := p.CommitteesPerSlot(); got != c.committees {
			t.Errorf("%d validators, %d slots: %d committees, want %d", c.validators, c.slots, got, c.committees)
		}
		if got := p.AggregatorShare(); math.Abs(got-c.share) > 1e-9 {
			t.Errorf("%d validators, %d slots: aggregators' share %v, want %v", c.validators, c.slots, got, c.share)
		}
	}
}

// mixed sums over committees as compute_committee cuts them.
func mixed(validators, committees int) (share float64) {
	for i := range committees {
		size := validators*(i+1)/committees - validators*i/committees
		share += float64(size) / float64(validators) / float64(max(1, size/16))
	}
	return share
}

// Every subnet that a slot's committees are given is reached, and no other
// (phase0/validator.md, compute_subnet_for_attestation).
func TestReached(t *testing.T) {
	for _, validators := range []uint64{64, 20_000, 100_000, 950_000} {
		p := paramsOf(validators, 32)
		committees := p.CommitteesPerSlot()
		for slot := range eth2.Slot(70) {
			var want uint64
			for i := range committees {
				want |= 1 << ((committees*(uint64(slot)%32) + i) % 64)
			}
			if got := p.reached(slot, 1); got != want {
				t.Fatalf("%d validators, slot %d: reaches %x, want %x", validators, slot, got, want)
			}
		}
	}
	if got := bits.OnesCount64(paramsOf(64, 32).reached(1, 32)); got != 32 {
		t.Errorf("with a committee a slot an epoch reaches %d subnets, want 32", got)
	}
}

// In small networks a cell's chance is that of dealing validators into committees.
func TestEmptyWithoutReplacement(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 5))
	for _, c := range []struct{ active, mine int }{{64, 60}, {64, 4}, {2048, 500}, {2048, 2000}, {40_000, 9000}} {
		p := paramsOf(uint64(c.active), 32)
		committees := int(32 * p.CommitteesPerSlot())
		pAgg, empty := p.AggregatorShare(), 0
		const deals = 40_000
		for range deals {
			// Whether each member of one committee is mine, one after the other.
			mine, left, members := c.mine, c.active, c.active/committees
			filled := false
			for range members {
				if r.IntN(left) < mine {
					mine--
					filled = filled || r.Float64() < pAgg
				}
				left--
			}
			if !filled {
				empty++
			}
		}
		want := float64(empty) / deals
		got := math.Exp(p.logEmpty(oneCommittee, c.mine, 1))
		if math.Abs(got-want) > 4*math.Sqrt(want*(1-want)/deals)+1e-4 {
			t.Errorf("%d of %d validators: a committee is empty with %v, want %v", c.mine, c.active, got, want)
		}
	}
}

// Where both ways to compute apply they agree.
func TestEmptyIsContinuous(t *testing.T) {
	p := paramsOf(fewValidators, 32)
	for _, v := range []int{0, 1, 50, 1000, 20_000} {
		for _, c := range []cell{oneCommittee, 2, 33, 64} {
			exact := p.logEmpty(c, v, 1)
			share := p.share(c)
			independent := float64(v) * math.Log1p(-p.AggregatorShare()*(share[0]+share[1]))
			if math.Abs(exact-independent) > 0.01*math.Abs(independent)+1e-12 {
				t.Errorf("V=%d, cell %d: %v without replacement, %v with", v, c, exact, independent)
			}
		}
	}
}

func TestLogEmptyIsFinite(t *testing.T) {
	for _, active := range []uint64{0, 1, 64, 5000, 200_000} {
		p := paramsOf(active, 32)
		for v := 0; v <= int(p.active()); v += 1 + int(p.active())/50 {
			for _, c := range []cell{oneCommittee, 1, 32, 64} {
				for _, f := range []float64{0.5, 1, 2} {
					if q := p.logEmpty(c, v, f); math.IsNaN(q) || q > 1e-6 {
						t.Fatalf("%d of %d, cell %d, factor %v: %v", v, active, c, f, q)
					}
				}
			}
		}
	}
}
