package api

import (
	"encoding/csv"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/chainbound/valtrack/internal/geo"
	"github.com/chainbound/valtrack/internal/tracker"
)

// placed is a view whose nodes are where at says, of a crawl of so many nodes.
func placed(t *testing.T, nodes int, simulated bool, at func(i int) place) *testServer {
	t.Helper()
	s := newTestServer(t, nodes)
	s.src.Simulated = simulated
	byID := map[string]int{}
	for i := range nodes {
		byID[testPeer(i)] = i
	}
	src := s.src
	src.place = func(p *tracker.Peer) place { return at(byID[p.ID]) }
	s.views = newViews(src, s.stats, s.cfg.Log)
	s.views.update()
	return s
}

// A city with few nodes is folded for the public, in groups and rows, in every format and
// order, and not for those with a key.
func TestSmallPlacesAreFolded(t *testing.T) {
	at := func(i int) place {
		p := place{country: "Germany", code: "DE", region: "Hesse", city: "Frankfurt", latitude: 50.1155, longitude: 8.6842, asn: 24940, asName: "Hetzner", hosting: "hosting", cloud: "hetzner"}
		if i < 3 {
			p.city, p.region, p.latitude, p.longitude = "Kleinstadt", "Hill", 51.2345, 9.8765
		}
		return p
	}
	s := placed(t, 60, false, at)
	for path, want := range map[string][2]int{ // rows with the name, without a key and with one
		"cities": {0, 1}, "nodes?limit=100": {0, 3},
	} {
		for k, full := range []bool{false, true} {
			n := 0
			for _, row := range s.object("/api/v1/"+path, full)["data"].([]any) {
				if r := row.(map[string]any); r["city"] == "Kleinstadt" || r["name"] == "Kleinstadt" {
					n++
				}
			}
			if n != want[k] {
				t.Errorf("%s, key %t: %d rows of the small city, want %d", path, full, n, want[k])
			}
		}
	}
	row := s.object("/api/v1/nodes/"+testPeer(3), false)["data"].(map[string]any)
	if row["city"] != "Frankfurt" || row["latitude"] != 50.1 || row["longitude"] != 8.7 || row["country_code"] != "DE" {
		t.Errorf("%v %v %v %v", row["city"], row["latitude"], row["longitude"], row["country_code"])
	}
	row = s.object("/api/v1/nodes/"+testPeer(1), false)["data"].(map[string]any)
	if row["city"] != nil || row["region"] != nil || row["latitude"] != nil || row["country_code"] != "DE" {
		t.Errorf("small: %v %v %v", row["city"], row["latitude"], row["country_code"])
	}
	if s = placed(t, 60, true, at); s.object("/api/v1/nodes/"+testPeer(1), false)["data"].(map[string]any)["city"] != "Kleinstadt" {
		t.Error("made up places are folded")
	}
}

// The groups of each property have every node once, and add up to the total.
func TestGroupsAddUp(t *testing.T) {
	s := placed(t, 60, false, func(i int) place {
		if i%5 == 0 {
			return place{latitude: math.NaN(), longitude: math.NaN()}
		}
		return place{country: fmt.Sprint("C", i%3), code: fmt.Sprint("c", i%3), city: "X", region: fmt.Sprint(i % 2), latitude: 1, longitude: 2, asn: uint32(1 + i%4), hosting: "isp", cloud: "aws"}
	})
	v := s.views.current.Load()
	for by, groups := range v.groups {
		nodes, validators, share := 0, 0.0, 0.0
		for _, g := range groups {
			nodes += g.Nodes
			validators += float64(*g.Validators)
			share += float64(g.ShareNodes)
			if *g.Low > *g.Validators || *g.High < *g.Validators {
				t.Errorf("%s: %v outside its interval", by, *g.Validators)
			}
		}
		if nodes != v.totals.Nodes || math.Abs(validators-v.totals.Validators) > 1e-3 || math.Abs(share-1) > 1e-4 {
			t.Errorf("by %s: %d nodes, %v validators, shares %v; total %d, %v", by, nodes, validators, share, v.totals.Nodes, v.totals.Validators)
		}
	}
	for _, c := range s.object("/api/v1/concentration", false)["data"].([]any) {
		c := c.(map[string]any)
		if c["largest"] == nil || c["hhi"].(float64) <= 0 || c["hhi"].(float64) > c["hhi_high"].(float64) || c["hhi_high"].(float64) > 10_000 || c["largest_share_low"].(float64) > c["largest_share"].(float64) {
			t.Errorf("%v", c)
		}
	}
}

// What makes a place one of many are nodes that count, at the same coordinates as shown; a place
// without a city is a place too.
func TestFewNodesAreHiddenWhateverTheirPlaceSays(t *testing.T) {
	for name, at := range map[string]func(i int) place{
		"no city": func(i int) place { return place{code: "DE", country: "Germany", latitude: float64(i), longitude: 1} },
		"a finer point than its city": func(i int) place {
			return place{code: "DE", country: "Germany", city: "Berlin", latitude: 52 + float64(i%20)/10, longitude: 13}
		},
	} {
		s := placed(t, 60, false, at)
		for _, row := range s.object("/api/v1/cities", false)["data"].([]any) {
			if r := row.(map[string]any); r["latitude"] != nil && r["nodes"].(float64) < geo.SmallCell {
				t.Errorf("%s: %v", name, r)
			}
		}
		for _, row := range s.object("/api/v1/nodes?limit=100", false)["data"].([]any) {
			if r := row.(map[string]any); r["latitude"] != nil {
				t.Errorf("%s: a node at %v, %v", name, r["latitude"], r["longitude"])
				break
			}
		}
	}
	nodes := make([]node, 6)
	for i := range nodes {
		nodes[i].place, nodes[i].weight = place{code: "DE", city: "Bonn", latitude: 50.7, longitude: 7.1}, math.NaN()
	}
	if hide(nodes); !nodes[0].hidden {
		t.Error("nodes that do not count make a place one of many")
	}
}

// A State that no view can be made of leaves the view of before.
func TestViewThatCannotBeMade(t *testing.T) {
	s := newTestServer(t, 5)
	before := s.views.current.Load()
	src := s.src
	src.place = func(*tracker.Peer) place { panic("a mistake") }
	v := newViews(src, s.stats, s.cfg.Log)
	v.current.Store(before)
	s.crawl.crawl(5, 6, time.Now()) // a node whose place is not known yet
	if v.update() || v.current.Load() != before || v.update() {
		t.Error("a view was made, or the one before has gone")
	}
}

// Every row of a CSV file has a cell for each name in its header.
func TestCSVRowsAreAsLongAsTheirHeader(t *testing.T) {
	s := newTestServer(t, 30)
	for _, path := range []string{"timeseries", "clients", "countries", "errors", "changes"} {
		rows, err := csv.NewReader(s.get("/api/v1/"+path+"?format=csv", false).Body).ReadAll()
		if err != nil || len(rows) == 0 || len(rows[0]) < 3 {
			t.Errorf("%s: %v, %v", path, rows, err)
		}
	}
}
