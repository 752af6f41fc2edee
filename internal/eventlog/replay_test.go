package eventlog

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/chainbound/valtrack/internal/event"
)

func TestReplayReportsBadLines(t *testing.T) {
	good := strings.SplitN(wire(t, "", visit(1)), "  ", 2)[1]
	path := filepath.Join(t.TempDir(), "visit_events-2026.log")
	long := `{"x":"` + strings.Repeat("x", event.MaxSize+10000) + `"}`
	lines := []string{
		good, "nonsense", "", `{"metadata":null}`, long, strings.Replace(good, "{", `{"event_key":"no key",`, 1),
		strings.Replace(good, "{", `{"event_key":"a-1-2",`, 1), good[:len(good)-1] + `,"event_key":"a-1-3"}`, strings.Replace(good, "{", `{"event_key":7,`, 1),
	}
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	got, bad := replay(t, path)
	var at []string
	for _, b := range bad {
		at = append(at, strings.SplitN(strings.TrimPrefix(b, path), " ", 2)[0])
	}
	if d := cmp.Diff([]string{":2:", ":4:", ":5:", ":6:", ":9:"}, at); d != "" {
		t.Errorf("bad lines (-want +got):\n%s", d)
	}
	if len(got.messages) != 3 || !strings.HasPrefix(got.messages[0], "events.visit_ended file-") || !strings.Contains(got.messages[0], "-0-1 ") ||
		!strings.Contains(got.messages[1], " a-1-2 {\"network\"") || !strings.Contains(got.messages[2], " a-1-3 ") {
		t.Errorf("messages %q", got.messages)
	}
	again, _ := replay(t, path)
	if d := cmp.Diff(got.messages, again.messages); d != "" {
		t.Errorf("the second replay differs:\n%s", d)
	}
}

func TestReplayRefusesUnknownFiles(t *testing.T) {
	var p published
	for _, file := range []string{"events.log", filepath.Join(t.TempDir(), "visit_events.log")} {
		if _, err := Replay(t.Context(), &p, []string{file}, "", func(BadLine) {}); err == nil || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: error %v", file, err)
		}
	}
}

func FuzzReplayLine(f *testing.F) {
	f.Add([]byte(`{"event_key":"a-1-2","network":"n"}`))
	f.Add([]byte(`{"event_key":"","x":1}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		if key, err := checkLine(event.SubjectVisitEnded, line); err == nil && key != "" {
			if _, err := event.ParseKey(key); err != nil {
				t.Fatal(err)
			}
			if _, err := event.Decode(event.SubjectVisitEnded, withoutKey(line)); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// Log files of an earlier version are replayed. The package that this one comes from
// wrote these.
func TestLogFilesOfAnEarlierVersion(t *testing.T) {
	got, bad := replay(t, "testdata/before-split/visit_events.log", "testdata/before-split/discovery_events.log", "testdata/before-split/metadata_events.log")
	want := []string{wire(t, "s-1-1", visit(1)), wire(t, "s-1-3", visit(2)), wire(t, "s-1-2", discovered(1))}
	if d := cmp.Diff(want, got.messages); d != "" || len(bad) > 0 {
		t.Errorf("bad lines %q, messages (-want +got):\n%s", bad, d)
	}
}

func FuzzRejectedLine(f *testing.F) {
	f.Add([]byte(`{"time":1,"reason":"r","subject":"events.visit_ended","key":"s-1-7","stream_seq":3,"payload":"{}"}`))
	f.Add([]byte(`{"subject":"events.peer_discovered","payload_base64":"/w=="}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		e, err := parseRejected(line)
		if err != nil {
			return
		}
		if _, err := event.ParseKey(e.Key); err != nil {
			t.Fatal(err)
		}
		if _, err := event.Decode(e.Subject, e.Data); err != nil {
			t.Fatal(err)
		}
	})
}
