package api

import (
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

	"github.com/chainbound/valtrack/client"
)

// python is the interpreter that has the requirements.
func python(t *testing.T) string {
	t.Helper()
	path := os.Getenv("VALTRACK_PYTHON")
	if path == "" {
		t.Skip("NOT RUN: VALTRACK_PYTHON is not set; make fuzz-api sets it")
	}
	return path
}

// nodes is how many nodes the devnet has.
const nodes = 40

// server is a run with a devnet, whose API is filled.
type server struct {
	run     *service
	python  string // its interpreter
	dir     string // has the data directory data
	url     string
	key     string // of the scope full
	keyFile string
	node    client.Node // with validators
	part    string      // a file of metadata_events
}

// start starts the server as README says, in a directory that has what a clone has.
func start(t *testing.T, interpreter string) server {
	t.Helper()
	s := server{python: interpreter, dir: t.TempDir()}
	clone(t, s.dir)
	s.keyFile = filepath.Join(s.dir, "key")
	build := exec.CommandContext(t.Context(), "go", "build")
	build.Dir, build.Env = s.dir, s.environment()
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	out, err := exec.CommandContext(t.Context(), filepath.Join(s.dir, "valtrack"), "check", "key", "ops", "--json").Output()
	var key struct{ Key, Line string }
	if err == nil {
		err = json.Unmarshal(out, &key)
	}
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	s.key = key.Key
	for path, text := range map[string]string{s.keyFile: key.Key, filepath.Join(s.dir, "keys"): key.Line} {
		if err := os.WriteFile(path, []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	line := readmeStart(t)
	run := startService(t, s.dir, line, s.environment("VALTRACK_DEVNET_NODES="+strconv.Itoa(nodes), "VALTRACK_DEVNET_SLOT=250ms", "VALTRACK_SEGMENT_AGE=500ms",
		"VALTRACK_HTTP=127.0.0.1:0", "VALTRACK_API_KEYS=keys", "VALTRACK_HTTP_RATE=0"))
	s.run = run
	s.url = run.wait(t, regexp.MustCompile(`msg=crawling .*api=(http\S+)`))[1]
	s.wait(t)
	return s
}

// environment is that of commands: the programs are in its path, and it has no settings but these.
func (s *server) environment(more ...string) []string {
	env := slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "VALTRACK_") || strings.HasPrefix(v, "NATS_URL=") })
	path := strings.Join([]string{filepath.Join(s.dir, programs), s.dir, filepath.Dir(s.python), os.Getenv("PATH")}, ":")
	return append(append(env, "PATH="+path, "CURL_HOME="+s.dir, "CGO_ENABLED=0", "GOFLAGS=-trimpath"), more...)
}

// programs is the directory of those that the pages take as installed.
const programs = ".programs"

// readmeStart is README's first command.
func readmeStart(t *testing.T) string {
	t.Helper()
	for _, b := range pages(t) {
		if b.Page == "README.md" && isService.MatchString(b.First()) {
			return b.First()
		}
	}
	t.Fatal("README.md starts nothing")
	return ""
}

// clone gives a directory the files of this checkout, by links.
func clone(t *testing.T, dir string) {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if slices.Contains([]string{".git", "bin", "data", "dist", "valtrack"}, e.Name()) {
			continue
		}
		if err := os.Symlink(filepath.Join(root, e.Name()), filepath.Join(dir, e.Name())); err != nil {
			t.Fatal(err)
		}
	}
}

// wait waits until all nodes are known, and handshakes are stored.
func (s *server) wait(t *testing.T) {
	t.Helper()
	c, err := client.New(client.Config{URL: s.url, Key: s.key})
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(500 * time.Millisecond) {
		summary, err := c.Summary(t.Context())
		if err != nil || summary.Data.Nodes.Counted < nodes {
			continue
		}
		datasets, err := c.Datasets(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range datasets.Data {
			if d.Table == "metadata_events" && len(d.Parts) > 0 {
				s.part = d.Parts[0].Name
			}
		}
		page, err := c.NodesPage(t.Context(), client.NodeQuery{Sort: "-validators", PageSize: 1})
		if err != nil {
			t.Fatal(err)
		}
		if s.node = page.Data[0]; s.part != "" {
			return
		}
	}
	t.Fatalf("the API is not filled after two minutes: %+v", s)
}
