package e2e

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// testdata/earlier.tar.gz has a data directory and its network as commit ae22baf left
// them: eight devnet nodes crawled for a minute, the consumer with its embedded NATS
// killed after the first watches, the sentry killed 20 s later. So it has merged and
// unmerged parts, a tracker.db with a write-ahead log, two rejected events, a peer table
// in peers.ndjson, and the last 16 of 48 events in the spool alone.
const (
	earlierBoot       = "1883183183607027849"
	earlierEvents     = 48
	earlierHandshakes = 24
	earlierNodes      = 8
	earlierRejected   = 2
)

// A data directory of an earlier version is opened, and no datum is lost.
func TestDataOfAnEarlierVersion(t *testing.T) {
	dir := t.TempDir()
	unpack(t, "testdata/earlier.tar.gz", dir)
	data := filepath.Join(dir, "data")

	// Readers open it before any writer does, and change nothing.
	if have := reportedHandshakes(t, data); len(have) != earlierNodes {
		t.Errorf("report finds %d nodes before the first start, want %d", len(have), earlierNodes)
	}

	run := start(t, "run", "--nats", "embedded", "--data-dir", data, "--network-dir", filepath.Join(dir, "net"),
		"--listen", "127.0.0.1", "--port", "0", "--quic-port", "0", "--segment-age", "1s")
	run.waitLog(t, "msg=crawling", time.Minute)
	waitFor(t, 2*time.Minute, "all handshakes are stored", func() bool {
		total := 0
		for _, n := range reportedHandshakes(t, data) {
			total += n
		}
		return total == earlierHandshakes
	}, run)
	if want := `peers=8`; !strings.Contains(run.text(), want) {
		t.Errorf("the log lacks %q: the peer table was lost", want)
	}
	run.stop(t, syscall.SIGINT, 0)

	var check struct {
		OK       bool   `json:"ok"`
		Missing  uint64 `json:"missing"`
		Sentries []struct {
			Boot                            string
			Last, Stored, Rejected, Missing uint64
		} `json:"sentries"`
	}
	if err := json.Unmarshal(valtrack(t, "check", "data", "--json", "--data-dir", data), &check); err != nil {
		t.Fatal(err)
	}
	if !check.OK || check.Missing != 0 {
		t.Errorf("check data: ok %t, %d missing", check.OK, check.Missing)
	}
	var stored, rejected uint64
	for _, s := range check.Sentries {
		rejected += s.Rejected
		if s.Boot == earlierBoot {
			stored = s.Stored
		}
	}
	if stored != earlierEvents || rejected != earlierRejected {
		t.Errorf("%d events of the earlier boot stored and %d rejected, want %d and %d", stored, rejected, earlierEvents, earlierRejected)
	}
	for _, n := range readNodes(t, data) {
		if n.Validators == nil {
			t.Errorf("node %s has no estimate", n.ID)
		}
	}
}

type reportedNode struct {
	ID         string   `json:"id"`
	Validators *float64 `json:"validators"`
}

func readNodes(t *testing.T, data string) (nodes []reportedNode) {
	t.Helper()
	for dec := json.NewDecoder(bytes.NewReader(valtrack(t, "report", "--nodes", "--json", "--data-dir", data))); dec.More(); {
		var n reportedNode
		if err := dec.Decode(&n); err != nil {
			t.Fatal(err)
		}
		nodes = append(nodes, n)
	}
	if len(nodes) != earlierNodes {
		t.Errorf("report has %d nodes, want %d", len(nodes), earlierNodes)
	}
	return nodes
}

// unpack writes the files of a .tar.gz below dir.
func unpack(t *testing.T, path, dir string) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	for in := tar.NewReader(z); ; {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		to := filepath.Join(dir, filepath.FromSlash(h.Name))
		if h.FileInfo().IsDir() {
			err = os.MkdirAll(to, 0o755)
		} else {
			var content []byte
			if content, err = io.ReadAll(in); err == nil {
				err = os.WriteFile(to, content, h.FileInfo().Mode())
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}
