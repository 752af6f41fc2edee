package devnet

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	pubsubpb "github.com/libp2p/go-libp2p-pubsub/pb"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/protocol"
	"google.golang.org/protobuf/proto"

	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/p2p"
)

// maxPending is how many changes wait for a peer that does not read, before it is
// cut off.
const maxPending = 4096

// writeTimeout bounds one write to a peer.
const writeTimeout = 10 * time.Second

// encodeRPC gives a gossip RPC with its varint length, encoded by go-libp2p-pubsub
// so that our own decoder meets a foreign encoder.
func encodeRPC(topics []topicChange) []byte {
	rpc := &pubsubpb.RPC{Subscriptions: make([]*pubsubpb.RPC_SubOpts, len(topics))}
	for i, t := range topics {
		rpc.Subscriptions[i] = &pubsubpb.RPC_SubOpts{Subscribe: proto.Bool(t.subscribe), Topicid: proto.String(t.topic)}
	}
	body, err := proto.Marshal(rpc)
	if err != nil {
		// Only invalid UTF-8 fails; no topic of ours has any.
		return []byte{0}
	}
	return append(binary.AppendUvarint(nil, uint64(len(body))), body...)
}

// announcer holds what has yet to be sent to one peer.
type announcer struct {
	mu       sync.Mutex
	pending  [][]byte
	overflow bool
	more     chan struct{} // holds a token while pending is not empty
}

func newAnnouncer() *announcer { return &announcer{more: make(chan struct{}, 1)} }

func (a *announcer) add(rpc []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.pending) == maxPending {
		a.overflow = true
		return
	}
	a.pending = append(a.pending, rpc)
	select {
	case a.more <- struct{}{}:
	default:
	}
}

// takeRPCs gives what is pending, once; an error when the peer is too far behind for
// its picture to be whole.
func (a *announcer) takeRPCs() ([][]byte, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.overflow {
		return nil, fmt.Errorf("peer is %d changes behind", maxPending)
	}
	out := a.pending
	a.pending = nil
	return out, nil
}

// meshsubVersions are the gossip protocols a node offers.
func (n *node) meshsubVersions() []protocol.ID {
	if n.persona == NoGossip {
		return nil
	}
	return p2p.MeshsubProtocols()
}

// gossip announces the node's subscriptions on its own stream until ctx ends:
// the whole list first, then each change.
func (s *session) gossip(ctx context.Context) error {
	versions := s.node.meshsubVersions()
	if len(versions) == 0 {
		return nil
	}
	stream, err := s.open(ctx, versions...)
	if err != nil {
		return fmt.Errorf("open gossip stream: %w", err)
	}
	defer stream.Reset()

	a := newAnnouncer()
	hello := s.node.subs.join(a)
	defer s.node.subs.leave(a)
	if s.node.persona == MalformedTopics {
		hello = malform(hello, s.node.wire.At(0).Digest)
	}
	if s.node.persona == HostileText {
		hello = append(hello, topicChange{eth2.Topic{Digest: s.node.wire.At(0).Digest, Name: hostileText}.String(), true})
	}
	if err := s.announceAll(stream, hello); err != nil {
		return err
	}
	if s.node.persona == HostileTopics {
		if err := floodTopics(stream); err != nil {
			return err
		}
	}
	if s.node.persona == Flood {
		if err := flood(ctx, stream); err != nil {
			return err
		}
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-a.more:
			rpcs, err := a.takeRPCs()
			if err != nil {
				return err
			}
			for _, rpc := range rpcs {
				if err := write(stream, rpc); err != nil {
					return err
				}
			}
		}
	}
}

// announceAll sends the hello in the client's way: one RPC, or one a topic in
// several packets.
func (s *session) announceAll(stream network.Stream, hello []topicChange) error {
	if !s.node.profile.rpcPerTopic {
		return write(stream, encodeRPC(hello))
	}
	const perPacket = 16
	for packet := range slices.Chunk(hello, perPacket) {
		var b []byte
		for i := range packet {
			b = append(b, encodeRPC(packet[i:i+1])...)
		}
		if err := write(stream, b); err != nil {
			return err
		}
	}
	return nil
}

func write(stream network.Stream, b []byte) error {
	if err := stream.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	_, err := stream.Write(b)
	return err
}

// handleGossip reads a peer's RPCs to the end and forgets them.
func handleGossip(stream network.Stream) {
	// The error says only how the stream ended.
	_, _ = io.Copy(io.Discard, stream)
	_ = stream.Close()
}

// malform puts broken entries before, between and after a node's own topics: a
// reader that skips each of them is left with the node's own.
func malform(hello []topicChange, digest eth2.ForkDigest) []topicChange {
	other := eth2.ForkDigest{0xde, 0xad, 0xbe, 0xef}
	bad := []topicChange{
		{"beacon_attestation", true},
		{"", true},
		{"////", true},
		{"/eth2//beacon_attestation_1/ssz_snappy", true},
		{"/eth2/xxxxxxxx/beacon_attestation_1/ssz_snappy", true},
		{eth2.Topic{Digest: digest, Name: "beacon_attestation_9999"}.String(), true},
		{eth2.Topic{Digest: digest, Name: "beacon_attestation_64"}.String(), true},
		{eth2.Topic{Digest: digest, Name: "beacon_attestation_-1"}.String(), true},
		{eth2.Topic{Digest: digest, Name: "beacon_attestation_"}.String(), true},
		{eth2.Topic{Digest: digest, Name: "sync_committee_4"}.String(), true},
		{eth2.Topic{Digest: digest, Name: "data_column_sidecar_128"}.String(), true},
		{eth2.AttestationTopic(other, 7).String(), true},
		{eth2.Topic{Digest: digest, Name: "never_joined"}.String(), false},
	}
	out := append([]topicChange{}, bad...)
	out = append(out, hello...)
	out = append(out, hello...) // every topic twice
	return append(out, bad...)
}

// Size of a flood: more topics than a reader may keep.
const (
	floodRPCs         = 10
	floodTopicsPerRPC = 5000
)

func flood(ctx context.Context, stream network.Stream) error {
	for i := range floodRPCs {
		topics := make([]topicChange, floodTopicsPerRPC)
		for j := range topics {
			topics[j] = topicChange{fmt.Sprintf("/eth2/%08x/flood_%d/ssz_snappy", j, i), true}
		}
		if err := write(stream, encodeRPC(topics)); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}
