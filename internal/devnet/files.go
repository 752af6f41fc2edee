package devnet

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/chainbound/valtrack/internal/eth2"
)

// Name is CONFIG_NAME of every devnet.
const Name = "devnet"

// Files that a devnet writes beside those of a network directory. After a disk was full for long,
// a line {"missing_lines": n} in one that grows stands for lines that it lacks.
const (
	TruthFile         = "truth.json"
	SubscriptionsFile = "truth_subscriptions.ndjson" // {"t": ms, "peer_id", "subnet", "on"}; the set at the start first
	MetaDataFile      = "truth_metadata.ndjson"      // {"t": ms, "peer_id", "seq", "attnets", "syncnets", "cgc"}
	LivesFile         = "truth_lives.ndjson"         // {"t": ms, "peer_id", "index", "up", "enr", "multiaddrs"}
)

// maxBlobsElectra is MAX_BLOBS_PER_BLOCK_ELECTRA.
const maxBlobsElectra = 9

// truthFiles are the logs that grow while the devnet runs.
type truthFiles struct {
	subscriptions, metadata, lives *os.File
}

func openTruthFiles(dir string) (_ *truthFiles, err error) {
	f := &truthFiles{}
	for _, one := range []struct {
		file **os.File
		name string
	}{
		{&f.subscriptions, SubscriptionsFile}, {&f.metadata, MetaDataFile}, {&f.lives, LivesFile},
	} {
		if *one.file, err = os.Create(filepath.Join(dir, one.name)); err != nil {
			return nil, errors.Join(fmt.Errorf("devnet truth: %w", err), f.close())
		}
	}
	return f, nil
}

func (f *truthFiles) close() error {
	if f == nil {
		return nil
	}
	var errs []error
	for _, file := range []*os.File{f.subscriptions, f.metadata, f.lives} {
		if file != nil {
			errs = append(errs, file.Close())
		}
	}
	return errors.Join(errs...)
}

// writeNetworkDir writes the files of a network directory: config.yaml, genesis
// and bootnodes.
func writeNetworkDir(dir string, cfg Config, genesisRoot eth2.Root, bootnodes []string) error {
	files := map[string]string{
		"config.yaml":                 configYAML(cfg),
		"genesis_validators_root.txt": genesisRoot.String() + "\n",
		"genesis_time.txt":            strconv.FormatInt(cfg.GenesisTime.Unix(), 10) + "\n",
		"bootstrap_nodes.txt":         strings.Join(bootnodes, "\n") + "\n",
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return fmt.Errorf("devnet directory: %w", err)
		}
	}
	return nil
}

// configYAML is the configuration in the consensus-specs format: the keys that
// distinguish this network from another.
func configYAML(cfg Config) string {
	var b strings.Builder
	set := func(key string, value any) { fmt.Fprintf(&b, "%s: %v\n", key, value) }
	set("PRESET_BASE", "'mainnet'")
	set("CONFIG_NAME", "'"+Name+"'")
	set("MIN_GENESIS_TIME", cfg.GenesisTime.Unix())
	set("GENESIS_DELAY", 0)
	for _, f := range cfg.Forks {
		if f.Name == "phase0" {
			set("GENESIS_FORK_VERSION", f.Version)
			continue
		}
		set(strings.ToUpper(f.Name)+"_FORK_VERSION", f.Version)
		set(strings.ToUpper(f.Name)+"_FORK_EPOCH", uint64(f.Epoch))
	}
	set("SLOT_DURATION_MS", cfg.SlotDuration.Milliseconds())
	set("SECONDS_PER_SLOT", max(1, int64(cfg.SlotDuration.Seconds())))
	set("SLOTS_PER_EPOCH", cfg.SlotsPerEpoch)
	set("MAX_COMMITTEES_PER_SLOT", cfg.CommitteesPerSlot)
	set("TARGET_COMMITTEE_SIZE", eth2.MainnetPreset().TargetCommitteeSize)
	set("MAX_BLOBS_PER_BLOCK_ELECTRA", maxBlobsElectra)
	set("NUMBER_OF_CUSTODY_GROUPS", eth2.NumberOfCustodyGroups)
	set("CUSTODY_REQUIREMENT", eth2.CustodyRequirement)
	if len(cfg.Blobs) == 0 {
		set("BLOB_SCHEDULE", "[]")
		return b.String()
	}
	b.WriteString("BLOB_SCHEDULE:\n")
	for _, p := range cfg.Blobs {
		fmt.Fprintf(&b, "  - EPOCH: %d\n    MAX_BLOBS_PER_BLOCK: %d\n", p.Epoch, p.MaxBlobsPerBlock)
	}
	return b.String()
}

// truthDocument is truth.json.
type truthDocument struct {
	Network               string    `json:"network"`
	Seed                  uint64    `json:"seed"`
	GenesisTime           int64     `json:"genesis_time"` // Unix seconds
	GenesisValidatorsRoot eth2.Root `json:"genesis_validators_root"`
	SlotDurationMS        int64     `json:"slot_duration_ms"`
	SlotsPerEpoch         uint64    `json:"slots_per_epoch"`
	ActiveValidators      int       `json:"active_validators"`
	CommitteesPerSlot     int       `json:"committees_per_slot"`
	AggregatorProbability float64   `json:"aggregator_probability"`
	Started               int64     `json:"started"` // Unix milliseconds
	Nodes                 []Node    `json:"nodes"`
}

func writeTruth(dir string, doc truthDocument) error {
	b, err := json.MarshalIndent(doc, "", " ")
	if err != nil {
		return fmt.Errorf("devnet truth: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, TruthFile), append(b, '\n'), 0o644); err != nil {
		return fmt.Errorf("devnet truth: %w", err)
	}
	return nil
}
