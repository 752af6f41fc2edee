package report

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/chainbound/valtrack/internal/dataset"
)

func TestChanges(t *testing.T) {
	const home, away = "/ip4/192.0.2.1/tcp/9000", "/ip4/192.0.2.2/tcp/9000"
	rows := slices.Concat(busy(0, 4),
		met("appeared", hour(3), "1", home),
		met("vanished", hour(1), "1", "/ip4/192.0.2.7/tcp/9000"), []any{missed("vanished", hour(2.5)), missed("vanished", hour(3.5))},
		met("rekeyed", hour(3), "1", "/ip4/192.0.2.7/tcp/9000"),
		met("not tried", hour(1), "1", home),
		met("stopped by us", hour(1), "1", home), []any{ended("stopped by us", hour(3), "canceled")},
		met("has no room", hour(1), "1", home), []any{missed("has no room", hour(2.5)), ended("has no room", hour(3), "goodbye")},
		met("gone before", hour(-1), "1", home), []any{missed("gone before", hour(3))},
		met("moved", hour(1), "1", home), met("moved", hour(3), "1", away),
		met("upgraded", hour(1), "1", home), met("upgraded", hour(3), "2", home),
		met("same", hour(1), "1", home), met("same", hour(3), "1", home),
		met("other port", hour(1), "1", home), met("other port", hour(3), "1", "/ip4/192.0.2.1/udp/9001/quic-v1"),
		met("other family", hour(1), "1", home), met("other family", hour(3), "1", "/ip6/2001:db8::1/tcp/9000"),
	)
	c := reportOf(t, dataset.Range{From: hour(2), To: hour(4)}, rows...).Changes()
	want := Changes{
		Window: c.Window, Before: c.Before, Comparable: true, NodesBefore: 10, Nodes: 8, NotTried: 2, NoHandshake: 1,
		Appeared: []Appeared{{"appeared", "prysm", "1", hour(3), ""}, {"rekeyed", "prysm", "1", hour(3), "vanished"}},
		Vanished: []Vanished{{"vanished", "prysm", "1", hour(1), 2, "refused"}},
		Moved:    []Moved{{"moved", "192.0.2.1", "192.0.2.2", hour(3)}},
		Upgraded: []Upgraded{{"upgraded", "prysm", "1", "prysm", "2", hour(3)}},
	}
	if diff := cmp.Diff(want, c); diff != "" {
		t.Error(diff)
	}
	if now := reportOf(t, dataset.Range{From: hour(2)}, rows...).Changes(); now.Before.To-now.Before.From != now.Window.To-now.Window.From {
		t.Errorf("%+v is compared with %+v", now.Window, now.Before)
	}
	if c.Before.From != hour(0) || c.Before.To != hour(2) {
		t.Errorf("compared with %+v", c.Before)
	}
	var out bytes.Buffer
	if err := c.WriteText(&out); err != nil || !strings.Contains(out.String(), "2 appeared, 1 vanished, 1 moved, 1 upgraded") {
		t.Errorf("%v\n%s", err, &out)
	}
}

// Without data of both spans nothing is said to have changed.
func TestChangesThatCannotBeKnown(t *testing.T) {
	for name, rows := range map[string][]any{
		"data begins with the window": busy(2, 4),
		"no data in the window":       busy(0, 2),
		"no data":                     nil,
	} {
		want := map[bool]string{true: "Choose a later --from or a shorter time, such as --changes 60m", false: "nothing was recorded in the window"}[name == "data begins with the window"]
		c := reportOf(t, dataset.Range{From: hour(2.1), To: hour(4)}, rows...).Changes()
		if name == "data begins with the window" {
			c = reportOf(t, dataset.Range{From: hour(2), To: hour(4)}, rows...).Changes()
		}
		if c.Comparable || len(c.Appeared)+len(c.Vanished)+c.NotTried > 0 {
			t.Errorf("%s: %+v", name, c)
		}
		var out bytes.Buffer
		if err := c.WriteText(&out); err != nil || !strings.Contains(out.String(), "cannot be known") || !strings.Contains(out.String(), want) {
			t.Errorf("%s: %v\n%s", name, err, &out)
		}
	}
}

// A node that was only watched in the span before a window was there: it vanishes like one
// that completed a handshake. One that comes back is not new.
func TestChangesCountWatches(t *testing.T) {
	const home = "/ip4/192.0.2.1/tcp/9000"
	watch := func(id string, from, to float64, more bool) any {
		return dataset.VisitRow{ID: id, Started: hour(from), Ended: hour(to), Outcome: "ok", More: more, Watch: &dataset.Watch{From: hour(from), To: hour(to)},
			Common: dataset.Common{Network: "n", Timestamp: hour(to)}}
	}
	rows := slices.Concat(busy(-4, 4),
		met("watched", hour(-1), "1", home), []any{watch("watched", -1, 0.5, true), watch("watched", 0.5, 1.9, true), missed("watched", hour(2.5))},
		met("back", hour(-1), "1", home), met("back", hour(3), "1", home),
		met("watched on", hour(-1), "1", home), []any{watch("watched on", -1, 1, true), watch("watched on", 1, 3, false)},
	)
	c := reportOf(t, dataset.Range{From: hour(2), To: hour(4)}, rows...).Changes()
	if len(c.Vanished) != 1 || c.Vanished[0].ID != "watched" || c.Vanished[0].LastSeen != hour(1.9) {
		t.Errorf("vanished: %+v", c.Vanished)
	}
	if c.NodesBefore != 3 || c.Nodes != 3 || c.Returned != 1 || len(c.Appeared) != 0 || c.NotTried != 0 {
		t.Errorf("%+v", c)
	}
	var out bytes.Buffer
	if err := c.WriteText(&out); err != nil || !strings.Contains(out.String(), "3 in the window, 3 before; 1 of the window were not met in the span before it") {
		t.Errorf("%v\n%s", err, &out)
	}
}
