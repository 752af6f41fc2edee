package report

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/eth2/enr"
)

// Errors of Find.
var (
	errNotFound = errors.New("none")
	// ErrBadName is that a text cannot name a node.
	ErrBadName = errors.New("names no node")
	// ErrAmbiguous is that several nodes fit.
	ErrAmbiguous = errors.New("several nodes")
)

const (
	// shortestPrefix of an id: fewer characters are rather a typing error.
	shortestPrefix = 4
	// maxCandidates bounds the nodes that an error names.
	maxCandidates = 5
)

// Find finds the node that a text names: a peer id, a node id in hex with 0x or without, the
// first characters of either, a record, a multiaddr, or an IP address with its port or
// without. The error says what was looked for, and of several nodes which they are.
func (r *Report) Find(text string) (*Node, error) {
	text = strings.TrimRight(strings.Trim(strings.TrimSpace(text), `"'`), "….")
	matches, what, err := r.matching(text)
	if err != nil {
		return nil, err
	}
	var found []*Node
	for _, n := range r.nodes {
		if matches(n) {
			found = append(found, n)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return nil, fmt.Errorf("%w has %s; nodes are found by peer id, node id, the first characters of one, ENR, multiaddr or IP address; 'valtrack purge' may have removed it", errNotFound, what)
	}
	return nil, ambiguous(found, what)
}

// matching returns how to tell the nodes that a text names, and what the text is.
func (r *Report) matching(text string) (matches func(*Node) bool, what string, err error) {
	if n := r.nodes[text]; n != nil {
		return func(o *Node) bool { return o == n }, "", nil
	}
	if strings.HasPrefix(strings.ToLower(text), "enr:") {
		record, err := enr.Parse(text)
		if err != nil {
			return nil, "", fmt.Errorf("%w: %w", ErrBadName, err)
		}
		return func(n *Node) bool { return n.ID == record.PeerID }, fmt.Sprintf("the peer id %s of this ENR", record.PeerID), nil
	}
	if _, id, ok := strings.Cut(text, "/p2p/"); ok {
		return func(n *Node) bool { return n.ID == id }, fmt.Sprintf("the peer id %q", id), nil
	}
	if at, ok := parseEndpoint(text); ok {
		return at.of, fmt.Sprintf("the address %s", text), nil
	}
	if len(text) < shortestPrefix {
		return nil, "", fmt.Errorf("%w: want a peer id, a node id, the first characters of one (at least %d, and enough to tell it from others), an ENR, a multiaddr or an IP address", ErrBadName, shortestPrefix)
	}
	hex := "0x" + strings.TrimPrefix(strings.ToLower(text), "0x")
	if len(hex) == len("0x")+2*len(eth2.NodeID{}) {
		return func(n *Node) bool { return n.NodeID == hex }, "the node id " + hex, nil
	}
	return func(n *Node) bool { return strings.HasPrefix(n.ID, text) || strings.HasPrefix(n.NodeID, hex) },
		fmt.Sprintf("an id that begins with %q", text), nil
}

func ambiguous(found []*Node, what string) error {
	slices.SortFunc(found, func(a, b *Node) int { return cmp.Or(cmp.Compare(b.LastSeen, a.LastSeen), strings.Compare(a.ID, b.ID)) })
	var names []string
	for _, n := range found[:min(len(found), maxCandidates)] {
		name := n.ID
		if n.Client != "" {
			name += " (" + n.Client + ")"
		}
		names = append(names, name)
	}
	if more := len(found) - len(names); more > 0 {
		names = append(names, fmt.Sprintf("%d more", more))
	}
	return fmt.Errorf("%w (%d) have %s; give more of the id: %s", ErrAmbiguous, len(found), what, strings.Join(names, ", "))
}

// endpoint is an IP address; port is 0 for any.
type endpoint struct {
	addr netip.Addr
	port uint16
}

// parseEndpoint reads 192.0.2.1, 192.0.2.1:9000, [2001:db8::1]:9000 and multiaddrs.
func parseEndpoint(text string) (endpoint, bool) {
	if strings.HasPrefix(text, "/") {
		return parseMultiaddr(text)
	}
	if addr, err := netip.ParseAddr(strings.Trim(text, "[]")); err == nil {
		return endpoint{addr: addr.Unmap()}, true
	}
	at, err := netip.ParseAddrPort(text)
	return endpoint{at.Addr().Unmap(), at.Port()}, err == nil
}

// parseMultiaddr reads /ip4/192.0.2.1/udp/9001/quic-v1.
func parseMultiaddr(text string) (out endpoint, ok bool) {
	parts := strings.SplitN(text, "/", 6)
	if len(parts) < 3 || parts[1] != "ip4" && parts[1] != "ip6" {
		return out, false
	}
	addr, err := netip.ParseAddr(parts[2])
	if err != nil {
		return out, false
	}
	out.addr = addr.Unmap()
	if len(parts) > 4 {
		port, err := strconv.ParseUint(parts[4], 10, 16)
		if err != nil {
			return out, false
		}
		out.port = uint16(port)
	}
	return out, true
}

// of reports whether a node was reached at the address, or has it in its newest record.
func (e endpoint) of(n *Node) bool {
	newest, _ := parseMultiaddr(n.Multiaddr)
	for _, at := range []endpoint{newest, n.handshakes.now.address, n.handshakes.before.address} {
		if at.addr == e.addr && (e.port == 0 || at.port == e.port) {
			return true
		}
	}
	for _, ip := range []*string{n.IP, n.IP6} {
		addr, err := netip.ParseAddr(orEmpty(ip))
		if err == nil && addr.Unmap() == e.addr && (e.port == 0 || n.Port != nil && *n.Port == int32(e.port)) {
			return true
		}
	}
	return false
}
