package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

const (
	heldConnections = 750
	// heldNodes is a few more than are held, as not every node stays.
	heldNodes = 800
	// heldSettle is what a crawl's garbage has to be given back to the system.
	heldSettle   = 15 * time.Second
	heldSpan     = 40 * time.Second
	heldPatience = 90 * time.Second
)

// holding is the sentry at rest, with some nodes under watch.
type holding struct {
	watches int
	memory  int64   // resident, in bytes
	share   float64 // of a core
}

// held compares a sentry that watches nobody with one that holds 750 connections,
// on the same network of mainnet's slot time.
func held(ctx context.Context, o options, w io.Writer) (err error) {
	dir, err := os.MkdirTemp("", "valtrack-bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	net, err := startNetwork(ctx, o, filepath.Join(dir, "devnet"), "healthy", heldNodes)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, net.stop()) }()
	fmt.Fprint(w, "| connections held | resident memory | share of a core |\n|---|---|---|\n")
	var runs []holding
	for _, watched := range []int{0, heldConnections} {
		h, err := hold(ctx, o, net, filepath.Join(dir, strconv.Itoa(watched)), watched)
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "| %d | %.0f MiB | %.1f %% |\n", h.watches, mebibytes(h.memory), 100*h.share)
		runs = append(runs, h)
	}
	each := float64(runs[1].memory-runs[0].memory) / float64(max(1, runs[1].watches))
	fmt.Fprintf(w, "\n%.0f KiB for each connection held.\n", each/1024)
	return nil
}

func mebibytes(bytes int64) float64 { return float64(bytes) / (1 << 20) }

// hold crawls the network and measures when all the watches are under way.
func hold(ctx context.Context, o options, net *simulated, dir string, watched int) (h holding, err error) {
	metrics, err := freeAddress(ctx)
	if err != nil {
		return h, err
	}
	c := sentryRun{metrics: metrics, args: []string{"--max-watched", strconv.Itoa(watched), "--watch-epochs", "3"}}
	c.after = func(p *process) error {
		until := time.Now().Add(heldPatience)
		for {
			if h.watches, err = watches(ctx, metrics); err != nil {
				return err
			}
			if h.watches >= watched {
				break
			}
			if time.Now().After(until) {
				return fmt.Errorf("%d watches after %v, want %d", h.watches, heldPatience, watched)
			}
			if err := pause(ctx, time.Second); err != nil {
				return err
			}
		}
		if err := pause(ctx, heldSettle); err != nil {
			return err
		}
		if h.share, err = idleShare(ctx, p, heldSpan); err != nil {
			return err
		}
		if h.memory, err = p.memory(); err != nil {
			return err
		}
		h.watches, err = watches(ctx, metrics)
		return err
	}
	_, err = runSentry(ctx, o, net, dir, c)
	return h, err
}

// watches reads the number of watches under way from the sentry's metrics.
func watches(ctx context.Context, address string) (int, error) {
	n, err := metric(ctx, address, "valtrack_sentry_watches_live")
	return int(n), err
}

// metric reads a metric without labels.
func metric(ctx context.Context, address, name string) (float64, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		if value, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			return strconv.ParseFloat(value, 64)
		}
	}
	return 0, errors.Join(lines.Err(), fmt.Errorf("no metric %s", name))
}

// pause waits for d or the end of ctx.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
