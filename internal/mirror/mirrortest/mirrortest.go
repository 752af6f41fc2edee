// Package mirrortest starts an object store in a process of its own, for tests.
package mirrortest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"
)

// Bucket is the bucket that the store has.
const Bucket = "valtrack"

// SeaweedFS is the environment variable with the path of SeaweedFS's program, weed. It takes
// minutes to build (make object-store does), and is used instead of gofakes3 then.
const SeaweedFS = "VALTRACK_SEAWEEDFS"

// Server is an object store. Its objects survive it.
type Server struct {
	dir     string
	host    string
	address string
	args    []string // the program first
	cmd     *exec.Cmd
}

// build makes the program of the module in test/objectstore, which stays in Go's build cache.
// It does not check signatures.
var build = sync.OnceValues(func() (string, error) {
	cmd := exec.CommandContext(context.Background(), "go", "tool", "-n", "gofakes3") // prints its path
	_, file, _, _ := runtime.Caller(0)
	cmd.Dir = filepath.Join(filepath.Dir(file), "..", "..", "..", "test", "objectstore")
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("build the object store: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
})

// Start starts a store whose objects are in a directory, and waits until it answers.
func Start(ctx context.Context, dir string) (*Server, error) {
	return StartOn(ctx, "127.0.0.1", dir)
}

// StartOn is Start at another address of this machine.
func StartOn(ctx context.Context, host, dir string) (*Server, error) {
	port, err := freePort(ctx, host)
	if err != nil {
		return nil, err
	}
	s := &Server{dir: dir, host: host, address: net.JoinHostPort(host, port)}
	if err := s.command(ctx, port); err != nil {
		return nil, err
	}
	return s, s.Restart(ctx)
}

func freePort(ctx context.Context, host string) (string, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		return "", err
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, errors.Join(err, l.Close())
}

// command finds the program and its arguments.
func (s *Server) command(ctx context.Context, port string) error {
	weed := os.Getenv(SeaweedFS)
	if weed == "" {
		program, err := build()
		s.args = []string{program, "-host", s.address, "-backend", "fs", "-fs.path", s.dir, "-fs.create", "-initialbucket", Bucket}
		return err
	}
	config := filepath.Join(s.dir, "s3.json")
	s.args = []string{weed, "server", "-dir=" + s.dir, "-ip=" + s.host, "-ip.bind=" + s.host, "-master.telemetry=false", "-master.volumeSizeLimitMB=16", "-volume.max=20",
		"-s3", "-s3.config=" + config, "-s3.port=" + port, "-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.localSocket=" + filepath.Join(s.dir, "s3.sock")}
	for _, name := range []string{"master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port", "filer.port.grpc", "s3.port.grpc"} {
		port, err := freePort(ctx, s.host)
		if err != nil {
			return err
		}
		s.args = append(s.args, "-"+name+"="+port)
	}
	return os.WriteFile(config, []byte(identities), 0o600)
}

// Credentials that the store knows; gofakes3 takes any.
const (
	Key    = "AKIDEXAMPLE"
	Secret = "verysecret"
)

// identities lets everybody make the bucket; a request that is signed must be signed well.
const identities = `{"identities":[
{"name":"anonymous","actions":["Admin"]},
{"name":"valtrack","credentials":[{"accessKey":"` + Key + `","secretKey":"` + Secret + `"}],"actions":["Admin"]}]}`

// Restart starts it again after Kill, at the same address.
func (s *Server) Restart(ctx context.Context) error {
	s.cmd = exec.CommandContext(context.WithoutCancel(ctx), s.args[0], s.args[1:]...)
	if err := s.cmd.Start(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		r, err := http.NewRequestWithContext(ctx, http.MethodPut, s.URL(), nil)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(r)
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusConflict { // it is made, or there
				return nil
			}
		}
		select {
		case <-ctx.Done():
			s.Kill()
			return fmt.Errorf("the object store does not answer: %w", ctx.Err())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// URL is the address of the bucket.
func (s *Server) URL() string { return "http://" + s.address + "/" + Bucket }

// Kill ends the store.
func (s *Server) Kill() {
	s.cmd.Process.Kill() //nolint:errcheck // it may have ended
	s.cmd.Wait()         //nolint:errcheck // it was killed
}
