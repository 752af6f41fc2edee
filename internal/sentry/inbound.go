package sentry

import (
	"context"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/chainbound/valtrack/internal/eth2/enr"
	"github.com/chainbound/valtrack/internal/event"
	"github.com/chainbound/valtrack/internal/p2p"
)

// receivePeer is one inbound visit: the same requests as in an outbound one, and a
// watch if the schedule grants it a slot. The peer's own Status request is answered by the
// host meanwhile.
func (s *Sentry) receivePeer(ctx, handover context.Context, session *p2p.Session, record *enr.Record, requestSlot requestSlotFunc) result {
	return s.observe(ctx, handover, s.newVisit(session.PeerID(), record, event.Inbound), session, requestSlot)
}

// hostGuest lets a peer stay connected until its next visit is due, unless it leaves. It is
// asked nothing; the host answers what it asks.
func (s *Sentry) hostGuest(ctx, handover context.Context, session *p2p.Session, until time.Time) result {
	defer session.Close()
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	select {
	case <-session.Done():
	case <-timer.C:
	case <-ctx.Done():
	}
	s.sayGoodbye(handover, session)
	return result{guest: true}
}

// multiaddrOf is where the peer can be dialled: for an outbound visit where it was,
// for an inbound one what its record says. The source port of an inbound connection
// cannot be dialled, so without a record only the IP is used.
func multiaddrOf(v *visit, session *p2p.Session) string {
	addr := session.Multiaddr()
	if v.direction == event.Outbound {
		return addr
	}
	if v.record != nil {
		if addr := recordMultiaddr(v.record, session.Transport()); addr != "" {
			return addr
		}
	}
	parts := strings.SplitN(addr, "/", 4) // "", ip4, address, rest
	return strings.Join(parts[:min(3, len(parts))], "/")
}

// recordMultiaddr is the record's address for the transport, or for the other one;
// empty when the record has none.
func recordMultiaddr(r *enr.Record, transport string) string {
	target := targetOf(r, true)
	if len(target.QUIC) > 0 && (transport == event.QUIC || len(target.TCP) == 0) {
		return multiaddr(target.QUIC[0], "/udp/", "/quic-v1")
	}
	if len(target.TCP) > 0 {
		return multiaddr(target.TCP[0], "/tcp/", "")
	}
	return ""
}

func multiaddr(a netip.AddrPort, before, after string) string {
	family := "/ip4/"
	if a.Addr().Is6() {
		family = "/ip6/"
	}
	return family + a.Addr().String() + before + strconv.Itoa(int(a.Port())) + after
}
