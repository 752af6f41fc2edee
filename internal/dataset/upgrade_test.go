package dataset

import (
	"errors"
	"os"
	"testing"
	"time"
)

// earlierEstimate is a row of peer_estimates as it was before trust, flags and the mean balance:
// its stake is never null.
type earlierEstimate struct {
	ID             string  `parquet:"id,dict"`
	Client         string  `parquet:"client,dict"`
	Validators     int64   `parquet:"validators"`
	ValidatorsLow  float64 `parquet:"validators_low"`
	ValidatorsHigh float64 `parquet:"validators_high"`
	ValidatorsMean float64 `parquet:"validators_mean"`
	ValidatorsSD   float64 `parquet:"validators_sd"`
	PValidator     float64 `parquet:"p_validator"`
	StakeETH       float64 `parquet:"stake_eth"`
	StakeLow       float64 `parquet:"stake_low"`
	StakeHigh      float64 `parquet:"stake_high"`
	StakeMean      float64 `parquet:"stake_mean"`
	AllSubnets     bool    `parquet:"all_subnets"`
	Observations   int64   `parquet:"observations"`
	EpochsWatched  float64 `parquet:"epochs_watched"`
	LastSeen       int64   `parquet:"last_seen,delta"`
	Active         int64   `parquet:"active_validators,dict"`
	Common
}

func (earlierEstimate) Table() string  { return PeerEstimates }
func (r earlierEstimate) Peer() string { return r.ID }
func (r earlierEstimate) key() rowKey  { return rowKey{peer: r.ID, at: r.Timestamp} }

// Rows of peer_estimates of an earlier version are read with their stake and without what they
// do not have, also after they were merged with newer ones.
func TestEstimatesOfAnEarlierVersion(t *testing.T) {
	w, c, dir := committedTens(t, 0)
	for i := range 3 {
		for _, id := range []string{"16U000", "16U001"} {
			row := EstimateRow{ID: id, Client: "prysm", Trust: new("all"), Flags: []string{"moved"}, Common: common(int64(1763800000000 + i))}
			if err := Append(w, row); err != nil {
				t.Fatal(err)
			}
		}
		commitAll(t, w, 10*i, 10)
	}
	path := single(1).path(dir, PeerEstimates)
	f, err := tableOf[EstimateRow]().readFooter(path)
	if err != nil {
		t.Fatal(err)
	}
	f.table, f.committed = "", nil
	entries, err := f.entries()
	if err != nil {
		t.Fatal(err)
	}
	var before []string
	file, err := os.Create(path + ".new")
	if err != nil {
		t.Fatal(err)
	}
	old := newPart[earlierEstimate](file)
	err = eachRow(t.Context(), path, func(r EstimateRow) error {
		before = append(before, r.ID)
		return old.append(earlierEstimate{ID: r.ID, Client: "teku", StakeETH: 33, StakeLow: 32, StakeHigh: 64, StakeMean: 40, Common: r.Common})
	})
	if err := errors.Join(err, old.finish(entries), os.Rename(path+".new", path)); err != nil || len(before) == 0 {
		t.Fatal(err, before)
	}
	read := func(what string) {
		t.Helper()
		earlier := 0
		err := Scan(t.Context(), dir, Range{}, func(r EstimateRow) error {
			if r.Client != "teku" {
				if r.StakeETH != nil || r.Trust == nil || *r.Trust != "all" || len(r.Flags) != 1 || r.Flags[0] != "moved" {
					t.Errorf("%s: %+v", what, r)
				}
				return nil
			}
			earlier++
			if r.StakeETH == nil || *r.StakeETH != 33 || r.StakeMean == nil || *r.StakeMean != 40 || r.Trust != nil || r.Flags != nil || r.MeanBalance != nil || r.ValidatorsShared != nil {
				t.Errorf("%s: %+v", what, r)
			}
			return nil
		})
		if err != nil || earlier != len(before) {
			t.Errorf("%s: %d rows of %d, %v", what, earlier, len(before), err)
		}
		if h := check(t, dir, nil); !h.OK() {
			t.Errorf("%s: %+v", what, h)
		}
	}
	read("as it is")
	c.advance(time.Hour)
	compact(t, w)
	read("merged")
}
