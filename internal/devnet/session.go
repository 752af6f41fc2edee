package devnet

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/multiformats/go-multistream"

	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/p2p"
)

// Times of the clients on 12 s slots (Prysm and Teku wait 10 s for a Status, most
// ping every 15 to 20 s). They shrink with the slot, but not below the floors,
// which keep a busy machine from looking like a rude peer.
const (
	statusTimeout      = 10 * time.Second
	statusTimeoutFloor = 3 * time.Second
	pingInterval       = 20 * time.Second
	pingIntervalFloor  = 5 * time.Second
	identifyTimeout    = 10 * time.Second
	// goodbyeGrace is how long a goodbye may take to arrive before the
	// connection is closed.
	goodbyeGrace = 500 * time.Millisecond
)

// session is one connection of one node, from connect to disconnect.
type session struct {
	node *node
	life *life
	conn network.Conn
	// contact is what is written down of it.
	contact *contact

	statusOnce sync.Once
	statusOK   chan struct{} // closed when the peer's Status is of our network

	endOnce sync.Once
	ended   chan uint64 // gets the goodbye code to leave with, 0 for none

	done chan struct{} // closed when the session is over
}

func newSession(l *life, c network.Conn) *session {
	return &session{node: l.node, life: l, conn: c, contact: l.node.contacts.begin(l.node, c), statusOK: make(chan struct{}), ended: make(chan uint64, 1), done: make(chan struct{})}
}

func peerAttr(c network.Conn) slog.Attr { return slog.String("peer", c.RemotePeer().String()) }

// end makes the session say goodbye with the code, 0 for none, and close. The
// first call counts.
func (s *session) end(code uint64) { s.endOnce.Do(func() { s.ended <- code }) }

// judge looks at a peer's Status as the node's client does.
func (s *session) judge(theirs eth2.Status, version int, now time.Time) {
	n := s.node
	slot := n.clock.SlotAt(now)
	period := n.wire.At(n.clock.EpochOf(slot))
	fulu := period.BlobParams != nil
	s.contact.status(SentStatus{At: now, Digest: theirs.ForkDigest, Want: n.record.At(n.clock.EpochOf(slot)).Digest})
	switch {
	case theirs.ForkDigest != period.Digest,
		theirs.HeadSlot > slot+1,
		version == 1 && fulu && n.profile.needsStatusV2 && n.persona != OldProtocols:
		s.end(eth2.GoodbyeIrrelevantNetwork)
	default:
		s.statusOnce.Do(func() { close(s.statusOK) })
	}
}

// run is the life of the session; it ends with the connection or with ctx.
func (s *session) run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	var tasks sync.WaitGroup
	defer tasks.Wait()
	defer cancel()
	defer close(s.done)
	defer s.conn.Close()

	if s.node.persona == Hang {
		<-ctx.Done()
		return
	}
	if !s.identified(ctx) {
		return
	}
	if s.node.persona == Goodbye {
		s.goodbye(ctx, eth2.GoodbyeTooManyPeers)
		return
	}
	tasks.Go(func() {
		if err := s.gossip(ctx); err != nil {
			s.node.log.Debug("gossip stream ended", peerAttr(s.conn), slog.Any("err", err))
		}
	})
	tasks.Go(func() { s.exchange(ctx) })
	if s.node.persona == HostileStreams {
		tasks.Go(func() { s.floodStreams(ctx) })
	}

	var noStatus <-chan time.Time
	if s.node.profile.needsStatus && s.conn.Stat().Direction == network.DirInbound {
		t := time.NewTimer(max(statusTimeoutFloor, s.node.clock.Scale(statusTimeout)))
		defer t.Stop()
		noStatus = t.C
	}
	status := s.statusOK
	for {
		select {
		case <-ctx.Done():
			return
		case <-status:
			noStatus, status = nil, nil
		case <-noStatus:
			s.goodbye(ctx, eth2.GoodbyeFault)
			return
		case code := <-s.ended:
			if code != 0 {
				s.goodbye(ctx, code)
			}
			return
		}
	}
}

// identified waits for libp2p's identify; false when the connection ended first.
func (s *session) identified(ctx context.Context) bool {
	t := time.NewTimer(identifyTimeout)
	defer t.Stop()
	select {
	case <-s.life.host.IDService().IdentifyWait(s.conn):
		return ctx.Err() == nil
	case <-t.C:
		return false
	case <-ctx.Done():
		return false
	}
}

// goodbye sends the reason and gives it a moment to arrive: closing at once would
// overtake it.
func (s *session) goodbye(ctx context.Context, code uint64) {
	s.node.log.Debug("leaving peer", peerAttr(s.conn), slog.Uint64("code", code))
	ctx, cancel := context.WithTimeout(ctx, goodbyeGrace)
	defer cancel()
	stream, err := s.open(ctx, p2p.ProtoGoodbyeV1)
	if err != nil {
		return
	}
	defer stream.Reset()
	_ = stream.SetDeadline(time.Now().Add(goodbyeGrace))
	if p2p.WriteAndHalfClose(stream, p2p.EncodeRequest(eth2.MarshalUint64(code))) == nil {
		// The peer's answer or the end of the stream says that it has been read.
		_, _ = p2p.ReadResponse(stream, eth2.Uint64Size)
	}
}

// exchange is what the node asks of its peer: Status when it is the dialer (and
// always when its profile sends one), then, once the peer's Status has come, MetaData, and a Ping
// now and then.
func (s *session) exchange(ctx context.Context) {
	if s.conn.Stat().Direction == network.DirOutbound || s.node.profile.sendsStatus {
		s.sendStatus(ctx)
	}
	select {
	case <-ctx.Done():
		return
	case <-s.statusOK:
	}
	if !s.requestOK(ctx, eth2.MetaDataV3Size, nil, p2p.ProtoMetaDataV3, p2p.ProtoMetaDataV2) {
		return
	}
	interval := max(pingIntervalFloor, s.node.clock.Scale(pingInterval))
	for {
		if !s.requestOK(ctx, eth2.Uint64Size, eth2.MarshalUint64(s.node.metaData().SeqNumber), p2p.ProtoPingV1) || !wait(ctx, interval) {
			return
		}
	}
}

func (s *session) sendStatus(ctx context.Context) {
	now := time.Now()
	version := 2
	b, err := s.request(ctx, eth2.StatusV2Size, func(id protocol.ID) []byte {
		if id == p2p.ProtoStatusV1 {
			version = 1
		}
		return s.node.status(now).MarshalSSZ(version)
	}, p2p.ProtoStatusV2, p2p.ProtoStatusV1)
	if err != nil {
		s.node.log.Debug("status failed", peerAttr(s.conn), slog.Any("err", err))
		return
	}
	var theirs eth2.Status
	if theirs.UnmarshalSSZ(b) == nil {
		s.judge(theirs, version, now)
	}
}

// requestOK makes a request of which only the failure matters: a peer that does not know
// the protocol is sent away by the clients that hold UnsupportedProtocol to be
// fatal. It gives false then.
func (s *session) requestOK(ctx context.Context, max int, body []byte, ids ...protocol.ID) bool {
	_, err := s.request(ctx, max, func(protocol.ID) []byte { return body }, ids...)
	if err == nil || ctx.Err() != nil {
		return true
	}
	s.node.log.Debug("request failed", peerAttr(s.conn), slog.String("protocol", string(ids[0])), slog.Any("err", err))
	var unsupported multistream.ErrNotSupported[protocol.ID]
	if s.node.profile.strictProtocols && errors.As(err, &unsupported) {
		s.end(eth2.GoodbyeFault)
		return false
	}
	return true
}
