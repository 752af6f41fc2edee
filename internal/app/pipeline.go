package app

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/chainbound/valtrack/internal/api"
	"github.com/chainbound/valtrack/internal/bus"
	"github.com/chainbound/valtrack/internal/devnet"
	"github.com/chainbound/valtrack/internal/eth2/network"
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
	crawl  *crawl
	http   *api.Server // nil where the API is not served
	// openStored opens the consumer's half, which is nil until then.
	openStored func(context.Context) (*stored, error)
	stored     atomic.Pointer[stored]
	serveHTTP  func(context.Context, *stored) error
	log        *slog.Logger
	cleanups
}

// stored is the consumer's half.
type stored struct {
	*storage
	datasets *datasets
}

// OpenPipeline builds the services, but for the consumer while NATS does not answer. Errors
// that the user can fix are ConfigErrors.
func OpenPipeline(ctx context.Context, cfg PipelineConfig, svc *Service) (_ *Pipeline, err error) {
	p := &Pipeline{log: svc.log}
	defer func() {
		if err != nil {
			p.Close()
		}
	}()
	svc.ready.setReason(notConnected)
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

// errNotStoring is why a pipeline whose consumer is not open yet is not ready.
var errNotStoring = errors.New("the consumer waits for JetStream to answer: events wait in the spool")

// ready is nil when both halves do their work.
func (p *Pipeline) ready() error {
	if s := p.stored.Load(); s != nil {
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
	e.Every = d.Network().Clock.Scale(time.Hour) // as many slots as an hour of mainnet
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
	if p.http, err = listenHTTP(cfg.Consumer.HTTP, svc); err != nil {
		return err
	}
	if p.http != nil {
		p.add(func() { p.http.Close() })
	}
	p.serveHTTP = func(ctx context.Context, s *stored) error {
		return serveHTTP(ctx, p.http, cfg.Consumer.Network, s.datasets, s.storage, svc)
	}
	p.broker, err = OpenBroker(ctx, cfg.Consumer.NATS, cfg.Consumer.DataDir,
		bus.Options{Name: "valtrack run", Access: cfg.Consumer.Access, InBackground: true, Log: svc.log})
	if err != nil {
		return err
	}
	p.add(p.broker.Close)
	p.openStored = func(ctx context.Context) (*stored, error) { return p.openStorage(ctx, cfg.Consumer, svc) }
	bounded, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	if p.broker.conn.Responds(bounded) {
		s, err := p.openStored(ctx)
		if err != nil {
			return err
		}
		p.stored.Store(s)
	}
	events, err := openPublisher(cfg.Sentry, n.identity, p.broker.conn, svc)
	if err != nil {
		return err
	}
	p.crawl = newCrawl(cfg.Sentry, n, events, svc)
	p.add(p.crawl.close)
	return nil
}

// openStorage opens the consumer's half: the durable first, then what its owner writes. It
// waits for JetStream.
func (p *Pipeline) openStorage(ctx context.Context, cfg ConsumerConfig, svc *Service) (*stored, error) {
	durable, err := durableName(cfg)
	if err != nil {
		return nil, err
	}
	sub, err := subscribe(ctx, cfg, durable, p.broker.conn, svc)
	if err != nil {
		return nil, err
	}
	p.add(sub.Close)
	d, err := openDatasets(p.dir.takeConsumer(), svc)
	if err != nil {
		return nil, err
	}
	p.add(d.close)
	if err := d.openTracker(ctx, newEstimates(cfg.Estimates, cfg.DataDir, cfg.Network, svc.log)); err != nil {
		return nil, err
	}
	s, err := openStorage(cfg, sub, sub, d, p.broker, svc)
	if err != nil {
		return nil, err
	}
	svc.ready.set(p.ready) // it may have stood by
	return &stored{s, d}, nil
}

// Run runs both until ctx ends or the data directory has gone.
func (p *Pipeline) Run(ctx context.Context) error { return whileThere(ctx, p.dir.check, p.run) }

// run runs both until ctx ends and stops them in the order of the data flow: the sentry
// ends its visits, what it published is flushed, the consumer stores all of that and
// commits. When the consumer ends before that, the crawl goes on: its events wait in the
// stream and the spool. When the consumer cannot be opened, the crawl ends.
func (p *Pipeline) run(ctx context.Context) error {
	// The consumer runs longer than ctx, since what is published after that must be stored.
	storing, stopStoring := context.WithCancel(context.WithoutCancel(ctx))
	defer stopStoring()
	// stored ends when the consumer has, for whatever reason.
	stored, ended := context.WithCancel(context.WithoutCancel(ctx))
	defer ended()
	crawling, stopCrawling := context.WithCancel(ctx)
	defer stopCrawling()

	var openErr, storeErr, crawlErr error
	var g errgroup.Group
	g.Go(func() error {
		defer ended()
		s, err := p.awaitStored(crawling)
		if err != nil {
			openErr = StoppedEarly(crawling, err)
			stopCrawling()
			return nil
		}
		g.Go(func() error { return s.datasets.estimates.follow(stored, s.datasets.tracker) })
		g.Go(func() error { return p.serveHTTP(crawling, s) })
		storeErr = s.consumer.Run(storing)
		if storeErr != nil {
			p.log.Error("the consumer has stopped, the crawl goes on: restart to store its events", slog.Any("error", storeErr))
		}
		return nil
	})
	g.Go(func() error {
		defer stopStoring()
		defer stopCrawling() // who still waits for JetStream then
		crawlErr = p.crawl.run(crawling, p.figures)
		if s := p.stored.Load(); s != nil {
			s.drain(stored)
		}
		return nil
	})
	g.Wait() //nolint:errcheck // all keep their errors, and none hides another's
	if s := p.stored.Load(); s != nil {
		s.logStopped()
	}
	return errors.Join(openErr, crawlErr, storeErr)
}

// awaitStored is the consumer's half; it waits for JetStream when that did not answer at the
// start.
func (p *Pipeline) awaitStored(ctx context.Context) (*stored, error) {
	if s := p.stored.Load(); s != nil {
		return s, nil
	}
	p.log.Warn("NATS does not answer: crawling, and storing events when it does", slog.String("url", p.broker.conn.URL()))
	s, err := p.openStored(ctx)
	if err == nil {
		p.stored.Store(s)
	}
	return s, err
}

func (p *Pipeline) figures() []slog.Attr {
	if s := p.stored.Load(); s != nil {
		return slices.Concat(p.crawl.figures(), s.figures())
	}
	return p.crawl.figures()
}

// Close releases what was opened, in reverse order.
func (p *Pipeline) Close() { p.cleanUp() }
