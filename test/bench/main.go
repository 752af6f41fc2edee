// Command bench measures the sentry against a floor client, raw go-libp2p that
// knows every address on the same simulated network, and the consumer against one
// that keeps nothing safe, also beside requests to its API; all in processes of their
// own. `make bench-sentry`, `make bench-ingest` and `make bench-api` run it;
// docs/benchmarks.md has its tables.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// options are the command's flags.
type options struct {
	valtrack   string // the built program
	rounds     int
	nodes      int
	cases      string // comma-separated names
	events     int
	handshakes bool
	profile    string // directory for CPU profiles of the sentry; empty for none
	verbose    bool
	scaleNodes string        // comma-separated sizes of networks
	scaleSpan  time.Duration // that each is measured for
	watchNodes int           // of the network that is watched at once
	watchSpan  time.Duration // that it is measured for
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	parts := map[string]func(context.Context, []string) error{
		"floor": floorMain, "knowing": knowingMain, "broker": brokerMain, "ingest-floor": ingestFloorMain,
	}
	args := os.Args[1:]
	run := func(ctx context.Context, args []string) error { return benchMain(ctx, args, os.Stdout) }
	if len(args) > 0 && parts[args[0]] != nil {
		run, args = parts[args[0]], args[1:]
	}
	err := run(ctx, args)
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// benchCase is one comparison; it prints its part of the table.
type benchCase struct {
	name string
	run  func(context.Context, options, io.Writer) error
}

func cases() []benchCase {
	return []benchCase{
		{"healthy", func(ctx context.Context, o options, w io.Writer) error { return compare(ctx, o, "healthy", w) }},
		{"mixed", func(ctx context.Context, o options, w io.Writer) error { return compare(ctx, o, "mixed", w) }},
		{"held", held},
		{"records", records},
		{"ingest", ingest},
		{"places", places},
		{"api", besideAPI},
		{"upkeep", upkeep},
		{"scale", scale},
		{"watch-many", watchMany},
	}
}

func benchMain(ctx context.Context, args []string, out io.Writer) error {
	var o options
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.StringVar(&o.valtrack, "valtrack", "./valtrack", "the built program")
	flags.IntVar(&o.rounds, "rounds", 3, "rounds of sentry and floor in turn")
	flags.IntVar(&o.nodes, "nodes", 1000, "nodes of the simulated network")
	flags.StringVar(&o.cases, "cases", "healthy,mixed,held,records", "cases to run")
	flags.IntVar(&o.events, "events", 3_000_000, "events of one run of the ingest case")
	flags.BoolVar(&o.handshakes, "handshakes", false, "ingest metadata_received events alone, not the stream of a crawl")
	flags.StringVar(&o.profile, "profile", "", "write CPU profiles of the sentry or the consumer into this directory; they cost it a little")
	flags.StringVar(&o.scaleNodes, "scale-nodes", "1000,2000,4000", "sizes of the networks of the scale case")
	flags.DurationVar(&o.scaleSpan, "scale-span", 400*time.Second, "for how long each of them is measured: an epoch of mainnet and more")
	flags.IntVar(&o.watchNodes, "watch-nodes", 5000, "nodes of the watch-many case")
	flags.DurationVar(&o.watchSpan, "watch-span", time.Hour, "for how long it watches them")
	flags.BoolVar(&o.verbose, "v", false, "show the programs' own logs")
	if err := flags.Parse(args); err != nil {
		return err
	}
	wanted := strings.Split(o.cases, ",")
	fmt.Fprintf(out, "%s, %d CPUs, %s/%s, %s\n", time.Now().Format(time.DateOnly), runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, cpuModel())
	for _, c := range cases() {
		if !slices.Contains(wanted, c.name) {
			continue
		}
		fmt.Fprintf(out, "\n## %s\n\n", c.name)
		if err := c.run(ctx, o, out); err != nil {
			return fmt.Errorf("case %s: %w", c.name, err)
		}
	}
	return nil
}

// median of a list that is not empty; the upper one of an even number.
func median[T int64 | float64 | time.Duration](list []T) T {
	sorted := slices.Sorted(slices.Values(list))
	return sorted[len(sorted)/2]
}

// percentile of a list that is not empty.
func percentile(list []time.Duration, percent int) time.Duration {
	sorted := slices.Sorted(slices.Values(list))
	return sorted[len(sorted)*percent/100]
}
