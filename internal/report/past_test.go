package report

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/estimate"
	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/event"
	"github.com/chainbound/valtrack/internal/tracker"
)

// A window that ends in the past has the estimates of its last hour and not those of now,
// and none where none were made.
func TestWindowInThePast(t *testing.T) {
	dir := t.TempDir()
	tr, err := tracker.Open(t.Context(), tracker.Config{Dir: dir, Network: "n", Log: slog.New(slog.DiscardHandler), Params: estimate.Params{
		Clock: eth2.Clock{Genesis: day, SlotDuration: 12 * time.Second, SlotsPerEpoch: 32}, Preset: eth2.MainnetPreset(), ActiveValidators: 950_000}})
	if err != nil {
		t.Fatal(err)
	}
	at := time.Now().Add(-2 * time.Hour).UnixMilli()
	tr.Add(&event.MetadataReceived{Common: event.Common{Network: "n", Timestamp: at}, ID: "a", ClientVersion: "Prysm/v7.0.0/abcdef", MetaData: &event.MetaData{}, Direction: event.Inbound})
	tr.Apply(0)
	rows := tr.Hour()
	tr.Apply(1)
	if err := tr.Close(); err != nil || len(rows) != 1 {
		t.Fatal(len(rows), err)
	}
	w, err := dataset.Open(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	hour := rows[0].Hour
	common := func(at int64) dataset.Common { return dataset.Common{Network: "n", Timestamp: at} }
	for _, err := range []error{
		dataset.Append(w, dataset.ValidatorRow{ID: "a", Client: "prysm", LongLivedSubnets: []int32{}, Common: common(at)}),
		dataset.Append(w, dataset.EstimateRow{ID: "a", Client: "prysm", Validators: 5, Common: common(hour - 3600_000)}),
		dataset.Append(w, dataset.EstimateRow{ID: "a", Client: "prysm", Validators: 77, ValidatorsLow: 70, ValidatorsHigh: 80, ValidatorsMean: 76, Common: common(hour)}),
		w.Commit(dataset.Coverage{"s-1": {{1, 3}}}), w.Close(),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}

	r, err := Read(t.Context(), dir, dataset.Range{From: at - 1, To: hour + 1})
	if err != nil {
		t.Fatal(err)
	}
	if n := r.nodes["a"]; n.Estimated == nil || n.Validators != 77 || n.ValidatorsHigh != 80 {
		t.Errorf("%+v", n.Estimated)
	}
	s := r.Summary()
	if s.Validators == nil || s.Validators.Hour != hour || s.Validators.Nodes != 1 || len(s.Validators.Top) != 0 {
		t.Errorf("%+v", s.Validators)
	}
	if g, err := r.Groups("client", false); err != nil || len(g.Groups) != 1 || g.Groups[0].Name != "prysm" || g.Groups[0].Nodes != 1 || g.Groups[0].Attachments != 76 {
		t.Errorf("%+v, %v: want what the last hour's rows say", g, err)
	}
	var out bytes.Buffer
	if err := s.WriteText(&out); err != nil || !strings.Contains(out.String(), "on 1 node, about") || strings.Contains(out.String(), "LARGEST NODES") {
		t.Errorf("%v\n%s", err, &out)
	}

	// The estimate at a window's end is made when the next hour begins.
	r, err = Read(t.Context(), dir, dataset.Range{From: at - 1, To: hour})
	if err != nil {
		t.Fatal(err)
	}
	if n := r.nodes["a"]; n.Estimated == nil || n.Validators != 77 || r.Summary().Validators.Hour != hour {
		t.Errorf("at the end of the hour: %+v", n.Estimated)
	}

	r, err = Read(t.Context(), dir, dataset.Range{From: at - 1, To: at + 1})
	if err != nil {
		t.Fatal(err)
	}
	if s := r.Summary(); s.Handshaked != 1 || s.Validators != nil || r.nodes["a"].Estimated != nil {
		t.Errorf("%+v, %+v", s, r.nodes["a"])
	}
	if r, err = Read(t.Context(), dir, dataset.Range{From: at - 1}); err != nil || r.Summary().Validators == nil || r.nodes["a"].Estimated == nil {
		t.Errorf("a window up to now has no estimates: %v", err)
	}
}

// An hour's total keeps the nodes that were purged since, and says so.
func TestTotalsKeepPurgedNodes(t *testing.T) {
	dir := t.TempDir()
	tr, err := tracker.Open(t.Context(), tracker.Config{Dir: dir, Network: "n", Log: slog.New(slog.DiscardHandler), Params: estimate.Params{
		Clock: eth2.Clock{Genesis: day, SlotDuration: 12 * time.Second, SlotsPerEpoch: 32}, Preset: eth2.MainnetPreset(), ActiveValidators: 950_000}})
	if err != nil {
		t.Fatal(err)
	}
	at := time.Now().Add(-2 * time.Hour).UnixMilli()
	for _, id := range []string{"a", "purged"} {
		tr.Add(&event.MetadataReceived{Common: event.Common{Network: "n", Timestamp: at}, ID: id, ClientVersion: "Prysm/v7.0.0/abcdef", MetaData: &event.MetaData{}, Direction: event.Inbound})
	}
	tr.Apply(0)
	rows := tr.Hour()
	tr.Apply(1)
	if err := tr.Close(); err != nil || len(rows) != 2 {
		t.Fatal(len(rows), err)
	}
	w, err := dataset.Open(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	hour := rows[0].Hour
	for _, err := range []error{
		dataset.Append(w, dataset.ValidatorRow{ID: "a", Client: "prysm", LongLivedSubnets: []int32{}, Common: dataset.Common{Network: "n", Timestamp: at}}),
		dataset.Append(w, dataset.EstimateRow{ID: "a", Client: "prysm", Common: dataset.Common{Network: "n", Timestamp: hour}}),
		w.Commit(dataset.Coverage{"s-1": {{1, 2}}}), w.Close(),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	r, err := Read(t.Context(), dir, dataset.Range{From: at - 1, To: hour + 1})
	if err != nil {
		t.Fatal(err)
	}
	s := r.Summary()
	var out bytes.Buffer
	if err := s.WriteText(&out); err != nil || s.Handshaked != 1 || s.Validators.Nodes != 2 || s.Validators.Removed != 1 {
		t.Errorf("%v, %+v", err, s.Validators)
	}
	if want := "removed these totals include 1 node whose rows were removed since, by 'valtrack purge' or --retention"; !strings.Contains(strings.Join(strings.Fields(out.String()), " "), want) {
		t.Errorf("no %q in\n%s", want, &out)
	}
}
