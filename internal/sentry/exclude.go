package sentry

import (
	"encoding/hex"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/mr-tron/base58"

	"github.com/chainbound/valtrack/internal/diskio"
	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/eth2/enr"
	"github.com/chainbound/valtrack/internal/event"
)

const (
	// maxExcludeLine bounds a line of an exclude file in bytes; a peer id has 53.
	maxExcludeLine = 1 << 10
	// maxExcludeEntries bounds the file; larger than any network.
	maxExcludeEntries = 1 << 20
)

// Exclude is a list of peers to leave alone: they are never dialled, accepted,
// kept or recorded in an event. It is read from a file: peer ids, node ids (64 hex
// digits), IP addresses and networks ("10.0.0.0/8"), one per line; the text after a #
// is a comment. A nil Exclude has no peers. Its query methods may be called from any
// goroutine.
type Exclude struct {
	path  string
	stamp fileStamp // of the content in force; the schedule's goroutine only
	rules atomic.Pointer[rules]
}

// fileStamp shows whether a file has changed since it was read.
type fileStamp struct {
	modified time.Time
	size     int64
}

// rules are the lines of an exclude file.
type rules struct {
	peers map[string]struct{}
	nodes map[eth2.NodeID]struct{}
	// nets holds addresses too, as networks of full length; lengths lists the
	// prefix lengths that occur, so that a query costs one look-up for each.
	nets    map[netip.Prefix]struct{}
	lengths map[int]struct{}
	// entries are all of them as they were written, if keep is set.
	entries []string
	keep    bool
}

// LoadExclude reads the file. A line that is none of the kinds is an error that
// names file and line.
func LoadExclude(path string) (*Exclude, error) {
	x := &Exclude{path: path}
	if err := x.read(false); err != nil {
		return nil, err
	}
	return x, nil
}

// Len is the number of entries.
func (x *Exclude) Len() int {
	if x == nil {
		return 0
	}
	r := x.rules.Load()
	return len(r.peers) + len(r.nodes) + len(r.nets)
}

// read puts the file's content into force, with its entries as they were written or without. After an error the old content stays, and the
// file is not read again before it changes.
func (x *Exclude) read(keepEntries bool) error {
	f, err := os.Open(x.path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	x.stamp = fileStamp{info.ModTime(), info.Size()}
	r, err := parseRules(f, x.path, keepEntries)
	if err != nil {
		return err
	}
	x.rules.Store(r)
	return nil
}

// reload reads the file again if it has changed.
func (x *Exclude) reload() (changed bool, err error) {
	if x == nil {
		return false, nil
	}
	info, err := os.Stat(x.path)
	if err != nil {
		return false, err
	}
	if x.stamp == (fileStamp{info.ModTime(), info.Size()}) {
		return false, nil
	}
	if err := x.read(false); err != nil {
		return false, err
	}
	return true, nil
}

func parseRules(src io.Reader, name string, keepEntries bool) (*rules, error) {
	r := &rules{
		keep:  keepEntries,
		peers: make(map[string]struct{}), nodes: make(map[eth2.NodeID]struct{}),
		nets: make(map[netip.Prefix]struct{}), lengths: make(map[int]struct{}),
	}
	lines := diskio.NewLineReader(src, maxExcludeLine)
	for lines.Next() {
		line := lines.Line()
		if line.TooLong {
			return nil, fmt.Errorf("%s:%d: over %d bytes", name, line.Number, maxExcludeLine)
		}
		text, _, _ := strings.Cut(string(line.Text), "#")
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		if !r.add(text) {
			return nil, fmt.Errorf("%s:%d: %.80q: want a peer id, a node id (64 hex digits), an IP address or a network such as 10.0.0.0/8", name, line.Number, text)
		}
		if len(r.peers)+len(r.nodes)+len(r.nets) > maxExcludeEntries {
			return nil, fmt.Errorf("%s:%d: more than %d entries", name, line.Number, maxExcludeEntries)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return r, nil
}

// add takes one entry; false when it is of no known kind.
func (r *rules) add(text string) bool {
	if r.keep {
		r.entries = append(r.entries, text)
	}
	if addr, err := netip.ParseAddr(text); err == nil {
		addr = addr.Unmap().WithZone("")
		r.addNet(netip.PrefixFrom(addr, addr.BitLen()))
		return true
	}
	if net, err := netip.ParsePrefix(text); err == nil {
		r.addNet(net)
		return true
	}
	if id, ok := parseNodeID(text); ok {
		r.nodes[id] = struct{}{}
		return true
	}
	if id, err := enr.NodeIDFromPeerID(text); err == nil {
		r.nodes[id] = struct{}{} // the same key: it covers the peer id
		return true
	}
	if isPeerID(text) {
		r.peers[text] = struct{}{}
		return true
	}
	return false
}

func (r *rules) addNet(net netip.Prefix) {
	const mapped = 96 // bits of ::ffff:0:0
	if net.Addr().Is4In6() && net.Bits() >= mapped {
		net = netip.PrefixFrom(net.Addr().Unmap(), net.Bits()-mapped)
	}
	net = net.Masked()
	r.nets[net] = struct{}{}
	r.lengths[net.Bits()] = struct{}{}
}

func parseNodeID(text string) (id eth2.NodeID, ok bool) {
	text = strings.TrimPrefix(text, "0x")
	if len(text) != 2*len(id) {
		return id, false
	}
	_, err := hex.Decode(id[:], []byte(text))
	return id, err == nil
}

// isPeerID recognises peer ids of keys other than secp256k1: a SHA-256 multihash,
// or an identity multihash of an Ed25519 key (libp2p specs, peer-ids).
func isPeerID(text string) bool {
	const sha256Header, ed25519Header = "\x12\x20", "\x00\x24\x08\x01\x12\x20"
	b, err := base58.Decode(text)
	if err != nil {
		return false
	}
	return len(b) == len(sha256Header)+32 && strings.HasPrefix(string(b), sha256Header) ||
		len(b) == len(ed25519Header)+32 && strings.HasPrefix(string(b), ed25519Header)
}

// Node reports whether a discv5 node is excluded: by its id, or by any of its
// addresses. Invalid addresses are none.
func (x *Exclude) Node(id eth2.NodeID, addresses ...netip.Addr) bool {
	return x != nil && (x.node(id) || slices.ContainsFunc(addresses, x.Address))
}

// node reports whether the node id is excluded.
func (x *Exclude) node(id eth2.NodeID) bool {
	if x == nil {
		return false
	}
	_, in := x.rules.Load().nodes[id]
	return in
}

// Peer reports whether the peer id is excluded, or the node id of its key.
func (x *Exclude) Peer(id string) bool {
	if x == nil {
		return false
	}
	r := x.rules.Load()
	if _, in := r.peers[id]; in {
		return true
	}
	if len(r.nodes) == 0 {
		return false
	}
	node, err := enr.NodeIDFromPeerID(id)
	return err == nil && x.node(node)
}

// Address reports whether the address is in an excluded network.
func (x *Exclude) Address(a netip.Addr) bool {
	if x == nil || !a.IsValid() {
		return false
	}
	r := x.rules.Load()
	a = a.Unmap().WithZone("")
	for bits := range r.lengths {
		if net, err := a.Prefix(bits); err == nil {
			if _, in := r.nets[net]; in {
				return true
			}
		}
	}
	return false
}

// record reports whether the record's node is excluded.
func (x *Exclude) record(r *enr.Record) bool { return x.Node(r.NodeID, r.IP4, r.IP6) }

// knows reports whether a peer of the table is excluded.
func (x *Exclude) knows(p *peer) bool {
	if x == nil {
		return false
	}
	r := p.record()
	return x.Peer(p.id) || r != nil && x.record(r)
}

// inboundPeer reports whether an inbound peer is excluded: by its id, or by the address
// that it connects from.
func (x *Exclude) inboundPeer(id, multiaddr string) bool {
	return x != nil && (x.Peer(id) || x.Address(addressIn(multiaddr)))
}

// event reports whether the event is of an excluded peer: one that was accepted before
// it was listed.
func (x *Exclude) event(e event.Event) bool {
	if x == nil {
		return false
	}
	id, at := EventPeer(e)
	return x.Peer(id) || slices.ContainsFunc(at[:], x.Address)
}

// EventPeer is the id of the peer that an event is about, and its addresses in the event; what
// there is not is invalid.
func EventPeer(e event.Event) (id string, at [2]netip.Addr) {
	switch e := e.(type) {
	case *event.PeerDiscovered:
		at[0], _ = netip.ParseAddr(e.IP)
		at[1], _ = netip.ParseAddr(e.IP6)
		id = e.ID
	case *event.MetadataReceived:
		id, at[0] = e.ID, addressIn(e.Multiaddr)
	case *event.VisitEnded:
		id, at[0] = e.ID, addressIn(e.Multiaddr)
	}
	return id, at
}

// addressIn is the IP address that a multiaddr begins with; invalid when it begins
// with none.
func addressIn(multiaddr string) netip.Addr {
	parts := strings.SplitN(multiaddr, "/", 4) // "", ip4, address, rest
	if len(parts) < 3 || !strings.HasPrefix(parts[1], "ip") {
		return netip.Addr{}
	}
	addr, err := netip.ParseAddr(parts[2])
	if err != nil {
		return netip.Addr{}
	}
	return addr
}
