// Package reporttest makes data directories for tests of reports and exports.
package reporttest

import (
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/estimate"
	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/event"
	"github.com/chainbound/valtrack/internal/tracker"
)

// PastHour makes a data directory of the network "n". The tracker has the nodes, which completed a
// handshake two hours ago (at, Unix milliseconds) and are in the totals of the hour that ended after
// it; the datasets have rows of the first node only, as if the others had been purged: one of the
// handshake, and the given estimates of that hour, or an empty one.
func PastHour(t *testing.T, nodes []string, estimates ...func(hour int64) dataset.EstimateRow) (dir string, at, hour int64) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	dir, log := t.TempDir(), slog.New(slog.DiscardHandler)
	began := time.Now().Add(-48 * time.Hour).Truncate(24 * time.Hour)
	tr, err := tracker.Open(t.Context(), tracker.Config{Dir: dir, Network: "n", Log: log, Params: estimate.Params{
		Clock: eth2.Clock{Genesis: began, SlotDuration: 12 * time.Second, SlotsPerEpoch: 32}, Preset: eth2.MainnetPreset(), ActiveValidators: 950_000}})
	must(err)
	at = time.Now().Add(-2 * time.Hour).UnixMilli()
	for _, id := range nodes {
		tr.Add(&event.MetadataReceived{Common: event.Common{Network: "n", Timestamp: at}, ID: id, ClientVersion: "Prysm/v7.0.0/abcdef", MetaData: &event.MetaData{}, Direction: event.Inbound})
	}
	tr.Apply(0)
	rows := tr.Hour()
	tr.Apply(1)
	must(tr.Close())
	if len(rows) != len(nodes) {
		t.Fatalf("%d estimates of %d nodes", len(rows), len(nodes))
	}
	hour = rows[0].Hour
	if len(estimates) == 0 {
		estimates = append(estimates, func(int64) dataset.EstimateRow { return dataset.EstimateRow{} })
	}
	common := dataset.Common{Network: "n", Timestamp: at}
	w, err := dataset.Open(dir, log)
	must(err)
	must(dataset.Append(w, dataset.ValidatorRow{ID: nodes[0], Client: "prysm", LongLivedSubnets: []int32{}, Common: common}))
	for _, estimate := range estimates {
		row := estimate(hour)
		row.ID, row.Client, row.Network = nodes[0], "prysm", "n"
		if row.Timestamp == 0 {
			row.Timestamp = hour
		}
		must(dataset.Append(w, row))
	}
	must(errors.Join(w.Commit(dataset.Coverage{"s-1": {{1, uint64(1 + len(estimates))}}}), w.Close()))
	return dir, at, hour
}
