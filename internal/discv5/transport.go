package discv5

import (
	"context"
	"crypto/ecdsa"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/ethereum/go-ethereum/p2p/enode"

	"github.com/chainbound/valtrack/internal/discv5/wire"
	"github.com/chainbound/valtrack/internal/eth2/enr"
	"github.com/chainbound/valtrack/internal/loglimit"
	"github.com/chainbound/valtrack/internal/prefix"
)

const (
	// contactQueue bounds the nodes that contacted us and that the crawl has not seen yet.
	contactQueue = 64
	// readErrorPause is the pause after an error of the socket that is not its end.
	readErrorPause = 100 * time.Millisecond
)

var errClosed = errors.New("the discv5 socket is closed")

// transport sends our requests, and answers those of others.
type transport struct {
	conn    filteredSockets
	local   *enode.LocalNode
	schemes *verified
	routing *routing
	log     *slog.Logger
	// allowPrivate: our own endpoint may be a private address.
	allowPrivate bool
	// contacts has the nodes that completed a handshake with us.
	contacts chan *enode.Node

	mu    sync.Mutex
	codec *wire.Codec
	// calls has the call of a node: there is one at a time, since a handshake is under
	// way during the first.
	calls   map[enode.ID]*call
	byNonce map[wire.Nonce]*call // by the last packet of each

	closed chan struct{}
	reader sync.WaitGroup
}

// newTransport starts to answer. It closes the connection.
func newTransport(conn filteredSockets, local *enode.LocalNode, key *ecdsa.PrivateKey, schemes *verified, log *slog.Logger) *transport {
	t := &transport{
		conn: conn, local: local, schemes: schemes, routing: newRouting(local.ID()), log: log,
		contacts: make(chan *enode.Node, contactQueue),
		codec:    wire.NewCodec(local, key, schemes),
		calls:    make(map[enode.ID]*call), byNonce: make(map[wire.Nonce]*call),
		closed: make(chan struct{}),
	}
	t.reader.Go(t.read)
	return t
}

// close ends all calls and closes the connection. It is called once.
func (t *transport) close() error {
	close(t.closed)
	err := t.conn.Close()
	t.reader.Wait()
	return err
}

func (t *transport) read() {
	buf := make([]byte, wire.MaxPacket+1) // one more, to recognise packets that are too large
	limit := loglimit.Every(time.Minute)
	for {
		n, from, err := t.conn.ReadFromUDPAddrPort(buf)
		switch {
		case err == nil:
			t.handle(buf[:n], netip.AddrPortFrom(from.Addr().Unmap(), from.Port()))
		case errors.Is(err, net.ErrClosed):
			return
		default:
			if limit.Allow() {
				t.log.Warn("discv5 socket", slog.Any("error", err))
			}
			select {
			case <-time.After(readErrorPause):
			case <-t.closed:
				return
			}
		}
	}
}

// handle reads a packet from anybody. What is not a valid packet is dropped: whoever
// sent it need not be who it claims to be.
func (t *transport) handle(packet []byte, from netip.AddrPort) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p, err := t.codec.Decode(packet, from)
	if err != nil {
		return
	}
	if p.Node != nil {
		select {
		case t.contacts <- p.Node:
		default: // the crawl is busy; others will report it
		}
	}
	peer := wire.Peer{ID: p.From, Addr: from}
	switch m := p.Message.(type) {
	case nil:
		if p.Whoareyou != nil {
			t.repeat(p.Whoareyou, from)
			return
		}
		t.write(t.codec.EncodeWhoareyou(peer, p.Nonce, t.routing.get(p.From)), from)
	case *wire.Ping:
		t.send(peer, &wire.Pong{ReqID: m.ReqID, ENRSeq: t.local.Node().Seq(), ToIP: from.Addr().AsSlice(), ToPort: from.Port()})
	case *wire.Findnode:
		for _, nodes := range t.answer(m, from.Addr()) {
			t.send(peer, nodes)
		}
	case *wire.TalkRequest:
		t.send(peer, &wire.TalkResponse{ReqID: m.ReqID}) // no protocol is known
	default:
		t.deliver(peer, m)
	}
}

// send sends a response. mu is held.
func (t *transport) send(to wire.Peer, m wire.Message) {
	if packet, _, err := t.codec.Encode(to, m); err == nil {
		t.write(packet, to.Addr)
	}
}

// write sends a packet. An error is the same to us as a packet that is lost.
func (t *transport) write(packet []byte, to netip.AddrPort) {
	_, _ = t.conn.WriteToUDPAddrPort(packet, to)
}

// findnode asks for the nodes at some distances. The answer has what came before an
// error; its error is that of the context, errClosed or errNoResponse.
func (t *transport) findnode(ctx context.Context, n *enode.Node, distances []uint) (answer, error) {
	a := answer{from: n.ID(), distances: distances, schemes: t.schemes}
	id := newRequestID()
	c, err := t.begin(ctx, n, &wire.Findnode{ReqID: id, Distances: distances})
	if err != nil {
		return a, err
	}
	defer t.end(c)
	a.addr = c.to.Addr()
	err = c.wait(ctx, t.closed, func(m wire.Message) bool {
		nodes, ok := m.(*wire.Nodes)
		return ok && a.add(nodes)
	})
	return a, err
}

// ping asks whether a node is alive, and notes where it sees us.
func (t *transport) ping(ctx context.Context, n *enode.Node) error {
	c, err := t.begin(ctx, n, &wire.Ping{ReqID: newRequestID(), ENRSeq: t.local.Node().Seq()})
	if err != nil {
		return err
	}
	defer t.end(c)
	return c.wait(ctx, t.closed, func(m wire.Message) bool {
		pong, ok := m.(*wire.Pong)
		if !ok {
			return false
		}
		if at, ok := pong.Endpoint(); ok {
			t.noteEndpoint(c.to.Addr(), at)
		}
		return true
	})
}

// noteEndpoint counts a node's statement about our endpoint. go-ethereum puts the one that
// most hosts agree on, ten at least, into our record. Addresses are cheap within a network, so
// all hosts of a /24 or /48 count as one. Over IPv6 nobody sees our IPv4 address, nor the
// reverse, and nobody at all sees one that may not be contacted: such statements are ignored.
func (t *transport) noteEndpoint(from netip.Addr, at netip.AddrPort) {
	if !sameFamily(from, at.Addr()) || !enr.MayContact(at.Addr().Unmap(), t.allowPrivate) {
		return
	}
	t.local.UDPEndpointStatement(netip.AddrPortFrom(voterOf(from), 0), at)
}

func sameFamily(a, b netip.Addr) bool { return a.Unmap().Is4() == b.Unmap().Is4() }

// voterOf is the first address of a host's network, or the host's own in a private one,
// where neighbours are not one party.
func voterOf(host netip.Addr) netip.Addr {
	host = prefix.Unwrap(host)
	if prefix.Of(host).Net == 0 {
		return host
	}
	bits := 48
	if host.Is4() {
		bits = 24
	}
	return netip.PrefixFrom(host, bits).Masked().Addr()
}
