package sentry

import (
	"context"
	"testing"
	"time"

	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/event"
	"github.com/chainbound/valtrack/internal/p2p"
)

// stuck is a publisher whose way out is blocked for handshakes and visits until
// opened, as with a broker that is down for long.
type stuck struct {
	*published
	open chan struct{}
}

func (p stuck) Publish(ctx context.Context, e event.Event) error {
	if _, discovery := e.(*event.PeerDiscovered); !discovery {
		select {
		case <-p.open:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return p.published.Publish(ctx, e)
}

func TestPeerIsNotHeldWhileEventsWait(t *testing.T) {
	net := testNetwork(t, time.Now().Add(-time.Hour), 0)
	left := make(chan uint64, 1)
	h := newHost(t, healthyRemote(net), "test", func(ctx context.Context, session *p2p.Session) {
		stay(ctx, session)
		code, _ := session.RemoteGoodbye()
		left <- code
	})
	local := NewLocal(net)
	finder, events := newTestFinder(), stuck{newPublished(), make(chan struct{})}
	s := New(Config{CrawlerID: "crawler", AllowPrivate: true}, local, newHost(t, local, "valtrack/test", local.Inbound), finder, events, discardLog())
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	finder.records <- *recordOf(net, h)
	select {
	case code := <-left:
		if code != eth2.GoodbyeTooManyPeers {
			t.Errorf("left with goodbye %d", code)
		}
	case <-time.After(waitLong):
		t.Error("the peer is held while its events wait")
	}
	close(events.open)
	events.waitFor(t, "the visit's events", func() bool {
		return len(eventsOf[*event.MetadataReceived](events.published)) == 1 && len(eventsOf[*event.VisitEnded](events.published)) == 1
	})
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// A peer whose record lags behind a fork may still dial us with the right Status:
// its record is known and belongs to the handshake.
func TestRecordOfAnotherDigestIsKept(t *testing.T) {
	table, _ := newTestTable(t, 10)
	foreign := testRecordAt(eth2.ForkDigest{9}, "a", 1, 1000, 1001)
	table.offer(foreign, genesis)
	if p, ok := table.beginVisit("a", genesis); !ok || !sameRecord(p.record(), foreign) {
		t.Errorf("an inbound visit has record %v, want the newest known", p.record())
	}
}
