package watch

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/chainbound/valtrack/internal/devnet"
	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/eth2/enr"
	"github.com/chainbound/valtrack/internal/event"
	"github.com/chainbound/valtrack/internal/p2p"
	"github.com/chainbound/valtrack/internal/sentry"
)

func TestMain(m *testing.M) {
	if flag.Parse(); testing.Short() {
		os.Exit(0) // networks in real time
	}
	goleak.VerifyTestMain(m,
		goleak.IgnoreTopFunction("github.com/syndtr/goleveldb/leveldb.(*DB).mpoolDrain"), // runs for a second after Close
		goleak.IgnoreTopFunction("github.com/syndtr/goleveldb/leveldb.(*session).refLoop"),
	)
}

// waitLong is the deadline for conditions that the test waits for, not a bound on speed.
const waitLong = 5 * time.Minute

func discardLog() *slog.Logger { return slog.New(slog.DiscardHandler) }

// records is a sentry.Finder that knows every node's record from the start, and
// never a newer one: as stale as discv5 can be.
type records []devnet.Node

func (r records) Run(ctx context.Context, found func(enr.Record)) error {
	for _, n := range r {
		record, err := enr.Parse(n.ENR)
		if err != nil {
			return err
		}
		found(record)
	}
	<-ctx.Done()
	return nil
}

func (records) SetFork(eth2.ENRForkID, eth2.ForkDigest) {}

// collector keeps what the sentry publishes.
type collector struct {
	mu     sync.Mutex
	events []event.Event
	news   chan struct{}
}

func (c *collector) Publish(_ context.Context, e event.Event) error {
	c.mu.Lock()
	c.events = append(c.events, e)
	c.mu.Unlock()
	select {
	case c.news <- struct{}{}:
	default:
	}
	return nil
}

func eventsOf[E event.Event](c *collector) (list []E) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.events {
		if e, ok := e.(E); ok {
			list = append(list, e)
		}
	}
	return list
}

// waitFor returns when cond holds after some event.
func (c *collector) waitFor(t *testing.T, what string, limit time.Duration, cond func() bool) {
	t.Helper()
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	for !cond() {
		select {
		case <-c.news:
		case <-deadline.C:
			t.Fatalf("gave up waiting for %s", what)
		}
	}
}

// crawl is a sentry on a devnet.
type crawl struct {
	*collector
	net    *devnet.Devnet
	host   *p2p.Host
	sentry *sentry.Sentry
	stop   func()
}

// dialledBy lets a node dial the sentry.
func (c *crawl) dialledBy(t *testing.T, n devnet.Node) {
	t.Helper()
	address := fmt.Sprintf("/ip4/127.0.0.1/tcp/%d/p2p/%s", c.host.TCPPort(), c.host.PeerID())
	if n.Transports[0] == "quic" {
		address = fmt.Sprintf("/ip4/127.0.0.1/udp/%d/quic-v1/p2p/%s", c.host.QUICPort(), c.host.PeerID())
	}
	if err := c.net.Dial(t.Context(), n.Index, address); err != nil {
		t.Fatal(err)
	}
}

func startCrawl(t *testing.T, net devnet.Config, cfg sentry.Config) *crawl {
	t.Helper()
	d, err := devnet.Start(t.Context(), net, discardLog())
	if err != nil {
		t.Fatal(err)
	}
	id, err := sentry.LoadIdentity(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	local := sentry.NewLocal(d.Network())
	host, err := p2p.NewHost(p2p.Config{
		Key: id.Key, Listen: []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1})}, Agent: "valtrack/test", AllowPrivate: true,
		MaxConnections: cfg.MaxConnections, Local: local, Inbound: local.Inbound,
	})
	if err != nil {
		t.Fatal(err)
	}
	c := &crawl{collector: &collector{news: make(chan struct{}, 1)}, net: d, host: host}
	cfg.CrawlerID, cfg.AllowPrivate = "test", true
	c.sentry = sentry.New(cfg, local, host, records(slices.Clone(d.Truth().Nodes)), c.collector, discardLog())
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.sentry.Run(ctx) }()
	c.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("sentry: %v", err)
		}
		if err := host.Close(); err != nil {
			t.Errorf("host: %v", err)
		}
		if err := d.Close(); err != nil {
			t.Errorf("devnet: %v", err)
		}
	})
	t.Cleanup(c.stop)
	return c
}

// watches puts the parts of each visit together and checks that they are the whole.
func (c *crawl) watches(t *testing.T) []*Visit {
	t.Helper()
	var log Log
	for _, e := range eventsOf[*event.VisitEnded](c.collector) {
		if err := errors.Join(e.Validate(), log.Add(e)); err != nil {
			t.Errorf("%v", err)
		}
	}
	return log.Visits
}

// bytesPerEpoch are the bytes of events per watched node-epoch: of all parts, and of the
// same watches if each were one event.
func (c *crawl) bytesPerEpoch(t *testing.T) (parts, whole float64) {
	t.Helper()
	size := func(e *event.VisitEnded) float64 {
		b, err := event.Encode(e)
		if err != nil {
			t.Fatal(err)
		}
		return float64(len(b))
	}
	visits := make(map[string]*event.VisitEnded)
	for _, e := range eventsOf[*event.VisitEnded](c.collector) {
		if e.Watch == nil {
			continue
		}
		parts += size(e)
		joined, first := *e.Watch, visits[e.VisitID]
		if first != nil {
			joined.From, joined.Initial, joined.Since, joined.Attnets = first.Watch.From, first.Watch.Initial, nil, nil
			joined.Changes = slices.Clone(first.Watch.Changes)
			for _, change := range e.Watch.Changes {
				change.At += e.Watch.From - joined.From
				joined.Changes = append(joined.Changes, change)
			}
			joined.MetaDataChanges = append(slices.Clone(first.Watch.MetaDataChanges), e.Watch.MetaDataChanges...)
		}
		one := *e
		one.Part, one.More, one.Watch = 0, false, &joined
		visits[e.VisitID] = &one
	}
	epochs := 0.0
	for _, e := range visits {
		whole += size(e)
		epochs += float64(e.Watch.To-e.Watch.From) / float64(c.net.Network().Clock.EpochDuration().Milliseconds())
	}
	return parts / epochs, whole / epochs
}

// truthOf is what Score.Add compares a watch with. Changes ends before the time it is given.
func (c *crawl) truthOf(w *Visit, near time.Duration) []devnet.SubscriptionChange {
	return c.net.Truth().Changes(w.Peer, w.From.Add(-near), w.To.Add(time.Millisecond))
}
