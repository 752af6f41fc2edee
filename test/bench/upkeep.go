package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"
)

// upkeep stores a crawl's events with the real consumer, and then runs the commands that read a
// whole data directory: what they take grows with the data that an operator keeps.
func upkeep(ctx context.Context, o options, w io.Writer) error {
	dir, err := os.MkdirTemp("", "valtrack-bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	r := ingestRound{options: o, dir: dir, data: newPeerEvents(ingestPeers, false, anywhere())}
	if err := r.withBroker(ctx, "", []string{oursDurable}, []func(context.Context) error{r.ours}); err != nil {
		return err
	}
	data := r.dataDir(oursDurable)
	size, err := partsOf(data)
	if err != nil {
		return err
	}
	day := 2 * float64(ingestPeers) * (24 * time.Hour).Seconds() / (epochMS / 1000)
	fmt.Fprintf(w, "%d events of %d peers, %.2f days of one visit an epoch, %.0f MiB on disk.\n\n", o.events, ingestPeers, float64(o.events)/day, mebibytes(size))
	fmt.Fprint(w, "| command | seconds | CPU seconds | seconds per million events | peak memory, MiB |\n|---|---|---|---|---|\n")
	for _, c := range []struct {
		name string
		args []string
	}{
		{"`check data`", []string{"check", "data"}},
		{"`rebuild` when no hour has estimates", []string{"rebuild"}},
		{"`rebuild` when all have", []string{"rebuild"}},
		{"`report`", []string{"report"}},
	} {
		p, err := launch(ctx, o.verbose, o.valtrack, append([]string{"--data-dir", data}, c.args...)...)
		if err != nil {
			return err
		}
		if _, err := io.Copy(io.Discard, p.stdout); err != nil {
			return err
		}
		if err := p.cmd.Wait(); err != nil {
			return fmt.Errorf("%s: %w\n%s", c.name, err, p.stderr.Bytes())
		}
		took := p.intake(c.name, o.events, time.Since(p.started))
		fmt.Fprintf(w, "| %s | %.1f | %.1f | %.1f | %.0f |\n", took.name, took.wall.Seconds(), took.cpu.Seconds(), took.wall.Seconds()/float64(o.events)*1e6, mebibytes(took.peak))
	}
	return nil
}
