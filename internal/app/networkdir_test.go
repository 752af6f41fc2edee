package app

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/chainbound/valtrack/internal/estimate"
	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/eth2/network"
)

// paramsOfDir gives what --network-dir with such a config.yaml is estimated with.
func paramsOfDir(t *testing.T, config string) estimate.Params {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"config.yaml":                 "CONFIG_NAME: other\nGENESIS_FORK_VERSION: 0x10000038\nSECONDS_PER_SLOT: 5\n" + config,
		"genesis_validators_root.txt": "0x4b363db94e286120d76eb905340fdd4e54bfe9f06bf33ff6cf5ad27f511bfe95",
		"genesis_time.txt":            "1700000000",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	net, err := network.LoadFS(os.DirFS(dir), "")
	if err != nil {
		t.Fatal(err)
	}
	return newEstimates(EstimatesConfig{ActiveValidators: 300_000}, dir, net, slog.New(slog.DiscardHandler)).config.Params
}

// meanOf is the estimate of a node with some subnets in a watch and a snapshot, and one
// sync committee subnet in two places of the chain.
func meanOf(p estimate.Params) float64 {
	client := eth2.ParseAgent("Prysm/v7.0.0/abc")
	s := estimate.NewStatistics(client)
	from := p.Clock.EpochStart(1000).UnixMilli()
	s.AddWatch(p, estimate.WatchLog{From: from, To: p.Clock.EpochStart(1003).UnixMilli(), Initial: []int{1, 2, 3}})
	s.AddSnapshot(p, estimate.Snapshot{At: p.Clock.EpochStart(1010).UnixMilli(), Subscribed: []int{1, 2, 3}})
	for _, epoch := range []eth2.Epoch{600, 1000} { // one period of 512 epochs, two of 256
		s.AddSyncnets(p, p.Clock.EpochStart(epoch).UnixMilli(), 1)
	}
	e := estimate.NewEvidence(client, estimate.Custody{})
	e.Add(s, client)
	return estimate.NewModel(p, estimate.DefaultPrior(), nil).Estimate(e).Mean
}

// A network directory is estimated with its own preset and overrides, each of which
// shows in the numbers.
func TestNetworkDirsPresetIsEstimatedWith(t *testing.T) {
	gnosis := network.Network{Preset: eth2.Preset{MaxCommitteesPerSlot: 64, TargetCommitteeSize: 128, SyncCommitteeSize: 512, EpochsPerSyncCommitteePeriod: 512}}
	means := map[float64]string{}
	for _, tt := range []struct {
		name, config string
		slots        uint64
		committees   uint64
		change       func(p *eth2.Preset)
	}{
		{"gnosis", "PRESET_BASE: gnosis\n", 16, 64, func(*eth2.Preset) {}},
		{"mainnet's epochs", "PRESET_BASE: gnosis\nSLOTS_PER_EPOCH: 32\n", 32, 64, func(*eth2.Preset) {}},
		{"mainnet's period", "PRESET_BASE: gnosis\nEPOCHS_PER_SYNC_COMMITTEE_PERIOD: 256\n", 16, 64, func(p *eth2.Preset) { p.EpochsPerSyncCommitteePeriod = 256 }},
		{"few committees", "PRESET_BASE: gnosis\nMAX_COMMITTEES_PER_SLOT: 2\n", 16, 2, func(p *eth2.Preset) { p.MaxCommitteesPerSlot = 2 }},
		{"large committees", "PRESET_BASE: gnosis\nTARGET_COMMITTEE_SIZE: 4096\n", 16, 4, func(p *eth2.Preset) { p.TargetCommitteeSize = 4096 }},
		{"few seats", "PRESET_BASE: gnosis\nSYNC_COMMITTEE_SIZE: 32\n", 16, 64, func(p *eth2.Preset) { p.SyncCommitteeSize = 32 }},
	} {
		want := gnosis.Preset
		tt.change(&want)
		p := paramsOfDir(t, tt.config)
		if p.Preset != want || p.Clock.SlotsPerEpoch != tt.slots || p.CommitteesPerSlot() != tt.committees || p.ActiveValidators != 300_000 {
			t.Errorf("%s: %+v with %d committees a slot, want %+v, %d slots and %d committees", tt.name, p, p.CommitteesPerSlot(), want, tt.slots, tt.committees)
		}
		mean := meanOf(p)
		if other := means[mean]; other != "" || !(mean > 0) {
			t.Errorf("%s: a mean of %v, as with %s", tt.name, mean, other)
		}
		means[mean] = tt.name
	}
}
