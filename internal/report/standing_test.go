package report

import (
	"bytes"
	"log/slog"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/estimate"
	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/event"
	"github.com/chainbound/valtrack/internal/tracker"
)

// Of a node that does not answer any more it is said since when, and of one that does nothing.
func TestNodesThatLeft(t *testing.T) {
	watch := func(from, to float64, outcome string) any {
		row := ended("a", hour(to), outcome).(dataset.VisitRow)
		row.Started, row.Watch = hour(from), &dataset.Watch{From: hour(from), To: hour(to) - 5}
		return row
	}
	handshake := met("a", hour(1), "1", "")[0]
	for name, c := range map[string]struct {
		rows []any
		want string
	}{
		"met by the last visit":           {[]any{handshake, ended("a", hour(1), "ok")}, `^$`},
		"its watch was ended by the peer": {[]any{handshake, watch(1, 2, "reset")}, `^$`},
		"watched still":                   {[]any{handshake}, `^$`},
		"interrupted by us":               {[]any{handshake, ended("a", hour(2), "canceled")}, `^$`},
		"refused since": {[]any{handshake, missed("a", hour(2)), missed("a", hour(3))},
			`^It was last heard from at 2026-11-20T01:00:00Z, .* the last visit, at 2026-11-20T03:00:00Z, ended with "refused" \(connection refused: `},
		"no room since": {[]any{handshake, ended("a", hour(3), "goodbye")}, `ended with "goodbye" \(the node ended`},
		"back again":    {[]any{handshake, missed("a", hour(2)), met("a", hour(3), "1", "")[0]}, `^$`},
		"never met, found and tried": {[]any{dataset.DiscoveryRow{ID: "a", Common: dataset.Common{Network: "n", Timestamp: hour(1)}}, missed("a", hour(2))},
			`Its newest record was found at 2026-11-20T01:00:00Z, the last visit began at 2026-11-20T02:00:00Z\.$`},
		"only found": {[]any{dataset.DiscoveryRow{ID: "a", Common: dataset.Common{Network: "n", Timestamp: hour(1)}}}, `Its newest record was found at 2026-11-20T01:00:00Z\.$`},
	} {
		if note := noteOf(reportOf(t, dataset.Range{}, c.rows...).nodes["a"]); !regexp.MustCompile(c.want).MatchString(note) {
			t.Errorf("%s: %q", name, note)
		}
	}
}

// A node with an estimate that is in no total has the reason.
func TestNodesThatDoNotCount(t *testing.T) {
	newest := hour(30)
	for want, c := range map[string]struct {
		weight float64
		met    int64
		others []OtherID
	}{
		"": {1, newest, nil},
		"at 2026-11-20T01:00:00Z, more than 24 hours before the newest": {0, hour(1), nil},
		"b was met at its address later":                                {0, hour(29), []OtherID{{"early", hour(1)}, {"b", newest}}},
		"its network prefix has more nodes":                             {0, hour(29), []OtherID{{"early", hour(1)}}},
	} {
		n := &Node{ID: "a", Weight: &c.weight, met: c.met}
		if got := uncountedText(n, &Tracked{SameAddress: c.others}, newest); !strings.Contains(got, want) || want == "" && got != "" {
			t.Errorf("want %q: %q", want, got)
		}
	}
}

// A number that changed is told with its days, and is a column.
func TestStretchesInWords(t *testing.T) {
	at := func(date string) int64 {
		d, err := time.Parse(time.DateOnly, date)
		if err != nil {
			t.Fatal(err)
		}
		return d.UnixMilli()
	}
	stretch := func(from, to string, n int) Stretch {
		return Stretch{at(from), at(to), n, float64(n - 10), float64(n + 10)}
	}
	for want, d := range map[string]*Tracked{
		"": nil,
		"Its duties show that its number of validators changed: from 2026-11-20 to 2026-11-23 it had about 100 [90 to 110], since 2026-11-24 about 300 [290 to 310]. The estimate is": {
			Stretches: []Stretch{stretch("2026-11-20", "2026-11-24", 100), stretch("2026-11-24", "2026-11-27", 300)}},
		"on 2026-11-20 it had about 50 [40 to 60], from 2026-11-21 to 2026-11-23 it had about 100 [90 to 110], since 2026-11-24 about 300": {
			Stretches: []Stretch{stretch("2026-11-20", "2026-11-21", 50), stretch("2026-11-21", "2026-11-24", 100), stretch("2026-11-24", "2026-11-27", 300)}},
	} {
		if got := d.historyText(); !strings.Contains(got, want) || want == "" && got != "" {
			t.Errorf("want %q: %s", want, got)
		}
	}
	if one := (&Tracked{Stretches: []Stretch{stretch("2026-11-20", "2026-11-24", 100)}}).historyText(); one != "" {
		t.Errorf("without a change: %s", one)
	}
}

// A tracked node that grew tells it in its sentences, its columns and its export.
func TestANodeThatGrew(t *testing.T) {
	clock := eth2.Clock{Genesis: day, SlotDuration: 12 * time.Second, SlotsPerEpoch: 32}
	dir := t.TempDir()
	tr, err := tracker.Open(t.Context(), tracker.Config{Dir: dir, Network: "n", Log: slog.New(slog.DiscardHandler),
		Params: estimate.Params{Clock: clock, Preset: eth2.MainnetPreset(), ActiveValidators: 950_000}})
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Close()
	var rows []any
	for d := range 6 {
		epoch := eth2.Epoch(225 * d) // epochs a day
		from, to := clock.EpochStart(epoch+1), clock.EpochStart(epoch+9)
		common := event.Common{Network: "n", Timestamp: from.UnixMilli()}
		id, visit := "a", "v"+string(rune('0'+d))
		tr.Add(&event.MetadataReceived{Common: common, ID: id, VisitID: visit, ClientVersion: "Lighthouse/v8.0.1-abcdef0/x86_64-linux",
			MetaData: &event.MetaData{CustodyGroupCount: ptr[uint64](128)}, SubscribedSubnets: []int{}, Direction: event.Inbound})
		w := &event.Watch{From: from.UnixMilli(), To: to.UnixMilli()}
		step := int64(16) // slots between duties
		if d >= 3 {
			step = 2
		}
		for slot := int64(1); slot < 8*32-2; slot += step {
			subnet := int(slot*7) % 64
			w.Changes = append(w.Changes, event.SubnetChange{At: slot*12_000 + 100, Subnet: subnet, Subscribed: true}, event.SubnetChange{At: (slot + 1) * 12_000, Subnet: subnet})
		}
		common.Timestamp = to.UnixMilli()
		tr.Add(&event.VisitEnded{Common: common, ID: id, VisitID: visit, Outcome: event.OutcomeOK, Watch: w, ClientVersion: "Lighthouse/v8.0.1-abcdef0/x86_64-linux"})
		rows = append(rows, met(id, from.UnixMilli(), "8.0.1", "")...)
	}
	tr.Apply(0)
	if err := tr.Recompute(t.Context()); err != nil {
		t.Fatal(err)
	}
	r := reportOf(t, dataset.Range{}, rows...)
	r.setState(tr.State())
	n := r.nodes["a"]
	changed := day.AddDate(0, 0, 3)
	if n.Since == nil || *n.Since != changed.UnixMilli() || n.Row().Since == nil || *n.Row().Since != *n.Since {
		t.Fatalf("since %v, want %v; %+v", n.Since, changed, n.Estimated)
	}
	e, err := r.Evidence(t.Context(), t.TempDir(), n)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := e.WriteText(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`from 2026-11-20 to 2026-11-22 it had about \d+ \[\d+ to \d+\], since 2026-11-23 about \d+ \[\d+ to \d+\]\.`, `VALIDATORS +SINCE +FLAGS`, `\] +2026-11-23 +.*moved`,
	} {
		if !regexp.MustCompile(want).MatchString(out.String()) {
			t.Errorf("no %s in\n%s", want, &out)
		}
	}
}
