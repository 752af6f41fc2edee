package p2p

import (
	"bufio"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
	"unique"

	"github.com/libp2p/go-libp2p/core/network"

	"github.com/chainbound/valtrack/internal/eth2"
)

const (
	// maxTopics bounds the topics that are remembered for a peer; further ones are
	// ignored. A node on every topic of two digests has about 420.
	maxTopics = 1024
	// gossipBudget and gossipRate bound what a peer may send on meshsub streams, in
	// bytes and bytes a second. A hello has at most some 30 KB, and nobody sends
	// messages to a node that subscribes to nothing.
	gossipBudget = 4 << 20
	gossipRate   = 16 << 10
	// gossipBuffer is the size of a held connection's read buffer, in bytes. The
	// usual RPC is one change of some 60 bytes; a longer one is read into memory of
	// its own.
	gossipBuffer = 512
)

// subscriptions is what is known from a peer's gossip RPCs.
type subscriptions struct {
	hello chan struct{} // closed when the peer's first list is whole

	mu            sync.Mutex
	topics        map[unique.Handle[string]]struct{} // peers share topics: kept once
	stream        network.Stream                     // the one that counts; nil when there is none
	whole         bool                               // the list that stream began with is
	follower      *follower                          // nil when nobody follows
	protocolError error                              // how the peer broke the format, if it did
	spent         int64                              // bytes read in all
	since         time.Time
}

func newSubscriptions() subscriptions {
	return subscriptions{hello: make(chan struct{})}
}

// current lists the topics, in no order. Never nil.
func (g *subscriptions) current() []Subscription {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.list()
}

// list is current with mu held.
func (g *subscriptions) list() []Subscription {
	list := make([]Subscription, 0, len(g.topics))
	for topic := range g.topics {
		list = append(list, Subscription{Subscribe: true, Topic: topic.Value()})
	}
	return list
}

// adopt makes stream the one that counts and resets the one before: a peer has
// one meshsub stream, and a new one begins with the whole list.
func (g *subscriptions) adopt(stream network.Stream) {
	g.mu.Lock()
	old := g.stream
	g.stream = stream
	if g.since.IsZero() {
		g.since = time.Now()
	}
	g.topics, g.whole = nil, false
	g.endFollower(time.Now())
	g.mu.Unlock()
	if old != nil {
		old.Reset()
	}
}

// apply changes the set in the order of an RPC that was read at a time, if stream
// still counts, and reports to the follower what really changed.
func (g *subscriptions) apply(stream network.Stream, at time.Time, rpc []Subscription) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.stream != stream {
		return
	}
	if g.topics == nil {
		g.topics = make(map[unique.Handle[string]]struct{}, len(rpc))
	}
	changed := rpc[:0]
	for _, entry := range rpc {
		if _, err := eth2.ParseTopic(entry.Topic); err != nil {
			continue // no node subscribes to it for a reason of ours
		}
		topic := unique.Make(entry.Topic)
		_, known := g.topics[topic]
		switch {
		case known == entry.Subscribe:
			continue
		case !entry.Subscribe:
			delete(g.topics, topic)
		case len(g.topics) < maxTopics:
			g.topics[topic] = struct{}{}
		default:
			continue
		}
		changed = append(changed, entry)
	}
	g.notifyFollower(at, changed)
}

// complete releases the waiters for the list that a stream begins with.
func (g *subscriptions) complete(stream network.Stream) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.stream != stream {
		return
	}
	g.whole = true
	g.closeHello()
}

// setProtocolError keeps why the peer's streams are not read on.
func (g *subscriptions) setProtocolError(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.protocolError = err
}

// ProtocolError is how the peer violated the format or the bounds of gossip, which ended
// its stream, or the bound on streams, which ended the connection. Nil when it did not.
func (s *Session) ProtocolError() error {
	s.gossip.mu.Lock()
	defer s.gossip.mu.Unlock()
	return s.gossip.protocolError
}

// streamEnded is the end of a stream at a time: whoever waits for its list gets what there
// is of it, if that ended cleanly, and the follower gets its last call.
func (g *subscriptions) streamEnded(stream network.Stream, at time.Time, clean bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.stream != stream {
		return
	}
	g.stream = nil
	g.endFollower(at)
	if clean {
		g.closeHello()
	}
}

// closeHello releases waiters; mu is held.
func (g *subscriptions) closeHello() {
	select {
	case <-g.hello:
	default:
		close(g.hello)
	}
}

// spend counts n more bytes and reports whether the peer stays within its budget.
func (g *subscriptions) spend(n int) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.spent += int64(n)
	return g.spent <= gossipBudget+int64(gossipRate*time.Since(g.since).Seconds())
}

// meter is a meshsub stream that counts its bytes and bounds the time that an RPC
// takes once it has begun. Between RPCs there is no deadline.
type meter struct {
	stream  network.Stream
	rest    []byte // read before the meter
	gossip  *subscriptions
	timeout time.Duration
	inRPC   bool // set while an RPC is read
	armed   bool // the deadline of the RPC is set
}

func (m *meter) Read(p []byte) (int, error) {
	if len(m.rest) > 0 {
		n := copy(p, m.rest)
		if m.rest = m.rest[n:]; len(m.rest) == 0 {
			m.rest = nil
		}
		return n, nil
	}
	if m.inRPC && !m.armed {
		m.armed = true
		m.stream.SetReadDeadline(time.Now().Add(m.timeout))
	}
	n, err := m.stream.Read(p)
	if !m.gossip.spend(n) {
		return 0, fmt.Errorf("%w: more gossip than a node without a mesh is sent", errMalformed)
	}
	return n, err
}

// readRPC reads one RPC from r, which reads from m.
func (m *meter) readRPC(r *bufio.Reader) ([]Subscription, error) {
	m.inRPC = true
	changes, err := readRPC(r, maxRPCSize)
	m.inRPC = false
	if m.armed {
		m.armed = false
		m.stream.SetReadDeadline(time.Time{})
	}
	return changes, err
}

// onMeshsub reads a peer's gossip stream until it ends. We never write one.
func (h *Host) onMeshsub(s *Session, stream network.Stream, in *chunkReader) {
	s.gossip.adopt(stream)
	stream.SetDeadline(time.Time{})
	clean, err := s.listen(stream, in.buf[in.pos:])
	at := time.Now()
	if !s.closedByPeer(err) {
		at = s.LastActive()
	}
	if errors.Is(err, errMalformed) {
		s.gossip.setProtocolError(fmt.Errorf("gossip stream: %w", err))
	}
	s.gossip.streamEnded(stream, at, clean)
	h.cfg.Log.Debug("gossip stream ended", slog.String("peer", s.PeerID()), slog.Any("error", err))
	stream.Reset()
}

// listen applies RPCs in order. A stream begins with the whole list of topics,
// which ends with an RPC of several topics when nothing follows at once, or else
// after helloGap without data: Go, Java, Nim and JavaScript clients name all
// topics in one RPC, rust-libp2p sends one RPC per topic. rest is what has been read
// of the stream already. The error is what ended it; there is always one. clean
// tells that RPCs had come, and none was cut short.
func (s *Session) listen(stream network.Stream, rest []byte) (clean bool, err error) {
	in := &meter{stream: stream, rest: rest, gossip: &s.gossip, timeout: s.host.cfg.responseTimeout}
	r := bufio.NewReaderSize(in, gossipBuffer)
	begun, whole := false, false
	for {
		settling := begun && !whole && r.Buffered() == 0
		if settling {
			stream.SetReadDeadline(time.Now().Add(s.host.cfg.helloGap))
		}
		_, err := r.Peek(1)
		if settling {
			stream.SetReadDeadline(time.Time{})
		}
		if settling && isTimeout(err) {
			whole = true
			s.gossip.complete(stream)
			continue
		}
		if err != nil {
			return begun, err
		}
		changes, err := in.readRPC(r)
		if err != nil {
			return false, err
		}
		begun = true
		several := len(changes) > 1
		at := time.Now()
		s.touch(at)
		s.gossip.apply(stream, at, changes)
		if !whole && several && r.Buffered() == 0 {
			whole = true
			s.gossip.complete(stream)
		}
	}
}
