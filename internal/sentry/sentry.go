package sentry

import (
	"cmp"
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/eth2/enr"
	"github.com/chainbound/valtrack/internal/event"
	"github.com/chainbound/valtrack/internal/loglimit"
	"github.com/chainbound/valtrack/internal/p2p"
)

// Finder finds node records: *discv5.Finder.
type Finder interface {
	// Run calls found with each record that is new or has a higher seq, from one
	// goroutine at a time, and returns when ctx ends.
	Run(ctx context.Context, found func(enr.Record)) error
	// SetFork puts the eth2 and nfd entries into our own record.
	SetFork(id eth2.ENRForkID, nfd eth2.ForkDigest)
}

// Publisher accepts events: when Publish returns nil, the publisher is responsible for
// the event. Publish is called from many goroutines. While it blocks, visits wait.
type Publisher interface {
	Publish(ctx context.Context, e event.Event) error
}

// Defaults of Config's zero values.
const (
	DefaultDialers        = 64
	DefaultMaxConnections = 1000
	DefaultRevisit        = 1 // epochs
	DefaultWatchEpochs    = 3
	DefaultMaxWatched     = 750
	// defaultMaxPeers is several times the 9 000 nodes that answered on mainnet in
	// 2026, for the records of nodes that never do.
	defaultMaxPeers = 100_000
)

// drainGrace bounds how long events are still handed over after ctx has ended.
const drainGrace = 10 * time.Second

// Config is the sentry's settings; zero values mean the defaults above.
type Config struct {
	// NetworkName, CrawlerID and CrawlerLocation are set in every event. NetworkName
	// empty means the network's own name.
	NetworkName     string
	CrawlerID       string
	CrawlerLocation string
	// Dialers bounds the outbound visits at one time, MaxConnections those and the
	// inbound ones together.
	Dialers        int
	MaxConnections int
	// Version is the program's, for events; empty leaves it out.
	Version string
	// EarlierBootEnds are the keys of the last events of the boots before this one, as far as they
	// are known.
	EarlierBootEnds []string
	// Revisit is the number of epochs between two visits of a peer.
	Revisit int
	// WatchEpochs is the number of whole epochs for which a watch visit stays.
	WatchEpochs int
	// MaxWatched bounds the watch visits at one time; less when MaxConnections leaves
	// no room for that many (Watched), which New logs. Below 0 no peer is watched.
	MaxWatched int
	// MaxPeers bounds the peer table.
	MaxPeers int
	// AllowPrivate lets loopback and private addresses be dialled (enr.MayContact).
	AllowPrivate bool
	// Shard is our part of the network; zero means all of it.
	Shard Shard
	// Exclude are the excluded peers; nil means none.
	Exclude *Exclude
	// Store keeps the peer table across restarts; nil keeps nothing.
	Store *Store

	log         *slog.Logger // New's
	bootnodes   []string     // the network's
	genesisRoot eth2.Root    // the network's
}

func (c Config) withDefaults(networkName string) Config {
	if c.NetworkName == "" {
		c.NetworkName = networkName
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	for _, setting := range []struct {
		value    *int
		fallback int
	}{
		{&c.Dialers, DefaultDialers},
		{&c.MaxConnections, DefaultMaxConnections},
		{&c.Revisit, DefaultRevisit},
		{&c.MaxPeers, defaultMaxPeers},
		{&c.WatchEpochs, DefaultWatchEpochs},
	} {
		if *setting.value <= 0 {
			*setting.value = setting.fallback
		}
	}
	c.MaxWatched = max(0, min(c.WatchesWanted(), c.MaxConnections-c.dialRoom()-c.inboundRoom()))
	return c
}

// WatchesWanted is MaxWatched, or its default; negative for no watches.
func (c Config) WatchesWanted() int { return cmp.Or(c.MaxWatched, DefaultMaxWatched) }

// Watched is how many nodes are watched at one time: WatchesWanted, or as many as
// MaxConnections has room for.
func (c Config) Watched() int { return c.withDefaults("").MaxWatched }

// ConnectionsFor is the smallest MaxConnections that surely has room for so many watches.
func (c Config) ConnectionsFor(watched int) int {
	c = c.withDefaults("")
	return (watched+c.Dialers-1)*10/9 + 1
}

// dialRoom is the part of MaxConnections that watches leave to outbound census visits.
func (c Config) dialRoom() int { return min(c.Dialers, c.MaxConnections*3/4) }

// inboundRoom is the part of MaxConnections that dials and watches leave to inbound
// peers.
func (c Config) inboundRoom() int { return c.MaxConnections / 10 }

// MaxInbound is how many inbound connections there may be, those that are not visits yet
// included: they leave room for the dials. Those that watch hold none of the others' slots.
func (c Config) MaxInbound() int {
	c = c.withDefaults("")
	return max(1, c.MaxConnections-c.dialRoom())
}

// dialer opens outbound sessions: *p2p.Host.
type dialer interface {
	Dial(ctx context.Context, target p2p.Target) (*p2p.Session, error)
}

// Sentry crawls one network.
type Sentry struct {
	cfg       Config
	local     *Local
	forks     forks
	host      dialer
	finder    Finder
	publisher Publisher
	log       *slog.Logger
	visits    *visitIDs
	counters  counters
	// bootEndsTold counts events, for earlierBootEnd.
	bootEndsTold atomic.Uint64
	lossLog      *loglimit.Limiter
	skew         clockSkew
}

// New makes a sentry; Run starts it. The host must have been made with local and
// local.Inbound.
func New(cfg Config, local *Local, host *p2p.Host, finder Finder, publisher Publisher, log *slog.Logger) *Sentry {
	return newSentry(cfg, local, host, finder, publisher, log)
}

func newSentry(cfg Config, local *Local, host dialer, finder Finder, publisher Publisher, log *slog.Logger) *Sentry {
	cfg.log, cfg.bootnodes, cfg.genesisRoot = log, local.net.Bootnodes, local.net.GenesisValidatorsRoot
	if watched, wanted := cfg.Watched(), cfg.WatchesWanted(); watched < wanted {
		log.Warn("fewer nodes than max-watched are watched: max-connections has no room for more", slog.Int("max_watched", wanted), slog.Int("watched", watched),
			slog.Int("max_connections", cfg.MaxConnections), slog.Int("max_connections_needed", cfg.ConnectionsFor(wanted)))
	}
	return &Sentry{
		cfg: cfg.withDefaults(local.net.Name), local: local, forks: local.forks,
		host: host, finder: finder, publisher: publisher, log: log, visits: newVisitIDs(), lossLog: loglimit.Every(lossLogEvery),
		skew: clockSkew{log: loglimit.Every(skewLogEvery)},
	}
}

// Run crawls until ctx ends, then publishes what open visits have seen, within a
// bounded time, and returns nil. It returns early only with the finder's error.
func (s *Sentry) Run(ctx context.Context) error {
	handover, cancel := withGracePeriod(ctx, drainGrace)
	defer cancel()
	offers := make(chan offer)
	g, crawl := errgroup.WithContext(ctx)
	g.Go(func() error { s.forks.follow(crawl, s.finder); return nil })
	g.Go(func() error {
		return s.finder.Run(crawl, func(r enr.Record) { s.discovered(crawl, handover, offers, &r) })
	})
	g.Go(func() error {
		newSchedule(s.cfg, s.forks, s, &s.counters).run(crawl, handover, s.local.inbound, offers)
		return nil
	})
	err := g.Wait()
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// withGracePeriod is a context that ends the grace after ctx does.
func withGracePeriod(ctx context.Context, grace time.Duration) (context.Context, context.CancelFunc) {
	longer, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		timer := time.NewTimer(grace)
		defer timer.Stop()
		select {
		case <-timer.C:
			cancel()
		case <-longer.Done():
		}
	})
	return longer, func() { stop(); cancel() }
}

// discovered hands a record to the schedule and publishes it if it is new. It runs
// in the finder's goroutine: while Publish blocks, the search waits.
func (s *Sentry) discovered(ctx, handover context.Context, offers chan<- offer, r *enr.Record) {
	o := offer{record: r, publish: make(chan bool, 1)}
	select {
	case offers <- o:
	case <-ctx.Done():
		return
	}
	if <-o.publish {
		s.publish(handover, s.peerDiscovered(r, time.Now()))
	}
}
