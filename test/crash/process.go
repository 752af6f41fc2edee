package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// program is what to start, before the arguments of its role.
type program struct {
	path string
	args []string
	env  []string
}

// process is a program that runs.
type process struct {
	name  string
	cmd   *exec.Cmd
	log   string
	ended chan struct{} // closed at its end
	err   error         // of Wait; valid then
}

// start starts a program, which the end of ctx kills; what it logs goes to the end of
// dir/name.log.
func (p program) start(ctx context.Context, dir, name string, args ...string) (*process, error) {
	log, err := os.OpenFile(filepath.Join(dir, name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.CommandContext(ctx, p.path, append(append([]string{}, p.args...), args...)...)
	cmd.Env = append(os.Environ(), p.env...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	out := &process{name: name, cmd: cmd, log: log.Name(), ended: make(chan struct{})}
	go func() {
		out.err = cmd.Wait()
		close(out.ended)
	}()
	return out, nil
}

// kill is SIGKILL. A process that has ended is left alone.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.ended
}

// stop is SIGTERM: the process must end well within the time.
func (p *process) stop(within time.Duration) error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop %s: %w", p.name, err)
	}
	return p.wait(within)
}

// wait waits for a process to end well.
func (p *process) wait(within time.Duration) error {
	select {
	case <-p.ended:
	case <-time.After(within):
		p.kill()
		return fmt.Errorf("%s has not ended within %v\n%s", p.name, within, p.tail())
	}
	if p.err != nil {
		return fmt.Errorf("%s: %w\n%s", p.name, p.err, p.tail())
	}
	return nil
}

// check is an error when the process has ended.
func (p *process) check() error {
	select {
	case <-p.ended:
		return fmt.Errorf("%s has ended on its own: %w\n%s", p.name, p.err, p.tail())
	default:
		return nil
	}
}

// killedItself tells whether the process has ended by a SIGKILL that is not ours.
func (p *process) killedItself() bool {
	select {
	case <-p.ended:
		status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
		return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
	default:
		return false
	}
}

// tail is the end of its log.
func (p *process) tail() string {
	const lines = 25
	b, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
