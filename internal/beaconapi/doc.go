// Package beaconapi reads what estimates depend on from a beacon node's HTTP API: the number
// of the network's active validators and their mean effective balance.
package beaconapi
