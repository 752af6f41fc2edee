package estimate

import (
	"math"
	"slices"

	"github.com/chainbound/valtrack/internal/eth2"
)

// DayStatistics are those of one day with one client version.
type DayStatistics struct {
	Day    int32 // since 1970
	Client eth2.Client
	*Statistics
}

// dayCells are the cells of a day.
type dayCells struct {
	day   int32
	kinds []kindCells
}

// kindCells are those which one validator fills at one rate: that of a source, whose logarithm
// has a standard deviation.
type kindCells struct {
	rate, on, of float64
	source       int // of rateSources
	sd           float64
}

// rateSources are where the rates of a node's cells come from: watches or snapshots of a client
// version. Of more than maxSources the last ones count as one.
type rateSources []rateSource

type rateSource struct {
	version  versionKey
	snapshot bool
}

const maxSources = 6

func (l *rateSources) index(s rateSource) int {
	i := slices.Index(*l, s)
	if i < 0 {
		i = len(*l)
		*l = append(*l, s)
	}
	return min(i, maxSources-1)
}

// Stretch is the day from which on a node's number of validators did not change, up to the
// last of the days, which are in order of time: the first of them if it never did. Only a
// change of the duties that show which is beyond chance, and large, counts.
func (m *Model) Stretch(days []DayStatistics) int32 {
	if len(days) == 0 {
		return 0
	}
	from, cells := days[0].Day, m.byDay(days)
	for {
		split := lastChange(cells)
		if split == 0 {
			return from
		}
		cells = cells[split:]
		from = cells[0].day
	}
}

// byDay sums the cells of each day, of the window that the peer most likely has.
func (m *Model) byDay(days []DayStatistics) (out []dayCells) {
	var sources rateSources
	for _, d := range days {
		if len(d.readings) == 0 || d.fullness.declared > 0 {
			continue
		}
		key := keyOf(d.Client)
		fit, known := m.fitOf(key), len(d.readings) == 1
		c := dayCells{day: d.Day}
		if n := len(out); n > 0 && out[n-1].day == d.Day {
			c, out = out[n-1], out[:n-1]
		}
		for _, r := range d.readings[0].all() {
			// One snapshot of all subnets proves nothing, days of them do.
			if r.snapshot && !known || r.off == 0 && !d.fullness.allSubnets() {
				continue
			}
			rate := fit.watched
			if r.snapshot {
				rate = fit.snapshots
			}
			c.add(kindCells{-rate.factor * m.cellRate(r.cell), float64(r.on), float64(r.on + r.off), sources.index(rateSource{key, r.snapshot}), rate.sd})
		}
		if len(c.kinds) > 0 {
			out = append(out, c)
		}
	}
	return out
}

// cellRate is the logarithm of the chance that one validator leaves a cell empty.
func (m *Model) cellRate(c cell) float64 {
	return m.rates.of(c, func() float64 { return m.params.logEmpty(c, 1, 1) })
}

func (d *dayCells) add(c kindCells) {
	i := slices.IndexFunc(d.kinds, func(k kindCells) bool { return k.rate == c.rate && k.source == c.source })
	if i < 0 {
		d.kinds = append(d.kinds, c)
		return
	}
	d.kinds[i].on += c.on
	d.kinds[i].of += c.of
}

const (
	// surely is by how many standard deviations the days before and after a change differ: of
	// 10,000 nodes none by chance.
	surely = 5.0
	// smallest is the factor by which they differ.
	smallest = 1.25
)

// lastChange is the day before which the rate most likely changed; 0 for none.
func lastChange(days []dayCells) (split int) {
	const least = 10 // cells
	var all dayCells
	on := 0.0
	for _, d := range days {
		for _, k := range d.kinds {
			all.add(k)
			on += k.on
		}
	}
	if on < least || len(days) < 2 {
		return 0
	}
	v := all.likeliest()
	total := all.against(v)
	best, before := surely*surely, residual{}
	for i, d := range days[:len(days)-1] {
		before = before.plus(d.against(v), 1)
		after := total.plus(before, -1)
		part := after.variance / total.variance
		diff := after.on - after.expected - part*(total.on-total.expected)
		chi := diff * diff / (after.variance*(1-part) + after.rateVariance(total, part))
		ratio := after.on * before.expected / math.Max(1e-9, after.expected*before.on)
		if chi > best && (ratio > smallest || ratio < 1/smallest) {
			best, split = chi, i+1
		}
	}
	return split
}

// residual compares filled cells with how many should be filled.
type residual struct {
	on, expected, variance float64
	// slopes are by how much the expected number grows with the logarithm of each rate, times
	// that rate's standard deviation.
	slopes [maxSources]float64
}

func (r residual) plus(o residual, times float64) residual {
	r.on, r.expected, r.variance = r.on+times*o.on, r.expected+times*o.expected, r.variance+times*o.variance
	for k, x := range o.slopes {
		r.slopes[k] += times * x
	}
	return r
}

// rateVariance is what the errors of rates add to the difference between r and its part of
// the total. One rate for all days cancels.
func (r residual) rateVariance(total residual, part float64) (sum float64) {
	for k, x := range total.slopes {
		d := r.slopes[k] - part*x
		sum += d * d
	}
	return sum
}

// against compares a day with a number of validators.
func (d dayCells) against(validators float64) (r residual) {
	for _, k := range d.kinds {
		empty := math.Exp(-k.rate * validators)
		r.on += k.on
		r.expected += k.of * (1 - empty)
		r.variance += k.of * (1 - empty) * empty
		r.slopes[k.source] += k.sd * k.of * k.rate * validators * empty
	}
	return r
}

// likeliest is the number of validators under which the cells are most likely.
func (d dayCells) likeliest() float64 {
	low, high := math.Log(1e-3), math.Log(10*maxValidators)
	for range 30 {
		mid := (low + high) / 2
		slope, v := 0.0, math.Exp(mid) // of the logarithm of the likelihood
		for _, k := range d.kinds {
			full := -math.Expm1(-k.rate * v)
			slope += k.rate * (k.on/full - k.of)
		}
		if slope > 0 {
			low = mid
		} else {
			high = mid
		}
	}
	return math.Exp((low + high) / 2)
}
