package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// getJSON asks a server of a test.
func getJSON(url string, into any) error {
	resp, err := http.Get(url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return json.NewDecoder(resp.Body).Decode(into)
}

// prometheus is a real server with the rules of contrib that scrapes each address every second.
func prometheus(t *testing.T, addresses ...string) (base string, p *process) {
	t.Helper()
	dir := t.TempDir()
	rules, err := filepath.Abs("../../contrib/prometheus/valtrack.rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf("global: {scrape_interval: 1s, evaluation_interval: 1s}\nrule_files: [%q]\nscrape_configs: [{job_name: valtrack, static_configs: [{targets: [%s]}]}]\n",
		rules, strings.Join(addresses, ", "))
	path := filepath.Join(dir, "prometheus.yml")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	address := "127.0.0.1:" + freePort(t)
	p = startProgram(t, "prometheus", "--config.file="+path, "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+address)
	p.waitLog(t, "Server is ready", time.Minute)
	return "http://" + address, p
}

// hasData reports whether an instant query returns at least one number.
func hasData(t *testing.T, base, expr string) bool {
	t.Helper()
	var answer struct {
		Status, Error string
		Data          struct{ Result []struct{ Value [2]any } }
	}
	if err := getJSON(base+"/api/v1/query?query="+url.QueryEscape(expr), &answer); err != nil || answer.Status != "success" {
		t.Fatalf("%s: %v %s", expr, err, answer.Error)
	}
	for _, r := range answer.Data.Result {
		if r.Value[1] != "NaN" {
			return true
		}
	}
	return false
}

// dashboardExpressions are those of contrib/grafana, of all instances.
func dashboardExpressions(t *testing.T) (exprs []string) {
	t.Helper()
	text, err := os.ReadFile("../../contrib/grafana/valtrack.json")
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Panels []struct{ Targets []struct{ Expr string } }
	}
	if err := json.Unmarshal(text, &dashboard); err != nil {
		t.Fatal(err)
	}
	variables := strings.NewReplacer("$__rate_interval", "30s", "$job", ".*", "$instance", ".*")
	for _, p := range dashboard.Panels {
		for _, target := range p.Targets {
			exprs = append(exprs, variables.Replace(target.Expr))
		}
	}
	return exprs
}

// A real Prometheus scrapes a sentry and a consumer with a NATS server between them, a run with
// the embedded one, and a sentry without any: each expression of the dashboard returns data,
// and every rule can be evaluated.
func TestPrometheusScrapesEveryProcess(t *testing.T) {
	if os.Getenv("VALTRACK_OPS") == "" {
		t.Skip("make check-ops runs this: it needs prometheus and promtool")
	}
	port := freePort(t)
	nats := "nats://127.0.0.1:" + port
	startNATS(t, port, t.TempDir())
	dir := startDevnet(t, 30)
	var addresses []string
	service := func(command string, args ...string) *process {
		address := "127.0.0.1:" + freePort(t)
		addresses = append(addresses, address)
		return start(t, append([]string{command, "--metrics", address, "--data-dir", t.TempDir(), "--log-format", "text"}, args...)...)
	}
	visits := []string{"--network-dir", dir, "--listen", "127.0.0.1", "--port", "0", "--quic-port", "0"}
	api := "127.0.0.1:" + freePort(t)
	consumer := service("consumer", "--nats", nats, "--segment-age", "1s", "--http", api, "--network-dir", dir)
	consumer.waitLog(t, "consuming", time.Minute)
	all := []*process{
		consumer,
		service("sentry", append([]string{"--nats", nats}, visits...)...),
		service("sentry", visits...),
		service("run", "--network", "devnet", "--devnet-nodes", "10", "--devnet-slot", "500ms", "--listen", "127.0.0.1", "--port", "0", "--quic-port", "0", "--http", "127.0.0.1:0"),
	}
	base, server := prometheus(t, addresses...)
	exprs := dashboardExpressions(t)
	t.Cleanup(func() {
		if len(exprs) > 0 {
			t.Logf("without data: %q", exprs)
		}
	})
	waitFor(t, 2*time.Minute, "data for the dashboard", func() bool {
		resp, err := http.Get("http://" + api + "/api/v1/summary")
		if err == nil {
			resp.Body.Close()
		}
		left := exprs[:0:0]
		for _, expr := range exprs {
			if !hasData(t, base, expr) {
				left = append(left, expr)
			}
		}
		exprs = left
		return len(exprs) == 0
	}, append(all, server)...)
	if !hasData(t, base, fmt.Sprintf("sum(up) == %d", len(addresses))) {
		t.Error("not all processes answer")
	}
	checkRules(t, base)
	for _, address := range addresses {
		checkScrape(t, address)
	}
}

func checkRules(t *testing.T, base string) {
	t.Helper()
	var rules struct {
		Data struct {
			Groups []struct {
				Rules []struct{ Name, Health, LastError string }
			}
		}
	}
	if err := getJSON(base+"/api/v1/rules", &rules); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, g := range rules.Data.Groups {
		for _, r := range g.Rules {
			if n++; r.Health != "ok" {
				t.Errorf("rule %s: %s %s", r.Name, r.Health, r.LastError)
			}
		}
	}
	if n < 20 {
		t.Errorf("%d rules", n)
	}
}

// checkScrape has promtool look at what a process serves. Of the Go runtime's own metrics it
// does not like all names.
func checkScrape(t *testing.T, address string) {
	t.Helper()
	resp, err := http.Get("http://" + address + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("promtool", "check", "metrics")
	cmd.Stdin = strings.NewReader(string(text))
	out, err := cmd.CombinedOutput()
	if strings.Contains(string(out), "valtrack_") || strings.Contains(string(out), "error while linting") {
		t.Errorf("promtool check metrics of %s: %v\n%s", address, err, out)
	}
}
