package sentry

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/eth2/enr"
	"github.com/chainbound/valtrack/internal/event"
	"github.com/chainbound/valtrack/internal/printable"
)

// Bounds on what peers say, in bytes.
const (
	maxAgent = 256
	maxError = 200
)

func (s *Sentry) common(now time.Time) event.Common {
	return event.Common{
		Network: s.cfg.NetworkName, CrawlerID: s.cfg.CrawlerID, CrawlerLocation: s.cfg.CrawlerLocation,
		Timestamp: now.UnixMilli(), ClockSkewMS: s.skew.milliseconds(now),
		GenesisValidatorsRoot: s.cfg.genesisRoot, CrawlerVersion: s.cfg.Version,
	}
}

func (s *Sentry) peerDiscovered(r *enr.Record, now time.Time) *event.PeerDiscovered {
	own := r.Own
	e := &event.PeerDiscovered{
		Common: s.common(now), ENR: r.Raw, ID: r.PeerID, NodeID: r.NodeID, Seq: r.Seq,
		IP: text(r.IP4), IP6: text(r.IP6), Port: r.TCP, UDP: r.UDP, QUIC: r.QUIC,
		Attnets: r.Attnets, Syncnets: r.Syncnets, CustodyGroupCount: r.CustodyGroupCount, NFD: r.NFD, Own: &own,
	}
	if r.Eth2 != nil {
		e.ForkDigest, e.NextForkVersion, e.NextForkEpoch = &r.Eth2.ForkDigest, &r.Eth2.NextForkVersion, &r.Eth2.NextForkEpoch
	}
	return e
}

func text(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// metadataReceived needs the visit's status and metadata.
func (s *Sentry) metadataReceived(v *visit, now time.Time) *event.MetadataReceived {
	e := &event.MetadataReceived{
		Common: s.common(now), ID: v.peerID, Multiaddr: v.multiaddr,
		Epoch:         s.forks.clock.EpochAt(now),
		MetaData:      metaDataOf(v.metadata),
		ClientVersion: shorten(v.agent, maxAgent), VisitID: v.id, Direction: v.direction, Transport: v.transport,
		ForkDigest: v.status.ForkDigest, HeadSlot: v.status.HeadSlot, FinalizedEpoch: v.status.FinalizedEpoch,
		EarliestAvailableSlot: v.status.EarliestAvailableSlot,
	}
	if v.record != nil {
		e.ENR = v.record.Raw
	}
	if id, err := enr.NodeIDFromPeerID(v.peerID); err == nil { // else not a secp256k1 key: no node id
		e.NodeID = &id
	}
	if v.helloCame {
		subs := s.subnets(v, now)
		columns := subs[eth2.TopicDataColumn].count()
		e.SubscribedSubnets = subs[eth2.TopicAttestation].list()
		e.SyncSubnets = subs[eth2.TopicSyncCommittee].list()
		e.ColumnSubnets = &columns
	}
	return e
}

func metaDataOf(m *eth2.MetaData) *event.MetaData {
	return &event.MetaData{
		SeqNumber: m.SeqNumber, Attnets: m.Attnets, Syncnets: m.Syncnets, CustodyGroupCount: m.CustodyGroupCount,
	}
}

// subnetSet marks subnets of one kind; the largest number is 127.
type subnetSet [eth2.NumberOfColumns]bool

// list is ascending and never nil.
func (s *subnetSet) list() []int {
	out := []int{}
	for i, in := range s {
		if in {
			out = append(out, i)
		}
	}
	return out
}

func (s *subnetSet) count() int { return len(s.list()) }

// subnets sorts the hello's topics of our digest by kind. Topics of other digests
// and malformed ones count for nothing.
func (s *Sentry) subnets(v *visit, now time.Time) map[eth2.TopicKind]*subnetSet {
	sets := map[eth2.TopicKind]*subnetSet{
		eth2.TopicAttestation: {}, eth2.TopicSyncCommittee: {}, eth2.TopicDataColumn: {},
	}
	for _, sub := range v.hello {
		topic, err := eth2.ParseTopic(sub.Topic)
		if err != nil || !s.forks.subscribed(topic.Digest, now) {
			continue
		}
		if set := sets[topic.Kind]; set != nil {
			set[topic.Subnet] = sub.Subscribe
		}
	}
	return sets
}

func (s *Sentry) visitEnded(v *visit) *event.VisitEnded {
	ended := v.started.Add(time.Since(v.started)) // a clock that is set back must not end it before its start
	e := &event.VisitEnded{
		Common: s.common(ended), VisitID: v.id, ID: v.peerID, Multiaddr: v.multiaddr,
		Direction: v.direction, Transport: v.transport,
		Started: v.started.UnixMilli(), Ended: ended.UnixMilli(),
		Outcome: v.outcome, GoodbyeCode: v.goodbye, ClientVersion: shorten(v.agent, maxAgent),
		Part: v.part, EarlierBootEnd: s.earlierBootEnd(), Watch: v.watch,
	}
	if v.err != nil {
		e.Error = shorten(withoutID(v.err.Error(), v.peerID), maxError)
	}
	if v.metadata != nil {
		ms := v.handshake.Milliseconds()
		e.HandshakeMS = &ms
	}
	return e
}

// earlierBootEnd is each of the known ones in turn.
func (s *Sentry) earlierBootEnd() string {
	ends := s.cfg.EarlierBootEnds
	if len(ends) == 0 {
		return ""
	}
	return ends[s.bootEndsTold.Add(1)%uint64(len(ends))]
}

// withoutID is the text of a dial's error without the peer's id, which is in the event and would
// leave no room for the cause.
func withoutID(text, id string) string {
	return strings.NewReplacer("failed to dial "+id+": ", "", "dial "+id+": ", "").Replace(text)
}

// publishParts publishes the parts of a watch's log that are whole. The last one goes
// with the visit's end, and with what is said once per visit.
func (s *Sentry) publishParts(handover context.Context, v *visit, log *subnetLog) {
	for _, part := range log.takeParts() {
		e := s.visitEnded(v)
		e.Outcome, e.Error, e.More, e.Watch = event.OutcomeOK, "", true, part.watch()
		if !s.cfg.Exclude.event(e) { // which looks at the address, too
			e.Multiaddr, e.HandshakeMS = "", nil
			s.publish(handover, e)
		}
		v.part++
		v.watched += part.to.Sub(part.from)
		s.counters.add(func(st *Stats) { st.SubnetChanges += uint64(len(part.changes)) })
	}
}

// shorten makes a text that a peer may have chosen printable, and cuts it to at most max
// bytes.
func shorten(s string, max int) string {
	s = printable.Clean(s)
	if len(s) > max {
		cut := max
		for cut > 0 && !utf8.RuneStart(s[cut]) {
			cut--
		}
		s = s[:cut]
	}
	return s
}

// lossLogEvery is how often a publisher that fails is logged.
const lossLogEvery = 10 * time.Second

// publish passes an event to the publisher. A failure is counted and logged: the
// crawl continues.
func (s *Sentry) publish(ctx context.Context, e event.Event) {
	if s.cfg.Exclude.event(e) {
		return
	}
	err := s.publisher.Publish(ctx, e)
	if err == nil {
		s.counters.add(func(st *Stats) { st.Published++ })
		return
	}
	s.counters.add(func(st *Stats) { st.Lost++ })
	if s.lossLog.Allow() {
		level := slog.LevelError
		if errors.Is(err, context.Canceled) {
			level = slog.LevelWarn
		}
		s.log.Log(ctx, level, "event lost", slog.String("subject", e.Subject()), slog.Uint64("lost", s.Stats().Lost), slog.Any("error", err))
	}
}
