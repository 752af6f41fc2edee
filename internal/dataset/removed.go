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
		return nil, fmt.Errorf("%s is damaged: %w; restore it, or remove it if no event older than the retention will be redelivered", path, err)
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
	return diskio.ReplaceFile(filepath.Join(dir, RemovedFile), []byte(text+"\n"), 0o644)
}
