package clickhouse

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
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

const oldConfig = `<yandex>
  <logger><level>error</level><console>1</console></logger>
  <http_port>%[2]d</http_port><tcp_port>%[3]d</tcp_port><listen_host>127.0.0.1</listen_host>
  <path>%[1]s/data/</path><tmp_path>%[1]s/tmp/</tmp_path><users_config>%[1]s/users.xml</users_config>
  <default_profile>default</default_profile><default_database>default</default_database>
  <mark_cache_size>16777216</mark_cache_size>
</yandex>`

const oldUsers = `<yandex>
  <profiles><default></default></profiles>
  <users>
    <default><password></password><networks><ip>127.0.0.1</ip></networks><profile>default</profile><quota>default</quota></default>
    <writer><password>correct horse</password><networks><ip>127.0.0.1</ip></networks><profile>default</profile><quota>default</quota></writer>
  </users>
  <quotas><default></default></quotas>
</yandex>`

// startOld runs the clickhouse-server of the PATH, for this test alone.
func startOld(t testing.TB) (url string) {
	t.Helper()
	path, err := exec.LookPath("clickhouse-server")
	if err != nil {
		t.Skip("no clickhouse-server here: apt-get install clickhouse-server")
	}
	dir := t.TempDir()
	s := &oldServer{path: path, dir: dir, http: freePort(t)}
	for file, text := range map[string]string{"config.xml": fmt.Sprintf(oldConfig, dir, s.http, freePort(t)), "users.xml": oldUsers} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s.start(t)
	return fmt.Sprintf("http://127.0.0.1:%d", s.http)
}

type oldServer struct {
	path, dir string
	http      int
	cmd       *exec.Cmd
}

func (s *oldServer) start(t testing.TB) {
	t.Helper()
	var out bytes.Buffer
	s.cmd = exec.Command(s.path, "--config-file="+filepath.Join(s.dir, "config.xml"))
	s.cmd.Dir, s.cmd.Stdout, s.cmd.Stderr = s.dir, &out, &out
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.cmd.Process.Signal(syscall.SIGKILL)
		s.cmd.Wait()
		if t.Failed() {
			t.Logf("the server's log: %.4000s", out.String())
		}
	})
	address := fmt.Sprintf("127.0.0.1:%d", s.http)
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		if c, err := net.Dial("tcp", address); err == nil {
			c.Close()
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("clickhouse-server does not listen: %s", out.String())
		}
	}
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

func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}
