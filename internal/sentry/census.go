package sentry

import (
	"crypto/sha256"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"time"

	"github.com/chainbound/valtrack/internal/eth2"
)

// Windows are spans of Config.Revisit epochs, counted from genesis. A reachable peer
// has a census visit in each, at its own phase, so that visits are spread over
// the window. Phases end well before the window does: a visit that has to wait for a
// dialer must not slip into the next one.
//
// From window to window a peer's phase advances by the golden ratio: its visits cover
// every slot of an epoch equally, no peer is always last when watch slots are
// given out, and two visits are never less than half a window apart.
const (
	phaseShare  = 0.8  // part of a window that has phases
	jitterShare = 0.06 // part by which a visit may be late, so that visits do not coincide
	phaseStep   = 0.6180339887498949
)

func (t *table) windowOf(at time.Time) eth2.Epoch {
	return t.forks.clock.EpochAt(at) / eth2.Epoch(t.revisit)
}

func (t *table) windowStart(window eth2.Epoch) time.Time {
	return t.forks.clock.EpochStart(window * eth2.Epoch(t.revisit))
}

// phase is the time within a window at which the peer is visited, from 0 to below 1.
func phase(id string, window eth2.Epoch) float64 {
	sum := sha256.Sum256([]byte(id)) // peer ids differ in few characters: they need good mixing
	own := float64(binary.BigEndian.Uint64(sum[:])>>11) / (1 << 53)
	_, phase := math.Modf(own + phaseStep*float64(window%(1<<32)))
	return phase
}

// nextCensus is when a peer is due after a visit that took from started to now: in
// the window after the one it was in. A visit that lasted into a later window was
// there too, if it stayed for more than a moment: a watch ends just after a window
// begins, so that the census of this one is still due.
func (t *table) nextCensus(p *peer, started, now time.Time) time.Time {
	window := max(t.windowOf(started), t.windowOf(now.Add(-2*t.forks.clock.SlotDuration))) + 1
	share := phaseShare*phase(p.id, window) + jitterShare*rand.Float64()
	length := time.Duration(t.revisit) * t.forks.clock.EpochDuration()
	return t.windowStart(window).Add(time.Duration(share * float64(length)))
}

// metInWindow reports whether the peer has had a handshake in the window of now. A
// failed dial is none: when its node calls, that is the visit.
func (t *table) metInWindow(p *peer, now time.Time) bool {
	return !p.lastHandshake.IsZero() && t.windowOf(p.lastHandshake) == t.windowOf(now)
}
