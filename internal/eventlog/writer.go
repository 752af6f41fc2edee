package eventlog

import (
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

	"github.com/chainbound/valtrack/internal/diskio"
	"github.com/chainbound/valtrack/internal/event"
	"github.com/chainbound/valtrack/internal/loglimit"
)

const (
	// flushPeriod is how often a log file is fsynced, and how often failed writes are
	// tried again.
	flushPeriod = time.Second
	// logPeriod limits log lines about an ongoing problem.
	logPeriod = 5 * time.Second
	// maxHeld limits what waits in memory while writes of a file fail, in bytes; then
	// Publish fails.
	maxHeld = 8 << 20
	// keyField is the field of a log line with the event's key.
	keyField = "event_key"
)

// fileName is the log file for events of a subject, "" for an unknown subject.
func fileName(subject string) string {
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

// Writer appends events as JSON lines to one file per event type: the event's flat
// object with its key as the field event_key. Files are never truncated, and may be moved
// or removed at any time: the next line goes to a new file. A line is in the page cache
// when Publish returns, and fsynced within a second.
//
// Publish may be called from any goroutine; a goroutine of the writer's own fsyncs the
// files. One lock guards everything; under it only the logger's is taken.
type Writer struct {
	sentry string
	boot   uint64
	log    *slog.Logger
	stop   chan struct{}
	worker sync.WaitGroup

	mu      sync.Mutex
	counter uint64
	line    []byte                        // reused
	files   map[string]*diskio.AppendFile // by subject
	closed  bool
	err     error // of the last write; nil when it succeeded
}

// NewWriter opens the log files in dir for appending, and creates what is missing. The
// counters of the keys begin at 1, so (sentryID, boot) must never have been used
// before. Close the writer.
func NewWriter(dir, sentryID string, boot uint64, log *slog.Logger) (*Writer, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("event log directory: %w", err)
	}
	w := &Writer{sentry: sentryID, boot: boot, log: log, stop: make(chan struct{}), files: make(map[string]*diskio.AppendFile)}
	for _, subject := range event.Subjects() {
		f, err := openFile(filepath.Join(dir, fileName(subject)), log)
		if err != nil {
			return nil, errors.Join(err, w.closeFiles())
		}
		w.files[subject] = f
	}
	w.worker.Go(w.flushLoop)
	return w, nil
}

// Publish writes the event's line. An error means that the event is not kept: it is
// invalid, or so much waits in memory because writes fail that there is no room. Failed
// writes are logged, and an error of Close when they still fail then.
func (w *Writer) Publish(_ context.Context, e event.Event) error {
	data, err := event.Encode(e)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return fmt.Errorf("publish to the event log: %w", os.ErrClosed)
	}
	w.counter++ // also of an event that is dropped: a gap in the keys shows that
	w.line = append(w.line[:0], `{"`+keyField+`":`...)
	w.line = strconv.AppendQuote(w.line, event.Key{Sentry: w.sentry, Boot: w.boot, Counter: w.counter}.String())
	w.line = append(w.line, ',')
	w.line = append(w.line, data[1:]...) // after its {
	w.line = append(w.line, '\n')
	f := w.files[e.Subject()]
	if err := f.Follow(); err != nil {
		w.err = err
	}
	if len(f.Held())+len(w.line) > maxHeld {
		return fmt.Errorf("event log %s: buffer of %d bytes is full: %w", f.Path(), maxHeld, w.err)
	}
	if err := f.Append(w.line); err != nil {
		w.err = err // the line is held, and the next flush logs it
	}
	return nil
}

// Reopen opens the files at their paths when those were moved or removed, as logrotate asks
// for with a signal. Without it that is done before the next line.
func (w *Writer) Reopen() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	var errs []error
	for _, f := range w.files {
		errs = append(errs, f.Follow(), f.Append(nil))
	}
	return errors.Join(errs...)
}

// Close writes and fsyncs what is left and closes the files. It does not wait for
// anything, so the context is not used. Closing it again does nothing.
func (w *Writer) Close(context.Context) error {
	w.mu.Lock()
	closed := w.closed
	w.closed = true
	w.mu.Unlock()
	if closed {
		return nil
	}
	close(w.stop)
	w.worker.Wait()
	return errors.Join(w.flush(), w.closeFiles())
}

func (w *Writer) flushLoop() {
	t := time.NewTicker(flushPeriod)
	defer t.Stop()
	limit := loglimit.Every(logPeriod)
	for {
		select {
		case <-w.stop:
			return
		case <-t.C:
			if err := w.flush(); err != nil && limit.Allow() {
				w.log.Error("cannot write the event log, will retry", slog.Any("error", err))
			}
		}
	}
}

// flush writes what is held and fsyncs without the lock. A file whose fsync failed is
// opened again for later lines: another fsync of the old descriptor would succeed,
// whatever was lost. Its lines since the last fsync are in the page cache, and may never
// reach the disk.
func (w *Writer) flush() error {
	w.mu.Lock()
	var errs []error
	written := make(map[*diskio.AppendFile]*os.File)
	for _, f := range w.files {
		errs = append(errs, f.Follow(), f.WriteHeld())
		if file := f.Unsynced(); file != nil {
			written[f] = file
		}
	}
	w.err = errors.Join(errs...)
	err := w.err
	w.mu.Unlock()
	for f, file := range written {
		if failed := file.Sync(); failed != nil {
			w.mu.Lock()
			err = errors.Join(err, fmt.Errorf("sync %s: %w", f.Path(), failed), f.Close())
			w.mu.Unlock()
		}
	}
	return err
}

func (w *Writer) closeFiles() error {
	var errs []error
	for _, f := range w.files {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

func openFile(path string, log *slog.Logger) (*diskio.AppendFile, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("event log: %w", err)
	}
	torn, err := endLine(f)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("event log %s: %w", path, err), f.Close())
	}
	if torn {
		log.Warn("the last line of the event log is truncated, continuing after it", slog.String("file", path))
	}
	return diskio.NewAppendFile(path, f), nil
}

// endLine appends a newline to a file that does not end with one.
func endLine(f *os.File) (torn bool, err error) {
	info, err := f.Stat()
	if err != nil || info.Size() == 0 {
		return false, err
	}
	var last [1]byte
	if _, err := f.ReadAt(last[:], info.Size()-1); err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	if last[0] == '\n' {
		return false, nil
	}
	_, err = f.Write([]byte{'\n'})
	return true, err
}
