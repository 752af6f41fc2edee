package report

import (
	"bytes"
	"strings"
	"testing"

	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/tracker"
)

// The comparison names each sentry with its faults, those too whose events are all left out since
// their clock is off by minutes.
func TestSentriesAsText(t *testing.T) {
	skew, ms, off := int64(-1500), int64(87), int64(-26*60*1000)
	s := Sentries{Nodes: tracker.NodeViews{ByAll: 7, BySome: 3, ByOne: 2, ByNone: 1}, Sentries: []Sentry{{SentryFigures: tracker.SentryFigures{
		Sentry: tracker.Sentry{ID: "b", Location: "fra\x1b[1m", LastSeen: hour(1), SkewMS: &skew}, Tried: 12, Reached: 9, Alone: 2, Missed: 3, HandshakeMS: &ms,
		WatchedHours: 2, Changes: 31, Faults: []tracker.SentryFault{{Fault: tracker.FaultFewReached, Text: "did not reach 3 of 4 nodes"}},
	}}}}
	for range 3 {
		if err := s.noteClock(&dataset.Common{CrawlerID: "a", CrawlerLocation: "sgp"}, &off); err != nil {
			t.Fatal(err)
		}
	}
	for i := range s.Sentries {
		s.Sentries[i].nameClock()
	}
	var text bytes.Buffer
	if err := s.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"-1.50 s", "87 ms", "15.5", "7 reached by all of several sentries, 3 by some of them only, 2 by the only one that tried, 1 by none",
		"! b (few_reached): did not reach 3 of 4 nodes", "! a (clock): 3 events of the last 2 days are not used, because their times are off by up to 26m0s", "sgp",
		"\nHANDSHAKE  median time from the dial on", "\nCHANGES/h  attestation subnets",
	} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no %q in\n%s", want, &text)
		}
	}
	if strings.Contains(text.String(), "\x1b") {
		t.Errorf("a control character of a location: %q", &text)
	}
	text.Reset()
	if err := (Sentries{}).WriteText(&text); err != nil || !strings.Contains(text.String(), "no sentry is known") {
		t.Errorf("%v, %s", err, &text)
	}
}

// Who sees a node is told when several sentries have tried it.
func TestViewsOfANode(t *testing.T) {
	ms, subnets := int64(212), 5
	views := []NodeView{
		{Sentry: "a", Location: "fra", LastSeen: hour(3), LastHandshake: hour(3), LastVisit: hour(3), LastOutcome: "ok", Reachable: new(true), HandshakeMS: &ms, SubscribedSubnets: &subnets, SubscriptionsDiffer: new(true)},
		{Sentry: "b", Location: "sgp", LastVisit: hour(2), LastOutcome: "dial_timeout", Reachable: new(false)},
		{Sentry: "c", Location: "nyc"},
	}
	p := newPage(new(bytes.Buffer))
	writeViews(p, views)
	for _, want := range []string{"a       fra       yes", "212 ms     5, differ", "b       sgp       no         never", "dial_timeout, ", "c       nyc       not tried  never"} {
		if !strings.Contains(p.String(), want) {
			t.Errorf("no %q in\n%s", want, p)
		}
	}
	p = newPage(new(bytes.Buffer))
	if writeViews(p, views[:1]); p.String() != "" {
		t.Errorf("of one sentry: %s", p)
	}
}

// Other sentries are in no list of nodes, neither of a report nor of an export.
func TestOtherSentriesAreNoNodes(t *testing.T) {
	rows := append(met("a", hour(1), "v8.0.1", "/ip4/203.0.113.7/tcp/9000"), met("s", hour(1), "v0.1.0", "/ip4/203.0.113.8/tcp/9000")...)
	row := rows[2].(dataset.ValidatorRow)
	row.Client = "valtrack"
	rows[2] = row
	r := reportOf(t, dataset.Range{}, rows...)
	for list, nodes := range map[string][]*Node{"AllNodes": r.AllNodes(), "Nodes": r.Nodes()} {
		if len(nodes) != 1 || nodes[0].ID != "a" {
			t.Errorf("%s has %d nodes, want a alone", list, len(nodes))
		}
	}
	if r.LeftOut() == "" {
		t.Error("nothing says that a sentry is left out")
	}
}
