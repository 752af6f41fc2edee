package mirror

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync"
	"time"

	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/chainbound/valtrack/internal/crashpoint"
	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/loglimit"
)

const (
	// roundEvery is how often a Mirror compares the copy with the datasets, or a twelfth of
	// a shorter period, and retryAfter the longest pause after a round that failed.
	roundEvery, retryAfter = 5 * time.Minute, time.Minute
	// settle is how much later than its end the parts of a period are copied: they are
	// merged first.
	settle = 10 * time.Minute
	// grace is how long an object that was replaced stays, for readers of the manifest
	// before. Objects that no manifest ever listed stay as long.
	grace = 24 * time.Hour
	// sweepEvery is how often objects that no manifest lists are looked for.
	sweepEvery = 24 * time.Hour
	// clockDrift is how far the store's clock may be from ours: beyond that nothing is
	// removed.
	clockDrift = time.Hour
	// failedLogEvery limits the log of rounds that fail.
	failedLogEvery = 10 * time.Minute
)

// Config of a Mirror.
type Config struct {
	DataDir     string
	Location    Location
	Credentials *credentials.Credentials
	// Every is the period whose parts are copied when it has passed and they are merged.
	Every time.Duration
	// Retention is the age at which parts are removed from the copy; zero keeps them forever.
	// It is independent of what the data directory keeps.
	Retention time.Duration
	// Network is the name of the network of the datasets, GenesisValidatorsRoot its root in
	// hex; empty when that is not known.
	Network               string
	GenesisValidatorsRoot string
	// Rejected are the keys of events that are kept beside the datasets.
	Rejected func() (dataset.Coverage, error)
	Log      *slog.Logger
}

// Stats of a Mirror.
type Stats struct {
	// Parts, Rows and Bytes are those in the newest manifest.
	Parts       int
	Rows, Bytes int64
	Generation  uint64
	Pending     int    // parts to be copied in the present round
	Uploaded    uint64 // parts
	Sent        int64  // bytes of these
	Deleted     uint64 // objects
	Failures    uint64 // rounds
	LastRound   time.Time
	// Err is why the last round failed; nil when it did not.
	Err error
}

// Mirror keeps a copy up to date with the datasets. It only reads committed parts, and
// nothing waits for it.
type Mirror struct {
	cfg   Config
	store *store
	log   *slog.Logger
	swept time.Time

	mu    sync.Mutex
	stats Stats

	now func() time.Time
	// crash, in tests, is called before each step; its error leaves everything as a killed
	// process would.
	crash func(step string) error
}

// New makes a Mirror; it sends nothing yet.
func New(cfg Config) (*Mirror, error) {
	s, err := openStore(cfg.Location, cfg.Credentials)
	if err != nil {
		return nil, fmt.Errorf("object store %s: %w", cfg.Location, err)
	}
	return &Mirror{cfg: cfg, store: s, log: cfg.Log, now: time.Now}, nil
}

// Stats may be called at any time.
func (m *Mirror) Stats() Stats {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.stats
}

func (m *Mirror) count(update func(*Stats)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	update(&m.stats)
}

// Run copies until ctx ends, and returns nil. While the store does not answer it tries again.
func (m *Mirror) Run(ctx context.Context) error {
	limit := loglimit.Every(failedLogEvery)
	for {
		err := m.Round(ctx)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // it was stopped
		}
		pause := min(roundEvery, max(time.Second, m.cfg.Every/12))
		if err != nil {
			pause = min(retryAfter, pause)
			if limit.Allow() {
				m.log.Error("the object store is not up to date, will retry", slog.String("location", m.cfg.Location.String()), slog.Duration("retry_in", pause), slog.Any("error", err))
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}

// Round brings the copy up to the datasets once. After an error the copy is as complete as
// before, and the next round goes on where this one ended.
func (m *Mirror) Round(ctx context.Context) error {
	err := m.round(ctx)
	m.count(func(s *Stats) {
		s.Err = err
		if err != nil {
			s.Failures++
			return
		}
		s.Pending = 0
		s.LastRound = m.now()
	})
	return err
}

func (m *Mirror) round(ctx context.Context) error {
	own, old, err := m.load(ctx)
	if err != nil {
		return err
	}
	snapshot, err := m.snapshot()
	if err != nil {
		return err
	}
	plan := planRound(old, snapshot, m.keepFrom(), m.now())
	m.count(func(s *Stats) { s.Pending = len(plan.upload) })
	next := plan.next
	problems := plan.problems
	for _, p := range plan.upload {
		e, err := m.upload(ctx, p)
		if errors.Is(err, dataset.ErrDamaged) {
			problems = append(problems, err) // what the copy has of it stays
			plan.keepReplaced(p)
			continue
		}
		if err != nil {
			return err
		}
		next.Parts = append(next.Parts, e)
		m.count(func(s *Stats) { s.Pending-- })
	}
	plan.finish()
	if err := m.publish(ctx, own, old, next, snapshot); err != nil {
		return err
	}
	return errors.Join(append(problems, m.sweep(ctx, next))...)
}

// load reads the directory's state and the manifest, an empty one where there is none.
func (m *Mirror) load(ctx context.Context) (own state, old *Manifest, err error) {
	if own, err = readState(m.cfg.DataDir); err != nil {
		return own, nil, err
	}
	old, err = readManifest(ctx, m.store)
	if errors.Is(err, fs.ErrNotExist) {
		written := own.Copies[m.cfg.Location.String()]
		if written > 1 {
			m.log.Warn("the object store has lost its manifest: copying everything again", slog.String("location", m.cfg.Location.String()))
		}
		return own, &Manifest{Generation: written}, nil
	}
	if err != nil {
		return own, nil, err
	}
	if err := own.owns(m.cfg.Location, old); err != nil {
		return own, nil, err
	}
	if root := old.GenesisValidatorsRoot; old.Network != m.cfg.Network || root != "" && m.cfg.GenesisValidatorsRoot != "" && root != m.cfg.GenesisValidatorsRoot {
		return own, nil, refusedError{fmt.Errorf("%s has the network %s (%s), this directory %s (%s): mirror to another prefix", m.cfg.Location, old.Network, root, m.cfg.Network, m.cfg.GenesisValidatorsRoot)}
	}
	return own, old, nil
}

func readManifest(ctx context.Context, s *store) (*Manifest, error) {
	var text bytes.Buffer
	if err := s.get(ctx, manifestName, maxManifest, &text); err != nil {
		return nil, err
	}
	m, err := decodeManifest(text.Bytes())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.at, err)
	}
	return m, nil
}

// snapshot has the parts of the periods that have passed.
func (m *Mirror) snapshot() (*dataset.Snapshot, error) {
	settled := m.now().Add(-min(settle, m.cfg.Every)).UnixMilli()
	return dataset.TakeSnapshot(m.cfg.DataDir, time.UnixMilli(settled-settled%m.cfg.Every.Milliseconds()), m.now())
}

// keepFrom is the moment before which parts are removed, Unix milliseconds; 0 for none.
func (m *Mirror) keepFrom() int64 {
	if m.cfg.Retention == 0 || !m.clocksAgree() {
		return 0
	}
	return m.now().Add(-m.cfg.Retention).UnixMilli()
}

// clocksAgree reports whether the store's clock is near ours: what is removed because of its
// age is lost.
func (m *Mirror) clocksAgree() bool {
	offset := m.store.clock.offset.Load()
	return offset != nil && (*offset-time.Until(m.now())).Abs() < clockDrift
}

func (m *Mirror) step(name string) error {
	crashpoint.At(name)
	if m.crash == nil {
		return nil
	}
	return m.crash(name)
}
