package devnet

import (
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/protocol"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/p2p"
)

// Bounds of what a node remembers of its peers.
const (
	maxContacts = 1024 // the oldest are forgotten
	maxStatuses = 16   // of one contact
)

// Contact is one connection between a node and a peer, as the node saw it: what a
// client judges a peer's manners by.
type Contact struct {
	Node       int    // index
	NodePeerID string // of the node
	PeerID     string // of the peer
	Inbound    bool   // the peer dialled
	Transport  string // quic or tcp
	Address    netip.AddrPort

	Opened time.Time
	Closed time.Time // zero while it is open
	// Others is how many connections with the same peer were open when this one
	// opened.
	Others int
	// Statuses are the Status messages that the peer sent, the first of them, in
	// order. A peer that never sends one has none.
	Statuses []SentStatus
	// Requests the peer made, of each kind, Status and Goodbye included.
	Requests Requests
	// Goodbye is the peer's reason; valid when SaidGoodbye.
	Goodbye     uint64
	SaidGoodbye bool
}

// SentStatus is a Status that a peer sent.
type SentStatus struct {
	At     time.Time
	Digest eth2.ForkDigest
	// Want is the digest of the node's network at the time.
	Want eth2.ForkDigest
}

// Requests counts a peer's requests by kind.
type Requests struct{ Status, Ping, MetaData, Goodbye int }

// contact is a Contact while its node writes it.
type contact struct {
	mu sync.Mutex
	c  Contact
}

// contacts is what a node remembers of its peers. Safe for concurrent use.
type contacts struct {
	mu   sync.Mutex
	list []*contact // in order of Opened
}

// begin notes a new connection.
func (l *contacts) begin(n *node, conn network.Conn) *contact {
	now := time.Now()
	c := &contact{c: Contact{
		Node: n.index, NodePeerID: n.peerID.String(), PeerID: conn.RemotePeer().String(),
		Inbound: conn.Stat().Direction == network.DirInbound, Transport: transportName(conn), Opened: now,
	}}
	c.c.Address = addressOf(conn.RemoteMultiaddr())
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, other := range l.list {
		if other.openWith(c.c.PeerID) {
			c.c.Others++
		}
	}
	if len(l.list) == maxContacts {
		l.list = slices.Delete(l.list, 0, 1)
	}
	l.list = append(l.list, c)
	return c
}

// addressOf is the invalid address for one without IP.
func addressOf(a ma.Multiaddr) netip.AddrPort {
	ip, err := manet.ToIP(a)
	if err != nil {
		return netip.AddrPort{}
	}
	addr, _ := netip.AddrFromSlice(ip)
	port := ""
	for _, code := range []int{ma.P_TCP, ma.P_UDP} {
		if text, err := a.ValueForProtocol(code); err == nil {
			port = text
		}
	}
	return netip.AddrPortFrom(addr.Unmap(), parsePort(port))
}

func transportName(conn network.Conn) string {
	if conn.ConnState().Transport == "quic-v1" {
		return "quic"
	}
	return "tcp"
}

func (c *contact) openWith(peerID string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.c.PeerID == peerID && c.c.Closed.IsZero()
}

func (c *contact) closed() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.c.Closed.IsZero() {
		c.c.Closed = time.Now()
	}
}

// asked notes a request, by its protocol.
func (c *contact) asked(id protocol.ID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch id {
	case p2p.ProtoStatusV1, p2p.ProtoStatusV2:
		c.c.Requests.Status++
	case p2p.ProtoPingV1:
		c.c.Requests.Ping++
	case p2p.ProtoMetaDataV1, p2p.ProtoMetaDataV2, p2p.ProtoMetaDataV3:
		c.c.Requests.MetaData++
	case p2p.ProtoGoodbyeV1:
		c.c.Requests.Goodbye++
	}
}

func (c *contact) status(s SentStatus) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.c.Statuses) < maxStatuses {
		c.c.Statuses = append(c.c.Statuses, s)
	}
}

func (c *contact) left(code uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.c.Goodbye, c.c.SaidGoodbye = code, true
}

func (c *contact) copy() Contact {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := c.c
	out.Statuses = slices.Clone(out.Statuses)
	return out
}

// Seen lists the connections of a peer with any node, in order of time; of every
// peer when peerID is empty. A node remembers the latest 1024.
func (d *Devnet) Seen(peerID string) []Contact {
	var out []Contact
	for _, n := range d.roster.all() {
		n.contacts.mu.Lock()
		list := slices.Clone(n.contacts.list)
		n.contacts.mu.Unlock()
		for _, c := range list {
			if one := c.copy(); peerID == "" || one.PeerID == peerID {
				out = append(out, one)
			}
		}
	}
	slices.SortStableFunc(out, func(a, b Contact) int { return a.Opened.Compare(b.Opened) })
	return out
}

// StatusDelay is the time from the connection to the peer's first Status; false
// without one.
func (c Contact) StatusDelay() (time.Duration, bool) {
	if len(c.Statuses) == 0 {
		return 0, false
	}
	return c.Statuses[0].At.Sub(c.Opened), true
}

// Gaps are, for each node with more than one contact, the times between the end of
// one and the beginning of the next; negative where they overlap. Contacts must be
// of one peer and in order of Opened.
func Gaps(contacts []Contact) []time.Duration {
	last := make(map[string]Contact)
	var out []time.Duration
	for _, c := range contacts {
		if before, ok := last[c.NodePeerID]; ok {
			end := before.Closed
			if end.IsZero() { // still open
				end = time.Now()
			}
			out = append(out, c.Opened.Sub(end))
		}
		last[c.NodePeerID] = c
	}
	return out
}
