package report

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/tracker"
)

// day is a moment that the tests count from.
var day = time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC)

func hour(h float64) int64 { return day.Add(time.Duration(h * float64(time.Hour))).UnixMilli() }

// met is a handshake and its visit's end.
func met(id string, at int64, version, address string) []any {
	common := dataset.Common{Network: "n", Timestamp: at}
	return []any{
		dataset.ValidatorRow{ID: id, Client: "prysm", ClientRelease: &version, Multiaddr: address, Direction: "outbound", LongLivedSubnets: []int32{}, Common: common},
		dataset.VisitRow{ID: id, Started: at, Ended: at, Outcome: "ok", Common: common},
	}
}

func missed(id string, at int64) any { return ended(id, at, "refused") }

func ended(id string, at int64, outcome string) any {
	return dataset.VisitRow{ID: id, Started: at, Ended: at, Outcome: outcome, Common: dataset.Common{Network: "n", Timestamp: at}}
}

// busy are visits of a node without anything else, every ten minutes.
func busy(from, to float64) (rows []any) {
	for at := hour(from); at < hour(to); at += 10 * 60_000 {
		rows = append(rows, met("busy", at, "1", "/ip4/192.0.2.9/tcp/9000")...)
	}
	return rows
}

// Rows outside of a window do not count in it, but for what was known before it.
func TestWindowOfASummary(t *testing.T) {
	rows := append(busy(0, 4), met("a", hour(1), "1", "")...)
	rows = append(rows, met("a", hour(3), "2", "")...)
	rows = append(rows, met("b", hour(1), "1", "")...)
	rows = append(rows, missed("b", hour(3)), dataset.DiscoveryRow{ID: "a", ENR: "enr:a", Common: dataset.Common{Network: "n", Timestamp: hour(0.5)}})
	r := reportOf(t, dataset.Range{From: hour(2), To: hour(4)}, rows...)
	s := r.Summary()
	if s.Handshaked != 2 || s.Visited != 3 || s.Rows != (Counts{Discoveries: 0, Handshakes: 13, Visits: 14}) || len(s.Window.Gaps) != 0 || s.Window.GapsMS != 0 {
		t.Errorf("%+v, %+v", s, s.Window)
	}
	if n := r.nodes["a"]; *n.ClientRelease != "2" || n.Observations != 1 || n.ENR != "enr:a" || n.FirstSeen != hour(0.5) {
		t.Errorf("%+v", n)
	}
	if all := reportOf(t, dataset.Range{}, rows...).Summary(); all.Window != nil || all.Handshaked != 3 {
		t.Errorf("%+v", all)
	}
}

// A window says which of its time nobody recorded, and one without data that it has none.
func TestGaps(t *testing.T) {
	rows := append(busy(1, 2), busy(3, 4)...)
	for _, c := range []struct {
		name     string
		from, to float64
		want     []Span
	}{
		{"covered", 1, 2, []Span{}},
		{"begins before the data", 0, 2, []Span{{hour(0), hour(1)}}},
		{"ends after the data", 3, 5, []Span{{hour(4) - 9*60_000, hour(5)}}},
		{"interrupted", 1, 4, []Span{{hour(2) - 9*60_000, hour(3)}}},
		{"between", 2.1, 2.9, []Span{{hour(2.1), hour(2.9)}}},
		{"before", 0, 0.9, []Span{{hour(0), hour(0.9)}}},
		{"a short one", 3.8, 4, []Span{{hour(4) - 9*60_000, hour(4)}}},
		{"after", 5, 9, []Span{{hour(5), hour(9)}}},
	} {
		w := reportOf(t, dataset.Range{From: hour(c.from), To: hour(c.to)}, rows...).Summary().Window
		if diff := cmp.Diff(c.want, w.Gaps); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
	var out bytes.Buffer
	if err := reportOf(t, dataset.Range{From: hour(2.1), To: hour(2.9)}, rows...).Summary().WriteText(&out); err != nil {
		t.Fatal(err)
	}
	if want := "nothing was recorded in this window; the data is from 2026-11-20T01:00:00Z to 2026-11-20T03:50:00Z"; !strings.Contains(strings.Join(strings.Fields(out.String()), " "), want) {
		t.Errorf("no %q in\n%s", want, &out)
	}
	out.Reset()
	if err := reportOf(t, dataset.Range{From: hour(1), To: hour(4)}, rows...).Summary().WriteText(&out); err != nil {
		t.Fatal(err)
	}
	if want := "nothing was recorded for 1h9m of it: 2026-11-20T01:51:00Z to 2026-11-20T03:00:00Z"; !strings.Contains(strings.Join(strings.Fields(out.String()), " "), want) {
		t.Errorf("no %q in\n%s", want, &out)
	}
}

// A watch that lasts is a record of its whole time.
func TestAWatchIsNoGap(t *testing.T) {
	rows := append(busy(0, 1), dataset.VisitRow{ID: "w", Started: hour(1), Ended: hour(2), Outcome: "ok", Common: dataset.Common{Network: "n", Timestamp: hour(2)}})
	if w := reportOf(t, dataset.Range{From: hour(0), To: hour(2)}, rows...).Summary().Window; len(w.Gaps) != 0 {
		t.Errorf("%+v", w)
	}
}

// What is before the first row of all was not recorded, however short it is; durations are not
// rounded up to what nobody asked for.
func TestTimeBeforeTheData(t *testing.T) {
	rows := busy(1, 2)
	minutes := func(n float64) float64 { return 1 + n/60 }
	for _, c := range []struct {
		from, to float64
		want     []Span
	}{
		{minutes(-2.5), minutes(2.5), []Span{{hour(minutes(-2.5)), hour(1)}}},
		{minutes(-1), minutes(9), []Span{{hour(minutes(-1)), hour(1)}, {hour(minutes(1)), hour(minutes(9))}}},
		{minutes(0), minutes(2.5), []Span{}},
	} {
		w := reportOf(t, dataset.Range{From: hour(c.from), To: hour(c.to)}, rows...).Summary().Window
		if diff := cmp.Diff(c.want, w.Gaps); diff != "" {
			t.Errorf("%v to %v: %s", c.from, c.to, diff)
		}
	}
	for ms, want := range map[int64]string{150_000: "2m30s", 120_000: "2m", 130_000: "2m10s", 40_000: "40s", 3_600_000: "1h0m", 90 * 60_000: "1h30m", 36*3_600_000 + 29_000: "36h0m"} {
		if got := span(ms); got != want {
			t.Errorf("%d ms are %q, want %q", ms, got, want)
		}
	}
}

// A window says where its rows end, which a commit that is still to come may move, and what the
// totals beside them are of.
func TestTailOfAWindow(t *testing.T) {
	for to, want := range map[int64]string{
		hour(2):             "stored until 2026-11-20T01:50:00Z, 10m before the window's end: later events, if any, become readable with the next commit",
		hour(2) - 10*60_000: "",
		hour(9):             "", // a gap says it
	} {
		r := reportOf(t, dataset.Range{From: hour(1), To: to}, busy(0, 2)...)
		r.totals = &tracker.Totals{Hour: hour(1)}
		var out bytes.Buffer
		if err := r.Summary().WriteText(&out); err != nil {
			t.Fatal(err)
		}
		text := strings.Join(strings.Fields(out.String()), " ")
		if want != "" && !strings.Contains(text, want) || want == "" && strings.Contains(text, "stored until") {
			t.Errorf("want %q in\n%s", want, &out)
		}
		if !strings.Contains(text, "as of 2026-11-20T01:00:00Z, for all nodes met in the 24 hours before that, whatever the window") {
			t.Errorf("%s", &out)
		}
	}
}
