package devnet

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/libp2p/go-libp2p/core/peer"
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
)

// Dial makes a node connect to a peer and send its Status first, as any dialer
// does. It returns once connected. The address is a multiaddr that ends in
// /p2p/<peer id>.
func (d *Devnet) Dial(ctx context.Context, index int, address string) error {
	if index < 0 || index >= len(d.nodes) || d.nodes[index].host == nil {
		return fmt.Errorf("devnet: node %d has no libp2p host", index)
	}
	info, err := peer.AddrInfoFromString(address)
	if err != nil {
		return fmt.Errorf("devnet: dial %s: %w", address, err)
	}
	if err := d.nodes[index].host.Connect(ctx, *info); err != nil {
		return fmt.Errorf("devnet: node %d: dial %s: %w", index, address, err)
	}
	return nil
}

// dialBack looks, each slot, for consensus nodes in the discv5 tables that are not
// of the devnet, and lets some nodes dial them, once each.
func (d *Devnet) dialBack(ctx context.Context) error {
	own := make(map[eth2.NodeID]bool, len(d.nodes))
	for _, n := range d.nodes {
		own[n.nodeID] = true
	}
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
		for _, stranger := range d.strangers(own) {
			if dialed[stranger.NodeID] {
				continue
			}
			dialed[stranger.NodeID] = true
			info, err := addrInfo(stranger)
			if err != nil {
				continue // no libp2p address: nothing to dial
			}
			for i, n := range d.nodes {
				if n.persona != Unlisted && (n.persona != Healthy || i%dialBackEvery != 0) {
					continue
				}
				dials.Go(func() error {
					ctx, cancel := context.WithTimeout(ctx, requestTimeout)
					defer cancel()
					if err := n.host.Connect(ctx, info); err != nil {
						n.log.Debug("dial back failed", slog.String("peer", stranger.PeerID), slog.Any("err", err))
					}
					return nil
				})
			}
		}
	}
}

// strangers are the records of consensus nodes that met the devnet in discv5.
func (d *Devnet) strangers(own map[eth2.NodeID]bool) []enr.Record {
	var out []enr.Record
	seen := make(map[enode.ID]bool)
	for _, n := range d.nodes {
		if n.disc == nil {
			continue
		}
		for _, other := range n.disc.AllNodes() {
			if own[eth2.NodeID(other.ID())] || seen[other.ID()] {
				continue
			}
			seen[other.ID()] = true
			if r := enr.FromNode(other); r.Eth2 != nil {
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
