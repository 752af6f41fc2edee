package cli

import (
	"bytes"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/chainbound/valtrack/internal/app"
	"github.com/chainbound/valtrack/internal/diskio"
	"github.com/chainbound/valtrack/internal/eth2/network"
)

// What works with a restriction is a warning with the way out, and no failure.
func TestCheckWarns(t *testing.T) {
	if l, err := net.Listen("tcp", app.DefaultHTTP); err == nil { // else somebody else has it
		defer l.Close()
	}
	var out, log bytes.Buffer
	err := Main(t.Context(), []string{"valtrack", "check", "--data-dir", t.TempDir(), "--port", "0", "--quic-port", "0", "--listen", "127.0.0.1"}, &out, &log)
	if err != nil {
		t.Errorf("%v\n%s", err, &out)
	}
	want := "\nWARN    http      " + app.DefaultHTTP + " is in use: the API and the dashboard would not be served; give --http ADDR for another address, or --http '' for none\n"
	if !strings.Contains(out.String(), want) {
		t.Errorf("no %q in\n%s", want, &out)
	}
	open := t.TempDir()
	if err := os.Chmod(open, 0o755); err != nil { // as mkdir makes it
		t.Fatal(err)
	}
	mainnet, err := network.Load("mainnet")
	if err != nil {
		t.Fatal(err)
	}
	out.Reset()
	err = Main(t.Context(), []string{"valtrack", "check", "--data-dir", open, "--network-dir", "../eth2/network/testdata/plataberget", "--bootnode", mainnet.Bootnodes[0], "--port", "0", "--quic-port", "0", "--listen", "127.0.0.1", "--http", ""}, &out, &log)
	if err != nil {
		t.Errorf("%v\n%s", err, &out)
	}
	for _, want := range []string{
		"\nWARN    consumer  segments of 250000 rows or 1m0s; no estimates, because the number of active validators of ", "is unknown: give --active-validators or --beacon-api\n",
		"\nWARN    data-dir  " + open + " is writable and not in use, ", " GB free, and other users may open the data directory",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, &out)
		}
	}
	out.Reset()
	if err := Main(t.Context(), []string{"valtrack", "check", "--json", "--data-dir", t.TempDir(), "--port", "0", "--quic-port", "0", "--listen", "127.0.0.1"}, &out, &log); err != nil || !strings.Contains(out.String(), `"warning": true`) {
		t.Errorf("%v\n%s", err, &out)
	}
}

// Beside a running process of the role its ports and its data directory are as they should be; without
// one somebody else has the ports. Lines of other roles are left out.
func TestCheckOfARole(t *testing.T) {
	dir := t.TempDir()
	lock, err := diskio.TakeLock(filepath.Join(dir, "sentry.lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	check := func(role, dir string, more ...string) (string, error) {
		var out, log bytes.Buffer
		args := []string{"valtrack", "check", "--role", role, "--data-dir", dir, "--port", port, "--quic-port", "0", "--listen", "127.0.0.1"}
		err := Main(t.Context(), append(args, more...), &out, &log)
		return out.String(), err
	}
	held := "process " + strconv.Itoa(os.Getpid()) + ", a running sentry"
	for _, c := range []struct {
		role, dir string
		more      []string
		fails     bool
		has, not  []string
	}{
		{"sentry", dir, nil, true, []string{"FAILED  ports ", "FAILED  data-dir  ", "is held by process"}, []string{"consumer  ", "http  ", "clickhouse"}},
		{"sentry", dir, []string{"--running"}, false, []string{"held by " + held, "ok      ports     TCP and UDP " + port + ", UDP any are in use, as is to be expected while " + held + " runs\n", "events go to log files"}, []string{"FAILED"}},
		{"sentry", t.TempDir(), []string{"--running"}, true, []string{"FAILED  ports ", "ok      data-dir"}, []string{"as is to be expected"}},
		{"consumer", t.TempDir(), []string{"--nats", "embedded", "--http", ""}, false, []string{"ok      network   that of the first event\n", "consumer  segments", "clickhouse"}, []string{"ports", "sentry  ", "devnet"}},
		{"both", dir, nil, true, nil, nil},
	} {
		out, err := check(c.role, c.dir, c.more...)
		if (err != nil) != c.fails || err != nil && ExitCode(err) != 2 {
			t.Errorf("%s %v: %v\n%s", c.role, c.more, err, out)
		}
		for _, want := range c.has {
			if !strings.Contains(out, want) {
				t.Errorf("%s %v: no %q in\n%s", c.role, c.more, want, out)
			}
		}
		for _, word := range c.not {
			if strings.Contains(out, word) {
				t.Errorf("%s %v: %q in\n%s", c.role, c.more, word, out)
			}
		}
	}
}
