// Package devnet is a simulated beacon network of real nodes on loopback: each has
// its own address, key, discv5 (go-ethereum) and libp2p host, speaks the
// consensus req/resp and gossip subscription protocols, and behaves like one of
// the clients in client.go with a known number of validators. What each node is and
// subscribes to is written down as truth, for tests, benchmarks and the demo.
package devnet
