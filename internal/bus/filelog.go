package bus

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/chainbound/valtrack/internal/event"
)

const (
	// logFlushEvery is how often a log file is fsynced, and how often a disk that
	// took nothing is tried again.
	logFlushEvery = time.Second
	// logBufferMax bounds what waits for a disk that takes nothing; then Publish
	// fails.
	logBufferMax = 8 << 20
	// keyField is the field of a log line that holds the event's key.
	keyField = "event_key"
)

// LogFileName is the log file for events of a subject, "" for an unknown subject.
func LogFileName(subject string) string {
	switch subject {
	case event.SubjectPeerDiscovered:
		return "discovery_events.log"
	case event.SubjectMetadataReceived:
		return "metadata_events.log"
	case event.SubjectVisitEnded:
		return "visit_events.log"
	}
	return ""
}

// FileLog appends events as JSON lines to one file an event type: the event's
// flat object with its key as the field event_key. Files are never truncated.
// A line is the kernel's when Publish returns, and fsynced within a second.
type FileLog struct {
	sentry string
	boot   uint64
	log    *slog.Logger
	stop   chan struct{}
	worker sync.WaitGroup

	mu      sync.Mutex
	counter uint64
	line    []byte                 // reused
	files   map[string]*appendFile // by subject
	closed  bool
	err     error // of the last write; nil when it went well
	written uint64
}

// NewFileLog opens the log files in dir, creating it if missing. The counter of
// the keys starts at 1, so (sentryID, boot) must never have been used before.
func NewFileLog(dir, sentryID string, boot uint64, log *slog.Logger) (*FileLog, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("event log directory: %w", err)
	}
	l := &FileLog{sentry: sentryID, boot: boot, log: log, stop: make(chan struct{}), files: make(map[string]*appendFile)}
	for _, subject := range event.Subjects() {
		f, err := openLogFile(filepath.Join(dir, LogFileName(subject)), log)
		if err != nil {
			return nil, errors.Join(err, l.closeFiles())
		}
		l.files[subject] = f
	}
	l.worker.Go(l.flushLoop)
	return l, nil
}

// Publish writes the event's line. An error means that it is not kept: it is
// invalid, or so much waits for a disk that takes nothing that no more fits. That
// the disk takes nothing is logged, and an error of Close when it stays so.
func (l *FileLog) Publish(_ context.Context, e event.Event) error {
	data, err := event.Encode(e)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return ErrClosed
	}
	key := event.Key{Sentry: l.sentry, Boot: l.boot, Counter: l.counter + 1}
	l.line = append(l.line[:0], `{"`+keyField+`":`...)
	l.line = strconv.AppendQuote(l.line, key.String())
	l.line = append(l.line, ',')
	l.line = append(l.line, data[1:]...) // without the event's {
	l.line = append(l.line, '\n')
	l.counter++ // also of one that is dropped now: a gap among the keys tells of it
	f := l.files[e.Subject()]
	if len(f.buf)+len(l.line) > logBufferMax {
		return fmt.Errorf("event log %s: buffer of %d bytes is full: %w", f.path, logBufferMax, l.err)
	}
	l.written++
	if err := f.add(l.line); err != nil {
		l.err = err // it waits, and the next flush tells of it
	}
	return nil
}

// Close writes and fsyncs what is left and closes the files.
func (l *FileLog) Close(context.Context) error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	l.mu.Unlock()
	close(l.stop)
	l.worker.Wait()
	return errors.Join(l.flush(), l.closeFiles())
}

// Written counts the events accepted.
func (l *FileLog) Written() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.written
}

func (l *FileLog) flushLoop() {
	t := time.NewTicker(logFlushEvery)
	defer t.Stop()
	complain := newEvery(complainEvery)
	for {
		select {
		case <-l.stop:
			return
		case <-t.C:
			if err := l.flush(); err != nil && complain.due() {
				l.log.Error("cannot write the event log, trying again", slog.Any("error", err))
			}
		}
	}
}

// flush writes every buffer with the lock held and fsyncs without it. A file whose
// fsync failed is opened anew for what comes next: on the old descriptor the next fsync
// would go well, whatever was lost. Its lines since the fsync before are the kernel's,
// and perhaps never the disk's.
func (l *FileLog) flush() error {
	l.mu.Lock()
	var errs []error
	var written []*appendFile
	for _, f := range l.files {
		errs = append(errs, f.write())
		if f.unsynced {
			written = append(written, f)
			f.unsynced = false
		}
	}
	l.err = errors.Join(errs...)
	err := l.err
	l.mu.Unlock()
	for _, f := range written {
		if failed := f.sync(); failed != nil {
			l.mu.Lock()
			err = errors.Join(err, failed, f.close())
			l.mu.Unlock()
		}
	}
	return err
}

func (l *FileLog) closeFiles() error {
	var errs []error
	for _, f := range l.files {
		errs = append(errs, f.close())
	}
	return errors.Join(errs...)
}

func openLogFile(path string, log *slog.Logger) (*appendFile, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("event log: %w", err)
	}
	torn, err := endsTorn(f)
	if err == nil && torn {
		log.Warn("the last line of the event log is cut short, going on after it", slog.String("file", path))
		_, err = f.Write([]byte{'\n'})
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("event log %s: %w", path, err), f.Close())
	}
	return &appendFile{path: path, file: f}, nil
}

// endsTorn reports whether the file's last byte is not a newline.
func endsTorn(f *os.File) (bool, error) {
	info, err := f.Stat()
	if err != nil || info.Size() == 0 {
		return false, err
	}
	last := make([]byte, 1)
	if _, err := f.ReadAt(last, info.Size()-1); err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	return !bytes.Equal(last, []byte{'\n'}), nil
}
