package p2p

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"

	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/event"
)

const (
	// maxAgent bounds an agent string, in bytes; identify itself allows 8 KiB.
	maxAgent = 256
	// goodbyeAck is how long Goodbye waits for the peer to close its stream, so
	// that the message is read before the connection goes.
	goodbyeAck = time.Second
	// goodbyeGrace is how long a connection lives on after the peer said goodbye
	// and did not close it. Full clients still answer in that time.
	goodbyeGrace = 2 * time.Second
	// goodbyeRace is how long a failed request waits for a goodbye that may be in
	// another stream of the dying connection.
	goodbyeRace = 50 * time.Millisecond
)

// Session is one connection with one peer. All methods may be called at once and
// after the connection ended.
type Session struct {
	host *Host
	conn network.Conn
	peer peer.ID

	done     chan struct{} // closed when the connection is gone
	endOnce  sync.Once
	goodbyes chan struct{} // closed at the peer's first goodbye
	gossip   subscriptions

	identified chan struct{} // closed when identify has finished or failed
	identity   *identity     // nil when identify failed; not before identified

	seqChanged chan struct{} // of one token

	mu            sync.Mutex // guards what follows
	closed        bool       // by us
	remoteGoodbye *uint64
	graceTimer    *time.Timer
	remoteSeq     *uint64
	lastActive    time.Time // the last sign of life
	buckets       [quotaKinds]gcra
}

func newSession(h *Host, conn network.Conn) *Session {
	return &Session{
		host:     h,
		conn:     conn,
		peer:     conn.RemotePeer(),
		done:     make(chan struct{}),
		goodbyes: make(chan struct{}),
		gossip:   newSubscriptions(),

		identified: make(chan struct{}),
		seqChanged: make(chan struct{}, 1),
		lastActive: time.Now(),
	}
}

// PeerID is the peer's libp2p id, "16Uiu2HA...".
func (s *Session) PeerID() string { return s.peer.String() }

// Multiaddr is the peer's address of this connection, without /p2p: for an
// inbound one with the peer's source port.
func (s *Session) Multiaddr() string { return s.conn.RemoteMultiaddr().String() }

// Direction is event.Outbound or event.Inbound.
func (s *Session) Direction() string {
	if s.outbound() {
		return event.Outbound
	}
	return event.Inbound
}

func (s *Session) outbound() bool { return s.conn.Stat().Direction == network.DirOutbound }

// Transport is event.QUIC or event.TCP.
func (s *Session) Transport() string {
	if strings.HasPrefix(s.conn.ConnState().Transport, "quic") {
		return event.QUIC
	}
	return event.TCP
}

// Agent waits for identify, which runs from the connection's start, and gives
// the peer's agent string: printable, at most 256 bytes, empty if it has none. When
// identify ended before the agent came, that is an error.
func (s *Session) Agent(ctx context.Context) (string, error) {
	select {
	case <-s.identified:
	case <-ctx.Done():
		return "", &requestError{operation: opIdentify, err: ctx.Err()}
	}
	if s.identity == nil {
		return "", s.operationError(ctx, opIdentify, errNoIdentify)
	}
	if s.identity.agent == "" && s.identity.partial != nil {
		return "", s.operationError(ctx, opIdentify, fmt.Errorf("%w: %w", errNoIdentify, s.identity.partial))
	}
	return s.identity.agent, nil
}

// message is one version of a request/response protocol.
type message struct {
	proto   protocol.ID
	version int
	size    int // of the response, in bytes
}

var (
	statusVersions = []message{
		{ProtoStatusV2, 2, eth2.StatusV2Size},
		{ProtoStatusV1, 1, eth2.StatusV1Size},
	}
	metaDataVersions = []message{
		{ProtoMetaDataV3, 3, eth2.MetaDataV3Size},
		{ProtoMetaDataV2, 2, eth2.MetaDataV2Size},
		{ProtoMetaDataV1, 1, eth2.MetaDataV1Size},
	}
	pingVersions    = []message{{ProtoPingV1, 1, eth2.Uint64Size}}
	goodbyeVersions = []message{{ProtoGoodbyeV1, 1, eth2.Uint64Size}}
)

// Status sends our Status and gives the peer's: version 2, or 1 when the peer
// does not speak 2. Ours is taken when it is written: a negotiation before that may
// last over a fork.
func (s *Session) Status(ctx context.Context) (eth2.Status, error) {
	ssz, err := s.request(ctx, statusVersions, func(m message) []byte {
		ours := s.host.cfg.Local.Status()
		return ours.MarshalSSZ(m.version)
	})
	if err != nil {
		return eth2.Status{}, s.operationError(ctx, opStatus, err)
	}
	var theirs eth2.Status
	if err := theirs.UnmarshalSSZ(ssz); err != nil {
		return eth2.Status{}, s.operationError(ctx, opStatus, fmt.Errorf("%w: %w", errMalformed, err))
	}
	return theirs, nil
}

// MetaData asks for version 3, else 2, else 1.
func (s *Session) MetaData(ctx context.Context) (eth2.MetaData, error) {
	ssz, err := s.request(ctx, metaDataVersions, func(message) []byte { return nil })
	if err != nil {
		return eth2.MetaData{}, s.operationError(ctx, opMetaData, err)
	}
	var m eth2.MetaData
	if err := m.UnmarshalSSZ(ssz); err != nil {
		return eth2.MetaData{}, s.operationError(ctx, opMetaData, fmt.Errorf("%w: %w", errMalformed, err))
	}
	return m, nil
}

// Ping sends our MetaData's seq_number and gives the peer's.
func (s *Session) Ping(ctx context.Context) (uint64, error) {
	seq := eth2.MarshalUint64(s.host.cfg.Local.MetaData().SeqNumber)
	ssz, err := s.request(ctx, pingVersions, func(message) []byte { return seq })
	if err != nil {
		return 0, s.operationError(ctx, opPing, err)
	}
	theirs, err := eth2.UnmarshalUint64(ssz)
	if err != nil {
		return 0, s.operationError(ctx, opPing, fmt.Errorf("%w: %w", errMalformed, err))
	}
	s.setRemoteSeq(theirs)
	return theirs, nil
}

// Hello waits for the peer's gossip hello, at most HelloTimeout, and gives the
// topics it is subscribed to, in no order. ErrNoHello says that none came, which
// is legal for a peer without subscriptions.
func (s *Session) Hello(ctx context.Context) ([]Subscription, error) {
	select {
	case <-s.gossip.hello:
		return s.Subscriptions(), nil
	default:
	}
	timeout := time.NewTimer(s.host.cfg.HelloTimeout)
	defer timeout.Stop()
	select {
	case <-s.gossip.hello:
		return s.Subscriptions(), nil
	case <-timeout.C:
		return nil, &requestError{operation: opHello, err: ErrNoHello}
	case <-ctx.Done():
		return nil, &requestError{operation: opHello, err: ctx.Err()}
	case <-s.done:
		return nil, s.operationError(ctx, opHello, ErrReset)
	}
}

// Subscriptions gives the topics the peer is subscribed to now, in no order.
func (s *Session) Subscriptions() []Subscription { return s.gossip.current() }

// Goodbye sends the reason and waits up to a second for the peer to take it. It
// does not close the session.
func (s *Session) Goodbye(ctx context.Context, code uint64) error {
	ctx, cancel := context.WithTimeout(ctx, goodbyeAck)
	defer cancel()
	reason := eth2.MarshalUint64(code)
	_, err := s.request(ctx, goodbyeVersions, func(message) []byte { return reason })
	var answer *ResponseError
	switch {
	case err == nil, errors.Is(err, errNoResponse), errors.Is(err, ErrReset), errors.As(err, &answer):
		return nil // most clients hang up without an answer
	case s.gone():
		return nil
	}
	return &requestError{operation: opGoodbye, err: err}
}

// Close closes the connection. It never fails on one that is closed already.
func (s *Session) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.host.forget(s)
	err := s.conn.Close()
	if s.markClosed(); err != nil && !s.conn.IsClosed() {
		return fmt.Errorf("close connection with %s: %w", s.peer, err)
	}
	return nil
}

// Done is closed when the connection has ended, whoever ended it.
func (s *Session) Done() <-chan struct{} { return s.done }

func (s *Session) gone() bool {
	select {
	case <-s.done:
		return true
	default:
		return s.conn.IsClosed()
	}
}

// RemoteGoodbye gives the reason of the peer's first goodbye.
func (s *Session) RemoteGoodbye() (code uint64, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.remoteGoodbye == nil {
		return 0, false
	}
	return *s.remoteGoodbye, true
}

// setRemoteGoodbye records the first goodbye and gives the peer a moment to
// close the connection itself.
func (s *Session) setRemoteGoodbye(code uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.remoteGoodbye != nil {
		return
	}
	s.remoteGoodbye = &code
	s.graceTimer = time.AfterFunc(goodbyeGrace, func() { s.conn.Close() })
	close(s.goodbyes)
}

// markClosed marks the connection as gone.
func (s *Session) markClosed() {
	s.endOnce.Do(func() {
		close(s.done)
		s.mu.Lock()
		if s.graceTimer != nil {
			s.graceTimer.Stop()
		}
		s.mu.Unlock()
	})
}

// operationError explains why an operation failed: what the caller did first, then what the
// peer said, then what was seen.
func (s *Session) operationError(ctx context.Context, op operation, err error) error {
	if ctx.Err() != nil {
		return &requestError{operation: op, err: ctx.Err()}
	}
	s.mu.Lock()
	closed := s.closed
	s.mu.Unlock()
	if closed {
		return &requestError{operation: op, err: ErrClosed}
	}
	if s.gone() {
		if flood := s.ProtocolError(); errors.Is(flood, errStreamFlood) {
			return &requestError{operation: op, err: flood}
		}
	}
	if errors.Is(err, ErrReset) || errors.Is(err, errNoResponse) || s.gone() {
		if code, ok := s.awaitGoodbye(); ok {
			return &requestError{operation: op, err: &GoodbyeError{Code: code}}
		}
		if s.gone() && !errors.Is(err, ErrReset) {
			err = fmt.Errorf("%w: %w", ErrReset, err)
		}
	}
	return &requestError{operation: op, err: asShortage(err)}
}

// awaitGoodbye gives a goodbye that is being read right now the time to arrive:
// a peer says it on one stream while our request fails on another.
func (s *Session) awaitGoodbye() (uint64, bool) {
	if code, ok := s.RemoteGoodbye(); ok {
		return code, true
	}
	timer := time.NewTimer(goodbyeRace)
	defer timer.Stop()
	select {
	case <-s.goodbyes:
	case <-timer.C:
	}
	return s.RemoteGoodbye()
}
