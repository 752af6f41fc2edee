package bus

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/chainbound/valtrack/internal/diskio/diskiotest"
	"github.com/chainbound/valtrack/internal/spool"
)

// The disk of an embedded server fills for a while: it says so, is restarted in place,
// and no event is lost.
func TestEmbeddedOnAFullDisk(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes seconds")
	}
	dir := diskiotest.Mount(t, "220m")
	log := newRecorder()
	e, err := StartEmbedded(filepath.Join(dir, "jetstream"), slog.New(log))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	c, err := Connect(t.Context(), Options{InProcess: e, Log: slog.New(log)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	got := collect(t, subscribeSoon(t, c))
	kept, err := spool.Open(spool.Config{Dir: filepath.Join(dir, "spool"), Sentry: "s", Boot: 1, Log: slog.New(log)})
	if err != nil {
		t.Fatal(err)
	}
	p := publishFrom(t, c, kept, false)
	published := 0
	publish := func(until func() bool) {
		for deadline := time.Now().Add(patience); !until() && time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
			publishN(t, p, 1)
			published++
		}
	}
	after := func(d time.Duration) func() bool {
		deadline := time.Now().Add(d)
		return func() bool { return time.Now().After(deadline) }
	}
	publish(after(time.Second))
	url := e.URL()
	filler := filepath.Join(dir, "filler")
	diskiotest.Fill(t, filler)
	publish(func() bool { return e.Err() != nil })
	if e.Err() == nil {
		t.Fatal("the full disk was not noticed")
	}
	publish(after(3 * time.Second))
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	publish(func() bool { return e.Err() == nil })
	publish(after(time.Second))
	if err := e.Err(); err != nil || e.URL() != url {
		t.Errorf("after the disk was freed: %v, at %s instead of %s", err, e.URL(), url)
	}
	got.checkAll(t, keyRange(1, 1, published))
	closePublisher(t, p)
	if s := kept.Stats(); s.Dropped != 0 {
		t.Errorf("%d events lost by the spool", s.Dropped)
	}
	for _, line := range []string{"embedded NATS cannot store events", "restarted embedded NATS"} {
		if !log.has(line) {
			t.Errorf("no line %q", line)
		}
	}
}
