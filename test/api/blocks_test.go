package api

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/chainbound/valtrack/test/markdown"
)

// exception is what is not run of the pages' blocks: one line, without its comment, or a whole block, by its first line.
// What can be read is still checked: shell by bash -n, and the options of valtrack by valtrack.
type exception struct {
	line   string
	block  bool
	reason string
}

var exceptions = []exception{
	{"make test", false, "CI runs it as a step of its own"},
	{"nats-server -js -sd STORE", false, "one server runs for all blocks"},
	{"install -m 755 valtrack /usr/local/bin/ && useradd --system --home /var/lib/valtrack valtrack", true, "needs systemd; contrib_test.go checks the units"},
	{"install -m 755 valtrack nats-server /usr/local/bin/ && useradd --system --home /var/lib/valtrack valtrack", true, "needs systemd; contrib_test.go checks the units"},
	{"runuser -u valtrack -- valtrack report --data-dir /var/lib/valtrack", true, "needs systemd and a user of the service"},
	{"nats-server -js -sd STORE -n n1 -cluster_name valtrack -cluster nats://0.0.0.0:6222 -routes nats://n2:6222,nats://n3:6222", true, "needs three hosts; make soak-regions has them"},
	{"valtrack sentry --nats nats://localhost --nats-domain hub --crawler-location sgp --data-dir DIR", false, "needs the NATS server of a region; make soak-regions has one"},
	{"systemctl show -p IPIngressBytes,IPEgressBytes valtrack-run", false, "needs systemd"},
	{"apt-get install prometheus", true, "needs root and systemd; make check-ops runs Prometheus with these files"},
	{"<SHA-256 of the key> <name> [full|public] [revoked]", false, "the format of a file, not an output"},
	{"python3 -m venv figures-venv && figures-venv/bin/pip install -r contrib/paper/requirements.txt", true, "downloads packages; figures_test.go runs the script with those that make fuzz-api has installed"},
	{"valtrack publish dune --api-key-file FILE --namespace TEAM --every 6h", false, "needs an account of Dune"},
}

// bare is a line without its comment.
func bare(line string) string {
	return strings.TrimSpace(regexp.MustCompile(`\s# .*$`).ReplaceAllString(strings.TrimSpace(line), ""))
}

// skip gives the lines of a block that are run, and the others.
func skip(b markdown.Block) (run string, others []string) {
	for line := range strings.Lines(b.Code) {
		text := bare(line)
		i := slices.IndexFunc(exceptions, func(e exception) bool { return e.line == text || e.block && e.line == bare(b.First()) })
		if i < 0 {
			run += line
		} else {
			others = append(others, text)
		}
	}
	return run, others
}

// pages are the blocks of all pages.
func pages(t *testing.T) []markdown.Block {
	t.Helper()
	blocks, err := markdown.Blocks("../..")
	if err != nil {
		t.Fatal(err)
	}
	return blocks
}

// Every block of the pages is run by a test or is an exception, and each exception is there.
func TestEveryBlockOfThePagesIsRun(t *testing.T) {
	found := map[string]int{}
	for _, b := range pages(t) {
		for line := range strings.Lines(b.Code) {
			found[bare(line)]++
		}
		if err := readable(b); err != nil {
			t.Errorf("%s: %v\n%s", b, err, b.Code)
		}
	}
	for i, e := range exceptions {
		if found[e.line] == 0 {
			t.Errorf("no block has the exception %q any more", e.line)
		}
		if e.reason == "" || slices.ContainsFunc(exceptions[:i], func(other exception) bool { return other.line == e.line }) {
			t.Errorf("the exception %q has no reason, or is listed twice", e.line)
		}
	}
}

// readable says what is wrong with a block before it is run. Those of a language that is not here
// would not be run.
func readable(b markdown.Block) error {
	switch b.Language {
	case "sql", "python", "r", "": // are run, or compared with what is printed
		return nil
	case "shell", "sh", "bash", "console":
		_, err := commands(b.Code)
		return err
	case "yaml":
		var v any
		return yaml.Unmarshal([]byte(b.Code), &v)
	case "json":
		var v any
		return json.Unmarshal([]byte(b.Code), &v)
	case "ini": // of systemd
		for line := range strings.Lines(b.Code) {
			if !regexp.MustCompile(`^(\[[A-Z][a-z]+\]|[A-Z][A-Za-z]+=.*|#.*|)$`).MatchString(strings.TrimSpace(line)) {
				return fmt.Errorf("%q is neither a section nor a setting", line)
			}
		}
		return nil
	case "nats", "text": // nats-server reads it; and what is for people only
		return nil
	case "mermaid": // GitHub draws it
		opened := len(regexp.MustCompile(`(?m)^\s*subgraph `).FindAllString(b.Code, -1))
		closed := len(regexp.MustCompile(`(?m)^\s*end$`).FindAllString(b.Code, -1))
		if !regexp.MustCompile(`^(flowchart|graph|sequenceDiagram|stateDiagram|stateDiagram-v2|xychart-beta|pie|timeline)\b`).MatchString(b.Code) || opened != closed {
			return fmt.Errorf("no diagram that is known, or %d subgraphs and %d ends", opened, closed)
		}
		return nil
	}
	return fmt.Errorf("no test runs the language %q: add it to run_test.go, or give the block another one", b.Language)
}

// commands splits shell code into commands: lines, and more of them where bash finds one line incomplete.
func commands(code string) (out []string, err error) {
	command := ""
	for line := range strings.Lines(code) {
		command += line
		if strings.HasSuffix(command, "\\\n") {
			continue
		}
		var bash []byte
		if bash, err = exec.Command("bash", "-n", "-c", command).CombinedOutput(); err != nil {
			err = fmt.Errorf("bash -n: %s", bash)
			continue
		}
		if text := strings.TrimSpace(command); text != "" && !strings.HasPrefix(text, "#") {
			out = append(out, text)
		}
		command = ""
	}
	return out, err
}
