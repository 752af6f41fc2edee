package e2e

import (
	"bytes"
	"encoding/json"
	"net"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// tool builds a pinned tool and gives its path.
func tool(t *testing.T, name string) string {
	t.Helper()
	cmd := exec.Command("go", "tool", "-modfile=tools/go.mod", "-n", name)
	cmd.Dir = "../.."
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("build %s: %v\n%s", name, err, stderr.String())
	}
	return strings.TrimSpace(string(out))
}

// freePort is a TCP port of 127.0.0.1 that was free a moment ago.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

// startNATS starts a real nats-server with JetStream and waits until it answers.
func startNATS(t *testing.T, port, store string) *process {
	t.Helper()
	p := startProgram(t, tool(t, "nats-server"), "-js", "-a", "127.0.0.1", "-p", port, "-sd", store)
	p.waitLog(t, "Server is ready", 30*time.Second)
	return p
}

// published is the sentry's own count in its last log line.
func published(t *testing.T, sentry *process) int {
	t.Helper()
	m := regexp.MustCompile(`stopped.* published=(\d+) lost=(\d+)`).FindStringSubmatch(sentry.text())
	if m == nil {
		t.Fatalf("no count in the sentry's log:\n%s", sentry.tail())
	}
	if m[2] != "0" {
		t.Errorf("the sentry lost %s events", m[2])
	}
	n, err := strconv.Atoi(m[1])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func startDevnet(t *testing.T, nodes int, more ...string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	args := []string{"devnet", "--devnet-nodes", strconv.Itoa(nodes), "--devnet-slot", "500ms", "--devnet-faults", "mixed", "--devnet-dir", dir}
	p := start(t, append(args, more...)...)
	p.waitLog(t, "wrote the devnet files", 60*time.Second)
	return dir
}

// storedEvents counts the rows of the three tables that hold one event per row.
func storedEvents(t *testing.T, data string) (n int) {
	t.Helper()
	for _, table := range []string{"discovery_events", "metadata_events", "visit_events"} {
		n += len(duckdb(t, filepath.Join(data, table+".parquet")))
	}
	return n
}

// natsCLI runs the nats command and gives its output.
func natsCLI(t *testing.T, url string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(tool(t, "nats"), append([]string{"--server", url}, args...)...)
	cmd.Env = append(environment(), "XDG_CONFIG_HOME="+t.TempDir())
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("nats %v: %v\n%s", args, err, out)
	}
	return out
}

// Sentry and consumer are two processes with a real nats-server between them. The
// server is killed and started again, the consumer is stopped and started again;
// every event the sentry published is stored, once.
func TestSentryAndConsumerOverNATSServer(t *testing.T) {
	t.Parallel()
	port, store := freePort(t), t.TempDir()
	url := "nats://127.0.0.1:" + port
	server := startNATS(t, port, store)
	dir := startDevnet(t, 40)
	crawled, stored := t.TempDir(), t.TempDir()
	consumer := func() *process {
		p := start(t, "consumer", "--nats", url, "--data-dir", stored, "--segment-age", "1s", "--log-format", "text")
		p.waitLog(t, "consuming", 30*time.Second)
		return p
	}
	c := consumer()
	durables := consumerNames(t, url)
	if len(durables) != 1 {
		t.Fatalf("consumers %v, want one durable", durables)
	}
	s := start(t, "sentry", "--nats", url, "--network-dir", dir, "--data-dir", crawled, "--listen", "127.0.0.1", "--port", "0", "--quic-port", "0", "--log-format", "text")
	waitFor(t, time.Minute, "ten handshakes stored", func() bool { return len(reportedHandshakes(t, stored)) >= 10 }, s, c)

	if info := natsCLI(t, url, "stream", "info", "EVENTS"); !bytes.Contains(info, []byte("events.visit_ended")) {
		t.Errorf("nats stream info EVENTS:\n%s", info)
	}
	server.cmd.Process.Kill()
	<-server.done
	server = startNATS(t, port, store)
	c.stop(t, syscall.SIGTERM, 0)
	c = consumer()
	if again := consumerNames(t, url); len(again) != 1 || again[0] != durables[0] {
		t.Errorf("consumers %v after a restart, before %v", again, durables)
	}
	before := len(duckdb(t, filepath.Join(stored, "visit_events.parquet")))
	waitFor(t, time.Minute, "visits stored after the restarts", func() bool {
		return len(duckdb(t, filepath.Join(stored, "visit_events.parquet"))) > before+20
	}, s, c, server)
	s.stop(t, syscall.SIGTERM, 0)
	want := published(t, s)
	waitFor(t, time.Minute, "everything stored", func() bool { return storedEvents(t, stored) >= want }, c)
	c.stop(t, syscall.SIGTERM, 0)
	if got := storedEvents(t, stored); got != want {
		t.Errorf("%d events stored, %d published", got, want)
	}
}

// Two networks of one name are told apart by their genesis validators root: a consumer
// that nobody told a network stores the events of the first one only.
func TestTwoNetworksOfOneName(t *testing.T) {
	t.Parallel()
	port, stored := freePort(t), t.TempDir()
	url := "nats://127.0.0.1:" + port
	startNATS(t, port, t.TempDir())
	c := start(t, "consumer", "--nats", url, "--data-dir", stored, "--segment-age", "1s", "--log-format", "text")
	c.waitLog(t, "consuming", 30*time.Second)
	sentry := func(seed string) *process {
		dir := startDevnet(t, 12, "--devnet-seed", seed)
		return start(t, "sentry", "--nats", url, "--network-dir", dir, "--data-dir", t.TempDir(), "--crawler-id", "seed-"+seed,
			"--listen", "127.0.0.1", "--port", "0", "--quic-port", "0", "--log-format", "text")
	}
	first := sentry("1")
	c.waitLog(t, "the data directory belongs to the network of the first event", time.Minute)
	waitFor(t, time.Minute, "handshakes stored", func() bool { return len(reportedHandshakes(t, stored)) >= 3 }, first, c)
	second := sentry("2")
	c.waitLog(t, "rejected an event", time.Minute)
	waitFor(t, time.Minute, "visits of the second network", func() bool { return regexp.MustCompile(`handshaked=[1-9]`).MatchString(second.text()) }, second, c)
	second.stop(t, syscall.SIGTERM, 0)
	first.stop(t, syscall.SIGTERM, 0)
	want, refused := published(t, first), published(t, second)
	counts := regexp.MustCompile(`stored events=(\d+) .*rejected=(\d+) `)
	waitFor(t, time.Minute, "everything stored", func() bool { return len(exported(t, stored)) >= want }, c)
	c.stop(t, syscall.SIGTERM, 0)
	rows := exported(t, stored)
	for _, r := range rows {
		if r.CrawlerID != "seed-1" || r.Network != "devnet" {
			t.Fatalf("stored an event of %+v", r)
		}
	}
	m := counts.FindStringSubmatch(c.text())
	if len(rows) != want || m == nil || m[1] != strconv.Itoa(want) || m[2] != strconv.Itoa(refused) {
		t.Errorf("%d rows of %d published, %d to be refused, the consumer says %v", len(rows), want, refused, m)
	}
	if n := strings.Count(c.text(), "rejected an event"); n != 1 {
		t.Errorf("%d lines about %d refused events", n, refused)
	}
	if !strings.Contains(c.text(), "with genesis validators root 0x") {
		t.Errorf("the root of the refused network is not named:\n%s", c.tail())
	}
}

type exportedRow struct {
	Network   string `json:"network"`
	CrawlerID string `json:"crawler_id"`
}

// exported reads the tables that hold one event per row.
func exported(t *testing.T, data string) (out []exportedRow) {
	t.Helper()
	for _, table := range []string{"discovery_events", "metadata_events", "visit_events"} {
		file := filepath.Join(t.TempDir(), table+".ndjson")
		valtrack(t, "export", table, "--data-dir", data, "--out", file)
		out = append(out, readLines[exportedRow](t, file)...)
	}
	return out
}

func consumerNames(t *testing.T, url string) []string {
	t.Helper()
	var names []string
	out := natsCLI(t, url, "consumer", "ls", "EVENTS", "--json")
	if err := json.Unmarshal(out, &names); err != nil {
		t.Fatalf("nats consumer ls: %v\n%s", err, out)
	}
	return names
}

// Without NATS the sentry appends log files over restarts; replay publishes them.
func TestLogFilesAreAppendedAndReplayed(t *testing.T) {
	t.Parallel()
	dir := startDevnet(t, 20)
	crawled, stored := t.TempDir(), t.TempDir()
	total := 0
	for range 2 {
		s := start(t, "sentry", "--network-dir", dir, "--data-dir", crawled, "--listen", "127.0.0.1", "--port", "0", "--quic-port", "0", "--log-format", "text")
		meta := filepath.Join(crawled, "metadata_events.log")
		before := lineCount(meta)
		waitFor(t, time.Minute, "ten handshakes in the log file", func() bool { return lineCount(meta) >= before+10 }, s)
		s.stop(t, syscall.SIGTERM, 0)
		total += published(t, s)
	}
	files := []string{filepath.Join(crawled, "discovery_events.log"), filepath.Join(crawled, "metadata_events.log"), filepath.Join(crawled, "visit_events.log")}
	lines := 0
	for _, f := range files {
		lines += lineCount(f)
	}
	if lines != total {
		t.Errorf("%d lines in the log files, %d events published", lines, total)
	}
	port := freePort(t)
	url := "nats://127.0.0.1:" + port
	startNATS(t, port, t.TempDir())
	c := start(t, "consumer", "--nats", url, "--data-dir", stored, "--segment-age", "1s", "--log-format", "text")
	c.waitLog(t, "consuming", 30*time.Second)
	for range 2 { // the second time everything is known
		valtrack(t, append([]string{"replay", "--nats", url}, files...)...)
	}
	waitFor(t, time.Minute, "everything stored", func() bool { return storedEvents(t, stored) >= total }, c)
	c.stop(t, syscall.SIGTERM, 0)
	if got := storedEvents(t, stored); got != total {
		t.Errorf("%d events stored, %d in the log files", got, total)
	}
}

func lineCount(path string) int {
	out, err := exec.Command("wc", "-l", path).Output()
	if err != nil {
		return 0
	}
	n, err := strconv.Atoi(strings.Fields(string(out))[0])
	if err != nil {
		return 0
	}
	return n
}
