package consumer

import (
	"errors"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/chainbound/valtrack/internal/dataset"
)

// While writes fail no event may be lost and none acknowledged.
func TestUnwritableDirectory(t *testing.T) {
	dir := t.TempDir()
	f := newFeed()
	c := start(t, dir, Config{SegmentRows: 2}, f)
	blocked := dataset.Dir(dir, dataset.Visit)
	replaceByFile(t, blocked)
	first, second := f.send(t, "s-1-1", visit("v1")), f.send(t, "s-1-2", visit("v2"))
	until(t, "the messages to be given back", func() bool { return first.String() == "nak" && second.String() == "nak" })
	until(t, "several attempts", func() bool { return c.Stats().Failures > 2 })
	if s := c.Stats(); s.Stored != 0 || s.Err == nil {
		t.Errorf("stats %+v", s)
	}
	replaceByDir(t, blocked)
	first, second = f.send(t, "s-1-1", visit("v1")), f.send(t, "s-1-2", visit("v2")) // as the server does
	until(t, "the acks", func() bool { return first.String() == "ack" && second.String() == "ack" })
	until(t, "the end of the fault", func() bool { return c.Stats().Err == nil })
	if s := c.Stats(); s.Stored != 2 || s.Duplicates != 0 {
		t.Errorf("stats %+v", s)
	}
	c.stop(t)
	if d := cmp.Diff([]string{"v1", "v2"}, visitIDs(t, dir)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestStopWhileUnwritable(t *testing.T) {
	dir := t.TempDir()
	f := newFeed()
	c := start(t, dir, Config{SegmentRows: 1}, f)
	replaceByFile(t, dataset.Dir(dir, dataset.Visit))
	a := f.send(t, "s-1-1", visit("v1"))
	until(t, "the message to be given back", func() bool { return a.String() == "nak" })
	c.stop(t) // the event is in the stream
	if s := c.Stats(); s.Stored != 0 || s.Err == nil {
		t.Errorf("stats %+v", s)
	}
}

// replaceByDir undoes it: a writer makes the tables' directories when it opens only.
func replaceByDir(t *testing.T, path string) {
	t.Helper()
	if err := errors.Join(os.Remove(path), os.Mkdir(path, 0o755)); err != nil {
		t.Fatal(err)
	}
}

func replaceByFile(t *testing.T, dir string) {
	t.Helper()
	if err := errors.Join(os.RemoveAll(dir), os.WriteFile(dir, nil, 0o644)); err != nil {
		t.Fatal(err)
	}
}
