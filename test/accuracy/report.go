package main

import (
	"fmt"
	"io"
	"text/tabwriter"
)

const (
	reportSeed = 20261122
	// trialsAtFixed and trialsDrawn are nodes of one cell of a table; a day's
	// observations take more time, and vary less.
	trialsAtFixed, fixedOfADay = 300, 100
	trialsDrawn, drawnOfADay   = 3000, 500
	aDay                       = 225 // epochs
)

// report prints the tables of docs/methodology.md.
func report(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 1, ' ', 0)
	nodes := byValidators(w) + overall(w)
	fmt.Fprintf(w, "\n%d simulated nodes\n", nodes)
	return w.Flush()
}

// byValidators prints the error by number of validators and watched epochs.
func byValidators(w io.Writer) (nodes int) {
	net := mainnet()
	m := modelOf(paramsOf(net))
	epochs := []int{1, 5, 20, aDay}
	for _, c := range []struct {
		title   string
		mode    mode
		custody bool
	}{
		{"watched, with custody", watched, true}, {"watched", watched, false},
		{"a snapshot per epoch, with custody", snapshots, true}, {"a snapshot per epoch", snapshots, false},
	} {
		fmt.Fprintf(w, "\n%s: median relative error / coverage of the 90 %% interval\n\n| V\t", c.title)
		for _, n := range epochs {
			fmt.Fprintf(w, "| %d epochs\t", n)
		}
		if c.mode == snapshots && !c.custody {
			fmt.Fprint(w, "| earlier rule, 20\t| earlier rule, 225\t")
		}
		fmt.Fprintln(w, "|")
		for i, v := range []int{0, 1, 2, 5, 10, 30, 100, 300, 1000} {
			fmt.Fprintf(w, "| %d\t", v)
			var earlier []float64
			for _, n := range epochs {
				s := trial{c.mode, c.custody, n}.fixed(reportSeed+uint64(i), net, m, v, trialsFor(n, trialsAtFixed, fixedOfADay))
				fmt.Fprintf(w, "| %.2f / %.2f\t", s.medianError, s.coverage)
				earlier = append(earlier, s.earlierError)
				nodes += s.nodes
			}
			if c.mode == snapshots && !c.custody {
				fmt.Fprintf(w, "| %.2f\t| %.2f\t", earlier[2], earlier[3])
			}
			fmt.Fprintln(w, "|")
		}
	}
	return nodes
}

// overall prints detection and totals over nodes drawn from the population.
func overall(w io.Writer) (nodes int) {
	net := mainnet()
	m := modelOf(paramsOf(net))
	fmt.Fprint(w, "\nnodes drawn from the prior\n\n| mode\t| custody\t| epochs\t| coverage\t| recall at P 0.9\t| false positives\t| sum over truth\t| earlier rule's sum over truth\t|\n")
	for i, t := range allTrials() {
		s := t.drawn(reportSeed+100+uint64(i), net, m, trialsFor(t.epochs, trialsDrawn, drawnOfADay))
		nodes += s.nodes
		earlier := ""
		if t.mode == snapshots {
			earlier = fmt.Sprintf("%.4f", s.earlierTotal)
		}
		fmt.Fprintf(w, "| %s\t| %v\t| %d\t| %.3f\t| %.3f\t| %.3f\t| %.3f\t| %s\t|\n",
			[]string{"watched", "snapshots"}[t.mode], t.custody, t.epochs, s.coverage, s.recall, s.falsePositive, s.total, earlier)
	}
	return nodes
}

func trialsFor(epochs, usual, ofADay int) int {
	if epochs < aDay {
		return usual
	}
	return ofADay
}

// allTrials are all ways to observe.
func allTrials() (list []trial) {
	for _, m := range []mode{snapshots, watched} {
		for _, custody := range []bool{false, true} {
			for _, n := range []int{1, 5, 20, aDay} {
				list = append(list, trial{m, custody, n})
			}
		}
	}
	return list
}
