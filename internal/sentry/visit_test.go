package sentry

import (
	"context"
	"crypto/rand"
	"errors"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	libp2pnet "github.com/libp2p/go-libp2p/core/network"
	"github.com/quic-go/quic-go"

	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/eth2/enr"
	"github.com/chainbound/valtrack/internal/eth2/network"
	"github.com/chainbound/valtrack/internal/event"
	"github.com/chainbound/valtrack/internal/p2p"
	"github.com/chainbound/valtrack/internal/printable"
)

func loopback() netip.Addr { return netip.MustParseAddr("127.0.0.1") }

// remoteLocal is what a remote node says of itself.
type remoteLocal struct {
	status   eth2.Status
	metadata eth2.MetaData
}

func (r remoteLocal) Status() eth2.Status     { return r.status }
func (r remoteLocal) MetaData() eth2.MetaData { return r.metadata }

func healthyRemote(net network.Network) remoteLocal {
	sync, cgc, earliest := eth2.Syncnets(2), uint64(60), eth2.Slot(77)
	return remoteLocal{
		status: eth2.Status{
			ForkDigest: net.Schedule.Periods[0].Digest, HeadSlot: 1000, FinalizedEpoch: 29,
			HeadRoot: eth2.Root{1}, FinalizedRoot: eth2.Root{2}, EarliestAvailableSlot: &earliest,
		},
		metadata: eth2.MetaData{SeqNumber: 5, Attnets: eth2.NewAttnets([]int{0, 63}), Syncnets: &sync, CustodyGroupCount: &cgc},
	}
}

func newHost(t testing.TB, local p2p.Local, agent string, inbound func(context.Context, *p2p.Session), changes ...func(*p2p.Config)) *p2p.Host {
	t.Helper()
	cfg := p2p.Config{
		Key: newKey(), Listen: []netip.Addr{loopback()}, Agent: agent, AllowPrivate: true,
		Local: local, Inbound: inbound,
		HelloTimeout: 50 * time.Millisecond, // these peers send none
	}
	for _, change := range changes {
		change(&cfg)
	}
	h, err := p2p.NewHost(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

// stay holds the remote side of a connection open until it ends.
func stay(ctx context.Context, session *p2p.Session) {
	select {
	case <-session.Done():
	case <-ctx.Done():
	}
}

func recordOf(net network.Network, h *p2p.Host) *enr.Record {
	return testRecordAt(net.Schedule.Periods[0].Digest, h.PeerID(), 1, h.TCPPort(), h.QUICPort())
}

// crawler is a sentry on loopback with its own host.
type crawler struct {
	*Sentry
	host   *p2p.Host
	finder *testFinder
	events *published
	stop   func() // ends Run and waits for it
}

func startCrawler(t testing.TB, net network.Network, allowPrivate bool, changes ...func(*p2p.Config)) *crawler {
	t.Helper()
	local := NewLocal(net)
	c := &crawler{
		host:   newHost(t, local, "valtrack/test", local.Inbound, changes...),
		finder: newTestFinder(), events: newPublished(),
	}
	cfg := Config{CrawlerID: "crawler", CrawlerLocation: "here", EarlierBootEnds: []string{"sentry-1-2"}, AllowPrivate: allowPrivate}
	c.Sentry = New(cfg, local, c.host, c.finder, c.events, discardLog())
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	stopped := false
	c.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
	t.Cleanup(c.stop)
	return c
}

// visited is the end of the first visit, with the whole log of its watch.
func (c *crawler) visited(t testing.TB) *event.VisitEnded {
	t.Helper()
	var parts []*event.Watch
	for {
		n := len(eventsOf[*event.VisitEnded](c.events))
		for _, e := range eventsOf[*event.VisitEnded](c.events) {
			if e.Watch != nil {
				parts = append(parts, e.Watch)
			}
			if e.More {
				continue
			}
			if e.Watch != nil {
				e.Watch = joinParts(t, parts)
			}
			return e
		}
		parts = nil
		c.events.waitFor(t, "the end of a visit", func() bool { return len(eventsOf[*event.VisitEnded](c.events)) > n })
	}
}

func (c *crawler) handshakes() []*event.MetadataReceived {
	return eventsOf[*event.MetadataReceived](c.events)
}

func checkValid(t testing.TB, events *published) {
	t.Helper()
	events.mu.Lock()
	defer events.mu.Unlock()
	for _, e := range events.events {
		b, err := event.Encode(e)
		if err == nil {
			_, err = event.Decode(e.Subject(), b)
		}
		if err != nil {
			t.Errorf("event %s: %v", b, err)
		}
	}
}

func TestVisitOfAHealthyPeer(t *testing.T) {
	net := testNetwork(t, time.Now().Add(-1000*12*time.Second), 0)
	net.GenesisValidatorsRoot = eth2.Root{1, 31: 2}
	remote := healthyRemote(net)
	h := newHost(t, remote, "Lighthouse/v8.1.0", stay)
	c := startCrawler(t, net, true)
	record := recordOf(net, h)
	c.finder.records <- *record
	ended := c.visited(t)
	got := c.handshakes()
	if len(got) != 1 || ended.HandshakeMS == nil {
		t.Fatalf("%d metadata_received events, visit ended %+v", len(got), ended)
	}
	nodeID, err := enr.NodeIDFromPeerID(h.PeerID())
	if err != nil {
		t.Fatal(err)
	}
	want := &event.MetadataReceived{
		Common: event.Common{Network: "testnet", CrawlerID: "crawler", CrawlerLocation: "here", Timestamp: got[0].Timestamp, GenesisValidatorsRoot: net.GenesisValidatorsRoot},
		ENR:    record.Raw, ID: h.PeerID(), NodeID: &nodeID,
		Multiaddr: multiaddr(netip.AddrPortFrom(loopback(), h.QUICPort()), "/udp/", "/quic-v1"),
		Epoch:     31,
		MetaData: &event.MetaData{
			SeqNumber: 5, Attnets: remote.metadata.Attnets, Syncnets: remote.metadata.Syncnets, CustodyGroupCount: remote.metadata.CustodyGroupCount,
		},
		ClientVersion: "Lighthouse/v8.1.0", VisitID: ended.VisitID, Direction: event.Outbound, Transport: event.QUIC,
		ForkDigest: remote.status.ForkDigest, HeadSlot: 1000, FinalizedEpoch: 29, EarliestAvailableSlot: remote.status.EarliestAvailableSlot,
	}
	if diff := cmp.Diff(want, got[0]); diff != "" {
		t.Errorf("metadata_received (-want +got):\n%s", diff)
	}
	wantEnd := &event.VisitEnded{
		Common: want.Common, VisitID: ended.VisitID, ID: want.ID, Multiaddr: want.Multiaddr, Direction: want.Direction, Transport: want.Transport,
		Started: ended.Started, Ended: ended.Ended, Outcome: event.OutcomeOK, ClientVersion: want.ClientVersion, HandshakeMS: ended.HandshakeMS,
		EarlierBootEnd: "sentry-1-2",
	}
	wantEnd.Timestamp = ended.Timestamp
	if diff := cmp.Diff(wantEnd, ended); diff != "" {
		t.Errorf("visit_ended (-want +got):\n%s", diff)
	}
	// A field that the sentry does not fill is zero in both, which is right for these alone.
	checkFilled(t, want, "ClockSkewMS", "CrawlerVersion", "SubscribedSubnets", "ColumnSubnets", "SyncSubnets")
	checkFilled(t, wantEnd, "ClockSkewMS", "CrawlerVersion", "Part", "More", "Error", "GoodbyeCode", "Watch")
	discovered := eventsOf[*event.PeerDiscovered](c.events)
	if len(discovered) != 1 || discovered[0].ID != h.PeerID() || discovered[0].Seq != 1 {
		t.Errorf("peer_discovered: %+v", discovered)
	}
	c.stop()
	checkValid(t, c.events)
	if s := c.Stats(); s.Dialled != 1 || s.Connected != 1 || s.Handshaked != 1 || s.Reachable != 1 || s.Outcomes[event.OutcomeOK] != 1 || s.Live != 0 || s.Lost != 0 {
		t.Errorf("stats %+v", s)
	}
}

// checkFilled: each field of an event is set, but for some.
func checkFilled(t *testing.T, e event.Event, zero ...string) {
	t.Helper()
	v := reflect.ValueOf(e).Elem()
	for _, f := range reflect.VisibleFields(v.Type()) {
		if !f.Anonymous && v.FieldByIndex(f.Index).IsZero() && !slices.Contains(zero, f.Name) {
			t.Errorf("%s: the sentry does not fill %s", e.Subject(), f.Name)
		}
	}
}

// A peer whose agent is not known, as identify broke off, is told from one that sends none.
func TestVisitTellsAnUnknownAgentFromAnEmptyOne(t *testing.T) {
	net := testNetwork(t, time.Now().Add(-time.Hour), 0)
	for want, messages := range map[string][]byte{
		"":                {0},       // one message, with nothing in it
		"agent not known": {0, 9, 1}, // and another one that is cut
	} {
		g := startGossiper(t, net)
		g.SetStreamHandler("/ipfs/id/1.0.0", func(s libp2pnet.Stream) {
			_, _ = s.Write(messages)
			_ = s.Close()
		})
		c := startCrawler(t, net, true)
		c.finder.records <- *g.record(t, net)
		ended := c.visited(t)
		if ended.Outcome != event.OutcomeOK || ended.ClientVersion != "" || !strings.HasPrefix(ended.Error, want) || (want == "") != (ended.Error == "") {
			t.Errorf("messages %x: outcome %s, agent %q, error %q: want %q", messages, ended.Outcome, ended.ClientVersion, ended.Error, want)
		}
		c.stop()
		checkValid(t, c.events)
	}
}

func TestOutcomes(t *testing.T) {
	net := testNetwork(t, time.Now().Add(-time.Hour), 0)
	goodbye := func(code uint64) func(context.Context, *p2p.Session) {
		return func(ctx context.Context, session *p2p.Session) { session.Goodbye(ctx, code) }
	}
	wrong := healthyRemote(net)
	wrong.status.ForkDigest = eth2.ForkDigest{0xff}
	tests := []struct {
		name    string
		remote  remoteLocal
		inbound func(context.Context, *p2p.Session)
		want    string
		code    uint64
	}{
		{"wrong digest", wrong, stay, event.OutcomeWrongNetwork, 0},
		{"goodbye at once", healthyRemote(net), goodbye(129), event.OutcomeGoodbye, 129},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := newHost(t, tt.remote, "test", tt.inbound)
			c := startCrawler(t, net, true)
			c.finder.records <- *recordOf(net, h)
			ended := c.visited(t)
			if ended.Outcome != tt.want || ended.Error == "" {
				t.Errorf("outcome %s, error %q, want %s", ended.Outcome, ended.Error, tt.want)
			}
			if tt.code != 0 && (ended.GoodbyeCode == nil || *ended.GoodbyeCode != tt.code) {
				t.Errorf("goodbye code %v, want %d", ended.GoodbyeCode, tt.code)
			}
			if tt.want == event.OutcomeWrongNetwork && len(c.handshakes()) != 0 {
				t.Error("metadata of a peer on another network was published")
			}
			c.stop()
			checkValid(t, c.events)
		})
	}
}

func TestUnreachablePeersAreVisitsToo(t *testing.T) {
	network := testNetwork(t, time.Now().Add(-time.Hour), 0)
	closed, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := closed.Addr().(*net.TCPAddr).AddrPort().Port()
	closed.Close()
	gone := newHost(t, healthyRemote(network), "gone", stay)
	r := testRecordAt(network.Schedule.Periods[0].Digest, gone.PeerID(), 1, port, 0)
	c := startCrawler(t, network, true)
	c.finder.records <- *r
	ended := c.visited(t)
	if ended.Outcome != event.OutcomeRefused || ended.Error == "" || ended.Transport != "" || ended.HandshakeMS != nil {
		t.Errorf("visit ended: %+v", ended)
	}
	c.stop()
	checkValid(t, c.events)
	if s := c.Stats(); s.Connected != 0 || s.Reachable != 0 || s.Table != 1 {
		t.Errorf("stats %+v", s)
	}
}

// remoteLocal that blocks our Status request until released.
type slowLocal struct {
	remoteLocal
	asked   chan struct{}
	release chan struct{}
}

func (s slowLocal) Status() eth2.Status {
	select {
	case s.asked <- struct{}{}:
	default:
	}
	<-s.release
	return s.status
}

func TestStopDuringAVisitPublishesIt(t *testing.T) {
	net := testNetwork(t, time.Now().Add(-time.Hour), 0)
	slow := slowLocal{healthyRemote(net), make(chan struct{}, 1), make(chan struct{})}
	h := newHost(t, slow, "slow", stay)
	t.Cleanup(func() { close(slow.release) }) // before the host closes
	c := startCrawler(t, net, true)
	c.finder.records <- *recordOf(net, h)
	<-slow.asked
	c.stop()
	ended := eventsOf[*event.VisitEnded](c.events)
	if len(ended) != 1 || ended[0].Outcome != event.OutcomeCanceled {
		t.Fatalf("visits: %+v", ended)
	}
	checkValid(t, c.events)
}

func TestStopWhileWaitingForTheHelloPublishesTheHandshake(t *testing.T) {
	net := testNetwork(t, time.Now().Add(-time.Hour), 0)
	h := newHost(t, healthyRemote(net), "remote", stay)
	c := startCrawler(t, net, true, func(cfg *p2p.Config) { cfg.HelloTimeout = time.Hour })
	c.finder.records <- *recordOf(net, h)
	for deadline := time.Now().Add(waitLong); c.Stats().Handshaked == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("no handshake")
		}
	}
	c.stop()
	if got := c.handshakes(); len(got) != 1 || got[0].SubscribedSubnets != nil {
		t.Errorf("metadata_received: %+v", got)
	}
	if ended := c.visited(t); ended.Outcome != event.OutcomeCanceled || ended.HandshakeMS == nil {
		t.Errorf("visit ended: %+v", ended)
	}
	checkValid(t, c.events)
}

// call dials the crawler from h over TCP.
func call(t testing.TB, h *p2p.Host, c *crawler) *p2p.Session {
	t.Helper()
	session, err := h.Dial(t.Context(), p2p.Target{
		PeerID: c.host.PeerID(), TCP: []netip.AddrPort{netip.AddrPortFrom(loopback(), c.host.TCPPort())},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { session.Close() })
	return session
}

func TestInboundPeerIsAVisit(t *testing.T) {
	net := testNetwork(t, time.Now().Add(-time.Hour), 0)
	h := newHost(t, healthyRemote(net), "Nimbus", stay)
	c := startCrawler(t, net, true)
	session := call(t, h, c)
	c.visited(t)
	if len(c.handshakes()) != 1 {
		t.Fatalf("%d handshakes", len(c.handshakes()))
	}
	got := c.handshakes()[0]
	if got.Direction != event.Inbound || got.Transport != event.TCP || got.ClientVersion != "Nimbus" {
		t.Errorf("%+v", got)
	}
	if got.NodeID == nil || got.ENR != "" || got.Multiaddr != "/ip4/127.0.0.1" {
		t.Errorf("node id %v, enr %q, multiaddr %q: want the node id, and no port that leads nowhere", got.NodeID, got.ENR, got.Multiaddr)
	}
	<-session.Done()
	if code, ok := session.RemoteGoodbye(); !ok || code != eth2.GoodbyeTooManyPeers {
		t.Errorf("our goodbye: %d, %v", code, ok)
	}
	// Back at once: it may stay, and is not visited again.
	again := call(t, h, c)
	for deadline := time.Now().Add(waitLong); c.Stats().Guests == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it is not let stay")
		}
	}
	if _, err := again.Ping(t.Context()); err != nil {
		t.Errorf("a guest gets no answer: %v", err)
	}
	c.stop()
	<-again.Done()
	if code, ok := again.RemoteGoodbye(); !ok || code != eth2.GoodbyeTooManyPeers {
		t.Errorf("our goodbye to a guest: %d, %v", code, ok)
	}
	if n := len(eventsOf[*event.VisitEnded](c.events)); n != 1 {
		t.Errorf("%d visits", n)
	}
	if s := c.Stats(); s.Inbound != 1 || s.Guests != 1 || s.Refused != 0 {
		t.Errorf("stats %+v", s)
	}
	checkValid(t, c.events)
}

func TestInboundPeerWithARecordHasItsAddress(t *testing.T) {
	net := testNetwork(t, time.Now().Add(-time.Hour), 0)
	h := newHost(t, healthyRemote(net), "Nimbus", stay)
	c := startCrawler(t, net, false) // so that we do not dial it first
	r := recordOf(net, h)
	c.finder.records <- *r
	c.events.waitFor(t, "the record", func() bool { return len(eventsOf[*event.PeerDiscovered](c.events)) > 0 })
	call(t, h, c)
	c.visited(t)
	if len(c.handshakes()) != 1 {
		t.Fatalf("%d handshakes", len(c.handshakes()))
	}
	want := multiaddr(netip.AddrPortFrom(loopback(), h.TCPPort()), "/tcp/", "")
	if got := c.handshakes()[0]; got.ENR != r.Raw || got.Multiaddr != want {
		t.Errorf("enr %q, multiaddr %q, want %q", got.ENR, got.Multiaddr, want)
	}
}

func TestFailingPublisherLosesNoVisits(t *testing.T) {
	net := testNetwork(t, time.Now().Add(-time.Hour), 0)
	h := newHost(t, healthyRemote(net), "remote", stay)
	local := NewLocal(net)
	host := newHost(t, local, "valtrack/test", local.Inbound)
	s := New(Config{CrawlerID: "c", AllowPrivate: true}, local, host, newTestFinder(), failing{}, discardLog())
	got := s.visitPeer(t.Context(), t.Context(), targetOf(recordOf(net, h), true), recordOf(net, h), visitTimeout, func(context.Context, handshakeSummary) bool { return false })
	if got.outcome != event.OutcomeOK || s.Stats().Lost != 2 {
		t.Errorf("result %+v, lost %d, want 2", got, s.Stats().Lost)
	}
}

type failing struct{}

func (failing) Publish(context.Context, event.Event) error { return errors.New("disk full") }

func TestHelloIsFiltered(t *testing.T) {
	now := genesis.Add(time.Hour)
	net := testNetwork(t, genesis, 0)
	s := newSentry(Config{}, NewLocal(net), nil, nil, nil, discardLog())
	digest := strings.TrimPrefix(net.Schedule.Periods[0].Digest.String(), "0x")
	topic := func(digest, name string) string { return "/eth2/" + digest + "/" + name + "/ssz_snappy" }
	v := &visit{
		helloCame: true, peerID: "no secp256k1 key", status: &eth2.Status{}, metadata: &eth2.MetaData{},
		hello: []p2p.Subscription{
			{Subscribe: true, Topic: topic(digest, "beacon_attestation_63")},
			{Subscribe: true, Topic: topic(digest, "beacon_attestation_0")},
			{Subscribe: true, Topic: topic(digest, "beacon_attestation_0")},
			{Subscribe: true, Topic: topic(digest, "beacon_attestation_7")},
			{Subscribe: false, Topic: topic(digest, "beacon_attestation_7")},
			{Subscribe: true, Topic: topic(digest, "beacon_attestation_64")},
			{Subscribe: true, Topic: topic(digest, "beacon_attestation_9999")},
			{Subscribe: true, Topic: topic("deadbeef", "beacon_attestation_5")},
			{Subscribe: true, Topic: "beacon_attestation"},
			{Subscribe: true, Topic: ""},
			{Subscribe: true, Topic: topic(digest, "sync_committee_2")},
			{Subscribe: true, Topic: topic(digest, "data_column_sidecar_127")},
			{Subscribe: true, Topic: topic(digest, "data_column_sidecar_0")},
			{Subscribe: true, Topic: topic(digest, "beacon_block")},
		},
	}
	e := s.metadataReceived(v, now)
	if diff := cmp.Diff([]int{0, 63}, e.SubscribedSubnets); diff != "" {
		t.Errorf("subscribed_subnets (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]int{2}, e.SyncSubnets); diff != "" {
		t.Errorf("sync_subnets (-want +got):\n%s", diff)
	}
	if e.ColumnSubnets == nil || *e.ColumnSubnets != 2 || e.NodeID != nil {
		t.Errorf("column_subnets %v, node_id %v", e.ColumnSubnets, e.NodeID)
	}
	v.hello = nil // a hello that names nothing
	if e := s.metadataReceived(v, now); e.SubscribedSubnets == nil || len(e.SubscribedSubnets) != 0 {
		t.Errorf("an empty hello gave %v", e.SubscribedSubnets)
	}
	v.helloCame = false
	if e := s.metadataReceived(v, now); e.SubscribedSubnets != nil || e.SyncSubnets != nil || e.ColumnSubnets != nil {
		t.Errorf("no hello gave %v, %v, %v", e.SubscribedSubnets, e.SyncSubnets, e.ColumnSubnets)
	}
}

// A peer that closes a connection may give a reason, which is in the visit's error.
func TestErrorsOfVisitsArePrintable(t *testing.T) {
	s := newSentry(Config{}, NewLocal(testNetwork(t, genesis, 0)), nil, nil, nil, discardLog())
	e := s.visitEnded(&visit{err: &quic.ApplicationError{Remote: true, ErrorMessage: "\x1b[2Jgone\nlevel=ERROR \u202eforged"}, agent: "a\x1bb"})
	if !strings.HasSuffix(e.Error, "[2Jgone level=ERROR forged") || e.ClientVersion != "ab" || !printable.Is(e.Error) {
		t.Errorf("error %q, agent %q", e.Error, e.ClientVersion)
	}
}

func TestShorten(t *testing.T) {
	for _, in := range []string{"", "plain", strings.Repeat("é", 300), strings.Repeat("\xff", 300), "a\xffb", rand.Text()} {
		got := shorten(in, 255)
		if len(got) > 255 || !utf8.ValidString(got) {
			t.Errorf("shorten(%.20q...) = %d bytes, valid %v", in, len(got), utf8.ValidString(got))
		}
		if utf8.ValidString(in) && len(in) <= 255 && got != in {
			t.Errorf("shorten(%q) = %q", in, got)
		}
	}
}

// The cause of a dial that failed is in what an event keeps of its error.
func TestErrorsOfDialsKeepTheirCause(t *testing.T) {
	const id, cause = "16Uiu2HAmVUMcqvGPiVuwYdhuVB9yTwpYWMzkFTbmPnmjUHDzgMrE", "dial tcp6 [2001:db8:1111:2222:3333:4444:5555:6666]:49152: connect: connection refused"
	text := "dial " + id + ": failed to dial " + id + ": all dials failed\n  * [/ip6/2001:db8:1111:2222:3333:4444:5555:6666/tcp/49152] " + cause
	if got := shorten(withoutID(text, id), maxError); !strings.HasSuffix(got, cause) || strings.Contains(got, id) {
		t.Errorf("%q", got)
	}
}
