package main

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
)

// scenario is a network that is not as the model assumes, or one that is, and what the
// estimates have to satisfy all the same.
type scenario struct {
	name, about string
	run         func(seed uint64) *crawl
	checks      func(r replications) []check
}

// runCases runs the named scenarios, or all, and prints a table; ok is false when a demand is
// not met.
func runCases(out, progress io.Writer, names string, seed uint64, seeds int) (ok bool, err error) {
	list := scenarios()
	if names != "all" {
		var chosen []scenario
		for name := range strings.SplitSeq(names, ",") {
			i := slices.IndexFunc(list, func(s scenario) bool { return s.name == name })
			if i < 0 {
				return false, fmt.Errorf("-case %q: no such case; -list prints them", name)
			}
			chosen = append(chosen, list[i])
		}
		list = chosen
	}
	var rows []row
	ok = true
	for _, s := range list {
		start := time.Now()
		r := s.replicate(seed, seeds)
		rows = append(rows, s.judge(r))
		ok = ok && rows[len(rows)-1].ok
		fmt.Fprintln(progress, time.Since(start).Round(time.Second/10), rows[len(rows)-1].text)
	}
	slices.SortStableFunc(rows, func(a, b row) int { return cmp.Compare(b.off, a.off) })
	fmt.Fprintf(out, "%d replications, most wrong total first; what must hold is in parentheses\n\n", seeds)
	fmt.Fprint(out, "| case | network | result | figures |\n|---|---|---|---|\n")
	for _, r := range rows {
		fmt.Fprintln(out, r.text)
	}
	return ok, nil
}

// row is a case's in the table.
type row struct {
	text string
	ok   bool
	off  float64 // of the total, on average
}

// judge makes a case's row: what failed comes first, in bold.
func (s scenario) judge(r replications) row {
	ratio := r.mean(func(c *crawl) float64 { return c.total.Validators / c.truth() })
	out := row{ok: true, off: math.Abs(ratio - 1)}
	var failed, held []string
	for _, c := range s.checks(r) {
		if c.ok {
			held = append(held, c.text)
		} else {
			failed = append(failed, "**"+c.text+"**")
		}
	}
	result := "holds"
	if out.ok = len(failed) == 0; !out.ok {
		result = "FAILS"
	}
	texts := append(failed, held...)
	if !slices.ContainsFunc(texts, func(t string) bool { return strings.Contains(t, totalOverTruth) }) {
		texts = append(texts, fmt.Sprintf("%s %.3f", totalOverTruth, ratio))
	}
	out.text = fmt.Sprintf("| %s | %s | %s | %s |", s.name, s.about, result, strings.Join(texts, "; "))
	return out
}

// replicate runs a scenario on as many seeds, from one on, on all processors.
func (s scenario) replicate(seed uint64, seeds int) replications {
	r := make(replications, seeds)
	next := make(chan int)
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for i := range next {
				r[i] = s.run(seed + uint64(i))
				for _, m := range r[i].members {
					m.days = nil
				}
			}
		})
	}
	for i := range seeds {
		next <- i
	}
	close(next)
	workers.Wait()
	return r
}
