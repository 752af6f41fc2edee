// Package network loads what defines one consensus network: configuration,
// genesis and bootnodes, from the directories embedded here or from a directory
// in the same layout.
package network

import (
	"time"

	"github.com/chainbound/valtrack/internal/eth2"
)

// Network is one consensus network.
type Network struct {
	Name                  string
	GenesisTime           time.Time
	GenesisValidatorsRoot eth2.Root
	Clock                 eth2.Clock
	Schedule              eth2.Schedule
	// Forks in order of epoch, those that are not scheduled last.
	Forks []eth2.Fork
	// Bootnodes are ENRs in text form.
	Bootnodes []string
	// MaxCommitteesPerSlot and TargetCommitteeSize are of the preset or the file.
	MaxCommitteesPerSlot, TargetCommitteeSize uint64
}
