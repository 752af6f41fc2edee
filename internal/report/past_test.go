package report

import (
	"bytes"
	"strings"
	"testing"

	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/report/reporttest"
)

// A window that ends in the past has the estimates of its last hour and not those of now,
// and none where none were made.
func TestWindowInThePast(t *testing.T) {
	dir, at, hour := reporttest.PastHour(t, []string{"a"},
		func(hour int64) dataset.EstimateRow {
			return dataset.EstimateRow{Validators: 5, Common: dataset.Common{Timestamp: hour - 3600_000}}
		},
		func(int64) dataset.EstimateRow {
			return dataset.EstimateRow{Validators: 77, ValidatorsLow: 70, ValidatorsHigh: 80, ValidatorsMean: 76}
		})
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

	// In a window without the beginning of an hour, they are those of the hour before.
	r, err = Read(t.Context(), dir, dataset.Range{From: hour + 2, To: hour + 4})
	if err != nil {
		t.Fatal(err)
	}
	if n := r.nodes["a"]; n.Estimated == nil || n.Validators != 77 || r.Summary().Validators.Hour != hour {
		t.Errorf("within an hour: %+v", n.Estimated)
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
	dir, at, hour := reporttest.PastHour(t, []string{"a", "purged"})
	r, err := Read(t.Context(), dir, dataset.Range{From: at - 1, To: hour + 1})
	if err != nil {
		t.Fatal(err)
	}
	s := r.Summary()
	var out bytes.Buffer
	if err := s.WriteText(&out); err != nil || s.Handshaked != 1 || s.Validators.Nodes != 2 || s.Validators.Removed != 1 {
		t.Errorf("%v, %+v", err, s.Validators)
	}
	if want := "removed these totals include 1 node whose rows have since been removed by 'valtrack purge' or --retention"; !strings.Contains(strings.Join(strings.Fields(out.String()), " "), want) {
		t.Errorf("no %q in\n%s", want, &out)
	}
}
