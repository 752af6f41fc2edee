package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// program is the built valtrack; TestMain makes it.
var program string

func TestMain(m *testing.M) {
	if flag.Parse(); testing.Short() {
		os.Exit(0) // these run whole networks for minutes
	}
	os.Exit(testMain(m))
}

func testMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "valtrack-e2e")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	program = filepath.Join(dir, "valtrack")
	args := []string{"build", "-o", program}
	if raceEnabled {
		args = append(args, "-race")
	}
	build := exec.Command("go", append(args, "../..")...)
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "build valtrack:", err)
		return 1
	}
	return m.Run()
}

// process is a running program whose standard error is kept.
type process struct {
	cmd  *exec.Cmd
	done chan struct{}
	err  error

	mu  sync.Mutex
	log bytes.Buffer
}

func start(t *testing.T, args ...string) *process { return startProgram(t, program, args...) }

// startProgram starts a program that is killed, at the latest, when the test ends.
func startProgram(t *testing.T, name string, args ...string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(name, args...), done: make(chan struct{})}
	p.cmd.Env = environment()
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.done)
		io.Copy(p, stderr)
		p.err = p.cmd.Wait()
	}()
	t.Cleanup(func() {
		p.cmd.Process.Kill()
		<-p.done
		if t.Failed() {
			t.Logf("%s %v:\n%s", filepath.Base(name), args, p.tail())
		}
	})
	return p
}

// environment is ours without settings that would change a run.
func environment() []string {
	var env []string
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "VALTRACK_") && !strings.HasPrefix(v, "NATS_URL=") {
			env = append(env, v)
		}
	}
	return env
}

func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.Write(b)
}

func (p *process) text() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

func (p *process) tail() string {
	lines := strings.Split(p.text(), "\n")
	return strings.Join(lines[max(0, len(lines)-40):], "\n")
}

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// waitLog waits for a text on standard error.
func (p *process) waitLog(t *testing.T, text string, limit time.Duration) {
	t.Helper()
	waitFor(t, limit, fmt.Sprintf("%q in the log", text), func() bool { return strings.Contains(p.text(), text) }, p)
}

// stop sends the signal and checks the exit code.
func (p *process) stop(t *testing.T, signal syscall.Signal, want int) {
	t.Helper()
	if err := p.cmd.Process.Signal(signal); err != nil {
		t.Fatalf("signal: %v", err)
	}
	select {
	case <-p.done:
	case <-time.After(60 * time.Second):
		t.Fatalf("still running 60 s after %v", signal)
	}
	var exit *exec.ExitError
	if p.err != nil && !errors.As(p.err, &exit) {
		t.Fatal(p.err)
	}
	if code := p.cmd.ProcessState.ExitCode(); code != want {
		t.Fatalf("exit code %d after %v, want %d", code, signal, want)
	}
}

// waitFor polls a condition that processes make true; it fails when one ends first.
func waitFor(t *testing.T, limit time.Duration, what string, ok func() bool, processes ...*process) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for !ok() {
		for _, p := range processes {
			if p.ended() {
				t.Fatalf("%s ended before: %s (%v)", filepath.Base(p.cmd.Path), what, p.err)
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", limit, what)
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// valtrack runs a command to its end and gives its standard output.
func valtrack(t *testing.T, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Env = environment()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("valtrack %v: %v\n%s", args, err, stderr.String())
	}
	return out
}

// reportedHandshakes counts the handshakes in the datasets, for peers that had one.
func reportedHandshakes(t *testing.T, data string) map[string]int {
	t.Helper()
	have := map[string]int{}
	for dec := json.NewDecoder(bytes.NewReader(valtrack(t, "report", "--nodes", "--json", "--data-dir", data))); dec.More(); {
		var n struct {
			ID           string `json:"id"`
			Observations int    `json:"observations"`
		}
		if err := dec.Decode(&n); err != nil {
			t.Fatal(err)
		}
		if n.Observations > 0 {
			have[n.ID] = n.Observations
		}
	}
	return have
}

// duckdb reads a dataset directory with DuckDB.
func duckdb(t *testing.T, table string) []map[string]any {
	t.Helper()
	if _, err := os.Stat("../duckdb/node_modules"); err != nil {
		t.Fatal("test/duckdb is not installed: make test does it (npm ci in test/duckdb)")
	}
	cmd := exec.Command("node", "../duckdb/read.mjs", table)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("DuckDB cannot read %s: %v\n%s", table, err, stderr.String())
	}
	var rows []map[string]any
	for dec := json.NewDecoder(bytes.NewReader(out)); dec.More(); {
		var row map[string]any
		if err := dec.Decode(&row); err != nil {
			t.Fatal(err)
		}
		rows = append(rows, row)
	}
	return rows
}

// readLines reads a file of JSON lines.
func readLines[T any](t *testing.T, path string) []T {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var out []T
	for dec := json.NewDecoder(bufio.NewReader(f)); dec.More(); {
		var v T
		if err := dec.Decode(&v); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		out = append(out, v)
	}
	return out
}

// integer takes the number or the decimal string that 64-bit columns come as.
func integer(v any) int64 {
	switch v := v.(type) {
	case float64:
		return int64(v)
	case string:
		var n int64
		fmt.Sscan(v, &n)
		return n
	default:
		return -1
	}
}

func integers(v any) []int {
	list, ok := v.([]any)
	if !ok {
		return nil
	}
	out := make([]int, len(list))
	for i, x := range list {
		out[i] = int(integer(x))
	}
	return out
}
