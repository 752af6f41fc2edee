package estimate

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/chainbound/valtrack/internal/eth2"
)

// habitEvidence is what days of three watched epochs show of a Lighthouse node with a habit, at
// a rate.
func habitEvidence(r *rand.Rand, validators, days int, h habit, rate float64, custody uint64) Node {
	p := mainnetParams()
	n := Node{Client: lighthouse}
	n.Custody.Observe(0, custody)
	for day := range days {
		s := NewStatistics(lighthouse)
		for epoch := range 3 {
			filled := map[int]bool{}
			for range validators {
				shows := h == everyDuty || h == byWindow && r.Float64() < rate*p.AggregatorShare()
				if place := r.IntN(2048); shows && place%64 > 1 { // not on a long-lived subnet
					filled[place] = true
				}
			}
			on := uint32(len(filled))
			x := run{from: eth2.Slot(32 * (1000 + 225*day + epoch)), slots: 32, on: on, off: 62*32 - on}
			s.behaviour.addEpochs(x.behaviour())
			s.readings[0].runs = append(s.readings[0].runs, x)
		}
		n.Statistics = append(n.Statistics, s)
	}
	return n
}

func (n Node) evidence() *Evidence {
	e := NewEvidence(n.Client, n.Custody)
	for _, s := range n.Statistics {
		e.Add(s, n.Client)
	}
	return e
}

// A node is not believed where it does not show its duties as the model assumes: its interval
// has the truth, or it is flagged.
func TestHabits(t *testing.T) {
	m := NewModel(mainnetParams(), DefaultPrior(), nil)
	for _, c := range []struct {
		name             string
		validators, days int
		habit            habit
		custody          uint64
		flags            Flags
		holds            bool
	}{
		{"as assumed, small", 3, 7, byWindow, 8, 0, true},
		{"as assumed, by custody", 50, 7, byWindow, 50, 0, true},
		{"as assumed, large", 500, 7, byWindow, 128, 0, true},
		{"every duty, three epochs, by custody", 50, 1, everyDuty, 50, FlagEveryDuty, true},
		{"every duty, few validators", 5, 7, everyDuty, 8, FlagEveryDuty, true},
		{"every duty, without custody", 5, 7, everyDuty, 0, FlagEveryDuty, true},
		{"every duty, all columns", 20, 7, everyDuty, 128, FlagEveryDuty, true},
		{"every duty, many", 200, 7, everyDuty, 128, FlagEveryDuty, true},
		{"silent, by custody", 20, 40, silent, 20, FlagSilent, true},
		{"silent, many", 300, 40, silent, 128, FlagSilent, false},
		{"custody that says too little", 120, 40, byWindow, 20, FlagConflict, true},
		{"custody that says too little for validators at 31 ETH", 100, 7, byWindow, 99, 0, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(5, 5))
			good := 0
			const nodes = 20
			var last Estimate
			for range nodes {
				got := m.Estimate(habitEvidence(r, c.validators, c.days, c.habit, 1, c.custody).evidence())
				v := float64(c.validators)
				if got.Flags == c.flags && (!c.holds || got.Low <= v && v <= got.High) {
					good++
				}
				last = got
			}
			if good < nodes*17/20 {
				t.Errorf("%d of %d nodes are as they should be, e.g. %+v (%v)", good, nodes, last, last.Flags.Names())
			}
		})
	}
}

// The rate of a version is found, whatever a single node of it shows, and applied.
func TestRateOfAVersion(t *testing.T) {
	p := mainnetParams()
	m := NewModel(p, DefaultPrior(), nil)
	for _, rate := range []float64{0.75, 1, 1.35} {
		r := rand.New(rand.NewPCG(6, 6))
		var nodes []Node
		for i := range 120 {
			v := []int{0, 4, 20, 40, 80, 110}[i%6]
			nodes = append(nodes, habitEvidence(r, v, 10, byWindow, rate, uint64(required(v))))
		}
		// One that shows far more than its custody group count has, and far longer.
		nodes = append(nodes, habitEvidence(r, 220, 200, byWindow, 1, 110))
		c := Calibrate(m, slices.Values(nodes))
		got := c.Versions[0]
		if math.Abs(got.WatchedRatio/rate-1) > 0.05 || got.WatchedError <= 0 || got.WatchedError > 0.06 {
			t.Errorf("rate %.3f with an error of %.3f, want %v", got.WatchedRatio, got.WatchedError, rate)
		}
		if failed := rate != 1; (got.Watched == Failed) != failed || (got.Trust == TrustWide) != failed {
			t.Errorf("rate %v: verdict %v, trust %v", rate, got.Watched, got.Trust)
		}
		large := habitEvidence(r, 500, 40, byWindow, rate, 128).evidence()
		if e := m.WithVersions(c.Versions).Estimate(large); e.Low > 500 || e.High < 500 || e.Shared <= 0 {
			t.Errorf("rate %v: 500 validators are %+v", rate, e)
		}
	}
}

// The shares of habits are learned, and small where nobody has them.
func TestSharesOfHabits(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 8))
	m := NewModel(mainnetParams(), DefaultPrior(), nil)
	for _, every := range []int{0, 100} {
		var nodes []Node
		for i := range 400 {
			h := byWindow
			if i < every {
				h = everyDuty
			}
			nodes = append(nodes, habitEvidence(r, 30, 7, h, 1, 30))
		}
		got := Calibrate(m, slices.Values(nodes)).Versions[0]
		want := (float64(every) + 1) / 600
		if math.Abs(got.EveryDuty-want) > 0.01 || got.Silent > 0.01 {
			t.Errorf("shares %.4f and %.4f, want %.4f and about 0", got.EveryDuty, got.Silent, want)
		}
	}
}

// The days since a change are found, and none where nothing changed.
func TestStretch(t *testing.T) {
	m := NewModel(mainnetParams(), DefaultPrior(), nil)
	r := rand.New(rand.NewPCG(9, 9))
	for _, c := range []struct {
		name       string
		validators []int // by day
		want       int32
	}{
		{"the same", []int{100, 100, 100, 100, 100, 100, 100}, 0},
		{"none", []int{0, 0, 0, 0, 0, 0, 0}, 0},
		{"more", []int{100, 100, 100, 100, 500, 500, 500}, 4},
		{"gone", []int{1000, 1000, 1000, 1000, 0, 0, 0}, 4},
		{"twice", []int{1000, 1000, 100, 100, 100, 1000, 1000}, 5},
		{"a little", []int{1000, 1000, 1000, 1000, 1050, 1050, 1050}, 0},
		{"one day", []int{300}, 0},
	} {
		var days []DayStatistics
		for i, v := range c.validators {
			n := habitEvidence(r, v, 1, byWindow, 1, 128)
			days = append(days, DayStatistics{Day: int32(i), Client: lighthouse, Statistics: n.Statistics[0]})
		}
		if got := m.Stretch(days); got != c.want {
			t.Errorf("%s: since day %d, want %d", c.name, got, c.want)
		}
	}
	if m.Stretch(nil) != 0 {
		t.Error("no days have a stretch")
	}
}

// A change into saturation is seen: days on which every subnet is on count.
func TestStretchIntoSaturation(t *testing.T) {
	m := NewModel(mainnetParams(), DefaultPrior(), nil)
	var days []DayStatistics
	for day := range int32(7) {
		s := NewStatistics(prysm)
		on := uint32(3)
		if day >= 4 {
			on = 62
			s.fullness = fullness{fullEpochs: 3, full: 3, firstFull: 1, lastFull: 3}
		}
		for epoch := range eth2.Slot(3) {
			s.readings[0].insert(run{from: 32 * (1000 + 225*eth2.Slot(day) + epoch), slots: 32, on: on, off: 62 - on, cell: 32})
		}
		days = append(days, DayStatistics{Day: day, Client: prysm, Statistics: s})
	}
	if got := m.Stretch(days); got != 4 {
		t.Errorf("since day %d, want 4", got)
	}
	days[6].fullness = fullness{full: 1, otherEpochs: 3} // one snapshot of all subnets
	days[4], days[5] = days[0], days[1]
	days[4].Day, days[5].Day = 4, 5
	if got := m.Stretch(days); got != 0 {
		t.Errorf("one day with a snapshot of all subnets: since day %d, want 0", got)
	}
}

// A node that upgrades has not moved: what is not known of the rates of both releases is no
// change of its validators.
func TestStretchOverAnUpgrade(t *testing.T) {
	of := func(factor, sd float64, release string) VersionCheck {
		return VersionCheck{Kind: lighthouse.Kind, Release: release, WatchedRatio: factor, WatchedError: sd}
	}
	upgraded := lighthouse
	upgraded.Version = "v9.0.0"
	r := rand.New(rand.NewPCG(10, 10))
	var days []DayStatistics
	for day := range int32(6) {
		c := lighthouse
		if day >= 3 {
			c = upgraded
		}
		days = append(days, DayStatistics{Day: day, Client: c, Statistics: habitEvidence(r, 1000, 1, byWindow, 0.6, 128).Statistics[0]})
	}
	m := NewModel(mainnetParams(), DefaultPrior(), nil)
	known := of(0.6, 0.02, lighthouse.Release())
	for _, c := range []struct {
		name     string
		versions []VersionCheck
		want     int32
	}{
		{"the new release was not met before", []VersionCheck{known}, 0},
		{"its rate is not known", []VersionCheck{known, of(1, 0.3, "9.0.0")}, 0},
		{"its rate is known to be another", []VersionCheck{known, of(1, 0.02, "9.0.0")}, 3},
	} {
		if got := m.WithVersions(c.versions).Stretch(days); got != c.want {
			t.Errorf("%s: since day %d, want %d", c.name, got, c.want)
		}
	}
}

// A Teku node that subscribes when an epoch begins, and not an epoch ahead, shows next to nothing at
// the times at which Teku is read: that is no evidence, and the node is flagged.
func TestLateSubscriptionsAreNoEvidence(t *testing.T) {
	p := mainnetParams()
	m := NewModel(p, DefaultPrior(), nil)
	const validators, slot = 100, 12_000
	for _, ahead := range []bool{true, false} {
		r := rand.New(rand.NewPCG(22, 22))
		s := NewStatistics(teku)
		for visit := range 7 {
			from := 1000 + 30*visit
			var spans [][3]int64
			for epoch := from; epoch < from+4; epoch++ {
				for subnet := range int64(62) {
					if r.Float64() > validators*p.AggregatorShare()/64 {
						continue
					}
					begin, end := slotTime(p, epoch, 0)+200, slotTime(p, epoch, r.IntN(32))+slot+200
					if ahead {
						begin -= 32 * slot
					}
					spans = append(spans, [3]int64{begin, end, subnet})
				}
			}
			s.AddWatch(p, logOf(slotTime(p, from, 0)-2000, slotTime(p, from+3, 0)+2000, spans...))
		}
		var c Custody
		c.Observe(0, validators)
		e := NewEvidence(teku, c)
		e.Add(s, teku)
		got := m.Estimate(e.Clone().Close())
		if on, off := e.Cells(); (on+off > 0) != ahead || (got.Flags == FlagConflict) == ahead || got.Low > validators || got.High < validators {
			t.Errorf("an epoch ahead %v: %d and %d cells, %+v (%v)", ahead, on, off, got, got.Flags.Names())
		}
	}
}

// Chances of custody group counts are probabilities.
func TestCustodyChancesSumToOne(t *testing.T) {
	c := custodyShares{shareUnderReport, assumedFormer}
	for _, stake := range []int{0, 1, 8, 9, 20, 100, 127, 128, 140, 1000} {
		sum := 0.0
		for count := range eth2.NumberOfCustodyGroups + 1 {
			sum += c.chance(count, stake)
		}
		// Those that count less than they have may also say 0, which is no evidence.
		if sum < 0.97 || sum > 1.02 {
			t.Errorf("a stake of %d units: the chances of all counts sum to %.3f", stake, sum)
		}
	}
}
