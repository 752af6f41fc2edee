package sentry

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/chainbound/valtrack/internal/estimate"
	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/eth2/enr"
	"github.com/chainbound/valtrack/internal/p2p"
)

const (
	// rereadGap is the minimum time between two MetaData requests of a watch; clients
	// allow two in five seconds. For slots of 12 s, like maxMisses' pauses.
	rereadGap = 5 * time.Second
	// maxRereads is how many MetaData requests in a row may fail before the peer
	// sends another seq_number; each waits twice as long as the one before.
	maxRereads = 5
	// maxMisses is how many requests in a row a connection that seems to be up may
	// leave unanswered. An error code is an answer.
	maxMisses = 2
	// goodbyeTime is how long a peer that has ended its gossip stream has to say
	// goodbye: most likely it is leaving. It does not shrink with the slot.
	goodbyeTime = time.Second
)

// Why a log ends before its watch.
var (
	// errFlood means that a peer changed its subscriptions more often than any node
	// has a reason to.
	errFlood = errors.New("too many subscription changes")
	// errStreamEnded means that a peer ended its gossip stream.
	errStreamEnded = fmt.Errorf("gossip stream: %w", p2p.ErrReset)
)

// watch is the long part of a visit: it logs the peer's subscriptions, follows
// its MetaData, and ends after whole epochs. It uses the visit's goroutine and one
// timer.
type watch struct {
	forks   forks
	session *p2p.Session
	log     *subnetLog
	known   eth2.MetaData // the newest
	nodeID  *eth2.NodeID  // nil when it cannot be derived from the peer id

	end    time.Time
	ping   time.Time // when to ping next: at each cut of the log, which the answer confirms
	reread time.Time // when to request MetaData; zero when there is no reason
	asked  time.Time // the last MetaData request
	failed int       // MetaData requests that failed in a row
	misses int
}

// watch stays with the peer for whole epochs and publishes a part of the log at the end
// of each; the last one is left in v. The error says why it ended before.
func (s *Sentry) watch(ctx, handover context.Context, v *visit, session *p2p.Session) error {
	from := time.Now()
	w := &watch{
		forks: s.forks, session: session, log: newSubnetLog(s.forks, from), known: *v.metadata,
		end:   s.forks.watchEnd(from, s.cfg.WatchEpochs),
		ping:  s.forks.nextPing(from),
		asked: from,
	}
	if id, err := enr.NodeIDFromPeerID(v.peerID); err == nil {
		w.nodeID = &id
	}
	w.expectRotation(from)
	current, stop := session.Follow(w.log.add)
	w.log.begin(current)
	err := w.stay(ctx, func() { s.publishParts(handover, v, w.log) })
	ended := w.coveredUntil()
	stop()
	last := w.log.end(ended)
	s.publishParts(handover, v, w.log)
	v.watched += last.to.Sub(last.from)
	v.watch = last.watch()
	s.counters.add(func(st *Stats) { st.SubnetChanges += uint64(len(last.changes)) })
	return err
}

// watchEnd is the end of the last of the whole epochs that begin after from, plus up
// to a slot, so that hundreds of goodbyes do not coincide and the boundary's own
// changes are included.
func (f forks) watchEnd(from time.Time, epochs int) time.Time {
	boundary := f.clock.EpochStart(f.clock.EpochAt(from) + 1 + eth2.Epoch(epochs))
	return boundary.Add(rand.N(f.clock.SlotDuration))
}

// nextCut is the epoch whose log begins at the first cut after a time.
func (f forks) nextCut(after time.Time) eth2.Epoch {
	epoch := f.clock.EpochAt(after) + 1
	if !estimate.EpochCut(f.clock, epoch).After(after) { // in the last moment of an epoch
		epoch++
	}
	return epoch
}

// nextPing is a moment after the next cut, so that hundreds of pings do not coincide, and
// at the latest when the epoch starts.
func (f forks) nextPing(after time.Time) time.Time {
	epoch := f.nextCut(after)
	cut := estimate.EpochCut(f.clock, epoch)
	return cut.Add(rand.N(max(1, f.clock.EpochStart(epoch).Sub(cut))))
}

// stay returns at the watch's end, or with the error that ended it before.
// partsReady is called when parts of the log can be taken.
func (w *watch) stay(ctx context.Context, partsReady func()) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		timer.Reset(time.Until(w.nextTimer()))
		select {
		case <-timer.C:
			now := time.Now()
			if !now.Before(w.end) {
				return w.endError()
			}
			if err := w.requestDue(ctx, now); err != nil {
				return err
			}
		case <-w.session.SeqChanged():
			w.failed = 0
			w.wantMetaData(time.Now())
		case <-w.log.ready:
			partsReady()
			err := w.log.err()
			if err != nil && !errors.Is(err, errStreamEnded) {
				return err
			}
			if at := time.Now().Add(goodbyeTime); err != nil && at.Before(w.end) {
				w.end = at
			}
		case <-w.session.Done():
			return w.leaveError(p2p.ErrReset)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// nextTimer is when the timer has to fire.
func (w *watch) nextTimer() time.Time {
	next := w.end
	for _, t := range []time.Time{w.ping, w.reread} {
		if !t.IsZero() && t.Before(next) {
			next = t
		}
	}
	return next
}

// endError is the error of a watch that reaches its end: none, or why its log had ended
// earlier.
func (w *watch) endError() error {
	err := w.log.err()
	if err == nil {
		return nil
	}
	return w.leaveError(err)
}

// leaveError is why a peer left: its goodbye, its violation of the protocol, or else the
// error that we saw.
func (w *watch) leaveError(seen error) error {
	if code, ok := w.session.RemoteGoodbye(); ok {
		return &p2p.GoodbyeError{Code: code}
	}
	if err := w.session.ProtocolError(); err != nil {
		return err
	}
	return seen
}

// requestDue sends the requests that are due. Only a peer that has gone is an error.
func (w *watch) requestDue(ctx context.Context, now time.Time) error {
	if !w.reread.IsZero() && !now.Before(w.reread) {
		w.reread, w.asked = time.Time{}, now
		m, err := w.session.MetaData(ctx)
		if w.failed++; err == nil {
			w.failed = 0
			w.logMetaData(&m)
		} else if w.failed < maxRereads {
			w.wantMetaData(time.Now())
		}
		w.expectRotation(time.Now())
		return w.checkAnswer(err)
	}
	if !now.Before(w.ping) {
		w.ping = w.forks.nextPing(now)
		_, err := w.session.Ping(ctx) // a new seq_number comes through SeqChanged
		w.log.confirm(w.session.LastActive())
		return w.checkAnswer(err)
	}
	return nil // the timer was early
}

// logMetaData logs a MetaData that differs from the one before.
func (w *watch) logMetaData(m *eth2.MetaData) {
	if sameMetaData(&w.known, m) {
		return
	}
	w.known = *m
	w.log.addMetaData(time.Now(), m)
}

// checkAnswer decides whether the watch ends with the outcome of a request.
func (w *watch) checkAnswer(err error) error {
	var answer *p2p.ResponseError
	if err == nil || errors.As(err, &answer) {
		w.misses = 0
		return nil
	}
	select {
	case <-w.session.Done():
		return w.leaveError(p2p.ErrReset)
	default:
	}
	if errors.Is(err, context.Canceled) {
		return err
	}
	if w.misses++; w.misses < maxMisses {
		w.ping = time.Now().Add(w.forks.clock.SlotDuration)
		return nil
	}
	return err
}

// coveredUntil is the end of what the watch covers: now, or when the peer was last
// active if it has left or does not answer any more.
func (w *watch) coveredUntil() time.Time {
	now := time.Now()
	select {
	case <-w.session.Done():
		// The log ends with the connection, and then knows whether the end was seen.
		w.log.awaitEnd(goodbyeTime)
	default:
		if w.misses == 0 {
			return now
		}
	}
	return w.session.LastActive()
}

// wantMetaData schedules a request for MetaData that the peer has announced as newer: soon, but not
// before the gap to the last request.
func (w *watch) wantMetaData(now time.Time) {
	if seq, ok := w.session.RemoteSeq(); !ok || seq <= w.known.SeqNumber {
		return
	}
	at := latest(now, w.asked.Add(w.forks.clock.Scale(rereadGap)<<w.failed))
	if w.reread.IsZero() || at.Before(w.reread) {
		w.reread = at
	}
}

// expectRotation schedules a MetaData request after the peer's long-lived subnets have rotated, if
// they do so while it is watched. Clients follow within a slot or two; a later one
// announces it by its seq_number.
func (w *watch) expectRotation(now time.Time) {
	if w.nodeID == nil {
		return
	}
	// Either rule may be the node's (eth2.SubnetRule): the earlier rotation first, the other
	// one after the request.
	epoch := w.forks.clock.EpochAt(now)
	rotation := min(eth2.NextSubnetRotation(*w.nodeID, epoch), eth2.NextStaggeredRotation(*w.nodeID, epoch))
	at := w.forks.clock.EpochStart(rotation).Add(w.forks.clock.SlotDuration*2 + rand.N(w.forks.clock.SlotDuration))
	if at.Before(w.end) && (w.reread.IsZero() || at.Before(w.reread)) {
		w.reread = at
	}
}

func sameMetaData(a, b *eth2.MetaData) bool {
	return a.SeqNumber == b.SeqNumber && a.Attnets == b.Attnets &&
		samePointed(a.Syncnets, b.Syncnets) && samePointed(a.CustodyGroupCount, b.CustodyGroupCount)
}

func samePointed[T comparable](a, b *T) bool {
	return a == b || a != nil && b != nil && *a == *b
}
