package eth2

// Preset holds the constants of a network's committees, which differ between presets
// (consensus-specs presets/, phase0.yaml and altair.yaml). SLOTS_PER_EPOCH is in Clock.
type Preset struct {
	MaxCommitteesPerSlot         uint64 // MAX_COMMITTEES_PER_SLOT
	TargetCommitteeSize          uint64 // TARGET_COMMITTEE_SIZE, validators
	SyncCommitteeSize            uint64 // SYNC_COMMITTEE_SIZE, seats
	EpochsPerSyncCommitteePeriod uint64 // EPOCHS_PER_SYNC_COMMITTEE_PERIOD
}

// MainnetPreset has the mainnet preset's values.
func MainnetPreset() Preset {
	return Preset{MaxCommitteesPerSlot: 64, TargetCommitteeSize: 128, SyncCommitteeSize: 512, EpochsPerSyncCommitteePeriod: 256}
}
