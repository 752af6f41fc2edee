package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/chainbound/valtrack/internal/bus"
	"github.com/chainbound/valtrack/internal/consumer"
	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/event"
)

// broker is a NATS server in its own process, and our connection to it.
type broker struct {
	*process
	url  string
	conn *bus.Conn
}

func startBroker(ctx context.Context, o options, dir string) (*broker, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p, err := launch(ctx, o.verbose, self, "broker", "-dir", dir)
	if err != nil {
		return nil, err
	}
	url, err := p.stdout.ReadString('\n')
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start the broker: %w", err), p.stop())
	}
	b := &broker{process: p, url: strings.TrimSpace(url)}
	if b.conn, err = bus.Connect(ctx, bus.Options{URL: b.url, Name: "bench", Log: discardLog()}); err != nil {
		return nil, errors.Join(err, p.stop())
	}
	return b, nil
}

func (b *broker) stop() error { return errors.Join(b.conn.Close(), b.process.stop()) }

// subscribe makes the durable, so that the stream keeps events for it. The name
// is the one that the consumer makes of its id.
func (b *broker) subscribe(ctx context.Context, durable string) error {
	_, err := b.conn.Subscribe(ctx, subscription("consumer-"+durable))
	return err
}

// brokerMain is the broker's process: it prints its address and serves until it is
// stopped.
func brokerMain(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("broker", flag.ContinueOnError)
	dir := flags.String("dir", "", "the store's directory")
	if err := flags.Parse(args); err != nil {
		return err
	}
	srv, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: *dir, SyncInterval: time.Second, NoSigs: true,
	})
	if err != nil {
		return err
	}
	srv.Start()
	defer srv.WaitForShutdown()
	defer srv.Shutdown()
	if !srv.ReadyForConnections(ingestPatience) {
		return errors.New("the broker does not start")
	}
	fmt.Println(srv.ClientURL())
	<-ctx.Done()
	return nil
}

// floor runs the floor's process and measures it.
func (r *ingestRound) floor(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	p, err := launch(ctx, r.verbose, self, "ingest-floor", "-nats", r.broker.url, "-dir", r.dataDir(floorDurable), "-events", strconv.Itoa(r.events))
	if err != nil {
		return err
	}
	// It prints a line when it has all events.
	done := make(chan error, 1)
	go func() { _, err := p.stdout.ReadString('\n'); done <- err }()
	select {
	case err = <-done:
	case <-time.After(ingestPatience):
		err = fmt.Errorf("the floor does not have its events after %v", ingestPatience)
	}
	wall := time.Since(p.started)
	if err := errors.Join(err, p.stop()); err != nil {
		return err
	}
	r.runs = append(r.runs, p.intake(floorName, r.events, wall))
	return nil
}

// ingestFloorMain does the least that gets the same rows into Parquet: it
// acknowledges at once, writes one file per table, and keeps no keys. Killed, it
// leaves nothing.
func ingestFloorMain(ctx context.Context, args []string) (err error) {
	flags := flag.NewFlagSet("ingest-floor", flag.ContinueOnError)
	url := flags.String("nats", "", "address of the broker")
	dir := flags.String("dir", "", "where the files go")
	want := flags.Int("events", 0, "events to take")
	if err := flags.Parse(args); err != nil {
		return err
	}
	files, err := createFloorFiles(*dir)
	if err != nil {
		return err
	}
	conn, err := bus.Connect(ctx, bus.Options{URL: *url, Name: "floor", Log: discardLog()})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	sub, err := conn.Subscribe(ctx, subscription("consumer-"+floorDurable))
	if err != nil {
		return err
	}
	running, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	n := 0
	err = sub.Run(running, func(_ context.Context, m bus.Message) {
		if err := files.store(m); err != nil {
			cancel(err)
			return
		}
		if n++; n == *want {
			fmt.Println("all")
			cancel(nil)
		}
	})
	if cause := context.Cause(running); !errors.Is(cause, context.Canceled) {
		err = errors.Join(err, cause)
	}
	return errors.Join(err, files.close())
}

// floorFiles are one Parquet file for each table that a crawl's events go to.
type floorFiles struct {
	enrichers  []consumer.Enricher
	discovery  *dataset.File[dataset.DiscoveryRow]
	metadata   *dataset.File[dataset.MetadataRow]
	validators *dataset.File[dataset.ValidatorRow]
	visits     *dataset.File[dataset.VisitRow]
}

func createFloorFiles(dir string) (f floorFiles, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return f, err
	}
	f.enrichers = consumer.Enrichers()
	var err1, err2, err3, err4 error
	f.discovery, err1 = dataset.CreateFile[dataset.DiscoveryRow](filepath.Join(dir, "discovery.parquet"))
	f.metadata, err2 = dataset.CreateFile[dataset.MetadataRow](filepath.Join(dir, "metadata.parquet"))
	f.validators, err3 = dataset.CreateFile[dataset.ValidatorRow](filepath.Join(dir, "validators.parquet"))
	f.visits, err4 = dataset.CreateFile[dataset.VisitRow](filepath.Join(dir, "visits.parquet"))
	return f, errors.Join(err1, err2, err3, err4)
}

func (f *floorFiles) store(m bus.Message) error {
	e, err := event.Decode(m.Subject, m.Data)
	if err != nil {
		return err
	}
	switch e := e.(type) {
	case *event.PeerDiscovered:
		err = f.discovery.Write(dataset.FromPeerDiscovered(e))
	case *event.MetadataReceived:
		metadata := dataset.FromMetadataReceived(e)
		validator := dataset.ValidatorRowOf(&metadata)
		for _, enricher := range f.enrichers {
			enricher.Enrich(e, &validator)
		}
		err = errors.Join(f.metadata.Write(metadata), f.validators.Write(validator))
	case *event.VisitEnded:
		err = f.visits.Write(dataset.FromVisitEnded(e))
	}
	if err != nil {
		return err
	}
	return m.Ack()
}

func (f *floorFiles) close() error {
	return errors.Join(f.discovery.Close(), f.metadata.Close(), f.validators.Close(), f.visits.Close())
}
