// Package network has every fact of a consensus network that is not the same for all:
// configuration, preset, genesis, bootnodes and assumed number of active validators, from
// the directories embedded here or from a directory in the same layout. To add a network,
// add a directory to networks/.
package network
