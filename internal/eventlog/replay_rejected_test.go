package eventlog

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/chainbound/valtrack/internal/event"
)

// replayed keeps what is published.
type replayed struct{ subjects, keys, data []string }

func (r *replayed) Publish(_ context.Context, e event.Encoded) error {
	r.subjects, r.keys, r.data = append(r.subjects, e.Subject), append(r.keys, e.Key), append(r.data, string(e.Data))
	return nil
}

func TestReplayOfRejectedEvents(t *testing.T) {
	const good = `{"network":"n","crawler_id":"c","crawler_location":"","timestamp":1795341600000,"visit_id":"v","id":"16U","direction":"outbound","started":1795341590000,"ended":1795341600000,"outcome":"refused"}`
	quoted := strings.ReplaceAll(good, `"`, `\"`)
	lines := []string{
		`{"time":1,"reason":"r","subject":"events.visit_ended","key":"s-1-7","stream_seq":3,"payload":"` + quoted + `"}`,
		`{"time":1,"reason":"r","subject":"events.visit_ended","stream_seq":4,"payload":"` + quoted + `"}`,
		`{"time":1,"reason":"r","subject":"events.visit_ended","key":"s-1-8","stream_seq":5,"payload":"{}"}`,
		`{"time":1,"reason":"r","subject":"events.other","key":"s-1-9","stream_seq":6,"payload_base64":"/w=="}`,
		`nonsense`,
	}
	file := filepath.Join(t.TempDir(), "rejected_events.ndjson")
	if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	replay := func() *replayed {
		r, bad := &replayed{}, []int{}
		stats, err := Replay(t.Context(), r, []string{file}, "", func(b BadLine) { bad = append(bad, b.Line) })
		if d := cmp.Diff([]int{3, 4, 5}, bad); err != nil || d != "" || stats != (ReplayStats{Published: 2, Bad: 3}) {
			t.Errorf("%+v, %v, bad lines (-want +got):\n%s", stats, err, d)
		}
		return r
	}
	r := replay()
	if r.keys[0] != "s-1-7" || r.subjects[1] != event.SubjectVisitEnded || r.data[0] != good {
		t.Errorf("published %+v", r)
	}
	if key, err := event.ParseKey(r.keys[1]); err != nil || !strings.HasPrefix(key.Sentry, "file-") {
		t.Errorf("key %q: %v", r.keys[1], err)
	}
	if d := cmp.Diff(r, replay(), cmp.AllowUnexported(replayed{})); d != "" {
		t.Errorf("a second replay differs:\n%s", d)
	}
}
