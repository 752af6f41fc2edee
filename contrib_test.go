package main

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// program gives the path of a program of another project, or skips the test.
func program(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if errors.Is(err, exec.ErrNotFound) {
		t.Skipf("%s is not installed", name)
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// output runs a program in a directory, which has to succeed.
func output(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%s %s: %v\n%s", filepath.Base(name), strings.Join(args, " "), err, out)
	}
	return string(out)
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

type alert struct {
	Alert, Expr, For    string
	Labels, Annotations map[string]string
}

const rulesDir = "contrib/prometheus"

func alerts(t *testing.T) (out []alert) {
	t.Helper()
	var file struct{ Groups []struct{ Rules []alert } }
	if err := yaml.Unmarshal([]byte(read(t, rulesDir+"/valtrack.rules.yml")), &file); err != nil {
		t.Fatal(err)
	}
	for _, g := range file.Groups {
		out = append(out, g.Rules...)
	}
	if len(out) < 20 {
		t.Fatalf("%d alerts", len(out))
	}
	return out
}

var metricName = regexp.MustCompile(`valtrack_[a-z_]+[a-z]`)

// metricsIn are the metrics of an expression by the names that docs/metrics.md has.
func metricsIn(expr string) (names []string) {
	for _, name := range metricName.FindAllString(expr, -1) {
		names = append(names, strings.TrimSuffix(name, "_bucket"))
	}
	return names
}

// The page tells people what an alert means, so each condition there has a rule, and
// each rule watches what the page explains.
func TestAlertsAreThoseOfThePage(t *testing.T) {
	page := read(t, "docs/operations.md")
	_, table, ok := strings.Cut(page, "\n## Health and alerts\n")
	table, _, _ = strings.Cut(table, "\n## ")
	if !ok {
		t.Fatal("docs/operations.md has no section of alerts")
	}
	var explained, watched []string
	for line := range strings.Lines(table) {
		if cells := strings.Split(line, "|"); len(cells) > 2 {
			explained = append(explained, metricsIn(cells[1])...)
		}
	}
	cases := read(t, rulesDir+"/valtrack.rules.test.yml")
	for _, a := range alerts(t) {
		metrics := metricsIn(a.Expr)
		watched = append(watched, metrics...)
		for _, m := range metrics {
			if !slices.Contains(explained, m) {
				t.Errorf("docs/operations.md, \"Health and alerts\", does not explain %s, which %s watches", m, a.Alert)
			}
		}
		if !slices.Contains([]string{"critical", "warning", "info"}, a.Labels["severity"]) || a.Annotations["summary"] == "" || a.Annotations["description"] == "" {
			t.Errorf("%s: labels %v, annotations %v", a.Alert, a.Labels, a.Annotations)
		}
		if !strings.HasSuffix(a.Annotations["runbook_url"], "/docs/operations.md#health-and-alerts") {
			t.Errorf("%s: runbook %q", a.Alert, a.Annotations["runbook_url"])
		}
		if !strings.Contains(cases, `alertname="`+a.Alert+`"`) {
			t.Errorf("no case in valtrack.rules.test.yml has %s fire", a.Alert)
		}
	}
	for _, m := range explained {
		if !slices.Contains(watched, m) {
			t.Errorf("docs/operations.md wants an alert on %s, which no rule watches", m)
		}
	}
}

type dashboardPanel struct {
	ID                       int
	Title, Type, Description string
	GridPos                  struct{ H, W, X, Y int }
	FieldConfig              struct{ Defaults struct{ Unit string } }
	Targets                  []struct{ Expr string }
}

func panels(t *testing.T) []dashboardPanel {
	t.Helper()
	var dashboard struct{ Panels []dashboardPanel }
	if err := json.Unmarshal([]byte(read(t, "contrib/grafana/valtrack.json")), &dashboard); err != nil {
		t.Fatal(err)
	}
	if len(dashboard.Panels) < 30 {
		t.Fatalf("%d panels", len(dashboard.Panels))
	}
	return dashboard.Panels
}

// There is no Grafana here to load it: what can be wrong in the file is checked.
func TestDashboard(t *testing.T) {
	seen := map[any]string{}
	for _, p := range panels(t) {
		for _, key := range []any{p.ID, p.Title} {
			if other, taken := seen[key]; taken {
				t.Errorf("panels %q and %q are both %v", other, p.Title, key)
			}
			seen[key] = p.Title
		}
		for x := range p.GridPos.W {
			for y := range p.GridPos.H {
				at := [2]int{p.GridPos.X + x, p.GridPos.Y + y}
				if other, taken := seen[at]; taken || at[0] >= 24 {
					t.Errorf("panel %q is at %v, where %q is or the screen ends", p.Title, at, other)
				}
				seen[at] = p.Title
			}
		}
		if p.Type != "row" && (len(p.Targets) == 0 || p.Description == "" || p.FieldConfig.Defaults.Unit == "") {
			t.Errorf("panel %q lacks an expression, a description or a unit", p.Title)
		}
	}
}

func TestMetricsOfAlertsAndDashboardExist(t *testing.T) {
	page := read(t, "docs/metrics.md")
	check := func(where, expr string) {
		for _, name := range metricsIn(expr) {
			if !strings.Contains(page, "`"+name+"`") {
				t.Errorf("%s uses %s, which is not in docs/metrics.md", where, name)
			}
		}
	}
	for _, a := range alerts(t) {
		check(a.Alert, a.Expr)
	}
	for _, p := range panels(t) {
		for _, target := range p.Targets {
			check(p.Title, target.Expr)
		}
	}
	check("valtrack.rules.test.yml", read(t, rulesDir+"/valtrack.rules.test.yml"))
}

// promtool parses every expression, and tries each alert on the series of its fault.
func TestAlertsFire(t *testing.T) {
	promtool := program(t, "promtool")
	output(t, rulesDir, promtool, "check", "config", "prometheus.yml")
	output(t, rulesDir, promtool, "test", "rules", "valtrack.rules.test.yml")
	checkCollector(t, promtool)
	type rule struct {
		Record string `yaml:"record"`
		Expr   string `yaml:"expr"`
	}
	var rules []rule
	for _, p := range panels(t) {
		for _, target := range p.Targets {
			rules = append(rules, rule{"panel:" + strings.Repeat("x", len(rules)+1), strings.ReplaceAll(target.Expr, "$__rate_interval", "1m")})
		}
	}
	text, err := yaml.Marshal(map[string]any{"groups": []any{map[string]any{"name": "dashboard", "rules": rules}}})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "dashboard.yml")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	output(t, ".", promtool, "check", "rules", path)
}

// checkCollector: what a collector would scrape is a configuration of Prometheus.
func checkCollector(t *testing.T, promtool string) {
	t.Helper()
	var collector struct {
		Receivers struct{ Prometheus struct{ Config yaml.Node } }
	}
	if err := yaml.Unmarshal([]byte(read(t, "contrib/opentelemetry/collector.yaml")), &collector); err != nil {
		t.Fatal(err)
	}
	text, err := yaml.Marshal(&collector.Receivers.Prometheus.Config)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "prometheus.yml")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if out := output(t, ".", promtool, "check", "config", path); !strings.Contains(string(text), "9110") {
		t.Errorf("%s: %s", text, out)
	}
}

// The units parse without a warning, and confine what they start.
func TestUnits(t *testing.T) {
	analyze := program(t, "systemd-analyze")
	files, err := filepath.Glob("contrib/systemd/*.service")
	if err != nil || len(files) < 4 {
		t.Fatal(files, err)
	}
	dir := t.TempDir()
	for _, file := range files {
		// verify wants the program to exist.
		unit := read(t, file)
		runnable := regexp.MustCompile(`(?m)^ExecStart=/usr/local/bin/\S+`).ReplaceAllString(unit, "ExecStart=/bin/true")
		path := filepath.Join(dir, filepath.Base(file))
		if err := os.WriteFile(path, []byte(runnable), 0o600); err != nil {
			t.Fatal(err)
		}
		if out := output(t, dir, analyze, "verify", "--man=no", path); strings.Contains(out, filepath.Base(file)) {
			t.Errorf("%s: %s", file, out)
		}
		output(t, dir, analyze, "security", "--offline=true", "--threshold=29", path)
		if foreign := strings.Contains(unit, "/nats-server"); foreign == strings.Contains(unit, "\nType=notify\nNotifyAccess=main\nWatchdogSec=") {
			t.Errorf("%s: Valtrack notifies the service manager, nats-server does not", file)
		}
	}
}

// There is no container engine here: the files are checked as far as that goes without one.
func TestContainerFiles(t *testing.T) {
	if read(t, "contrib/kubernetes/events.json") != read(t, "contrib/nats/events.json") {
		t.Error("contrib/kubernetes/events.json is not contrib/nats/events.json, of which it is a copy, since kustomize reads no other directory")
	}
	if read(t, ".dockerignore") != read(t, ".containerignore") {
		t.Error(".dockerignore is not .containerignore")
	}
	toolchain := regexp.MustCompile(`(?m)^go (\S+)$`).FindStringSubmatch(read(t, "go.mod"))[1]
	if !strings.Contains(read(t, "Containerfile"), "golang:"+toolchain+"-") {
		t.Errorf("Containerfile does not build with Go %s, which go.mod wants", toolchain)
	}
	var compose struct {
		Services map[string]struct {
			Image    string
			Ports    []string
			ReadOnly bool `yaml:"read_only"`
			Volumes  []string
		}
		Volumes map[string]any
	}
	if err := yaml.Unmarshal([]byte(read(t, "contrib/container/compose.yaml")), &compose); err != nil {
		t.Fatal(err)
	}
	for name, s := range compose.Services {
		if s.Image == "valtrack" && !s.ReadOnly {
			t.Errorf("compose.yaml: the root of %s is writable", name)
		}
		if s.Image != "valtrack" && !regexp.MustCompile(`:[^:]*\d`).MatchString(s.Image) {
			t.Errorf("compose.yaml: the image %s has no version", s.Image)
		}
		for _, port := range s.Ports {
			if !strings.HasPrefix(port, "127.0.0.1:") && !strings.HasPrefix(name, "sentry-") {
				t.Errorf("compose.yaml: port %s of %s is open to the internet", port, name)
			}
		}
		for _, v := range s.Volumes {
			from, _, _ := strings.Cut(v, ":")
			if _, named := compose.Volumes[from]; named {
				continue
			}
			if _, err := os.Stat(filepath.Join("contrib/container", from)); err != nil {
				t.Errorf("compose.yaml: %s: %v", name, err)
			}
		}
	}
	if promtool, err := exec.LookPath("promtool"); err == nil {
		output(t, "contrib/container", promtool, "check", "config", "--syntax-only", "prometheus.yml")
	}
}

// Each pod fits "restricted", but for the ports of sentries, and each resource that a
// kustomization names exists.
func TestKubernetesFiles(t *testing.T) {
	const dir = "contrib/kubernetes/"
	var kustomization struct{ Resources []string }
	if err := yaml.Unmarshal([]byte(read(t, dir+"kustomization.yaml")), &kustomization); err != nil {
		t.Fatal(err)
	}
	pods := 0
	for _, file := range kustomization.Resources {
		for dec := yaml.NewDecoder(strings.NewReader(read(t, dir+file))); ; {
			var object struct {
				Kind string
				Spec struct{ Template podTemplate }
			}
			if err := dec.Decode(&object); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			pod := object.Spec.Template.Spec
			for _, c := range pod.Containers {
				pods++
				if s := c.SecurityContext; s.AllowPrivilegeEscalation == nil || *s.AllowPrivilegeEscalation || !s.ReadOnlyRootFilesystem || !slices.Equal(s.Capabilities.Drop, []string{"ALL"}) ||
					!pod.SecurityContext.RunAsNonRoot || pod.SecurityContext.SeccompProfile.Type != "RuntimeDefault" || c.Resources.Limits["memory"] == "" {
					t.Errorf("%s: %s is not confined", file, c.Name)
				}
			}
		}
	}
	if pods != 4 {
		t.Errorf("%d containers", pods)
	}
}

type podTemplate struct {
	Spec struct {
		SecurityContext struct {
			RunAsNonRoot   bool                  `yaml:"runAsNonRoot"`
			SeccompProfile struct{ Type string } `yaml:"seccompProfile"`
		} `yaml:"securityContext"`
		Containers []struct {
			Name            string
			SecurityContext struct {
				AllowPrivilegeEscalation *bool                   `yaml:"allowPrivilegeEscalation"`
				ReadOnlyRootFilesystem   bool                    `yaml:"readOnlyRootFilesystem"`
				Capabilities             struct{ Drop []string } `yaml:"capabilities"`
			} `yaml:"securityContext"`
			Resources struct{ Limits map[string]string }
		}
	}
}
