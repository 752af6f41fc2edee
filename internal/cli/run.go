package cli

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/urfave/cli/v3"
	"golang.org/x/sync/errgroup"

	"github.com/chainbound/valtrack/internal/bus"
	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/devnet"
	"github.com/chainbound/valtrack/internal/eth2/network"
	"github.com/chainbound/valtrack/internal/tracker"
)

func (a *app) runCommand() *cli.Command {
	return a.leaf(&cli.Command{
		Name: "run", Usage: "run sentry, JetStream and consumer in one process",
		Description: "Crawls the network and writes the datasets in --data-dir. With --network devnet it also makes the\n" +
			"network: nothing leaves this machine. JetStream is embedded unless --nats names a server.",
		Flags: slices.Concat(sentryFlags(), consumerFlags(), devnetFlags(), serviceFlags()),
	}, runAll)
}

func runAll(ctx context.Context, in invocation) error {
	if err := in.noArguments(); err != nil {
		return err
	}
	cfg, err := in.consumerConfig()
	if err != nil {
		return err
	}
	if cfg.natsURL == "" {
		cfg.natsURL = embeddedNATS
	}
	dir, err := openDataDir(cfg.dataDir, roleSentry)
	if err != nil {
		return err
	}
	lock, err := lockDatasets(cfg)
	if err != nil {
		dir.Close()
		return err
	}
	svc, err := in.newService(true)
	if err != nil {
		lock.Close()
		dir.Close()
		return err
	}
	return svc.run(ctx, func(ctx context.Context) error {
		defer dir.Close()
		defer lock.Close()
		return in.crawlAndStore(ctx, cfg, lock, svc)
	})
}

// crawlAndStore builds the services in the order of the data and runs them until
// ctx ends.
func (in invocation) crawlAndStore(ctx context.Context, storing consumerConfig, lock *dataset.Lock, svc *service) error {
	net, closeNetwork, err := in.networkOrDevnet(ctx, svc.log)
	if err != nil {
		return stoppedEarly(ctx, err)
	}
	defer closeNetwork()
	if err := claimDataDir(storing.dataDir, net); err != nil {
		return err
	}
	crawling, err := in.sentryConfig(net)
	if err != nil {
		return err
	}
	if in.simulated() {
		in.loopbackDefaults(&crawling)
	}
	w, err := openDatasets(lock, svc.log)
	if err != nil {
		return err
	}
	defer w.Close()
	p := &pipeline{}
	if p.tracks, err = in.trackingHere(storing.dataDir, net); err != nil {
		return err
	}
	if p.tracker, err = p.tracks.open(ctx, w, svc.log); err != nil {
		return stoppedEarly(ctx, err)
	}
	defer closeTracker(p.tracker, svc.log)
	storing.storing.Tracker = p.tracker
	if p.crawler, err = newCrawler(crawling, svc.log); err != nil {
		return err
	}
	defer p.crawler.close(svc.log)
	b, err := connect(ctx, storing.natsURL, storeDir(storing.dataDir), bus.Options{Name: "valtrack run", Log: svc.log})
	if err != nil {
		return stoppedEarly(ctx, err)
	}
	defer b.close(svc.log)
	if p.storage, err = openStorage(ctx, storing, w, b.conn, svc); err != nil {
		return stoppedEarly(ctx, err)
	}
	defer p.storage.subscription.Close()
	if p.events, err = openPublisher(crawling, p.crawler.identity, b.conn, svc); err != nil {
		return err
	}
	p.crawler.attach(crawling, p.events, svc.log)
	return p.run(ctx, crawling, svc)
}

// networkOrDevnet loads the network, or starts the simulated one; call the
// function when done with it.
func (in invocation) networkOrDevnet(ctx context.Context, log *slog.Logger) (network.Network, func(), error) {
	if !in.simulated() {
		net, err := in.network()
		return net, func() {}, err
	}
	cfg, err := in.devnetConfig()
	if err != nil {
		return network.Network{}, nil, err
	}
	d, err := startDevnet(ctx, cfg, log)
	if err != nil {
		return network.Network{}, nil, err
	}
	return d.Network(), func() { d.Close() }, nil
}

// trackingHere is tracking for a network that may be in this process, whose hours are
// as many slots long as an hour of mainnet.
func (in invocation) trackingHere(dataDir string, net network.Network) (tracking, error) {
	t, err := in.tracking(dataDir, net)
	if err != nil || !in.simulated() {
		return t, err
	}
	t.config.EstimateEvery = net.Clock.Scale(time.Hour)
	if in.cmd.Uint64(flagActiveValidators) == 0 {
		t.config.Params.ActiveValidators, t.config.Params.PAggUncertainty = devnet.DefaultActiveValidators, 0
	}
	return t, nil
}

// loopbackDefaults keeps a crawl of the network in this process on this machine
// and off ports that a beacon node may hold, unless flags say otherwise.
func (in invocation) loopbackDefaults(cfg *sentryConfig) {
	if !in.cmd.IsSet(flagListen) {
		cfg.listen = loopback()
	}
	if !in.cmd.IsSet(flagPort) {
		cfg.port = 0
	}
	if !in.cmd.IsSet(flagQUICPort) {
		cfg.quicPort = 0
	}
}

// pipeline is sentry and consumer in one process.
type pipeline struct {
	crawler *crawler
	events  sink
	storage *storage
	tracks  tracking
	tracker *tracker.Tracker
}

// run runs both until ctx ends and stops them in the order of the data: the
// sentry ends its visits, what it published is flushed, the consumer stores all
// of that and commits.
func (p *pipeline) run(ctx context.Context, cfg sentryConfig, svc *service) error {
	crawling, stopCrawling := context.WithCancel(ctx)
	defer stopCrawling()
	// The consumer must outlive ctx: what is published after that is to be stored.
	storing, stopStoring := context.WithCancel(context.WithoutCancel(ctx))
	defer stopStoring()
	// storingSide ends when the consumer has, for whatever reason.
	storingSide, ended := context.WithCancel(context.WithoutCancel(ctx))
	defer ended()

	var stored, crawled error
	var g errgroup.Group
	g.Go(func() error {
		defer ended()
		defer stopCrawling() // a crawl that nobody stores is for nothing
		stored = p.storage.consumer.Run(storing)
		return nil
	})
	g.Go(func() error {
		defer stopStoring()
		crawled = runCrawl(crawling, cfg, p.crawler, p.events, svc, p.status)
		p.storage.drain(storingSide, svc.log)
		return nil
	})
	g.Go(func() error { return p.tracks.follow(storingSide, p.tracker, svc.log) })
	g.Wait() //nolint:errcheck // both keep their errors, and neither hides the other's
	p.storage.logStopped(svc.log)
	return errors.Join(crawled, stored)
}

func (p *pipeline) status(ctx context.Context) []slog.Attr {
	return slices.Concat(p.crawler.status(ctx), waiting(p.events), p.storage.status(ctx))
}
