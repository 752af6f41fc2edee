package p2p

import (
	"bufio"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"
	"unique"

	"github.com/libp2p/go-libp2p/core/network"
)

const (
	// maxTopics bounds the topics that are remembered of a peer; further ones are
	// ignored. A node on every topic of two digests has about 420.
	maxTopics = 2048
	// gossipBudget and gossipRate bound what a peer may send on meshsub streams, in
	// bytes and bytes a second. A hello has at most some 30 KB, and nobody sends
	// messages to a node that subscribes to nothing.
	gossipBudget = 4 << 20
	gossipRate   = 16 << 10
	// gossipBuffer is what a held connection pays for its reader, in bytes. The
	// usual RPC is one change of some 60 bytes; a longer one is read into memory of
	// its own.
	gossipBuffer = 512
)

// subscriptions is what a peer's gossip RPCs have told so far.
type subscriptions struct {
	hello chan struct{} // closed when the peer's first list is whole

	mu     sync.Mutex
	topics map[unique.Handle[string]]struct{} // peers share topics: kept once
	// unconfirmed are those of topics that a new stream has yet to name: when its
	// list is whole they are left.
	unconfirmed map[unique.Handle[string]]struct{}
	stream      network.Stream // the one that counts; nil when there is none
	helloDone   bool
	follower    *follower // nil when nobody follows
	spent       int64     // bytes read in all
	since       time.Time
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
// one meshsub stream, and a new one begins with the whole list. What was known
// stays until that list is whole, so that a stream opened anew is no change.
func (g *subscriptions) adopt(stream network.Stream) {
	g.mu.Lock()
	old := g.stream
	g.stream = stream
	if g.since.IsZero() {
		g.since = time.Now()
	}
	g.unconfirmed = maps.Clone(g.topics)
	g.mu.Unlock()
	if old != nil {
		old.Reset()
	}
}

// apply changes the set in the order of an RPC that was read at a time, if stream
// still counts, and tells the follower what really changed.
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
		topic := unique.Make(entry.Topic)
		delete(g.unconfirmed, topic)
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
	g.tell(at, changed)
}

// complete tells waiters that the list a stream begins with is whole since the
// RPC that was read at a time. Topics of an earlier stream that it does not name
// are left.
func (g *subscriptions) complete(stream network.Stream, at time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.stream != stream {
		return
	}
	var left []Subscription
	for topic := range g.unconfirmed {
		delete(g.topics, topic)
		left = append(left, Subscription{Subscribe: false, Topic: topic.Value()})
	}
	g.unconfirmed = nil
	g.tell(at, left)
	if !g.helloDone {
		g.helloDone = true
		close(g.hello)
	}
}

// broken tells waiters that no more of the hello comes. A list that broke off
// leaves no topic.
func (g *subscriptions) broken(stream network.Stream) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.stream != stream {
		return
	}
	g.unconfirmed = nil
	if !g.helloDone {
		g.helloDone = true
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
// takes once it has begun. Between RPCs a peer may be silent for ever.
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
		return 0, fmt.Errorf("%w: more gossip than a node without a mesh is sent", ErrMalformed)
	}
	return n, err
}

// next reads one RPC from r, which reads from m.
func (m *meter) next(r *bufio.Reader) ([]Subscription, error) {
	m.inRPC = true
	changes, err := ReadRPC(r, MaxRPCSize)
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
	err := s.listen(stream, in.buf[in.pos:])
	h.cfg.Log.Debug("gossip stream ended", slog.String("peer", s.PeerID()), slog.Any("error", err))
	stream.Reset()
}

// listen applies RPCs in order. A stream begins with the whole list of topics,
// which ends with an RPC of several topics when nothing follows at once, or else
// after HelloSettle of silence: Go, Java, Nim and JavaScript clients name all
// topics in one RPC, rust-libp2p sends one RPC a topic. rest is what has been read
// of the stream already. The error is what ended it; there is always one.
func (s *Session) listen(stream network.Stream, rest []byte) error {
	in := &meter{stream: stream, rest: rest, gossip: &s.gossip, timeout: s.host.cfg.ResponseTimeout}
	r := bufio.NewReaderSize(in, gossipBuffer)
	var last time.Time // of the newest RPC; zero before the first
	whole := false
	for {
		settling := !last.IsZero() && !whole && r.Buffered() == 0
		if settling {
			stream.SetReadDeadline(time.Now().Add(s.host.cfg.HelloSettle))
		}
		_, err := r.Peek(1)
		if settling {
			stream.SetReadDeadline(time.Time{})
		}
		if settling && isTimeout(err) {
			whole = true
			s.gossip.complete(stream, last)
			continue
		}
		if err != nil {
			if !last.IsZero() {
				s.gossip.broken(stream)
			}
			return err
		}
		changes, err := in.next(r)
		if err != nil {
			return err
		}
		last = time.Now()
		several := len(changes) > 1
		s.gossip.apply(stream, last, changes)
		if !whole && several && r.Buffered() == 0 {
			whole = true
			s.gossip.complete(stream, last)
		}
	}
}
