package dataset

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// RemovedFile keeps, in the data directory, the event keys of parts that retention
// removed: their events are not to be stored again. It is a JSON object of
// producers and their intervals of counters.
const RemovedFile = "removed_events.json"

func readRemoved(dir string) (Coverage, error) {
	path := filepath.Join(dir, RemovedFile)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Coverage{}, nil
	}
	if err != nil {
		return nil, err
	}
	c, err := decodeCoverage(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s is damaged: %w; restore it, or remove it if no event older than the retention comes again", path, err)
	}
	return c, nil
}

// addRemoved is durable when it returns nil.
func addRemoved(dir string, keys Coverage) error {
	all, err := readRemoved(dir)
	if err != nil {
		return err
	}
	all.Merge(keys)
	text, err := all.encode()
	if err != nil {
		return err
	}
	path := filepath.Join(dir, RemovedFile)
	if err := writeSynced(path+".new", text+"\n"); err != nil {
		return err
	}
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	return syncDir(dir)
}

func writeSynced(path, text string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Sync(), f.Close())
}
