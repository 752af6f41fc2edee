package app

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"

	"github.com/chainbound/valtrack/internal/bus"
	"github.com/chainbound/valtrack/internal/clickhouse"
	"github.com/chainbound/valtrack/internal/consumer"
	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/diskio"
	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/geo"
	"github.com/chainbound/valtrack/internal/mirror"
	"github.com/chainbound/valtrack/internal/sentry"
	"github.com/chainbound/valtrack/internal/telemetry"
	"github.com/chainbound/valtrack/internal/tracker"
)

const (
	// gcPercent is GOGC while storing: a backlog takes some 360 MiB with it, 394 with
	// Go's 100 (make bench-ingest).
	gcPercent = 75
	// storeTimeout bounds the wait, when a Pipeline stops, until what was published is
	// with the consumer. The rest stays in the stream.
	storeTimeout = 2 * time.Second
	// drainPoll is how often the broker is queried for the remaining messages.
	drainPoll = 50 * time.Millisecond
)

// storing is what stores events at present. Metrics are registered once, and the consumer's
// half of a run may be opened again.
type storing struct {
	subscription atomic.Pointer[bus.Subscription]
	consumer     atomic.Pointer[consumer.Consumer] // nil until the network is known
	mirror       atomic.Pointer[mirror.Mirror]     // nil when there is none
	copy         atomic.Pointer[clickhouse.Sink]   // nil without
	registered   map[string]bool
}

// register has /metrics report on a room from now on.
func (s *storing) register(room string, register func()) {
	if s.registered == nil {
		s.registered = map[string]bool{}
	}
	if !s.registered[room] {
		s.registered[room] = true
		register()
	}
}

// diskMetrics registers the free space for a data directory, once for both halves of a run.
func diskMetrics(svc *Service, dir string) {
	svc.storing.register("disk", func() {
		telemetry.Register(svc.metrics, func() float64 {
			free, err := diskio.Free(dir)
			if err != nil || free == math.MaxInt64 { // not known on this system
				return math.NaN()
			}
			return float64(free)
		}, telemetry.Gauge("valtrack_disk_free_bytes", "Free space on the disk of the data directory; NaN while unknown.", func(free float64) float64 { return free }))
	})
}

// stats are the consumer's, zero while there is none.
func (s *storing) stats() consumer.Stats {
	if c := s.consumer.Load(); c != nil {
		return c.Stats()
	}
	return consumer.Stats{}
}

// state is the tracker's, empty while there is none.
func (s *storing) state() *tracker.State {
	if c := s.consumer.Load(); c != nil && c.Tracker() != nil {
		return c.Tracker().State()
	}
	return &tracker.State{}
}

// openPlaces opens the user's databases of places. Errors are ConfigErrors.
func openPlaces(files []string, log *slog.Logger) (*geo.Locator, error) {
	places, err := geo.Open(files, log)
	if err != nil {
		return nil, ConfigErrorf("--%s: %w", OptGeo, err)
	}
	return places, nil
}

// datasets is an open data directory: the writer of its tables, and a tracker that is
// up to date with them.
type datasets struct {
	writer    *dataset.Writer
	places    *geo.Locator
	tracker   *tracker.Tracker // nil when it cannot be opened, or the number of active validators is not known
	estimates *estimates
	consumer  *consumer.Consumer // nil until the network is known
	copy      *clickhouse.Sink   // nil without
	log       *slog.Logger
}

// openDatasets recovers the locked data directory. The lock is the writer's from then
// on, even when it fails. /metrics reports on the datasets and their consumer from then on.
// Errors that the user can fix are ConfigErrors.
func openDatasets(lock *dataset.Lock, places *geo.Locator, svc *Service) (*datasets, error) {
	w, err := dataset.OpenLocked(lock, svc.log)
	if err != nil {
		return nil, AsConfigError(err)
	}
	svc.storing.register("datasets", func() {
		diskMetrics(svc, w.Dir())
		consumer.NewMetrics(svc.metrics, svc.storing.stats)
		dataset.NewMetrics(svc.metrics, dataset.NewSurvey(w.Dir()).Tables)
		geo.NewMetrics(svc.metrics, places)
	})
	return &datasets{writer: w, places: places, log: svc.log}, nil
}

// openTracker opens the tracker of the network's events and brings it up to the datasets.
func (d *datasets) openTracker(ctx context.Context, e *estimates) (err error) {
	d.estimates = e
	e.config.Places = d.places
	d.tracker, err = e.open(ctx, d.writer)
	return err
}

// currentTracker is nil while there is none.
func (d *datasets) currentTracker() *tracker.Tracker {
	if d.consumer != nil {
		return d.consumer.Tracker()
	}
	return d.tracker
}

// close is called after the consumer's Run, which has closed the writer if it ran.
func (d *datasets) close() {
	if d.consumer != nil && d.consumer.Stats().Stopped != nil {
		abandonTracker(d.currentTracker(), d.log)
	} else {
		closeTracker(d.currentTracker(), d.log)
	}
	if err := d.writer.Close(); err != nil {
		d.log.Warn("close the datasets", slog.Any("error", err))
	}
}

// storage is the consumer and where its messages come from.
type storage struct {
	broker       *Broker
	subscription *bus.Subscription
	consumer     *consumer.Consumer
	exclude      *sentry.Exclude
	mirror       *mirror.Mirror // nil when there is none
	copyFigures  func() []slog.Attr
	log          *slog.Logger
}

// subscribe makes the durable and this process its owner; before that nothing in the data
// directory may be read that the owner before may still change. It stands by while another
// process has the durable. Errors that the user can fix are ConfigErrors.
func subscribe(ctx context.Context, cfg ConsumerConfig, durable string, conn *bus.Conn, svc *Service) (*bus.Subscription, error) {
	stoodBy := false
	sub, err := conn.Subscribe(ctx, bus.SubscribeOptions{
		Durable: durable, AckWait: cfg.Storing.AckWait(), MaxAckPending: cfg.Storing.MaxAckPending(),
		Exclusive: true, Name: ownName(cfg.DataDir), StandBy: func(owner string) {
			stoodBy = true
			svc.standByForDurable(durable, owner)
		},
	})
	switch {
	case errors.Is(err, bus.ErrAckLimit):
		return nil, ConfigErrorf("%w; give --%s at most half of that limit (max_ack_pending), or have it raised", err, OptSegmentRows)
	case errors.Is(err, bus.ErrForeignStream), errors.Is(err, bus.ErrUnfit), errors.Is(err, bus.ErrNoCluster):
		return nil, AsConfigError(err)
	case err != nil:
		return nil, err
	}
	svc.storing.subscription.Store(sub)
	svc.storing.register("subscription", func() {
		bus.NewSubscriptionMetrics(svc.metrics, func() bus.Progress { return svc.storing.subscription.Load().Progress() })
	})
	if stoodBy {
		svc.log.Info("the other consumer has stopped, taking over", slog.String("durable", durable))
	}
	return sub, nil
}

// openStorage makes the consumer of a subscription; source is the subscription, or what
// delivers its messages. Errors that the user can fix are ConfigErrors.
func openStorage(cfg ConsumerConfig, sub *bus.Subscription, source consumer.Source, d *datasets, b *Broker, svc *Service) (*storage, error) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	settings := cfg.Storing
	settings.Log, settings.Tracker, settings.Places = svc.log, d.tracker, d.places
	settings.NoTracker, settings.OpenTracker = d.estimates.unavailable, d.estimates.reopen
	settings.Network, settings.GenesisValidatorsRoot = cfg.Network.Name, cfg.Network.GenesisValidatorsRoot
	settings.Excluded = excludedBy(cfg.Exclude)
	settings.OnRoot = func(root eth2.Root) error {
		use := cfg.dirUse()
		use.Network.GenesisValidatorsRoot = root
		return claimDataDir(cfg.DataDir, use)
	}
	m, err := openMirror(cfg, svc)
	if err != nil {
		return nil, err
	}
	c, err := consumer.New(settings, d.writer, source)
	if err != nil {
		return nil, AsConfigError(err)
	}
	if d.tracker != nil {
		warnOfExcluded(cfg.Exclude, d.tracker.State(), svc.log)
	}
	s := &storage{exclude: cfg.Exclude, broker: b, subscription: sub, consumer: c, mirror: m, copyFigures: d.copyFigures, log: svc.log}
	d.consumer = c
	svc.storing.consumer.Store(c)
	if d.tracker != nil || settings.NoTracker != nil {
		svc.storing.register("tracker", func() { tracker.NewMetrics(svc.metrics, svc.storing.state) })
	}
	return s, nil
}

// ready is nil when events can be stored.
func (s *storage) ready() error {
	if err := s.broker.Err(); err != nil {
		return err
	}
	stats := s.consumer.Stats()
	switch {
	case stats.Stopped != nil:
		return fmt.Errorf("the consumer has stopped and will be reopened when possible: %w", stats.Stopped)
	case stats.Err != nil:
		return fmt.Errorf("cannot write to the datasets: %w", stats.Err)
	}
	if err := s.subscription.Progress().Ready(); err != nil {
		return err
	}
	if stats.Estimates != nil {
		return fmt.Errorf("the estimates are behind: %w", stats.Estimates)
	}
	return nil
}

// figures are the consumer's part of the status line: events in committed segments,
// events waiting for their commit and the time until then, and messages not received yet.
func (s *storage) figures() []slog.Attr {
	stats := s.consumer.Stats()
	attrs := []slog.Attr{slog.Uint64("stored", stats.Stored), slog.Int("waiting", stats.Pending)}
	if stats.Pending > 0 && stats.Err == nil {
		attrs = append(attrs, slog.Duration("commit_in", max(0, time.Until(stats.CommitDue).Round(time.Second))))
	}
	attrs = append(attrs, slog.Uint64("lag", s.subscription.Progress().Pending))
	return append(attrs, s.copyFigures()...)
}

// drain waits until every message in the stream has been delivered, within its
// own limit; the others are stored after the next start. ctx ends with the
// consumer: nothing is delivered after that.
func (s *storage) drain(ctx context.Context) {
	if ctx.Err() != nil {
		return
	}
	bounded, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	ticker := time.NewTicker(drainPoll)
	defer ticker.Stop()
	for {
		lag, err := s.subscription.Lag(bounded)
		if err == nil && lag.Pending == 0 {
			return
		}
		select {
		case <-bounded.Done():
			if ctx.Err() != nil {
				return // the consumer's error says it
			}
			s.log.Warn("leaving unstored events in the stream for the next start", slog.Uint64("events", lag.Pending), slog.Any("error", err))
			return
		case <-ticker.C:
		}
	}
}

func (s *storage) logStopped() {
	stats := s.consumer.Stats()
	var missing uint64
	for _, n := range stats.Missing {
		missing += n
	}
	s.log.Info("stored", slog.Uint64("events", stats.Stored), slog.Uint64("segments", stats.Segments),
		slog.Uint64("rejected", stats.Rejected), slog.Uint64("duplicates", stats.Duplicates), slog.Uint64("missing", missing))
}

// consumerIDFile keeps the consumer's id in the data directory, so that the durable
// is the same after a restart.
const consumerIDFile = "consumer_id"

// durablePrefix is in front of the id in the durable's name.
const durablePrefix = "consumer-"

// KnownDurable is the durable of a consumer that has run in the data directory, or the
// configured one; empty when there is none. It changes nothing.
func KnownDurable(configured, dataDir string) string {
	if configured != "" {
		return configured
	}
	text, _, err := readState(filepath.Join(dataDir, consumerIDFile))
	if err != nil || text == "" {
		return ""
	}
	return durablePrefix + text
}

// durableName is the configured name, or one with the id in the data directory, which
// is made if it is missing. Errors are ConfigErrors. The directory must be locked.
func durableName(cfg ConsumerConfig) (string, error) {
	if cfg.Durable != "" {
		return cfg.Durable, nil
	}
	id, err := consumerID(cfg.DataDir)
	if err != nil {
		return "", err
	}
	return durablePrefix + id, nil
}

// consumerID is the id in a data directory, which is made if it is missing. Errors are
// ConfigErrors. The directory must be locked.
func consumerID(dir string) (string, error) {
	id, err := storedConsumerID(dir)
	if err != nil || id != "" {
		return id, err
	}
	random := make([]byte, 8)
	rand.Read(random) // never fails
	id = hex.EncodeToString(random)
	if err := diskio.ReplaceFile(filepath.Join(dir, consumerIDFile), []byte(id+"\n"), 0o644); err != nil {
		return "", notWritable(dir, err)
	}
	return id, nil
}

// storedConsumerID reads the id; empty when there is none yet. An emptied file is as good
// as none while nothing is stored: otherwise the durable of the lost id may have events
// that a new one would never get. Errors are ConfigErrors.
func storedConsumerID(dir string) (string, error) {
	path := filepath.Join(dir, consumerIDFile)
	id, there, err := readState(path)
	if err != nil || !there {
		return "", AsConfigError(err)
	}
	if id == "" {
		networks, err := dataset.Inspect(dir)
		if err == nil && len(networks) == 0 {
			return "", nil
		}
	}
	if id == "" || strings.ContainsAny(id, " .*>/\\\n") {
		return "", ConfigErrorf("%s holds no id: 'nats consumer ls' shows the stream's durables, among them the %sID that it had: write that ID into the file, or give --%s; or remove the file to start with a new durable, which receives only new events", path, durablePrefix, OptName)
	}
	return id, nil
}
