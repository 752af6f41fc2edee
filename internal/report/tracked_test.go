package report

import (
	"database/sql"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/estimate"
	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/event"
	"github.com/chainbound/valtrack/internal/tracker"
)

// A day that cannot be decoded does not hide what else is known of its node.
func TestEvidenceWithADamagedDay(t *testing.T) {
	dir := t.TempDir()
	genesis := time.Now().Add(-24 * time.Hour).Truncate(time.Second)
	tr, err := tracker.Open(t.Context(), tracker.Config{Dir: dir, Network: "n", Log: slog.New(slog.DiscardHandler), Params: estimate.Params{
		Clock: eth2.Clock{Genesis: genesis, SlotDuration: 12 * time.Second, SlotsPerEpoch: 32}, Preset: eth2.MainnetPreset(), ActiveValidators: 950_000}})
	if err != nil {
		t.Fatal(err)
	}
	tr.Add(&event.MetadataReceived{Common: event.Common{Network: "n", Timestamp: genesis.Add(time.Hour).UnixMilli()}, ID: "a",
		ClientVersion: "Prysm/v7.0.0/abcdef", MetaData: &event.MetaData{}, SubscribedSubnets: []int{1, 2}, Direction: event.Inbound})
	tr.Apply(0)
	if err := tr.Close(); err != nil {
		t.Fatal(err)
	}
	damageDay(t, dir)

	state, err := ReadState(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	r := newReport()
	if err := r.addHandshake(dataset.ValidatorRow{ID: "a", Common: dataset.Common{Network: "n", Timestamp: 1}}); err != nil {
		t.Fatal(err)
	}
	r.setState(state)
	n, err := r.Find("a")
	if err != nil {
		t.Fatal(err)
	}
	e, err := r.Evidence(t.Context(), dir, n)
	if err != nil {
		t.Fatal(err)
	}
	if d := e.Tracked; d == nil || d.Together == nil || len(d.Days) != 1 || d.Days[0].Client != "prysm" || d.UndecodableDays != 1 || d.LostDays != 0 {
		t.Errorf("%+v", d)
	}
}

// damageDay gives each peer of a database, before its other days, one that cannot be
// decoded: day 1, not sealed, of a client without name and version, in one byte.
func damageDay(t *testing.T, dir string) {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(dir, tracker.File))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var days []byte
	if err := db.QueryRow("SELECT days FROM peers").Scan(&days); err != nil || len(days) == 0 {
		t.Fatal(days, err)
	}
	if _, err := db.Exec("UPDATE peers SET days = ?", append([]byte{2, 0, 0, 1, 99}, days...)); err != nil {
		t.Fatal(err)
	}
}
