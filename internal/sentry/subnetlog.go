package sentry

import (
	"math"
	"math/bits"
	"slices"
	"sync"
	"time"

	"github.com/chainbound/valtrack/internal/estimate"
	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/event"
	"github.com/chainbound/valtrack/internal/p2p"
)

const (
	// maxPartChanges is where the log of an epoch is cut into parts, so that an event stays
	// far under event.MaxSize. A node that takes every duty of 64 subnets by itself makes
	// about as many changes in an epoch.
	maxPartChanges = 4096
	// metadataChanges is what a MetaData counts for beside a subnet's change.
	metadataChanges = 16
	// maxParts bounds the parts that an epoch's changes fill, and those that wait to be
	// published. A peer that makes more is not following duties.
	maxParts = 16
)

// subnetLog is the subscription log of one watch: the attestation subnets that a
// peer is on, and each change. A subnet is on while the peer is subscribed to it on
// any digest that counts (forks.subscribed): around a fork that is two. The log is cut at
// each estimate.EpochCut, so that a part has one epoch.
//
// Its time begins with the wall clock, and goes on with the monotonic one. It moves only to
// times at which the peer was connected: a part never covers what was not seen.
//
// add is called from the goroutine that reads the peer's gossip, the rest from the
// visit's own.
type subnetLog struct {
	forks     forks
	monotonic time.Time // from, with the reading of the monotonic clock
	// ready gets a token when parts can be taken or the log has ended.
	ready chan struct{}

	mu      sync.Mutex // guards what follows
	begun   bool
	early   []timedChanges // added before begin
	topics  []digestSubnets
	on      uint64                              // bit i: on subnet i
	joined  [eth2.AttestationSubnetCount]uint32 // ms after from at which a subnet that is on was joined, plus 1; 0 where not known
	attnets *eth2.Attnets                       // of the newest MetaData in the log; nil while there is none
	from    time.Time                           // of the log, in whole ms; from here on times have no monotonic reading
	epoch   eth2.Epoch
	cut     eth2.Epoch // the log of this epoch begins at the next cut
	last    time.Time  // no change is before it
	part    logPart
	parts   []logPart // whole, not taken yet
	full    int       // parts that were full in this epoch
	endedBy error     // why nothing more is added; nil while the log is open
}

// digestSubnets are the attestation subnets a peer is subscribed to on one digest.
type digestSubnets struct {
	digest eth2.ForkDigest
	on     uint64
}

type timedChanges struct {
	at      time.Time
	changes []p2p.Subscription
}

// logPart is a stretch of the log.
type logPart struct {
	from, to time.Time
	initial  uint64
	since    []int         // as in event.Watch
	attnets  *eth2.Attnets // likewise
	changes  []subnetChange
	metadata []event.WatchMetaData
}

// subnetChange is eight bytes: hundreds of logs are kept at a time.
type subnetChange struct {
	after  uint32 // ms after the part's from
	subnet uint8
	on     bool
}

func newSubnetLog(f forks, from time.Time) *subnetLog {
	from = from.Add(-time.Duration(from.Nanosecond()) % time.Millisecond) // as events say it
	first := from.Round(0)
	return &subnetLog{
		forks: f, ready: make(chan struct{}, 1), monotonic: from,
		epoch: f.clock.EpochAt(from), cut: f.nextCut(from), from: first, last: first, part: logPart{from: first},
	}
}

// begin sets what the peer was subscribed to at the start. Changes that came before
// begin, but after that set was taken, follow it.
func (l *subnetLog) begin(current []p2p.Subscription) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.begun = true
	l.updateTopics(current)
	l.on = l.counted(l.last)
	l.part.initial = l.on
	for _, e := range l.early {
		l.change(e.at, e.changes)
	}
	l.early = nil
}

// add logs the changes of one RPC that was read at a time, or ends the log when there
// are none. It is a p2p.Session's follower.
func (l *subnetLog) add(at time.Time, changes []p2p.Subscription) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.begun {
		l.early = append(l.early, timedChanges{at, slices.Clone(changes)})
		return
	}
	l.change(at, changes)
}

func (l *subnetLog) change(at time.Time, changes []p2p.Subscription) {
	at = l.advance(at)
	if len(changes) == 0 {
		l.close(errStreamEnded)
		return
	}
	l.updateTopics(changes)
	l.logDifference(at)
}

// close ends the log where it is; mu is held.
func (l *subnetLog) close(why error) {
	if l.endedBy == nil {
		l.endedBy = why
		l.notify()
	}
}

// notify wakes up the visit; mu is held.
func (l *subnetLog) notify() {
	select {
	case l.ready <- struct{}{}:
	default:
	}
}

// addMetaData logs a MetaData that differs from the one before.
func (l *subnetLog) addMetaData(at time.Time, m *eth2.MetaData) {
	l.mu.Lock()
	defer l.mu.Unlock()
	at = l.advance(at)
	if l.endedBy != nil {
		return
	}
	l.part.metadata = append(l.part.metadata, event.WatchMetaData{
		At: at.Sub(l.part.from).Milliseconds(), MetaData: *metaDataOf(m),
	})
	l.attnets = &m.Attnets
	l.cutWhenFull(at)
}

// takeParts returns the complete parts since the last call.
func (l *subnetLog) takeParts() (parts []logPart) {
	l.mu.Lock()
	defer l.mu.Unlock()
	parts, l.parts = l.parts, nil
	return parts
}

// err is why the log ended before the watch, errFlood or errStreamEnded; nil while it
// has not ended.
func (l *subnetLog) err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.endedBy
}

// awaitEnd returns when the log has ended, or after the limit.
func (l *subnetLog) awaitEnd(limit time.Duration) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for l.err() == nil {
		select {
		case <-l.ready:
		case <-timer.C:
			return
		}
	}
}

// confirm says that the peer was connected at a time, and so made no change before it that
// is not in the log.
func (l *subnetLog) confirm(at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.advance(at)
}

// end returns the last part, which lasts until now, but no shorter than the changes in
// the log, and not past where the log has ended. Parts before it can still be taken.
func (l *subnetLog) end(now time.Time) logPart {
	l.mu.Lock()
	defer l.mu.Unlock()
	now = l.advance(now)
	last := l.part
	last.to = now
	return last
}

// advance moves the log's time forward, never back, over the ends of epochs: the log is cut
// at each, and then, when the epoch starts, digests can start or cease to count. It returns
// the log's time.
func (l *subnetLog) advance(now time.Time) time.Time {
	now = l.from.Add(now.Sub(l.monotonic))
	for !now.Before(l.last) && l.endedBy == nil {
		cut, start := estimate.EpochCut(l.forks.clock, l.cut), l.forks.clock.EpochStart(l.epoch+1)
		switch {
		case !cut.After(now) && !cut.After(start):
			l.cut++
			if l.last = latest(l.last, cut); l.last.After(l.part.from) && len(l.parts) < maxParts {
				l.startPart(l.last)
			}
		case !start.After(now):
			l.epoch, l.full = l.epoch+1, 0
			l.last = latest(l.last, start)
			l.logDifference(l.last)
		default:
			l.last = now
			return now
		}
	}
	return l.last
}

// updateTopics applies subscriptions on digests of our network's schedule, whether they count
// now or not.
func (l *subnetLog) updateTopics(changes []p2p.Subscription) {
	for _, c := range changes {
		topic, err := eth2.ParseTopic(c.Topic)
		if err != nil || topic.Kind != eth2.TopicAttestation {
			continue
		}
		set := l.topicsOf(topic.Digest)
		if set == nil {
			continue
		}
		if c.Subscribe {
			set.on |= 1 << topic.Subnet
		} else {
			set.on &^= 1 << topic.Subnet
		}
	}
}

// topicsOf is the digest's set; nil for a digest that our network never has.
func (l *subnetLog) topicsOf(digest eth2.ForkDigest) *digestSubnets {
	for i := range l.topics {
		if l.topics[i].digest == digest {
			return &l.topics[i]
		}
	}
	if _, ok := l.forks.schedule.Lookup(digest); !ok {
		return nil
	}
	l.topics = append(l.topics, digestSubnets{digest: digest})
	return &l.topics[len(l.topics)-1]
}

// counted is the set of subnets that are on at a time.
func (l *subnetLog) counted(at time.Time) (on uint64) {
	for _, t := range l.topics {
		if l.forks.subscribed(t.digest, at) {
			on |= t.on
		}
	}
	return on
}

// logDifference logs the difference between the set so far and the one of now.
func (l *subnetLog) logDifference(at time.Time) {
	for changed := l.on ^ l.counted(at); changed != 0 && l.endedBy == nil; changed &= changed - 1 {
		subnet := bits.TrailingZeros64(changed)
		l.on ^= 1 << subnet
		l.joined[subnet] = 0
		if l.on>>subnet&1 == 1 {
			l.joined[subnet] = uint32(at.Sub(l.from).Milliseconds()) + 1
		}
		l.part.changes = append(l.part.changes, subnetChange{
			after: uint32(at.Sub(l.part.from).Milliseconds()), subnet: uint8(subnet), on: l.on>>subnet&1 == 1,
		})
		l.cutWhenFull(at)
	}
}

// cutWhenFull starts the next part when this one is full.
func (l *subnetLog) cutWhenFull(at time.Time) {
	if len(l.part.changes)+metadataChanges*len(l.part.metadata) < maxPartChanges {
		return
	}
	if l.full++; l.full > maxParts || len(l.parts) >= maxParts {
		l.close(errFlood)
		return
	}
	l.startPart(at)
}

// startPart ends the part, and starts the next.
func (l *subnetLog) startPart(at time.Time) {
	l.part.to = at
	l.parts = append(l.parts, l.part)
	l.part = logPart{from: at, initial: l.on, since: l.since(at), attnets: l.attnets}
	l.notify()
}

// since is for each subnet that is on how long ago it was joined; nil when no time is known.
func (l *subnetLog) since(at time.Time) (list []int) {
	const longest = math.MaxInt32 // of the event
	known := false
	for _, subnet := range subnetList(l.on) {
		ms := 0
		if joined := l.joined[subnet]; joined > 0 {
			ms = int(at.Sub(l.from).Milliseconds()) - int(joined-1)
		}
		if ms < 0 || ms > longest {
			ms = 0
		}
		list, known = append(list, ms), known || ms > 0
	}
	if !known {
		return nil
	}
	return list
}

// watch is the part as it is published.
func (p *logPart) watch() *event.Watch {
	w := &event.Watch{
		From: p.from.UnixMilli(), To: p.to.UnixMilli(), Initial: subnetList(p.initial), Since: p.since, Attnets: p.attnets,
		Changes: make([]event.SubnetChange, len(p.changes)), MetaDataChanges: p.metadata,
	}
	for i, c := range p.changes {
		w.Changes[i] = event.SubnetChange{At: int64(c.after), Subnet: int(c.subnet), Subscribed: c.on}
	}
	if w.MetaDataChanges == nil {
		w.MetaDataChanges = []event.WatchMetaData{}
	}
	return w
}

// subnetList is ascending and never nil.
func subnetList(on uint64) []int {
	out := make([]int, 0, bits.OnesCount64(on))
	for ; on != 0; on &= on - 1 {
		out = append(out, bits.TrailingZeros64(on))
	}
	return out
}
