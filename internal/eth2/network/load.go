package network

import (
	"embed"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/chainbound/valtrack/internal/eth2"
)

//go:embed networks
var embedded embed.FS

const networksDir = "networks"

// Names lists the embedded networks in alphabetical order: one for each directory.
func Names() []string {
	dirs, err := embedded.ReadDir(networksDir)
	if err != nil {
		panic(err) // a directory that the compiler embedded can be read
	}
	names := make([]string, 0, len(dirs))
	for _, d := range dirs {
		names = append(names, d.Name())
	}
	return names
}

// Load returns an embedded network. The error for an unknown name lists the names.
func Load(name string) (Network, error) {
	if !slices.Contains(Names(), name) {
		return Network{}, fmt.Errorf("network %.80q: want one of %s", name, strings.Join(Names(), ", "))
	}
	dir, err := fs.Sub(embedded, networksDir+"/"+name)
	if err != nil {
		return Network{}, err
	}
	return LoadFS(dir, name)
}

// LoadFS reads a directory in the layout that testnets publish: config.yaml (keys
// that we do not know are ignored, but not those of a scheduled fork),
// genesis_validators_root.txt or genesis.ssz, genesis_time.txt or genesis.ssz or else
// MIN_GENESIS_TIME + GENESIS_DELAY, and one of BootnodeFiles, which may be missing, and
// valtrack.yaml, which is our own and may be missing too. An empty name becomes the file's
// CONFIG_NAME. A value that cannot be used is a *ValueError; what is not used or not certain
// is in the network's Warnings.
func LoadFS(fsys fs.FS, name string) (Network, error) {
	cfg, err := readConfig(fsys)
	if err != nil {
		return Network{}, err
	}
	if name == "" {
		name = cfg.name
	}
	gen, warnings, err := readGenesis(fsys, cfg)
	if err != nil {
		return Network{}, err
	}
	bootnodes, unused := readBootnodes(fsys)
	assumed, err := readAssumed(fsys, name)
	if err != nil {
		return Network{}, err
	}
	schedule, err := eth2.NewSchedule(gen.validatorsRoot, cfg.forks, cfg.blobs, cfg.maxBlobsElectra)
	if err != nil {
		return Network{}, fmt.Errorf("%s: %w", configFile, err)
	}
	genesisTime := time.Unix(gen.time, 0).UTC()
	slices.SortStableFunc(cfg.forks, compareForks)
	return Network{
		Name:                  name,
		GenesisTime:           genesisTime,
		GenesisValidatorsRoot: gen.validatorsRoot,
		Clock:                 eth2.Clock{Genesis: genesisTime, SlotDuration: cfg.slotDuration, SlotsPerEpoch: cfg.preset.slotsPerEpoch},
		Schedule:              schedule,
		Forks:                 cfg.forks,
		Bootnodes:             bootnodes,
		Preset:                cfg.preset.Preset,
		Assumed:               assumed,
		Warnings:              slices.Concat(cfg.warnings, warnings, unused),
	}, nil
}
