package api

import (
	"cmp"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The API from outside, and the blocks of the pages: one server for all.
func TestFromOutside(t *testing.T) {
	interpreter := python(t)
	s := start(t, interpreter)
	t.Run("schemathesis", func(t *testing.T) { fuzz(t, interpreter, s) })
	t.Run("schemathesis with a key", func(t *testing.T) { fuzz(t, interpreter, s, "--header", "X-API-Key: "+s.key) })
	t.Run("figures", func(t *testing.T) { figures(t, interpreter, s) })
	t.Run("blocks", func(t *testing.T) { blocks(t, s) })
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
