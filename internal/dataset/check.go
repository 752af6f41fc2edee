package dataset

import (
	"cmp"
	"context"
	"fmt"
	"hash/maphash"
	"maps"
	"slices"
)

// maxCompared bounds the rows that Check remembers at once, some 32 bytes each.
const maxCompared = 16_000_000

// Health is what Check found in a data directory.
type Health struct {
	Tables   []TableHealth  `json:"tables"`
	Sentries []SentryHealth `json:"sentries"`
}

// TableHealth is one table's.
type TableHealth struct {
	Table string `json:"table"`
	Parts int    `json:"parts"`
	Rows  int64  `json:"rows"`
	// From and To are the oldest and the newest row's timestamps, Unix milliseconds.
	From int64 `json:"from"`
	To   int64 `json:"to"`
	// DuplicateRows counts rows that repeat an earlier one's peer, sentry,
	// time, visit and part or sequence number; DuplicateKeys the event keys that two
	// parts cover.
	DuplicateRows int64  `json:"duplicate_rows"`
	DuplicateKeys uint64 `json:"duplicate_keys"`
	// ClockErrors counts rows of sentries whose clock was known to be off (clock_error_ms).
	ClockErrors int64 `json:"clock_errors"`
	// Purged counts the rows that were in the parts and that `valtrack purge` removed.
	Purged int64 `json:"purged"`
	// NotCompared counts rows that were read but, to save memory, not compared with all
	// others: their timestamps are far out of order.
	NotCompared int64        `json:"not_compared"`
	Unreadable  []Unreadable `json:"unreadable"`
	// Foreign are entries of the table's directory that Valtrack did not write: readers
	// that take every *.parquet count their rows too, or fail.
	Foreign []string `json:"foreign"`
	// UnknownColumns are columns of a later version. Parts that have them can be read and
	// are not merged.
	UnknownColumns []string `json:"unknown_columns"`
}

// Unreadable is a file that cannot be read to its end.
type Unreadable struct {
	File  string `json:"file"`
	Error string `json:"error"`
}

// SentryHealth is about the events of one boot of a sentry, by their counters.
type SentryHealth struct {
	Sentry string `json:"sentry"`
	Boot   string `json:"boot"`
	Last   uint64 `json:"last"` // counter; the first is 1
	Stored uint64 `json:"stored"`
	// Rejected events are kept next to the datasets; Missing ones are in neither.
	Rejected uint64 `json:"rejected"`
	// Removed events are part of Stored: their rows were removed by retention, or they
	// were rejected and purged.
	Removed uint64     `json:"removed"`
	Missing uint64     `json:"missing"`
	Gaps    []Interval `json:"gaps"` // of counters, both ends missing
}

// OK reports whether the parts are Sound and there are no foreign files.
func (h *Health) OK() bool {
	return h.Sound() && !slices.ContainsFunc(h.Tables, func(t TableHealth) bool { return len(t.Foreign) > 0 })
}

// Sound reports whether there are no duplicates and everything can be read.
func (h *Health) Sound() bool {
	return !slices.ContainsFunc(h.Tables, func(t TableHealth) bool {
		return t.DuplicateRows > 0 || t.DuplicateKeys > 0 || len(t.Unreadable) > 0
	})
}

// Missing counts missing events.
func (h *Health) Missing() (n uint64) {
	for _, s := range h.Sentries {
		n += s.Missing
	}
	return n
}

// Check reads every file of the datasets to its end, also while a consumer writes.
// rejected are the keys of rejected events, which are kept next to the datasets.
func Check(ctx context.Context, dataDir string, rejected Coverage) (*Health, error) {
	h := &Health{Tables: []TableHealth{}, Sentries: []SentryHealth{}}
	var covered Coverage
	for _, table := range registry() {
		t, keys, err := table.check(ctx, dataDir)
		if err != nil {
			return nil, fmt.Errorf("check %s: %w", Dir(dataDir, table.name), err)
		}
		h.Tables = append(h.Tables, t)
		if table.name == commitTable {
			covered = keys
		}
	}
	removed, err := readRemoved(dataDir)
	if err != nil {
		return nil, err
	}
	covered.Merge(removed)
	h.Sentries = sentries(covered, rejected, removed)
	return h, nil
}

func sentries(covered, rejected, removed Coverage) []SentryHealth {
	out := []SentryHealth{}
	known := Coverage{}
	known.Merge(covered)
	known.Merge(rejected)
	for _, producer := range slices.Sorted(maps.Keys(known)) {
		sentry, counted := sentryOf(producer)
		if !counted {
			continue
		}
		runs, gaps := known[producer], known.Gaps(producer, nil)
		stored := count(covered[producer])
		if gaps == nil {
			gaps = []Interval{}
		}
		out = append(out, SentryHealth{
			Sentry: sentry, Boot: producer[len(sentry)+1:], Last: runs[len(runs)-1][1],
			Stored: stored, Rejected: count(runs) - stored, Removed: count(removed[producer]), Missing: count(gaps), Gaps: gaps,
		})
	}
	return out
}

// checkRows reads a table in the order of its parts' oldest rows. Rows that are
// equal have the same timestamp, so that only those are remembered that a later part
// may have too.
func checkRows[T Row](ctx context.Context, dataDir string) (TableHealth, Coverage, error) {
	var zero T
	t, keys := TableHealth{Table: zero.Table(), Unreadable: []Unreadable{}, Foreign: []string{}, UnknownColumns: []string{}}, Coverage{}
	foreign, err := foreignFiles(dataDir, t.Table)
	if err != nil {
		return t, keys, err
	}
	t.Foreign = append(t.Foreign, foreign...)
	parts, err := openTable(dataDir, t.Table)
	if err != nil || parts == nil {
		return t, keys, err
	}
	defer parts.dir.Close()
	var readable []partInfo
	for _, s := range slices.Concat(parts.live, parts.stale) { // others read the stale ones too
		f, err := footerIn[T](parts, s)
		if err != nil {
			t.unreadable(s.path(dataDir, t.Table), err)
			continue
		}
		t.DuplicateKeys += keys.overlap(f.keys)
		keys.Merge(f.keys)
		t.ClockErrors += f.clockErrors
		t.Purged += f.purged
		t.unknown(f.unknown)
		readable = append(readable, partInfo{s, f})
	}
	slices.SortFunc(readable, func(a, b partInfo) int { return cmp.Compare(a.oldest, b.oldest) })
	seed, seen := maphash.MakeSeed(), map[uint64]int64{} // hash to timestamp
	for i, p := range readable {
		rows := int64(0)
		err := scanPart(ctx, parts, p.span, Range{}, func(row T) error {
			rows++
			t.span(row.At())
			h := maphash.Comparable(seed, row.key())
			switch _, twice := seen[h]; {
			case twice:
				t.DuplicateRows++
			case len(seen) < maxCompared:
				seen[h] = row.At()
			default:
				t.NotCompared++
			}
			return nil
		})
		t.Rows += rows
		t.Parts++
		if ctx.Err() != nil {
			return t, keys, ctx.Err()
		}
		if err == nil && rows != p.rows {
			err = fmt.Errorf("%d rows, its footer says %d", rows, p.rows)
		}
		if err != nil {
			t.unreadable(p.path(dataDir, t.Table), err)
		}
		if i+1 < len(readable) {
			maps.DeleteFunc(seen, func(_ uint64, at int64) bool { return at < readable[i+1].oldest })
		}
	}
	return t, keys, nil
}

func (t *TableHealth) unreadable(file string, err error) {
	t.Unreadable = append(t.Unreadable, Unreadable{File: file, Error: err.Error()})
}

func (t *TableHealth) unknown(columns []string) {
	for _, c := range columns {
		if !slices.Contains(t.UnknownColumns, c) {
			t.UnknownColumns = append(t.UnknownColumns, c)
		}
	}
}

func (t *TableHealth) span(at int64) {
	if t.From == 0 || at < t.From {
		t.From = at
	}
	t.To = max(t.To, at)
}

func footerIn[T Row](parts *tableParts, s span) (footer, error) {
	f, err := parts.open(s)
	if err != nil {
		return footer{}, err
	}
	defer f.Close()
	return tableOf[T]().footerOf(f)
}
