package dataset

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"

	"github.com/parquet-go/parquet-go"
)

// Inspect reports what would keep a writer from using a data directory, without changing
// anything, and returns the networks of the rows, sorted: those that the parts' statistics
// name. A damaged part is no obstacle: the writer sets it aside.
func Inspect(dir string) (networks []string, err error) {
	for _, table := range Tables() {
		info, err := os.Lstat(Dir(dir, table))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if err == nil && !info.IsDir() {
			return nil, fmt.Errorf("%s is not a directory: move it away", Dir(dir, table))
		}
	}
	next, err := afterAll(dir)
	if err != nil {
		return nil, err
	}
	names := map[string]bool{}
	for _, t := range registry() {
		all, err := spans(dir, t.name)
		if err != nil {
			return nil, err
		}
		for _, s := range all {
			if s.first >= next {
				continue // was not committed, and will be removed
			}
			if err := networksIn(s.path(dir, t.name), names); errors.Is(err, errNewer) {
				return nil, err
			}
		}
	}
	// A part that is not there was merged away by a writer since it was listed.
	if _, _, _, err := readCoverage(dir, next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return slices.Sorted(maps.Keys(names)), nil
}

// networksIn adds the networks of a part's rows, of more than two the first and the last
// by their names.
func networksIn(path string, names map[string]bool) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	p, _, err := openParquet(f)
	if err != nil {
		return err
	}
	if err := refuseNewer(p); err != nil {
		return fmt.Errorf("part %s: %w", path, err)
	}
	eachChunk(p, "network", func(low, high []byte) {
		if len(low) > 0 && len(high) > 0 {
			names[string(low)], names[string(high)] = true, true
		}
	})
	return nil
}

// eachChunk calls each with the least and the greatest value of a column in each row
// group; both are empty where there are no statistics.
func eachChunk(p *parquet.File, column string, each func(low, high []byte)) {
	for _, group := range p.Metadata().RowGroups {
		for _, c := range group.Columns {
			if path := c.MetaData.PathInSchema; len(path) == 1 && path[0] == column {
				each(c.MetaData.Statistics.MinValue, c.MetaData.Statistics.MaxValue)
			}
		}
	}
}
