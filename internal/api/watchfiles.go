package api

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"os"
	"slices"
)

// watchedFiles are files that are read again when they change. Their content is taken up when two
// looks in a row have found the same: a file that is being written is not. What cannot be used
// leaves what was taken up before.
type watchedFiles struct {
	paths []string
	// load takes the contents up, or says what is wrong with them.
	load func(contents [][]byte) error
	// report is called with nil when new contents were taken up, and once with each error.
	report func(error)

	taken, seen looked
	failed      string // the last error that was reported
}

// looked is what a look has found: contents, or an error.
type looked struct {
	contents [][]byte
	err      string
}

func (l looked) same(o looked) bool {
	return l.err == o.err && slices.EqualFunc(l.contents, o.contents, bytes.Equal)
}

// open takes the files up for the first time.
func (w *watchedFiles) open() error {
	now, err := w.read()
	if err == nil {
		err = w.load(now.contents)
	}
	w.taken, w.seen = now, now
	return err
}

// look reads the files.
func (w *watchedFiles) look() {
	now, err := w.read()
	settled := now.same(w.seen)
	w.seen = now
	switch {
	case !settled:
		return
	case now.same(w.taken) && w.failed == "":
		return
	case err == nil:
		err = w.load(now.contents)
	}
	if err != nil {
		if w.failed != err.Error() {
			w.failed = err.Error()
			w.report(err)
		}
		return
	}
	w.taken, w.failed = now, ""
	w.report(nil)
}

func (w *watchedFiles) read() (out looked, err error) {
	for _, path := range w.paths {
		text, err := readSmall(path)
		if err != nil {
			return looked{err: err.Error()}, err
		}
		out.contents = append(out.contents, text)
	}
	return out, nil
}

// maxWatched bounds such a file.
const maxWatched = keysFileMax

// readSmall reads a file, up to one byte more than it may have. A pipe would wait for its
// writer.
func readSmall(path string) ([]byte, error) {
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
		return nil, cmp.Or(err, fmt.Errorf("%s is not a regular file", path))
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxWatched+1))
}
