package app

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"sync/atomic"

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
	dir    *dataDir
	broker *Broker
	cfg    ConsumerConfig
	places *geo.Locator
	half   *half // for the goroutine that runs it
	// storage is the half's, or that of the one before while there is none; nil before the first.
	storage atomic.Pointer[storage]
	crawl   *crawl
	http    *httpServer
	svc     *Service
	log     *slog.Logger
	cleanups
}

// OpenPipeline builds the services, but for the consumer while NATS does not answer. Errors
// that the user can fix are ConfigErrors.
func OpenPipeline(ctx context.Context, cfg PipelineConfig, svc *Service) (_ *Pipeline, err error) {
	p := &Pipeline{svc: svc, log: svc.log}
	defer func() {
		if err != nil {
			p.Close()
		}
	}()
	svc.ready.setReason(notConnected)
	if p.places, err = openPlaces(cfg.Consumer.Geo, svc.log); err != nil {
		return nil, err
	}
	if p.dir, err = lockDataDir(cfg.Consumer.DataDir, cfg.DirUse()); err != nil {
		return nil, err
	}
	p.add(func() { p.dir.close() })
	// Before the directory is assigned to the network: an address that is in use ends a start.
	if p.http, err = listenHTTP(cfg.Consumer.HTTP, svc); err != nil {
		return nil, err
	}
	p.add(p.http.close)
	if err := claimDataDir(cfg.Consumer.DataDir, cfg.DirUse()); err != nil {
		return nil, err
	}
	if err := p.openNetwork(ctx, &cfg, svc.log); err != nil {
		return nil, err
	}
	if cfg.Consumer.DevnetPlaces {
		simulatePlaces(cfg.Consumer.Network, p.places, svc.log)
	}
	if err := p.openHalves(ctx, cfg, svc); err != nil {
		return nil, err
	}
	svc.ready.set(p.ready)
	return p, nil
}

// errNotStoring is why a pipeline whose consumer is not open yet is not ready.
var errNotStoring = errors.New("the consumer is waiting for JetStream: events wait in the spool")

// ready is nil when both halves do their work.
func (p *Pipeline) ready() error {
	if s := p.storage.Load(); s != nil {
		return errors.Join(s.ready(), p.crawl.ready())
	}
	return errors.Join(cmp.Or(p.broker.Err(), errNotStoring), p.crawl.ready())
}

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
	if e.ActiveValidators == 0 {
		e.ActiveValidators, e.Exact = devnet.DefaultActiveValidators, true
	}
	return nil
}

// openHalves opens everything between the network and the datasets. The consumer's half is
// opened first, where it can be: then the publisher finds its durable.
func (p *Pipeline) openHalves(ctx context.Context, cfg PipelineConfig, svc *Service) error {
	n, err := openNode(cfg.Sentry, svc.log)
	if err != nil {
		return err
	}
	p.add(n.close)
	p.http.source(cfg.Consumer, p.places, p.dir.check, p.storage.Load)
	p.broker, err = OpenBroker(ctx, cfg.Consumer.NATS, cfg.Consumer.DataDir,
		bus.Options{Name: "valtrack run", Access: cfg.Consumer.Access, InBackground: true, Log: svc.log})
	if err != nil {
		return err
	}
	p.add(p.broker.Close)
	p.broker.watchStream(ctx, cfg.Consumer.DataDir, svc)
	p.cfg = cfg.Consumer
	p.add(func() { p.closeHalf() })
	bounded, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	if p.broker.conn.Responds(bounded) {
		if err := p.openHalf(ctx, p.dir.takeConsumer()); err != nil {
			return err
		}
	}
	events, err := openPublisher(cfg.Sentry, n.identity, p.broker.conn, svc)
	if err != nil {
		return err
	}
	p.crawl = newCrawl(cfg.Sentry, n, events, svc)
	p.add(p.crawl.close)
	return nil
}

// Run runs both until ctx ends or the data directory has gone.
func (p *Pipeline) Run(ctx context.Context) error { return whileThere(ctx, p.dir.check, p.run) }

// run runs both until ctx ends and stops them in the order of the data flow: the sentry
// ends its visits, what it published is flushed, the consumer stores all of that and
// commits. When the consumer has to stop before that, the crawl goes on: its events wait in
// the stream and the spool until the consumer can be opened again. When the consumer cannot
// be opened the first time, the crawl ends.
func (p *Pipeline) run(ctx context.Context) error {
	// The consumer runs longer than ctx, since what is published after that must be stored.
	storing, stopStoring := context.WithCancel(context.WithoutCancel(ctx))
	defer stopStoring()
	// stored ends when the consumer has, for whatever reason.
	stored, ended := context.WithCancel(context.WithoutCancel(ctx))
	defer ended()
	crawling, stopCrawling := context.WithCancel(ctx)
	defer stopCrawling()

	var storeErr, crawlErr error
	var g errgroup.Group
	g.Go(func() error {
		defer ended()
		if storeErr = p.awaitHalf(crawling); storeErr != nil {
			storeErr = StoppedEarly(crawling, storeErr)
			stopCrawling()
			return nil
		}
		storeErr = p.store(storing)
		return nil
	})
	g.Go(func() error { return p.http.run(crawling) })
	g.Go(func() error {
		defer stopStoring()
		defer stopCrawling() // who still waits for JetStream then
		crawlErr = p.crawl.run(crawling, p.figures, slog.String("api", p.http.url()))
		if s := p.storage.Load(); s != nil {
			s.drain(stored)
		}
		return nil
	})
	g.Go(func() error { return p.places.Run(stored) })
	g.Wait() //nolint:errcheck // both keep their errors, and neither hides the other's
	if s := p.storage.Load(); s != nil {
		s.logStopped()
	}
	return errors.Join(crawlErr, storeErr)
}

// awaitHalf opens the consumer's half, unless it is open: JetStream did not answer at the start.
func (p *Pipeline) awaitHalf(ctx context.Context) error {
	if p.half != nil {
		return nil
	}
	p.log.Warn("NATS does not respond: crawling anyway; events will be stored once it does", slog.String("url", p.broker.conn.URL()))
	if err := p.openHalf(ctx, p.dir.takeConsumer()); err != nil {
		return err
	}
	p.svc.ready.set(p.ready) // it may have stood by
	return nil
}

func (p *Pipeline) figures() []slog.Attr {
	figures := append(p.crawl.figures(), p.http.missing(p.cfg.HTTP)...)
	if s := p.storage.Load(); s != nil {
		return append(figures, s.figures()...)
	}
	return figures
}

// Close releases what was opened, in reverse order.
func (p *Pipeline) Close() { p.cleanUp() }
