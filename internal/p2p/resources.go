package p2p

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	rcmgr "github.com/libp2p/go-libp2p/p2p/host/resource-manager"
	connrate "github.com/libp2p/go-libp2p/x/rate"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/chainbound/valtrack/internal/prefix"
)

// Limits of the resource manager. Streams and memory are a peer's: a yamux stream
// reserves its 256 KiB window, and clients hold a handful of streams.
const (
	peerStreams  = 64
	peerInbound  = 48        // of these, so that a peer's streams leave room for ours
	streamWindow = 256 << 10 // bytes that a peer may have sent and we not read
	connWindow   = 1 << 20
	peerConns    = 8        // four addresses dialled at once, and as many inbound
	peerMemory   = 20 << 20 // a window for each stream, and some that have grown
	connMemory   = 2 << 20  // what a connection may reserve on average
	spareConns   = 512      // in handshake, or about to be refused
)

// acceptTimeout bounds the handshake of an inbound TCP connection. QUIC has the same.
const acceptTimeout = 5 * time.Second

// Inbound connections of one group of addresses: inboundBudget at one time, which binds
// while less than half of the places are free, and inboundRate of new ones per
// inboundPeriod.
const inboundPeriod = 128 * time.Second

var (
	inboundBudget = prefix.Budget{Host: 8, Net: 16}
	inboundRate   = prefix.Budget{Host: 256, Net: 512}
)

// ErrShortage means that we were short of something, such as connections, file descriptors
// or memory. It says nothing about the peer.
var ErrShortage = errors.New("short of resources of our own")

// isShortage reports whether an error, or that of any address of a dial, is a shortage of
// ours.
func isShortage(err error) bool {
	return isAny(err, ErrShortage, ErrTooManyConnections, network.ErrResourceLimitExceeded,
		syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM)
}

// asShortage makes an error that is one an ErrShortage too.
func asShortage(err error) error {
	if err != nil && isShortage(err) && !errors.Is(err, ErrShortage) {
		return fmt.Errorf("%w: %w", ErrShortage, err)
	}
	return err
}

// resources bounds what peers can make us hold. The sessions themselves are counted in
// admit; these limits are for what comes before and inside them. Inbound and outbound
// connections have limits of their own: however many there are of one kind, they leave room
// for the other. The inbound ones are shared by groups of addresses.
type resources struct {
	network.ResourceManager
	max int // inbound connections, those in their handshake included

	mu      sync.Mutex // guards what follows
	inbound int
	groups  prefix.Counter
	rate    prefix.Rate
	tidied  time.Time
}

func newResources(maxConnections, maxInbound int) (*resources, error) {
	outbound, inbound := rcmgr.LimitVal(2*maxConnections+spareConns), rcmgr.LimitVal(maxInbound)
	all := inbound + outbound
	conns := rcmgr.ResourceLimits{
		Conns: all, ConnsInbound: inbound, ConnsOutbound: outbound, FD: all,
		Memory: rcmgr.LimitVal64(all) * connMemory,
	}
	system, transient := conns, conns
	system.Streams, system.StreamsInbound, system.StreamsOutbound = rcmgr.Unlimited, rcmgr.Unlimited, rcmgr.Unlimited
	// Peers open streams on the connections that we dialled, too: several at once, as soon
	// as a connection is there.
	streams := all * peerInbound
	transient.Streams, transient.StreamsInbound, transient.StreamsOutbound = 2*streams, streams, streams
	partial := rcmgr.PartialLimitConfig{
		System: system, Transient: transient,
		PeerDefault: rcmgr.ResourceLimits{
			Conns: peerConns, ConnsInbound: peerConns, ConnsOutbound: peerConns, FD: peerConns,
			Streams: peerStreams, StreamsInbound: peerInbound, StreamsOutbound: peerStreams,
			Memory: peerMemory,
		},
	}
	unlimited := func(bits int) []rcmgr.ConnLimitPerSubnet {
		return []rcmgr.ConnLimitPerSubnet{{PrefixLength: bits, ConnCount: int(all)}}
	}
	m, err := rcmgr.NewResourceManager(
		rcmgr.NewFixedLimiter(partial.Build(rcmgr.InfiniteLimits)),
		rcmgr.WithMetricsDisabled(),
		// Its limits by address do not tell inbound from outbound.
		rcmgr.WithLimitPerSubnet(unlimited(32), unlimited(56)),
		rcmgr.WithConnRateLimiters(&connrate.Limiter{}),
	)
	if err != nil {
		return nil, fmt.Errorf("libp2p resource manager: %w", err)
	}
	return &resources{
		ResourceManager: m, max: maxInbound, rate: prefix.Rate{Budget: inboundRate, Period: inboundPeriod},
	}, nil
}

// OpenConnection implements network.ResourceManager. The error of an outbound connection is
// an ErrShortage.
func (r *resources) OpenConnection(dir network.Direction, usefd bool, endpoint ma.Multiaddr) (network.ConnManagementScope, error) {
	if dir == network.DirOutbound {
		scope, err := r.ResourceManager.OpenConnection(dir, usefd, endpoint)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrShortage, err)
		}
		return scope, nil
	}
	groups := groupsOf(endpoint)
	if !r.acquire(groups, time.Now()) {
		return nil, network.ErrResourceLimitExceeded
	}
	scope, err := r.ResourceManager.OpenConnection(dir, usefd, endpoint)
	if err != nil {
		r.release(groups)
		return nil, err
	}
	return &inboundScope{ConnManagementScope: scope, release: sync.OnceFunc(func() { r.release(groups) })}, nil
}

// acquire counts an inbound connection, if there is room for it.
func (r *resources) acquire(g prefix.Groups, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now.Sub(r.tidied) > inboundPeriod {
		r.tidied = now
		r.rate.Forget(now)
	}
	half := (r.max + 1) / 2
	if r.inbound >= r.max || r.inbound >= half && r.groups.Full(g, inboundBudget) != 0 || r.rate.Next(g, now).After(now) {
		return false
	}
	r.inbound++
	r.groups.Add(g)
	r.rate.Add(g, now)
	return true
}

func (r *resources) release(g prefix.Groups) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.inbound--
	r.groups.Remove(g)
}

// inboundScope gives its place back when the connection is done.
type inboundScope struct {
	network.ConnManagementScope
	release func()
}

// Done implements network.ResourceScopeSpan.
func (s *inboundScope) Done() {
	s.ConnManagementScope.Done()
	s.release()
}

// groupsOf are the groups of a connection's remote address.
func groupsOf(endpoint ma.Multiaddr) prefix.Groups {
	ip, err := manet.ToIP(endpoint)
	if err != nil {
		return prefix.Groups{}
	}
	addr, _ := netip.AddrFromSlice(ip)
	return prefix.Of(addr)
}
