// Package clickhousetest starts Debian's clickhouse-server, for tests.
package clickhousetest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Program is in the PATH where Debian's package is installed.
const Program = "clickhouse-server"

const config = `<yandex>
  <logger><level>error</level><console>1</console></logger>
  <http_port>%[2]s</http_port><tcp_port>%[3]s</tcp_port><listen_host>%[4]s</listen_host>
  <path>%[1]s/data/</path><tmp_path>%[1]s/tmp/</tmp_path><users_config>%[1]s/users.xml</users_config>
  <default_profile>default</default_profile><default_database>default</default_database>
  <mark_cache_size>16777216</mark_cache_size>
</yandex>`

const users = `<yandex>
  <profiles><default></default></profiles>
  <users>
    <default><password></password><networks><ip>::/0</ip></networks><profile>default</profile><quota>default</quota></default>
  </users>
  <quotas><default></default></quotas>
</yandex>`

// Server is a clickhouse-server. Its data survive it.
type Server struct {
	path, dir, address string
	cmd                *exec.Cmd
	out                *bytes.Buffer
}

// Start starts a server at an address of this machine, with its data in a directory, and waits
// until it answers. The error is exec.ErrNotFound where there is no such program.
func Start(ctx context.Context, host, dir string) (*Server, error) {
	path, err := exec.LookPath(Program)
	if err != nil {
		return nil, err
	}
	var ports [2]string
	for i := range ports {
		if ports[i], err = freePort(ctx, host); err != nil {
			return nil, err
		}
	}
	s := &Server{path: path, dir: dir, address: net.JoinHostPort(host, ports[0])}
	for file, text := range map[string]string{"config.xml": fmt.Sprintf(config, dir, ports[0], ports[1], host), "users.xml": users} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	return s, s.Restart(ctx)
}

func freePort(ctx context.Context, host string) (string, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		return "", err
	}
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port), l.Close()
}

// Restart starts it again after Kill, at the same address, and waits until it answers.
func (s *Server) Restart(ctx context.Context) error {
	s.out = &bytes.Buffer{}
	s.cmd = exec.CommandContext(context.WithoutCancel(ctx), s.path, "--config-file="+filepath.Join(s.dir, "config.xml"))
	s.cmd.Dir, s.cmd.Stdout, s.cmd.Stderr = s.dir, s.out, s.out
	if err := s.cmd.Start(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		_, err := s.Query(ctx, "SELECT 1")
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			s.Kill()
			return fmt.Errorf("%s does not answer: %w: %s", Program, err, s.out)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// URL is the address of its HTTP interface.
func (s *Server) URL() string { return "http://" + s.address }

// Query runs a statement and gives the lines of its result, with tabs between the columns.
func (s *Server) Query(ctx context.Context, statement string) ([]string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL(), strings.NewReader(statement))
	if err != nil {
		return nil, err
	}
	r.Close = true
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, text)
	}
	return strings.Split(strings.TrimSpace(string(text)), "\n"), err
}

// Freeze has it be silent: it takes connections and answers nothing, until Kill or Thaw.
func (s *Server) Freeze() error { return s.cmd.Process.Signal(syscall.SIGSTOP) }

// Thaw ends Freeze.
func (s *Server) Thaw() error { return s.cmd.Process.Signal(syscall.SIGCONT) }

// Kill ends the server.
func (s *Server) Kill() {
	s.cmd.Process.Kill() //nolint:errcheck // it may have ended
	s.cmd.Wait()         //nolint:errcheck // it was killed
}

// Log is what it has written, once it was killed.
func (s *Server) Log() string { return s.out.String() }
