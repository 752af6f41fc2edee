package network

import (
	"fmt"
	"io/fs"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/chainbound/valtrack/internal/eth2"
)

const (
	configFile    = "config.yaml"
	maxConfigSize = 1 << 20 // published ones have some 10 KiB

	// Bounds that no real network comes near; they keep time arithmetic far from
	// overflow.
	maxSlotDuration  = 24 * time.Hour
	maxSlotsPerEpoch = 1 << 16
	maxCommittee     = 1 << 16
	maxSyncPeriod    = 1 << 20      // epochs
	maxUnixTime      = 253402300799 // the end of the year 9999
	maxBlobs         = 1 << 16
	maxName          = 64
)

// preset holds the values of a PRESET_BASE (consensus-specs presets/, and the
// gnosis preset), as far as we use them. config.yaml can override each value.
type preset struct {
	eth2.Preset
	slotsPerEpoch uint64
	// maxBlobsElectra is a configuration value; this is what a file that predates
	// Electra means.
	maxBlobsElectra uint64
}

func presets() map[string]preset {
	gnosis := eth2.MainnetPreset()
	gnosis.EpochsPerSyncCommitteePeriod = 512
	minimal := eth2.Preset{MaxCommitteesPerSlot: 4, TargetCommitteeSize: 4, SyncCommitteeSize: 32, EpochsPerSyncCommitteePeriod: 8}
	return map[string]preset{
		"mainnet": {Preset: eth2.MainnetPreset(), slotsPerEpoch: 32, maxBlobsElectra: 9},
		"minimal": {Preset: minimal, slotsPerEpoch: 8, maxBlobsElectra: 9},
		"gnosis":  {Preset: gnosis, slotsPerEpoch: 16, maxBlobsElectra: 2},
	}
}

// config is what we use of config.yaml.
type config struct {
	name            string
	preset          preset
	minGenesisTime  uint64
	genesisDelay    uint64
	slotDuration    time.Duration
	forks           []eth2.Fork // in the order of the protocol
	blobs           []eth2.BlobParameters
	maxBlobsElectra uint64
	warnings        []string
}

func readConfig(fsys fs.FS) (config, error) {
	data, err := readFile(fsys, configFile, maxConfigSize)
	if err != nil {
		return config{}, err
	}
	return parseConfig(data)
}

func parseConfig(data []byte) (config, error) {
	v, err := parseValues(configFile, data)
	if err != nil {
		return config{}, err
	}
	c := config{name: v.name("CONFIG_NAME"), preset: v.preset("PRESET_BASE")}
	c.preset.slotsPerEpoch = v.number("SLOTS_PER_EPOCH", c.preset.slotsPerEpoch, 1, maxSlotsPerEpoch)
	c.preset.MaxCommitteesPerSlot = v.number("MAX_COMMITTEES_PER_SLOT", c.preset.MaxCommitteesPerSlot, 1, maxCommittee)
	c.preset.TargetCommitteeSize = v.number("TARGET_COMMITTEE_SIZE", c.preset.TargetCommitteeSize, 1, maxCommittee)
	c.preset.SyncCommitteeSize = v.number("SYNC_COMMITTEE_SIZE", c.preset.SyncCommitteeSize, eth2.SyncCommitteeSubnetCount, maxCommittee)
	c.preset.EpochsPerSyncCommitteePeriod = v.number("EPOCHS_PER_SYNC_COMMITTEE_PERIOD", c.preset.EpochsPerSyncCommitteePeriod, 1, maxSyncPeriod)
	c.minGenesisTime = v.number("MIN_GENESIS_TIME", 0, 0, maxUnixTime)
	c.genesisDelay = v.number("GENESIS_DELAY", 0, 0, maxUnixTime)
	c.slotDuration = v.slotDuration()
	c.maxBlobsElectra = v.number("MAX_BLOBS_PER_BLOCK_ELECTRA", c.preset.maxBlobsElectra, 0, maxBlobs)
	c.forks = v.forks()
	c.warnings = v.unknownForks()
	c.blobs = v.blobSchedule("BLOB_SCHEDULE")
	if v.err != nil {
		return config{}, v.err
	}
	return c, nil
}

// name is the network's name; the earliest testnets have none in their file.
func (v *values) name(key string) string {
	s, ok := v.text(key)
	if !ok {
		return "unnamed"
	}
	if len(s) == 0 || len(s) > maxName || strings.Trim(strings.ToLower(s), "abcdefghijklmnopqrstuvwxyz0123456789-_.") != "" {
		v.fail(key, s, fmt.Errorf("want 1 to %d of letters, digits and the signs . - _", maxName))
	}
	return s
}

func (v *values) preset(key string) preset {
	s, ok := v.text(key)
	if !ok {
		s = "mainnet"
	}
	p, known := presets()[s]
	if !known {
		v.fail(key, s, fmt.Errorf("want mainnet, minimal or gnosis"))
	}
	return p
}

// slotDuration reads SLOT_DURATION_MS, which replaces SECONDS_PER_SLOT in newer
// configurations. Where both are given they must agree, to the second.
func (v *values) slotDuration() time.Duration {
	const ms, seconds = "SLOT_DURATION_MS", "SECONDS_PER_SLOT"
	if !v.has(ms) && !v.has(seconds) {
		v.fail(seconds, "", fmt.Errorf("is missing, and so is %s", ms))
		return 0
	}
	whole := time.Duration(v.number(seconds, 0, 1, uint64(maxSlotDuration/time.Second))) * time.Second
	if !v.has(ms) {
		return whole
	}
	exact := time.Duration(v.number(ms, 0, 1, uint64(maxSlotDuration/time.Millisecond))) * time.Millisecond
	if v.has(seconds) && (exact-whole).Abs() >= time.Second {
		text, _ := v.text(seconds)
		v.fail(seconds, text, fmt.Errorf("contradicts %s, which is %d", ms, exact.Milliseconds()))
	}
	return exact
}

func (v *values) blobSchedule(key string) []eth2.BlobParameters {
	var blobs []eth2.BlobParameters
	seen := make(map[eth2.Epoch]bool)
	for _, item := range v.list(key) {
		b := eth2.BlobParameters{
			Epoch:            eth2.Epoch(item.required("EPOCH", math.MaxUint64)),
			MaxBlobsPerBlock: item.required("MAX_BLOBS_PER_BLOCK", maxBlobs),
		}
		if seen[b.Epoch] && b.Epoch != eth2.FarFutureEpoch {
			item.fail("EPOCH", strconv.FormatUint(uint64(b.Epoch), 10), fmt.Errorf("is duplicated"))
		}
		seen[b.Epoch] = true
		v.adopt(key, item)
		blobs = append(blobs, b)
	}
	return blobs
}
