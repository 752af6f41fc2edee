package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/chainbound/valtrack/internal/dataset"
)

// Other sentries of this program are in no list of nodes, as in no total, and both say so.
func TestListsLeaveOutSentries(t *testing.T) {
	rows := append(met("a", hour(1), "8.0.1", ""), met("b", hour(1), "8.0.1", "")...)
	if r := reportOf(t, dataset.Range{}, rows...); len(r.Nodes()) != 2 || r.LeftOut() != "" {
		t.Errorf("without sentries: %d nodes, left out %q", len(r.Nodes()), r.LeftOut())
	}
	for _, id := range []string{"s", "t"} {
		sentry := met(id, hour(1), "v0.1.0", "")
		row := sentry[0].(dataset.ValidatorRow)
		row.Client, row.ClientVersion = "valtrack", "valtrack/v0.1.0"
		rows = append(rows, row, sentry[1])
	}
	r := reportOf(t, dataset.Range{}, rows...)
	var list, summary bytes.Buffer
	if err := errors.Join(r.WriteNodes(&list), r.Summary().WriteText(&summary)); err != nil {
		t.Fatal(err)
	}
	if n := r.Summary().Handshaked; len(r.Nodes()) != n || strings.Contains(list.String(), "valtrack") {
		t.Errorf("%d in totals:\n%s", n, &list)
	}
	const want = "2 other Valtrack sentries: no beacon nodes"
	if r.LeftOut() != want || !strings.Contains(summary.String(), want) {
		t.Errorf("left out: %q and\n%s", r.LeftOut(), &summary)
	}
}

// What is published has no address, also where a node writes one into its agent.
func TestHiddenAddresses(t *testing.T) {
	rows := append(met("a", hour(1), "203.0.113.7:9000", "/ip4/203.0.113.7/tcp/9000"), met("b", hour(1), "8.0.1", "/ip4/203.0.113.8/tcp/9000")...)
	for i, agent := range map[int]string{0: "Lighthouse/203.0.113.7:9000/x86_64-linux", 2: "Lighthouse/v8.0.1/x86_64-linux"} {
		row := rows[i].(dataset.ValidatorRow)
		row.ClientVersion, row.ENR = agent, "enr:-x"
		rows[i] = row
	}
	r := reportOf(t, dataset.Range{}, rows...)
	var all bytes.Buffer
	nodes := r.AllNodes()
	HideFromPublic(nodes)
	for _, n := range nodes {
		for _, v := range []any{n, n.Row()} {
			if err := json.NewEncoder(&all).Encode(v); err != nil {
				t.Fatal(err)
			}
		}
		if got := n.Row().ClientVersion; (got == nil) != (n.ID == "a") {
			t.Errorf("%s: client_version %v", n.ID, got)
		}
	}
	if err := r.WriteNodes(&all); err != nil {
		t.Fatal(err)
	}
	if text := all.String(); strings.Contains(text, "203.0.113") || strings.Contains(text, "9000") || strings.Contains(text, "enr:") || !strings.Contains(text, "Lighthouse/v8.0.1/x86_64-linux") {
		t.Error(text)
	}
}

// What is published tells of a place only its country, unless five nodes or more that count in
// totals are there, to a tenth of a degree.
func TestHiddenPlaces(t *testing.T) {
	at := func(n int, weight float64, city string, latitude float64, source string) (nodes []*Node) {
		for range n {
			nodes = append(nodes, &Node{Weight: &weight, Location: Location{
				Country: new("Germany"), CountryCode: new("DE"), City: known(city), Latitude: &latitude, Longitude: new(13.04), ASN: new(uint32(1)), GeoSource: &source,
			}})
		}
		return nodes
	}
	notEstimated := at(9, 1, "Mainz", 50, "db")
	for _, n := range notEstimated {
		n.Weight = nil
	}
	for name, c := range map[string]struct {
		nodes []*Node
		city  *string
		at    *float64
	}{
		"four nodes":                            {at(4, 1, "Bonn", 50.73, "db"), nil, nil},
		"five nodes":                            {at(5, 0.5, "Bonn", 50.73, "db"), new("Bonn"), new(50.7)},
		"five at two points of a city":          {append(at(4, 1, "Bonn", 50.73, "db"), at(1, 1, "Bonn", 50.93, "db")...), nil, nil},
		"five near a point":                     {append(at(4, 1, "Bonn", 50.73, "db"), at(1, 1, "Bonn", 50.71, "db")...), new("Bonn"), new(50.7)},
		"many, of which none counts in totals":  {at(9, 0, "Bonn", 50.73, "db"), nil, nil},
		"many, of which none has an estimate":   {notEstimated, nil, nil},
		"coordinates without a city":            {at(4, 1, "", 50.73, "db"), nil, nil},
		"a node at a place that is not its own": {at(1, 1, "Bonn", 50.73, "simulated: db"), nil, nil},
		"five at coordinates without a city":    {at(5, 1, "", 50.73, "db"), nil, new(50.7)},
	} {
		HideFromPublic(c.nodes)
		n := c.nodes[0]
		if !reflect.DeepEqual(n.City, c.city) || !reflect.DeepEqual(n.Latitude, c.at) || *n.Country != "Germany" || *n.ASN != 1 {
			t.Errorf("%s: city %v, latitude %v, %s, AS%d", name, orEmpty(n.City), n.Latitude, *n.Country, *n.ASN)
		}
	}
}
