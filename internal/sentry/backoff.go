package sentry

import (
	"math/rand/v2"
	"time"

	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/event"
)

// spacing is the minimum time between two dials of an address. Like every time here
// it is for slots of 12 s, and shrinks with the slot.
const spacing = 30 * time.Second

// growth is how an error class backs off: first after one failure, doubled with
// each further one, at most limit.
type growth struct{ first, limit time.Duration }

// backoffs by outcome. The limits keep every peer in the schedule: none is abandoned
// while it is in the table.
func backoffOf(outcome string) growth {
	switch outcome {
	case event.OutcomeCanceled:
		return growth{spacing, spacing}
	case event.OutcomeRefused, event.OutcomeDialTimeout:
		return growth{time.Minute, time.Hour}
	case event.OutcomeUnreachable:
		return growth{5 * time.Minute, 2 * time.Hour}
	case event.OutcomeWrongNetwork:
		// Both sides ban for it: 12 to 24 h.
		return growth{time.Hour, 12 * time.Hour}
	default: // it answered, and something failed
		return growth{2 * time.Minute, time.Hour}
	}
}

// after is the wait after the given number of failures in a row, at least 1.
func (g growth) after(fails int) time.Duration {
	wait := g.first
	for ; fails > 1 && wait < g.limit; fails-- {
		wait *= 2
	}
	return min(wait, g.limit)
}

// recentContact is how long after contact a failing peer is expected to return. For slots of
// 12 s, like spacing.
const recentContact = 24 * time.Hour

// backoff is the wait after a peer's failed visit. A peer that we had contact with not
// long ago has more likely restarted or moved than gone: it is dialled as often as
// it was visited, so that it is missed for one revisit interval at most. This does not apply when
// another identity answers at its address, or when it would ban us.
func (t *table) backoff(p *peer, outcome string, now time.Time) time.Duration {
	wait := t.scaled(backoffOf(outcome).after(int(p.fails)))
	known := !p.lastHandshake.IsZero() && now.Sub(p.lastHandshake) < t.scaled(recentContact)
	if known && outcome != event.OutcomeWrongNetwork && outcome != event.OutcomeUnreachable {
		wait = min(wait, time.Duration(t.revisit)*t.forks.clock.EpochDuration())
	}
	return jitter(wait)
}

// nearForkWait is the minimum time until the next dial of a peer that is on another
// digest than ours around a fork: it may have forked a little earlier or later.
const nearForkWait = 2 * time.Minute

// goodbyeWait is the minimum time until the next dial of a peer that said goodbye,
// by its reason: how long clients ban us (Prysm's and Teku's tables).
// nearFork means that the network is forking about now.
func goodbyeWait(code uint64, nearFork bool) time.Duration {
	const goodbyeUnverified, goodbyeBadScore, goodbyeBannedIP = 128, 250, 252
	switch {
	case code == eth2.GoodbyeTooManyPeers:
		return 10 * time.Minute
	case nearFork && (code == eth2.GoodbyeIrrelevantNetwork || code == goodbyeUnverified):
		return nearForkWait
	case code == eth2.GoodbyeIrrelevantNetwork, code == goodbyeUnverified:
		return 12 * time.Hour
	case code >= goodbyeBadScore && code <= goodbyeBannedIP:
		return 2 * time.Hour
	default:
		return 5 * time.Minute
	}
}

// jitter adds up to a fifth of d, so that peers that failed together do not come
// back together. It never shortens: the waits are promises.
func jitter(d time.Duration) time.Duration { return d + rand.N(d/5+1) }
