// Package mirrortest starts an object store in a process of its own, for tests.
package mirrortest

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"time"
)

// Bucket is the bucket that the store has.
const Bucket = "valtrack"

// Server is an object store. Its objects are files below Dir, and survive it.
type Server struct {
	Dir     string
	address string
	cmd     *exec.Cmd
}

// build makes the program of the module in test/objectstore, once per process. It does not
// check signatures.
var build = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "valtrack-objectstore")
	if err != nil {
		return "", err
	}
	program := filepath.Join(dir, "gofakes3")
	cmd := exec.Command("go", "build", "-o", program, "github.com/johannesboyne/gofakes3/cmd/gofakes3")
	_, file, _, _ := runtime.Caller(0)
	cmd.Dir = filepath.Join(filepath.Dir(file), "..", "..", "..", "test", "objectstore")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the object store: %w\n%s", err, out)
	}
	return program, nil
})

// Start starts a store whose objects are in a directory, and waits until it answers.
func Start(ctx context.Context, dir string) (*Server, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &Server{Dir: filepath.Join(dir, "buckets", Bucket), address: l.Addr().String()}
	if err := l.Close(); err != nil {
		return nil, err
	}
	return s, s.start(ctx, dir)
}

// Restart starts it again after Kill, at the same address.
func (s *Server) Restart(ctx context.Context) error {
	return s.start(ctx, filepath.Dir(filepath.Dir(s.Dir)))
}

func (s *Server) start(ctx context.Context, dir string) error {
	program, err := build()
	if err != nil {
		return err
	}
	s.cmd = exec.Command(program, "-host", s.address, "-backend", "fs", "-fs.path", dir, "-fs.create", "-initialbucket", Bucket)
	if err := s.cmd.Start(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		resp, err := http.Get(s.URL())
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
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

// CleanUp removes the program; for TestMain.
func CleanUp() {
	if program, err := build(); err == nil {
		os.RemoveAll(filepath.Dir(program))
	}
}
