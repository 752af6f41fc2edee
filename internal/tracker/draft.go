package tracker

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/chainbound/valtrack/internal/estimate"
	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/event"
)

// draft is the copy of a peer that an open segment changes. What is changed in the peer
// meanwhile is changed here too, by Tracker.amend. What its slices and pointers
// point to is shared with the committed peer: they are replaced, not written to, except
// for slices that the draft has copied.
type draft struct {
	Peer
	client *client // that Client was set from; nil before the first time in the segment
	// openDays are those that observations were added to, not encoded yet.
	openDays                                 []openDay
	copiedOpen, copiedEndpoints, copiedViews bool
	watchedNow                               bool // in the segment
}

// keep copies a string of an event, so that the event's memory can be reused or freed.
func keep(into *string, s string) {
	if *into != s {
		*into = strings.Clone(s)
	}
}

// seen notes the network and the time of an event.
func (d *draft) seen(f *fold, c event.Common, at int64) {
	f.interner.intern(&d.Network, c.Network)
	if d.FirstSeen == 0 || at < d.FirstSeen {
		d.FirstSeen = at
	}
	d.LastSeen = max(d.LastSeen, at)
}

// LaterRecord reports whether a record that was observed at a time (Unix ms) replaces the one
// that was observed before: the later observation counts, whatever its seq. A node that was
// set up again with its old key begins with a low seq, and a sentry publishes a lower one only
// when the node itself answered with it. Of two at one time the higher seq counts. What others
// reported (own, nil where that is not known) does not replace a higher seq: another sentry
// may only just have been given the old record.
func LaterRecord(at int64, seq uint64, own *bool, before int64, seqBefore uint64) bool {
	if own != nil && !*own && seq < seqBefore {
		return false
	}
	return at > before || at == before && seq >= seqBefore
}

// discovered folds a node record.
func (d *draft) discovered(f *fold, e *event.PeerDiscovered) {
	d.seen(f, e.Common, e.Timestamp)
	if d.Record.At > 0 && !LaterRecord(e.Timestamp, e.Seq, e.Own, d.Record.At, d.Record.Seq) {
		return
	}
	id := e.NodeID
	d.NodeID = &id
	r := Record{At: e.Timestamp, ENR: d.Record.ENR, Seq: e.Seq, IP: d.Record.IP, IP6: d.Record.IP6, Port: e.Port, UDP: e.UDP, QUIC: e.QUIC,
		ForkDigest: copied(e.ForkDigest), NextForkVersion: copied(e.NextForkVersion), NextForkEpoch: copied(e.NextForkEpoch), NFD: copied(e.NFD)}
	keep(&r.ENR, e.ENR)
	keep(&r.IP, e.IP)
	keep(&r.IP6, e.IP6)
	d.Record = r
	// MetaData is newer than any record: most nodes update theirs only when they restart.
	if e.CustodyGroupCount != nil && d.Observations == 0 {
		d.custody(e.Timestamp, *e.CustodyGroupCount)
	}
}

// handshake folds the result of a handshake.
func (d *draft) handshake(f *fold, e *event.MetadataReceived) {
	d.seen(f, e.Common, e.Timestamp)
	d.viewHandshake(f, e)
	d.Observations++
	client := f.client(e.ClientVersion)
	d.observe(f, e, client.key)
	d.opened(f, e.VisitID, e.MetaData.Attnets)
	if e.MetaData.CustodyGroupCount != nil {
		d.custody(e.Timestamp, *e.MetaData.CustodyGroupCount)
	}
	if e.Timestamp < d.LastHandshake {
		return
	}
	if d.LastHandshake = e.Timestamp; e.Timestamp >= d.ClientAt {
		d.toldClient(e.Timestamp, client)
	}
	d.Crawler.Network, d.Crawler.Timestamp = d.Network, e.Timestamp
	f.interner.intern(&d.Crawler.CrawlerID, e.CrawlerID)
	f.interner.intern(&d.Crawler.CrawlerLocation, e.CrawlerLocation)
	moved := d.Multiaddr != e.Multiaddr
	if moved {
		d.Multiaddr = strings.Clone(e.Multiaddr)
	}
	if version := f.placesVersion(); moved || d.placed != version {
		d.Place, d.placed = f.place(d.Multiaddr), version
	}
	f.interner.intern(&d.Direction, e.Direction)
	f.interner.intern(&d.Transport, e.Transport)
	d.ForkDigest, d.LastEpoch = e.ForkDigest, e.Epoch
	d.metaData(e.Timestamp, e.MetaData)
	if e.NodeID != nil && d.NodeID == nil {
		d.NodeID = copied(e.NodeID)
	}
	if d.Record.At == 0 {
		keep(&d.Record.ENR, e.ENR)
	}
	if e.Direction == event.Outbound { // the port of an inbound connection is ephemeral
		address := d.Address
		if moved || address == "" {
			address = endpointOf(e.Multiaddr)
		}
		d.reached(address, e.Timestamp)
	}
}

// toldClient notes what the node told at a time, which is newer than what was known.
func (d *draft) toldClient(at int64, c *client) {
	if d.ClientAt = at; d.client != c {
		d.Client, d.client = c.Client, c
	}
}

// observe adds the snapshot of the peer's subscriptions.
func (d *draft) observe(f *fold, e *event.MetadataReceived, client *eth2.Client) {
	s := d.day(f, e.Timestamp, client)
	if s == nil {
		return
	}
	o := estimate.Snapshot{At: e.Timestamp, Subscribed: e.SubscribedSubnets, LongLived: e.MetaData.Attnets}
	if d.beingWatched(f, e.Timestamp) {
		o.Subscribed = nil
	}
	s.AddSnapshot(f.params, o)
	if e.MetaData.Syncnets != nil {
		s.AddSyncnets(f.params, e.Timestamp, *e.MetaData.Syncnets)
	}
}

// beingWatched reports whether another sentry watches the peer at a time, and will tell more in
// its next part than a snapshot, which would take the place of that.
func (d *draft) beingWatched(f *fold, at int64) bool {
	const parts = 2 // one each epoch; later the watch has ended without a word
	within := parts * f.params.Clock.EpochDuration().Milliseconds()
	return slices.ContainsFunc(d.Open, func(v openVisit) bool { return v.WatchedTo > 0 && at >= v.WatchedTo && at < v.WatchedTo+within })
}

// visitEnded folds the end of a visit, or a part of its watch. A part that comes again
// changes nothing.
func (d *draft) visitEnded(f *fold, e *event.VisitEnded) {
	f.interner.intern(&d.Network, e.Network)
	if e.ClientVersion != "" && e.Started > d.ToldClient() { // its handshake, if it had one, came after Started
		d.toldClient(e.Started, f.client(e.ClientVersion))
	}
	i := d.openIndex(e.VisitID)
	if e.Watch != nil {
		if i < 0 {
			i = d.opened(f, e.VisitID, d.Attnets)
		}
		d.copyOpen()
		first := d.Open[i].Parts == partWindow{}
		if !d.Open[i].Parts.add(e.Part) {
			return
		}
		if first {
			d.Watches++
		}
		d.viewWatch(f, e)
		if d.Open[i].WatchedTo = 0; e.More {
			d.Open[i].WatchedTo = e.Watch.To
		}
		d.watched(f, e, d.Open[i].Attnets)
	}
	if e.More {
		return
	}
	if i >= 0 && e.Watch == nil {
		d.copyOpen()
		d.Open = slices.Delete(d.Open, i, i+1)
	}
	d.viewVisit(f, e)
	if i := slices.Index(event.Outcomes(), e.Outcome); i >= 0 && i < outcomes {
		d.Outcomes[i]++
	}
	if e.Ended >= d.LastVisit {
		d.LastVisit = e.Ended
		f.interner.intern(&d.LastOutcome, e.Outcome)
	}
}

// watched adds a watch, or a part of one, of a visit whose handshake gave attnets. Each
// epoch of it belongs to the day in which the epoch began. What another sentry has watched, too,
// counts once.
func (d *draft) watched(f *fold, e *event.VisitEnded, attnets eth2.Attnets) {
	w := e.Watch
	d.seen(f, e.Common, w.To)
	d.watchedNow = true
	covered := d.Watched
	union, added := estimate.JoinSpans(covered, estimate.Span{w.From, w.To})
	d.Watched, d.WatchedMS = union, d.WatchedMS+added
	client := new(clientOf(d.Client))
	if e.ClientVersion != "" {
		client = f.client(e.ClientVersion).key
	}
	if w.Attnets != nil {
		attnets = *w.Attnets
	}
	for i := range w.MetaDataChanges {
		m := &w.MetaDataChanges[i]
		d.metadataChanged(f, client, w.From+max(0, min(m.At, w.To-w.From)), &m.MetaData)
	}
	changes := w.MetaDataChanges
	log := estimate.WatchLog{From: w.From, To: w.To, Initial: w.Initial, Since: w.Since, Changes: w.Changes}
	for epoch := range log.Epochs(f.params) {
		epoch.LongLived = attnets
		for ; len(changes) > 0 && (w.From+changes[0].At < epoch.To || epoch.To == w.To); changes = changes[1:] {
			attnets = changes[0].Attnets
			for i := range epoch.LongLived {
				epoch.LongLived[i] |= attnets[i]
			}
		}
		d.Duties = d.Duties.AddWatch(f.params, *client, epoch)
		for piece := range epoch.Outside(f.params, covered) {
			if s := d.day(f, epoch.From, client); s != nil {
				s.AddWatch(f.params, piece)
			}
		}
	}
}

// metadataChanged folds a MetaData of a watch.
func (d *draft) metadataChanged(f *fold, client *eth2.Client, at int64, m *event.MetaData) {
	d.metaData(at, m)
	if m.CustodyGroupCount != nil {
		d.custody(at, *m.CustodyGroupCount)
	}
	if m.Syncnets == nil {
		return
	}
	if s := d.day(f, at, client); s != nil {
		s.AddSyncnets(f.params, at, *m.Syncnets)
	}
}

// metaData notes what MetaData says, when no newer one is known.
func (d *draft) metaData(at int64, m *event.MetaData) {
	if at < d.MetaDataAt {
		return
	}
	d.MetaDataAt, d.Attnets = at, m.Attnets
	if c := m.CustodyGroupCount; c == nil || d.CustodyGroupCount == nil || *c != *d.CustodyGroupCount {
		d.CustodyGroupCount = copied(c)
	}
}

// custody notes a custody group count.
func (d *draft) custody(at int64, cgc uint64) {
	d.Custody.Observe(at, cgc)
	h := d.CustodyHistory
	if n := len(h); n > 0 && (h[n-1].Count == cgc || at < h[n-1].At) {
		return
	}
	d.CustodyHistory = append(slices.Clone(h[max(0, len(h)+1-maxCustody):]), CustodyChange{at, cgc})
}

// reached notes the address of an outbound handshake.
func (d *draft) reached(address string, at int64) {
	if address == "" {
		return
	}
	d.Address = address
	if !d.copiedEndpoints {
		d.Endpoints, d.copiedEndpoints = append(make([]Endpoint, 0, maxEndpoints), d.Endpoints...), true
	}
	if n := len(d.Endpoints); n > 0 && d.Endpoints[n-1].Address == address { // nearly always
		e := &d.Endpoints[n-1]
		e.First, e.Last = min(e.First, at), max(e.Last, at)
		return
	}
	e := Endpoint{address, at, at}
	i := slices.IndexFunc(d.Endpoints, func(e Endpoint) bool { return e.Address == address })
	switch {
	case i >= 0:
		e.First, e.Last = min(d.Endpoints[i].First, at), max(d.Endpoints[i].Last, at)
		d.Endpoints = slices.Delete(d.Endpoints, i, i+1)
	case len(d.Endpoints) == maxEndpoints:
		d.Endpoints = slices.Delete(d.Endpoints, 0, 1)
	}
	d.Endpoints = append(d.Endpoints, e)
}

func (d *draft) openIndex(visit string) int {
	return slices.IndexFunc(d.Open, func(v openVisit) bool { return v.ID == visit })
}

// opened puts a visit at the end of Open, unless it is there already, and returns its
// index there.
func (d *draft) opened(f *fold, id string, attnets eth2.Attnets) int {
	d.copyOpen()
	i := d.openIndex(id)
	if i < 0 {
		if limit := f.maxOpen(); len(d.Open) >= limit {
			d.Open = slices.Delete(d.Open, 0, len(d.Open)-limit+1)
		}
		d.Open = append(d.Open, openVisit{ID: strings.Clone(id)})
		i = len(d.Open) - 1
	}
	d.Open[i].Attnets = attnets
	return i
}

// copyOpen makes Open a copy that can be written to.
func (d *draft) copyOpen() {
	if !d.copiedOpen {
		d.Open, d.copiedOpen = slices.Clone(d.Open), true
	}
}

// endpointOf reads /ip4/192.0.2.1/udp/9001/quic-v1 as udp/192.0.2.1:9001; empty for
// anything else.
func endpointOf(multiaddr string) string {
	parts := strings.SplitN(multiaddr, "/", 6)
	if len(parts) < 5 || parts[3] != "tcp" && parts[3] != "udp" {
		return ""
	}
	addr, err1 := netip.ParseAddr(parts[2])
	port, err2 := strconv.ParseUint(parts[4], 10, 16)
	if err1 != nil || err2 != nil {
		return ""
	}
	return parts[3] + "/" + netip.AddrPortFrom(addr, uint16(port)).String()
}

func copied[T any](v *T) *T {
	if v == nil {
		return nil
	}
	c := *v
	return &c
}
