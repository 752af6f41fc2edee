package e2e

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// result is what DuckDB answered to a query.
type result struct {
	Rows  int
	Data  []map[string]any // the first rows
	Error string
}

// recipes are the queries of docs/recipes.md whose numbers are those of a report.
type recipes struct {
	data, network string // the data directory; a directory of its network with a fork to come
	forks         forksReport
	check         map[string]func(*testing.T, []map[string]any) // by the query
}

type forksReport struct {
	Next struct {
		Digest string `json:"digest"`
		Epoch  uint64 `json:"epoch"`
	} `json:"next"`
	Versions []struct {
		Client   string  `json:"client"`
		Nodes    float64 `json:"nodes"`
		Ready    float64 `json:"ready"`
		NotReady float64 `json:"not_ready"`
		Unknown  float64 `json:"unknown"`
	} `json:"versions"`
	Announced []struct {
		NFD   *string `json:"nfd"`
		Nodes float64 `json:"nodes"`
	} `json:"announced"`
}

const nextVersion, noDigest = "0xde7e7007", "0x00000000"

// newRecipes knows what some of the queries should answer for a data directory that nobody
// writes to, and gives the queries to run: with the fork to come where they ask for one.
func newRecipes(t *testing.T, data string, queries []string) (recipes, []string) {
	t.Helper()
	r := recipes{data: data, network: t.TempDir(), check: map[string]func(*testing.T, []map[string]any){}}
	for _, name := range []string{"bootstrap_nodes.txt", "config.yaml", "genesis_time.txt", "genesis_validators_root.txt"} {
		text, err := os.ReadFile(filepath.Join(data, "devnet", name))
		if err != nil {
			t.Fatal(err)
		}
		if name == "config.yaml" {
			text = fmt.Appendf(text, "\nGLOAS_FORK_VERSION: %s\nGLOAS_FORK_EPOCH: 100000\n", nextVersion)
		}
		if err := os.WriteFile(filepath.Join(r.network, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r.report(t, &r.forks, "--forks", "--network-dir", r.network)
	var all []string
	for _, q := range queries {
		// The devnet's nodes all have the weight 1, so their sums do not show it.
		if strings.Contains(q, "validators_mean") && !strings.Contains(q, "validators_mean * weight") && !strings.Contains(q, "validators_mean * coalesce(weight, 1)") {
			t.Errorf("means without their weights in the query\n%s", q)
		}
		switch {
		case strings.Contains(q, "sum(p_validator * weight)"):
			r.check[q] = r.totals
		case strings.HasPrefix(q, "SELECT client, count(*) AS nodes, sum(validators_mean * weight)"):
			r.check[q] = r.clients
		case strings.Contains(q, "sum(p_validator * coalesce(weight, 1))"):
			r.check[q] = r.hour
		case strings.Contains(q, "validators_shared_sd"):
			r.check[q] = r.ownGroups
		case strings.Contains(q, "hhi_nodes"):
			r.check[q] = r.concentration
		case strings.Contains(q, "'0x…' AS digest"):
			q = strings.Replace(q, "'0x…' AS version, 0 AS epoch", fmt.Sprintf("'%s' AS version, %d AS epoch", nextVersion, r.forks.Next.Epoch), 1)
			none := strings.Replace(q, "0x…", noDigest, 1) // as if that were the right one
			q = strings.Replace(q, "0x…", r.forks.Next.Digest, 1)
			r.check[q], r.check[none] = r.readiness, r.announced
			all = append(all, none)
		}
		all = append(all, q)
	}
	if len(r.check) != 7 {
		t.Errorf("docs/recipes.md has %d of the queries whose numbers are a report's", len(r.check))
	}
	return r, all
}

func (r recipes) report(t *testing.T, into any, args ...string) {
	t.Helper()
	if err := json.Unmarshal(valtrack(t, append([]string{"report", "--json", "--data-dir", r.data}, args...)...), into); err != nil {
		t.Fatal(err)
	}
}

type totalsReport struct {
	LastSeen   int64 `json:"last_seen"`
	Validators struct {
		Nodes          float64 `json:"nodes"`
		WithValidators float64 `json:"with_validators"`
		Validators     float64 `json:"validators"`
		Clients        []struct {
			Client     string  `json:"client"`
			Nodes      float64 `json:"nodes"`
			Validators float64 `json:"validators"`
		} `json:"clients"`
	} `json:"validators"`
}

func (r recipes) totals(t *testing.T, rows []map[string]any) {
	var want totalsReport
	r.report(t, &want)
	v := want.Validators
	equal(t, rows[0], map[string]float64{"nodes": v.Nodes, "with_validators": v.WithValidators, "validators": v.Validators})
}

func (r recipes) clients(t *testing.T, rows []map[string]any) {
	var want totalsReport
	r.report(t, &want)
	if len(rows) != len(want.Validators.Clients) {
		t.Errorf("%d clients, want %d", len(rows), len(want.Validators.Clients))
	}
	for _, c := range want.Validators.Clients {
		equal(t, rowOf(t, rows, "client", c.Client), map[string]float64{"nodes": c.Nodes, "validators": c.Validators})
	}
}

func (r recipes) hour(t *testing.T, rows []map[string]any) {
	var all, want totalsReport
	r.report(t, &all)
	r.report(t, &want, "--to", strconv.FormatInt(all.LastSeen+1, 10))
	v := want.Validators
	equal(t, rows[len(rows)-1], map[string]float64{"nodes": v.Nodes, "with_validators": v.WithValidators, "validators": v.Validators})
}

// ownGroups: sums, intervals and shares are those of the report by country.
func (r recipes) ownGroups(t *testing.T, rows []map[string]any) {
	var want struct {
		Groups []struct {
			Name        string  `json:"name"`
			Attachments float64 `json:"attachments"`
			Low         float64 `json:"attachments_low"`
			High        float64 `json:"attachments_high"`
			Share       float64 `json:"attachments_share"`
			ShareLow    float64 `json:"share_low"`
			ShareHigh   float64 `json:"share_high"`
		} `json:"groups"`
	}
	r.report(t, &want, "--by", "country")
	if len(want.Groups) == 0 {
		t.Error("no countries")
	}
	for _, g := range want.Groups[:min(5, len(want.Groups))] { // result has the first rows
		if g.Attachments == 0 {
			continue
		}
		equal(t, rowOf(t, rows, "owner", g.Name), map[string]float64{
			"validators": g.Attachments, "validators_low": g.Low, "validators_high": g.High,
			"share": g.Share, "share_low": g.ShareLow, "share_high": g.ShareHigh,
		})
	}
}

func (r recipes) concentration(t *testing.T, rows []map[string]any) {
	type holders struct {
		HHI   float64  `json:"hhi"`
		Third *float64 `json:"third"`
	}
	for _, by := range []string{"country", "network", "cloud", "client"} {
		var want struct {
			Concentration struct {
				Nodes       holders `json:"nodes"`
				Attachments holders `json:"attachments"`
			} `json:"concentration"`
		}
		r.report(t, &want, "--by", by)
		row := rowOf(t, rows, "by", by)
		for what, h := range map[string]holders{"nodes": want.Concentration.Nodes, "validators": want.Concentration.Attachments} {
			numbers := map[string]float64{"hhi_" + what: math.Round(10*h.HHI) / 10}
			if h.Third != nil {
				numbers["third_of_"+what] = *h.Third
			} else if row["third_of_"+what] != nil {
				t.Errorf("%v, want no third", row)
			}
			equal(t, row, numbers)
		}
	}
}

func (r recipes) readiness(t *testing.T, rows []map[string]any) {
	want := map[string]map[string]float64{}
	for _, v := range r.forks.Versions {
		sums := want[v.Client]
		if sums == nil {
			sums = map[string]float64{}
			want[v.Client] = sums
		}
		for name, n := range map[string]float64{"nodes": v.Nodes, "ready": v.Ready, "not_ready": v.NotReady, "unknown": v.Unknown} {
			sums[name] += n
		}
	}
	if len(rows) != len(want) {
		t.Errorf("%d clients, want %d", len(rows), len(want))
	}
	for client, numbers := range want {
		equal(t, rowOf(t, rows, "client", client), numbers)
	}
}

// announced: nodes that announce no fork are ready for none.
func (r recipes) announced(t *testing.T, rows []map[string]any) {
	have, want := 0.0, 0.0
	for _, row := range rows {
		have += float(row["ready"])
	}
	for _, a := range r.forks.Announced {
		if a.NFD != nil && *a.NFD == noDigest {
			want += a.Nodes
		}
	}
	if have != want || want == 0 {
		t.Errorf("%v nodes announce %s, want %v", have, noDigest, want)
	}
}

func rowOf(t *testing.T, rows []map[string]any, column, value string) map[string]any {
	t.Helper()
	for _, row := range rows {
		if row[column] == value {
			return row
		}
	}
	t.Fatalf("no row of %s", value)
	return nil
}

func equal(t *testing.T, row map[string]any, want map[string]float64) {
	t.Helper()
	for name, w := range want {
		if v := float(row[name]); !(math.Abs(v-w) <= 1e-6*math.Max(1, math.Abs(w))) {
			t.Errorf("%s of %v, want %v", name, row, w)
		}
	}
}

// float is a number as DuckDB writes it into JSON: large integers are texts.
func float(v any) float64 {
	f, err := strconv.ParseFloat(fmt.Sprint(v), 64)
	if err != nil {
		return math.NaN()
	}
	return f
}
