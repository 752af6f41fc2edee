package p2p

import (
	"context"
	"fmt"
	"net"
	"net/netip"

	mplex "github.com/libp2p/go-libp2p-mplex"
	"github.com/libp2p/go-libp2p/config"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/sec"
	"github.com/libp2p/go-libp2p/core/transport"
	"github.com/libp2p/go-libp2p/p2p/host/eventbus"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	"github.com/libp2p/go-libp2p/p2p/net/upgrader"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	libp2pquic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/libp2p/go-libp2p/p2p/transport/quicreuse"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	"github.com/quic-go/quic-go"

	"github.com/chainbound/valtrack/internal/udp"
)

// build assembles swarm and transports from their parts instead of through
// libp2p.New: what is not listed here does not run (relay, NAT mapping, autonat,
// hole punching, ping, metrics, address discovery, identify push, signed peer
// records).
func (h *Host) build(key crypto.PrivKey) error {
	id, err := peer.IDFromPrivateKey(key)
	if err != nil {
		return fmt.Errorf("peer id: %w", err)
	}
	if h.rcmgr, err = newResources(h.cfg.MaxConnections, h.cfg.MaxInbound); err != nil {
		return err
	}
	if h.peers, err = newDialBook(h, id, key); err != nil {
		return err
	}
	gater := &gater{host: h}
	h.swarm, err = swarm.NewSwarm(id, h.peers, eventbus.NewBus(),
		swarm.WithConnectionGater(gater),
		swarm.WithResourceManager(h.rcmgr),
		swarm.WithDialTimeout(h.cfg.dialTimeout),
		swarm.WithDialTimeoutLocal(h.cfg.dialTimeout),
		swarm.WithDialRanker(rankAddrs),
		// Most records of a crawl are dead: their failures must not stop QUIC or
		// IPv6 dials.
		swarm.WithUDPBlackHoleSuccessCounter(nil),
		swarm.WithIPv6BlackHoleSuccessCounter(nil),
	)
	if err != nil {
		return fmt.Errorf("libp2p swarm: %w", err)
	}
	return h.addTransports(key, gater)
}

func (h *Host) addTransports(key crypto.PrivKey, gater *gater) error {
	muxers := []upgrader.StreamMuxer{
		{ID: yamux.ID, Muxer: newYamux()},
		{ID: mplex.ID, Muxer: mplex.DefaultTransport}, // all that Teku and Lodestar speak over TCP
	}
	secure, err := noise.New(noise.ID, key, muxers)
	if err != nil {
		return fmt.Errorf("noise: %w", err)
	}
	up, err := upgrader.New([]sec.SecureTransport{secure}, muxers, nil, h.rcmgr, gater, upgrader.WithAcceptTimeout(acceptTimeout))
	if err != nil {
		return fmt.Errorf("libp2p upgrader: %w", err)
	}
	// A source port of its own for each dial: from the listening port a peer could
	// not be dialled again while the last connection is in TIME_WAIT.
	overTCP, err := tcp.NewTCPTransport(tcpUpgrader{up, h}, h.rcmgr, nil, tcp.DisableReuseport(), tcp.WithConnectionTimeout(min(tcpConnectTimeout, h.cfg.dialTimeout)))
	if err != nil {
		return fmt.Errorf("tcp transport: %w", err)
	}
	if err := h.addQUIC(key); err != nil {
		return err
	}
	overQUIC, err := libp2pquic.NewTransport(key, h.quic, nil, gater, h.rcmgr)
	if err != nil {
		return fmt.Errorf("quic transport: %w", err)
	}
	for _, t := range []transport.Transport{tcpDialer{overTCP, h}, quicDialer{overQUIC, h}} {
		if err := h.swarm.AddTransport(t); err != nil {
			return fmt.Errorf("libp2p transport: %w", err)
		}
	}
	return nil
}

// newYamux is go-libp2p's configuration with windows for what we read: requests of
// some bytes and gossip without a mesh.
func newYamux() *yamux.Transport {
	cfg := *yamux.DefaultTransport.Config()
	cfg.MaxStreamWindowSize = streamWindow
	cfg.AcceptBacklog = peerStreams
	return (*yamux.Transport)(&cfg)
}

// addQUIC shares one UDP socket an address family among listener and dials.
func (h *Host) addQUIC(key crypto.PrivKey) error {
	reset, err := config.PrivKeyToStatelessResetKey(key)
	if err != nil {
		return fmt.Errorf("quic reset key: %w", err)
	}
	token, err := config.PrivKeyToTokenGeneratorKey(key)
	if err != nil {
		return fmt.Errorf("quic token key: %w", err)
	}
	h.quic, err = quicreuse.NewConnManager(reset, token,
		quicreuse.OverrideListenUDP(func(network string, at *net.UDPAddr) (net.PacketConn, error) {
			return udp.Listen(network, at, quicReadBuffer, h.cfg.Log)
		}),
		quicreuse.OverrideSourceIPSelector(func() (quicreuse.SourceIPSelector, error) { return sources(h.cfg.Listen), nil }),
		quicreuse.ConnContext(func(ctx context.Context, client *quic.ClientInfo) (context.Context, error) {
			addr, err := quicreuse.ToQuicMultiaddr(client.RemoteAddr, quic.Version1)
			if err != nil {
				return ctx, fmt.Errorf("address of a QUIC client: %w", err)
			}
			scope, err := h.rcmgr.OpenConnection(network.DirInbound, false, addr)
			if err != nil {
				return ctx, err
			}
			ctx = network.WithConnManagementScope(ctx, scope)
			context.AfterFunc(ctx, scope.Done)
			return ctx, nil
		}),
		quicreuse.VerifySourceAddress(func(addr net.Addr) bool { return h.rcmgr.VerifySourceAddress(addr) }),
	)
	if err != nil {
		return fmt.Errorf("quic: %w", err)
	}
	tuneQUIC(h.quic.ClientConfig())
	return nil
}

// sources picks the listening socket for a QUIC dial. go-libp2p's own way reads the
// system's routes again for each dial when we listen on single addresses.
type sources []netip.Addr

// PreferredSourceIPForDestination implements quicreuse.SourceIPSelector. An
// unspecified address leaves the choice to the system.
func (s sources) PreferredSourceIPForDestination(dst *net.UDPAddr) (net.IP, error) {
	to := dst.AddrPort().Addr().Unmap()
	for _, ip := range s {
		if ip.Is4() == to.Is4() && ip.IsLoopback() == to.IsLoopback() {
			return ip.AsSlice(), nil
		}
	}
	if to.Is4() {
		return net.IPv4zero, nil
	}
	return net.IPv6unspecified, nil
}

// tuneQUIC changes go-libp2p's configuration of the connections that we dial,
// before the first one.
func tuneQUIC(cfg *quic.Config) {
	cfg.HandshakeIdleTimeout = quicIdleTimeout
	// No message of ours needs a larger packet than every path carries.
	cfg.DisablePathMTUDiscovery = true
	cfg.MaxStreamReceiveWindow = streamWindow
	cfg.MaxConnectionReceiveWindow = connWindow
	cfg.MaxIncomingStreams = peerStreams
}

// quicReadBuffer is a QUIC socket's receive buffer in bytes: some 3000 packets,
// which a thousand connections may send at once.
const quicReadBuffer = 4 << 20
