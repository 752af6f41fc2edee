package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// recoverWithin is the promise: at work again after a fault has gone.
	recoverWithin = 60 * time.Second
	// rewindMargin is how long after the stream's duplicate window events that a removed
	// durable may have cost come again, at the latest.
	rewindMargin = 10 * time.Second
	// catchUpPatience bounds the wait for all events at the end.
	catchUpPatience = 5 * time.Minute
	// diskSize is enough for a run.
	diskSize = "1g"
)

// faultRun are rounds of faults in one world.
type faultRun struct {
	faults []fault // one after another
	random *rand.Rand
}

// round is what a fault has come to.
type round struct {
	fault     string
	recovered time.Duration // from when it had gone
	said      string        // by /readyz while it was there
}

// in runs in a world: it starts everything, damages it, drains and compares.
func (r faultRun) in(ctx context.Context, w *world, report func(round)) (v verdict, err error) {
	defer w.killAll()
	if err := (run{random: r.random}).startAll(ctx, w); err != nil {
		return v, err
	}
	if err := w.awaitRecovery(ctx, recoverWithin); err != nil {
		return v, fmt.Errorf("at the start: %w", err)
	}
	watch := w.watchLag(ctx)
	for _, f := range r.faults {
		done, roundErr := r.round(ctx, w, f)
		if roundErr != nil {
			return v, errors.Join(fmt.Errorf("%s: %w", f.name, roundErr), watch.stop())
		}
		report(done)
	}
	if err := errors.Join(w.catchUp(ctx), watch.stop()); err != nil {
		return v, err
	}
	if err := w.drain(ctx); err != nil {
		return v, err
	}
	return w.verify(ctx)
}

func (r faultRun) round(ctx context.Context, w *world, f fault) (out round, err error) {
	out.fault = f.name
	if err := pause(ctx, time.Duration(r.random.Int64N(int64(2*time.Second)))); err != nil {
		return out, err
	}
	heal, err := f.strike(ctx, w, r.random)
	if err != nil {
		return out, err
	}
	least := time.Now().Add(f.lasts)
	if f.refuses != "" {
		if out.said, err = w.awaitRefusal(ctx, f.refuses, noticePatience); err != nil {
			return out, err
		}
	}
	if err := pause(ctx, time.Until(least)); err != nil {
		return out, err
	}
	if heal != nil {
		if err := heal(ctx); err != nil {
			return out, err
		}
	}
	start := time.Now()
	err = w.awaitRecovery(ctx, recoverWithin)
	out.recovered = time.Since(start)
	return out, err
}

// rewinds notes a fault after which the sentry sends events again later.
func (w *world) rewinds() { w.rewound = time.Now().Add(w.window + rewindMargin) }

// catchUp waits, while the sentry goes on, until everything that it had published so far is
// stored.
func (w *world) catchUp(ctx context.Context) error {
	if err := pause(ctx, time.Until(w.rewound)); err != nil {
		return err
	}
	for deadline := time.Now().Add(catchUpPatience); ; {
		missing, err := w.metric(ctx, metricMissing)
		if err == nil && missing == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%.0f events are missing %v after the last fault: %w\n%s", missing, catchUpPatience, err, w.procs[storer].tail())
		}
		if err := errors.Join(w.check(), pause(ctx, healthPoll)); err != nil {
			return err
		}
	}
}

// spread deals rounds over the kinds as evenly as it can, in random order.
func spread(kinds []fault, rounds int, random *rand.Rand) (out []fault) {
	for len(out) < rounds {
		random.Shuffle(len(kinds), func(i, j int) { kinds[i], kinds[j] = kinds[j], kinds[i] })
		out = append(out, kinds[:min(len(kinds), rounds-len(out))]...)
	}
	return out
}

// faultsMain makes rounds of all kinds of faults in worlds beside each other, and prints a
// table.
func faultsMain(ctx context.Context, args []string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	o := options{programs: programs{sentry: program{path: self, args: []string{string(sentry)}}}}
	flags := flag.NewFlagSet("crash faults", flag.ContinueOnError)
	rounds := flags.Int("rounds", 100, "faults in all")
	worlds := flags.Int("worlds", 4, "worlds beside each other, the last of them with a retention")
	o.programFlags(flags)
	flags.IntVar(&o.rate, "rate", 300, "events a second and world")
	flags.IntVar(&o.peers, "peers", 200, "peers that the events are of")
	if err := flags.Parse(args); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "valtrack-faults")
	if err != nil {
		return err
	}
	fmt.Printf("seed %d, in %s\n\n", o.seed, dir)
	random := rand.New(rand.NewPCG(o.seed, 3))
	all := slices.DeleteFunc(faults(), func(f fault) bool { return !strings.Contains(f.name, o.only) })
	if len(all) == 0 {
		return fmt.Errorf("no fault has %q in its name", o.only)
	}
	t := faultTable{start: time.Now(), rounds: map[string][]round{}}
	var done sync.WaitGroup
	plan := spread(all, *rounds, random)
	for i := range *worlds {
		r := faultRun{faults: plan[i**rounds / *worlds : (i+1)**rounds / *worlds], random: rand.New(rand.NewPCG(o.seed, uint64(10+i)))}
		done.Go(func() { t.add(i, r.inDir(ctx, o, filepath.Join(dir, strconv.Itoa(i)), i == *worlds-1 && i > 0, &t)) })
	}
	done.Wait()
	t.print(os.Stdout)
	err = errors.Join(t.errs...)
	if err != nil || o.keep {
		fmt.Println("kept:", dir)
		return err
	}
	return os.RemoveAll(dir)
}

// worldRetention is short, so that parts are removed all the time.
const worldRetention = 20 * time.Second

// inDir makes the world and its rounds.
func (r faultRun) inDir(ctx context.Context, o options, dir string, retain bool, t *faultTable) error {
	w, err := newWorld(ctx, o.programs, dir, filepath.Join(volumeName, plainName), 1, o.rate, o.peers)
	if err != nil {
		return err
	}
	w.unusual = true
	if retain {
		w.retention = worldRetention
	}
	defer func() { _ = w.unmountAll() }()
	if err := w.onDisks(diskSize); err != nil {
		return err
	}
	v, err := r.in(ctx, w, t.round)
	t.count(v)
	if err == nil {
		err = v.sound()
	}
	return err
}

// onDisks gives each role a disk of its own.
func (w *world) onDisks(size string) error {
	if err := os.RemoveAll(w.data); err != nil { // a mount point is empty
		return err
	}
	for _, r := range []role{broker, sentry, storer} {
		if err := w.newDisk(diskOf(r), size); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(w.data, 0o755); err != nil {
		return err
	}
	return w.nameConsumer()
}

// faultTable collects what the worlds have come to.
type faultTable struct {
	mu     sync.Mutex
	start  time.Time
	rounds map[string][]round
	total  verdict
	errs   []error
}

func (t *faultTable) round(r round) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rounds[r.fault] = append(t.rounds[r.fault], r)
	fmt.Fprintf(os.Stderr, "%4.0f s  %-30s at work again after %4.1f s  %.100s\n", time.Since(t.start).Seconds(), r.fault, r.recovered.Seconds(), r.said)
}

func (t *faultTable) count(v verdict) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.total.events += v.events
	t.total.lost += v.lost
	t.total.twice += v.twice
	t.total.rejected += v.rejected
}

func (t *faultTable) add(i int, err error) {
	if err != nil {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.errs = append(t.errs, fmt.Errorf("world %d: %w", i, err))
	}
}

func (t *faultTable) print(out io.Writer) {
	fmt.Fprintln(out, "| fault | rounds | at work again, at the latest |\n|---|---|---|")
	n := 0
	for _, f := range faults() {
		slowest := time.Duration(0)
		for _, r := range t.rounds[f.name] {
			slowest = max(slowest, r.recovered)
		}
		if rounds := len(t.rounds[f.name]); rounds > 0 {
			n += rounds
			fmt.Fprintf(out, "| %s | %d | %.1f s |\n", f.name, rounds, slowest.Seconds())
		}
	}
	fmt.Fprintf(out, "\n%d rounds: %d events stored, %d rejected, %d lost, %d twice; %.0f s\n", n, t.total.events, t.total.rejected, t.total.lost, t.total.twice, time.Since(t.start).Seconds())
}
