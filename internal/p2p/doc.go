// Package p2p is the libp2p side of the sentry: a host over QUIC and TCP, one
// Session per peer, the client and the handlers of /eth2/beacon_chain/req/*, and
// the listener that reads peers' gossip subscriptions without joining a mesh.
package p2p
