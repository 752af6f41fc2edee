package main

import (
	"fmt"
	"math"
	"strings"
)

// check is one demand on a case, and what came out.
type check struct {
	text string
	ok   bool
}

// replications are the crawls of a case.
type replications []*crawl

// mostly is how many of the replications 17 of 20 are.
func (r replications) mostly() int { return len(r) * 17 / 20 }

func (r replications) mean(of func(c *crawl) float64) (sum float64) {
	for _, c := range r {
		sum += of(c) / float64(len(r))
	}
	return sum
}

func (r replications) count(has func(c *crawl) bool) (n int) {
	for _, c := range r {
		if has(c) {
			n++
		}
	}
	return n
}

func near(name string, value, truth, within float64) check {
	return check{fmt.Sprintf("%s %.3f (%.3g ± %.2g)", name, value, truth, within*truth), math.Abs(value-truth) <= within*truth}
}

func (r replications) holds(name string, has func(c *crawl) bool) check {
	n := r.count(has)
	return check{fmt.Sprintf("%s %d of %d (%d)", name, n, len(r), r.mostly()), n >= r.mostly()}
}

const totalOverTruth = "total over truth"

// total demands that the total is right on average, and its interval in most replications.
func (r replications) total(within float64) []check {
	return []check{
		near(totalOverTruth, r.mean(func(c *crawl) float64 { return c.total.Validators / c.truth() }), 1, within),
		r.totalHolds(),
	}
}

func (r replications) totalHolds() check {
	return r.holds("interval holds", func(c *crawl) bool { return interval{0, c.total.Low, c.total.High}.holds(c.truth()) })
}

// holdsWithHidden is totalHolds with what the total says may be hidden.
func (r replications) holdsWithHidden() check {
	hidden := r.mean(func(c *crawl) float64 { return c.total.Hidden / c.total.Validators })
	return r.holds(fmt.Sprintf("interval with the hidden, %.2f of the total, holds", hidden), func(c *crawl) bool {
		return interval{0, c.total.Low, c.total.High + c.total.Hidden}.holds(c.truth())
	})
}

// halfWidth demands that the total's interval is narrow.
func (r replications) halfWidth(most float64) check {
	w := r.mean(func(c *crawl) float64 { return (c.total.High - c.total.Low) / 2 / c.total.Validators })
	return check{fmt.Sprintf("half-width %.3f (%.2g)", w, most), w <= most}
}

// stakes is total for the ETH.
func (r replications) stakes() []check {
	return []check{
		near("stake over truth", r.mean(func(c *crawl) float64 { return c.stake.value / c.trueStake() }), 1, 0.05),
		r.holds("interval holds", func(c *crawl) bool { return c.stake.holds(c.trueStake()) }),
		{fmt.Sprintf("half-width %.2f", r.mean(func(c *crawl) float64 {
			return (c.stake.high - c.stake.low) / 2 / c.stake.value
		})), true},
	}
}

// multiplicities demands that the multiplicity is right and told from 1.
func (r replications) multiplicities() []check {
	return []check{
		near("multiplicity over truth", r.mean(func(c *crawl) float64 { return c.multiplicity.value / c.trueMultiplicity() }), 1, 0.20),
		{fmt.Sprintf("truth %.3f", r.mean((*crawl).trueMultiplicity)), true},
		r.holds("interval holds", func(c *crawl) bool { return c.multiplicity.holds(c.trueMultiplicity()) }),
		r.holds("above 1", func(c *crawl) bool { return c.multiplicity.low > 1 }),
	}
}

// members are those of a group in all replications.
func (r replications) members(in func(m *member) bool) (list []*member) {
	for _, c := range r {
		for _, m := range c.members {
			if in(m) {
				list = append(list, m)
			}
		}
	}
	return list
}

func group(name string) func(m *member) bool { return func(m *member) bool { return m.group == name } }

func (m *member) holds() bool {
	return interval{0, m.estimate.Low, m.estimate.High}.holds(float64(m.validators))
}

// share is how many of some nodes have a property.
func share(list []*member, has func(m *member) bool) float64 {
	n := 0.0
	for _, m := range list {
		if has(m) {
			n++
		}
	}
	return n / math.Max(1, float64(len(list)))
}

func atLeast(name string, value, least float64, of int) check {
	return check{fmt.Sprintf("%s %.3f of %d (%.2g)", name, value, of, least), of > 0 && value >= least}
}

func atMost(name string, value, most float64, of int) check {
	return check{fmt.Sprintf("%s %.3f of %d (%.2g)", name, value, of, most), of > 0 && value <= most}
}

// coverage demands that intervals hold in each bucket of 50 nodes or more.
func (r replications) coverage() check {
	const enough, least = 50, 0.88
	worst, text := math.Inf(1), ""
	for _, b := range [][2]int{{0, 0}, {1, 1}, {2, 8}, {9, 31}, {32, 127}, {128, 399}, {400, 1199}, {1200, 3999}, {4000, math.MaxInt}} {
		list := r.members(func(m *member) bool { return m.group == "" && m.validators >= b[0] && m.validators <= b[1] })
		if c := share(list, (*member).holds); len(list) >= enough && c < worst {
			worst, text = c, fmt.Sprintf("coverage %.3f of %d from V = %d on (%.2g)", c, len(list), b[0], least)
		}
	}
	return check{text, worst >= least}
}

// medianError demands that the median relative error of some nodes is small.
func (r replications) medianError(name string, in func(m *member) bool) check {
	const most = 0.05
	var errs []float64
	for _, m := range r.members(in) {
		v := float64(m.validators)
		errs = append(errs, math.Abs(float64(m.estimate.Median)-v)/math.Max(1, v))
	}
	if len(errs) == 0 {
		return check{name + ": no nodes", false}
	}
	return atMost(name+": median error", median(errs), most, len(errs))
}

// others demands that the sum over the ordinary nodes is right on average.
func (r replications) others() check {
	return near("others' sum", r.mean(func(c *crawl) float64 {
		sum, truth := 0.0, 0.0
		for _, m := range c.members {
			if m.group == "" {
				sum, truth = sum+m.estimate.Mean, truth+float64(m.validators)
			}
		}
		return sum / math.Max(1, truth)
	}), 1, 0.05)
}

// visiblyUnsure demands of a group's nodes that their intervals hold, as often as those of
// other nodes, or that they are flagged.
func (r replications) visiblyUnsure(name string) check {
	const least = 0.85
	list := r.members(group(name))
	c := atLeast(name+": holds or flagged", share(list, func(m *member) bool { return m.holds() || m.flagged }), least, len(list))
	c.text += fmt.Sprintf(", held %.2f", share(list, (*member).holds)) + ", e.g. " + examples(list)
	return c
}

// examples are the estimates of the first nodes.
func examples(list []*member) string {
	var out []string
	for _, m := range list[:min(2, len(list))] {
		e := m.estimate
		out = append(out, fmt.Sprintf("%d [%.0f to %.0f]", e.Median, e.Low, e.High))
	}
	return strings.Join(out, ", ")
}
