package app

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/chainbound/valtrack/internal/bus"
	"github.com/chainbound/valtrack/internal/devnet"
	"github.com/chainbound/valtrack/internal/eth2/network"
	"github.com/chainbound/valtrack/internal/geo"
)

// PipelineConfig describes sentry, JetStream and consumer in one process.
// The networks of both must be the same.
type PipelineConfig struct {
	Sentry   SentryConfig
	Consumer ConsumerConfig
	// Devnet, unless it is nil, is started first; its network replaces those
	// above.
	Devnet *devnet.Config
	// DevnetPlaces gives the devnet's nodes the places of public addresses, marked as
	// simulated.
	DevnetPlaces bool
}

// DirUse is what the pipeline does with its data directory. A devnet's network is known
// before it starts.
func (cfg PipelineConfig) DirUse() DirUse {
	use := cfg.Consumer.dirUse()
	use.Sentry = true
	if cfg.Devnet != nil {
		use.Network = network.Network{Name: devnet.Name, GenesisValidatorsRoot: cfg.Devnet.GenesisValidatorsRoot()}
		use.NetworkDir, use.Simulated = cfg.Devnet.Dir, true
	}
	return use
}

// Pipeline is sentry and consumer in one process. It runs once.
type Pipeline struct {
	dir      *dataDir
	places   *geo.Locator
	datasets *datasets
	storage  *storage
	crawl    *crawl
	log      *slog.Logger
	cleanups
}

// OpenPipeline builds the services; it waits for NATS. Errors that the user can fix are
// ConfigErrors.
func OpenPipeline(ctx context.Context, cfg PipelineConfig, svc *Service) (_ *Pipeline, err error) {
	p := &Pipeline{log: svc.log}
	defer func() {
		if err != nil {
			p.Close()
		}
	}()
	svc.ready.setReason(notConnected)
	if p.places, err = openPlaces(cfg.Consumer.Geo, svc.log); err != nil {
		return nil, err
	}
	if cfg.Devnet != nil && cfg.DevnetPlaces {
		simulatePlaces(p.places, svc.log)
	}
	p.dir, err = openDataDir(cfg.Consumer.DataDir, cfg.DirUse())
	if err != nil {
		return nil, err
	}
	p.add(func() { p.dir.close() })
	if err := p.openNetwork(ctx, &cfg, svc.log); err != nil {
		return nil, err
	}
	if err := p.openHalves(ctx, cfg, svc); err != nil {
		return nil, err
	}
	svc.ready.set(p.ready)
	return p, nil
}

// ready is nil when both halves do their work.
func (p *Pipeline) ready() error { return errors.Join(p.storage.ready(), p.crawl.ready()) }

// openNetwork starts the simulated network, if it is to be one, and makes it the
// network of cfg.
func (p *Pipeline) openNetwork(ctx context.Context, cfg *PipelineConfig, log *slog.Logger) error {
	if cfg.Devnet == nil {
		return nil
	}
	d, err := OpenDevnet(ctx, *cfg.Devnet, log)
	if err != nil {
		return err
	}
	p.add(d.Close)
	cfg.Sentry.Network, cfg.Consumer.Network = d.Network(), d.Network()
	e := &cfg.Consumer.Estimates
	e.Every = d.Network().Clock.Scale(time.Hour) // as many slots as an hour of mainnet
	if e.ActiveValidators == 0 {
		e.ActiveValidators, e.Exact = devnet.DefaultActiveValidators, true
	}
	return nil
}

// openHalves opens everything between the network and the datasets. Ports come before
// the broker, which may keep us waiting: that they are in use is known at once.
func (p *Pipeline) openHalves(ctx context.Context, cfg PipelineConfig, svc *Service) error {
	n, err := openNode(cfg.Sentry, svc.log)
	if err != nil {
		return err
	}
	p.add(n.close)
	b, err := OpenBroker(ctx, cfg.Consumer.NATS, cfg.Consumer.DataDir, bus.Options{Name: "valtrack run", Access: cfg.Consumer.Access, Log: svc.log})
	if err != nil {
		return err
	}
	p.add(b.Close)
	if err := p.openStorage(ctx, cfg.Consumer, b, svc); err != nil {
		return err
	}
	events, err := openPublisher(cfg.Sentry, n.identity, b.conn, svc)
	if err != nil {
		return err
	}
	p.crawl = newCrawl(cfg.Sentry, n, events, svc)
	p.add(p.crawl.close)
	return nil
}

// openStorage opens the consumer's half: the durable first, then what its owner writes.
func (p *Pipeline) openStorage(ctx context.Context, cfg ConsumerConfig, b *Broker, svc *Service) error {
	durable, err := durableName(cfg)
	if err != nil {
		return err
	}
	sub, err := subscribe(ctx, cfg, durable, b.conn, svc)
	if err != nil {
		return err
	}
	p.add(sub.Close)
	if p.datasets, err = openDatasets(p.dir.takeConsumer(), p.places, svc); err != nil {
		return err
	}
	p.add(p.datasets.close)
	if err := p.datasets.openTracker(ctx, newEstimates(cfg.Estimates, cfg.DataDir, cfg.Network, svc.log)); err != nil {
		return err
	}
	p.storage, err = openStorage(cfg, sub, sub, p.datasets, b, svc)
	return err
}

// Run runs both until ctx ends or the data directory has gone.
func (p *Pipeline) Run(ctx context.Context) error { return whileThere(ctx, p.dir.check, p.run) }

// run runs both until ctx ends and stops them in the order of the data flow: the sentry
// ends its visits, what it published is flushed, the consumer stores all of that and
// commits. When the consumer ends before that, the crawl goes on: its events wait in the
// stream and the spool.
func (p *Pipeline) run(ctx context.Context) error {
	// The consumer runs longer than ctx, since what is published after that must be stored.
	storing, stopStoring := context.WithCancel(context.WithoutCancel(ctx))
	defer stopStoring()
	// stored ends when the consumer has, for whatever reason.
	stored, ended := context.WithCancel(context.WithoutCancel(ctx))
	defer ended()

	var storeErr, crawlErr error
	var g errgroup.Group
	g.Go(func() error {
		defer ended()
		storeErr = p.storage.consumer.Run(storing)
		if storeErr != nil {
			p.log.Error("the consumer has stopped, the crawl goes on: restart to store its events", slog.Any("error", storeErr))
		}
		return nil
	})
	g.Go(func() error {
		defer stopStoring()
		crawlErr = p.crawl.run(ctx, p.figures)
		p.storage.drain(stored)
		return nil
	})
	g.Go(func() error { return p.datasets.estimates.follow(stored, p.datasets.tracker) })
	g.Go(func() error { return p.places.Run(stored) })
	g.Wait() //nolint:errcheck // both keep their errors, and neither hides the other's
	p.storage.logStopped()
	return errors.Join(crawlErr, storeErr)
}

func (p *Pipeline) figures() []slog.Attr {
	return slices.Concat(p.crawl.figures(), p.storage.figures())
}

// Close releases what was opened, in reverse order.
func (p *Pipeline) Close() { p.cleanUp() }
