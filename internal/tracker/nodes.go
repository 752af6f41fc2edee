package tracker

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"github.com/chainbound/valtrack/internal/eth2"
)

// metLately gives the peers that were met within a day of the one that was met last, in no order.
// Sentries of this program are no nodes.
func metLately(peers map[string]*Peer) (nodes []*Peer) {
	newest := int64(0)
	for _, p := range peers {
		newest = max(newest, p.LastMet())
	}
	for _, p := range peers {
		if p.Client.Kind != eth2.ClientValtrack && p.LastMet() >= newest-CountedFor.Milliseconds() {
			nodes = append(nodes, p)
		}
	}
	return nodes
}

// counted lists those of metLately with an estimate, by id. Of those that share an endpoint
// only the one met last is in the list; duplicateIDs counts the others. An endpoint belongs to
// the peer that was dialled there: what a record says can cost its own node the place, and no
// other.
func counted(peers map[string]*Peer) (nodes []*Peer, duplicateIDs uint64) {
	nodes = slices.DeleteFunc(metLately(peers), func(p *Peer) bool { return p.Estimate == nil })
	slices.SortFunc(nodes, func(a, b *Peer) int {
		return cmp.Or(cmp.Compare(b.LastMet(), a.LastMet()), strings.Compare(b.ID, a.ID))
	})
	taken := map[string]bool{}
	nodes = slices.DeleteFunc(nodes, func(p *Peer) bool {
		known := slices.ContainsFunc(p.endpoints(), func(e string) bool { return taken[e] })
		if p.Address != "" { // also of a duplicate: a node may have had three ids, one after the other
			taken[p.Address] = true
		}
		if known {
			duplicateIDs++
		}
		return known
	})
	slices.SortFunc(nodes, func(a, b *Peer) int { return strings.Compare(a.ID, b.ID) })
	return nodes, duplicateIDs
}

// inboundOnly counts the nodes that were never dialled successfully: it is not known
// which of them are one node under several ids.
func inboundOnly(nodes []*Peer) (n int) {
	for _, p := range nodes {
		if p.Address == "" {
			n++
		}
	}
	return n
}

// endpoints are where a peer is, as transport/ip:port: the address that was dialled,
// and the ports that its record has at that IP, as it may answer by QUIC now and by TCP
// another time. An address in a record proves nothing by itself.
func (p *Peer) endpoints() []string {
	transport, text, _ := strings.Cut(p.Address, "/")
	dialled, err := netip.ParseAddrPort(text)
	if err != nil {
		return nil
	}
	out := []string{p.Address}
	r := p.Record
	if !isAddr(r.IP, dialled.Addr()) && !isAddr(r.IP6, dialled.Addr()) {
		return out
	}
	add := func(kind string, port uint16) {
		if port != 0 && (kind != transport || port != dialled.Port()) {
			out = append(out, kind+"/"+netip.AddrPortFrom(dialled.Addr(), port).String())
		}
	}
	add("tcp", r.Port)
	add("udp", r.QUIC)
	add("udp", r.UDP)
	return out
}

func isAddr(text string, a netip.Addr) bool {
	addr, err := netip.ParseAddr(text)
	return err == nil && addr.Unmap() == a.Unmap()
}
