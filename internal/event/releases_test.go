package event_test

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/chainbound/valtrack/internal/event"
	"github.com/chainbound/valtrack/internal/event/eventtest"
)

// releases has a directory for each release.
const releases = "../../test/e2e/testdata"

// message is an event as sentries publish it.
type message struct {
	Subject string          `json:"subject"`
	Data    json.RawMessage `json:"data"`
}

// TestMakeReleaseFixture writes the events of VALTRACK_RELEASE: `make release-fixture` sets it.
func TestMakeReleaseFixture(t *testing.T) {
	version := os.Getenv("VALTRACK_RELEASE")
	if version == "" {
		t.Skip("VALTRACK_RELEASE is not set: make release-fixture")
	}
	var lines []byte
	for _, e := range eventtest.Filled() {
		data, err := event.Encode(e)
		if err != nil {
			t.Fatal(err)
		}
		line, err := json.Marshal(message{e.Subject(), data})
		if err != nil {
			t.Fatal(err)
		}
		lines = append(append(lines, line...), '\n')
	}
	if err := os.WriteFile(filepath.Join(releases, version, "events.ndjson"), lines, 0o644); err != nil {
		t.Fatal(err)
	}
}

// A sentry of every release is understood: no field of its events has another name, another type
// or another meaning, and none is refused.
func TestEventsOfReleases(t *testing.T) {
	found, err := filepath.Glob(filepath.Join(releases, "v*", "events.ndjson"))
	if err != nil || len(found) == 0 {
		t.Fatalf("no fixtures: %v", err)
	}
	for _, path := range found {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		n := 0
		for lines := bufio.NewScanner(f); lines.Scan(); n++ {
			var m message
			if err := json.Unmarshal(lines.Bytes(), &m); err != nil {
				t.Fatalf("%s: %v", path, err)
			}
			e, err := event.Decode(m.Subject, m.Data)
			if err != nil {
				t.Errorf("%s: %v", path, err)
				continue
			}
			again, err := event.Encode(e)
			if err != nil {
				t.Errorf("%s: %v", path, err)
				continue
			}
			var want, got any
			if err := json.Unmarshal(m.Data, &want); err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(again, &got); err != nil {
				t.Fatal(err)
			}
			for _, field := range lost(want, got) {
				t.Errorf("%s: %s: field %s is lost or changed", path, m.Subject, field)
			}
		}
		if n < 3 {
			t.Errorf("%s has %d events", path, n)
		}
	}
}

// lost names what of a JSON value is not in another.
func lost(want, got any) (fields []string) {
	w, ok1 := want.(map[string]any)
	g, ok2 := got.(map[string]any)
	if !ok1 || !ok2 {
		a, err1 := json.Marshal(want)
		b, err2 := json.Marshal(got)
		if err1 != nil || err2 != nil || string(a) != string(b) {
			return []string{string(a)}
		}
		return nil
	}
	for name, value := range w {
		if _, ok := g[name]; !ok {
			fields = append(fields, name)
			continue
		}
		for _, field := range lost(value, g[name]) {
			fields = append(fields, name+": "+field)
		}
	}
	return fields
}
