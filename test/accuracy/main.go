// Accuracy measures the estimator against truth in simulation: nodes with known
// validators, their subscriptions in time as the six clients make them, with watches
// and snapshots, without a network.
package main

import (
	"fmt"
	"os"
)

func main() {
	if err := report(os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
