package devnet

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ethereum/go-ethereum/p2p/discover"
	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/libp2p/go-libp2p/core/network"

	"github.com/chainbound/valtrack/internal/eth2"
)

// node is one beacon node while the devnet runs.
type node struct {
	plan
	log       *slog.Logger
	clock     eth2.Clock
	slowDelay time.Duration
	// record is the schedule its node record follows, wire the one of Status and
	// topics: both the network's, but for some personas.
	record, wire eth2.Schedule

	subs     subscriptions
	meta     atomic.Pointer[eth2.MetaData]
	local    *enode.LocalNode
	disc     *discover.UDPv5 // nil when the node does not answer discv5
	host     *host           // nil without libp2p
	held     []io.Closer     // sockets of dead and gone nodes
	tcpPort  uint16
	quicPort uint16
	udpPort  uint16

	mu       sync.Mutex
	sessions map[string]*liveSession // by connection id; nil once closed
	running  sync.WaitGroup
}

type liveSession struct {
	*session
	cancel context.CancelFunc
}

func newNode(p plan, clock eth2.Clock, record, wire eth2.Schedule, slow time.Duration, log *slog.Logger) *node {
	n := &node{
		plan: p, clock: clock, record: record, wire: wire, slowDelay: slow,
		log:      log.With(slog.Int("node", p.index), slog.String("client", string(p.profile.kind))),
		sessions: make(map[string]*liveSession),
	}
	n.subs.columns, n.subs.syncnets = p.columns, p.syncnets
	return n
}

// hasHost says whether the node has a libp2p host.
func (n *node) hasHost() bool {
	return n.persona != Dead && n.persona != Gone && n.persona != NoEth2
}

// startHost opens the node's libp2p host, or what stands in its place, and serves
// it until close. Sessions live in ctx.
func (n *node) startHost(ctx context.Context) error {
	switch n.persona {
	case Dead, NoEth2:
		return n.holdPorts()
	case Gone:
		return n.openBlackHole(ctx)
	}
	h, err := newHost(&n.plan)
	if err != nil {
		return err
	}
	n.host = h
	for id, handler := range n.handlers() {
		h.handle(ctx, id, func(ctx context.Context, s network.Stream) { n.serve(ctx, s, handler) })
	}
	for _, id := range n.meshsubVersions() {
		h.SetStreamHandler(id, handleGossip)
	}
	h.connections(func(c network.Conn) { n.connected(ctx, c) }, n.disconnected)
	if err := h.start(); err != nil {
		return err
	}
	if n.persona == NoAgent {
		h.identifyWithoutAgent()
	}
	n.tcpPort, n.quicPort = h.ports()
	return nil
}

func (n *node) connected(ctx context.Context, c network.Conn) {
	ctx, cancel := context.WithCancel(ctx)
	s := newSession(n, c)
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.sessions == nil {
		cancel()
		return
	}
	n.sessions[c.ID()] = &liveSession{s, cancel}
	n.running.Go(func() {
		defer cancel()
		s.run(ctx)
	})
}

func (n *node) disconnected(c network.Conn) {
	n.mu.Lock()
	s := n.sessions[c.ID()]
	delete(n.sessions, c.ID())
	n.mu.Unlock()
	if s != nil {
		s.cancel()
	}
}

// sessionOf finds the session of a connection: libp2p tells of a connection before
// it hands out its streams. Nil once the node closes.
func (n *node) sessionOf(c network.Conn) *session {
	n.mu.Lock()
	defer n.mu.Unlock()
	if s := n.sessions[c.ID()]; s != nil {
		return s.session
	}
	return nil
}

// metaData is what the node serves now.
func (n *node) metaData() eth2.MetaData { return *n.meta.Load() }

// setLongLived puts new long-lived subnets into MetaData and raises its
// seq_number; false when nothing changed. The first call gives seq_number 1.
func (n *node) setLongLived(attnets eth2.Attnets) bool {
	old := n.meta.Load()
	m := eth2.MetaData{SeqNumber: 1, Attnets: attnets, Syncnets: &n.syncnets, CustodyGroupCount: &n.cgc}
	if old != nil {
		if old.Attnets == attnets {
			return false
		}
		m.SeqNumber = old.SeqNumber + 1
	}
	n.meta.Store(&m)
	return true
}

// status is the node's Status at a time: a chain that finalizes two epochs back.
func (n *node) status(now time.Time) eth2.Status {
	slot := n.clock.SlotAt(now)
	epoch := n.clock.EpochOf(slot)
	s := eth2.Status{
		ForkDigest:            n.wire.At(epoch).Digest,
		HeadSlot:              slot,
		HeadRoot:              root("head", uint64(slot)),
		EarliestAvailableSlot: new(eth2.Slot),
	}
	if epoch > finalityDistance {
		s.FinalizedEpoch = epoch - finalityDistance
		s.FinalizedRoot = root("finalized", uint64(s.FinalizedEpoch))
	}
	return s
}

const finalityDistance = 2 // epochs

func root(what string, n uint64) eth2.Root {
	return sha256.Sum256(binary.LittleEndian.AppendUint64([]byte(what), n))
}

// digestsAt are the fork digests of the topics at epoch e: the current one, and
// around a fork its neighbour's.
func (n *node) digestsAt(e eth2.Epoch) []eth2.ForkDigest {
	lead := n.profile.forkLead
	digests := []eth2.ForkDigest{n.wire.At(e).Digest}
	for _, near := range []eth2.Epoch{e - min(lead, e), e + lead} {
		if d := n.wire.At(near).Digest; !slices.Contains(digests, d) {
			digests = append(digests, d)
		}
	}
	return digests
}

// close ends everything of the node and waits for it.
func (n *node) close() error {
	n.mu.Lock()
	n.sessions = nil
	n.mu.Unlock()
	var errs []error
	if n.disc != nil {
		n.disc.Close()
	}
	for _, c := range n.held {
		errs = append(errs, c.Close())
	}
	if n.host != nil {
		errs = append(errs, n.host.close())
	}
	n.running.Wait()
	return errors.Join(errs...)
}
