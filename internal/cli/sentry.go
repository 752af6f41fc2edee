package cli

import (
	"context"
	"log/slog"
	"net/netip"
	"path/filepath"
	"runtime/debug"

	"github.com/urfave/cli/v3"
	"golang.org/x/sync/errgroup"

	"github.com/chainbound/valtrack/internal/bus"
	"github.com/chainbound/valtrack/internal/discv5"
	"github.com/chainbound/valtrack/internal/eth2/network"
	"github.com/chainbound/valtrack/internal/event"
	"github.com/chainbound/valtrack/internal/eventlog"
	"github.com/chainbound/valtrack/internal/p2p"
	"github.com/chainbound/valtrack/internal/sentry"
)

// Flags of the sentry.
const (
	flagListen         = "listen"
	flagPort           = "port"
	flagQUICPort       = "quic-port"
	flagAdvertise      = "advertise"
	flagDialers        = "dialers"
	flagMaxConnections = "max-connections"
	flagRevisit        = "revisit"
	flagWatchEpochs    = "watch-epochs"
	flagMaxWatched     = "max-watched"
	flagShard          = "shard"
	flagExclude        = "exclude"
	flagCrawlerID      = "crawler-id"
	flagLocation       = "crawler-location"
	flagAllowPrivate   = "allow-private"
)

// The ports that consensus clients use by default.
const (
	defaultPort     = 9000
	defaultQUICPort = 9001
)

// maxKnown bounds the records that discovery begins with after a restart; each
// costs a signature check and some memory, and names many others when it is asked.
const maxKnown = 3000

func sentryFlags() []cli.Flag {
	allowPrivate := toggle(flagAllowPrivate, "visit loopback and private addresses")
	allowPrivate.DefaultText = "on only when every bootnode has such an address"
	return append([]cli.Flag{
		texts(flagListen, []string{"0.0.0.0", "::"}, "IP address to listen on, repeatable"),
		number(flagPort, defaultPort, "port of libp2p over TCP and of discv5 over UDP; 0 takes free ones"),
		number(flagQUICPort, defaultQUICPort, "UDP port of libp2p over QUIC; 0 takes a free one"),
		text(flagAdvertise, "", "IP address of our node record; what other nodes see when not given"),
		number(flagDialers, sentry.DefaultDialers, "most visits that we begin at one time"),
		number(flagMaxConnections, sentry.DefaultMaxConnections, "most visits at one time, inbound ones included"),
		number(flagRevisit, sentry.DefaultRevisit, "epochs between two visits of a node"),
		number(flagWatchEpochs, sentry.DefaultWatchEpochs, "whole epochs for which a watched node is watched"),
		number(flagMaxWatched, sentry.DefaultMaxWatched, "most nodes watched at one time, within max-connections; 0 watches none"),
		text(flagShard, "", "I/N: dial only the I-th of N parts of the network, from 1/N to N/N, by node id"),
		text(flagExclude, "", "file of peer ids, node ids, IP addresses and networks to leave alone, one a line"),
		text(flagCrawlerID, "", "crawler_id of every event; an id kept in the data directory when not given"),
		text(flagLocation, "", "crawler_location of every event, such as a region"),
		allowPrivate,
	}, spoolFlags()...)
}

func (a *app) sentryCommand() *cli.Command {
	return a.leaf(&cli.Command{
		Name: "sentry", Usage: "run the sentry node",
		Description: "Crawls the network and publishes what it sees to --nats, from a spool on disk: while NATS is away\n" +
			"the crawl goes on. Without --nats it appends events as JSON lines to discovery_events.log, metadata_events.log and visit_events.log in --data-dir.",
		Flags: append(sentryFlags(), serviceFlags()...),
	}, runSentry)
}

// sentryConfig is everything that the sentry's services are built from.
type sentryConfig struct {
	network        network.Network
	dataDir        string
	listen         []netip.Addr
	port, quicPort uint16
	advertise      netip.Addr // invalid when not given
	allowPrivate   bool
	crawl          sentry.Config
	embeddedStore  string // directory of --nats embedded
	natsURL        string // empty: event log files
	spoolSize      int64  // bytes
	// withoutConsumers publishes also what nobody would get.
	withoutConsumers bool
}

// sentryConfig checks the sentry's flags. Errors are usageErrors.
func (in invocation) sentryConfig(net network.Network) (sentryConfig, error) {
	cfg := sentryConfig{
		network:      net,
		dataDir:      in.cmd.String(flagDataDir),
		natsURL:      in.cmd.String(flagNATS),
		allowPrivate: in.cmd.Bool(flagAllowPrivate),
		crawl: sentry.Config{
			CrawlerID:       in.cmd.String(flagCrawlerID),
			CrawlerLocation: in.cmd.String(flagLocation),
		},
	}
	for _, name := range []struct{ flag, value string }{
		{flagCrawlerID, cfg.crawl.CrawlerID}, {flagLocation, cfg.crawl.CrawlerLocation}, {flagNetwork, net.Name},
	} {
		if len(name.value) > event.MaxNameSize {
			return cfg, usagef("--%s %q: want at most %d bytes, it has %d", name.flag, name.value, event.MaxNameSize, len(name.value))
		}
	}
	cfg.embeddedStore = storeDir(cfg.dataDir)
	if !in.cmd.IsSet(flagAllowPrivate) {
		cfg.allowPrivate = allPrivate(net.Bootnodes)
	}
	cfg.crawl.AllowPrivate = cfg.allowPrivate
	if len(net.Bootnodes) == 0 {
		return cfg, usagef("network %s has no bootnodes; give --%s ENR", net.Name, flagBootnode)
	}
	for _, text := range in.cmd.StringSlice(flagListen) {
		addr, err := netip.ParseAddr(text)
		if err != nil {
			return cfg, usagef("--%s %q: want an IP address, such as 0.0.0.0 or ::", flagListen, text)
		}
		cfg.listen = append(cfg.listen, addr)
	}
	if text := in.cmd.String(flagAdvertise); text != "" {
		var err error
		if cfg.advertise, err = netip.ParseAddr(text); err != nil {
			return cfg, usagef("--%s %q: want an IP address", flagAdvertise, text)
		}
	}
	var err error
	if cfg.port, err = in.parsePort(flagPort); err != nil {
		return cfg, err
	}
	if cfg.quicPort, err = in.parsePort(flagQUICPort); err != nil {
		return cfg, err
	}
	if cfg.crawl.Dialers, err = in.positive(flagDialers); err != nil {
		return cfg, err
	}
	if cfg.crawl.MaxConnections, err = in.positive(flagMaxConnections); err != nil {
		return cfg, err
	}
	if cfg.crawl.Revisit, err = in.positive(flagRevisit); err != nil {
		return cfg, err
	}
	if err := in.spoolConfig(&cfg); err != nil {
		return cfg, err
	}
	return cfg, in.watchConfig(&cfg.crawl)
}

// watchConfig checks the flags of who is watched, and who is visited at all.
func (in invocation) watchConfig(cfg *sentry.Config) error {
	var err error
	if cfg.WatchEpochs, err = in.positive(flagWatchEpochs); err != nil {
		return err
	}
	switch n := in.cmd.Int(flagMaxWatched); {
	case n < 0:
		return usagef("--%s %d: want at least 0", flagMaxWatched, n)
	case n == 0:
		cfg.MaxWatched = -1 // 0 is the default there
	default:
		cfg.MaxWatched = n
	}
	if text := in.cmd.String(flagShard); text != "" {
		if cfg.Shard, err = sentry.ParseShard(text); err != nil {
			return usagef("--%s: %w", flagShard, err)
		}
	}
	if path := in.cmd.String(flagExclude); path != "" {
		if cfg.Exclude, err = sentry.LoadExclude(path); err != nil {
			return usagef("--%s: %w", flagExclude, err)
		}
	}
	return nil
}

// storeDir is where the embedded server keeps its streams.
func storeDir(dataDir string) string { return filepath.Join(dataDir, "jetstream") }

// sink takes the sentry's events: spooled or *eventlog.Writer.
type sink interface {
	sentry.Publisher
	// Close returns when everything published has left, or ctx has ended.
	Close(ctx context.Context) error
}

// crawler is the sentry and what it stands on.
type crawler struct {
	identity sentry.Identity
	local    *sentry.Local
	host     *p2p.Host
	finder   *discv5.Finder
	store    *sentry.Store
	sentry   *sentry.Sentry // after attach
}

// newCrawler binds the ports. Errors of it are usageErrors. Close must follow.
func newCrawler(cfg sentryConfig, log *slog.Logger) (*crawler, error) {
	id, err := sentry.LoadIdentity(cfg.dataDir)
	if err != nil {
		return nil, asUsage(err)
	}
	c := &crawler{identity: id, local: sentry.NewLocal(cfg.network)}
	if c.store, err = sentry.OpenStore(cfg.dataDir, cfg.network, cfg.crawl.MaxPeers, log); err != nil {
		return nil, asUsage(err)
	}
	if n := c.store.Peers(); n > 0 {
		log.Info("peers known from before", slog.Int("peers", n))
		debug.FreeOSMemory() // reading a large table leaves more garbage than table
	}
	c.host, err = p2p.NewHost(p2p.Config{
		Key:            id.Key,
		Listen:         cfg.listen,
		TCPPort:        cfg.port,
		QUICPort:       cfg.quicPort,
		Agent:          agentName(),
		MaxConnections: cfg.crawl.MaxConnections,
		AllowPrivate:   cfg.allowPrivate,
		Local:          c.local,
		Inbound:        c.local.Inbound,
		Log:            log,
	})
	if err != nil {
		c.store.Close()
		return nil, portHint(err)
	}
	c.finder, err = discv5.New(discv5.Config{
		Key:          id.Key,
		Listen:       cfg.listen,
		Port:         cfg.port,
		Advertise:    cfg.advertise,
		TCPPort:      c.host.TCPPort(),
		QUICPort:     c.host.QUICPort(),
		Bootnodes:    cfg.network.Bootnodes,
		Known:        c.store.Known(maxKnown, cfg.crawl.Exclude),
		Skip:         cfg.crawl.Exclude.Node,
		AllowPrivate: cfg.allowPrivate,
		Revisit:      cfg.network.Clock.EpochDuration(),
		Log:          log,
	})
	if err != nil {
		c.close(log)
		return nil, portHint(err)
	}
	return c, nil
}

func portHint(err error) error {
	return usagef("%w; choose other ports with --%s and --%s, or another address with --%s", err, flagPort, flagQUICPort, flagListen)
}

// attach makes the sentry itself, once there is somewhere for events to go.
func (c *crawler) attach(cfg sentryConfig, events sentry.Publisher, log *slog.Logger) {
	if cfg.crawl.CrawlerID == "" {
		cfg.crawl.CrawlerID = c.identity.ID
	}
	cfg.crawl.Store = c.store
	c.sentry = sentry.New(cfg.crawl, c.local, c.host, c.finder, events, log)
}

// close frees the ports, after the sentry's Run.
func (c *crawler) close(log *slog.Logger) {
	if c.finder != nil {
		if err := c.finder.Close(); err != nil {
			log.Warn("close discv5", slog.Any("error", err))
		}
	}
	if err := c.host.Close(); err != nil {
		log.Warn("close libp2p", slog.Any("error", err))
	}
	c.store.Close()
}

// loopback is the address of this machine only.
func loopback() []netip.Addr { return []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1})} }

// status are the crawl's figures for the status line.
func (c *crawler) status(context.Context) []slog.Attr {
	s := c.sentry.Stats()
	return []slog.Attr{
		slog.Uint64("records", s.Records),
		slog.Uint64("dialled", s.Dialled),
		slog.Uint64("handshaked", s.Handshaked),
		slog.Int("reachable", s.Reachable),
	}
}

func runSentry(ctx context.Context, in invocation) error {
	if err := in.noArguments(); err != nil {
		return err
	}
	net, err := in.network()
	if err != nil {
		return err
	}
	cfg, err := in.sentryConfig(net)
	if err != nil {
		return err
	}
	dir, err := openDataDir(cfg.dataDir, roleSentry)
	if err != nil {
		return err
	}
	if err := claimDataDir(cfg.dataDir, net); err != nil {
		dir.Close()
		return err
	}
	svc, err := in.newService(false)
	if err != nil {
		dir.Close()
		return err
	}
	return svc.run(ctx, func(ctx context.Context) error {
		defer dir.Close()
		return crawl(ctx, cfg, svc)
	})
}

// crawl builds the sentry and runs it until ctx ends. It does not wait for NATS.
func crawl(ctx context.Context, cfg sentryConfig, svc *service) error {
	c, err := newCrawler(cfg, svc.log)
	if err != nil {
		return err
	}
	defer c.close(svc.log)
	events, closeBroker, err := openSink(ctx, cfg, c.identity, svc)
	if err != nil {
		return stoppedEarly(ctx, err)
	}
	defer closeBroker()
	c.attach(cfg, events, svc.log)
	figures := func(ctx context.Context) []slog.Attr { return append(c.status(ctx), waiting(events)...) }
	return runCrawl(ctx, cfg, c, events, svc, figures)
}

// openSink opens the spool that NATS is published to from, or the event log files
// without --nats.
func openSink(ctx context.Context, cfg sentryConfig, id sentry.Identity, svc *service) (sink, func(), error) {
	if cfg.natsURL == "" {
		events, err := eventlog.NewWriter(cfg.dataDir, id.ID, id.Boot, svc.log)
		if err != nil {
			return nil, nil, asUsage(err)
		}
		svc.log.Info("no --nats: events go to log files", slog.String("dir", cfg.dataDir))
		return events, func() {}, nil
	}
	b, err := connect(ctx, cfg.natsURL, cfg.embeddedStore, bus.Options{Name: "valtrack sentry " + id.ID, InBackground: true, Log: svc.log})
	if err != nil {
		return nil, nil, err
	}
	events, err := openPublisher(cfg, id, b.conn, svc)
	if err != nil {
		b.close(svc.log)
		return nil, nil, err
	}
	return events, func() { b.close(svc.log) }, nil
}

// runCrawl runs the sentry until ctx ends; then the sentry stops, and after it
// what it published is flushed. figures are for the status line.
func runCrawl(ctx context.Context, cfg sentryConfig, c *crawler, events sink, svc *service, figures func(context.Context) []slog.Attr) error {
	svc.metrics.MustRegister(crawlCollector{c.sentry.Stats})
	svc.log.Info("crawling",
		slog.String("network", cfg.network.Name),
		slog.String("peer_id", c.host.PeerID()),
		slog.String("enr", c.finder.ENR()),
		slog.Int("tcp", int(c.host.TCPPort())), slog.Int("quic", int(c.host.QUICPort())), slog.Int("udp", int(c.finder.Port())),
		slog.Duration("epoch", cfg.network.Clock.EpochDuration()))
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return c.sentry.Run(ctx) })
	g.Go(func() error { return svc.status.run(ctx, svc.log, figures) })
	err := g.Wait()
	if flushErr := flush(ctx, events); err == nil {
		err = flushErr
	}
	s := c.sentry.Stats()
	svc.log.Info("stopped", slog.Uint64("handshaked", s.Handshaked), slog.Uint64("published", s.Published), slog.Uint64("lost", s.Lost))
	return err
}
