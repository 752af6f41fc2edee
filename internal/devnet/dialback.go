package devnet

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	"golang.org/x/sync/errgroup"

	ma "github.com/multiformats/go-multiaddr"

	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/eth2/enr"
)

const (
	// dialBackEvery: of the healthy nodes, each so many-th dials a stranger;
	// unlisted nodes all do.
	dialBackEvery = 4
	dialBackLimit = 8 // dials at once
	dialBackTries = 10
)

// Dial makes a node connect to a peer and send its Status first, as any dialer
// does. It returns once connected. The address is a multiaddr that ends in
// /p2p/<peer id>.
func (d *Devnet) Dial(ctx context.Context, index int, address string) error {
	h := d.hostOf(index)
	if h == nil {
		return fmt.Errorf("devnet: node %d has no libp2p host", index)
	}
	info, err := peer.AddrInfoFromString(address)
	if err != nil {
		return fmt.Errorf("devnet: dial %s: %w", address, err)
	}
	if err := h.Connect(ctx, *info); err != nil {
		return fmt.Errorf("devnet: node %d: dial %s: %w", index, address, err)
	}
	return nil
}

// hostOf is a node's libp2p host; nil when it has none or is down.
func (d *Devnet) hostOf(index int) *host {
	nodes := d.roster.all()
	if index < 0 || index >= len(nodes) {
		return nil
	}
	if l := nodes[index].life.Load(); l != nil {
		return l.host
	}
	return nil
}

// dialBack looks, each slot, for consensus nodes in the discv5 tables that are not
// of the devnet, and lets some nodes dial them, once each.
func (d *Devnet) dialBack(ctx context.Context) error {
	dialed := make(map[eth2.NodeID]bool)
	var dials errgroup.Group
	dials.SetLimit(dialBackLimit)
	tick := time.NewTicker(d.cfg.SlotDuration)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return dials.Wait()
		case <-tick.C:
		}
		for _, stranger := range d.strangers() {
			if dialed[stranger.NodeID] {
				continue
			}
			dialed[stranger.NodeID] = true
			info, err := addrInfo(stranger)
			if err != nil {
				continue // no libp2p address: nothing to dial
			}
			for i, n := range d.roster.all() {
				h := d.hostOf(i)
				if h == nil || !d.dialsStrangers(n) {
					continue
				}
				dials.Go(func() error { d.reach(ctx, n, h, info); return nil })
			}
		}
	}
}

// dialsStrangers reports whether a node dials whoever it meets in discv5.
func (d *Devnet) dialsStrangers(n *node) bool {
	return n.persona == NoPort || d.cfg.DialBack && (n.persona == Unlisted || n.persona == Healthy && n.index%dialBackEvery == 0)
}

// reach connects to a stranger, with another try each slot, as a client that looks
// for peers does.
func (d *Devnet) reach(ctx context.Context, n *node, h *host, info peer.AddrInfo) {
	for range dialBackTries {
		bounded, cancel := context.WithTimeout(ctx, requestTimeout)
		err := h.Connect(bounded, info)
		cancel()
		if err == nil {
			return
		}
		n.log.Debug("dial back failed", slog.String("peer", info.ID.String()), slog.Any("err", err))
		if !wait(ctx, d.cfg.SlotDuration) {
			return
		}
	}
}

// dialsAgain reports whether the node dials again whoever has left it.
func (n *node) dialsAgain() bool { return n.persona == Redials || n.persona == NoPort }

// redial lets the nodes of personas Redials and NoPort dial, twelve times per slot, whoever has been
// connected with them and is not of the devnet, while it is not connected. Their addresses
// are those of identify.
func (d *Devnet) redial(ctx context.Context) error {
	own := make(map[peer.ID]bool)
	for _, n := range d.roster.all() {
		own[n.peerID] = true
	}
	var dials errgroup.Group
	dials.SetLimit(dialBackLimit)
	tick := time.NewTicker(d.cfg.SlotDuration / 12)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return dials.Wait()
		case <-tick.C:
		}
		for i, n := range d.roster.all() {
			h := d.hostOf(i)
			if h == nil || !n.dialsAgain() {
				continue
			}
			for _, id := range h.Peerstore().PeersWithAddrs() {
				if own[id] || h.Network().Connectedness(id) == network.Connected {
					continue
				}
				if !n.redialling.CompareAndSwap(false, true) {
					break // one dial of a node at a time
				}
				if !dials.TryGo(func() error { defer n.redialling.Store(false); d.dialAgain(ctx, n, h, id); return nil }) {
					n.redialling.Store(false)
				}
			}
		}
	}
}

// dialAgain dials a peer at once, however often that has failed.
func (d *Devnet) dialAgain(ctx context.Context, n *node, h *host, id peer.ID) {
	if s, ok := h.Network().(*swarm.Swarm); ok {
		s.Backoff().Clear(id)
	}
	bounded, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	n.redials.Add(1)
	if err := h.Connect(bounded, peer.AddrInfo{ID: id}); err != nil {
		n.log.Debug("redial failed", slog.String("peer", id.String()), slog.Any("err", err))
	}
}

// Redials is how often a node of persona Redials or NoPort has dialled again.
func (d *Devnet) Redials(index int) uint64 { return d.roster.all()[index].redials.Load() }

// strangers are the records of consensus nodes that met the devnet in discv5.
func (d *Devnet) strangers() []enr.Record {
	own := make(map[eth2.NodeID]bool)
	for _, n := range d.roster.all() {
		own[n.nodeID] = true
	}
	var out []enr.Record
	seen := make(map[enode.ID]bool)
	for _, n := range d.roster.all() {
		l := n.life.Load()
		if l == nil || l.disc == nil {
			continue
		}
		for _, other := range append(l.disc.AllNodes(), n.met.list()...) {
			if own[eth2.NodeID(other.ID())] || seen[other.ID()] {
				continue
			}
			if r := enr.FromNode(other); r.Eth2 != nil { // others may know a newer record
				seen[other.ID()] = true
				out = append(out, r)
			}
		}
	}
	return out
}

func addrInfo(r enr.Record) (peer.AddrInfo, error) {
	id, err := peer.Decode(r.PeerID)
	if err != nil {
		return peer.AddrInfo{}, err
	}
	info := peer.AddrInfo{ID: id}
	add := func(ip netip.Addr, format string, port uint16) {
		if !ip.IsValid() || port == 0 {
			return
		}
		if a, err := ma.NewMultiaddr(fmt.Sprintf(format, ip, port)); err == nil {
			info.Addrs = append(info.Addrs, a)
		}
	}
	add(r.IP4, "/ip4/%s/tcp/%d", r.TCP)
	add(r.IP4, "/ip4/%s/udp/%d/quic-v1", r.QUIC)
	if len(info.Addrs) == 0 {
		return peer.AddrInfo{}, fmt.Errorf("record %s has no libp2p address", r.PeerID)
	}
	return info, nil
}
