package dataset

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

const (
	// stagingDir stands outside of the datasets: DuckDB reads every *.parquet below
	// a directory, hidden or not.
	stagingDir = "_staging"
	partPrefix = "part-"
	partSuffix = ".parquet"
)

// Dir is the dataset directory of a table.
func Dir(dataDir, table string) string { return filepath.Join(dataDir, table+".parquet") }

func partName(segment uint64) string { return fmt.Sprintf("%s%08d%s", partPrefix, segment, partSuffix) }

func partPath(dataDir, table string, segment uint64) string {
	return filepath.Join(Dir(dataDir, table), partName(segment))
}

// segments lists the numbers of a table's parts, ascending; none when the
// directory is missing.
func segments(dataDir, table string) ([]uint64, error) {
	entries, err := os.ReadDir(Dir(dataDir, table))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", table, err)
	}
	var out []uint64
	for _, e := range entries {
		name, ok1 := strings.CutPrefix(e.Name(), partPrefix)
		name, ok2 := strings.CutSuffix(name, partSuffix)
		if n, err := strconv.ParseUint(name, 10, 64); ok1 && ok2 && err == nil {
			out = append(out, n)
		}
	}
	slices.Sort(out)
	return out, nil
}

// committed gives the number of the newest committed segment: the newest part of
// the table that is renamed last. A part of another table with a higher number
// belongs to a segment that was never committed.
func committed(dataDir string) (newest uint64, ok bool, err error) {
	all, err := segments(dataDir, Metadata)
	if err != nil || len(all) == 0 {
		return 0, false, err
	}
	return all[len(all)-1], true, nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("fsync directory: %w", err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("fsync directory %s: %w", dir, err)
	}
	return nil
}
