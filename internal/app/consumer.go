package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/chainbound/valtrack/internal/bus"
	"github.com/chainbound/valtrack/internal/clickhouse"
	"github.com/chainbound/valtrack/internal/consumer"
	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/eth2/network"
	"github.com/chainbound/valtrack/internal/event"
	"github.com/chainbound/valtrack/internal/geo"
	"github.com/chainbound/valtrack/internal/mirror"
	"github.com/chainbound/valtrack/internal/sentry"
)

// ConsumerConfig is everything that a consumer is built from.
type ConsumerConfig struct {
	// Network is the network of the events. Without a name the data directory or, when that
	// is new, the first event decides. Without a clock nothing is estimated.
	Network network.Network
	// NetworkDir is the directory of Network's files; empty for an embedded network.
	NetworkDir string
	DataDir    string
	// NATS is the server's URL, or EmbeddedNATS, and Access how to use it.
	NATS   string
	Access bus.Access
	// Durable is the name of the durable consumer; empty makes one from an id in the
	// data directory.
	Durable string
	// Storing are the consumer's own settings; Log and Tracker are set here.
	Storing    consumer.Config
	Estimates  EstimatesConfig
	HTTP       HTTPConfig
	ClickHouse clickhouse.Config
	// Mirror copies the datasets if it has a Location, Credentials and Retention; the rest is
	// set here.
	Mirror mirror.Config
	// Exclude are nodes whose events are not stored; nil for none.
	Exclude *sentry.Exclude
	// Geo are the files of the user's databases of places.
	Geo []string
	// DevnetPlaces gives the nodes of a simulated network the places of public addresses,
	// marked as simulated.
	DevnetPlaces bool
}

func (cfg ConsumerConfig) dirUse() DirUse {
	return DirUse{Consumer: true, Stores: true, Network: cfg.Network, NetworkDir: cfg.NetworkDir, Named: cfg.Durable != ""}
}

// errNoFirstEvent is why a consumer whose data directory has no network yet is not ready.
var errNoFirstEvent = errors.New("waiting for the first event, which names the network")

// RunConsumer runs a Consumer until ctx ends, as Run does. While another process writes
// the data directory it stands by; the address of the metrics server may be that
// process's until then.
func RunConsumer(ctx context.Context, cfg ConsumerConfig, s *Service) error {
	if err := makeDataDir(cfg.DataDir, cfg.dirUse()); err != nil {
		return err
	}
	s.ready.setReason(notConnected)
	return s.withStopLimit(ctx, stopLimit, func(ctx context.Context) error {
		server, err := s.listen()
		if errors.Is(err, syscall.EADDRINUSE) {
			return s.runAfterOther(ctx, cfg, err)
		}
		if err != nil {
			return err
		}
		return serve(ctx, server, func(ctx context.Context) error {
			return openAndRun(ctx, func(ctx context.Context) (*Consumer, error) {
				lock, err := s.standBy(ctx, cfg.DataDir)
				if err != nil {
					return nil, err
				}
				return openConsumer(ctx, cfg, lock, s)
			})
		})
	})
}

// runAfterOther waits for the consumer that has the data directory and the address of
// the metrics server. addressInUse is the error when no consumer has the directory.
func (s *Service) runAfterOther(ctx context.Context, cfg ConsumerConfig, addressInUse error) error {
	if lock, err := dataset.TakeLock(cfg.DataDir); err == nil {
		return errors.Join(addressInUse, lock.Close())
	}
	lock, err := s.standBy(ctx, cfg.DataDir)
	if err != nil {
		return StoppedEarly(ctx, err)
	}
	server, err := s.awaitAddress(ctx)
	if err != nil {
		lock.Close()
		return StoppedEarly(ctx, err)
	}
	return serve(ctx, server, func(ctx context.Context) error {
		return openAndRun(ctx, func(ctx context.Context) (*Consumer, error) { return openConsumer(ctx, cfg, lock, s) })
	})
}

// Consumer is the consumer in its own process. It runs once.
type Consumer struct {
	durable  string
	dataDir  string
	lock     *dataset.Lock // the writer's
	places   *geo.Locator
	datasets *datasets
	storage  *storage
	http     *httpServer
	wants    HTTPConfig // what http was to be
	svc      *Service
	cleanups
}

// openConsumer subscribes, and recovers the data directory once the durable is this
// process's; it waits for NATS. The lock belongs to the consumer from then on, even when it
// fails.
func openConsumer(ctx context.Context, cfg ConsumerConfig, lock *dataset.Lock, svc *Service) (_ *Consumer, err error) {
	c := &Consumer{dataDir: cfg.DataDir, lock: lock, svc: svc}
	defer func() {
		if err != nil {
			c.Close()
		}
	}()
	c.add(func() { lock.Close() }) // if no writer has
	svc.ready.setReason(notConnected)
	if c.places, err = openPlaces(cfg.Geo, svc.log); err != nil {
		return nil, err
	}
	if err := claimDataDir(cfg.DataDir, cfg.dirUse()); err != nil {
		return nil, err
	}
	if c.durable, err = durableName(cfg); err != nil {
		return nil, err
	}
	b, err := OpenBroker(ctx, cfg.NATS, cfg.DataDir, bus.Options{Name: "valtrack " + c.durable, Inbox: bus.ConsumerInbox, Access: cfg.Access, Log: svc.log})
	if err != nil {
		return nil, err
	}
	c.add(b.Close)
	b.watchStream(ctx, cfg.DataDir, svc)
	sub, err := subscribe(ctx, cfg, c.durable, b.conn, svc)
	if err != nil {
		return nil, err
	}
	c.add(sub.Close)
	c.wants = cfg.HTTP
	if c.http, err = listenHTTP(cfg.HTTP, svc); err != nil {
		return nil, err
	}
	c.add(c.http.close)
	if c.datasets, err = openDatasets(lock, c.places, svc); err != nil {
		return nil, err
	}
	c.add(c.datasets.close)
	if err := c.datasets.addColumns(ctx, svc); err != nil {
		return nil, err
	}
	var source consumer.Source = sub
	if cfg.Network.Name != "" {
		err = c.openTracker(ctx, cfg)
	} else {
		first := receiveFirst(ctx, sub, svc.log)
		c.add(first.abandon)
		svc.ready.set(func() error { return cmp.Or(b.Err(), sub.Progress().Ready(), errNoFirstEvent) })
		source, err = first, c.decideNetwork(ctx, &cfg, first)
	}
	if err != nil {
		return nil, err
	}
	if c.storage, err = openStorage(cfg, sub, source, c.datasets, b, svc); err != nil {
		return nil, err
	}
	if err := c.datasets.openCopy(cfg.ClickHouse, c.durable, svc); err != nil {
		return nil, err
	}
	svc.ready.set(c.storage.ready)
	c.http.source(cfg, c.places, c.lock.Check, func() *storage { return c.storage })
	return c, nil
}

func (c *Consumer) openTracker(ctx context.Context, cfg ConsumerConfig) error {
	if cfg.DevnetPlaces {
		simulatePlaces(cfg.Network, c.places, c.svc.log)
	}
	return c.datasets.openTracker(ctx, newEstimates(cfg.Estimates, cfg.DataDir, cfg.Network, c.svc.log))
}

// decideNetwork waits for the first event: the data directory, in which there are no events
// yet, belongs to its network from then on.
func (c *Consumer) decideNetwork(ctx context.Context, cfg *ConsumerConfig, first *firstEvent) error {
	c.svc.log.Info("consuming", slog.String("durable", c.durable), slog.String("data_dir", c.dataDir), slog.String("network", "of the first event"))
	var of event.Common
	err := whileThere(ctx, c.lock.Check, func(ctx context.Context) (err error) {
		of, err = first.wait(ctx)
		return err
	})
	if err != nil {
		return err
	}
	if cfg.Network, err = networkOfEvent(of); err != nil {
		return err
	}
	if err := claimDataDir(cfg.DataDir, cfg.dirUse()); err != nil {
		return err
	}
	c.svc.log.Info("the data directory belongs to the network of the first event", slog.String("data_dir", c.dataDir), slog.String("network", of.Network), slog.Any("genesis_validators_root", cfg.Network.GenesisValidatorsRoot))
	// Also when ctx has just ended: what was delivered until then is still stored.
	late, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(storeTimeout, cancel) })()
	return c.openTracker(late, *cfg)
}

// networkOfEvent is an embedded network, or what the event says of another one: that one's
// events are stored, not estimated.
func networkOfEvent(of event.Common) (network.Network, error) {
	if slices.Contains(network.Names(), of.Network) {
		return network.Load(of.Network)
	}
	return network.Network{Name: of.Network, GenesisValidatorsRoot: of.GenesisValidatorsRoot}, nil
}

// impostor is the error of an event whose network has the name of an embedded one and
// another root. It does not decide what network a data directory is for: one message would
// do that for good.
func impostor(of event.Common) error {
	if of.GenesisValidatorsRoot == (eth2.Root{}) || !slices.Contains(network.Names(), of.Network) {
		return nil
	}
	net, err := network.Load(of.Network)
	if err != nil || net.GenesisValidatorsRoot == of.GenesisValidatorsRoot {
		return err
	}
	return fmt.Errorf("an event of network %q with genesis validators root %s, while that of %s is %s: to store another network of this name, give its --network-dir",
		of.Network, of.GenesisValidatorsRoot, of.Network, net.GenesisValidatorsRoot)
}

func (c *Consumer) figures() []slog.Attr {
	return append(c.storage.figures(), c.http.missing(c.wants)...)
}

// Run stores events until ctx ends, then commits what it has.
func (c *Consumer) Run(ctx context.Context) error {
	c.svc.log.Info("consuming", slog.String("durable", c.durable), slog.String("data_dir", c.dataDir))
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return c.storage.consumer.Run(ctx) })
	g.Go(func() error { return c.storage.runMirror(ctx) })
	g.Go(func() error { return c.svc.status.run(ctx, c.svc.log, c.figures) })
	g.Go(func() error { return c.datasets.estimates.follow(ctx, c.datasets.currentTracker) })
	g.Go(func() error { return c.datasets.runCopy(ctx) })
	g.Go(func() error { return c.http.run(ctx) })
	g.Go(func() error { c.storage.exclude.Follow(ctx, c.svc.log); return nil })
	g.Go(func() error { return c.places.Run(ctx) })
	err := g.Wait()
	c.storage.logStopped()
	return err
}

// Close releases what was opened, in reverse order.
func (c *Consumer) Close() { c.cleanUp() }
