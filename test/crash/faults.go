package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/chainbound/valtrack/internal/consumer"
	"github.com/chainbound/valtrack/internal/event"
)

// fault is a kind of damage to a world. The program has to get over it by itself; what the
// harness does is only what an operator or a supervisor would: free a disk, mount it again,
// start what has ended, restart a broker when the sentry says so.
type fault struct {
	name string
	// strike damages the world, and returns what takes the fault away again: nil when there
	// is nothing to take away.
	strike func(context.Context, *world, *rand.Rand) (heal func(context.Context) error, err error)
	// refuses is who has to say that it is not ready while the fault is there; empty where
	// events can be stored, or nobody can answer.
	refuses role
	// lasts is for how long at least.
	lasts time.Duration
	// disks is set for faults that need small disks.
	disks bool
}

// noticePatience is how long a role may say that it is ready while nothing can be stored:
// the publisher needs 20 s to tell trouble from a restart of the broker, a subscription
// somewhat longer.
const noticePatience = 60 * time.Second

// frozenFor is longer than AckWait.
func frozenFor() time.Duration {
	return consumer.Config{SegmentAge: segmentAge}.AckWait() + 3*time.Second
}

// faults are all kinds.
func faults() []fault {
	return []fault{
		{name: "stream removed", strike: removeStream},
		{name: "durable removed", strike: removeDurable},
		{name: "store of the broker emptied", strike: emptyStore},
		{name: "broker away", strike: takeAway(broker), refuses: storer, lasts: 3 * time.Second},
		{name: "data directory unmounted", strike: unmountData, disks: true},
		{name: "data directory renamed away", strike: renameData},
		{name: "lock file removed", strike: removeLock},
		{name: "disk of the consumer full", strike: fillDisk(storer), refuses: storer, lasts: 5 * time.Second, disks: true},
		{name: "disk of the broker full", strike: fillDisk(broker), refuses: sentry, lasts: 5 * time.Second, disks: true},
		{name: "disk of the sentry full", strike: fillDisk(sentry), refuses: sentry, lasts: 5 * time.Second, disks: true},
		{name: "consumer frozen", strike: freeze(storer), lasts: frozenFor()},
		{name: "broker frozen", strike: freeze(broker), refuses: storer, lasts: frozenFor()},
		{name: "sentry frozen", strike: freeze(sentry), lasts: frozenFor()},
		{name: "consumer killed", strike: killAll(storer)},
		{name: "broker killed", strike: killAll(broker)},
		{name: "sentry killed", strike: killAll(sentry)},
		{name: "all killed", strike: killAll(storer, broker, sentry)},
		{name: "stand-by takes over", strike: takeOver},
		{name: "rebuild killed", strike: killRebuild},
	}
}

func removeStream(ctx context.Context, w *world, _ *rand.Rand) (func(context.Context) error, error) {
	w.rewinds()
	return nil, w.withJetStream(func(js jetstream.JetStream) error { return js.DeleteStream(ctx, event.Stream) })
}

func removeDurable(ctx context.Context, w *world, _ *rand.Rand) (func(context.Context) error, error) {
	w.rewinds()
	return nil, w.withJetStream(func(js jetstream.JetStream) error { return js.DeleteConsumer(ctx, event.Stream, durable) })
}

func emptyStore(ctx context.Context, w *world, _ *rand.Rand) (func(context.Context) error, error) {
	w.rewinds()
	w.procs[broker].kill()
	store := w.servers[0].store
	entries, err := os.ReadDir(store)
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(store, e.Name())))
	}
	return nil, errors.Join(err, w.start(ctx, broker))
}

func takeAway(r role) func(context.Context, *world, *rand.Rand) (func(context.Context) error, error) {
	return func(_ context.Context, w *world, _ *rand.Rand) (func(context.Context) error, error) {
		w.procs[r].kill()
		delete(w.procs, r)
		return func(ctx context.Context) error { return w.start(ctx, r) }, nil
	}
}

func freeze(r role) func(context.Context, *world, *rand.Rand) (func(context.Context) error, error) {
	return func(_ context.Context, w *world, _ *rand.Rand) (func(context.Context) error, error) {
		p := w.procs[r].cmd.Process
		return func(context.Context) error { return p.Signal(syscall.SIGCONT) }, p.Signal(syscall.SIGSTOP)
	}
}

func killAll(roles ...role) func(context.Context, *world, *rand.Rand) (func(context.Context) error, error) {
	return func(ctx context.Context, w *world, random *rand.Rand) (func(context.Context) error, error) {
		for _, r := range roles {
			w.procs[r].kill()
		}
		random.Shuffle(len(roles), func(i, j int) { roles[i], roles[j] = roles[j], roles[i] })
		for _, r := range roles {
			if err := w.start(ctx, r); err != nil {
				return nil, err
			}
		}
		return nil, nil
	}
}

// fillDisk has a role's disk full. A nats-server does not write to a stream again after an
// error until it is restarted: who reads the sentry's /readyz is told so.
func fillDisk(r role) func(context.Context, *world, *rand.Rand) (func(context.Context) error, error) {
	return func(_ context.Context, w *world, _ *rand.Rand) (func(context.Context) error, error) {
		d := w.disks[diskOf(r)]
		return func(ctx context.Context) error {
			if err := d.free(); err != nil || r != broker {
				return err
			}
			w.procs[broker].kill()
			return w.start(ctx, broker)
		}, d.fill()
	}
}

// diskOf is the name of a role's disk.
func diskOf(r role) string {
	switch r {
	case broker:
		return "store"
	case sentry:
		return spoolName
	default:
		return volumeName
	}
}

// unmountData unmounts the disk that the data directory is on.
func unmountData(ctx context.Context, w *world, _ *rand.Rand) (func(context.Context) error, error) {
	d := w.disks[volumeName]
	if err := d.detach(); err != nil {
		return nil, err
	}
	return func(ctx context.Context) error {
		return errors.Join(os.Remove(w.data), d.attach(), w.start(ctx, storer))
	}, w.missData(ctx)
}

// renameData moves the data directory away.
func renameData(ctx context.Context, w *world, _ *rand.Rand) (func(context.Context) error, error) {
	away := w.data + ".away"
	if err := os.Rename(w.data, away); err != nil {
		return nil, err
	}
	return func(ctx context.Context) error {
		return errors.Join(os.Remove(w.data), os.Rename(away, w.data), w.start(ctx, storer))
	}, w.missData(ctx)
}

// missData has an empty directory where the data directory was: the consumer must end, and
// put nothing there.
func (w *world) missData(ctx context.Context) error {
	if err := os.Mkdir(w.data, 0o755); err != nil {
		return err
	}
	err := w.endsByItself(ctx, storer)
	entries, readErr := os.ReadDir(w.data)
	for _, e := range entries {
		err = errors.Join(err, fmt.Errorf("the consumer made %s below the mount point", e.Name()))
	}
	return errors.Join(err, readErr)
}

func removeLock(ctx context.Context, w *world, _ *rand.Rand) (func(context.Context) error, error) {
	if err := os.Remove(filepath.Join(w.data, "dataset.lock")); err != nil {
		return nil, err
	}
	return func(ctx context.Context) error { return w.start(ctx, storer) }, w.endsByItself(ctx, storer)
}

// endsByItself waits for a process to end with exit code 1, as a supervisor does.
func (w *world) endsByItself(ctx context.Context, r role) error {
	p := w.procs[r]
	ctx, cancel := context.WithTimeout(ctx, noticePatience)
	defer cancel()
	select {
	case <-p.ended:
		delete(w.procs, r)
	case <-ctx.Done():
		return fmt.Errorf("the %s has not noticed: %w\n%s", r, ctx.Err(), p.tail())
	}
	if code := p.cmd.ProcessState.ExitCode(); code != 1 {
		return fmt.Errorf("the %s ended with exit code %d\n%s", r, code, p.tail())
	}
	return nil
}

// takeOver starts a second consumer on the data directory, and kills the first.
func takeOver(ctx context.Context, w *world, _ *rand.Rand) (func(context.Context) error, error) {
	first := w.procs[storer]
	if err := w.newAddress(ctx, standby); err != nil {
		return nil, err
	}
	var err error
	if w.procs[standby], err = w.startConsumer(ctx, string(storer), w.address(standby)); err != nil {
		return nil, err
	}
	if _, err := w.awaitRefusal(ctx, standby, noticePatience); err != nil {
		return nil, err
	}
	first.kill()
	w.procs[storer], w.ports[storer] = w.procs[standby], w.ports[standby]
	delete(w.procs, standby)
	return nil, nil
}

// killRebuild kills a `valtrack rebuild` while no consumer runs.
func killRebuild(ctx context.Context, w *world, random *rand.Rand) (func(context.Context) error, error) {
	w.procs[storer].kill()
	rebuild, err := w.valtrack.start(ctx, w.dir, "rebuild", "rebuild", "--data-dir", w.data)
	if err != nil {
		return nil, err
	}
	select {
	case <-rebuild.ended:
	case <-time.After(time.Duration(random.IntN(800)) * time.Millisecond):
	}
	rebuild.kill()
	return nil, w.start(ctx, storer)
}
