package bus

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/chainbound/valtrack/internal/diskio/diskiotest"
)

// A disk that is too small for an embedded server's stream is named, with what is free and what
// is needed; one that has what is needed is large enough.
func TestEmbeddedOnASmallDisk(t *testing.T) {
	t.Parallel()
	for size, want := range map[string]string{"60m": "needs 88 MiB of free disk space to begin with, and has 59 MiB", "89m": ""} {
		dir := filepath.Join(diskiotest.Mount(t, size), "jetstream")
		e, err := StartEmbedded(dir, discardLog())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(e.Close)
		c, err := Connect(t.Context(), Options{InProcess: e, Log: discardLog()})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		_, err = c.ensureStream(t.Context())
		switch {
		case want == "" && err != nil:
			t.Errorf("%s: %v", size, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), dir)):
			t.Errorf("%s: %v, want %q", size, err, want)
		}
	}
}
