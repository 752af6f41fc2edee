package soak

import (
	"bufio"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/chainbound/valtrack/internal/devnet"
)

const (
	// quotaNodesVariable is the number of nodes of the long crawl within quotas.
	quotaNodesVariable = "SOAK_QUOTA_NODES"
	shortQuotaNodes    = 60
	quotaRoundTrip     = 20 * time.Millisecond
	quotaStarts        = 4 // the first, and three restarts
	// quotaPatience bounds one start.
	quotaPatience = 5 * time.Minute
)

// TestCrawlWithinQuotas: nodes that ban for an hour who sends more than 8 packets per
// second, bootnodes included, are all found and visited, and none bans us, also
// when a sentry with the same identity starts again and again.
func TestCrawlWithinQuotas(t *testing.T) {
	nodes := shortQuotaNodes
	if text := os.Getenv(quotaNodesVariable); text != "" {
		var err error
		if nodes, err = strconv.Atoi(text); err != nil {
			t.Fatalf("%s=%q: %v", quotaNodesVariable, text, err)
		}
	}
	dir, data := filepath.Join(t.TempDir(), "devnet"), filepath.Join(t.TempDir(), "sentry")
	began := time.Now()
	d, err := devnet.Start(t.Context(), devnet.Config{
		Nodes: nodes, Seed: 4, Dir: dir, SlotDuration: 12 * time.Second,
		Faults: devnet.Mix{devnet.Quota: 1}, RoundTrip: quotaRoundTrip,
	}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Errorf("close the devnet: %v", err)
		}
	})
	t.Logf("%d nodes, started in %v", nodes, time.Since(began).Round(time.Second))
	for start := range quotaStarts {
		// Each start publishes every record that it finds, and the first visits all.
		from := size(t, filepath.Join(data, "discovery_events.log"))
		began := time.Now()
		p := startSentry(t, dir, data)
		found := p.waitFor(t, filepath.Join(data, "discovery_events.log"), from, nodes)
		handshaked := time.Duration(0)
		if start == 0 {
			p.waitFor(t, filepath.Join(data, "metadata_events.log"), 0, nodes)
			handshaked = time.Since(began)
		}
		// What the last requests cause comes in the second after them.
		time.Sleep(2 * time.Second)
		t.Logf("start %d: all found in %v, handshaked in %v, banned %+v", start, found.Round(100*time.Millisecond), handshaked.Round(100*time.Millisecond), d.Bans())
		p.stop(t)
	}
	if bans := d.Bans(); bans != (devnet.Bans{}) {
		t.Errorf("banned %+v", bans)
	}
}

func size(t *testing.T, name string) int64 {
	info, err := os.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return 0
	}
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// waitFor waits until the lines of a log after an offset are of so many peers. It returns
// how long that took.
func (p *program) waitFor(t *testing.T, name string, from int64, peers int) time.Duration {
	t.Helper()
	began := time.Now()
	seen := make(map[string]bool)
	for len(seen) < peers {
		select {
		case err := <-p.done:
			t.Fatalf("the sentry ended: %v", err)
		case <-time.After(200 * time.Millisecond):
		}
		from = readPeers(t, name, from, seen)
		if time.Since(began) > quotaPatience {
			t.Fatalf("%d of %d peers in %s after %v", len(seen), peers, filepath.Base(name), quotaPatience)
		}
	}
	return time.Since(began)
}

// readPeers adds the ids of the whole lines after an offset, and returns where they end.
func readPeers(t *testing.T, name string, from int64, seen map[string]bool) int64 {
	t.Helper()
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return from
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Seek(from, 0); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(f)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil { // the rest of a line comes later
			return from
		}
		from += int64(len(line))
		var e struct {
			ID string `json:"id"`
		}
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatal(err)
		}
		seen[e.ID] = true
	}
}
