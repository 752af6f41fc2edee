// Package beaconapi reads the one number that estimates depend on from a beacon node's
// HTTP API: the network's active validators.
package beaconapi
