package main

import (
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/chainbound/valtrack/internal/bus"
	"github.com/chainbound/valtrack/internal/event"
	"github.com/chainbound/valtrack/internal/spool"
	"github.com/chainbound/valtrack/internal/telemetry"
)

const (
	// network and sentryName stand in every event.
	network, sentryName = "mainnet", "crash"
	// closePatience bounds the last publishing of a sentry that is stopped.
	closePatience = 5 * time.Second
	// drainPoll is how often a spool that empties is looked at.
	drainPoll = 20 * time.Millisecond
)

// sentryMain is the process that stands for a sentry: the real spool and publisher,
// fed with made-up events. Without a rate it publishes a last one, and what the spool
// has, and ends.
func sentryMain(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("sentry", flag.ContinueOnError)
	dir := flags.String("dir", "", "directory of what was published")
	spoolDir := flags.String("spool", "", "directory of the spool")
	address := flags.String("http", "127.0.0.1:0", "address of /readyz")
	url := flags.String("nats", "", "address of the broker")
	boot := flags.Uint64("boot", 1, "of the events")
	rate := flags.Int("rate", 0, "events a second")
	peers := flags.Int("peers", 1, "peers that the events are of")
	name := flags.String("name", sentryName, "id of the sentry, and of the crawler")
	replicas := flags.Int("replicas", 1, "of the stream")
	unusual := flags.Bool("unusual", false, "some events are of other times, and some of another network")
	if err := flags.Parse(args); err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	conn, err := bus.Connect(ctx, bus.Options{URL: *url, Access: bus.Access{Replicas: *replicas}, Name: *name, InBackground: true, Log: log})
	if err != nil {
		return err
	}
	queue, err := spool.Open(spool.Config{Dir: *spoolDir, Sentry: *name, Boot: *boot, Log: log})
	if err != nil {
		return errors.Join(err, conn.Close())
	}
	p, err := bus.NewPublisher(conn, bus.PublisherConfig{
		Queue: queue, Added: queue.Added(), Mark: queue.Mark(), Own: event.Key{Sentry: *name, Boot: *boot}.Producer(),
	})
	if err != nil {
		return errors.Join(err, queue.Close(), conn.Close())
	}
	stopServing, err := serveReady(*address, func() error { return errors.Join(queue.Stats().Err, p.Stats().Err) }, log)
	if err != nil {
		return errors.Join(err, p.Close(ctx), conn.Close())
	}
	m := newMaker(*peers)
	m.unusual = *unusual
	for i := range m.peers {
		m.peers[i].CrawlerID = *name
	}
	if *rate > 0 {
		err = publish(ctx, queue, *dir, *boot, *rate, math.MaxUint64, m)
	} else {
		if err = publish(ctx, queue, *dir, *boot, 1, 1, m); err == nil {
			err = awaitEmpty(ctx, queue)
		}
	}
	stopServing()
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), closePatience)
	defer cancel()
	return errors.Join(err, p.Close(bounded), conn.Close())
}

// serveReady answers /readyz as the real sentry does.
func serveReady(address string, ready func() error, log *slog.Logger) (stop func(), err error) {
	server, err := telemetry.Listen(address, telemetry.NewRegistry(), ready, false, log)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			log.Error("cannot serve /readyz", slog.Any("error", err))
		}
	}, nil
}

// publish publishes until ctx ends, or at most so many events, and keeps in a file of
// the boot for how many events Publish has returned: what is written survives the
// process.
func publish(ctx context.Context, queue *spool.Spool, dir string, boot uint64, rate int, most uint64, m *maker) error {
	f, err := os.Create(filepath.Join(dir, publishedPrefix+strconv.FormatUint(boot, 10)))
	if err != nil {
		return err
	}
	start := time.Now()
	for n := uint64(1); n <= most && ctx.Err() == nil; n++ {
		now := time.Now()
		if err := queue.Publish(ctx, m.next(number{boot, n}, now)); err != nil {
			return errors.Join(err, f.Close())
		}
		if _, err := f.WriteAt(binary.LittleEndian.AppendUint64(nil, n), 0); err != nil {
			return errors.Join(err, f.Close())
		}
		due := start.Add(time.Duration(n) * time.Second / time.Duration(rate))
		time.Sleep(due.Sub(now))
	}
	return f.Close()
}

func awaitEmpty(ctx context.Context, queue *spool.Spool) error {
	for queue.Stats().Events > 0 {
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d events are left in the spool", queue.Stats().Events)
		case <-time.After(drainPoll):
		}
	}
	return nil
}

const publishedPrefix = "published-"

// published reads how many events Publish has returned for, by boot.
func published(dir string) (map[uint64]uint64, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	out := map[uint64]uint64{}
	for _, e := range entries {
		text, ok := strings.CutPrefix(e.Name(), publishedPrefix)
		if !ok {
			continue
		}
		boot, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", e.Name(), err)
		}
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, err
		}
		if len(b) == 8 { // else it was killed before its first event
			out[boot] = binary.LittleEndian.Uint64(b)
		}
	}
	return out, nil
}
