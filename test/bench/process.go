package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	// sampleEvery is how often a process's CPU time is read: one tick of /proc.
	sampleEvery = 10 * time.Millisecond
	// stopPatience is how long a process may take to end after SIGTERM.
	stopPatience = 60 * time.Second
	clockTick    = time.Second / 100 // USER_HZ, which is 100 on every Linux
)

// process is a running program.
type process struct {
	cmd     *exec.Cmd
	name    string
	started time.Time
	stdout  *bufio.Reader
	stderr  bytes.Buffer
	done    chan error
}

// launch starts a program; the end of ctx kills it. Without verbose what it logs
// is kept for the message when it fails.
func launch(ctx context.Context, verbose bool, name string, args ...string) (*process, error) {
	p := &process{cmd: exec.CommandContext(ctx, name, args...), name: args[0], done: make(chan error, 1)}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.stdout = bufio.NewReader(out)
	p.cmd.Stderr = &p.stderr
	if verbose {
		p.cmd.Stderr = os.Stderr
	}
	p.started = time.Now()
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", p.name, err)
	}
	return p, nil
}

// stop ends the program with SIGTERM and waits.
func (p *process) stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("stop %s: %w", p.name, err)
	}
	timer := time.AfterFunc(stopPatience, func() { _ = p.cmd.Process.Kill() })
	defer timer.Stop()
	_, _ = io.Copy(io.Discard, p.stdout)
	if err := p.cmd.Wait(); err != nil {
		return fmt.Errorf("%s: %w\n%s", p.name, err, p.stderr.Bytes())
	}
	return nil
}

// cpu is the user and system time the process has used.
func (p *process) cpu() (time.Duration, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0, fmt.Errorf("CPU time of %s: %w\n%s", p.name, err, p.stderr.Bytes())
	}
	// The fields after the name, which is in parentheses: state is the first,
	// utime the 12th, stime the 13th (proc_pid_stat(5)).
	_, rest, _ := strings.Cut(string(b), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0, fmt.Errorf("CPU time of %s: %d fields", p.name, len(fields))
	}
	var ticks int64
	for _, text := range fields[11:13] {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("CPU time of %s: %w", p.name, err)
		}
		ticks += n
	}
	return time.Duration(ticks) * clockTick, nil
}

// resident is all of the process's resident memory in bytes: the program's text and
// what it has mapped count.
func (p *process) resident() (int64, error) {
	return field(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid), "VmRSS:")
}

// memory is the process's resident anonymous memory in bytes: heap, stacks and
// the runtime's own, without the program's text.
func (p *process) memory() (int64, error) {
	return field(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid), "RssAnon:")
}

// peak is the most that was ever resident, in bytes.
func (p *process) peak() (int64, error) {
	return field(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid), "VmHWM:")
}

// field reads a number of kB from a file of /proc, in bytes.
func field(path, name string) (int64, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			n, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return n << 10, err
		}
	}
	return 0, fmt.Errorf("%s has no %s", path, name)
}

// cpuModel names the machine's processor.
func cpuModel() string {
	b, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown processor"
	}
	for line := range strings.Lines(string(b)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown processor"
}

// sample is a process's CPU time at a moment.
type sample struct {
	at  time.Time
	cpu time.Duration
}

// cpuAt is the CPU time used at a moment: that of the first sample not before it.
func cpuAt(samples []sample, at time.Time) time.Duration {
	for _, s := range samples {
		if !s.at.Before(at) {
			return s.cpu
		}
	}
	if len(samples) == 0 {
		return 0
	}
	return samples[len(samples)-1].cpu
}
