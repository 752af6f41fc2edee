package devnet

import (
	"encoding/binary"
	"math/bits"
	"slices"
	"sync"

	"github.com/chainbound/valtrack/internal/eth2"
)

// topicChange is one entry of a gossip RPC's subscriptions.
type topicChange struct {
	topic     string
	subscribe bool
}

// subnetChange is one attestation subnet joined or left.
type subnetChange struct {
	subnet int
	on     bool
}

// subscriptions are the gossip topics of one node: the attestation subnets of its
// backbone and duties, and the fixed topics, on one fork digest or, around a
// fork, two. Safe for concurrent use.
type subscriptions struct {
	mu       sync.Mutex
	duties   [eth2.AttestationSubnetCount]uint32 // short-lived duties that hold a subnet
	backbone uint64                              // bit i: subnet i
	on       uint64                              // bit i: subscribed to subnet i
	digests  []eth2.ForkDigest
	syncnets eth2.Syncnets
	columns  []uint64
	peers    map[*announcer]struct{}
}

// globalTopics are the topics every node joins (phase0 to fulu
// p2p-interface.md).
func globalTopics() []string {
	return []string{
		"beacon_block", "beacon_aggregate_and_proof", "voluntary_exit", "proposer_slashing", "attester_slashing",
		"sync_committee_contribution_and_proof", "bls_to_execution_change", "light_client_finality_update", "light_client_optimistic_update",
	}
}

func subnetMask(a eth2.Attnets) uint64 { return binary.LittleEndian.Uint64(a[:]) }

func maskAttnets(m uint64) (a eth2.Attnets) {
	binary.LittleEndian.PutUint64(a[:], m)
	return a
}

// update applies the starts and ends of duties and a new backbone at once, sends
// the changes to every connected peer, and gives what changed, in order of subnet. record is
// called for each change before anything is sent.
func (s *subscriptions) update(deltas []delta, backbone uint64, record func(subnetChange)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range deltas {
		if d.on {
			s.duties[d.subnet]++
		} else if s.duties[d.subnet] > 0 {
			s.duties[d.subnet]--
		}
	}
	s.backbone = backbone
	now := backbone
	for i, n := range s.duties {
		if n > 0 {
			now |= 1 << i
		}
	}
	changed := s.on ^ now
	s.on = now
	var topics []topicChange
	for ; changed != 0; changed &= changed - 1 {
		subnet := bits.TrailingZeros64(changed)
		c := subnetChange{subnet, now>>subnet&1 == 1}
		if record != nil {
			record(c)
		}
		if len(s.peers) > 0 {
			for _, d := range s.digests {
				topics = append(topics, topicChange{eth2.AttestationTopic(d, subnet).String(), c.on})
			}
		}
	}
	s.announce(topics)
}

// setDigests joins the topics of new digests and leaves those of old ones.
func (s *subscriptions) setDigests(digests []eth2.ForkDigest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if slices.Equal(s.digests, digests) {
		return
	}
	var topics []topicChange
	for _, d := range digests {
		if !slices.Contains(s.digests, d) {
			topics = s.appendTopics(topics, d, true)
		}
	}
	for _, d := range s.digests {
		if !slices.Contains(digests, d) {
			topics = s.appendTopics(topics, d, false)
		}
	}
	s.digests = slices.Clone(digests)
	s.announce(topics)
}

// current is the set of attestation subnets.
func (s *subscriptions) current() eth2.Attnets {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maskAttnets(s.on)
}

// join registers a peer's announcer and gives the full list of topics, its hello:
// every later change goes to the announcer.
func (s *subscriptions) join(a *announcer) []topicChange {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.peers == nil {
		s.peers = make(map[*announcer]struct{})
	}
	s.peers[a] = struct{}{}
	var topics []topicChange
	for _, d := range s.digests {
		topics = s.appendTopics(topics, d, true)
	}
	return topics
}

func (s *subscriptions) leave(a *announcer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.peers, a)
}

func (s *subscriptions) appendTopics(list []topicChange, d eth2.ForkDigest, subscribe bool) []topicChange {
	for _, name := range globalTopics() {
		list = append(list, topicChange{eth2.Topic{Digest: d, Name: name}.String(), subscribe})
	}
	for _, subnet := range maskAttnets(s.on).Subnets() {
		list = append(list, topicChange{eth2.AttestationTopic(d, subnet).String(), subscribe})
	}
	for _, subnet := range s.syncnets.Subnets() {
		list = append(list, topicChange{eth2.SyncCommitteeTopic(d, subnet).String(), subscribe})
	}
	for _, column := range s.columns {
		list = append(list, topicChange{eth2.DataColumnTopic(d, int(column)).String(), subscribe})
	}
	return list
}

// announce encodes a change once for all peers.
func (s *subscriptions) announce(topics []topicChange) {
	if len(topics) == 0 || len(s.peers) == 0 {
		return
	}
	rpc := encodeRPC(topics)
	for a := range s.peers {
		a.add(rpc)
	}
}
