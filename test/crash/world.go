package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/chainbound/valtrack/internal/bus"
	"github.com/chainbound/valtrack/internal/crashpoint"
)

const (
	// segmentAge and compactEvery are short, so that kills meet commits and merges.
	segmentAge, compactEvery = 400 * time.Millisecond, 2 * time.Second
	// streamWindow is the duplicate window of a stream that the program has made.
	streamWindow = 2 * time.Minute
	// stopPatience is what users are promised, on a machine that is not overloaded.
	stopPatience = 10 * time.Second
	// drainPatience bounds the storing of what is under way at the end.
	drainPatience = 3 * time.Minute
	// consumerID is the id in the consumer's data directory, from which the durable
	// has its name.
	consumerID = "crash"
	durable    = "consumer-" + consumerID
)

// role is a process's part.
type role string

const (
	broker   role = "nats-server"
	sentry   role = "sentry"
	storer   role = "consumer"
	standby  role = "stand-by" // another consumer
	natsHost      = "127.0.0.1"
)

// programs are those of the roles.
type programs struct {
	valtrack, sentry, server program
}

// world is a broker, a sentry and a consumer, and their directories.
type world struct {
	programs
	dir     string
	data    string // the consumer's data directory
	servers []server
	boot    uint64
	rate    int // events a second
	peers   int
	// patience is how long a process may take to end after SIGTERM.
	patience time.Duration
	procs    map[role]*process
	ports    map[role]int // of /readyz and /metrics
	// unusual has some events be of other times, and some of another network.
	unusual bool
	// retention is the consumer's, 0 for none.
	retention time.Duration
	compact   time.Duration // 0 for no merges
	window    time.Duration // in which the stream knows ids again
	disks     map[string]*disk
	rewound   time.Time // until when events may come again
}

// plainName and patternNames are names of data directories: those of the latter are
// patterns to whoever expands them, one of them an invalid one.
const plainName = "data"

// volumeName is the directory that the data directory is in, where disks fill.
const volumeName = "volume"

// spoolName is the directory that the spool is in: a disk of its own where disks fill.
const spoolName = "queue"

func patternNames() []string { return []string{"a[b", "run[1]"} }

// newWorld makes a world in dir; name is that of the data directory.
func newWorld(ctx context.Context, p programs, dir, name string, servers, rate, peers int) (_ *world, err error) {
	w := &world{programs: p, dir: dir, data: filepath.Join(dir, name), rate: rate, peers: peers, patience: stopPatience, compact: compactEvery, window: streamWindow,
		procs: map[role]*process{}, ports: map[role]int{}, disks: map[string]*disk{}}
	if err := errors.Join(os.MkdirAll(w.data, 0o755), os.MkdirAll(w.points(), 0o755), os.MkdirAll(w.published(), 0o755), os.MkdirAll(filepath.Dir(w.spool()), 0o755)); err != nil {
		return nil, err
	}
	if err := w.nameConsumer(); err != nil {
		return nil, err
	}
	if w.servers, err = newServers(ctx, dir, servers); err != nil {
		return nil, err
	}
	for _, r := range []role{sentry, storer} {
		if err := w.newAddress(ctx, r); err != nil {
			return nil, err
		}
	}
	return w, nil
}

func (w *world) newAddress(ctx context.Context, r role) error {
	ports, err := freePorts(ctx, 1)
	if err == nil {
		w.ports[r] = ports[0]
	}
	return err
}

// nameConsumer writes the consumer's id, so that its durable is known.
func (w *world) nameConsumer() error {
	return os.WriteFile(filepath.Join(w.data, "consumer_id"), []byte(consumerID+"\n"), 0o644)
}

// points is the directory of armed crash points.
func (w *world) points() string { return filepath.Join(w.dir, "points") }

// published is the sentry's directory.
func (w *world) published() string { return filepath.Join(w.dir, "sentry") }

// spool is that of the sentry.
func (w *world) spool() string { return filepath.Join(w.dir, spoolName, "spool") }

// url names all servers.
func (w *world) url() string {
	var list []string
	for _, s := range w.servers {
		list = append(list, "nats://"+net.JoinHostPort(natsHost, strconv.Itoa(s.port)))
	}
	return strings.Join(list, ",")
}

// start starts a role's process. Nobody waits for another: they have to cope.
func (w *world) start(ctx context.Context, r role) (err error) {
	if i := slices.IndexFunc(w.servers, func(s server) bool { return s.role == r }); i >= 0 {
		w.procs[r], err = w.server.start(ctx, w.dir, string(r), w.arguments(i)...)
		return err
	}
	switch r {
	case sentry:
		w.procs[r], err = w.startSentry(ctx, w.rate)
	case storer:
		w.procs[r], err = w.startConsumer(ctx, string(r), w.address(r))
	}
	return err
}

func (w *world) startConsumer(ctx context.Context, log, metrics string, more ...string) (*process, error) {
	args := append([]string{"consumer", "--nats", w.url(), "--data-dir", w.data, "--metrics", metrics,
		"--segment-age", segmentAge.String(), "--compact-every", w.compact.String()}, more...)
	if w.retention > 0 {
		args = append(args, "--retention", w.retention.String())
	}
	return w.armed(w.valtrack).start(ctx, w.dir, log, args...)
}

func (w *world) startSentry(ctx context.Context, rate int) (*process, error) {
	w.boot++
	return w.armed(w.sentry).start(ctx, w.dir, string(sentry), "-dir", w.published(), "-nats", w.url(),
		"-boot", strconv.FormatUint(w.boot, 10), "-rate", strconv.Itoa(rate), "-peers", strconv.Itoa(w.peers),
		"-spool", w.spool(), "-http", w.address(sentry), "-unusual="+strconv.FormatBool(w.unusual))
}

func (w *world) armed(p program) program {
	p.env = append(append([]string{}, p.env...), crashpoint.Env+"="+w.points())
	return p
}

// check is an error when a process has ended on its own.
func (w *world) check() error {
	var errs []error
	for _, p := range w.procs {
		errs = append(errs, p.check())
	}
	return errors.Join(errs...)
}

// killAll ends what runs.
func (w *world) killAll() {
	for _, p := range w.procs {
		p.kill()
	}
}

// drain stops the sentry and waits until everything it published is acknowledged
// by the consumer, then stops that one too: nothing may come again afterwards.
func (w *world) drain(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, drainPatience)
	defer cancel()
	if err := awaitPublished(ctx, w.published(), w.boot, w.procs[sentry]); err != nil {
		return err
	}
	if err := w.procs[sentry].stop(w.patience); err != nil {
		return err
	}
	delete(w.procs, sentry)
	last, err := w.startSentry(ctx, 0)
	if err != nil {
		return err
	}
	if err := last.wait(drainPatience); err != nil {
		return err
	}
	for {
		lag, lagErr := w.lag(ctx)
		if lagErr == nil && lag == (bus.Lag{}) {
			break
		}
		if err := w.check(); err != nil {
			return err
		}
		if err := pause(ctx, drainPoll); err != nil {
			return fmt.Errorf("the consumer has %d messages to come and %d to acknowledge (%w): %w\n%s", lag.Pending, lag.AckPending, lagErr, err, w.procs[storer].tail())
		}
	}
	err = w.procs[storer].stop(w.patience)
	delete(w.procs, storer)
	return err
}

// awaitPublished waits until the sentry of a boot has published something: a process that
// gets SIGTERM while it is being loaded dies of it.
func awaitPublished(ctx context.Context, dir string, boot uint64, sentry *process) error {
	for {
		told, err := published(dir)
		if err != nil || told[boot] > 0 {
			return err
		}
		if err := errors.Join(sentry.check(), pause(ctx, drainPoll)); err != nil {
			return fmt.Errorf("%s publishes nothing: %w", sentry.name, err)
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
