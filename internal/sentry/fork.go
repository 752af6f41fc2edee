package sentry

import (
	"context"
	"time"

	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/eth2/network"
)

const (
	// staleEpochs is how long after a fork a record with the digest before it is
	// still dialled, and topics of that digest still count: the node has most likely
	// moved on and only its record is old; and clients leave the old topics late.
	staleEpochs = 2
	// joinEpochs is how long before a fork topics of the next digest count. Clients
	// join them up to two epochs ahead.
	joinEpochs = 3
)

// forks tells which digests count at a given time. It has no state: the schedule
// and the clock determine everything, so that a fork, or a fork of blob parameters only, needs
// no restart.
type forks struct {
	clock    eth2.Clock
	schedule eth2.Schedule
}

func forksOf(net network.Network) forks { return forks{clock: net.Clock, schedule: net.Schedule} }

// current is the digest in force.
func (f forks) current(now time.Time) eth2.ForkDigest {
	return f.schedule.At(f.clock.EpochAt(now)).Digest
}

// id is the eth2 and the nfd entry of our record.
func (f forks) id(now time.Time) (eth2.ENRForkID, eth2.ForkDigest) {
	return f.schedule.ForkID(f.clock.EpochAt(now))
}

// boundary is the start of the next period; ok is false when there is none that a
// clock can reach.
func (f forks) boundary(now time.Time) (at time.Time, ok bool) {
	epoch := f.clock.EpochAt(now)
	next, ok := f.schedule.Next(epoch)
	const farAway = 1 << 20 // epochs: 13 years on mainnet
	if !ok || next.FirstEpoch-epoch > farAway {
		return time.Time{}, false
	}
	return f.clock.EpochStart(next.FirstEpoch), true
}

// ours reports whether a record with this digest is of a node to dial: the current
// digest, the next one, or shortly after a fork the one before.
func (f forks) ours(digest eth2.ForkDigest, now time.Time) bool {
	epoch := f.clock.EpochAt(now)
	at := f.schedule.At(epoch)
	if digest == at.Digest {
		return true
	}
	if next, ok := f.schedule.Next(epoch); ok && digest == next.Digest {
		return true
	}
	return at.FirstEpoch > 0 && epoch < at.FirstEpoch+staleEpochs && digest == f.schedule.At(at.FirstEpoch-1).Digest
}

// accepts reports whether a peer with this digest in its Status is on our network:
// the current digest, or one that is current within a slot of now, for clocks that
// differ.
func (f forks) accepts(digest eth2.ForkDigest, now time.Time) bool {
	slot := f.clock.SlotDuration
	return digest == f.current(now) || digest == f.current(now.Add(slot)) || digest == f.current(now.Add(-slot))
}

// subscribed reports whether a topic of this digest counts: the current one, and
// around a fork both.
func (f forks) subscribed(digest eth2.ForkDigest, now time.Time) bool {
	epoch := f.clock.EpochAt(now)
	if next, ok := f.schedule.Next(epoch); ok && digest == next.Digest {
		return next.FirstEpoch-epoch <= joinEpochs
	}
	return f.ours(digest, now)
}

// nearFork reports whether a fork is less than an epoch ahead, or less than
// staleEpochs behind: nodes that disagree about the digest then may agree soon.
func (f forks) nearFork(now time.Time) bool {
	epoch := f.clock.EpochAt(now)
	if next, ok := f.schedule.Next(epoch); ok && next.FirstEpoch-epoch <= 1 {
		return true
	}
	first := f.schedule.At(epoch).FirstEpoch
	return first > 0 && epoch < first+staleEpochs
}

// statusBlackout is the end of the time around a fork in which no Status is sent, so
// that none arrives with the previous digest: a quarter of a slot to either side. It
// is shorter than the time for which clients wait for a Status (Prysm and Teku 10 s).
func (f forks) statusBlackout(now time.Time) (until time.Time, ok bool) {
	return f.around(now, f.clock.SlotDuration/4)
}

// dialBlackout is the end of the time around a fork in which no peer is dialled, if now
// is in it: from half a slot before to half a slot after. Clients ban a peer for hours
// that sends a Status with the wrong digest then.
func (f forks) dialBlackout(now time.Time) (until time.Time, ok bool) {
	return f.around(now, f.clock.SlotDuration/2)
}

// around is the end of the time around a fork's boundary, if now is within reach of
// one.
func (f forks) around(now time.Time, reach time.Duration) (until time.Time, ok bool) {
	if at, ok := f.boundary(now); ok && now.Add(reach).After(at) {
		return at.Add(reach), true
	}
	epoch := f.clock.EpochAt(now)
	if first := f.schedule.At(epoch).FirstEpoch; first > 0 && first == epoch {
		if end := f.clock.EpochStart(first).Add(reach); now.Before(end) {
			return end, true
		}
	}
	return time.Time{}, false
}

// awaitStatusBlackout returns when a Status may be sent.
func (f forks) awaitStatusBlackout(ctx context.Context) error {
	until, ok := f.statusBlackout(time.Now())
	if !ok {
		return nil
	}
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// follow keeps the fork entries of our record on the schedule until ctx ends.
func (f forks) follow(ctx context.Context, finder Finder) {
	for {
		now := time.Now()
		finder.SetFork(f.id(now))
		at, ok := f.boundary(now)
		if !ok {
			<-ctx.Done()
			return
		}
		timer := time.NewTimer(at.Sub(now))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}
