package sentry

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/eth2/enr"
	"github.com/chainbound/valtrack/internal/event"
	"github.com/chainbound/valtrack/internal/p2p"
)

// Bounds on one visit. They are for the Internet's round trips, and do not shrink
// with the slot.
const (
	dialTimeout = 20 * time.Second // over all addresses
	// visitTimeout is from the connection to the goodbye.
	visitTimeout = 30 * time.Second
	// agentWait is how long a failed visit still waits for identify, so that the
	// failure has a client name.
	agentWait = time.Second
)

var (
	errWrongNetwork = errors.New("fork digest of another network or fork")
	errSaidGoodbye  = errors.New("peer said goodbye")
)

// visit is what one connection, or attempted connection, has shown so far.
type visit struct {
	id        string
	peerID    string
	record    *enr.Record // nil when the peer is not known from discv5
	direction string
	started   time.Time
	limit     time.Duration // of the dial, and of the census
	took      time.Duration // from the start to the end of the census

	// About the connection.
	multiaddr, transport string
	from                 netip.Addr // the peer's address of the connection

	agent     string
	status    *eth2.Status   // of our network
	metadata  *eth2.MetaData // only after the status
	handshake time.Duration  // from the start to MetaData
	hello     []p2p.Subscription
	helloCame bool

	// About the watch, if there was one.
	stayed  bool
	watch   *event.Watch // the last part
	part    int          // number of parts before the last
	watched time.Duration

	goodbye *uint64
	outcome string
	err     error
}

// visitIDs numbers the visits of one run behind a random prefix of 40 bits: random ids
// would take half of a dataset's bytes on disk.
type visitIDs struct {
	prefix string
	last   atomic.Uint64
}

func newVisitIDs() *visitIDs { return &visitIDs{prefix: rand.Text()[:8] + "-"} }

func (i *visitIDs) newID() string { return i.prefix + strconv.FormatUint(i.last.Add(1), 10) }

func (v *visit) handshaked() bool { return v.metadata != nil }

func (s *Sentry) newVisit(peerID string, record *enr.Record, direction string) *visit {
	return &visit{id: s.visits.newID(), peerID: peerID, record: record, direction: direction, started: time.Now(), limit: visitTimeout}
}

// setOutcome sets the outcome; err is nil for success. A successful visit can have an err
// that says what it lacks.
func (v *visit) setOutcome(outcome string, err error) { v.outcome, v.err = outcome, err }

// visitPeer is one outbound visit: a census, which takes no longer than the limit, and a
// watch if the schedule grants it a slot.
func (s *Sentry) visitPeer(ctx, handover context.Context, target p2p.Target, record *enr.Record, limit time.Duration, requestSlot requestSlotFunc) result {
	v := s.newVisit(target.PeerID, record, event.Outbound)
	v.limit = limit
	return s.dial(ctx, handover, v, target, requestSlot)
}

// dial carries out an outbound visit.
func (s *Sentry) dial(ctx, handover context.Context, v *visit, target p2p.Target, requestSlot requestSlotFunc) result {
	dialCtx, cancel := context.WithTimeout(ctx, min(dialTimeout, v.limit))
	defer cancel()
	session, err := s.host.Dial(dialCtx, target)
	switch {
	case errors.Is(err, p2p.ErrAlreadyConnected):
		return result{} // the peer's own connection is the visit
	case errors.Is(err, p2p.ErrShortage):
		v.err = err
		return s.noVisit(v)
	case err != nil:
		v.setOutcome(p2p.Outcome(err), err)
		v.took = time.Since(v.started)
		s.counters.add(func(st *Stats) { st.Dialled++ })
		return s.publishEnd(handover, v, s.visitEnded(v))
	}
	s.counters.add(func(st *Stats) { st.Dialled++; st.Connected++ })
	return s.observe(ctx, handover, v, session, requestSlot)
}

// noVisit is the result of a visit that a shortage of ours prevented. It says nothing about
// the peer, so it is not recorded, and the peer does not back off.
func (s *Sentry) noVisit(v *visit) result {
	s.counters.add(func(st *Stats) { st.Shortages++ })
	s.log.Debug("no visit", slog.String("peer", v.peerID), slog.Any("error", v.err))
	return result{}
}

// observe carries out a visit from the connection to the goodbye. The session is closed
// when it returns.
func (s *Sentry) observe(ctx, handover context.Context, v *visit, session *p2p.Session, requestSlot requestSlotFunc) result {
	defer session.Close()
	v.multiaddr, v.transport, v.from = multiaddrOf(v, session), session.Transport(), addressIn(session.Multiaddr())
	s.census(ctx, v, session)
	v.took = time.Since(v.started)
	if !v.handshaked() && errors.Is(v.err, p2p.ErrShortage) {
		s.sayGoodbye(handover, session)
		return s.noVisit(v)
	}
	var received *event.MetadataReceived
	if v.handshaked() {
		received = s.metadataReceived(v, time.Now())
	}
	if v.outcome == event.OutcomeOK && v.helloCame && requestSlot(ctx, v.summary()) {
		s.publish(handover, received)
		received = nil
		v.stayed, v.hello = true, nil // what is published need not be held for epochs
		v.conclude(session, s.watch(ctx, handover, v, session))
	}
	// Publishing may block; the peer must not wait for it.
	s.sayGoodbye(handover, session)
	session.Close()
	ended := s.visitEnded(v)
	if received != nil {
		s.publish(handover, received)
	}
	return s.publishEnd(handover, v, ended)
}

// census is what every visit does: the handshake and the peer's identity, within a
// bounded time.
func (s *Sentry) census(ctx context.Context, v *visit, session *p2p.Session) {
	bounded, cancel := context.WithTimeout(ctx, v.limit)
	defer cancel()
	identified := make(chan agentAnswer, 1)
	identifyCtx, stopIdentify := context.WithCancel(bounded)
	go func() {
		agent, err := session.Agent(identifyCtx)
		identified <- agentAnswer{agent, err}
	}()
	err := s.handshake(bounded, v, session)
	answer := awaitAgent(bounded, identified, stopIdentify)
	v.agent = answer.agent
	v.conclude(session, err)
	if v.outcome == event.OutcomeOK && v.err == nil && answer.err != nil {
		// It tells a peer whose agent is not known from one that hides it.
		v.err = fmt.Errorf("agent not known: %w", answer.err)
	}
}

// conclude sets the outcome from the error, or from the peer's goodbye.
func (v *visit) conclude(session *p2p.Session, err error) {
	v.setOutcome(p2p.Outcome(err), err)
	switch {
	case errors.Is(err, errWrongNetwork):
		v.outcome = event.OutcomeWrongNetwork
	case errors.Is(err, errFlood):
		v.outcome = event.OutcomeProtocol
	}
	if code, ok := session.RemoteGoodbye(); ok {
		v.goodbye = &code
		if err == nil {
			v.setOutcome(event.OutcomeGoodbye, errSaidGoodbye)
		}
	}
}

// summary is what the schedule uses to decide on a watch slot.
func (v *visit) summary() handshakeSummary {
	return handshakeSummary{client: eth2.ParseAgent(v.agent).Kind, cgc: v.metadata.CustodyGroupCount, from: v.from}
}

// agentAnswer is what Session.Agent returned.
type agentAnswer struct {
	agent string
	err   error
}

// awaitAgent returns the agent, waiting a moment for it, and ends the wait for identify.
func awaitAgent(ctx context.Context, identified <-chan agentAnswer, stop context.CancelFunc) agentAnswer {
	defer stop()
	timer := time.NewTimer(agentWait)
	defer timer.Stop()
	select {
	case answer := <-identified:
		return answer
	case <-timer.C:
	case <-ctx.Done():
	}
	stop()
	return <-identified
}

// handshake sends requests in the order that clients expect: our Status first. MetaData
// and the gossip hello arrive concurrently; the Ping after them gives the rest of a
// hello that came in pieces a round trip's time.
func (s *Sentry) handshake(ctx context.Context, v *visit, session *p2p.Session) error {
	if err := s.forks.awaitStatusBlackout(ctx); err != nil {
		return err
	}
	status, err := session.Status(ctx)
	if err != nil {
		return err
	}
	if !s.forks.accepts(status.ForkDigest, time.Now()) {
		return fmt.Errorf("%w: %s, ours is %s", errWrongNetwork, status.ForkDigest, s.forks.current(time.Now()))
	}
	v.status = &status

	helloCtx, stopHello := context.WithCancel(ctx)
	defer stopHello()
	var helloErr error
	hello := make(chan struct{})
	go func() {
		defer close(hello)
		_, helloErr = session.Hello(helloCtx)
	}()
	metadata, err := session.MetaData(ctx)
	if err != nil {
		stopHello()
		<-hello
		return err
	}
	v.metadata, v.handshake = &metadata, time.Since(v.started)
	s.counters.add(func(st *Stats) { st.Handshaked++; st.Latency.observe(v.handshake) })
	<-hello
	if helloErr != nil && !errors.Is(helloErr, p2p.ErrNoHello) {
		return helloErr
	}
	_, pingErr := session.Ping(ctx)
	if helloErr == nil {
		v.helloCame, v.hello = true, session.Subscriptions()
	}
	return pingErr
}

// sayGoodbye says goodbye, also when the visit was canceled: the peer frees our slot
// without lowering our score.
func (s *Sentry) sayGoodbye(ctx context.Context, session *p2p.Session) {
	select {
	case <-session.Done():
		return
	default:
	}
	if err := session.Goodbye(ctx, eth2.GoodbyeTooManyPeers); err != nil {
		s.log.Debug("goodbye", slog.String("peer", session.PeerID()), slog.Any("error", err))
	}
}

// publishEnd publishes the visit's end and returns its result for the schedule.
func (s *Sentry) publishEnd(handover context.Context, v *visit, e *event.VisitEnded) result {
	s.counters.ended(v.outcome)
	s.publish(handover, e)
	s.log.Debug("visit ended", slog.String("peer", v.peerID), slog.String("direction", v.direction),
		slog.String("outcome", v.outcome), slog.Any("error", v.err))
	return result{
		outcome: v.outcome, started: v.started, handshaked: v.handshaked(), goodbye: v.goodbye,
		stayed: v.stayed, watched: v.watched, took: v.took, from: v.from,
	}
}
