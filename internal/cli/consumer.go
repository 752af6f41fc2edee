package cli

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v3"
	"golang.org/x/sync/errgroup"

	"github.com/chainbound/valtrack/internal/bus"
	"github.com/chainbound/valtrack/internal/consumer"
	"github.com/chainbound/valtrack/internal/dataset"
)

// Flags of the consumer.
const (
	flagName        = "name"
	flagSegmentRows = "segment-rows"
	flagSegmentAge  = "segment-age"
	flagCompact     = "compact-every"
	flagRetention   = "retention"
)

func consumerFlags() []cli.Flag {
	name := text(flagName, "", "name of the durable consumer in JetStream")
	name.DefaultText = "consumer- and an id kept in the data directory"
	return append([]cli.Flag{
		name,
		number(flagSegmentRows, consumer.DefaultSegmentRows, "events after which a segment is committed to the datasets"),
		duration(flagSegmentAge, consumer.DefaultSegmentAge, "age at which a segment is committed to the datasets"),
		duration(flagCompact, consumer.DefaultCompactEvery, "time whose parts are merged into one, and those of 24 of it again; 0 merges none"),
		text(flagRetention, "0", "age at which rows are removed, such as 90d; 0 keeps them for ever"),
	}, trackerFlags()...)
}

func (a *app) consumerCommand() *cli.Command {
	return a.leaf(&cli.Command{
		Name: "consumer", Usage: "run the consumer",
		Description: "Takes events from JetStream at --nats (default: " + defaultNATS + ") and writes the datasets\n" +
			strings.Join(dataset.Tables(), ", ") + " in --data-dir. A second one in the same --data-dir, or with the same --name,\n" +
			"stands by and takes over when the first has ended.",
		Flags: append(consumerFlags(), serviceFlags()...),
	}, runConsumer)
}

// consumerConfig is everything that the consumer's services are built from.
type consumerConfig struct {
	dataDir string
	natsURL string
	durable string          // empty: made from an id in the data directory
	storing consumer.Config // without a log and a tracker
}

// consumerConfig checks the consumer's flags. Errors are usageErrors.
func (in invocation) consumerConfig() (consumerConfig, error) {
	cfg := consumerConfig{
		dataDir: in.cmd.String(flagDataDir),
		natsURL: in.cmd.String(flagNATS),
		durable: in.cmd.String(flagName),
		storing: consumer.Config{SegmentAge: in.cmd.Duration(flagSegmentAge), CompactEvery: in.cmd.Duration(flagCompact)},
	}
	// JetStream takes neither of these in a consumer's name.
	if strings.ContainsAny(cfg.durable, " \t.*>/\\") {
		return cfg, usagef("--%s %q: want a name without spaces, dots, slashes, * and >", flagName, cfg.durable)
	}
	if cfg.storing.SegmentAge <= 0 { // zero would be the default
		return cfg, usagef("--%s %v: want a time above zero, such as 1m", flagSegmentAge, cfg.storing.SegmentAge)
	}
	if cfg.storing.CompactEvery == 0 {
		cfg.storing.CompactEvery = -1
	}
	var err error
	if cfg.storing.SegmentRows, err = in.positive(flagSegmentRows); err != nil {
		return cfg, err
	}
	if cfg.storing.Retention, err = parseAge(flagRetention, in.cmd.String(flagRetention)); err != nil {
		return cfg, err
	}
	if err := cfg.storing.Check(); err != nil {
		return cfg, usagef("--%s, --%s, --%s, --%s: %w", flagSegmentRows, flagSegmentAge, flagCompact, flagRetention, err)
	}
	return cfg, nil
}

// parseAge reads a time in days, as 90d, or in the units of a duration; empty is 0.
func parseAge(flag, text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	age, err := time.ParseDuration(text)
	if days, ok := strings.CutSuffix(text, "d"); ok {
		var n int64
		n, err = strconv.ParseInt(days, 10, 32)
		age = time.Duration(n) * 24 * time.Hour
		if age/(24*time.Hour) != time.Duration(n) {
			err = strconv.ErrRange
		}
	}
	if err != nil || age < 0 {
		return 0, usagef("--%s %q: want an age such as 90d or 36h, or 0", flag, text)
	}
	return age, nil
}

// consumerIDFile keeps the consumer's id in the data directory, so that the
// durable is the same after a restart.
const consumerIDFile = "consumer_id"

// durableName is the flag's name, or one with the data directory's id, which is
// made if it is missing.
func (cfg consumerConfig) durableName() (string, error) {
	if cfg.durable != "" {
		return cfg.durable, nil
	}
	path := filepath.Join(cfg.dataDir, consumerIDFile)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		id := make([]byte, 8)
		rand.Read(id) // never fails
		data = []byte(hex.EncodeToString(id) + "\n")
		err = os.WriteFile(path, data, 0o644)
	}
	if err != nil {
		return "", usagef("--%s %q: %w; choose another directory or mend its permissions", flagDataDir, cfg.dataDir, err)
	}
	id := strings.TrimSpace(string(data))
	if id == "" || strings.ContainsAny(id, " .*>/\\\n") {
		return "", usagef("%s holds no id: remove it, or give --%s", path, flagName)
	}
	return "consumer-" + id, nil
}

// storage is the consumer and where its messages come from.
type storage struct {
	subscription *bus.Subscription
	consumer     *consumer.Consumer
}

// lockDatasets makes the data directory ours before anything waits for NATS or
// changes the durable there: a second consumer of one directory has to end at
// once. Errors are usageErrors.
func lockDatasets(cfg consumerConfig) (*dataset.Lock, error) {
	lock, err := dataset.TakeLock(cfg.dataDir)
	return lock, asUsage(err)
}

// openDatasets recovers the locked data directory. Close the writer when no
// consumer has run with it. Errors are usageErrors.
func openDatasets(lock *dataset.Lock, log *slog.Logger) (*dataset.Writer, error) {
	w, err := dataset.OpenLocked(lock, log)
	return w, asUsage(err)
}

// gcPercent is GOGC while storing: a backlog takes some 360 MiB with it, 394 with
// Go's 100 (make bench-ingest).
const gcPercent = 75

// openStorage subscribes, and from then on /readyz and /metrics tell of the
// datasets. The name of the durable may depend on the data directory, so that has
// to be locked: w is.
func openStorage(ctx context.Context, cfg consumerConfig, w *dataset.Writer, conn *bus.Conn, svc *service) (*storage, error) {
	durable, err := cfg.durableName()
	if err != nil {
		return nil, err
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	settings := cfg.storing
	settings.Log = svc.log
	sub, err := conn.Subscribe(ctx, bus.SubscribeOptions{
		Durable: durable, AckWait: settings.AckWait(), MaxAckPending: settings.MaxAckPending(),
		Exclusive: true, Name: ownName(cfg.dataDir), StandBy: svc.standByFor(durable),
	})
	if svc.standingBy.Swap(nil) != nil && err == nil {
		svc.log.Info("the other consumer has ended, taking over", slog.String("durable", durable))
	}
	if err != nil {
		return nil, err
	}
	c, err := consumer.New(settings, w, sub)
	if err != nil {
		sub.Close()
		return nil, asUsage(err)
	}
	s := &storage{subscription: sub, consumer: c}
	svc.storage.Store(s)
	svc.metrics.MustRegister(storageCollector{c.Stats, dataset.NewSurvey(w.Dir()).Tables})
	return s, nil
}

// status are the consumer's figures for the status line: events in committed
// segments, events waiting for their commit, and messages not received yet.
func (s *storage) status(context.Context) []slog.Attr {
	stats := s.consumer.Stats()
	return []slog.Attr{
		slog.Uint64("stored", stats.Stored),
		slog.Int("waiting", stats.Pending),
		slog.Uint64("lag", stats.Behind),
	}
}

// drain waits until every message in the stream has been delivered, within a
// bound of its own; messages that are not are stored after the next start. ctx
// ends with the consumer: then nothing is delivered any more.
func (s *storage) drain(ctx context.Context, log *slog.Logger) {
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
			log.Warn("events stay in the stream for the next start", slog.Uint64("events", lag.Pending), slog.Any("error", err))
			return
		case <-ticker.C:
		}
	}
}

// drainPoll is how often the broker is asked what is left.
const drainPoll = 50 * time.Millisecond

func runConsumer(ctx context.Context, in invocation) error {
	if err := in.noArguments(); err != nil {
		return err
	}
	cfg, err := in.consumerConfig()
	if err != nil {
		return err
	}
	if cfg.natsURL == "" {
		cfg.natsURL = defaultNATS
	}
	net, err := in.network()
	if err != nil {
		return err
	}
	tracks, err := in.tracking(cfg.dataDir, net)
	if err != nil {
		return err
	}
	dir, err := openDataDir(cfg.dataDir)
	if err != nil {
		return err
	}
	dir.Close() // it holds no lock: the dataset's is the consumer's
	svc, err := in.silentService(true)
	if err != nil {
		return err
	}
	// The address may be that of the consumer to stand by for.
	svc.server, err = svc.listen()
	late := errors.Is(err, syscall.EADDRINUSE)
	if err != nil && !late {
		return err
	}
	inUse := err
	return svc.run(ctx, func(ctx context.Context) error {
		if late {
			lock, err := lockDatasets(cfg)
			if err == nil {
				lock.Close()
				return inUse
			}
		}
		lock, err := svc.standBy(ctx, cfg)
		if err != nil || lock == nil {
			return err
		}
		defer lock.Close()
		work := func(ctx context.Context) error { return consume(ctx, cfg, tracks, lock, svc) }
		if !late {
			return work(ctx)
		}
		if err := svc.awaitAddress(ctx); err != nil {
			return stoppedEarly(ctx, err)
		}
		return svc.serve(ctx, work)
	})
}

// consume builds the consumer and runs it until ctx ends.
func consume(ctx context.Context, cfg consumerConfig, tracks tracking, lock *dataset.Lock, svc *service) error {
	w, err := openDatasets(lock, svc.log)
	if err != nil {
		return err
	}
	defer w.Close()
	tr, err := tracks.open(ctx, w, svc.log)
	if err != nil {
		return stoppedEarly(ctx, err)
	}
	defer closeTracker(tr, svc.log)
	cfg.storing.Tracker = tr
	durable, err := cfg.durableName()
	if err != nil {
		return err
	}
	b, err := connect(ctx, cfg.natsURL, storeDir(cfg.dataDir), bus.Options{Name: "valtrack " + durable, Log: svc.log})
	if err != nil {
		return stoppedEarly(ctx, err)
	}
	defer b.close(svc.log)
	store, err := openStorage(ctx, cfg, w, b.conn, svc)
	if err != nil {
		return stoppedEarly(ctx, err)
	}
	defer store.subscription.Close()
	svc.log.Info("consuming", slog.String("durable", durable), slog.String("data_dir", cfg.dataDir))
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return store.consumer.Run(ctx) })
	g.Go(func() error { return svc.status.run(ctx, svc.log, store.status) })
	g.Go(func() error { return tracks.follow(ctx, tr, svc.log) })
	err = g.Wait()
	store.logStopped(svc.log)
	return err
}

// ready is nil when events can be stored. A nil storage is one that is not open
// yet.
func (s *storage) ready() error {
	if s == nil {
		return errors.New("not connected to NATS yet")
	}
	if err := s.consumer.Stats().Err; err != nil {
		return fmt.Errorf("the datasets cannot be written: %w", err)
	}
	return nil
}

func (s *storage) logStopped(log *slog.Logger) {
	stats := s.consumer.Stats()
	var missing uint64
	for _, n := range stats.Missing {
		missing += n
	}
	log.Info("stored", slog.Uint64("events", stats.Stored), slog.Uint64("segments", stats.Segments),
		slog.Uint64("rejected", stats.Rejected), slog.Uint64("duplicates", stats.Duplicates), slog.Uint64("missing", missing))
}
