package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chainbound/valtrack/internal/diskio/diskiotest"
)

// `valtrack run` on a disk that fills and is freed: it says that it is not ready, goes on
// by itself, loses no event and stores none twice.
func TestRunOnAFullDisk(t *testing.T) {
	t.Parallel()
	disk, logs := diskiotest.Mount(t, "220m"), t.TempDir()
	valtrack := program{path: os.Args[0], env: []string{processEnv + "=valtrack"}}
	data, metrics := filepath.Join(disk, "data"), freeAddress(t)
	run, err := valtrack.start(t.Context(), logs, "run", "run", "--network", "devnet", "--devnet-nodes", "30", "--data-dir", data,
		"--segment-age", "1s", "--metrics", metrics, "--log-format", "text", "--status-every", "1s")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(run.kill)
	logged := func() string {
		text, _ := os.ReadFile(run.log)
		return string(text)
	}
	until := func(what string, ok func() bool) {
		t.Helper()
		for deadline := time.Now().Add(patience); !ok(); time.Sleep(50 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("timed out waiting for %s\n%s", what, logged())
			}
		}
	}
	ready := func() string {
		response, err := http.Get("http://" + metrics + "/readyz")
		if err != nil {
			return err.Error()
		}
		defer response.Body.Close()
		text, _ := io.ReadAll(response.Body)
		return strings.TrimSpace(string(text))
	}
	stored := func() (n int) {
		lines := strings.Split(logged(), "\n")
		for _, line := range lines {
			if _, rest, ok := strings.Cut(line, " stored="); ok {
				fmt.Sscan(rest, &n)
			}
		}
		return n
	}
	until("some events", func() bool { return stored() > 50 })
	filler := filepath.Join(disk, "filler")
	diskiotest.Fill(t, filler)
	until("the fault of the broker", func() bool { return strings.Contains(ready(), "embedded NATS cannot store events") })
	time.Sleep(12 * time.Second) // the outage
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	before := stored()
	until("readiness", func() bool { return ready() == "ok" })
	until("more events", func() bool { return stored() > before+10 })
	if err := run.stop(stopWithin); err != nil {
		t.Fatalf("%v\n%s", err, logged())
	}
	var stdout bytes.Buffer
	check := exec.Command(valtrack.path, "check", "data", "--data-dir", data, "--json")
	check.Env, check.Stdout = append(os.Environ(), valtrack.env...), &stdout
	if err := check.Run(); err != nil {
		t.Errorf("check data: %v\n%s", err, stdout.String())
	}
	var result struct {
		Missing uint64 `json:"missing"`
	}
	if err := json.Unmarshal(stdout.Bytes(), &result); err != nil || result.Missing != 0 {
		t.Errorf("%d events are missing, %v\n%s", result.Missing, err, stdout.String())
	}
	if text := logged(); !strings.Contains(text, "lost=0") || strings.Contains(text, "leaving events") {
		t.Errorf("not everything was stored at the stop:\n%s", text)
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
