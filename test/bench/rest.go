package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
)

// resting is what a sentry at rest has, by its own metrics.
type resting struct {
	goroutines float64
	memory     float64 // resident, in bytes
}

func restOf(ctx context.Context, metrics string) (r resting, err error) {
	if r.goroutines, err = metric(ctx, metrics, "go_goroutines"); err != nil {
		return r, err
	}
	r.memory, err = metric(ctx, metrics, "process_resident_memory_bytes")
	return r, err
}

// restWithoutVisits is the sentry as it would be without a crawl's remains: it finds
// the same records, and visits one node in a thousand, as it has that shard. It has
// as long as a crawl's sentry has to come to rest.
func restWithoutVisits(ctx context.Context, o options, net *simulated, dir string) (r resting, err error) {
	metrics, err := freeAddress(ctx)
	if err != nil {
		return r, err
	}
	nobody := *net
	nobody.reachable = 0
	run := sentryRun{metrics: metrics, args: []string{"--max-watched", "0", "--shard", "1/1000"}}
	run.after = func(*process) (err error) {
		if err := pause(ctx, idleSpan); err != nil {
			return err
		}
		r, err = restOf(ctx, metrics)
		return err
	}
	_, err = runSentry(ctx, o, &nobody, filepath.Join(dir, "sentry-visits-nobody"), run)
	return r, err
}

func printRest(w io.Writer, which string, r resting) {
	fmt.Fprintf(w, "| %s | %.0f | %.0f MiB |\n", which, r.goroutines, r.memory/(1<<20))
}
