package report

import (
	"bytes"
	"encoding/json"
	"io"
	"regexp"
	"strings"
	"testing"

	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/tracker"
)

// client_version is the agent string and client_release the release without v and commit, in
// files and in JSON.
func TestClientVersionIsTheAgent(t *testing.T) {
	const agent = "Lighthouse/v8.0.1-abcdef0/x86_64-linux"
	common := dataset.Common{Network: "n", Timestamp: hour(1)}
	failed := missed("visit", hour(1)).(dataset.VisitRow)
	failed.ClientVersion = ptr(agent)
	r := reportOf(t, dataset.Range{},
		dataset.ValidatorRow{ID: "handshake", Client: "lighthouse", ClientRelease: ptr("8.0.1"), ClientVersion: agent, Common: common}, failed)
	for _, id := range []string{"handshake", "visit"} {
		n := r.nodes[id]
		text, err := json.Marshal(n)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{`"client":"lighthouse"`, `"client_version":"` + agent + `"`, `"client_release":"8.0.1"`} {
			if !strings.Contains(string(text), want) {
				t.Errorf("%s: no %s in %s", id, want, text)
			}
		}
		if row := n.Row(); orEmpty(row.ClientVersion) != agent || orEmpty(row.ClientRelease) != "8.0.1" {
			t.Errorf("%s: %v", id, row)
		}
	}
}

// A client, a release or an agent that is not known is called unknown wherever it is shown.
func TestUnknownClientsAreShownInOneWay(t *testing.T) {
	at := func(h float64) dataset.Common { return dataset.Common{Network: "n", Timestamp: hour(h)} }
	row := func(id, client string, release *string, h float64) any {
		return dataset.ValidatorRow{ID: id, Client: client, ClientRelease: release, Common: at(h)}
	}
	r := reportOf(t, dataset.Range{From: hour(2), To: hour(4)}, append(busy(0, 4),
		row("new", "unknown", nil, 3), row("gone", "teku", nil, 1), missed("gone", hour(3)),
		row("upgraded", "prysm", nil, 1), row("upgraded", "prysm", ptr("7"), 3))...)
	evidence, err := r.Evidence(t.Context(), t.TempDir(), r.nodes["new"])
	if err != nil {
		t.Fatal(err)
	}
	evidence.Tracked = &Tracked{Days: []Day{{Date: "2026-11-20", Client: string(eth2.ClientUnknown)}}}
	top := &Validators{Totals: tracker.Totals{Nodes: 1, Clients: []tracker.ClientTotals{{}}}, Top: []Validating{{ID: "new"}}}
	for name, c := range map[string]struct {
		write func(io.Writer) error
		want  []string
	}{
		"summary":     {r.Summary().WriteText, []string{`unknown +1 +[0-9.]+ % +unknown \(1\)`}},
		"totals":      {Summary{Rows: Counts{Visits: 1}, Validators: top}.WriteText, []string{`\nunknown +0 +0 `, `\nnew +unknown +0 `}},
		"nodes":       {r.WriteNodes, []string{`\nnew +unknown +unknown +- `}},
		"node":        {evidence.WriteText, []string{`\nagent +unknown\n`, `\nnew +unknown +unknown +- `, `\n2026-11-20 +unknown +unknown `}},
		"forks":       {r.Forks(nil).WriteText, []string{`\nunknown +unknown +1 `}},
		"changes":     {r.Changes().WriteText, []string{`\nnew +unknown +unknown `, `\ngone +teku +unknown `, `\nprysm +unknown +7 +1\n`}},
		"calibration": {Calibration{At: 1, Versions: []VersionVerdicts{{Client: "teku"}, {Client: tracker.OtherVersions}}}.WriteText, []string{`\nteku +unknown `, `\nother +- `}},
		"known nodes": {Calibration{At: 1, Known: &KnownNodes{Versions: []KnownVersion{{Client: "teku", Nodes: 9}}}}.WriteText, []string{`\nteku +unknown +9 `}},
	} {
		var out bytes.Buffer
		if err := c.write(&out); err != nil {
			t.Fatal(err)
		}
		for _, want := range c.want {
			if !regexp.MustCompile(want).MatchString(out.String()) {
				t.Errorf("%s: no %s in\n%s", name, want, &out)
			}
		}
	}
}

// Where a record announces no fork there is no epoch of one, and reports on forks tell that from
// a record that says nothing.
func TestNoForkIsAnnounced(t *testing.T) {
	none := uint64(eth2.FarFutureEpoch)
	record := func(id string, epoch *uint64) any {
		return dataset.DiscoveryRow{ID: id, ENR: "enr:" + id, NextForkVersion: ptr("0x01000000"), NextForkEpoch: epoch, Common: dataset.Common{Network: "n", Timestamp: hour(1)}}
	}
	rows := []any{record("none", &none), record("some", ptr[uint64](7)), record("silent", nil)}
	for _, id := range []string{"none", "some", "silent"} {
		rows = append(rows, met(id, hour(1), "1", "")...)
	}
	r := reportOf(t, dataset.Range{}, rows...)
	for id, want := range map[string]*uint64{"none": nil, "some": ptr[uint64](7), "silent": nil} {
		n := r.nodes[id]
		for _, got := range []*uint64{n.NextForkEpoch, n.Row().NextForkEpoch} {
			if (got == nil) != (want == nil) || got != nil && *got != *want {
				t.Errorf("%s: epoch %v", id, got)
			}
		}
	}
	text := r.Forks(nil).announcedText(3)
	for _, want := range []string{"1 of 3 nodes announce that they know of no next fork", "1 announce version 0x01000000 at epoch 7", "of 1 no record tells"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in %s", want, text)
		}
	}
}
