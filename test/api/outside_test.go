package api

import (
	"cmp"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// The API from outside: one server for all.
func TestFromOutside(t *testing.T) {
	interpreter := python(t)
	s := start(t)
	t.Run("schemathesis", func(t *testing.T) { fuzz(t, interpreter, s) })
	t.Run("schemathesis with a key", func(t *testing.T) { fuzz(t, interpreter, s, "--header", "X-API-Key: "+s.key) })
	t.Run("examples", func(t *testing.T) { examples(t, interpreter, s) })
	t.Run("recipes", func(t *testing.T) { recipes(t, interpreter, s) })
	t.Run("figures", func(t *testing.T) { figures(t, interpreter, s) })
}

// fuzz: whatever is asked, no answer is an error of the server, and each is as the specification
// says, in its status, type, schema and headers.
func fuzz(t *testing.T, interpreter string, s server, extra ...string) {
	// By default few requests, the same each time.
	seconds, seed := os.Getenv("VALTRACK_FUZZ_SECONDS"), "1"
	if seconds != "" {
		seed = cmp.Or(os.Getenv("VALTRACK_FUZZ_SEED"), seed)
	}
	config, err := filepath.Abs("schemathesis.toml")
	if err != nil {
		t.Fatal(err)
	}
	args := append([]string{
		"--config-file", config, "run", s.url + "/openapi.json", "--url", s.url, "--no-color", "--warnings", "off", "--generation-database", "none",
		"--request-timeout", "30", "--continue-on-failure", "--max-time", cmp.Or(seconds, "10"), "--seed", seed,
		// Parameters have rules that a schema cannot express, such as from <= to.
		"--exclude-checks", "positive_data_acceptance",
	}, extra...)
	cmd := exec.CommandContext(t.Context(), filepath.Join(filepath.Dir(interpreter), "schemathesis"), args...)
	cmd.Dir = t.TempDir() // for its cache
	cmd.Env = append(os.Environ(), "VALTRACK_NODE="+s.node.ID, "VALTRACK_PART="+s.part)
	out, err := cmd.CombinedOutput()
	text := strings.ReplaceAll(string(out), s.key, "KEY")
	if err != nil || !strings.Contains(text, "Test cases:") {
		t.Fatalf("%v\n%s", err, text)
	}
	_, summary, _ := strings.Cut(text, "Test cases:")
	t.Log(strings.TrimSpace(summary))
}

// examples runs those of docs/recipes.md as they are, but for the address, with a key and without:
// what is commented out for a key is put in.
func examples(t *testing.T, interpreter string, s server) {
	page, err := os.ReadFile("../../docs/recipes.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(page), "\n## From the API\n")
	section, _, _ = strings.Cut(section, "\n## ")
	found := map[string]int{}
	for _, m := range regexp.MustCompile("(?s)```(python|r)\n(.*?)```").FindAllStringSubmatch(section, -1) {
		language, code := m[1], strings.ReplaceAll(m[2], "http://127.0.0.1:8080", s.url)
		found[language]++
		withKey := regexp.MustCompile(`(?m)^# (api.*"key".*)$`).ReplaceAllString(code, "$1")
		for name, text := range map[string]string{"public": code, "with a key": strings.ReplaceAll(withKey, `"key"`, `"`+s.keyFile+`"`)} {
			t.Run(language+"/"+name, func(t *testing.T) {
				cmd := exec.CommandContext(t.Context(), interpreter, "-c", text)
				if language == "r" {
					if exec.Command("Rscript", "-e", "library(httr2); library(jsonlite)").Run() != nil {
						t.Skip("NOT RUN: there is no Rscript with httr2 and jsonlite (Debian: r-cran-httr2, r-cran-jsonlite)")
					}
					cmd = exec.CommandContext(t.Context(), "Rscript", "-e", text)
				}
				out, err := cmd.CombinedOutput()
				if err != nil || !strings.Contains(string(out), "nodes") {
					t.Errorf("%v\n%s", err, out)
				}
			})
		}
	}
	if found["python"] != 2 || found["r"] != 1 {
		t.Errorf("examples of %v in docs/recipes.md", found)
	}
}

// recipes runs those of docs/recipes.md for Polars, pandas and R as they are, beside the server that
// writes the data directory: those of concentration print the same. test/e2e runs those for DuckDB.
func recipes(t *testing.T, interpreter string, s server) {
	page, err := os.ReadFile("../../docs/recipes.md")
	if err != nil {
		t.Fatal(err)
	}
	text, _, _ := strings.Cut(string(page), "\n## From the API\n")
	now := strconv.FormatInt(time.Now().UnixMilli(), 10) // both with the same estimates
	for _, name := range []string{"nodes.parquet", "nodes.csv"} {
		export := exec.CommandContext(t.Context(), filepath.Join(s.dir, "valtrack"), "export", "nodes", "--data-dir", "data", "--to", now, "--out", name)
		export.Dir = s.dir
		if out, err := export.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	found, concentration := map[string]int{}, ""
	for _, m := range regexp.MustCompile("(?s)```(python|r)\n(.*?)```").FindAllStringSubmatch(text, -1) {
		found[m[1]]++
		cmd := exec.CommandContext(t.Context(), interpreter, "-c", m[2])
		if m[1] == "r" {
			if _, err := exec.LookPath("Rscript"); err != nil {
				t.Log("NOT RUN: there is no Rscript (Debian: r-base-core)")
				continue
			}
			cmd = exec.CommandContext(t.Context(), "Rscript", "-e", m[2])
		}
		cmd.Dir = s.dir
		out, err := cmd.CombinedOutput()
		if err != nil || len(out) == 0 {
			t.Errorf("%v\n%s\nof\n%s", err, out, m[2])
		}
		if strings.Contains(m[2], "HHI") {
			said := normal(string(out))
			if concentration = cmp.Or(concentration, said); said != concentration {
				t.Errorf("concentration is\n%s\nand\n%s\nof\n%s", concentration, said, m[2])
			}
		}
	}
	if found["python"] < 10 || found["r"] != 1 {
		t.Errorf("recipes of %v in docs/recipes.md", found)
	}
}

// normal has numbers without what rounding may change, and R's word for none.
func normal(out string) string {
	out = regexp.MustCompile(`HHI (\d+)\S*`).ReplaceAllString(strings.ReplaceAll(out, "None", "NA"), "HHI $1")
	return regexp.MustCompile(`(?m) +$`).ReplaceAllString(out, "")
}
