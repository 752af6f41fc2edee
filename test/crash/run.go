package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/chainbound/valtrack/internal/crashpoint"
	"github.com/chainbound/valtrack/internal/dataset"
)

// run is one row of the table.
type run struct {
	name    string
	dataDir string // the name of the consumer's data directory
	kill    []role // each time all of them
	leader  bool   // of a cluster: each time the stream's
	kills   int
	points  []string // each once, where a process then dies

	duckdb  string // the npm project; empty for no reader
	random  *rand.Rand
	between [2]time.Duration // two kills, at least and at most
}

// result is what a run has seen.
type result struct {
	verdict
	reads   reads
	kills   int
	hit     int           // points at which a process died
	loading time.Duration // how long the sentry was there
}

// perSecond is the rate at which events were published and stored.
func (r result) perSecond() float64 { return float64(r.events) / max(r.loading.Seconds(), 1) }

// in runs in a world: it starts everything, kills, drains and compares.
func (r run) in(ctx context.Context, w *world) (out result, err error) {
	defer w.killAll()
	start := time.Now()
	if err := r.startAll(ctx, w); err != nil {
		return out, err
	}
	var reading *reader
	if r.duckdb != "" {
		if reading, err = startReader(ctx, r.duckdb, w.data); err != nil {
			return out, err
		}
		defer func() {
			var stopErr error
			out.reads, stopErr = reading.stop()
			err = errors.Join(err, stopErr)
		}()
	}
	if err := r.killAtRandom(ctx, w, &out); err != nil {
		return out, err
	}
	if err := r.dieAtPoints(ctx, w, &out); err != nil {
		return out, err
	}
	out.loading = time.Since(start)
	if err := w.drain(ctx); err != nil {
		return out, err
	}
	out.verdict, err = w.verify(ctx)
	return out, err
}

func (r run) startAll(ctx context.Context, w *world) error {
	all := []role{sentry, storer}
	for _, s := range w.servers {
		all = append(all, s.role)
	}
	if r.leader || w.window != streamWindow { // the broker is there before what uses it
		for _, role := range all[2:] {
			if err := w.start(ctx, role); err != nil {
				return err
			}
		}
		if err := w.makeStream(ctx); err != nil {
			return err
		}
		all = all[:2]
	}
	for _, role := range r.shuffled(all) {
		if err := w.start(ctx, role); err != nil {
			return err
		}
	}
	return nil
}

// victims are who dies next.
func (r run) victims(ctx context.Context, w *world) ([]role, error) {
	if !r.leader {
		return r.kill, nil
	}
	leader, err := w.leader(ctx)
	return []role{leader}, err
}

func (r run) killAtRandom(ctx context.Context, w *world, out *result) error {
	for ; out.kills < r.kills; out.kills++ {
		if err := pause(ctx, r.between[0]+time.Duration(r.random.Int64N(int64(r.between[1]-r.between[0])))); err != nil {
			return err
		}
		if err := w.check(); err != nil {
			return err
		}
		victims, err := r.victims(ctx, w)
		if err != nil {
			return err
		}
		for _, role := range r.shuffled(victims) {
			w.procs[role].kill()
		}
		for _, role := range r.shuffled(victims) {
			if err := w.start(ctx, role); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r run) shuffled(roles []role) []role {
	out := append([]role{}, roles...)
	r.random.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out
}

// pointsPatience bounds the wait for all points.
const pointsPatience = 4 * time.Minute

// dieAtPoints arms the points and starts again what dies, until no point is left.
func (r run) dieAtPoints(ctx context.Context, w *world, out *result) error {
	for _, p := range r.points {
		if err := os.WriteFile(filepath.Join(w.points(), crashpoint.File(p)), nil, 0o644); err != nil {
			return err
		}
	}
	for deadline := time.Now().Add(pointsPatience); out.hit < len(r.points); {
		if time.Now().After(deadline) {
			left, err := os.ReadDir(w.points())
			return errors.Join(fmt.Errorf("no process died at %d crash points: %v", len(r.points)-out.hit, left), err)
		}
		if err := pause(ctx, drainPoll); err != nil {
			return err
		}
		n, err := w.revive(ctx)
		if err != nil {
			return err
		}
		out.hit += n
	}
	return nil
}

// revive starts what has died at a crash point, and tells how many that were.
func (w *world) revive(ctx context.Context) (n int, err error) {
	for r, p := range w.procs {
		err := p.check()
		if err == nil {
			continue
		}
		if !p.killedItself() {
			return n, err
		}
		if err := w.start(ctx, r); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// crashPoints are all that there are: of commits and merges by table, of the
// acknowledgements, and of the spool.
func crashPoints() (out []string) {
	for _, step := range []string{"finish", "rename", "sync", "merge", "link", "fsync", "exchange", "persist"} {
		for _, table := range dataset.Tables() {
			out = append(out, step+" "+table)
		}
	}
	return append(out, "committed", "flush", "acknowledge", "acknowledged",
		"spool append", "spool load", "spool synced", "spool saved")
}
