package consumer

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/chainbound/valtrack/internal/bus"
	"github.com/chainbound/valtrack/internal/dataset"
)

// A publisher that sends only what nobody can decode must not fill the disk.
func TestRejectedFileIsBounded(t *testing.T) {
	dir := t.TempDir()
	r, err := openRejected(dir, quiet())
	if err != nil {
		t.Fatal(err)
	}
	r.max = 4096
	const n = 200
	for i := range n {
		if err := r.append(bus.Message{Key: "s-1-" + strconv.Itoa(i+1), Data: []byte(strings.Repeat("x", 100))}, errors.New("bad")); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	for _, name := range []string{bus.RejectedFile, olderRejected} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Size() > r.max || info.Size() == 0 {
			t.Errorf("%s: %+v, %v", name, info, err)
		}
	}
	keys, err := Rejected(dir)
	if err != nil || !keys.Has("s-1", n) || keys.Has("s-1", 1) || len(keys["s-1"]) != 1 {
		t.Errorf("keys %v, %v", keys, err)
	}
}

// A whole last line without its end stays, and the next one does not run into it;
// a line without end or measure is passed over.
func TestRejectedFileThatWasEdited(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, bus.RejectedFile)
	text := strings.Repeat("y", maxRejectedLine+100) + "\n" + `{"key":"s-1-2"}`
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	r, err := openRejected(dir, quiet())
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(r.append(bus.Message{Key: "s-1-3"}, errors.New("bad")), r.Close()); err != nil {
		t.Fatal(err)
	}
	keys, err := Rejected(dir)
	if d := cmp.Diff(dataset.Coverage{"s-1": {{2, 3}}}, keys); err != nil || d != "" {
		t.Errorf("%v (-want +got):\n%s", err, d)
	}
	data, err := os.ReadFile(path)
	if err != nil || !strings.HasPrefix(string(data), text+"\n{") {
		t.Errorf("the file has %d bytes, %v", len(data), err)
	}
}
