package tracker

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/chainbound/valtrack/internal/eth2"
)

// What the estimates were made with is stored whole; a database of before, which had less
// of it, was mainnet's in the rest.
func TestStoredParams(t *testing.T) {
	want := params()
	want.Preset = eth2.Preset{MaxCommitteesPerSlot: 4, TargetCommitteeSize: 5, SyncCommitteeSize: 32, EpochsPerSyncCommitteePeriod: 8}
	text, err := json.Marshal(modelParams(want))
	if err != nil {
		t.Fatal(err)
	}
	var stored ModelParams
	if err := json.Unmarshal(text, &stored); err != nil {
		t.Fatal(err)
	}
	if got := stored.Params(); got.Preset != want.Preset || !got.Clock.Genesis.Equal(want.Clock.Genesis) || got.CommitteesPerSlot() != want.CommitteesPerSlot() {
		t.Errorf("%s: %+v, want %+v", text, got, want)
	}
	const before = `{"active_validators":300000,"p_agg_uncertainty":0.15,"genesis_ms":1638993340000,"slot_ms":5000,"slots_per_epoch":16`
	for old, period := range map[string]uint64{before + `}`: 256, before + `,"epochs_per_sync_period":512}`: 512} {
		var stored ModelParams
		if err := json.Unmarshal([]byte(old), &stored); err != nil {
			t.Fatal(err)
		}
		preset := eth2.MainnetPreset()
		preset.EpochsPerSyncCommitteePeriod = period
		if got := stored.Params(); got.Preset != preset || got.ActiveValidators != 300_000 {
			t.Errorf("%s: %+v", old, got)
		}
	}
}

// Statistics of another preset are not mixed with those of the present one.
func TestPresetChange(t *testing.T) {
	for name, change := range map[string]func(*eth2.Preset){
		"committees":     func(p *eth2.Preset) { p.MaxCommitteesPerSlot = 4 },
		"committee size": func(p *eth2.Preset) { p.TargetCommitteeSize = 4096 },
		"sync period":    func(p *eth2.Preset) { p.EpochsPerSyncCommitteePeriod = 512 },
		"no change":      func(*eth2.Preset) {},
	} {
		dir, now := t.TempDir(), start.Add(10*time.Hour)
		cfg := config(dir)
		open := func() *Tracker {
			tr, err := Open(t.Context(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			tr.now = func() time.Time { return now }
			return tr
		}
		tr := open()
		for _, e := range newCrawl(1).events(5, 6, start.Add(time.Hour), 40*time.Minute) {
			tr.Add(e)
		}
		flush(t, tr, 0)
		if err := tr.Close(); err != nil {
			t.Fatal(err)
		}
		change(&cfg.Params.Preset)
		tr = open()
		if kept := len(tr.State().Peer(peerID(0)).days) > 0; kept != (name == "no change") {
			t.Errorf("%s: statistics kept: %v", name, kept)
		}
		if err := tr.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
