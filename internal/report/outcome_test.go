package report

import (
	"bytes"
	"strings"
	"testing"

	"github.com/chainbound/valtrack/internal/dataset"
)

// Every node that was visited has an outcome, of its newest visit: open while that has no end.
func TestLastOutcome(t *testing.T) {
	handshake := func(at int64) any { return met("a", at, "1", "")[0] }
	part := func(at int64) any {
		row := ended("a", at, "ok").(dataset.VisitRow)
		row.More, row.Watch = true, &dataset.Watch{From: at - 1, To: at}
		return row
	}
	found := dataset.DiscoveryRow{ID: "a", Common: dataset.Common{Network: "n", Timestamp: hour(1)}}
	for _, c := range []struct {
		name string
		in   dataset.Range
		rows []any
		want string
	}{
		{"only found", dataset.Range{}, []any{found}, ""},
		{"a watch that runs", dataset.Range{}, []any{found, handshake(hour(1))}, "open"},
		{"its first part", dataset.Range{}, []any{handshake(hour(1)), part(hour(2))}, "open"},
		{"its end", dataset.Range{}, []any{handshake(hour(1)), part(hour(2)), ended("a", hour(3), "reset")}, "reset"},
		{"a part without its handshake", dataset.Range{From: hour(2)}, []any{handshake(hour(1)), part(hour(2))}, "open"},
		{"a failed dial before it", dataset.Range{}, []any{missed("a", hour(1)), handshake(hour(2))}, "open"},
		{"a failed dial after it", dataset.Range{}, []any{handshake(hour(1)), missed("a", hour(2))}, "refused"},
		{"its end after the window", dataset.Range{To: hour(2)}, []any{handshake(hour(1)), ended("a", hour(3), "ok")}, "open"},
		{"all before the window", dataset.Range{From: hour(4)}, []any{handshake(hour(1)), ended("a", hour(3), "ok"), part(hour(3))}, ""},
	} {
		n := reportOf(t, c.in, c.rows...).nodes["a"]
		if n.LastOutcome != c.want || c.want != "" && *n.Row().LastOutcome != c.want {
			t.Errorf("%s: %q, want %q", c.name, n.LastOutcome, c.want)
		}
	}
}

// The client is what the node told last, in every view, whether a handshake was completed or not.
func TestAgentToldLast(t *testing.T) {
	agent := func(row any, agent string) dataset.VisitRow {
		v := row.(dataset.VisitRow)
		v.ClientVersion = &agent
		return v
	}
	handshake := met("a", hour(2), "7.0.0", "")[0].(dataset.ValidatorRow)
	handshake.ClientVersion = "Prysm/v7.0.0/abc"
	failed := func(at int64) any {
		return agent(ended("a", at, "status_error"), "Lighthouse/v8.0.1-abcdef0/x86_64-linux")
	}
	for _, c := range []struct {
		name            string
		rows            []any
		client, version string
	}{
		{"never completed a handshake", []any{failed(hour(1)), missed("a", hour(3))}, "lighthouse", "8.0.1"},
		{"before a handshake", []any{failed(hour(1)), handshake}, "prysm", "7.0.0"},
		{"after a handshake", []any{handshake, failed(hour(3))}, "lighthouse", "8.0.1"},
		{"that visit's own end", []any{handshake, agent(ended("a", hour(2), "ok"), "Prysm/v7.0.0/abc")}, "prysm", "7.0.0"},
	} {
		r := reportOf(t, dataset.Range{}, c.rows...)
		n := r.nodes["a"]
		row := n.Row()
		if n.Client != c.client || orEmpty(n.ClientRelease) != c.version || orEmpty(row.Client) != c.client || orEmpty(row.ClientRelease) != c.version || orEmpty(row.ClientVersion) != n.Agent {
			t.Errorf("%s: %s %s, %s %s", c.name, n.Client, orEmpty(n.ClientRelease), orEmpty(row.Client), orEmpty(row.ClientRelease))
		}
		var out bytes.Buffer
		e, err := r.Evidence(t.Context(), t.TempDir(), n)
		if err != nil {
			t.Fatal(err)
		}
		if err := e.WriteText(&out); err != nil || !strings.Contains(out.String(), n.Agent) || n.Agent == "" {
			t.Errorf("%s: %v, no agent %q in\n%s", c.name, err, n.Agent, &out)
		}
	}
}
