package soak

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chainbound/valtrack/internal/event"
)

// visit is what of a visit_ended matters here.
type visit struct {
	ID          string `json:"id"`
	More        bool   `json:"more"`    // a part of a watch, and not the visit's end
	Started     int64  `json:"started"` // Unix milliseconds
	Ended       int64  `json:"ended"`
	Outcome     string `json:"outcome"`
	HandshakeMS *int64 `json:"handshake_ms"`
}

// good says that there was a handshake.
func (v visit) good() bool { return v.HandshakeMS != nil }

func (v visit) overlaps(from, to time.Time) bool {
	return v.Started < to.UnixMilli() && v.Ended > from.UnixMilli()
}

// readVisits reads the sentry's log of visits, by peer.
func readVisits(t *testing.T, dir string) map[string][]visit {
	t.Helper()
	f, err := os.Open(filepath.Join(dir, "visit_events.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	visits := make(map[string][]visit)
	outcomes := make(map[string]int)
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		var v visit
		if err := json.Unmarshal(lines.Bytes(), &v); err != nil {
			t.Fatal(err)
		}
		if v.More {
			continue
		}
		visits[v.ID] = append(visits[v.ID], v)
		outcomes[v.Outcome]++
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	t.Logf("visits by outcome: %v", outcomes)
	if outcomes[event.OutcomeOK] == 0 {
		t.Error("no visit went well")
	}
	return visits
}

// resident is the resident anonymous memory of a process in bytes, where /proc has
// it.
func resident(pid int) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			n, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return n << 10, err
		}
	}
	return 0, fmt.Errorf("process %d: no RssAnon", pid)
}
