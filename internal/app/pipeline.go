package app

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

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
	cfg    ConsumerConfig
	half   *half // for the goroutine that runs it
	// storage is the half's, or that of the one before while there is none.
	storage atomic.Pointer[storage]
	crawl   *crawl
	svc     *Service
	log     *slog.Logger
	cleanups
}

// OpenPipeline builds the services; it waits for NATS. Errors that the user can fix are
// ConfigErrors.
func OpenPipeline(ctx context.Context, cfg PipelineConfig, svc *Service) (_ *Pipeline, err error) {
	p := &Pipeline{svc: svc, log: svc.log}
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

// ready is nil when both halves do their work.
func (p *Pipeline) ready() error { return errors.Join(p.storage.Load().ready(), p.crawl.ready()) }

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
	p.broker, p.cfg = b, cfg.Consumer
	p.add(func() { p.closeHalf() })
	if err := p.openHalf(ctx, p.dir.takeConsumer()); err != nil {
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

// Run runs both until ctx ends or the data directory has gone.
func (p *Pipeline) Run(ctx context.Context) error { return whileThere(ctx, p.dir.check, p.run) }

// run runs both until ctx ends and stops them in the order of the data flow: the sentry
// ends its visits, what it published is flushed, the consumer stores all of that and
// commits. When the consumer has to stop before that, the crawl goes on: its events wait in
// the stream and the spool until the consumer can be opened again.
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
		storeErr = p.store(storing)
		return nil
	})
	g.Go(func() error {
		defer stopStoring()
		crawlErr = p.crawl.run(ctx, p.figures)
		p.storage.Load().drain(stored)
		return nil
	})
	g.Wait() //nolint:errcheck // both keep their errors, and neither hides the other's
	p.storage.Load().logStopped()
	return errors.Join(crawlErr, storeErr)
}

func (p *Pipeline) figures() []slog.Attr {
	return slices.Concat(p.crawl.figures(), p.storage.Load().figures())
}

// Close releases what was opened, in reverse order.
func (p *Pipeline) Close() { p.cleanUp() }
