package app

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/chainbound/valtrack/internal/consumer"
	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/eth2/enr"
	"github.com/chainbound/valtrack/internal/eth2/network"
	"github.com/chainbound/valtrack/internal/event"
	"github.com/chainbound/valtrack/internal/p2p"
	"github.com/chainbound/valtrack/internal/sentry"
)

// Visited is what one visit showed.
type Visited struct {
	sentry.Seen
	// Row is the handshake's row of the dataset, with what we derive; nil without one.
	Row *dataset.ValidatorRow
}

// Visit visits a peer once, under an identity that is used only for this. Private and
// loopback addresses are visited too.
func Visit(ctx context.Context, net network.Network, agent string, target p2p.Target, record *enr.Record) (Visited, error) {
	local := sentry.NewLocal(net)
	host, err := p2p.NewHost(p2p.Config{
		Key: sentry.NewKey(), Listen: listenFor(target), Agent: agent, MaxConnections: 1, AllowPrivate: true, Local: local,
	})
	if err != nil {
		return Visited{}, fmt.Errorf("open a port to visit from: %w", err)
	}
	defer host.Close()
	out := Visited{Seen: sentry.VisitOnce(ctx, local, host, target, record)}
	if out.Handshake != nil {
		handshake := dataset.FromMetadataReceived(out.Handshake)
		row := dataset.ValidatorRowOf(&handshake)
		for _, enricher := range consumer.Enrichers() {
			enricher.Enrich(out.Handshake, &row)
		}
		out.Row = &row
	}
	return out, nil
}

// listenFor are the addresses to bind, from which the target can be reached: for a
// target on this machine, loopback only.
func listenFor(target p2p.Target) (listen []netip.Addr) {
	for _, at := range slices.Concat(target.QUIC, target.TCP) {
		ip := at.Addr().Unmap()
		from := netip.IPv6Unspecified()
		switch {
		case ip.IsLoopback() && ip.Is4():
			from = netip.AddrFrom4([4]byte{127, 0, 0, 1})
		case ip.IsLoopback():
			from = netip.IPv6Loopback()
		case ip.Is4():
			from = netip.IPv4Unspecified()
		}
		if !slices.Contains(listen, from) {
			listen = append(listen, from)
		}
	}
	return listen
}

// Why says in words why a visit did not show everything; empty when it did.
func (v Visited) Why() string {
	if v.Ended == nil {
		return "the visit did not start"
	}
	e := v.Ended
	words := event.OutcomeMeaning(e.Outcome)
	if e.Outcome == event.OutcomeOK {
		return ""
	}
	// The errors of a dial that timed out or was refused say no more.
	if v.Err != nil && e.Outcome != event.OutcomeDialTimeout && e.Outcome != event.OutcomeRefused {
		words += " (" + strings.Join(strings.Fields(v.Err.Error()), " ") + ")"
	}
	if e.GoodbyeCode != nil {
		words += fmt.Sprintf(", goodbye code %d", *e.GoodbyeCode)
		if meaning := event.GoodbyeMeaning(*e.GoodbyeCode); meaning != "" {
			words += ": " + meaning
		}
	}
	return words
}
