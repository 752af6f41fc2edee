package bus

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// Nobody else can connect to the embedded server: what it is sent is believed.
func TestEmbeddedDoesNotListen(t *testing.T) {
	before := listeners(t)
	e, err := StartEmbedded(t.TempDir(), discardLog())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	c, err := Connect(t.Context(), Options{InProcess: e, Log: discardLog()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if _, err := c.ensureStream(t.Context()); err != nil {
		t.Fatal(err)
	}
	if addr := e.srv.Addr(); addr != nil {
		t.Errorf("it listens at %v", addr)
	}
	if now := listeners(t); now != before {
		t.Errorf("%d sockets listen, %d before the start", now, before)
	}
	// Also after a restart in place, which the connection finds.
	if err := e.restart(); err != nil {
		t.Fatal(err)
	}
	until(t, "the connection", func() bool {
		_, err := c.js.Stream(t.Context(), c.stream)
		return err == nil
	})
	if nc, err := nats.Connect(e.URL(), nats.Timeout(time.Second)); err == nil {
		if nc.ConnectedServerId() == e.srv.ID() { // and not a server of this machine's on the usual port
			t.Error("somebody else is connected")
		}
		nc.Close()
	}
}

// listeners counts this process's TCP sockets that listen.
func listeners(t *testing.T) (n int) {
	t.Helper()
	if runtime.GOOS != "linux" {
		return 0
	}
	own := map[string]bool{}
	links, _ := filepath.Glob("/proc/self/fd/*")
	for _, link := range links {
		if to, err := os.Readlink(link); err == nil {
			own[to] = true
		}
	}
	for _, file := range []string{"/proc/self/net/tcp", "/proc/self/net/tcp6"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Skip(err)
		}
		for line := range strings.Lines(string(text)) {
			if f := strings.Fields(line); len(f) > 9 && f[3] == "0A" && own[fmt.Sprintf("socket:[%s]", f[9])] {
				n++
			}
		}
	}
	return n
}

// A store that no restart repairs is not restarted every other second without end, and
// says what to do.
func TestEmbeddedThatCannotBeRepaired(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes seconds")
	}
	log := newRecorder()
	e, err := StartEmbedded(t.TempDir(), slog.New(log))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	c, err := Connect(t.Context(), Options{InProcess: e, Log: discardLog()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.ensureStream(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.Close()
	e.stopServer()
	meta := filepath.Join(e.dir, "jetstream", "$G", "streams", "EVENTS", "meta.inf")
	if err := os.WriteFile(meta, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	until(t, "the advice", func() bool { return log.has("embedded NATS cannot be restarted") })
	if err := e.Err(); err == nil || !strings.Contains(err.Error(), "restarts do not help") || !strings.Contains(err.Error(), e.dir) {
		t.Errorf("error %v", err)
	}
}

func TestPausesBetweenRestarts(t *testing.T) {
	var r restarts
	now := time.Now()
	for i, want := range []time.Duration{2, 2, 2, 4, 8, 16, 32, 60, 60} {
		got := r.next(now)
		if got != want*time.Second {
			t.Errorf("restart %d: %v, want %v", i, got, want*time.Second)
		}
		now = now.Add(got)
	}
	if got := r.next(now.Add(time.Hour)); got != restartPeriod {
		t.Errorf("after an hour: %v", got)
	}
}
