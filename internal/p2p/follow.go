package p2p

import "time"

// follower receives a session's subscription changes.
type follower struct {
	fn func(at time.Time, changes []Subscription)
}

// Follow returns the topics the peer is subscribed to now, in no order, and calls fn
// with every later change: no change between the two is lost or reported twice. One
// call has the changes of one RPC in its order, and at, the time at which the RPC
// had been read whole. Entries that change nothing are left out.
//
// A call without changes is the last one: the gossip stream ended at that time, and
// what the peer does from then on is not known, though the connection may be up. For
// a peer that vanished, which is noticed half a minute later, it is LastActive.
// A stream that it opens after that is not followed: what happened between the two is
// unknown, and
// rust-libp2p does not even repeat its list there. When the stream has ended before,
// or its list is not whole yet, Follow itself makes that call.
//
// fn is called from the goroutine that reads the stream, one call at a time. It
// must not block, keep the slice or call the session; Follow must not be called
// with a lock held that fn takes. A second Follow replaces the first. After stop
// has returned fn is not called again.
//
// A peer can cause about 400 changes a second, after a burst of 100,000: a follower that
// keeps them must bound them.
func (s *Session) Follow(fn func(at time.Time, changes []Subscription)) (current []Subscription, stop func()) {
	g := &s.gossip
	f := &follower{fn: fn}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.follower = f
	if g.stream == nil || !g.whole {
		g.endFollower(time.Now())
	}
	return g.list(), func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.follower == f {
			g.follower = nil
		}
	}
}

// notifyFollower passes changes to the follower; mu is held.
func (g *subscriptions) notifyFollower(at time.Time, changes []Subscription) {
	if g.follower != nil && len(changes) > 0 {
		g.follower.fn(at, changes)
	}
}

// endFollower makes the follower's last call; mu is held.
func (g *subscriptions) endFollower(at time.Time) {
	if g.follower != nil {
		g.follower.fn(at, nil)
		g.follower = nil
	}
}

// RemoteSeq is the highest MetaData seq_number that the peer has sent in a Ping of
// its own or in the answer to one of ours. ok is false before the first.
func (s *Session) RemoteSeq() (seq uint64, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.remoteSeq == nil {
		return 0, false
	}
	return *s.remoteSeq, true
}

// SeqChanged receives a value when RemoteSeq becomes known and each time it grows;
// several increases before it is read are one value. It is never closed.
func (s *Session) SeqChanged() <-chan struct{} { return s.seqChanged }

func (s *Session) setRemoteSeq(seq uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.remoteSeq != nil && *s.remoteSeq >= seq {
		return
	}
	s.remoteSeq = &seq
	select {
	case s.seqChanged <- struct{}{}:
	default:
	}
}
