package bus

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/nats-io/nats.go/jetstream"
)

// contrib/nats/events.json is for a cluster: what a sentry would create, with three replicas.
func TestStreamFileIsWhatASentryCreates(t *testing.T) {
	text, err := os.ReadFile("../../contrib/nats/events.json")
	if err != nil {
		t.Fatal(err)
	}
	var file jetstream.StreamConfig
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	if file.Replicas != 3 || file.MaxBytes != streamMaxBytes {
		t.Errorf("%d replicas, %d bytes", file.Replicas, file.MaxBytes)
	}
	c := connect(t, startServer(t).URL(), discardLog())
	if _, err := c.ensureStream(t.Context()); err != nil {
		t.Fatal(err)
	}
	s, err := c.js.Stream(t.Context(), "EVENTS")
	if err != nil {
		t.Fatal(err)
	}
	differs := cmpopts.IgnoreFields(jetstream.StreamConfig{}, "Replicas", "MaxBytes", "Metadata", "AllowDirect")
	sorted := cmpopts.SortSlices(func(a, b string) bool { return a < b })
	if d := cmp.Diff(s.CachedInfo().Config, file, differs, sorted, cmpopts.EquateEmpty()); d != "" {
		t.Errorf("(-sentry +file):\n%s", d)
	}
}
