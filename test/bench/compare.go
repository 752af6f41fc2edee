package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

const (
	mainnetSlot = 12 * time.Second
	// idleSpan is how long the sentry's idle CPU is measured.
	idleSpan = 15 * time.Second
)

// compare lets the sentry and the floor client crawl one network in turn.
func compare(ctx context.Context, o options, faults string, w io.Writer) (err error) {
	dir, err := os.MkdirTemp("", "valtrack-bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	net, err := startNetwork(ctx, o, filepath.Join(dir, "devnet"), faults, o.nodes)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, net.stop()) }()
	fmt.Fprintf(w, "%d nodes, %d of them can complete a handshake.\n\n", o.nodes, net.reachable)
	fmt.Fprint(w, "| round | client | handshakes | CPU ms per handshake | wall |\n|---|---|---|---|---|\n")
	var sentry, floor []crawl
	var idle float64
	var after resting
	for round := range o.rounds {
		// The floor client holds no connection, so the sentry does not either.
		run := sentryRun{args: []string{"--max-watched", "0"}}
		if round == o.rounds-1 {
			if run.metrics, err = freeAddress(ctx); err != nil {
				return err
			}
			run.after = func(p *process) (err error) {
				if idle, err = idleShare(ctx, p, idleSpan); err != nil {
					return err
				}
				after, err = restOf(ctx, run.metrics)
				return err
			}
		}
		c, err := runSentry(ctx, o, net, filepath.Join(dir, fmt.Sprintf("sentry-%d", round)), run)
		if err != nil {
			return err
		}
		sentry = append(sentry, c)
		printCrawl(w, round+1, "sentry", c)
		if c, err = runFloor(ctx, o, net); err != nil {
			return err
		}
		floor = append(floor, c)
		printCrawl(w, round+1, "floor", c)
	}
	cpu := func(c crawl) time.Duration { return c.perHandshake() }
	wall := func(c crawl) time.Duration { return c.wall }
	fmt.Fprintf(w, "\nMedians, sentry to floor: CPU per handshake %.2f, wall time %.2f. Afterwards the sentry idles at %.1f %% of a core.\n",
		ratio(sentry, floor, cpu), ratio(sentry, floor, wall), 100*idle)
	before, err := restWithoutVisits(ctx, o, net, dir)
	if err != nil {
		return err
	}
	fmt.Fprint(w, "\n| the sentry at rest | goroutines | resident memory |\n|---|---|---|\n")
	printRest(w, "without a visit", before)
	printRest(w, "after the crawl", after)
	return nil
}

func printCrawl(w io.Writer, round int, client string, c crawl) {
	fmt.Fprintf(w, "| %d | %s | %d | %.2f | %.1f s |\n", round, client, c.handshakes, c.perHandshake().Seconds()*1000, c.wall.Seconds())
}

func ratio(a, b []crawl, of func(crawl) time.Duration) float64 {
	list := func(crawls []crawl) (out []time.Duration) {
		for _, c := range crawls {
			out = append(out, of(c))
		}
		return out
	}
	return float64(median(list(a))) / float64(median(list(b)))
}

// idleShare is the share of a core that the process uses during the span.
func idleShare(ctx context.Context, p *process, span time.Duration) (float64, error) {
	before, err := p.cpu()
	if err != nil {
		return 0, err
	}
	began := time.Now()
	select {
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-time.After(span):
	}
	after, err := p.cpu()
	return float64(after-before) / float64(time.Since(began)), err
}
