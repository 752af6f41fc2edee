package devnet

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/libp2p/go-libp2p/config"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/core/sec"
	basichost "github.com/libp2p/go-libp2p/p2p/host/basic"
	"github.com/libp2p/go-libp2p/p2p/host/eventbus"
	"github.com/libp2p/go-libp2p/p2p/host/peerstore/pstoremem"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	"github.com/libp2p/go-libp2p/p2p/net/upgrader"
	"github.com/libp2p/go-libp2p/p2p/protocol/identify"
	identifypb "github.com/libp2p/go-libp2p/p2p/protocol/identify/pb"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	libp2pquic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/libp2p/go-libp2p/p2p/transport/quicreuse"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"

	mplex "github.com/libp2p/go-libp2p-mplex"
	ma "github.com/multiformats/go-multiaddr"
	"google.golang.org/protobuf/proto"
)

const mplexID = "/mplex/6.7.0"

// host is a libp2p host put together from its parts: libp2p.New's dependency
// injection and default services cost several times the memory and start time,
// and a devnet has hundreds.
type host struct {
	*basichost.BasicHost
	quic   *quicreuse.ConnManager // nil without QUIC
	listen []ma.Multiaddr
}

// newHost makes a host with the plan's transports and muxers, and with noise as
// consensus clients want it, for the ports wished for. It does nothing before start.
func newHost(p *plan, wish ports) (_ *host, err error) {
	peers, err := pstoremem.NewPeerstore()
	if err != nil {
		return nil, err
	}
	if err := errors.Join(peers.AddPrivKey(p.peerID, p.libp2p), peers.AddPubKey(p.peerID, p.libp2p.GetPublic())); err != nil {
		return nil, errors.Join(err, peers.Close())
	}
	bus := eventbus.NewBus()
	sw, err := swarm.NewSwarm(p.peerID, peers, bus, swarm.WithResourceManager(&network.NullResourceManager{}))
	if err != nil {
		return nil, errors.Join(err, peers.Close())
	}
	h := &host{}
	defer func() {
		if err != nil {
			err = errors.Join(err, sw.Close(), h.closeQUIC(), peers.Close())
		}
	}()
	if h.listen, err = h.addTransports(sw, p, wish); err != nil {
		return nil, err
	}
	options := &basichost.HostOpts{EventBus: bus, UserAgent: p.agent, ProtocolVersion: "eth2/1.0.0"}
	if p.persona == HostileText {
		hostileOptions(options)
	}
	h.BasicHost, err = basichost.NewHost(sw, options)
	if err != nil {
		return nil, err
	}
	return h, nil
}

// start listens. Handlers must be set before, or
// the first peers would get a shorter list of protocols.
func (h *host) start() error {
	if err := h.Network().Listen(h.listen...); err != nil {
		return fmt.Errorf("listen on %v: %w", h.listen, err)
	}
	h.Start()
	return nil
}

// addTransports gives the addresses to listen on.
func (h *host) addTransports(sw *swarm.Swarm, p *plan, wish ports) ([]ma.Multiaddr, error) {
	var listen []ma.Multiaddr
	if p.quic {
		cm, err := newQUICManager(p.libp2p)
		if err != nil {
			return nil, err
		}
		h.quic = cm
		t, err := libp2pquic.NewTransport(p.libp2p, cm, nil, nil, nil)
		if err != nil {
			return nil, err
		}
		if err := sw.AddTransport(t); err != nil {
			return nil, err
		}
		listen = append(listen, ma.StringCast(fmt.Sprintf("%s/udp/%d/quic-v1", p.listenIP(), wish.quic)))
	}
	if !p.tcp {
		return listen, nil
	}
	muxers := p.streamMuxers()
	security, err := noise.New(noise.ID, p.libp2p, muxers)
	if err != nil {
		return nil, err
	}
	up, err := upgrader.New([]sec.SecureTransport{security}, muxers, nil, nil, nil)
	if err != nil {
		return nil, err
	}
	t, err := tcp.NewTCPTransport(up, nil, nil, tcp.DisableReuseport())
	if err != nil {
		return nil, err
	}
	if err := sw.AddTransport(t); err != nil {
		return nil, err
	}
	return append(listen, ma.StringCast(fmt.Sprintf("%s/tcp/%d", p.listenIP(), wish.tcp))), nil
}

// listenIP is the libp2p address as a multiaddr's beginning.
func (p *plan) listenIP() string {
	if p.v6 {
		return "/ip6/::1"
	}
	return "/ip4/" + p.addr.String()
}

func newQUICManager(key crypto.PrivKey) (*quicreuse.ConnManager, error) {
	reset, err := config.PrivKeyToStatelessResetKey(key)
	if err != nil {
		return nil, err
	}
	token, err := config.PrivKeyToTokenGeneratorKey(key)
	if err != nil {
		return nil, err
	}
	return quicreuse.NewConnManager(reset, token)
}

func (p *plan) streamMuxers() []upgrader.StreamMuxer {
	var out []upgrader.StreamMuxer
	if p.profile.yamux {
		out = append(out, upgrader.StreamMuxer{ID: yamux.ID, Muxer: yamux.DefaultTransport})
	}
	if p.profile.mplex {
		out = append(out, upgrader.StreamMuxer{ID: mplexID, Muxer: mplex.DefaultTransport})
	}
	return out
}

func (h *host) closeQUIC() error {
	if h.quic == nil {
		return nil
	}
	return h.quic.Close()
}

func (h *host) close() error { return errors.Join(h.Close(), h.closeQUIC()) }

// ports finds the ports the host listens on; 0 where it does not.
func (h *host) ports() (tcpPort, quicPort uint16) {
	for _, a := range h.Network().ListenAddresses() {
		if s, err := a.ValueForProtocol(ma.P_TCP); err == nil {
			tcpPort = parsePort(s)
		}
		if s, err := a.ValueForProtocol(ma.P_UDP); err == nil {
			quicPort = parsePort(s)
		}
	}
	return tcpPort, quicPort
}

func parsePort(s string) uint16 {
	a, err := netip.ParseAddrPort("0.0.0.0:" + s)
	if err != nil {
		return 0
	}
	return a.Port()
}

// connections has session called, in a goroutine of libp2p, for every connection
// made either way.
func (h *host) connections(opened func(network.Conn), closed func(network.Conn)) {
	h.Network().Notify(&network.NotifyBundle{
		ConnectedF:    func(_ network.Network, c network.Conn) { opened(c) },
		DisconnectedF: func(_ network.Network, c network.Conn) { closed(c) },
	})
}

// identifyWithoutAgent replaces identify's answer by one that has no agent and no
// protocol version.
func (h *host) identifyWithoutAgent() {
	h.SetStreamHandler(identify.ID, func(s network.Stream) {
		msg := &identifypb.Identify{Protocols: protocol.ConvertToStrings(h.Mux().Protocols())}
		for _, a := range h.Network().ListenAddresses() {
			msg.ListenAddrs = append(msg.ListenAddrs, a.Bytes())
		}
		body, err := proto.Marshal(msg)
		if err == nil {
			err = write(s, append(binary.AppendUvarint(nil, uint64(len(body))), body...))
		}
		if err != nil {
			_ = s.Reset()
			return
		}
		_ = s.Close()
	})
}

// handle registers a stream handler that gets ctx, which ends with the devnet.
func (h *host) handle(ctx context.Context, id protocol.ID, serve func(context.Context, network.Stream)) {
	h.SetStreamHandler(id, func(s network.Stream) { serve(ctx, s) })
}
