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

// Bounds of what is kept of one peer.
const (
	maxEndpoints  = 4
	maxCustody    = 8
	maxOpenVisits = 4
	// maxVersionsADay bounds the statistics of a peer that changes its agent all the time.
	maxVersionsADay = 4
	// maxLiveDays bounds the days of a draft that are ready for more.
	maxLiveDays = Window + maxVersionsADay
	// outcomes is how many event.Outcomes there are.
	outcomes = 12
)

// Peer is what is known of one peer. Times are Unix milliseconds, 0 for never.
// Pointers are nil and strings empty where nobody told. It is immutable.
type Peer struct {
	ID      string       `json:"-"`
	Network string       `json:"network"`
	NodeID  *eth2.NodeID `json:"node_id,omitempty"`
	Client  eth2.Client  `json:"client"`
	Crawler event.Common `json:"crawler"` // of the last handshake; its timestamp is the handshake's
	Record  Record       `json:"record"`
	Address string       `json:"address,omitempty"` // transport/ip:port of the last outbound handshake
	// Outcomes counts ended visits, in the order of event.Outcomes.
	Outcomes [outcomes]uint32 `json:"outcomes"`
	// LastOutcome is that of the visit that ended last, at LastVisit.
	LastOutcome string `json:"last_outcome,omitempty"`
	LastVisit   int64  `json:"last_visit,omitempty"`

	// Of the newest handshake.
	Multiaddr         string          `json:"multiaddr,omitempty"`
	Direction         string          `json:"direction,omitempty"`
	Transport         string          `json:"transport,omitempty"`
	ForkDigest        eth2.ForkDigest `json:"fork_digest"`
	LastEpoch         eth2.Epoch      `json:"last_epoch"`
	Attnets           eth2.Attnets    `json:"attnets"`
	CustodyGroupCount *uint64         `json:"custody_group_count,omitempty"`

	FirstSeen     int64 `json:"first_seen"`
	LastSeen      int64 `json:"last_seen"`
	LastHandshake int64 `json:"last_handshake,omitempty"`
	// Observations counts handshakes, Watches logs of subscriptions, WatchedMS their time.
	Observations uint64 `json:"observations"`
	Watches      uint64 `json:"watches"`
	WatchedMS    int64  `json:"watched_ms"`

	Custody        estimate.Custody `json:"custody"`
	CustodyHistory []CustodyChange  `json:"custody_history,omitempty"` // oldest first
	// Endpoints are the addresses of outbound handshakes, oldest first.
	Endpoints []Endpoint `json:"endpoints,omitempty"`
	// Open are visits whose end is still to come.
	Open []openVisit `json:"open,omitempty"`

	// Estimate is nil before the first.
	Estimate *Estimate `json:"estimate,omitempty"`

	days []day // ascending
}

// Record is the newest node record.
type Record struct {
	At              int64            `json:"at,omitempty"` // 0 without a record
	ENR             string           `json:"enr,omitempty"`
	Seq             uint64           `json:"seq,omitempty"`
	IP              string           `json:"ip,omitempty"`
	IP6             string           `json:"ip6,omitempty"`
	Port            uint16           `json:"port,omitempty"` // TCP
	UDP             uint16           `json:"udp,omitempty"`  // of discovery
	QUIC            uint16           `json:"quic,omitempty"`
	ForkDigest      *eth2.ForkDigest `json:"fork_digest,omitempty"`
	NextForkVersion *eth2.Version    `json:"next_fork_version,omitempty"`
	NFD             *eth2.ForkDigest `json:"nfd,omitempty"`
}

// CustodyChange is a custody group count that differs from the one before.
type CustodyChange struct {
	At    int64  `json:"at"`
	Count uint64 `json:"count"`
}

// Endpoint is an address at which the peer was found.
type Endpoint struct {
	Address string `json:"address"` // transport/ip:port
	First   int64  `json:"first"`
	Last    int64  `json:"last"`
}

// openVisit joins a handshake with its visit's watch.
type openVisit struct {
	ID      string       `json:"id"`
	Attnets eth2.Attnets `json:"attnets"` // MetaData's, the newest of the visit
}

func newPeer(id string) Peer { return Peer{ID: strings.Clone(id)} }

// draft is a peer that changes. What its slices and pointers point to is shared with
// the peer it was copied from: they are replaced, not written, but for slices that the
// draft made itself.
type draft struct {
	Peer
	client                *client // what Client was read from last, nil when not in this segment
	statistics            []liveDay
	ownOpen, ownEndpoints bool
}

// keep copies a string of an event, whose memory is used again.
func keep(into *string, s string) {
	if *into != s {
		*into = strings.Clone(s)
	}
}

func (d *draft) seen(t *Tracker, c event.Common, at int64) {
	t.own(&d.Network, c.Network)
	if d.FirstSeen == 0 || at < d.FirstSeen {
		d.FirstSeen = at
	}
	d.LastSeen = max(d.LastSeen, at)
}

func (d *draft) discovered(t *Tracker, e *event.PeerDiscovered) {
	d.seen(t, e.Common, e.Timestamp)
	if d.Record.At > 0 && (e.Seq < d.Record.Seq || e.Seq == d.Record.Seq && e.Timestamp < d.Record.At) {
		return
	}
	id := e.NodeID
	d.NodeID = &id
	r := Record{At: e.Timestamp, ENR: d.Record.ENR, Seq: e.Seq, IP: d.Record.IP, IP6: d.Record.IP6, Port: e.Port, UDP: e.UDP, QUIC: e.QUIC,
		ForkDigest: copied(e.ForkDigest), NextForkVersion: copied(e.NextForkVersion), NFD: copied(e.NFD)}
	keep(&r.ENR, e.ENR)
	keep(&r.IP, e.IP)
	keep(&r.IP6, e.IP6)
	d.Record = r
	// MetaData is newer than any record, which nodes write at most when they restart.
	if e.CustodyGroupCount != nil && d.Observations == 0 {
		d.custody(e.Timestamp, *e.CustodyGroupCount)
	}
}

func (d *draft) handshake(t *Tracker, e *event.MetadataReceived) {
	d.seen(t, e.Common, e.Timestamp)
	d.Observations++
	client := t.client(e.ClientVersion)
	d.observe(t, e, client.filed)
	d.opened(e.VisitID, e.MetaData.Attnets)
	if e.MetaData.CustodyGroupCount != nil {
		d.custody(e.Timestamp, *e.MetaData.CustodyGroupCount)
	}
	if e.Timestamp < d.LastHandshake {
		return
	}
	d.LastHandshake = e.Timestamp
	if d.client != client {
		d.Client, d.client = client.Client, client
	}
	d.Crawler.Network, d.Crawler.Timestamp = d.Network, e.Timestamp
	t.own(&d.Crawler.CrawlerID, e.CrawlerID)
	t.own(&d.Crawler.CrawlerLocation, e.CrawlerLocation)
	moved := d.Multiaddr != e.Multiaddr
	if moved {
		d.Multiaddr = strings.Clone(e.Multiaddr)
	}
	t.own(&d.Direction, e.Direction)
	t.own(&d.Transport, e.Transport)
	d.ForkDigest, d.LastEpoch, d.Attnets = e.ForkDigest, e.Epoch, e.MetaData.Attnets
	if c := e.MetaData.CustodyGroupCount; c == nil || d.CustodyGroupCount == nil || *c != *d.CustodyGroupCount {
		d.CustodyGroupCount = copied(c)
	}
	if e.NodeID != nil && d.NodeID == nil {
		d.NodeID = copied(e.NodeID)
	}
	if d.Record.At == 0 {
		keep(&d.Record.ENR, e.ENR)
	}
	if e.Direction == event.Outbound { // the port of an inbound connection is any
		address := d.Address
		if moved || address == "" {
			address = endpointOf(e.Multiaddr)
		}
		d.reached(address, e.Timestamp)
	}
}

// observe adds the look at the peer's subscriptions.
func (d *draft) observe(t *Tracker, e *event.MetadataReceived, client *eth2.Client) {
	s := d.day(t, e.Timestamp, client)
	if s == nil {
		return
	}
	s.AddSnapshot(t.model.Params(), estimate.Snapshot{At: e.Timestamp, Subscribed: e.SubscribedSubnets, LongLived: e.MetaData.Attnets})
	if e.MetaData.Syncnets != nil {
		s.AddSyncnets(t.model.Params(), e.Timestamp, *e.MetaData.Syncnets)
	}
}

func (d *draft) visitEnded(t *Tracker, e *event.VisitEnded) {
	t.own(&d.Network, e.Network)
	i := slices.IndexFunc(d.Open, func(v openVisit) bool { return v.ID == e.VisitID })
	if e.Watch != nil {
		attnets := d.Attnets
		if i >= 0 {
			attnets = d.Open[i].Attnets
		}
		attnets = d.watched(t, e, attnets)
		i = d.opened(e.VisitID, attnets)
	}
	if e.More {
		return
	}
	if i >= 0 {
		d.takeOpen()
		d.Open = slices.Delete(d.Open, i, i+1)
	}
	if i := slices.Index(event.Outcomes(), e.Outcome); i >= 0 && i < outcomes {
		d.Outcomes[i]++
	}
	if e.Ended >= d.LastVisit {
		d.LastVisit = e.Ended
		t.own(&d.LastOutcome, e.Outcome)
	}
}

// watched adds a watch of a peer whose MetaData had attnets when it began, and gives
// those at its end.
func (d *draft) watched(t *Tracker, e *event.VisitEnded, attnets eth2.Attnets) eth2.Attnets {
	w := e.Watch
	d.seen(t, e.Common, w.To)
	d.Watches++
	d.WatchedMS += max(0, w.To-w.From)
	client := new(clientOf(d.Client))
	if e.ClientVersion != "" {
		client = t.client(e.ClientVersion).filed
	}
	s := d.day(t, w.From, client)
	longLived := attnets
	for _, m := range w.MetaDataChanges {
		attnets = m.Attnets
		for i := range longLived {
			longLived[i] |= attnets[i]
		}
		if m.CustodyGroupCount != nil {
			d.custody(w.From+m.At, *m.CustodyGroupCount)
		}
		if m.Syncnets != nil && s != nil {
			s.AddSyncnets(t.model.Params(), w.From+m.At, *m.Syncnets)
		}
	}
	if s != nil {
		s.AddWatch(t.model.Params(), estimate.WatchLog{From: w.From, To: w.To, Initial: w.Initial, Changes: w.Changes, LongLived: longLived})
	}
	return attnets
}

func (d *draft) custody(at int64, cgc uint64) {
	d.Custody.Observe(at, cgc)
	h := d.CustodyHistory
	if n := len(h); n > 0 && (h[n-1].Count == cgc || at < h[n-1].At) {
		return
	}
	d.CustodyHistory = append(slices.Clone(h[max(0, len(h)+1-maxCustody):]), CustodyChange{at, cgc})
}

// reached notes the address of a handshake.
func (d *draft) reached(address string, at int64) {
	if address == "" {
		return
	}
	d.Address = address
	if !d.ownEndpoints {
		d.Endpoints, d.ownEndpoints = append(make([]Endpoint, 0, maxEndpoints), d.Endpoints...), true
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

// opened puts a visit at the end of Open, and gives its place there.
func (d *draft) opened(id string, attnets eth2.Attnets) int {
	d.takeOpen()
	v := openVisit{Attnets: attnets}
	i := slices.IndexFunc(d.Open, func(o openVisit) bool { return o.ID == id })
	switch {
	case i >= 0:
		v.ID = d.Open[i].ID
		d.Open = slices.Delete(d.Open, i, i+1)
	case len(d.Open) == maxOpenVisits:
		d.Open = slices.Delete(d.Open, 0, 1)
	}
	keep(&v.ID, id)
	d.Open = append(d.Open, v)
	return len(d.Open) - 1
}

// takeOpen makes Open the draft's own.
func (d *draft) takeOpen() {
	if !d.ownOpen {
		d.Open, d.ownOpen = append(make([]openVisit, 0, maxOpenVisits), d.Open...), true
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

// withoutAddresses is the peer without the addresses that were not seen to hold since a
// time, Unix milliseconds: itself when it has none of them.
func (p *Peer) withoutAddresses(before int64) *Peer {
	old := func(e Endpoint) bool { return e.Last < before }
	unheard := p.LastSeen < before && (p.Address != "" || p.Multiaddr != "" || p.Record.ENR != "" || p.Record.IP != "" || p.Record.IP6 != "")
	if !unheard && !slices.ContainsFunc(p.Endpoints, old) {
		return p
	}
	next := *p
	next.Endpoints = slices.DeleteFunc(slices.Clone(p.Endpoints), old)
	if !slices.ContainsFunc(next.Endpoints, func(e Endpoint) bool { return e.Address == p.Address }) {
		next.Address = ""
	}
	if unheard {
		next.Multiaddr = ""
		r := &next.Record
		r.ENR, r.IP, r.IP6 = "", "", ""
	}
	return &next
}
