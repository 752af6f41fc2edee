package clickhouse

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/chainbound/valtrack/internal/clickhouse/clickhousetest"
)

// patience bounds the waits of these tests.
const patience = time.Minute

// chdbEnv has the Python with chdb, the engine of current servers: `make check-clickhouse` sets it.
const chdbEnv = "VALTRACK_CHDB"

// onServers runs a test against each server that is here: Debian's, which is of 2018, and chdb
// behind our own HTTP.
func onServers(t *testing.T, test func(t *testing.T, url string)) {
	t.Run("old", func(t *testing.T) { test(t, startOld(t)) })
	t.Run("current", func(t *testing.T) { test(t, startCurrent(t)) })
}

// startOld runs the clickhouse-server of the PATH, for this test alone.
func startOld(t testing.TB) (url string) {
	t.Helper()
	s, err := clickhousetest.Start(t.Context(), "127.0.0.1", t.TempDir())
	if errors.Is(err, exec.ErrNotFound) {
		t.Skip("no clickhouse-server here: apt-get install clickhouse-server")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Kill()
		if t.Failed() {
			t.Logf("the server's log: %.4000s", s.Log())
		}
	})
	return s.URL()
}

// startCurrent runs chdb behind test/clickhouse/server.py.
func startCurrent(t testing.TB) (url string) {
	t.Helper()
	python := os.Getenv(chdbEnv)
	if python == "" {
		t.Skip(chdbEnv + " is not set: make check-clickhouse")
	}
	cmd := exec.Command(python, "../../test/clickhouse/server.py", t.TempDir())
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Logf("server.py: %v", err)
		}
	})
	port, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return "http://127.0.0.1:" + strings.TrimSpace(port)
}
