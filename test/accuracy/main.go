// Accuracy measures the estimator against truth in simulation: nodes with known
// validators, their subscriptions in time as the six clients make them, with watches
// and snapshots, without a network.
package main

import (
	"flag"
	"fmt"
	"os"
)

func main() {
	names := flag.String("case", "", "run these cases, separated by commas, or all; without it, print the tables of fixed numbers of validators")
	list := flag.Bool("list", false, "list the cases")
	seeds := flag.Int("replications", 20, "crawls of each case")
	seed := flag.Uint64("seed", 20261129, "of the first crawl; the others have the next ones")
	quick := flag.Bool("quick", false, "3 replications")
	flag.Parse()
	if *quick {
		*seeds = 3
	}
	if flag.NArg() > 0 || *seeds < 1 {
		flag.Usage()
		os.Exit(2)
	}
	ok, err := true, error(nil)
	switch {
	case *list:
		for _, s := range scenarios() {
			fmt.Printf("%-22s%s\n", s.name, s.about)
		}
	case *names != "":
		ok, err = runCases(os.Stdout, os.Stderr, *names, *seed, *seeds)
	default:
		err = report(os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	if !ok {
		os.Exit(1)
	}
}
