package app

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/chainbound/valtrack/internal/bus"
	"github.com/chainbound/valtrack/internal/discv5"
	"github.com/chainbound/valtrack/internal/diskio"
	"github.com/chainbound/valtrack/internal/eth2/network"
	"github.com/chainbound/valtrack/internal/event"
	"github.com/chainbound/valtrack/internal/eventlog"
	"github.com/chainbound/valtrack/internal/p2p"
	"github.com/chainbound/valtrack/internal/sentry"
	"github.com/chainbound/valtrack/internal/spool"
)

const (
	// maxKnown bounds the records that discovery begins with after a restart; each
	// costs a signature check and some memory, and names many others when it is asked.
	maxKnown = 3000
	// drainTimeout bounds how long a stopping sentry continues to publish: what is left
	// is in the spool, and is sent after the next start.
	drainTimeout = 3 * time.Second
	// clockEvery is how often the clock is compared with the broker's, within clockTimeout,
	// and clockRetry how soon after that has failed.
	clockEvery, clockRetry, clockTimeout = 30 * time.Second, 3 * time.Second, 2 * time.Second
	// spoolDir is in the data directory.
	spoolDir = "spool"
)

// SentryConfig is everything that a sentry is built from.
type SentryConfig struct {
	Network network.Network
	// NetworkDir is the directory of Network's files; empty for an embedded network.
	NetworkDir string
	DataDir    string
	// Agent is the libp2p agent string, which may end with whom to ask.
	Agent string
	// Listen are the IP addresses to listen on. Ports of 0 take free ones.
	Listen         []netip.Addr
	Port, QUICPort uint16
	// Advertise is the IP address of our node record; invalid when not given.
	Advertise netip.Addr
	// Crawl holds the crawl's own settings; Store and, if empty, CrawlerID are set here. Its
	// Version, "valtrack/VERSION", is also in our node record.
	Crawl sentry.Config
	// NATS is the server's URL, or EmbeddedNATS, and Access how to use it; an empty URL
	// writes event log files.
	NATS   string
	Access bus.Access
	// SpoolSize is the maximum size of the spool, in bytes.
	SpoolSize int64
	// WithoutConsumers publishes also while the stream has no consumer.
	WithoutConsumers bool
}

// sink accepts the sentry's events: spooled or *eventlog.Writer.
type sink interface {
	sentry.Publisher
	// Close returns when everything published has been sent, or ctx has ended.
	Close(ctx context.Context) error
}

// Sentry is the sentry in its own process. A Sentry runs once.
type Sentry struct {
	dir   *dataDir
	crawl *crawl
	logs  *eventlog.Writer // nil with NATS
	svc   *Service
	cleanups
}

// OpenSentry locks the data directory, binds the ports and opens the spool or the log
// files. It does not wait for NATS. Errors that the user can fix are ConfigErrors.
func OpenSentry(ctx context.Context, cfg SentryConfig, svc *Service) (_ *Sentry, err error) {
	s := &Sentry{svc: svc}
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	s.dir, err = openDataDir(cfg.DataDir, DirUse{Sentry: true, Network: cfg.Network, NetworkDir: cfg.NetworkDir})
	if err != nil {
		return nil, err
	}
	s.add(func() { s.dir.close() })
	n, err := openNode(cfg, svc.log)
	if err != nil {
		return nil, err
	}
	s.add(n.close)
	events, err := s.openSink(ctx, cfg, n.identity)
	if err != nil {
		return nil, err
	}
	s.crawl = newCrawl(cfg, n, events, svc)
	s.add(s.crawl.close)
	return s, nil
}

// openSink opens the spool that NATS is published to from, or the event log files.
func (s *Sentry) openSink(ctx context.Context, cfg SentryConfig, id sentry.Identity) (sink, error) {
	if cfg.NATS == "" {
		events, err := eventlog.NewWriter(cfg.DataDir, id.ID, id.Boot, s.svc.log)
		if err != nil {
			return nil, AsConfigError(err)
		}
		s.logs = events
		s.svc.log.Info("no --nats: events go to log files", slog.String("dir", cfg.DataDir))
		s.svc.ready.set(func() error { return nil })
		return events, nil
	}
	b, err := OpenBroker(ctx, cfg.NATS, cfg.DataDir, bus.Options{Name: "valtrack sentry " + id.ID, Inbox: bus.SentryInbox, Access: cfg.Access, InBackground: true, Log: s.svc.log})
	if err != nil {
		return nil, err
	}
	s.add(b.Close)
	b.watchStream(ctx, cfg.DataDir, s.svc)
	events, err := openPublisher(cfg, id, b.conn, s.svc)
	if err != nil {
		return nil, err
	}
	s.svc.ready.set(func() error { return errors.Join(b.Err(), events.ready()) })
	return events, nil
}

// spooled puts the sentry's events into the spool in the data directory, from where
// they are published to NATS.
type spooled struct {
	*spool.Spool
	publisher *bus.Publisher
	conn      *bus.Conn
	// bootEnds are the last events of earlier boots.
	bootEnds []string
}

// Close closes the spool, too.
func (s spooled) Close(ctx context.Context) error { return s.publisher.Close(ctx) }

// ready is nil unless events cannot be kept, or wait for longer than they should.
func (s spooled) ready() error {
	var writes error
	if err := s.Stats().Err; err != nil {
		writes = fmt.Errorf("cannot write the spool: %w", err)
	}
	return errors.Join(writes, s.publisher.Stats().Err)
}

// openPublisher does not wait for the server.
func openPublisher(cfg SentryConfig, id sentry.Identity, conn *bus.Conn, svc *Service) (s spooled, err error) {
	queue, err := spool.Open(spool.Config{
		Dir: filepath.Join(cfg.DataDir, spoolDir), Sentry: id.ID, Boot: id.Boot, MaxBytes: cfg.SpoolSize, Log: svc.log,
	})
	if err != nil {
		return s, AsConfigError(err)
	}
	ends, err := sentry.RememberBootEnd(cfg.DataDir, queue.PreviousBootEnd())
	if err != nil {
		return s, errors.Join(AsConfigError(err), queue.Close())
	}
	p, err := bus.NewPublisher(conn, bus.PublisherConfig{
		Queue: queue, Added: queue.Added(), Mark: queue.Mark(), Own: event.Key{Sentry: id.ID, Boot: id.Boot}.Producer(), WithoutConsumers: cfg.WithoutConsumers,
		ForgetCommand: func(durable string) string { return ForgetCommand(conn, cfg.DataDir, durable) },
		KeepAside: func(events []event.Encoded, reason error) error {
			return keepAside(cfg.DataDir, events, reason, svc.log)
		},
	})
	if err != nil {
		return s, errors.Join(err, queue.Close())
	}
	diskMetrics(svc, cfg.DataDir)
	spool.NewMetrics(svc.metrics, queue.Stats)
	bus.NewPublisherMetrics(svc.metrics, p.Stats)
	return spooled{queue, p, conn, ends}, nil
}

// keepAside appends events that the broker does not have to a file that can be replayed;
// they are on disk afterwards. A full file takes the place of an older one.
func keepAside(dir string, events []event.Encoded, reason error, log *slog.Logger) (err error) {
	var lines bytes.Buffer
	for _, e := range events {
		line, err := json.Marshal(eventlog.RejectedEvent{Time: time.Now().UnixMilli(), Reason: reason.Error(), Subject: e.Subject, Key: e.Key, Payload: string(e.Data)})
		if err != nil {
			return err
		}
		lines.Write(append(line, '\n'))
	}
	path := filepath.Join(dir, eventlog.SentryRejectedName)
	if info, err := os.Stat(path); err == nil && info.Size() > 0 && info.Size()+int64(lines.Len()) > eventlog.MaxRejectedFile {
		older := filepath.Join(dir, eventlog.OlderSentryRejectedName)
		log.Warn("the file of events that the broker lacks is full: it replaces an older one", slog.String("file", path), slog.String("older", older))
		if err := os.Rename(path, older); err != nil {
			return err
		}
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err == nil {
		if _, err = f.Write(lines.Bytes()); err != nil {
			err = errors.Join(err, f.Truncate(size)) // a part of a line would spoil the next one
		}
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close(), diskio.SyncDir(dir))
}

// Run crawls until ctx ends; then the sentry stops, and after it what it published is
// flushed.
func (s *Sentry) Run(ctx context.Context) error {
	defer s.reopenOnHangup(ctx)()
	return whileThere(ctx, s.dir.check, func(ctx context.Context) error { return s.crawl.run(ctx, s.crawl.figures) })
}

// reopenOnHangup has SIGHUP reopen the log files, as logrotate expects, until stop. A
// terminal that goes away sends it too: there it ends the process, as it does by default.
func (s *Sentry) reopenOnHangup(ctx context.Context) (stop func()) {
	if s.logs == nil || s.svc.onTerminal {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGHUP)
	var waiting sync.WaitGroup
	waiting.Go(func() {
		for ctx.Err() == nil {
			select {
			case <-ctx.Done():
			case <-signals:
				if err := s.logs.Reopen(); err != nil {
					s.svc.log.Error("cannot reopen the event logs, will retry", slog.Any("error", err))
				} else {
					s.svc.log.Info("reopened the event logs")
				}
			}
		}
	})
	return func() {
		signal.Stop(signals)
		cancel()
		waiting.Wait()
	}
}

// Close releases what OpenSentry opened, in reverse order.
func (s *Sentry) Close() { s.cleanUp() }

// node is our node in the network: identity, peer table, ports.
type node struct {
	identity sentry.Identity
	local    *sentry.Local
	store    *sentry.Store
	host     *p2p.Host
	finder   *discv5.Finder
	log      *slog.Logger
	cleanups
}

// openNode binds the ports. Its errors are ConfigErrors.
func openNode(cfg SentryConfig, log *slog.Logger) (_ *node, err error) {
	n := &node{log: log, local: sentry.NewLocal(cfg.Network)}
	defer func() {
		if err != nil {
			n.close()
		}
	}()
	if n.identity, err = sentry.LoadIdentity(cfg.DataDir); err != nil {
		return nil, AsConfigError(err)
	}
	if n.store, err = sentry.OpenStore(cfg.DataDir, cfg.Network, cfg.Crawl.MaxPeers, log); err != nil {
		return nil, AsConfigError(err)
	}
	n.add(n.store.Close)
	if known := n.store.Peers(); known > 0 {
		log.Info("loaded the peer table", slog.Int("peers", known))
		debug.FreeOSMemory() // reading a large table leaves more garbage than table
	}
	if n.host, err = p2p.NewHost(p2p.Config{
		Key:            n.identity.Key,
		Listen:         cfg.Listen,
		TCPPort:        cfg.Port,
		QUICPort:       cfg.QUICPort,
		Agent:          cfg.Agent,
		MaxConnections: cfg.Crawl.MaxConnections,
		MaxInbound:     cfg.Crawl.MaxInbound(),
		AllowPrivate:   cfg.Crawl.AllowPrivate,
		Local:          n.local,
		Inbound:        n.local.Inbound,
		Log:            log,
	}); err != nil {
		return nil, PortError(err)
	}
	n.add(func() { n.logClose("libp2p", n.host.Close()) })
	name, version, _ := strings.Cut(cfg.Crawl.Version, "/")
	fork, nfd := cfg.Network.Schedule.ForkID(cfg.Network.Clock.EpochAt(time.Now()))
	if n.finder, err = discv5.New(discv5.Config{
		Key:          n.identity.Key,
		Client:       name,
		Version:      version,
		Fork:         fork,
		NFD:          nfd,
		Listen:       cfg.Listen,
		Port:         cfg.Port,
		Advertise:    cfg.Advertise,
		TCPPort:      n.host.TCPPort(),
		QUICPort:     n.host.QUICPort(),
		Bootnodes:    cfg.Network.Bootnodes,
		Known:        n.store.Known(maxKnown, cfg.Crawl.Exclude),
		Skip:         cfg.Crawl.Exclude.Node,
		AllowPrivate: cfg.Crawl.AllowPrivate,
		Revisit:      cfg.Network.Clock.EpochDuration(),
		Log:          log,
	}); err != nil {
		return nil, PortError(err)
	}
	n.add(func() { n.logClose("discv5", n.finder.Close()) })
	return n, nil
}

// PortError adds advice to the error of a port that cannot be bound.
func PortError(err error) error {
	return ConfigErrorf("%w; choose other ports with --%s and --%s, or another address with --%s", err, OptPort, OptQUICPort, OptListen)
}

// close releases the ports, after the sentry's Run.
func (n *node) close() { n.cleanUp() }

func (n *node) logClose(what string, err error) {
	if err != nil {
		n.log.Warn("close "+what, slog.Any("error", err))
	}
}

// crawl is the sentry running on our node, and the sink of its events.
type crawl struct {
	node    *node
	network network.Network
	events  sink
	sentry  *sentry.Sentry
	svc     *Service
	flushed bool
}

func newCrawl(cfg SentryConfig, n *node, events sink, svc *Service) *crawl {
	if cfg.Crawl.CrawlerID == "" {
		cfg.Crawl.CrawlerID = n.identity.ID
	}
	cfg.Crawl.Store = n.store
	if queue, ok := events.(spooled); ok {
		cfg.Crawl.EarlierBootEnds = queue.bootEnds
	}
	c := &crawl{
		node: n, network: cfg.Network, events: events, svc: svc,
		sentry: sentry.New(cfg.Crawl, n.local, n.host, n.finder, events, svc.log),
	}
	sentry.NewMetrics(svc.metrics, c.sentry.Stats)
	discv5.NewMetrics(svc.metrics, n.finder.Stats)
	return c
}

// run crawls until ctx ends and then flushes the events. figures are for the status
// line; more is logged when the crawl starts.
func (c *crawl) run(ctx context.Context, figures func() []slog.Attr, more ...slog.Attr) error {
	c.svc.log.LogAttrs(ctx, slog.LevelInfo, "crawling", append([]slog.Attr{
		slog.String("network", c.network.Name),
		slog.String("peer_id", c.node.host.PeerID()),
		slog.String("enr", c.node.finder.ENR()),
		slog.Int("tcp", int(c.node.host.TCPPort())), slog.Int("quic", int(c.node.host.QUICPort())), slog.Int("udp", int(c.node.finder.Port())),
		slog.Duration("epoch", c.network.Clock.EpochDuration()),
	}, more...)...)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return c.sentry.Run(ctx) })
	g.Go(func() error { return c.svc.status.run(ctx, c.svc.log, figures) })
	if events, ok := c.events.(spooled); ok {
		g.Go(func() error { followClock(ctx, events.conn, c.sentry, c.svc.log); return nil })
	}
	err := g.Wait()
	c.flushed = true
	if flushErr := Flush(ctx, c.events); err == nil {
		err = flushErr
	}
	s := c.sentry.Stats()
	c.svc.log.Info("stopped", slog.Uint64("handshaked", s.Handshaked), slog.Uint64("published", s.Published), slog.Uint64("lost", s.Lost))
	return err
}

// followClock measures the skew of this machine's clock against the broker's, for the
// sentry's events, until ctx ends.
func followClock(ctx context.Context, conn *bus.Conn, s *sentry.Sentry, log *slog.Logger) {
	for {
		bounded, cancel := context.WithTimeout(ctx, clockTimeout)
		skew, uncertainty, err := conn.ClockSkew(bounded)
		cancel()
		wait := clockEvery
		if err == nil {
			s.SetClockSkew(skew, uncertainty)
		} else {
			wait = clockRetry
			log.Debug("cannot compare this clock with the broker's", slog.Any("error", err))
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// ready is nil when events are kept and sent.
func (c *crawl) ready() error {
	if events, ok := c.events.(spooled); ok {
		return events.ready()
	}
	return nil
}

// close closes the sink of the events when the crawl did not run.
func (c *crawl) close() {
	if c.flushed {
		return
	}
	if err := Flush(context.Background(), c.events); err != nil {
		c.svc.log.Warn("close the event publisher", slog.Any("error", err))
	}
}

// Flush waits until everything published has been sent, within its own limit: ctx may
// have ended.
func Flush(ctx context.Context, events interface{ Close(context.Context) error }) error {
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	defer cancel()
	start := time.Now()
	if err := events.Close(bounded); err != nil {
		return fmt.Errorf("flush events (%v): %w", time.Since(start).Round(time.Millisecond), err)
	}
	return nil
}

// figures are the crawl's part of the status line, with the number of events that wait
// in the spool when there is one.
func (c *crawl) figures() []slog.Attr {
	s := c.sentry.Stats()
	attrs := []slog.Attr{
		slog.Uint64("records", s.Records),
		slog.Uint64("dialled", s.Dialled),
		slog.Uint64("handshaked", s.Handshaked),
		slog.Int("watching", s.Watching),
		slog.Int("reachable", s.Reachable),
	}
	if s, ok := c.events.(spooled); ok {
		attrs = append(attrs, slog.Int("spooled", s.Stats().Events))
	}
	return attrs
}
