package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// figures draws those of contrib/paper from the data directory that the server writes to: five
// files, of the numbers that `valtrack report` gives of the same hour.
func figures(t *testing.T, interpreter string, s server) {
	script, err := filepath.Abs("../../contrib/paper/figures.py")
	if err != nil {
		t.Fatal(err)
	}
	run := func(data string) (string, error) {
		cmd := exec.CommandContext(t.Context(), interpreter, script, data, "figures")
		cmd.Dir = s.dir
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := run("nothing"); err == nil || !strings.Contains(out, "tracker.db in 'nothing'") {
		t.Errorf("of a directory without data: %v\n%s", err, out)
	}
	var drawn tables
	var want hour
	for range 3 { // an hour may end between the two
		out, err := run("data")
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		drawn = readTables(out)
		want = reportHour(t, s)
		if want.is(drawn) {
			break
		}
	}
	if !want.is(drawn) {
		t.Fatalf("figures of the hour %v, a report of %d", drawn["hour nodes"], want.Validators.Hour)
	}
	files, err := filepath.Glob(filepath.Join(s.dir, "figures", "*.pdf"))
	if err != nil || len(files) != 5 {
		t.Errorf("%d figures, %v", len(files), err)
	}
	for _, file := range files {
		if text, err := os.ReadFile(file); err != nil || len(text) < 5000 || !bytes.HasPrefix(text, []byte("%PDF")) {
			t.Errorf("%s has %d bytes, %v", file, len(text), err)
		}
	}
	want.compare(t, drawn)
	for _, by := range []string{"country", "network", "cloud", "client"} {
		compareConcentration(t, s, by, drawn)
	}
}

// tables are the rows that figures.py printed, by the first two names of their header.
type tables map[string][][]string

func readTables(out string) tables {
	all, name := tables{}, ""
	for line := range strings.Lines(out) {
		switch cells := strings.Split(strings.TrimSuffix(line, "\n"), "\t"); {
		case len(cells) < 3:
		case strings.ContainsAny(cells[len(cells)-1], "abcdefghijklmnopqrstuvwxyz"): // a header
			name = cells[0] + " " + cells[1]
		default:
			all[name] = append(all[name], cells)
		}
	}
	return all
}

// hour is what `valtrack report --to` says of the last hour.
type hour struct {
	Validators struct {
		Hour           int64          `json:"hour"`
		Nodes          float64        `json:"nodes"`
		WithValidators float64        `json:"with_validators"`
		Validators     float64        `json:"validators"`
		Low            float64        `json:"validators_low"`
		High           float64        `json:"validators_high"`
		NextDigests    map[string]int `json:"next_digests"`
		Clients        []struct {
			Client     string  `json:"client"`
			Nodes      float64 `json:"nodes"`
			Validators float64 `json:"validators"`
			Low        float64 `json:"validators_low"`
			High       float64 `json:"validators_high"`
		} `json:"clients"`
	} `json:"validators"`
	nodes []node
}

type node struct {
	Validators float64  `json:"validators"`
	Low        float64  `json:"validators_low"`
	High       float64  `json:"validators_high"`
	Weight     *float64 `json:"weight"` // in totals
}

func report(t *testing.T, s server, args ...string) []byte {
	t.Helper()
	args = append([]string{"report", "--data-dir", "data", "--json", "--to", strconv.FormatInt(time.Now().UnixMilli(), 10)}, args...)
	cmd := exec.CommandContext(t.Context(), filepath.Join(s.dir, "valtrack"), args...)
	cmd.Dir = s.dir
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v", args, err)
	}
	return out
}

func reportHour(t *testing.T, s server) (h hour) {
	t.Helper()
	if err := json.Unmarshal(report(t, s), &h); err != nil {
		t.Fatal(err)
	}
	for dec := json.NewDecoder(bytes.NewReader(report(t, s, "--nodes"))); dec.More(); {
		var n node
		if err := dec.Decode(&n); err != nil {
			t.Fatal(err)
		}
		h.nodes = append(h.nodes, n)
	}
	return h
}

// is reports whether the tables are of the hour.
func (h hour) is(drawn tables) bool {
	rows := drawn["hour nodes"]
	return len(rows) > 0 && rows[len(rows)-1][0] == fmt.Sprint(h.Validators.Hour)
}

func (h hour) compare(t *testing.T, drawn tables) {
	t.Helper()
	v, last := h.Validators, drawn["hour nodes"][len(drawn["hour nodes"])-1]
	same(t, "totals", last[1:], v.Nodes, v.WithValidators, v.Validators, v.Low, v.High)
	if len(drawn["client nodes"]) != len(v.Clients) || len(v.Clients) < 3 {
		t.Errorf("clients %v, want %v", drawn["client nodes"], v.Clients)
	}
	for _, c := range v.Clients {
		row := find(t, drawn["client nodes"], c.Client)
		same(t, c.Client, row[1:], c.Nodes, 100*c.Nodes/v.Nodes, c.Validators, c.Low, c.High)
	}
	announced := map[string]int{}
	for _, row := range drawn["hour next digest"] {
		if row[0] == last[0] {
			announced[row[1]], _ = strconv.Atoi(row[2])
		}
	}
	if fmt.Sprint(announced) != fmt.Sprint(v.NextDigests) || len(announced) == 0 {
		t.Errorf("next digests %v, want %v", announced, v.NextDigests)
	}
	for _, atLeast := range []float64{1, 10} {
		median, low, high := 0.0, 0.0, 0.0
		for _, n := range h.nodes {
			if n.Weight == nil || *n.Weight == 0 {
				continue
			}
			for sum, value := range map[*float64]float64{&median: n.Validators, &low: n.Low, &high: n.High} {
				if value >= atLeast {
					*sum++
				}
			}
		}
		same(t, "nodes with validators", find(t, drawn["validators, or more nodes"], fmt.Sprint(atLeast))[1:], median, low, high)
	}
	stays := drawn["epochs at risk"]
	if len(stays) == 0 {
		t.Fatal("no survival")
	}
	if there, err := strconv.ParseFloat(stays[len(stays)-1][3], 64); err != nil || there < 90 { // the devnet's nodes stay
		t.Errorf("survival %v", stays)
	}
}

func compareConcentration(t *testing.T, s server, by string, drawn tables) {
	t.Helper()
	type holders struct {
		HHI       float64 `json:"hhi"`
		Third     *int    `json:"third"`
		TwoThirds *int    `json:"two_thirds"`
	}
	var groups struct {
		Concentration struct {
			Nodes       holders `json:"nodes"`
			Attachments holders `json:"attachments"`
		} `json:"concentration"`
	}
	if err := json.Unmarshal(report(t, s, "--by", by), &groups); err != nil {
		t.Fatal(err)
	}
	for what, want := range map[string]holders{"nodes": groups.Concentration.Nodes, "validators": groups.Concentration.Attachments} {
		found := false
		for _, row := range drawn["by share of"] {
			if row[0] != by || row[1] != what {
				continue
			}
			found = true
			same(t, by+" of "+what, row[4:5], want.HHI)
			if third, twoThirds := count(want.Third), count(want.TwoThirds); row[5] != third || row[6] != twoThirds || want.HHI == 0 {
				t.Errorf("%v, want %s to a third, %s to two thirds, and an HHI above 0", row, third, twoThirds)
			}
		}
		if !found {
			t.Errorf("no concentration by %s of %s", by, what)
		}
	}
}

// count is empty where there is none.
func count(n *int) string {
	if n == nil {
		return ""
	}
	return strconv.Itoa(*n)
}

func find(t *testing.T, rows [][]string, name string) []string {
	t.Helper()
	for _, row := range rows {
		if row[0] == name {
			return row
		}
	}
	t.Fatalf("no row of %s in %v", name, rows)
	return nil
}

// same compares printed numbers, which have one digit behind the point.
func same(t *testing.T, what string, cells []string, want ...float64) {
	t.Helper()
	for i, w := range want {
		if v, err := strconv.ParseFloat(cells[i], 64); err != nil || math.Abs(v-w) > 0.051 {
			t.Errorf("%s: %v, want %v", what, cells, want)
			return
		}
	}
}
