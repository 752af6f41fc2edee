package cli

import (
	"context"
	"errors"
	"io/fs"
	"net/netip"
	"slices"
	"strings"

	"github.com/urfave/cli/v3"

	"github.com/chainbound/valtrack/internal/app"
	"github.com/chainbound/valtrack/internal/eth2/enr"
	"github.com/chainbound/valtrack/internal/eth2/network"
	"github.com/chainbound/valtrack/internal/event"
	"github.com/chainbound/valtrack/internal/printable"
	"github.com/chainbound/valtrack/internal/sentry"
)

// Flags of the sentry.
const (
	flagListen         = app.OptListen
	flagPort           = app.OptPort
	flagQUICPort       = app.OptQUICPort
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
	flagContact        = "contact"
)

// The ports that consensus clients use by default.
const (
	defaultPort     = 9000
	defaultQUICPort = 9001
)

func sentryFlags() []cli.Flag {
	return append([]cli.Flag{
		texts(flagListen, []string{"0.0.0.0", "::"}, "IP address to listen on, repeatable"),
		number(flagPort, defaultPort, "port for libp2p over TCP and discv5 over UDP; 0 picks free ports"),
		number(flagQUICPort, defaultQUICPort, "UDP port for libp2p over QUIC; 0 picks a free one"),
		text(flagAdvertise, "", "IP address in our node record (default: the one other nodes report)"),
		number(flagDialers, sentry.DefaultDialers, "maximum number of visits started at the same time"),
		number(flagMaxConnections, sentry.DefaultMaxConnections, "maximum number of visits at the same time, inbound ones included"),
		number(flagRevisit, sentry.DefaultRevisit, "epochs between two visits to a node"),
		number(flagWatchEpochs, sentry.DefaultWatchEpochs, "number of whole epochs for which a node is watched at a time"),
		number(flagMaxWatched, sentry.DefaultMaxWatched, "maximum number of nodes watched at the same time, within nine tenths of max-connections, less dialers; 0 watches none"),
		text(flagShard, "", "I/N: dial only the I-th of N parts of the network, from 1/N to N/N, by node id"),
		excludeFlag(),
		text(flagCrawlerID, "", "crawler_id of every event (default: an id kept in the data directory)"),
		text(flagLocation, "", "crawler_location of every event, such as a region"),
		contactFlag(),
		toggleWithDefault(flagAllowPrivate, "visit loopback and private addresses", "on only when every bootnode has such an address"),
	}, spoolFlags()...)
}

func (p *program) sentryCommand() *cli.Command {
	return p.leaf(&cli.Command{
		Name: "sentry", Usage: "run the sentry node",
		Description: "Crawls the network and publishes what it sees to --nats, through a spool on disk: the crawl continues\n" +
			"while NATS is unreachable. Without --nats it appends events as JSON lines to discovery_events.log,\n" +
			"metadata_events.log and visit_events.log in --data-dir.",
		Flags: slices.Concat(sentryFlags(), natsFlags(), serviceFlags()),
	}, runSentry)
}

// sentryConfig checks the sentry's flags. With a devnet in this process net is empty: its
// network is known when it has started. Errors are of wrong usage.
func (in invocation) sentryConfig(net app.DirNetwork) (app.SentryConfig, error) {
	cfg := app.SentryConfig{
		Network: net.Network, NetworkDir: net.Dir,
		DataDir: in.cmd.String(flagDataDir),
		NATS:    in.cmd.String(flagNATS),
		Crawl: sentry.Config{
			CrawlerID:       in.cmd.String(flagCrawlerID),
			CrawlerLocation: in.cmd.String(flagLocation),
			Version:         programName(),
			AllowPrivate:    in.cmd.Bool(flagAllowPrivate),
		},
		WithoutConsumers: in.cmd.Bool(flagWithoutConsumers),
	}
	var err error
	if cfg.Agent, err = in.agent(); err != nil {
		return cfg, err
	}
	for _, name := range []struct{ flag, value string }{
		{flagCrawlerID, cfg.Crawl.CrawlerID}, {flagLocation, cfg.Crawl.CrawlerLocation}, {flagNetwork, net.Name},
	} {
		if len(name.value) > event.MaxNameSize {
			return cfg, usagef("--%s %q: want at most %d bytes, it has %d", name.flag, name.value, event.MaxNameSize, len(name.value))
		}
		if !printable.Is(name.value) {
			return cfg, usagef("--%s %q: want printable text on one line", name.flag, name.value)
		}
	}
	if !in.cmd.IsSet(flagAllowPrivate) {
		cfg.Crawl.AllowPrivate = in.simulated() || allPrivate(net.Bootnodes)
	}
	if len(net.Bootnodes) == 0 && !in.simulated() {
		return cfg, usagef("network %s has no bootnodes (looked for ENRs in %s); give --%s ENR", net.Name, strings.Join(network.BootnodeFiles(), ", "), flagBootnode)
	}
	if err = in.addressConfig(&cfg); err != nil {
		return cfg, err
	}
	for _, n := range []struct {
		flag  string
		value *int
	}{{flagDialers, &cfg.Crawl.Dialers}, {flagMaxConnections, &cfg.Crawl.MaxConnections}, {flagRevisit, &cfg.Crawl.Revisit}} {
		if *n.value, err = in.positive(n.flag); err != nil {
			return cfg, err
		}
	}
	if err = in.spoolConfig(&cfg); err != nil {
		return cfg, err
	}
	if cfg.Access, err = in.natsAccess(); err != nil {
		return cfg, err
	}
	return cfg, in.watchConfig(&cfg.Crawl)
}

// addressConfig checks the flags of addresses and ports. A crawl of the network in this
// process stays on this machine, and off ports that a beacon node may hold, unless flags
// say otherwise.
func (in invocation) addressConfig(cfg *app.SentryConfig) error {
	for _, text := range in.cmd.StringSlice(flagListen) {
		addr, err := netip.ParseAddr(text)
		if err != nil {
			return usagef("--%s %q: want an IP address, such as 0.0.0.0 or ::", flagListen, text)
		}
		cfg.Listen = append(cfg.Listen, addr)
	}
	if text := in.cmd.String(flagAdvertise); text != "" {
		var err error
		if cfg.Advertise, err = netip.ParseAddr(text); err != nil {
			return usagef("--%s %q: want an IP address", flagAdvertise, text)
		}
		if !enr.MayContact(cfg.Advertise, cfg.Crawl.AllowPrivate) {
			return usagef("--%s %q: other nodes cannot reach this address; give the public one, or use --%s in a network of private addresses", flagAdvertise, text, flagAllowPrivate)
		}
	}
	var err error
	if cfg.Port, err = in.parsePort(flagPort); err != nil {
		return err
	}
	if cfg.QUICPort, err = in.parsePort(flagQUICPort); err != nil {
		return err
	}
	if !in.simulated() {
		return nil
	}
	if !in.cmd.IsSet(flagListen) {
		cfg.Listen = []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1})}
	}
	if !in.cmd.IsSet(flagPort) {
		cfg.Port = 0
	}
	if !in.cmd.IsSet(flagQUICPort) {
		cfg.QUICPort = 0
	}
	return nil
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
	case !in.cmd.IsSet(flagMaxWatched): // the default, or as many as fit
	case n > cfg.MaxConnections:
		return usagef("--%s %d: a watched node needs a connection, and --%s is %d; raise that, or watch fewer", flagMaxWatched, n, flagMaxConnections, cfg.MaxConnections)
	default:
		cfg.MaxWatched = n
	}
	if text := in.cmd.String(flagShard); text != "" {
		if cfg.Shard, err = sentry.ParseShard(text); err != nil {
			return usagef("--%s: %w", flagShard, err)
		}
	}
	if path := in.cmd.String(flagExclude); path != "" {
		if cfg.Exclude, err = loadExclude(path); err != nil {
			return err
		}
	}
	return nil
}

// excludeFlag is of the sentry, which leaves these nodes alone, and of the consumer, which stores nothing
// about them.
func excludeFlag() cli.Flag {
	return text(flagExclude, "", "file of peer ids, node ids, IP addresses and networks to exclude, one per line: never visited, and not stored")
}

// loadExclude reads the file of --exclude.
func loadExclude(path string) (*sentry.Exclude, error) {
	x, err := sentry.LoadExclude(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, usagef("--%s: %w; give the path of a file with peer ids, node ids, IP addresses and networks, one per line", flagExclude, err)
	}
	if err != nil {
		return nil, usagef("--%s: %w", flagExclude, err)
	}
	return x, nil
}

func runSentry(ctx context.Context, in invocation) error {
	if err := in.noArguments(); err != nil {
		return err
	}
	net, err := in.usableNetwork()
	if err != nil {
		return err
	}
	cfg, err := in.sentryConfig(net)
	if err != nil {
		return err
	}
	svc, err := in.newService()
	if err != nil {
		return err
	}
	return app.Run(ctx, svc, func(ctx context.Context) (*app.Sentry, error) { return app.OpenSentry(ctx, cfg, svc) })
}
