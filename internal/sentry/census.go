package sentry

import (
	"crypto/sha256"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"time"

	"github.com/chainbound/valtrack/internal/eth2"
)

// Revisit intervals are spans of Config.Revisit epochs, counted from genesis. A reachable peer
// has a census visit in each, at its own phase, so that visits are spread over
// the interval. Phases end well before the interval does: a visit that has to wait for a
// dialer must not slip into the next one.
//
// From interval to interval a peer's phase advances by the golden ratio: its visits cover
// every slot of an epoch equally, no peer is always last when watch slots are
// given out, and two visits are never less than half an interval apart.
const (
	phaseShare  = 0.8  // part of an interval that has phases
	jitterShare = 0.06 // part by which a visit may be late, so that visits do not coincide
	phaseStep   = 0.6180339887498949
)

func (t *table) intervalOf(at time.Time) eth2.Epoch {
	return t.forks.clock.EpochAt(at) / eth2.Epoch(t.revisit)
}

func (t *table) intervalStart(interval eth2.Epoch) time.Time {
	return t.forks.clock.EpochStart(interval * eth2.Epoch(t.revisit))
}

// phase is the time within an interval at which the peer is visited, from 0 to below 1.
func phase(id string, interval eth2.Epoch) float64 {
	sum := sha256.Sum256([]byte(id)) // peer ids differ in few characters: they need good mixing
	own := float64(binary.BigEndian.Uint64(sum[:])>>11) / (1 << 53)
	_, phase := math.Modf(own + phaseStep*float64(interval%(1<<32)))
	return phase
}

// nextCensus is when a peer is due after a visit that took from started to now: in
// the interval after the one it was in. A visit that lasted into a later interval was
// there too, if it stayed for more than a moment: a watch ends just after an interval
// begins, so that the census of this one is still due.
func (t *table) nextCensus(p *peer, started, now time.Time) time.Time {
	interval := max(t.intervalOf(started), t.intervalOf(now.Add(-2*t.forks.clock.SlotDuration))) + 1
	share := phaseShare*phase(p.id, interval) + jitterShare*rand.Float64()
	length := time.Duration(t.revisit) * t.forks.clock.EpochDuration()
	return t.intervalStart(interval).Add(time.Duration(share * float64(length)))
}

// metInInterval reports whether the peer has had a handshake in the interval of now. A
// failed dial is none: when its node calls, that is the visit.
func (t *table) metInInterval(p *peer, now time.Time) bool {
	return !p.lastHandshake.IsZero() && t.intervalOf(p.lastHandshake) == t.intervalOf(now)
}
