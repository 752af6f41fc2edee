// Package eth2 holds facts of the Ethereum consensus protocol as pure functions
// and plain values: fork schedule and digests, slot arithmetic, the fixed-size
// wire containers, attestation subnets, custody groups, gossip topic names and
// client names. It starts no goroutine, does no I/O and reads no clock: time and
// epoch are arguments.
package eth2
