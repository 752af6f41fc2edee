package sentry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/chainbound/valtrack/internal/eth2/enr"
	"github.com/chainbound/valtrack/internal/event"
	"github.com/chainbound/valtrack/internal/p2p"
)

// Seen is what one visit showed.
type Seen struct {
	Handshake *event.MetadataReceived // nil when the visit did not get MetaData
	Ended     *event.VisitEnded       // nil when the visit did not start
	Topics    []string                // that the peer's gossip hello named, sorted; nil when none came
	Err       error                   // why it ended; Ended.Error is its beginning
}

// VisitOnce makes one census visit, as the sentry does, with a goodbye at the end. The host
// must have been made with local; record is nil when it is not known.
func VisitOnce(ctx context.Context, local *Local, host *p2p.Host, target p2p.Target, record *enr.Record) Seen {
	var seen collector
	s := newSentry(Config{CrawlerID: "visit"}, local, host, nil, &seen, slog.New(slog.DiscardHandler))
	handover, cancel := withGracePeriod(ctx, drainGrace)
	defer cancel()
	v := s.newVisit(target.PeerID, record, event.Outbound)
	s.dial(ctx, handover, v, target, func(context.Context, handshakeSummary) bool { return false })
	for _, topic := range v.hello {
		if topic.Subscribe {
			seen.Topics = append(seen.Topics, topic.Topic)
		}
	}
	slices.Sort(seen.Topics)
	seen.Err = v.err
	return seen.Seen
}

// collector keeps a visit's events. A visit publishes from one goroutine.
type collector struct{ Seen }

// Publish implements Publisher.
func (c *collector) Publish(_ context.Context, e event.Event) error {
	switch e := e.(type) {
	case *event.MetadataReceived:
		c.Handshake = e
	case *event.VisitEnded:
		c.Ended = e
	}
	return nil
}

// ParseTarget reads where to visit a peer: a node record, which is returned too, or a
// multiaddr with its peer id, such as /ip4/192.0.2.1/tcp/9000/p2p/16Uiu2....
func ParseTarget(text string) (p2p.Target, *enr.Record, error) {
	if strings.HasPrefix(text, "/") {
		target, err := parseMultiaddr(text)
		return target, nil, err
	}
	r, err := enr.Parse(text)
	if err != nil {
		return p2p.Target{}, nil, fmt.Errorf("%w; or want a multiaddr, as /ip4/ADDRESS/tcp/PORT/p2p/PEER_ID", err)
	}
	target := targetOf(&r, true)
	if !hasAddress(target) {
		return target, nil, errors.New("the record has no IP address with a TCP or QUIC port: give a multiaddr ending in /p2p/" + r.PeerID)
	}
	return target, &r, nil
}

// parseMultiaddr reads /ip4 or /ip6, an address, /tcp/PORT or /udp/PORT/quic-v1, and /p2p/ID.
func parseMultiaddr(text string) (target p2p.Target, err error) {
	bad := func(why string) (p2p.Target, error) {
		return p2p.Target{}, fmt.Errorf("multiaddr %.200q: %s; want /ip4/ADDRESS/tcp/PORT/p2p/PEER_ID or /ip4/ADDRESS/udp/PORT/quic-v1/p2p/PEER_ID", text, why)
	}
	parts := strings.Split(strings.TrimSuffix(text, "/"), "/")[1:]
	if n := len(parts); n < 2 || parts[n-2] != "p2p" {
		return bad("it does not end in the peer's id, which proves who answers")
	}
	target.PeerID = parts[len(parts)-1]
	if _, err := enr.NodeIDFromPeerID(target.PeerID); err != nil && !isPeerID(target.PeerID) {
		return bad("its peer id is not valid")
	}
	parts = parts[:len(parts)-2]
	if len(parts) < 4 || parts[0] != "ip4" && parts[0] != "ip6" {
		return bad("it does not begin with an IP address and a port")
	}
	ip, err := netip.ParseAddr(parts[1])
	if err != nil || ip.Is4() != (parts[0] == "ip4") {
		return bad("its IP address is not valid")
	}
	port, err := strconv.ParseUint(parts[3], 10, 16)
	if err != nil || port == 0 {
		return bad("its port is not 1 to 65535")
	}
	at := netip.AddrPortFrom(ip, uint16(port))
	switch {
	case parts[2] == "tcp" && len(parts) == 4:
		target.TCP = []netip.AddrPort{at}
	case parts[2] == "udp" && len(parts) == 5 && parts[4] == "quic-v1":
		target.QUIC = []netip.AddrPort{at}
	default:
		return bad("its transport is not supported")
	}
	return target, nil
}

// NewKey makes a random key for a node.
func NewKey() []byte { return newKey() }
