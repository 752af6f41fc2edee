package api

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
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
	dir     string // has the data directory data
	url     string
	key     string // of the scope full
	keyFile string
	node    client.Node // with validators
	part    string      // a file of metadata_events
}

func start(t *testing.T) server {
	t.Helper()
	dir := t.TempDir()
	program := filepath.Join(dir, "valtrack")
	if out, err := exec.Command("go", "build", "-o", program, "../..").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	out, err := exec.Command(program, "check", "key", "ops", "--json").Output()
	var key struct{ Key, Line string }
	if err == nil {
		err = json.Unmarshal(out, &key)
	}
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	s := server{dir: dir, key: key.Key, keyFile: filepath.Join(dir, "key")}
	keys := filepath.Join(dir, "keys")
	for path, text := range map[string]string{s.keyFile: key.Key, keys: key.Line} {
		if err := os.WriteFile(path, []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run := exec.Command(program, "run", "--network", "devnet", "--devnet-nodes", "40", "--devnet-slot", "250ms", "--segment-age", "500ms",
		"--data-dir", filepath.Join(dir, "data"), "--http", "127.0.0.1:0", "--api-keys", keys, "--http-rate", "0", "--log-format", "text")
	stderr, err := run.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	lines := bufio.NewScanner(stderr)
	found := make(chan string, 1)
	go func() {
		at := regexp.MustCompile(`serving the API.* url=(\S+)`)
		for lines.Scan() {
			if m := at.FindStringSubmatch(lines.Text()); m != nil {
				found <- m[1]
			}
			if strings.Contains(lines.Text(), "level=ERROR") {
				t.Errorf("the server logged %s", lines.Text())
			}
		}
		ended <- run.Wait()
	}()
	t.Cleanup(func() {
		run.Process.Signal(syscall.SIGTERM)
		if err := <-ended; err != nil {
			t.Errorf("the server ended with %v", err)
		}
	})
	select {
	case s.url = <-found:
	case <-time.After(time.Minute):
		t.Fatal("no API after a minute")
	}
	s.wait(t)
	return s
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
