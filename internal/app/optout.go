package app

import (
	"log/slog"
	"net/netip"
	"strings"

	"github.com/chainbound/valtrack/internal/event"
	"github.com/chainbound/valtrack/internal/sentry"
	"github.com/chainbound/valtrack/internal/tracker"
)

// maxFoundAt bounds the ids of nodes that were found at excluded addresses.
const maxFoundAt = 1 << 16

// optOut decides which events a consumer does not store.
type optOut struct {
	list *sentry.Exclude
	// foundAt has the excluded address at which a node was found: the parts of a watch do not
	// repeat it, and a purge removes such a node entirely.
	foundAt map[string]netip.Addr
}

// excludedBy is what consumer.Config wants; nil for no list.
func excludedBy(list *sentry.Exclude) func(event.Event, []byte) bool {
	if list == nil {
		return nil
	}
	o := &optOut{list: list, foundAt: map[string]netip.Addr{}}
	return o.excluded
}

func (o *optOut) excluded(e event.Event, data []byte) bool {
	if o.list.Len() == 0 {
		return false
	}
	if e == nil {
		return o.list.Text(data, func(id string) bool { return o.list.Peer(id) || o.found(id) })
	}
	id, at := sentry.EventPeer(e)
	for _, a := range at {
		if o.list.Address(a) {
			if len(o.foundAt) < maxFoundAt {
				o.foundAt[strings.Clone(id)] = a
			}
			return true
		}
	}
	return o.list.Peer(id) || o.found(id)
}

// warnOfExcluded says that there is data about nodes of the list, as after an older copy was
// restored or imported.
func warnOfExcluded(list *sentry.Exclude, state *tracker.State, log *slog.Logger) {
	if list == nil || state == nil || list.Len() == 0 {
		return
	}
	n := 0
	for p := range state.Peers() {
		if excludes(list, p) {
			n++
		}
	}
	if n > 0 {
		log.Warn("there is data about nodes of the exclude file: stop the consumer, run 'valtrack purge --exclude FILE', and start it again", slog.Int("nodes", n))
	}
}

// excludes reports whether the peer is on the list by its id, its record's addresses or that of
// its newest handshake.
func excludes(list *sentry.Exclude, p *tracker.Peer) bool {
	for _, text := range []string{p.Record.IP, p.Record.IP6} {
		if a, err := netip.ParseAddr(text); err == nil && list.Address(a) {
			return true
		}
	}
	return list.Peer(p.ID) || list.Multiaddr(p.Multiaddr)
}

// found reports whether the node was at an address that is still excluded.
func (o *optOut) found(id string) bool { return o.list.Address(o.foundAt[id]) }
