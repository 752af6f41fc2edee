package dataset

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/chainbound/valtrack/internal/diskio"
)

// RemovedFile keeps, in the data directory, the event keys of parts that retention
// removed: their events must not be stored again. It is a JSON object of
// producers and their intervals of counters.
const RemovedFile = "removed_events.json"

// removedPartsFile has the segments whose parts retention removed, by table, in the same
// format: what is missing otherwise was lost.
const removedPartsFile = "removed_parts.json"

func readRemoved(dir string) (Coverage, error) {
	c, err := readIntervals(filepath.Join(dir, RemovedFile))
	if err != nil {
		return nil, fmt.Errorf("%w; restore it, or remove it if no event older than the retention will be redelivered", err)
	}
	return c, nil
}

// addRemoved is durable when it returns nil. It creates the list of removed parts first:
// keys without such a list mark the directory of an earlier version.
func addRemoved(dir string, keys Coverage) error {
	if err := addRemovedParts(dir, "", nil); err != nil {
		return err
	}
	all, err := readRemoved(dir)
	if err != nil {
		return err
	}
	return writeIntervals(filepath.Join(dir, RemovedFile), all, keys)
}

// readRemovedParts also knows directories in which an earlier version removed parts without
// a list: there each table may begin later.
func readRemovedParts(dir string) (Coverage, error) {
	path := filepath.Join(dir, removedPartsFile)
	_, err := os.Lstat(path)
	if _, before := os.Lstat(filepath.Join(dir, RemovedFile)); err == nil || before != nil {
		c, err := readIntervals(path)
		if err != nil {
			return nil, fmt.Errorf("%w; restore it, or remove it: parts that retention removed then count as removed from the beginning of each table", err)
		}
		return c, nil
	}
	out := Coverage{}
	for _, table := range Tables() {
		all, err := spans(dir, table)
		if err != nil {
			return nil, err
		}
		if len(all) > 0 && all[0].first > 0 {
			out[table] = []Interval{{0, all[0].first - 1}}
		}
	}
	return out, nil
}

// listRemovedParts writes the list of a directory in which an earlier version, or a purge of
// its, has left only removed_events.json: what is lost from now on is missing.
func listRemovedParts(dir string) error {
	if _, err := os.Lstat(filepath.Join(dir, RemovedFile)); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if _, err := os.Lstat(filepath.Join(dir, removedPartsFile)); !errors.Is(err, fs.ErrNotExist) {
		return err // nil if it is there
	}
	return addRemovedParts(dir, "", nil)
}

// addRemovedParts is durable when it returns nil.
func addRemovedParts(dir, table string, parts []span) error {
	all, err := readRemovedParts(dir)
	if err != nil {
		return err
	}
	more := Coverage{}
	for _, s := range parts {
		more.Merge(Coverage{table: {{s.first, s.last}}})
	}
	return writeIntervals(filepath.Join(dir, removedPartsFile), all, more)
}

// readIntervals is empty for a file that does not exist.
func readIntervals(path string) (Coverage, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Coverage{}, nil
	}
	if err != nil {
		return nil, err
	}
	c, err := decodeCoverage(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s is damaged: %w", path, err)
	}
	return c, nil
}

func writeIntervals(path string, all, more Coverage) error {
	all.Merge(more)
	text, err := all.encode()
	if err != nil {
		return err
	}
	return diskio.ReplaceFile(path, []byte(text+"\n"), 0o644)
}
