package devnet

import (
	"slices"
	"time"

	"github.com/chainbound/valtrack/internal/eth2"
)

// Node is what is true of one node, as truth.json has it.
type Node struct {
	Index      int      `json:"index"`
	PeerID     string   `json:"peer_id"`
	NodeID     string   `json:"node_id"`
	ENR        string   `json:"enr"`
	Multiaddrs []string `json:"multiaddrs"` // with /p2p/<peer id>; empty for nodes without a libp2p address

	Client  eth2.ClientKind `json:"client"`
	Version string          `json:"version"` // empty where the client's agent does not contain it
	Agent   string          `json:"agent"`
	OS      string          `json:"os"`
	Arch    string          `json:"arch"`

	Persona Persona `json:"persona"`
	// Hostile says that the node attacks who crawls the network.
	Hostile bool `json:"hostile"`
	// Ours says that the record carries this network's fork digest, so that a
	// crawler dials the node.
	Ours bool `json:"ours"`
	// Reachable says that a crawler can find the node and connect to it.
	Reachable bool `json:"reachable"`
	// Handshake says that Status and MetaData of this network can be had.
	Handshake bool `json:"handshake"`
	// Hello says that the node opens a gossip stream and announces its
	// subscriptions correctly.
	Hello bool `json:"hello"`
	// Outcomes are the visit outcomes (package event) that fit the node.
	Outcomes []string `json:"outcomes"`

	Transports []string `json:"transports"` // quic, tcp
	Muxers     []string `json:"muxers"`     // yamux, mplex: over TCP

	Validators int    `json:"validators"`
	CGC        uint64 `json:"cgc"`
	// Attnets and LongLivedSubnets are MetaData's at the start; see MetaDataAt.
	Attnets          eth2.Attnets  `json:"attnets"`
	LongLivedSubnets []int         `json:"long_lived_subnets"`
	AllSubnets       bool          `json:"all_subnets"`
	Syncnets         eth2.Syncnets `json:"syncnets"`
	// ColumnSubnets is the number of data column topics it subscribes to.
	ColumnSubnets int `json:"column_subnets"`
}

// Truth is what is known of every node, and the log of every subscription. It
// stays valid while and after the devnet runs. Safe for concurrent use.
type Truth struct {
	// Nodes in order of index, as they were when Truth was asked for: with churn
	// there come more. Not to be modified.
	Nodes []Node

	registry *registry
	log      *history
}

// SubscriptionChange is one SUBSCRIBE (On) or UNSUBSCRIBE of an attestation
// subnet; its time is taken just before the message goes out.
type SubscriptionChange struct {
	Time   time.Time
	Subnet int
	On     bool
}

// Node finds a node by its peer id, as it is now.
func (t Truth) Node(peerID string) (Node, bool) {
	return t.registry.node(peerID)
}

// LiveDuring lists the nodes that were up, at one address, for the whole span.
func (t Truth) LiveDuring(from, to time.Time) []Node { return t.registry.live(from, to) }

// Lives lists the spans in which a node was up, in order; nil for an unknown peer.
func (t Truth) Lives(peerID string) []Life { return t.registry.livesOf(peerID) }

// SubnetsAt lists the attestation subnets a node was subscribed to at the time,
// sorted; long-lived and short-lived together. Times before the start give the
// set at the start. Nil for an unknown peer, never nil for a known one.
func (t Truth) SubnetsAt(peerID string, at time.Time) []int {
	i, ok := t.registry.index(peerID)
	if !ok {
		return nil
	}
	return t.log.subnetsAt(i, at).Subnets()
}

// Changes lists a node's subscription changes in [from, to), in order.
func (t Truth) Changes(peerID string, from, to time.Time) []SubscriptionChange {
	i, ok := t.registry.index(peerID)
	if !ok {
		return nil
	}
	return t.log.changes(i, from, to)
}

// MetaDataAt is the MetaData (version 3) a node served at the time; times before
// the start give the first. ok is false for an unknown peer.
func (t Truth) MetaDataAt(peerID string, at time.Time) (m eth2.MetaData, ok bool) {
	i, ok := t.registry.index(peerID)
	if !ok {
		return eth2.MetaData{}, false
	}
	return t.log.metaDataAt(i, at), true
}

// Reachable lists the nodes a crawler can shake hands with.
func (t Truth) Reachable() []Node {
	return slices.DeleteFunc(slices.Clone(t.Nodes), func(n Node) bool { return !n.Ours || !n.Reachable || !n.Handshake })
}
