package network_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/eth2/network"
)

func TestConfigClockAndPreset(t *testing.T) {
	const version = "GENESIS_FORK_VERSION: 0x10000038\n"
	type want struct {
		slot                       time.Duration
		slots, committees, members uint64
		syncSeats, syncEpochs      uint64
	}
	for config, want := range map[string]want{
		"SECONDS_PER_SLOT: 12":                         {12 * time.Second, 32, 64, 128, 512, 256},
		"PRESET_BASE: mainnet\nSECONDS_PER_SLOT: '12'": {12 * time.Second, 32, 64, 128, 512, 256},
		"PRESET_BASE: 'minimal'\nSECONDS_PER_SLOT: 6":  {6 * time.Second, 8, 4, 4, 32, 8},
		"PRESET_BASE: \"gnosis\"\nSECONDS_PER_SLOT: 5": {5 * time.Second, 16, 64, 128, 512, 512},
		"SECONDS_PER_SLOT: 1\nSLOT_DURATION_MS: 250":   {250 * time.Millisecond, 32, 64, 128, 512, 256},
		"SLOT_DURATION_MS: 0x1f4":                      {500 * time.Millisecond, 32, 64, 128, 512, 256},
		"SECONDS_PER_SLOT: 1\nSLOTS_PER_EPOCH: 6":      {time.Second, 6, 64, 128, 512, 256},
		"PRESET_BASE: minimal\nSECONDS_PER_SLOT: 1\nSLOTS_PER_EPOCH: 4\nMAX_COMMITTEES_PER_SLOT: 2\nTARGET_COMMITTEE_SIZE: 16": {time.Second, 4, 2, 16, 32, 8},
		"PRESET_BASE: gnosis\nSECONDS_PER_SLOT: 5\nSYNC_COMMITTEE_SIZE: 64\nEPOCHS_PER_SYNC_COMMITTEE_PERIOD: 0x10":            {5 * time.Second, 16, 64, 128, 64, 16},
		"SECONDS_PER_SLOT: 1\nSLOT_DURATION_MS:\nUNKNOWN_KEY: {a: [1, 2]}\nANOTHER: ~":                                         {time.Second, 32, 64, 128, 512, 256},
	} {
		n, err := network.LoadFS(files("config.yaml", version+config), "")
		if err != nil {
			t.Errorf("%q: %v", config, err)
			continue
		}
		got := n.Clock
		if got.SlotDuration != want.slot || got.SlotsPerEpoch != want.slots || n.MaxCommitteesPerSlot != want.committees || n.TargetCommitteeSize != want.members {
			t.Errorf("%q: slots of %v, %d an epoch, %d committees of %d: want %+v", config, got.SlotDuration, got.SlotsPerEpoch, n.MaxCommitteesPerSlot, n.TargetCommitteeSize, want)
		}
		if n.SyncCommitteeSize != want.syncSeats || n.EpochsPerSyncCommitteePeriod != want.syncEpochs {
			t.Errorf("%q: sync committees of %d for %d epochs: want %+v", config, n.SyncCommitteeSize, n.EpochsPerSyncCommitteePeriod, want)
		}
	}
}

func TestConfigForks(t *testing.T) {
	const config = `
GENESIS_FORK_VERSION: "0x10000038"
SECONDS_PER_SLOT: 6
ALTAIR_FORK_VERSION: 0x20000038
ALTAIR_FORK_EPOCH: 0
ELECTRA_FORK_VERSION: 0x60000038
ELECTRA_FORK_EPOCH: 0
FULU_FORK_VERSION: '70000038'
FULU_FORK_EPOCH: "0x2"
GLOAS_FORK_VERSION: 0x80000038
GLOAS_FORK_EPOCH: 18446744073709551615
HEZE_FORK_VERSION: 0x90000038
BELLATRIX_FORK_EPOCH: 18446744073709551615
EIP9999_FORK_EPOCH: soon
MAX_BLOBS_PER_BLOCK_ELECTRA: 6
BLOB_SCHEDULE:
  - MAX_BLOBS_PER_BLOCK: 15
    EPOCH: 4
  - {EPOCH: "5", MAX_BLOBS_PER_BLOCK: 0x15, GAS: 1}
`
	n, err := network.LoadFS(files("config.yaml", config), "x")
	if err != nil {
		t.Fatal(err)
	}
	version := func(first byte) eth2.Version { return eth2.Version{first, 0, 0, 0x38} }
	forks := []eth2.Fork{
		{Name: "phase0", Version: version(0x10)},
		{Name: "altair", Version: version(0x20)},
		{Name: "electra", Version: version(0x60)},
		{Name: "fulu", Version: version(0x70), Epoch: 2},
		{Name: "gloas", Version: version(0x80), Epoch: eth2.FarFutureEpoch},
		{Name: "heze", Version: version(0x90), Epoch: eth2.FarFutureEpoch},
	}
	if diff := cmp.Diff(forks, n.Forks); diff != "" {
		t.Errorf("forks (-want +got):\n%s", diff)
	}
	var names []string
	for _, p := range n.Schedule.Periods {
		names = append(names, p.Name)
	}
	if diff := cmp.Diff([]string{"electra", "fulu", "bpo1(15)", "bpo2(21)"}, names); diff != "" {
		t.Errorf("periods (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(&eth2.BlobParameters{Epoch: 0, MaxBlobsPerBlock: 6}, n.Schedule.At(2).BlobParams); diff != "" {
		t.Errorf("Fulu's blob parameters (-want +got):\n%s", diff)
	}
}

// Forks under the names that they had in drafts are the forks of today.
func TestConfigOldForkNames(t *testing.T) {
	load := func(config string) network.Network {
		t.Helper()
		n, err := network.LoadFS(files("config.yaml", minimalConfig+config, "bootstrap_nodes.txt", exampleENR), "")
		if err != nil {
			t.Fatalf("%q: %v", config, err)
		}
		if len(n.Warnings) > 0 {
			t.Errorf("%q: warnings %v", config, n.Warnings)
		}
		return n
	}
	today := load("BELLATRIX_FORK_VERSION: 0x30000038\nBELLATRIX_FORK_EPOCH: 2\nDENEB_FORK_VERSION: 0x50000038\nDENEB_FORK_EPOCH: 5\n")
	if len(today.Schedule.Periods) != 3 {
		t.Fatalf("periods %v", today.Schedule.Periods)
	}
	for _, config := range []string{
		"MERGE_FORK_VERSION: 0x30000038\nMERGE_FORK_EPOCH: 2\nEIP4844_FORK_VERSION: 0x50000038\nEIP4844_FORK_EPOCH: 5\n",
		"MERGE_FORK_VERSION: 0x30000038\nBELLATRIX_FORK_VERSION: 0x30000038\nBELLATRIX_FORK_EPOCH: 2\nEIP4844_FORK_VERSION: 0x50000038\nDENEB_FORK_EPOCH: 5\n" +
			"SHARDING_FORK_VERSION: 0x99000038\nSHARDING_FORK_EPOCH: 18446744073709551615\nEIP9999_FORK_VERSION: 0x98000038\n",
	} {
		if diff := cmp.Diff(today, load(config)); diff != "" {
			t.Errorf("%q (-want +got):\n%s", config, diff)
		}
	}
	n, err := network.LoadFS(files("config.yaml", minimalConfig+"EIP9999_FORK_EPOCH: 7\n", "bootstrap_nodes.txt", exampleENR), "")
	if err != nil || len(n.Warnings) != 1 || !strings.Contains(n.Warnings[0], "config.yaml line 4: EIP9999_FORK_EPOCH") {
		t.Errorf("an epoch without a version: %v, %v", n.Warnings, err)
	}
}

// Without BLOB_SCHEDULE, Electra's parameters enter the digest from Fulu on.
func TestConfigWithoutBlobSchedule(t *testing.T) {
	for preset, want := range map[string]uint64{"mainnet": 9, "minimal": 9, "gnosis": 2} {
		for _, schedule := range []string{"", "BLOB_SCHEDULE:", "BLOB_SCHEDULE: []", "BLOB_SCHEDULE: null"} {
			config := minimalConfig + "PRESET_BASE: " + preset + "\nELECTRA_FORK_VERSION: 0x60000038\nELECTRA_FORK_EPOCH: 0\nFULU_FORK_VERSION: 0x70000038\nFULU_FORK_EPOCH: 0\n" + schedule + "\n"
			n, err := network.LoadFS(files("config.yaml", config), "")
			if err != nil {
				t.Errorf("%s %q: %v", preset, schedule, err)
				continue
			}
			if diff := cmp.Diff(&eth2.BlobParameters{MaxBlobsPerBlock: want}, n.Schedule.At(0).BlobParams); diff != "" {
				t.Errorf("%s %q (-want +got):\n%s", preset, schedule, diff)
			}
		}
	}
}

func TestConfigErrors(t *testing.T) {
	const version = "GENESIS_FORK_VERSION: 0x10000038\n"
	const good = version + "SECONDS_PER_SLOT: 6\n"
	for _, tt := range []struct {
		config string
		line   int
		key    string
		value  string
	}{
		{good + "FULU_FORK_VERSION: 0x70000038\nFULU_FORK_EPOCH: soon", 4, "FULU_FORK_EPOCH", "soon"},
		{good + "ALTAIR_FORK_VERSION: 0x200038\n", 3, "ALTAIR_FORK_VERSION", "0x200038"},
		{good + "ALTAIR_FORK_VERSION: [1]\nALTAIR_FORK_EPOCH: 1\n", 3, "ALTAIR_FORK_VERSION", ""},
		{good + "ALTAIR_FORK_EPOCH: 0\n", 0, "ALTAIR_FORK_VERSION", ""},
		{"SECONDS_PER_SLOT: 6\n", 0, "GENESIS_FORK_VERSION", ""},
		{version, 0, "SECONDS_PER_SLOT", ""},
		{version + "SECONDS_PER_SLOT: 0\n", 2, "SECONDS_PER_SLOT", "0"},
		{version + "SECONDS_PER_SLOT: -1\n", 2, "SECONDS_PER_SLOT", "-1"},
		{version + "SECONDS_PER_SLOT: 1.5\n", 2, "SECONDS_PER_SLOT", "1.5"},
		{version + "SLOT_DURATION_MS: 0\nSECONDS_PER_SLOT: 6\n", 2, "SLOT_DURATION_MS", "0"},
		{version + "SLOT_DURATION_MS: 18446744073709551615\n", 2, "SLOT_DURATION_MS", "18446744073709551615"},
		{good + "SLOTS_PER_EPOCH: 0\n", 3, "SLOTS_PER_EPOCH", "0"},
		{good + "MAX_COMMITTEES_PER_SLOT: 0\n", 3, "MAX_COMMITTEES_PER_SLOT", "0"},
		{good + "TARGET_COMMITTEE_SIZE: 99999999999999999999999\n", 3, "TARGET_COMMITTEE_SIZE", "99999999999999999999999"},
		{good + "SYNC_COMMITTEE_SIZE: 3\n", 3, "SYNC_COMMITTEE_SIZE", "3"},
		{good + "EPOCHS_PER_SYNC_COMMITTEE_PERIOD: 0\n", 3, "EPOCHS_PER_SYNC_COMMITTEE_PERIOD", "0"},
		{good + "MIN_GENESIS_TIME: 999999999999999\n", 3, "MIN_GENESIS_TIME", "999999999999999"},
		{good + "PRESET_BASE: maxnet\n", 3, "PRESET_BASE", "maxnet"},
		{good + "CONFIG_NAME: 'a/b'\n", 3, "CONFIG_NAME", "a/b"},
		{good + "BLOB_SCHEDULE: 5\n", 3, "BLOB_SCHEDULE", "5"},
		{good + "BLOB_SCHEDULE: [5]\n", 3, "BLOB_SCHEDULE", ""},
		{good + "BLOB_SCHEDULE:\n  - EPOCH: 5\n", 4, "BLOB_SCHEDULE MAX_BLOBS_PER_BLOCK", ""},
		{good + "BLOB_SCHEDULE:\n  - MAX_BLOBS_PER_BLOCK: 9\n    EPOCH: x\n", 5, "BLOB_SCHEDULE EPOCH", "x"},
		{good + "BLOB_SCHEDULE:\n  - {EPOCH: 5, MAX_BLOBS_PER_BLOCK: 1}\n  - {EPOCH: 5, MAX_BLOBS_PER_BLOCK: 2}\n", 5, "BLOB_SCHEDULE EPOCH", "5"},
		{good + "SECONDS_PER_SLOT: 7\n", 3, "SECONDS_PER_SLOT", ""},
		{version + "SECONDS_PER_SLOT: 1\nSLOT_DURATION_MS: 12000\n", 2, "SECONDS_PER_SLOT", "1"},
		{version + "SLOT_DURATION_MS: 250\nSECONDS_PER_SLOT: 12\n", 3, "SECONDS_PER_SLOT", "12"},
		{good + "FULU_FORK_VERSION: 83886080\nFULU_FORK_EPOCH: 0\n", 3, "FULU_FORK_VERSION", "83886080"},
		{"GENESIS_FORK_VERSION: 00000000\nSECONDS_PER_SLOT: 6\n", 1, "GENESIS_FORK_VERSION", "00000000"},
		{good + "FULU_FORK_VERSION: 10000e38\n", 3, "FULU_FORK_VERSION", "10000e38"},
		{good + "EIP9999_FORK_VERSION: 0x99000038\nEIP9999_FORK_EPOCH: 5\n", 4, "EIP9999_FORK_EPOCH", "5"},
		{good + "EIP9999_FORK_EPOCH: soon\nEIP9999_FORK_VERSION: 0x99000038\n", 3, "EIP9999_FORK_EPOCH", "soon"},
		{good + "SHARDING_FORK_VERSION: 0x99000038\nSHARDING_FORK_EPOCH: 0\n", 4, "SHARDING_FORK_EPOCH", "0"},
		{good + "EIP7594_FORK_VERSION: 0x99000038\nEIP7594_FORK_EPOCH: 18446744073709551614\n", 4, "EIP7594_FORK_EPOCH", "18446744073709551614"},
		{good + "EIP4844_FORK_EPOCH: 5\n", 0, "DENEB_FORK_VERSION", ""},
		{good + "EIP4844_FORK_VERSION: 0x50000038\nEIP4844_FORK_EPOCH: soon\n", 4, "EIP4844_FORK_EPOCH", "soon"},
		{good + "EIP4844_FORK_VERSION: 0x50000038\nEIP4844_FORK_EPOCH: 5\nDENEB_FORK_EPOCH: 6\n", 4, "EIP4844_FORK_EPOCH", "5"},
		{good + "EIP4844_FORK_VERSION: 0x50000038\nDENEB_FORK_VERSION: 0x51000038\nDENEB_FORK_EPOCH: 6\n", 3, "EIP4844_FORK_VERSION", "0x50000038"},
		{"- a list\n", 1, "", ""},
		{"", 0, "", ""},
		{"# nothing\n", 0, "", ""},
	} {
		_, err := network.LoadFS(files("config.yaml", tt.config+"\n"), "")
		if err == nil || !strings.Contains(err.Error(), "config.yaml") {
			t.Errorf("%q: %v, want an error that names the file", tt.config, err)
			continue
		}
		var failed *network.ValueError
		if !errors.As(err, &failed) {
			if tt.key != "" {
				t.Errorf("%q: %v, want a ValueError", tt.config, err)
			}
			continue
		}
		if failed.Line != tt.line || failed.Key != tt.key || failed.Value != tt.value {
			t.Errorf("%q: %v: line %d key %q value %q, want %d %q %q", tt.config, err, failed.Line, failed.Key, failed.Value, tt.line, tt.key, tt.value)
		}
	}
	for _, broken := range []string{"\tA: 1", "A: [", "A: &a\nB: *b", "\x00", "A: 1\n---\n B"} {
		if _, err := network.LoadFS(files("config.yaml", broken), ""); err == nil {
			t.Errorf("%q: want an error", broken)
		}
	}
}

func FuzzConfig(f *testing.F) {
	f.Add([]byte(minimalConfig))
	f.Add([]byte(minimalConfig + "ELECTRA_FORK_VERSION: 0x60000038\nELECTRA_FORK_EPOCH: 0\nFULU_FORK_VERSION: 0x70000038\nFULU_FORK_EPOCH: 0\nBLOB_SCHEDULE:\n  - EPOCH: 5\n    MAX_BLOBS_PER_BLOCK: 9\n"))
	f.Add([]byte("a: &a [1]\nBLOB_SCHEDULE: *a\n"))
	f.Fuzz(func(t *testing.T, config []byte) {
		n, err := network.LoadFS(files("config.yaml", string(config)), "")
		if err != nil {
			return
		}
		if n.Clock.SlotDuration <= 0 || n.Clock.SlotsPerEpoch == 0 || len(n.Schedule.Periods) == 0 || n.Schedule.Periods[0].FirstEpoch != 0 || n.Name == "" {
			t.Errorf("%q: %+v", config, n)
		}
		now := time.Unix(1800000000, 0)
		n.Schedule.ForkID(n.Clock.EpochAt(now))
		n.Clock.EpochStart(n.Clock.EpochAt(now) + 1)
	})
}
