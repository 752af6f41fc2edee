package report

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chainbound/valtrack/internal/dataset"
)

func TestAccuracy(t *testing.T) {
	var rows []any
	for _, id := range []string{"a", "b", "c", "d", "stranger"} {
		rows = append(rows, met(id, hour(1), "1", "")...)
	}
	r := reportOf(t, dataset.Range{}, rows...)
	estimate := func(id string, median int, low, high, p float64) {
		r.nodes[id].Estimated = &Estimated{Validators: median, ValidatorsLow: low, ValidatorsHigh: high, ValidatorsMean: float64(median), PValidator: p}
	}
	estimate("a", 90, 80, 110, 1)
	estimate("b", 30, 25, 35, 1)
	estimate("c", 5, 1, 9, 0.95)
	file := filepath.Join(t.TempDir(), "truth.json")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(`{"nodes": [
		{"peer_id": "a", "client": "prysm", "validators": 100, "ours": true, "reachable": true, "handshake": true},
		{"peer_id": "b", "client": "prysm", "validators": 20, "ours": true, "reachable": true, "handshake": true},
		{"peer_id": "c", "client": "prysm", "validators": 0, "ours": true, "reachable": true, "handshake": true},
		{"peer_id": "d", "client": "prysm", "validators": 7, "ours": true, "reachable": true, "handshake": true},
		{"peer_id": "another fork", "client": "teku", "validators": 3, "ours": false, "reachable": true, "handshake": true},
		{"peer_id": "dead", "client": "prysm", "validators": 9, "ours": true, "reachable": false, "handshake": true}]}`)
	a, err := r.Accuracy(file)
	if err != nil {
		t.Fatal(err)
	}
	if a.Nodes != 4 || a.Estimated != 3 || a.Unknown != 1 || a.Truth != 120 || a.Validators != 125 || a.Inside != 1 || a.Large != 2 ||
		*a.MedianError < 0.299 || *a.MedianError > 0.301 || a.WithValidators != 2 || a.Found != 2 || a.FalselyFound != 1 || a.Low != nil {
		t.Errorf("%+v", a)
	}
	if a.OtherFork != 1 || a.Unreachable != 1 || a.UnreachableValidators != 9 || a.NotEstimatedValidators != 7 || a.InsideValidators != 100 {
		t.Errorf("%+v", a)
	}
	if len(a.List) != 3 || a.List[0].ID != "a" || !a.List[0].Inside || a.List[1].Inside {
		t.Errorf("%+v", a.List)
	}
	// One that nobody can dial, but that dialled us, is among those that can.
	write(`{"nodes": [{"peer_id": "a", "validators": 100, "ours": true, "reachable": false, "handshake": true}]}`)
	if inbound, err := r.Accuracy(file); err != nil || inbound.Nodes != 1 || inbound.Estimated != 1 {
		t.Errorf("%+v, %v", inbound, err)
	}
	var out bytes.Buffer
	if err := a.WriteText(&out); err != nil || !strings.Contains(out.String(), "120 in truth, 125 estimated on the same nodes") {
		t.Errorf("%v\n%s", err, &out)
	}
	for _, want := range []string{
		"not estimated 1 node of these, with 7 validators: not in the numbers below", "unreachable 1 node that cannot complete a handshake, with 9 validators: not in the numbers below",
		"other fork 1 node of the devnet with a record of another network or fork: found but not visited, and not in the numbers below",
		"left out 1 node in the data that the truth file lacks",
		"error half of the 2 nodes with ten validators or more are off by 30.0 % at most",
		"detection nodes that have at least one validator with 90 % probability or more. It may fall with more data:",
		"1 of 3 hold the truth (33.3 %; 90 % or more are meant to); on these nodes are 100 of the 120 validators (83.3 %)",
	} {
		if !strings.Contains(strings.Join(strings.Fields(out.String()), " "), want) {
			t.Errorf("no %q in\n%s", want, &out)
		}
	}
	for _, text := range []string{`{"nodes": [{"peer_id": "elsewhere", "validators": 1}]}`, `<html>`} {
		write(text)
		if _, err := r.Accuracy(file); !errors.Is(err, ErrNoTruth) {
			t.Errorf("%s: %v", text, err)
		}
	}
	if _, err := r.Accuracy(file + "x"); !errors.Is(err, ErrNoTruth) {
		t.Error(err)
	}
}
