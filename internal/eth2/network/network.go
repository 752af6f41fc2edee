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
	// Preset is that of PRESET_BASE, with the values that config.yaml overrides.
	eth2.Preset
	// Assumed is zero where nothing is assumed.
	Assumed Assumed
	// Warnings are sentences for the operator: files and values that are not used, and
	// facts that are guesses.
	Warnings []string
}
