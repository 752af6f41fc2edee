package api

import (
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// service is a command that runs until it is stopped, as typed in a shell.
type service struct {
	name string
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
	err  error

	stopped bool

	mu   sync.Mutex
	text strings.Builder
}

func (s *service) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(b)
}

// printed is what it has printed and logged so far.
func (s *service) printed() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

func startService(t *testing.T, dir, line string, env []string) *service {
	t.Helper()
	s := &service{name: line, cmd: exec.Command("bash", "-euo", "pipefail", "-c", line), done: make(chan struct{})}
	s.cmd.Dir, s.cmd.Env, s.cmd.Stdout, s.cmd.Stderr = dir, env, s, s
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(s.done)
		s.err = s.cmd.Wait()
	}()
	t.Cleanup(func() { s.stop(t) })
	return s
}

// wait gives the first match of what it prints.
func (s *service) wait(t *testing.T, text *regexp.Regexp) []string {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
		if m := text.FindStringSubmatch(s.printed()); m != nil {
			return m
		}
		select {
		case <-s.done:
			t.Fatalf("%s: ended before it printed %s: %v\n%s", s.name, text, s.err, s.printed())
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not printed in two minutes: %s\n%s", s.name, text, s.printed())
		}
	}
}

// stop types Ctrl-C: everything ends with exit code 0, and has logged no error.
func (s *service) stop(t *testing.T) {
	t.Helper()
	if s.stopped {
		return
	}
	s.stopped = true
	select {
	case <-s.done:
		t.Errorf("%s: ended by itself: %v\n%s", s.name, s.err, s.printed())
		return
	default:
	}
	syscall.Kill(-s.cmd.Process.Pid, syscall.SIGINT)
	select {
	case <-s.done:
	case <-time.After(2 * time.Minute):
		syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL)
		<-s.done
	}
	if s.err != nil || strings.Contains(s.printed(), "level=ERROR") {
		t.Errorf("%s: %v\n%s", s.name, s.err, s.printed())
	}
}
