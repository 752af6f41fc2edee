package api

import (
	"bytes"
	"cmp"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chainbound/valtrack/test/markdown"
)

// guide is a reader of the pages who does what they say, in the directory of the server. What differs
// from the pages is in substitutions, in the environment of the commands, and in exceptions.
type guide struct {
	server
	nats    string // address of a NATS server
	printed strings.Builder
	indices string // of concentration, as the first script prints them
}

// substitutions are what a reader puts in, and the addresses of the servers here, whose ports are free ones.
func (g *guide) substitutions() *strings.Replacer {
	return strings.NewReplacer(
		"http://127.0.0.1:8080", g.url,
		"localhost:4222", g.nats,
		"16Uiu2…", g.node.ID,
		"--network-dir DIR", "--network-dir data/devnet",
		" DIR/", " data/",
		"/srv/www/", "www/",
		"/var/lib/valtrack", "data",
		"part-00000001.parquet", g.part,
		"curl -s -N ", "curl -s -N --max-time 2 ", // a stream without an end
		"git clone https://github.com/chainbound/valtrack && cd valtrack", "true", // is done
	)
}

// blocks runs those of all pages.
func blocks(t *testing.T, s server) {
	g := &guide{server: s}
	g.prepare(t)
	byLanguage := map[string][]markdown.Block{}
	for _, b := range pages(t) {
		switch {
		case b.ForClickHouse() || b.FromStore():
		case slices.Contains([]string{"shell", "sh", "bash", "console"}, b.Language):
			byLanguage["shell"] = append(byLanguage["shell"], b)
		default:
			byLanguage[b.Language] = append(byLanguage[b.Language], b)
		}
	}
	for _, of := range []struct {
		language string
		least    int
		run      func(t *testing.T, b markdown.Block)
	}{
		{"shell", 10, g.shell}, // the first: others read what it writes
		{"python", 10, g.script},
		{"r", 2, g.script},
		{"nats", 1, g.natsConfig},
		{"", 2, g.output}, // the last: it reads what the others have printed
	} {
		if of.language == "python" { // these and R see the nodes of one moment
			to := strconv.FormatInt(time.Now().UnixMilli(), 10)
			g.bash(t, "valtrack export nodes --data-dir data --to "+to+" --out nodes.parquet\nvaltrack export nodes --data-dir data --to "+to+" --out nodes.csv")
		}
		for _, b := range byLanguage[of.language] {
			t.Run(b.String(), func(t *testing.T) { of.run(t, b) })
		}
		if found := len(byLanguage[of.language]); found < of.least {
			t.Errorf("%d blocks of %q", found, of.language)
		}
	}
	t.Run("sql", func(t *testing.T) { g.queries(t, byLanguage["sql"]) })
}

// prepare makes what the pages take as given: a NATS server, a list of excluded nodes, DuckDB's
// command, and one report, which the pages name in a sentence.
func (g *guide) prepare(t *testing.T) {
	path, err := exec.Command("go", "tool", "-modfile=../../tools/go.mod", "-n", "nats-server").Output()
	if err != nil {
		t.Fatalf("nats-server: %v", err)
	}
	dir := filepath.Join(g.dir, programs)
	for _, made := range []string{dir, filepath.Join(g.dir, "www")} {
		if err := os.Mkdir(made, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(strings.TrimSpace(string(path)), filepath.Join(dir, "nats-server")); err != nil {
		t.Fatal(err)
	}
	duckdb, err := filepath.Abs("../duckdb/sql.mjs")
	if err != nil {
		t.Fatal(err)
	}
	for path, text := range map[string]string{
		filepath.Join(dir, "duckdb"):          "#!/bin/sh\n[ \"$1\" = -c ] && printf %s \"$2\" | node '" + duckdb + "'\n",
		filepath.Join(g.dir, "exclude.txt"):   "192.0.2.1 # asked us\n",
		filepath.Join(g.dir, "valtrack.yaml"): "max-watched: 200\n",
		filepath.Join(g.dir, ".curlrc"):       "fail\nnoproxy = *\n",
	} {
		if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	nats := startService(t, g.dir, "nats-server -js -sd "+t.TempDir()+" -a 127.0.0.1 -p -1", g.environment())
	g.nats = nats.wait(t, regexp.MustCompile(`client connections on (127\.0\.0\.1:\d+)`))[1]
	g.bash(t, "./valtrack report\n")
}

// bash runs commands as a shell does that stops at the first failure.
func (g *guide) bash(t *testing.T, script string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", script)
	cmd.Dir, cmd.Env = g.dir, g.environment("ID="+g.node.ID, "KEY="+g.key)
	out, err := cmd.CombinedOutput()
	g.printed.Write(out)
	if err != nil {
		t.Errorf("%v\n%.2000s\nof\n%s", err, out, script)
	}
}

var (
	isService = regexp.MustCompile(`(^|&& *)([A-Z_]+=\S+ )*(\./)?valtrack (run|sentry|consumer|devnet)\b|\bvaltrack .*--every\b`)
	isUp      = regexp.MustCompile(`(?m)msg=(crawling|consuming|"wrote the devnet files")|^files +\d+`) // the last: a site
	inShell   = regexp.MustCompile(`(?:^|[;&|] *|-- )(?:\./)?(valtrack [^;&|>#]*)`)
)

// shell runs a block's commands. Those that run until they are stopped go on beside the next ones,
// as in another terminal, and are stopped at the end of the block.
func (g *guide) shell(t *testing.T, b markdown.Block) {
	run, others := skip(b)
	for _, line := range others {
		for _, m := range inShell.FindAllStringSubmatch(line, -1) {
			g.understood(t, m[1])
		}
	}
	lines, err := commands(g.substitutions().Replace(run))
	if err != nil {
		t.Fatal(err)
	}
	script := ""
	for _, line := range lines {
		if line == g.run.name { // it is what runs here
			continue
		}
		if !isService.MatchString(line) {
			if strings.Contains(line, "--max-time") {
				line = "{ " + line + "\n} || [ $? = 28 ]" // what curl ends with then
			}
			script += line + "\n"
			continue
		}
		g.bash(t, script)
		script = ""
		s := startService(t, g.dir, line, g.environment(g.settings(t, line)...))
		s.wait(t, isUp)
		defer func() {
			s.stop(t)
			g.printed.WriteString(s.printed())
		}()
	}
	g.bash(t, script)
}

// settings are those of a service for what the page leaves open: free ports of loopback, a data
// directory of its own, and the devnet for a network.
func (g *guide) settings(t *testing.T, line string) []string {
	out := []string{"VALTRACK_HTTP=127.0.0.1:0", "VALTRACK_LISTEN=127.0.0.1", "VALTRACK_PORT=0", "VALTRACK_QUIC_PORT=0",
		"VALTRACK_DEVNET_NODES=8", "VALTRACK_DEVNET_SLOT=250ms", "VALTRACK_DATA_DIR=" + t.TempDir()}
	switch command, _, _ := strings.Cut(line, " #"); {
	case strings.Contains(command, "--network"):
	case strings.Contains(command, "valtrack run"):
		out = append(out, "VALTRACK_NETWORK=devnet")
	default:
		out = append(out, "VALTRACK_NETWORK_DIR="+filepath.Join(g.dir, "data", "devnet"))
	}
	return out
}

// understood: the command that is not run has options that exist.
func (g *guide) understood(t *testing.T, typed string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "bash", "-c", typed+" --help")
	cmd.Dir, cmd.Env = g.dir, g.environment()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%s: %v\n%s", typed, err, out)
	}
}

var keyLine = regexp.MustCompile(`(?m)^# (api.*"key".*)$`)

// script runs an example for Python or R; where a line for a key is commented out, also with it.
func (g *guide) script(t *testing.T, b markdown.Block) {
	code := g.substitutions().Replace(b.Code)
	for _, text := range slices.Compact([]string{code, keyLine.ReplaceAllString(code, "$1")}) {
		cmd := exec.CommandContext(t.Context(), g.python, "-c", text)
		if b.Language == "r" {
			load := "invisible(0)"
			if strings.Contains(text, "library(httr2)") {
				load = "library(httr2); library(jsonlite)"
			}
			if exec.Command("Rscript", "-e", load).Run() != nil {
				t.Skip("NOT RUN: there is no Rscript, or it lacks httr2 and jsonlite (Debian: r-cran-httr2, r-cran-jsonlite)")
			}
			cmd = exec.CommandContext(t.Context(), "Rscript", "-e", text)
		}
		cmd.Dir, cmd.Env = g.dir, g.environment()
		out, err := cmd.CombinedOutput()
		g.printed.Write(out)
		if err != nil || len(bytes.TrimSpace(out)) == 0 {
			t.Errorf("%v\n%s\nof\n%s", err, out, text)
		}
		if printed := indices(string(out)); strings.Contains(printed, "HHI") {
			if g.indices = cmp.Or(g.indices, printed); printed != g.indices {
				t.Errorf("concentration is\n%s\nand here\n%s", g.indices, printed)
			}
		}
	}
}

// indices has no digits that rounding may change, and R's word for none.
func indices(out string) string {
	out = regexp.MustCompile(`HHI (\d+)\S*`).ReplaceAllString(strings.ReplaceAll(out, "None", "NA"), "HHI $1")
	return regexp.MustCompile(`(?m) +$`).ReplaceAllString(out, "")
}

// natsConfig: a NATS server takes it.
func (g *guide) natsConfig(t *testing.T, b markdown.Block) {
	if err := os.WriteFile(filepath.Join(g.dir, "nats.conf"), []byte(b.Code), 0o600); err != nil {
		t.Fatal(err)
	}
	g.bash(t, "nats-server -t -c nats.conf")
}

// queries runs the SQL for DuckDB. Each has rows.
func (g *guide) queries(t *testing.T, blocks []markdown.Block) {
	var sql []string
	for _, b := range blocks {
		sql = append(sql, g.substitutions().Replace(b.Code))
	}
	input, err := json.Marshal(sql)
	if err != nil {
		t.Fatal(err)
	}
	script, err := filepath.Abs("../duckdb/queries.mjs")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "node", script)
	cmd.Dir, cmd.Stdin = g.dir, bytes.NewReader(input)
	out, err := cmd.Output()
	var results []struct {
		Rows  int
		Error string
	}
	if err != nil || json.Unmarshal(out, &results) != nil || len(results) != len(sql) || len(sql) < 10 {
		t.Fatalf("%d queries: %v\n%s", len(sql), err, out)
	}
	for i, r := range results {
		if r.Error != "" || r.Rows == 0 {
			t.Errorf("%s: %d rows, %s, of\n%s", blocks[i], r.Rows, r.Error, sql[i])
		}
	}
}

// output: each line of a block without a language is as a command printed it, but for numbers,
// widths, and what … stands for.
func (g *guide) output(t *testing.T, b markdown.Block) {
	shown, _ := skip(b)
	printed := g.printed.String() + g.run.printed()
	for line := range strings.Lines(shown) {
		line = strings.TrimSpace(line)
		// A status line has it only while events wait for their commit.
		shorter := regexp.MustCompile(`commit_in=\S+ `).ReplaceAllString(line, "")
		if regexp.MustCompile(`(?m)^\s*(` + shapeOf(line) + `|` + shapeOf(shorter) + `)\s*$`).MatchString(printed) {
			continue
		}
		like := "none that begins so"
		if message := regexp.MustCompile(`msg=\S+`).FindString(line); message != "" {
			like = strings.Join(regexp.MustCompile(`(?m)^.*`+message+`.*$`).FindAllString(printed, 3), "\n")
		}
		t.Errorf("no command prints a line like\n%s\nbut\n%s", line, like)
	}
}

// shapeOf is a regular expression for lines that differ from this one in numbers, widths, and what … stands for.
func shapeOf(line string) string {
	shape, last := "", 0
	for _, m := range regexp.MustCompile(`[\w:-]*…|\d+(\.\d+)?|\s+`).FindAllStringIndex(line, -1) {
		shape += regexp.QuoteMeta(line[last:m[0]])
		switch text := line[m[0]:m[1]]; {
		case strings.HasSuffix(text, "…"):
			shape += `\S*`
		case strings.TrimSpace(text) == "":
			shape += `\s+`
		default:
			shape += `\d+(\.\d+)?`
		}
		last = m[1]
	}
	return shape + regexp.QuoteMeta(line[last:])
}
