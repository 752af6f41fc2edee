package api

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"

	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/estimate"
	"github.com/chainbound/valtrack/internal/tracker"
)

// Every column of the Parquet file that a row in JSON has, is that of the row: places, trust and
// flags among them, with and without a key.
func TestParquetHasTheRowsOfJSON(t *testing.T) {
	s := placed(t, 60, false, func(i int) place {
		if i%4 == 0 {
			return place{latitude: math.NaN(), longitude: math.NaN()}
		}
		return place{country: "Germany", code: "DE", region: "Hesse", city: fmt.Sprint("C", i%20), latitude: 50 + float64(i%20), longitude: 8.6842, asn: 24940, asName: "Hetzner", hosting: "hosting", cloud: "hetzner", source: "test 2026-01-01"}
	})
	s.crawl.announceAll(60, time.Now().Add(-50*time.Minute))
	s.crawl.fail(6, time.Now().Add(-40*time.Minute), "Lighthouse/v9.0.0-abcdef0/x86_64-linux") // which was never reached
	s.crawl.commit()
	s.views.update()
	for _, full := range []bool{false, true} {
		rec := s.get("/api/v1/nodes?format=parquet", full)
		rows, err := parquet.Read[dataset.NodeRow](bytes.NewReader(rec.Body.Bytes()), int64(rec.Body.Len()))
		if err != nil || len(rows) != 60 || orEmpty(rows[6].ClientRelease) != "9.0.0" {
			t.Fatalf("%v: %d rows", err, len(rows))
		}
		compared, filled := 0, map[string]bool{}
		for i, row := range s.object("/api/v1/nodes?limit=1000", full)["data"].([]any) {
			r := row.(map[string]any)
			data, _ := json.Marshal(rows[i])
			var have map[string]any
			if err := json.Unmarshal(data, &have); err != nil {
				t.Fatal(err)
			}
			for name, want := range r {
				got, there := have[name]
				if !there || name == "client_version" || name == "weight" { // the agent; 0 without one
					continue
				}
				compared++
				if f, ok := got.(float64); ok {
					got = rounded(f)
				}
				filled[name] = filled[name] || want != nil
				if !reflect.DeepEqual(got, want) {
					t.Errorf("key %t, row %d: %s is %v in Parquet, %v in JSON", full, i, name, got, want)
				}
			}
		}
		for _, name := range []string{"country", "city", "latitude", "asn", "as_name", "hosting", "cloud", "trust", "flags", "geo_source", "next_fork_version", "next_fork_epoch", "nfd", "fork_digest"} {
			if !filled[name] && (full || name != "city" && name != "latitude") { // places of few are not for the public
				t.Errorf("key %t: no row has %s", full, name)
			}
		}
		if compared < 60*30 {
			t.Errorf("%d cells compared", compared)
		}
	}
}

// A row has since when its number of validators is what it is, in every format; null where no
// change shows.
func TestRowsHaveSince(t *testing.T) {
	const day = int64(86_400_000)
	for since, want := range map[int64]*int64{0: nil, day: new(day)} {
		n := &node{Peer: &tracker.Peer{ID: "x", Estimate: &tracker.Estimate{Since: since}}, weight: math.NaN()}
		got := columnNamed("since").at(n, false)
		if row := n.row("testnet", false); (got.kind == kindNull) != (want == nil) || !reflect.DeepEqual(row.Since, want) {
			t.Errorf("since %d: %v in JSON, %v in Parquet", since, got, row.Since)
		} else if want != nil && got.n != *want {
			t.Errorf("%d, want %d", got.n, *want)
		}
	}
}

// The summary has what silent nodes may hide and what no node accounts for, and null where
// there is no total.
func TestSummaryHasHiddenValidators(t *testing.T) {
	v := &view{state: &tracker.State{}}
	v.totals.SilentNodes, v.totals.HiddenValidators = 4.5, 312
	v.totals.Unaccounted.Share = new(0.25)
	for nodes, want := range map[int][3]any{0: {nil, nil, nil}, 100: {4.5, 312.0, 0.25}} {
		v.totals.Nodes = nodes
		var got struct {
			Validators map[string]any `json:"validators"`
		}
		if err := json.Unmarshal(v.summarise(), &got); err != nil {
			t.Fatal(err)
		}
		if got := [3]any{got.Validators["silent_nodes"], got.Validators["hidden_validators"], got.Validators["unreached_share"]}; got != want {
			t.Errorf("%d nodes: %v, want %v", nodes, got, want)
		}
	}
}

// A damaged part is left out of exports, which say so behind the rows, and is logged once.
func TestDamagedPartsDoNotEndExports(t *testing.T) {
	s, addr := listening(t, Config{})
	s.crawl.crawl(0, 20, genesis.Add(70*3600e9)) // a second part
	path := filepath.Join(dataset.Dir(s.crawl.dir, dataset.Metadata), "part-00000001.parquet")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/3] ^= 1
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, format := range []string{"?format=ndjson", "?format=csv", "?format=parquet", ".csv", ".parquet"} {
		r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+addr+"/api/v1/datasets/metadata_events"+format, nil)
		r.Header.Set("X-API-Key", s.key)
		resp, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		var body bytes.Buffer
		if _, err := body.ReadFrom(resp.Body); err != nil {
			t.Errorf("%s: cut off: %v", format, err)
		}
		resp.Body.Close()
		var rows int
		switch {
		case strings.HasSuffix(format, "csv"):
			lines, err := csv.NewReader(&body).ReadAll()
			if rows = len(lines) - 1; err != nil {
				t.Error(err)
			}
		case strings.HasSuffix(format, "parquet"):
			f, err := parquet.OpenFile(bytes.NewReader(body.Bytes()), int64(body.Len()))
			if err != nil {
				t.Fatalf("%s: %v", format, err)
			}
			rows = int(f.NumRows())
			if _, ok := f.Lookup("valtrack.damaged.part-00000001.parquet"); !ok {
				t.Errorf("%s: the footer does not say it", format)
			}
		default:
			rows = strings.Count(body.String(), "\n")
		}
		if got := resp.Trailer.Get(trailerDamaged); got != "metadata_events/part-00000001.parquet" || rows != 18 {
			t.Errorf("%s: %d rows, trailer %q", format, rows, got)
		}
	}
	if rec, _ := get(t, "http://"+addr+"/api/v1/datasets/metadata_events.csv?format=parquet", http.Header{"X-Api-Key": {s.key}}); rec.StatusCode != http.StatusBadRequest {
		t.Errorf("two formats: %d", rec.StatusCode)
	}
}

// The posterior of a node fits its estimate: half of it is at or below the median, a twentieth on
// each side of the interval.
func TestPosterior(t *testing.T) {
	s := newTestServer(t, 25)
	seen := 0
	for i := range 25 {
		d := s.object("/api/v1/nodes/"+testPeer(i), false)["data"].(map[string]any)
		points := d["posterior"].([]any)
		if d["validators"] == nil {
			if len(points) > 0 {
				t.Errorf("node %d has no estimate and %v", i, points)
			}
			continue
		}
		seen++
		last, lastP := -1.0, -1.0
		upTo := func(v float64) (p float64) {
			for _, x := range points {
				if x := x.(map[string]any); x["validators"].(float64) <= v {
					p = x["p"].(float64)
				}
			}
			return p
		}
		for _, x := range points {
			x := x.(map[string]any)
			v, p := x["validators"].(float64), x["p"].(float64)
			if v <= last || p < lastP || p > 1 {
				t.Fatalf("node %d: %v", i, points)
			}
			last, lastP = v, p
		}
		if p := upTo(d["validators"].(float64)); p < 0.47 || lastP < 0.999 || len(points) > 130 {
			t.Errorf("node %d: %.3f at the median, %.4f at the end, %d points", i, p, lastP, len(points))
		}
		if none := d["p_validator"].(float64); math.Abs(1-none-upTo(0)) > 0.001 {
			t.Errorf("node %d: p_validator %v, none %v", i, none, upTo(0))
		}
		if e := d["evidence"].(map[string]any); len(e["stretches"].([]any)) == 0 || e["used"] == "" {
			t.Errorf("node %d: %v", i, e)
		}
	}
	if seen < 15 {
		t.Errorf("%d estimates", seen)
	}
}

// The custody group count is the record's where MetaData has none, as in reports of the data directory.
func TestCustodyGroupCountOfTheRecord(t *testing.T) {
	for want, p := range map[string]tracker.Peer{
		"4":    {Custody: estimate.Custody{Latest: 4}},
		"8":    {Custody: estimate.Custody{Latest: 4}, CustodyGroupCount: new(uint64(8))},
		"null": {},
	} {
		got := "null"
		if v := columnNamed("custody_group_count").get(&node{Peer: &p}); v.kind != (value{}).kind {
			got = fmt.Sprint(v.n)
		}
		if got != want {
			t.Errorf("custody group count %s, want %s", got, want)
		}
	}
}
