package sentry

import (
	"context"
	"encoding/binary"
	"io"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	libp2pnet "github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/protocol"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/chainbound/valtrack/internal/estimate"
	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/eth2/enr"
	"github.com/chainbound/valtrack/internal/eth2/network"
	"github.com/chainbound/valtrack/internal/event"
	"github.com/chainbound/valtrack/internal/p2p"
)

// gossiper is a healthy node of plain go-libp2p that opens a gossip stream to
// whoever connects.
type gossiper struct {
	host.Host
	goodbyes atomic.Int64 // it was told
	streams  chan libp2pnet.Stream
}

func startGossiper(t *testing.T, net network.Network, subnets ...int) *gossiper {
	t.Helper()
	key, err := crypto.UnmarshalSecp256k1PrivateKey(newKey())
	if err != nil {
		t.Fatal(err)
	}
	h, err := libp2p.New(libp2p.Identity(key), libp2p.ListenAddrStrings("/ip4/127.0.0.1/tcp/0"), libp2p.DisableRelay())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	g := &gossiper{Host: h, streams: make(chan libp2pnet.Stream, 1)}
	remote := healthyRemote(net)
	for id, ssz := range map[protocol.ID][]byte{
		p2p.ProtoStatusV2: remote.status.MarshalSSZ(2), p2p.ProtoMetaDataV3: remote.metadata.MarshalSSZ(3),
		p2p.ProtoPingV1: eth2.MarshalUint64(remote.metadata.SeqNumber), p2p.ProtoGoodbyeV1: nil,
	} {
		h.SetStreamHandler(id, func(s libp2pnet.Stream) {
			defer s.Close()
			_, _ = io.Copy(io.Discard, s)
			if ssz == nil {
				g.goodbyes.Add(1)
				return
			}
			_, _ = s.Write(p2p.EncodeResponse(p2p.CodeSuccess, ssz))
		})
	}
	h.Network().Notify(&libp2pnet.NotifyBundle{ConnectedF: func(_ libp2pnet.Network, conn libp2pnet.Conn) {
		go func() {
			if s := g.gossip(conn, on(net.Schedule.Periods[0].Digest, subnets...)); s != nil {
				g.streams <- s
			}
		}()
	}})
	return g
}

// gossip opens a gossip stream that begins with a list; nil when the connection is
// gone.
func (g *gossiper) gossip(conn libp2pnet.Conn, list []p2p.Subscription) libp2pnet.Stream {
	s, err := g.NewStream(context.Background(), conn.RemotePeer(), p2p.MeshsubProtocols()[0])
	if err != nil {
		return nil
	}
	_, _ = s.Write(encodeRPC(list))
	return s
}

// encodeRPC is a gossip RPC of subscriptions with its varint length: field 1, each
// with the fields 1, subscribe, and 2, topic. Topics are short.
func encodeRPC(list []p2p.Subscription) []byte {
	var body []byte
	for _, sub := range list {
		entry := []byte{1 << 3, 0, 2<<3 | 2, byte(len(sub.Topic))}
		if sub.Subscribe {
			entry[1] = 1
		}
		entry = append(entry, sub.Topic...)
		body = append(append(body, 1<<3|2, byte(len(entry))), entry...)
	}
	return append(binary.AppendUvarint(nil, uint64(len(body))), body...)
}

func (g *gossiper) record(t *testing.T, net network.Network) *enr.Record {
	t.Helper()
	text, err := g.Network().ListenAddresses()[0].ValueForProtocol(ma.P_TCP)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		t.Fatal(err)
	}
	return testRecordAt(net.Schedule.Periods[0].Digest, g.ID().String(), 1, uint16(port), 0)
}

// A watch whose gossip stream ends while the connection stands ends with it: what the
// peer does from then on is not known, and the absence of changes is not "no changes".
func TestWatchEndsWithItsGossipStream(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	net := testNetwork(t, time.Now().Add(-time.Hour), 0)
	digest := net.Schedule.Periods[0].Digest
	for name, tt := range map[string]struct {
		end     func(g *gossiper, s libp2pnet.Stream)
		outcome string
	}{
		"reset":  {func(_ *gossiper, s libp2pnet.Stream) { _ = s.Reset() }, event.OutcomeReset},
		"closed": {func(_ *gossiper, s libp2pnet.Stream) { _ = s.Close() }, event.OutcomeReset},
		"reopened": {func(g *gossiper, s libp2pnet.Stream) {
			_ = s.Close()
			g.gossip(s.Conn(), on(digest, 7, 8))
		}, event.OutcomeReset},
		"malformed": {func(_ *gossiper, s libp2pnet.Stream) { _, _ = s.Write([]byte{0xff, 0xff, 0xff, 0xff, 0x7f}) }, event.OutcomeProtocol},
		"goodbye": {func(g *gossiper, s libp2pnet.Stream) {
			_ = s.Close()
			if bye, err := g.NewStream(context.Background(), s.Conn().RemotePeer(), p2p.ProtoGoodbyeV1); err == nil {
				_, _ = bye.Write(p2p.EncodeRequest(eth2.MarshalUint64(1)))
				_ = bye.Close()
			}
		}, event.OutcomeGoodbye},
	} {
		t.Run(name, func(t *testing.T) {
			g := startGossiper(t, net, 3, 4)
			c := startCrawler(t, net, true, func(cfg *p2p.Config) { cfg.HelloTimeout = waitLong })
			c.finder.records <- *g.record(t, net)
			stream := <-g.streams
			for deadline := time.Now().Add(waitLong); c.Stats().Watching == 0; time.Sleep(time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal("it is not watched")
				}
			}
			died := time.Now()
			tt.end(g, stream)
			ended := c.visited(t)
			if ended.Outcome != tt.outcome || ended.Watch == nil {
				t.Fatalf("outcome %s, %s, watch %v", ended.Outcome, ended.Error, ended.Watch)
			}
			if !slices.Equal(ended.Watch.Initial, []int{3, 4}) || len(ended.Watch.Changes) != 0 {
				t.Errorf("watch %+v", ended.Watch)
			}
			latest := ended.Ended - goodbyeTime.Milliseconds() + 1
			if to := ended.Watch.To; to < died.UnixMilli()-1 || to > latest {
				t.Errorf("covers until %d ms after the stream, %d ms before the end", to-died.UnixMilli(), ended.Ended-to)
			}
			if tt.outcome == event.OutcomeReset && g.goodbyes.Load() != 1 {
				t.Error("the connection did not stand: no goodbye of ours came")
			}
			c.stop()
			checkValid(t, c.events)
		})
	}
}

// shortSlots is testNetwork with slots of 50 ms.
func shortSlots(t *testing.T) network.Network {
	net := testNetwork(t, time.Now().Add(-time.Hour), 0)
	net.Clock.SlotDuration = 50 * time.Millisecond
	return net
}

// A MetaData request that fails is made again, without another word of the peer.
func TestWatchRepeatsAFailedMetaDataRequest(t *testing.T) {
	net := shortSlots(t)
	g := startGossiper(t, net, 3)
	local := NewLocal(net)
	host := newHost(t, local, "valtrack/test", local.Inbound, func(cfg *p2p.Config) { cfg.HelloTimeout = waitLong })
	session, err := host.Dial(t.Context(), targetOf(g.record(t, net), true))
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	if _, err := session.Hello(t.Context()); err != nil {
		t.Fatal(err)
	}
	known, err := session.MetaData(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	next := known
	next.SeqNumber++
	var asked atomic.Int64
	g.SetStreamHandler(p2p.ProtoMetaDataV3, func(s libp2pnet.Stream) {
		defer s.Close()
		switch asked.Add(1) {
		case 1:
			_, _ = s.Write(p2p.EncodeResponse(p2p.CodeRateLimited, nil))
		case 2:
			_ = s.Reset()
		default:
			_, _ = s.Write(p2p.EncodeResponse(p2p.CodeSuccess, next.MarshalSSZ(3)))
		}
	})
	g.SetStreamHandler(p2p.ProtoPingV1, func(s libp2pnet.Stream) {
		defer s.Close()
		_, _ = s.Write(p2p.EncodeResponse(p2p.CodeSuccess, eth2.MarshalUint64(next.SeqNumber)))
	})
	f, now := forksOf(net), time.Now()
	w := &watch{
		forks: f, session: session, log: newSubnetLog(f, now), known: known,
		end: now.Add(waitLong), ping: now, asked: now,
	}
	current, stop := session.Follow(w.log.add)
	defer stop()
	w.log.begin(current)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.stay(ctx, func() {}) }()
	learned := func() []event.WatchMetaData {
		w.log.mu.Lock()
		defer w.log.mu.Unlock()
		for _, p := range w.log.parts {
			if len(p.metadata) > 0 {
				return p.metadata
			}
		}
		return slices.Clone(w.log.part.metadata)
	}
	for deadline := time.Now().Add(waitLong / 4); len(learned()) == 0 && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	if got := learned(); len(got) != 1 || got[0].SeqNumber != next.SeqNumber {
		t.Errorf("learned %+v after %d requests", got, asked.Load())
	}
	cancel()
	<-done
}

// What a peer that answers no more did since its last sign of life is not known.
func TestWatchEndsWhereThePeerFellSilent(t *testing.T) {
	net := shortSlots(t)
	g := startGossiper(t, net, 3)
	c := startCrawler(t, net, true, func(cfg *p2p.Config) {
		cfg.HelloTimeout, cfg.FirstByteTimeout = waitLong, time.Second
	})
	var silent atomic.Int64 // when the first ping of the watch came, Unix ms
	c.finder.records <- *g.record(t, net)
	<-g.streams
	for deadline := time.Now().Add(waitLong); c.Stats().Watching == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it is not watched")
		}
	}
	g.SetStreamHandler(p2p.ProtoPingV1, func(s libp2pnet.Stream) {
		silent.CompareAndSwap(0, time.Now().UnixMilli())
		_, _ = io.Copy(io.Discard, s)
		_, _ = s.Read(make([]byte, 1))
	})
	ended := c.visited(t)
	if ended.Watch == nil || silent.Load() == 0 {
		t.Fatalf("outcome %s, %s, watch %v", ended.Outcome, ended.Error, ended.Watch)
	}
	if ended.Watch.To >= silent.Load() || ended.Watch.To < ended.Watch.From {
		t.Errorf("covers until %d ms after the first unanswered ping", ended.Watch.To-silent.Load())
	}
	c.stop()
	checkValid(t, c.events)
}

// What a watch has seen of an epoch is published when the epoch ends, not with the visit.
func TestPartOfAWatchEachEpoch(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	net := shortSlots(t)
	g := startGossiper(t, net, 3)
	c := startCrawler(t, net, true, func(cfg *p2p.Config) { cfg.HelloTimeout = waitLong })
	c.finder.records <- *g.record(t, net)
	parts := func() []*event.VisitEnded {
		return slices.DeleteFunc(eventsOf[*event.VisitEnded](c.events), func(e *event.VisitEnded) bool { return !e.More })
	}
	c.events.waitFor(t, "two parts of a watch", func() bool { return len(parts()) >= 2 })
	c.stop() // or killed
	for i, e := range parts()[:2] {
		epoch := net.Clock.EpochAt(time.UnixMilli(e.Watch.To)) + 1
		if cut := estimate.EpochCut(net.Clock, epoch).UnixMilli(); e.Watch.To != cut || e.Part != i || e.Outcome != event.OutcomeOK {
			t.Errorf("part %d, outcome %s, covers until %d, the end of its epoch is at %d", e.Part, e.Outcome, e.Watch.To, cut)
		}
	}
	checkValid(t, c.events)
	if ended := c.visited(t); ended.Watch.From != parts()[0].Watch.From {
		t.Errorf("the parts are not one log: %+v", ended.Watch)
	}
}
