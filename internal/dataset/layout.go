package dataset

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Directories next to the datasets: DuckDB reads every *.parquet below a directory,
// hidden or not.
const (
	stagingDir    = "_staging"    // the open segment
	compactingDir = "_compacting" // see compact.go
	damagedDir    = "_damaged"    // per table, the damaged parts that a writer has set aside
)

const (
	partPrefix = "part-"
	partSuffix = ".parquet"
)

// Dir is the dataset directory of a table.
func Dir(dataDir, table string) string { return filepath.Join(dataDir, table+".parquet") }

// Containing is the dataset directory that a path is in, however deep; empty for a path
// elsewhere. A directory counts by its name, whichever data directory it belongs to.
func Containing(path string) string {
	path, err := filepath.Abs(path)
	if err != nil {
		return ""
	}
	if dir, err := filepath.EvalSymlinks(filepath.Dir(path)); err == nil {
		path = filepath.Join(dir, filepath.Base(path))
	}
	for dir := filepath.Dir(path); dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		table, ok := strings.CutSuffix(filepath.Base(dir), ".parquet")
		if ok && slices.Contains(Tables(), table) {
			return dir
		}
	}
	return ""
}

// span is the run of segments whose rows a part holds, both ends inclusive. A part is
// named by its span, and a name is never reused for other content, except that Purge takes
// rows out and Migrate adds columns.
type span struct{ first, last uint64 }

func single(segment uint64) span { return span{segment, segment} }

// String is the form in the footer: 12, or 12-71 for a merged part.
func (s span) String() string {
	if s.first == s.last {
		return strconv.FormatUint(s.first, 10)
	}
	return fmt.Sprintf("%d-%d", s.first, s.last)
}

func (s span) file() string {
	if s.first == s.last {
		return fmt.Sprintf("%s%08d%s", partPrefix, s.first, partSuffix)
	}
	return fmt.Sprintf("%s%08d-%08d%s", partPrefix, s.first, s.last, partSuffix)
}

func (s span) path(dataDir, table string) string { return filepath.Join(Dir(dataDir, table), s.file()) }

func (s span) within(o span) bool { return o.first <= s.first && s.last <= o.last }

// parseFile reads a part's file name; false for a file that is not one of ours.
func parseFile(name string) (s span, ok bool) {
	text, ok1 := strings.CutPrefix(name, partPrefix)
	text, ok2 := strings.CutSuffix(text, partSuffix)
	first, last, merged := strings.Cut(text, "-")
	if !merged {
		last = first
	}
	var err1, err2 error
	s.first, err1 = strconv.ParseUint(first, 10, 64)
	s.last, err2 = strconv.ParseUint(last, 10, 64)
	return s, ok1 && ok2 && errors.Join(err1, err2) == nil && s.first <= s.last && s.file() == name
}

// spansOf lists the parts among the entries of a dataset directory, ascending.
func spansOf(entries []fs.DirEntry) (out []span) {
	for _, e := range entries {
		if s, ok := parseFile(e.Name()); ok {
			out = append(out, s)
		}
	}
	slices.SortFunc(out, compareSpans)
	return out
}

// compareSpans sorts by the first segment, and of those with the same the longest first.
func compareSpans(a, b span) int {
	return cmp.Or(cmp.Compare(a.first, b.first), cmp.Compare(b.last, a.last))
}

// foreignFiles lists the paths in a table's directory that are not parts, such as copies
// that a file manager named "part-00000001 (1).parquet".
func foreignFiles(dataDir, table string) (paths []string, err error) {
	dir := Dir(dataDir, table)
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", table, err)
	}
	for _, e := range entries {
		if _, ok := parseFile(e.Name()); !ok || e.IsDir() {
			paths = append(paths, filepath.Join(dir, e.Name()))
		}
	}
	return paths, nil
}

// spans lists a table's parts, ascending, of those with the same first segment the
// longest first; none when the directory is missing.
func spans(dataDir, table string) ([]span, error) {
	entries, err := os.ReadDir(Dir(dataDir, table))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", table, err)
	}
	return spansOf(entries), nil
}

// split separates the live parts from those whose rows are also in a
// merged part, by their names: see resolve. The swap of compact.go leaves none of the latter behind, but
// a copy of the directory that was made during one may have them.
func split(all []span) (live, stale []span) {
	for _, s := range all {
		if len(live) > 0 && s.within(live[len(live)-1]) {
			stale = append(stale, s)
			continue
		}
		live = append(live, s)
	}
	return live, stale
}

// Exists reports whether a data directory has datasets.
func Exists(dataDir string) bool {
	info, err := os.Stat(Dir(dataDir, commitTable))
	return err == nil && info.IsDir()
}

// committed returns the number of the newest committed segment: that of the newest
// part of the table that is renamed last. See afterAll for parts of other tables with
// higher numbers.
func committed(dataDir string) (newest uint64, ok bool, err error) {
	all, err := spans(dataDir, commitTable)
	for _, s := range all {
		newest, ok = max(newest, s.last), true
	}
	return newest, ok, err
}

// afterAll returns the number of the next segment: the one after all parts, except those
// of a commit that was not finished, which the next one replaces. Such a commit still
// has its part of metadata_events in _staging. A part beyond the newest of
// metadata_events without that was committed, and the one of metadata_events was removed by
// someone: its rows stay.
func afterAll(dataDir string) (next uint64, err error) {
	newest, any, err := committed(dataDir)
	if err != nil {
		return 0, err
	}
	if any {
		next = newest + 1
	}
	unfinished, found, err := staged(dataDir)
	if err != nil {
		return 0, err
	}
	for _, table := range Tables() {
		all, err := spans(dataDir, table)
		if err != nil {
			return 0, err
		}
		for _, s := range all {
			if !found || s != single(unfinished) {
				next = max(next, s.last+1)
			}
		}
	}
	return next, nil
}

// staged returns the segment whose commit was not finished, if there is one. The directory
// is listed and not globbed: the user's path may have any characters.
func staged(dataDir string) (segment uint64, found bool, err error) {
	dir := filepath.Join(dataDir, stagingDir)
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, fmt.Errorf("list staged segments: %w", err)
	}
	for _, e := range entries {
		n, err := strconv.ParseUint(e.Name(), 10, 64)
		if err != nil {
			continue
		}
		switch _, err := os.Stat(filepath.Join(dir, e.Name(), commitTable+partSuffix)); {
		case err == nil:
			segment, found = max(segment, n), true
		case !errors.Is(err, fs.ErrNotExist):
			return 0, false, err
		}
	}
	return segment, found, nil
}

// Parts lists the files of a table's committed parts at one moment, without those whose rows
// are in others. Files may be merged into others, or removed, at any time.
func Parts(dataDir, table string) (out []fs.FileInfo, err error) {
	parts, err := openTable(dataDir, table)
	if err != nil || parts == nil {
		return nil, err
	}
	defer parts.dir.Close()
	for _, s := range parts.live {
		if info, err := parts.dir.Stat(s.file()); err == nil {
			out = append(out, info)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return out, nil
}

// OpenPart opens the file of a committed part by the name that Parts gave.
func OpenPart(dataDir, table, name string) (*os.File, error) {
	parts, err := openTable(dataDir, table)
	if err != nil {
		return nil, err
	}
	if parts == nil {
		return nil, fs.ErrNotExist
	}
	defer parts.dir.Close()
	s, ok := parseFile(name)
	if !ok || !slices.Contains(parts.live, s) {
		return nil, fs.ErrNotExist
	}
	return parts.dir.Open(name)
}
