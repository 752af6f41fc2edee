package p2p

import (
	"bufio"
	"fmt"
	"log/slog"
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
)

// subscriptions is what a peer's gossip RPCs have told so far.
type subscriptions struct {
	hello chan struct{} // closed when the peer's first list is whole

	mu        sync.Mutex
	topics    map[unique.Handle[string]]struct{} // peers share topics: kept once
	stream    network.Stream                     // the one that counts; nil when there is none
	stale     bool                               // the topics are of the stream before: the first RPC replaces them
	helloDone bool
	spent     int64 // bytes read in all
	since     time.Time
}

func newSubscriptions() subscriptions {
	return subscriptions{hello: make(chan struct{})}
}

// current lists the topics, in no order. Never nil.
func (g *subscriptions) current() []Subscription {
	g.mu.Lock()
	defer g.mu.Unlock()
	list := make([]Subscription, 0, len(g.topics))
	for topic := range g.topics {
		list = append(list, Subscription{Subscribe: true, Topic: topic.Value()})
	}
	return list
}

// adopt makes stream the one that counts and resets the one before: a peer has
// one meshsub stream, and a new one begins with the whole list. What the old one
// told stands until then.
func (g *subscriptions) adopt(stream network.Stream) {
	g.mu.Lock()
	old := g.stream
	g.stream, g.stale = stream, true
	if g.since.IsZero() {
		g.since = time.Now()
	}
	g.mu.Unlock()
	if old != nil {
		old.Reset()
	}
}

// apply changes the set in the RPC's order, if stream still counts.
func (g *subscriptions) apply(stream network.Stream, changes []Subscription) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.stream != stream {
		return
	}
	if g.stale {
		g.stale = false
		clear(g.topics)
	}
	if g.topics == nil {
		g.topics = make(map[unique.Handle[string]]struct{}, len(changes))
	}
	for _, change := range changes {
		topic := unique.Make(change.Topic)
		switch {
		case !change.Subscribe:
			delete(g.topics, topic)
		case len(g.topics) < maxTopics:
			g.topics[topic] = struct{}{}
		}
	}
}

// complete tells waiters that the hello is whole.
func (g *subscriptions) complete() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.helloDone {
		g.helloDone = true
		close(g.hello)
	}
}

func (g *subscriptions) isComplete() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.helloDone
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
	gossip  *subscriptions
	timeout time.Duration
	inRPC   bool // set while an RPC is read
	armed   bool // the deadline of the RPC is set
}

func (m *meter) Read(p []byte) (int, error) {
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
func (h *Host) onMeshsub(stream network.Stream) {
	s := h.sessionOf(stream.Conn())
	if s == nil {
		stream.Reset()
		return
	}
	s.gossip.adopt(stream)
	err := s.listen(stream)
	h.cfg.Log.Debug("gossip stream ended", slog.String("peer", s.PeerID()), slog.Any("error", err))
	stream.Reset()
}

// listen applies RPCs in order. The first list is whole when an RPC of several
// topics came and nothing follows at once, or else after HelloSettle of silence:
// Go, Java, Nim and JavaScript clients name all topics in one RPC, rust-libp2p
// sends one RPC a topic. The error is what ended the stream; there is always one.
func (s *Session) listen(stream network.Stream) error {
	in := &meter{stream: stream, gossip: &s.gossip, timeout: s.host.cfg.ResponseTimeout}
	r := bufio.NewReader(in)
	begun, whole := false, s.gossip.isComplete()
	for {
		settling := begun && !whole && r.Buffered() == 0
		if settling {
			stream.SetReadDeadline(time.Now().Add(s.host.cfg.HelloSettle))
		}
		_, err := r.Peek(1)
		if settling {
			stream.SetReadDeadline(time.Time{})
		}
		if err != nil {
			if begun {
				whole = true
				s.gossip.complete()
			}
			if settling && isTimeout(err) {
				continue
			}
			return err
		}
		changes, err := in.next(r)
		if err != nil {
			return err
		}
		s.gossip.apply(stream, changes)
		begun = true
		if !whole && len(changes) > 1 && r.Buffered() == 0 {
			whole = true
			s.gossip.complete()
		}
	}
}
