package telemetry

import (
	"io"
	"slices"
	"sync"
	"time"
)

const (
	// logBuffer bounds the lines, in bytes, that wait for a reader of the log.
	logBuffer = 256 << 10
	// logPatience is how long a line waits for its own write. It is long enough for every
	// reader that reads: such a log has each line when the call returns, as after a crash.
	logPatience = 100 * time.Millisecond
	// logFlush is how long Close waits for what is left.
	logFlush = time.Second
)

// LogWriter passes log lines to a writer that may block for ever, as a pipe that nobody
// reads or a terminal that was stopped: then lines wait in a bounded buffer, and are
// dropped and counted when it is full. Write never fails.
type LogWriter struct {
	w io.Writer

	mu       sync.Mutex
	queue    []logLine // the first is being written while draining
	size     int       // of the queue, bytes
	draining bool
	stalled  bool // a line has waited in vain; until the queue is empty
	dropped  uint64
	reported uint64 // of dropped
	report   func(lines uint64)
}

type logLine struct {
	text    []byte
	written chan struct{} // closed
}

// NewLogWriter passes lines to w. Close it.
func NewLogWriter(w io.Writer) *LogWriter { return &LogWriter{w: w} }

// OnDropped has report called with the number of lines that were dropped once lines can be
// written again.
func (l *LogWriter) OnDropped(report func(lines uint64)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.report = report
}

// Dropped counts the lines that were dropped.
func (l *LogWriter) Dropped() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dropped
}

// Write implements io.Writer. It waits for logPatience at most, and not at all while other
// lines wait.
func (l *LogWriter) Write(p []byte) (int, error) {
	if line, wait := l.enqueue(p); wait && !within(line.written, logPatience) {
		l.mu.Lock()
		l.stalled = l.draining
		l.mu.Unlock()
	}
	return len(p), nil
}

func (l *LogWriter) enqueue(p []byte) (line logLine, wait bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.size+len(p) > logBuffer {
		l.dropped++
		return line, false
	}
	line = logLine{slices.Clone(p), make(chan struct{})}
	l.queue = append(l.queue, line)
	l.size += len(p)
	if !l.draining {
		l.draining = true
		go l.drain()
	}
	return line, !l.stalled
}

// drain writes until nothing is left.
func (l *LogWriter) drain() {
	for {
		l.mu.Lock()
		if len(l.queue) == 0 {
			break
		}
		line := l.queue[0]
		l.mu.Unlock()
		l.w.Write(line.text) //nolint:errcheck // there is nowhere to report it
		close(line.written)
		l.mu.Lock()
		l.queue, l.size = l.queue[1:], l.size-len(line.text)
		l.mu.Unlock()
	}
	l.queue, l.draining, l.stalled = nil, false, false
	lines, report := l.dropped-l.reported, l.report
	if report != nil {
		l.reported = l.dropped
	}
	l.mu.Unlock()
	if lines > 0 && report != nil {
		report(lines)
	}
}

// Close waits for the lines that are left, for a second at most.
func (l *LogWriter) Close() error {
	l.mu.Lock()
	var last chan struct{}
	if n := len(l.queue); n > 0 {
		last = l.queue[n-1].written
	}
	l.mu.Unlock()
	if last != nil {
		within(last, logFlush)
	}
	return nil
}

// within reports whether done is closed before d has passed.
func within(done <-chan struct{}, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-timer.C:
		return false
	}
}
