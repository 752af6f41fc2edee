package eventlog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/chainbound/valtrack/internal/diskio"
	"github.com/chainbound/valtrack/internal/event"
)

// published keeps what Replay publishes.
type published struct{ messages []string }

func (p *published) Publish(_ context.Context, e event.Encoded) error {
	p.messages = append(p.messages, e.Subject+" "+e.Key+" "+string(e.Data))
	return nil
}

func visit(n int) *event.VisitEnded {
	return &event.VisitEnded{
		Common:  event.Common{Network: "n", CrawlerID: "c", Timestamp: 1763800000000},
		VisitID: fmt.Sprint("v", n), ID: "16U", Started: 1763800000000, Ended: 1763800000000, Outcome: event.OutcomeOK,
	}
}

func writeLog(t *testing.T, dir string, boot uint64, events ...event.Event) {
	t.Helper()
	l, err := NewWriter(dir, "s", boot, quiet())
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		if err := l.Publish(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(t.Context()); err != nil {
		t.Errorf("second close: %v", err)
	}
	if err := l.Publish(t.Context(), visit(0)); !errors.Is(err, os.ErrClosed) {
		t.Errorf("publish after close: %v", err)
	}
}

func replay(t *testing.T, files ...string) (published, []string) {
	t.Helper()
	var p published
	var bad []string
	stats, err := Replay(t.Context(), &p, files, "n", func(b BadLine) { bad = append(bad, fmt.Sprintf("%s:%d: %v", b.File, b.Line, b.Err)) })
	if err != nil {
		t.Fatal(err)
	}
	if stats.Published != len(p.messages) || stats.Bad != len(bad) {
		t.Errorf("stats %+v for %d messages and %d bad lines", stats, len(p.messages), len(bad))
	}
	return p, bad
}

func wire(t *testing.T, key string, e event.Event) string {
	t.Helper()
	data, err := event.Encode(e)
	if err != nil {
		t.Fatal(err)
	}
	return e.Subject() + " " + key + " " + string(data)
}

func TestWriterAppendsAcrossRestarts(t *testing.T) {
	dir := t.TempDir()
	writeLog(t, dir, 1, visit(1), discovered(1), visit(2))
	writeLog(t, dir, 2, visit(3))
	got, bad := replay(t, filepath.Join(dir, "visit_events.log"), filepath.Join(dir, "discovery_events.log"), filepath.Join(dir, "metadata_events.log"))
	want := []string{wire(t, "s-1-1", visit(1)), wire(t, "s-1-3", visit(2)), wire(t, "s-2-1", visit(3)), wire(t, "s-1-2", discovered(1))}
	if d := cmp.Diff(want, got.messages); d != "" || len(bad) > 0 {
		t.Errorf("bad lines %q, messages (-want +got):\n%s", bad, d)
	}
}

// A kill can cut the last line anywhere.
func TestWriterGoesOnAfterATornLine(t *testing.T) {
	whole := filepath.Join(t.TempDir(), "whole")
	writeLog(t, whole, 1, visit(1), visit(2))
	data, err := os.ReadFile(filepath.Join(whole, "visit_events.log"))
	if err != nil {
		t.Fatal(err)
	}
	first := strings.IndexByte(string(data), '\n') + 1
	for _, cut := range []int{first + 1, first + 20, len(data) - 2, len(data) - 1} {
		dir := t.TempDir()
		path := filepath.Join(dir, "visit_events.log")
		if err := os.WriteFile(path, data[:cut], 0o644); err != nil {
			t.Fatal(err)
		}
		want := []string{wire(t, "s-1-1", visit(1))}
		var torn []string
		if cut == len(data)-1 { // all but the newline is a whole event
			want = append(want, wire(t, "s-1-2", visit(2)))
		} else {
			torn = []string{path + ":2: "}
		}
		check := func(when string) {
			t.Helper()
			got, bad := replay(t, path)
			if d := cmp.Diff(want, got.messages); d != "" {
				t.Errorf("cut at %d, %s (-want +got):\n%s", cut, when, d)
			}
			if len(bad) != len(torn) || len(bad) == 1 && !strings.HasPrefix(bad[0], torn[0]) {
				t.Errorf("cut at %d, %s: bad lines %q, want %q", cut, when, bad, torn)
			}
		}
		check("before the restart")
		writeLog(t, dir, 2, visit(3))
		want = append(want, wire(t, "s-2-1", visit(3)))
		check("after the restart")
	}
}

func TestWriterSurfacesWriteErrors(t *testing.T) {
	dir := t.TempDir()
	l, err := NewWriter(dir, "s", 1, quiet())
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "visit_events.log")
	readOnly, err := os.Open(path) // writes fail from now on
	if err != nil {
		t.Fatal(err)
	}
	l.mu.Lock()
	if err := l.files[event.SubjectVisitEnded].Close(); err != nil {
		t.Error(err)
	}
	l.files[event.SubjectVisitEnded] = diskio.NewAppendFile(path, readOnly)
	l.mu.Unlock()
	if err := l.Publish(t.Context(), visit(1)); err != nil {
		t.Errorf("buffered event: %v", err)
	}
	if err := l.flush(); err == nil || !strings.Contains(err.Error(), "visit_events.log") {
		t.Errorf("flush: %v", err)
	}
	// An error says that the event is lost, which this one is not yet.
	if err := l.Publish(t.Context(), visit(2)); err != nil {
		t.Errorf("publish of an event that is kept: %v", err)
	}
	n := 2
	for err = nil; err == nil && n < maxHeld; n++ {
		err = l.Publish(t.Context(), visit(3))
	}
	held := bytes.Count(l.files[event.SubjectVisitEnded].Held(), []byte("\n"))
	if err == nil || !strings.Contains(err.Error(), "is full") || held != n-1 {
		t.Errorf("full buffer: %v after %d events, %d held", err, n, held)
	}
	if err := l.Close(t.Context()); err == nil {
		t.Error("close hides that events are lost")
	}
}

// After a failed fsync the file is reopened: another fsync of that descriptor would
// go well whatever was lost.
func TestWriterReopensAfterAFailedSync(t *testing.T) {
	reader, writer, err := os.Pipe() // takes bytes and knows no fsync
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	f := diskio.NewAppendFile(filepath.Join(t.TempDir(), "visit_events.log"), writer)
	if err := f.Append([]byte("{}\n")); err != nil {
		t.Fatal(err)
	}
	l := &Writer{files: map[string]*diskio.AppendFile{event.SubjectVisitEnded: f}}
	if err := l.flush(); err == nil || !strings.Contains(err.Error(), "sync") {
		t.Errorf("flush: %v", err)
	}
	if _, err := writer.Write(nil); !errors.Is(err, os.ErrClosed) {
		t.Errorf("the old descriptor is still open: %v", err)
	}
	if err := errors.Join(f.Append([]byte("{}\n")), l.flush(), l.flush()); err != nil {
		t.Errorf("afterwards: %v", err)
	}
	if text, err := os.ReadFile(f.Path()); err != nil || string(text) != "{}\n" {
		t.Errorf("the file holds %q, error %v", text, err)
	}
	if err := l.closeFiles(); err != nil {
		t.Error(err)
	}
}

func TestWriterNamesAnUnusableDirectory(t *testing.T) {
	if _, err := NewWriter("/dev/null/logs", "s", 1, quiet()); err == nil || !strings.Contains(err.Error(), "/dev/null") {
		t.Errorf("error %v", err)
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "visit_events.log"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := NewWriter(dir, "s", 1, quiet()); err == nil || !strings.Contains(err.Error(), "visit_events.log") {
		t.Errorf("error %v", err)
	}
}

// logrotate moves the files, and may create empty ones in their place: no event is lost,
// and none is in a file that has been packed already.
func TestWriterFollowsMovedFiles(t *testing.T) {
	for name, replace := range map[string]func(path string) error{
		"moved":    func(string) error { return nil },
		"replaced": func(path string) error { return os.WriteFile(path, nil, 0o644) },
		"reopened": nil,
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			l, err := NewWriter(dir, "s", 1, quiet())
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, "visit_events.log")
			var files, want []string
			for n := 1; n <= 4; n++ {
				if err := l.Publish(t.Context(), visit(n)); err != nil {
					t.Fatal(err)
				}
				moved := fmt.Sprint(path, ".", n)
				if err := os.Rename(path, moved); err != nil {
					t.Fatal(err)
				}
				if replace == nil {
					err = l.Reopen()
					if _, missing := os.Stat(path); missing != nil {
						t.Error(missing)
					}
				} else {
					err = replace(path)
				}
				if err != nil {
					t.Fatal(err)
				}
				files, want = append(files, moved), append(want, wire(t, fmt.Sprint("s-1-", n), visit(n)))
				if got, bad := replay(t, moved); len(got.messages) != 1 || len(bad) > 0 {
					t.Errorf("%s has %d events, bad lines %q", moved, len(got.messages), bad)
				}
			}
			if err := l.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			got, bad := replay(t, files...)
			if d := cmp.Diff(want, got.messages); d != "" || len(bad) > 0 {
				t.Errorf("bad lines %q, messages (-want +got):\n%s", bad, d)
			}
		})
	}
}
