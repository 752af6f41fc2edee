package sentry

import (
	"encoding/binary"
	"log/slog"
	"slices"
	"time"

	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/eth2/enr"
	"github.com/chainbound/valtrack/internal/prefix"
)

// The alarm tells the operator that the network has moved to a fork that our
// schedule does not have: then nearly every record carries a digest that we do not
// know, and the crawl runs dry without an error.
//
// Discovery is shared with hundreds of chains, so an unknown digest alone says
// nothing. It counts when something links it to our network, most certain first:
//   - the same node had one of our digests before;
//   - nodes with our current digest announced it as their next one (nfd);
//   - the record announces a fork that we expect: one of our later digests, or the
//     epoch of our next fork, which another chain hardly shares;
//   - its next fork version is of our family: it differs from our versions only
//     where those differ from each other, and is none that we know.
//
// The last one is a guess, and the only link there is when the sentry starts after
// the fork. It needs a majority; the others need a fifth.
const (
	alarmMajority = 0.5
	alarmFifth    = 0.2
	// alarmLeast is the number of nodes below which shares mean nothing.
	alarmLeast = 20
	// announcers is the number of nodes that must announce a digest before it is
	// taken for our next one.
	announcers = 3
	// alarmBucket is a third of the time over which records count, and the time
	// between two log lines of an ongoing alarm; for slots of 12 s.
	alarmBucket = 10 * time.Minute
	// maxAnnounced bounds the digests that nodes announce in one bucket.
	maxAnnounced = 64
	// maxAlarmNodes bounds the nodes that one bucket counts.
	maxAlarmNodes = 50_000
)

// kind classifies a record's digest.
type kind int

const (
	kindForeign kind = iota
	kindCurrent
	kindNext
	kindOlder    // of our schedule, but neither
	kindLinked   // unknown, and linked to our network for certain
	kindFamily   // unknown, with a fork version like ours
	kindUnaware  // current, with a next digest that our schedule does not have
	kindsOfAlarm // their number
)

// alarm counts nodes by the kind of their newest record, one per network of addresses. Only the schedule's goroutine uses it.
type alarm struct {
	forks   forks
	log     *slog.Logger
	bucket  time.Duration
	started time.Time // of the newest bucket
	// buckets hold each network of addresses once, in the kind of its newest record.
	buckets [3]map[prefix.Key]kind
	// announced are digests that nodes with ours announce, by bucket too.
	announced [3]announced
	// example is the newest unknown digest that is linked to our network.
	example eth2.ForkDigest
	raised  bool
	logged  time.Time
	checked time.Time
	last    digestShares // when last checked with enough nodes
}

// digestShares are of the nodes that seem to be on our network, 0 to 1.
type digestShares struct {
	unknown float64 // have a fork digest that our schedule does not have
	next    float64 // have ours, and announce a next one that our schedule does not have
}

func newAlarm(f forks, log *slog.Logger) *alarm {
	a := &alarm{forks: f, log: log, bucket: f.clock.Scale(alarmBucket)}
	for i := range a.buckets {
		a.buckets[i], a.announced[i] = make(map[prefix.Key]kind), make(announced)
	}
	return a
}

// observe counts a node's record; at is the network of addresses in which the node answered, zero for
// a node to count by itself. ours says whether it had one of our digests before.
func (a *alarm) observe(r *enr.Record, at prefix.Key, ours bool, now time.Time) {
	if r.Eth2 == nil {
		return
	}
	if at == 0 {
		at = prefix.Key(binary.BigEndian.Uint64(r.NodeID[:]))
	}
	a.rotate(now)
	k := a.kindOf(r, at, ours, now)
	if k == kindForeign {
		return
	}
	for i := 1; i < len(a.buckets); i++ {
		delete(a.buckets[i], at)
	}
	if _, seen := a.buckets[0][at]; seen || len(a.buckets[0]) < maxAlarmNodes {
		a.buckets[0][at] = k
	}
}

// rotate starts a new bucket when it is time.
func (a *alarm) rotate(now time.Time) {
	if now.Sub(a.started) < a.bucket {
		return
	}
	a.started = now
	last := a.buckets[2]
	clear(last)
	a.buckets[0], a.buckets[1], a.buckets[2] = last, a.buckets[0], a.buckets[1]
	oldest := a.announced[2]
	clear(oldest)
	a.announced[0], a.announced[1], a.announced[2] = oldest, a.announced[0], a.announced[1]
}

func (a *alarm) kindOf(r *enr.Record, at prefix.Key, ours bool, now time.Time) kind {
	epoch := a.forks.clock.EpochAt(now)
	digest := r.Eth2.ForkDigest
	next, scheduled := a.forks.schedule.Next(epoch)
	switch {
	case digest == a.forks.current(now):
		return a.announcement(r, at)
	case scheduled && digest == next.Digest:
		return kindNext
	case a.known(digest):
		return kindOlder
	}
	expected := scheduled && (r.Eth2.NextForkEpoch == next.FirstEpoch || r.NFD != nil && a.later(*r.NFD, epoch))
	switch {
	case ours, a.awaited(digest), expected:
		a.example = digest
		return kindLinked
	case a.family(r.Eth2.NextForkVersion):
		a.example = digest
		return kindFamily
	}
	return kindForeign
}

func (a *alarm) known(d eth2.ForkDigest) bool {
	_, ok := a.forks.schedule.Lookup(d)
	return ok
}

// later reports whether the digest is in our schedule after the epoch.
func (a *alarm) later(d eth2.ForkDigest, epoch eth2.Epoch) bool {
	p, ok := a.forks.schedule.Lookup(d)
	return ok && p.FirstEpoch > epoch
}

// announcement notes which digest a node with ours says comes next.
func (a *alarm) announcement(r *enr.Record, at prefix.Key) kind {
	if r.NFD == nil || *r.NFD == (eth2.ForkDigest{}) || a.known(*r.NFD) {
		return kindCurrent
	}
	a.announced[0].add(*r.NFD, at)
	a.example = *r.NFD
	return kindUnaware
}

// announced are the nodes that announce a digest, the first few of each.
type announced map[eth2.ForkDigest][]prefix.Key

// add notes that a node announces a digest. When there are too many, the one that the
// fewest nodes announce makes room.
func (n announced) add(d eth2.ForkDigest, id prefix.Key) {
	nodes, seen := n[d]
	if len(nodes) == announcers || slices.Contains(nodes, id) {
		return
	}
	if !seen && len(n) >= maxAnnounced {
		var rarest eth2.ForkDigest
		fewest := announcers + 1
		for other, nodes := range n {
			if len(nodes) < fewest {
				rarest, fewest = other, len(nodes)
			}
		}
		delete(n, rarest)
	}
	n[d] = append(nodes, id)
}

// awaited reports whether enough nodes have announced the digest. As long as records
// carry it, that is not forgotten.
func (a *alarm) awaited(d eth2.ForkDigest) bool {
	var nodes []prefix.Key
	for _, bucket := range a.announced {
		for _, id := range bucket[d] {
			if !slices.Contains(nodes, id) {
				nodes = append(nodes, id)
			}
		}
	}
	if len(nodes) < announcers {
		return false
	}
	for _, id := range nodes {
		a.announced[0].add(d, id)
	}
	return true
}

// family reports whether a fork version that we do not know differs from ours only
// in the bytes in which ours differ from each other. A schedule with one version
// has no family.
func (a *alarm) family(v eth2.Version) bool {
	periods := a.forks.schedule.Periods
	first := periods[0].ForkVersion
	var varies [len(first)]bool
	several := false
	for _, p := range periods {
		if p.ForkVersion == v {
			return false
		}
		for i := range first {
			if p.ForkVersion[i] != first[i] {
				varies[i], several = true, true
			}
		}
	}
	for i := range first {
		if !varies[i] && v[i] != first[i] {
			return false
		}
	}
	return several
}

// shares are parts of the nodes that are on our network, or seem to be.
type shares struct {
	nodes   int
	linked  float64 // unknown digest, linked for certain
	unknown float64 // those and the ones of our family
	unaware float64 // announce a next digest that we do not know
	current float64 // have our current digest, those included
}

// unsure means that there are too few nodes for shares.
func (s shares) unsure() bool { return s.nodes < alarmLeast }

func (a *alarm) shares(now time.Time) shares {
	a.rotate(now)
	var counts [kindsOfAlarm]int
	for _, b := range a.buckets {
		for _, k := range b {
			counts[k]++
		}
	}
	s := shares{nodes: counts[kindCurrent] + counts[kindUnaware] + counts[kindNext] + counts[kindLinked] + counts[kindFamily]}
	if !s.unsure() {
		all := float64(s.nodes)
		s.linked = float64(counts[kindLinked]) / all
		s.unknown = float64(counts[kindLinked]+counts[kindFamily]) / all
		s.unaware = float64(counts[kindUnaware]) / all
		s.current = float64(counts[kindCurrent]+counts[kindUnaware]) / all
	}
	return s
}

// check returns the shares, recounted ten times per bucket, and
// logs a problem once per bucket. With too few nodes it knows nothing new: after a fork that
// we do not have no handshake completes, and that is no sign that all is well. The last share
// stays, and so does an alarm, until most nodes have our digest.
func (a *alarm) check(now time.Time) digestShares {
	if now.Sub(a.checked) < a.bucket/10 {
		return a.last
	}
	s := a.shares(now)
	a.checked = now
	if !s.unsure() {
		a.last = digestShares{unknown: s.unknown, next: s.unaware}
	}
	moved := s.linked >= alarmFifth || s.unknown >= alarmMajority
	wrong := moved || s.unaware >= alarmFifth
	switch {
	case a.raised && !wrong && s.current > alarmMajority:
		a.raised = false
		a.log.Info("fork digests match our schedule again", slog.Int("nodes", s.nodes))
	case (wrong || a.raised) && (!a.raised || now.Sub(a.logged) >= a.bucket):
		a.raised, a.logged = true, now
		attrs := []any{
			slog.Int("nodes", s.nodes), slog.String("digest", a.example.String()), slog.String("our_digest", a.forks.current(now).String()),
		}
		if !s.unsure() {
			attrs = append(attrs, slog.Float64("share", max(s.unknown, s.unaware)))
		}
		a.log.Error(alarmMessage(moved, wrong), attrs...)
	}
	return a.last
}

// alarmMessage says what an alarm is about.
func alarmMessage(moved, wrong bool) string {
	switch {
	case moved:
		return "many nodes of this network have a fork digest that is not in our schedule: most likely the network has forked " +
			"and this configuration is outdated; update valtrack, or the config.yaml of --network-dir"
	case wrong:
		return "many nodes of this network announce a next fork that is not in our schedule; " +
			"update valtrack, or the config.yaml of --network-dir, before it activates"
	}
	return "the fork alarm stays on: whether this network still has a fork that is not in our schedule is unknown, " +
		"because too few nodes with our digest have answered lately; update valtrack, or the config.yaml of --network-dir"
}
