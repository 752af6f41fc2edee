package eventlog

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/chainbound/valtrack/internal/event"
)

func rejectedKeys(dir string) (keys []string, err error) {
	err = ReadRejected(dir, func(k event.Key, _ RejectedEvent) { keys = append(keys, k.String()) })
	return keys, err
}

// consecutive reports whether the keys are those of one run of counters.
func consecutive(keys []string) bool {
	for i := 1; i < len(keys); i++ {
		before, err1 := event.ParseKey(keys[i-1])
		before.Counter++
		if err1 != nil || keys[i] != before.String() {
			return false
		}
	}
	return len(keys) > 0
}

// A publisher that sends only invalid events must not fill the disk.
func TestRejectedFileIsBounded(t *testing.T) {
	dir := t.TempDir()
	r, err := openRejected(dir, 4096, quiet(), func(event.Key, RejectedEvent) {})
	if err != nil {
		t.Fatal(err)
	}
	const n = 200
	for i := range n {
		if err := r.Append(event.Encoded{Key: "s-1-" + strconv.Itoa(i+1), Data: []byte(strings.Repeat("x", 100))}, 1, errors.New("bad")); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	for _, name := range []string{RejectedName, olderRejectedName} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Size() > r.max || info.Size() == 0 {
			t.Errorf("%s: %+v, %v", name, info, err)
		}
	}
	keys, err := rejectedKeys(dir)
	if err != nil || !consecutive(keys) || keys[len(keys)-1] != "s-1-"+strconv.Itoa(n) || keys[0] == "s-1-1" {
		t.Errorf("keys %v, %v", keys, err)
	}
}

// An event that cannot be written is an error, and leaves no half line before the next.
func TestRejectedFileThatCannotBeWritten(t *testing.T) {
	dir := t.TempDir()
	r, err := OpenRejected(dir, quiet(), func(event.Key, RejectedEvent) {})
	if err != nil {
		t.Fatal(err)
	}
	add := func(counter string) error {
		return r.Append(event.Encoded{Key: "s-1-" + counter, Data: []byte("x")}, 1, errors.New("bad"))
	}
	if err := add("1"); err != nil {
		t.Fatal(err)
	}
	writable := r.file
	if r.file, err = os.Open(writable.Name()); err != nil { // every write fails, as on a full disk
		t.Fatal(err)
	}
	if err := add("2"); err == nil || !strings.Contains(err.Error(), "rejected events") {
		t.Errorf("error %v", err)
	}
	r.file.Close()
	r.file = writable
	if err := errors.Join(add("3"), r.Close()); err != nil {
		t.Fatal(err)
	}
	keys, err := rejectedKeys(dir)
	if d := cmp.Diff([]string{"s-1-1", "s-1-3"}, keys); err != nil || d != "" {
		t.Errorf("%v (-want +got):\n%s", err, d)
	}
}

// A full file that was put aside when no new one could be opened must not end it.
func TestRejectedFileIsOpenedLater(t *testing.T) {
	dir := t.TempDir()
	r, err := openRejected(dir, 100, quiet(), func(event.Key, RejectedEvent) {})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	reject := func(i int) {
		t.Helper()
		if err := r.Append(event.Encoded{Key: "s-1-" + strconv.Itoa(i), Data: []byte(strings.Repeat("x", 100))}, 1, errors.New("bad")); err != nil {
			t.Fatal(err)
		}
	}
	reject(1)
	path := filepath.Join(dir, RejectedName)
	if err := os.Rename(path, filepath.Join(dir, olderRejectedName)); err != nil {
		t.Fatal(err)
	}
	reject(2)
	if text, err := os.ReadFile(path); err != nil || !strings.Contains(string(text), `"s-1-2"`) {
		t.Errorf("the new file has %q, %v", text, err)
	}
}

// A whole last line without its end stays, and the next one does not run into it;
// a line without end or measure is passed over.
func TestRejectedFileThatWasEdited(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, RejectedName)
	text := strings.Repeat("y", maxRejectedLine+100) + "\n" + `{"key":"s-1-2"}`
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	r, err := openRejected(dir, MaxRejectedFile, quiet(), func(event.Key, RejectedEvent) {})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(r.Append(event.Encoded{Key: "s-1-3"}, 1, errors.New("bad")), r.Close()); err != nil {
		t.Fatal(err)
	}
	keys, err := rejectedKeys(dir)
	if d := cmp.Diff([]string{"s-1-2", "s-1-3"}, keys); err != nil || d != "" {
		t.Errorf("%v (-want +got):\n%s", err, d)
	}
	data, err := os.ReadFile(path)
	if err != nil || !strings.HasPrefix(string(data), text+"\n{") {
		t.Errorf("the file has %d bytes, %v", len(data), err)
	}
}

// Whoever moves or removes the file loses no later event.
func TestRejectedFileFollowsItsName(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run[1]")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	r, err := OpenRejected(dir, quiet(), func(event.Key, RejectedEvent) {})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	path := filepath.Join(dir, RejectedName)
	for i, lose := range []func() error{
		func() error { return nil },
		func() error { return os.Rename(path, path+".moved") },
		func() error { return os.Remove(path) },
		func() error { return errors.Join(os.Remove(path), os.WriteFile(path, nil, 0o644)) },
	} {
		if err := lose(); err != nil {
			t.Fatal(err)
		}
		key := "s-1-" + strconv.Itoa(i+1)
		if err := r.Append(event.Encoded{Key: key, Data: []byte("x")}, 1, errors.New("bad")); err != nil {
			t.Fatal(err)
		}
		if keys, err := rejectedKeys(dir); err != nil || len(keys) != 1 || keys[0] != key {
			t.Errorf("%d: the file has the keys %v, %v; want %s", i, keys, err, key)
		}
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := r.Append(event.Encoded{Key: "s-1-9"}, 1, errors.New("bad")); err == nil {
		t.Error("an event was kept in a directory that is not there")
	}
}

// After a failed fsync the events since the one before are not known to be on disk; those
// that were, and later ones, are.
func TestRejectedFileThatCannotBeSynced(t *testing.T) {
	dir := t.TempDir()
	r, err := OpenRejected(dir, quiet(), func(event.Key, RejectedEvent) {})
	if err != nil {
		t.Fatal(err)
	}
	add := func(counter string) error {
		return r.Append(event.Encoded{Key: "s-1-" + counter, Data: []byte("x")}, 1, errors.New("bad"))
	}
	if err := errors.Join(add("1"), r.Sync(), add("2")); err != nil {
		t.Fatal(err)
	}
	good, broken, err := os.Pipe() // which cannot be fsynced
	if err != nil {
		t.Fatal(err)
	}
	defer good.Close()
	r.file.Close()
	r.file = broken
	if err := r.Sync(); err == nil || !strings.Contains(err.Error(), "rejected events") {
		t.Errorf("error %v", err)
	}
	if err := errors.Join(add("3"), r.Sync(), r.Close()); err != nil {
		t.Fatal(err)
	}
	keys, err := rejectedKeys(dir)
	if err != nil || keys[0] != "s-1-1" || keys[len(keys)-1] != "s-1-3" {
		t.Errorf("keys %v, %v", keys, err)
	}
}

// A full file is fsynced before the next one is begun: Sync knows only that one.
func TestRejectedFileSyncsWhatItRenames(t *testing.T) {
	dir := t.TempDir()
	r, err := openRejected(dir, 200, quiet(), func(event.Key, RejectedEvent) {})
	if err != nil {
		t.Fatal(err)
	}
	add := func(counter string) error {
		return r.Append(event.Encoded{Key: "s-1-" + counter, Data: []byte(strings.Repeat("x", 100))}, 1, errors.New("bad"))
	}
	if err := add("1"); err != nil {
		t.Fatal(err)
	}
	good, broken, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer good.Close()
	real := r.file
	r.file = broken
	if err := r.replace(); err == nil {
		t.Error("a failed fsync of the full file is not an error")
	}
	r.file = real
	broken.Close()
	if err := r.Sync(); err == nil {
		t.Error("and is forgotten at the next fsync")
	}
	if err := errors.Join(add("2"), r.Sync(), r.Close()); err != nil {
		t.Error(err)
	}
}
