package dataset

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/chainbound/valtrack/internal/diskio"
)

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
	// From and To are the oldest and the newest row's timestamps, Unix milliseconds, without
	// the rows that ClockErrors counts.
	From int64 `json:"from"`
	To   int64 `json:"to"`
	// DuplicateRows counts rows that are equal to an earlier one in every column, of tables
	// without events those that repeat a peer and time; DuplicateKeys the event keys that two
	// parts cover.
	DuplicateRows int64  `json:"duplicate_rows"`
	DuplicateKeys uint64 `json:"duplicate_keys"`
	// ClockErrors counts rows of sentries whose clock was known to be off (clock_error_ms).
	ClockErrors int64 `json:"clock_errors"`
	// Purged counts the rows that were in the parts and that `valtrack purge` removed.
	Purged int64 `json:"purged"`
	// NotCompared counts rows that were read but, to save memory, not compared with all
	// others: their timestamps are far out of order.
	NotCompared int64 `json:"not_compared"`
	// Unreadable are parts that are damaged, or are not what their name says.
	Unreadable []Unreadable `json:"unreadable"`
	// SetAside are damaged parts that a consumer has moved out of the way: their rows are
	// missing.
	SetAside []string `json:"set_aside,omitempty"`
	// Holes are segments without a part that retention did not remove, or with a damaged one.
	Holes []Hole `json:"holes,omitempty"`
	// Disagreeing are parts whose rows or event keys are not those that other parts of the
	// same segments name.
	Disagreeing []Disagreement `json:"disagreeing,omitempty"`
	// Overlapping are parts with the number of a merged one but other rows.
	Overlapping []string `json:"overlapping,omitempty"`
	// NoChecksum counts parts of earlier versions: only what makes them unreadable is found.
	NoChecksum int `json:"no_checksum"`
	// Foreign are entries of the table's directory that Valtrack did not write: readers
	// that take every *.parquet count their rows too, or fail.
	Foreign []string `json:"foreign"`
	// UnknownColumns are columns of a later version. Parts that have them can be read and
	// are not merged.
	UnknownColumns []string `json:"unknown_columns"`

	// Announced are the last counters that later boots name, by producer.
	Announced map[string]uint64 `json:"-"`
}

// Unreadable is a file that cannot be read to its end.
type Unreadable struct {
	File  string `json:"file"`
	Error string `json:"error"`
}

// Hole is a run of segments, both ends included.
type Hole struct {
	First uint64 `json:"first"`
	Last  uint64 `json:"last"`
	// Rows are missing; null when nobody has counted them. Events bounds them: the events
	// that other tables' parts of these segments cover.
	Rows   *int64 `json:"rows"`
	Events uint64 `json:"events"`
}

// Disagreement is what is wrong with the parts of a run of segments.
type Disagreement struct {
	First   uint64 `json:"first"`
	Last    uint64 `json:"last"`
	Problem string `json:"problem"`
}

// SentryHealth is about the events of one boot of a sentry, by their counters.
type SentryHealth struct {
	Sentry string `json:"sentry"`
	Boot   string `json:"boot"`
	Last   uint64 `json:"last"` // counter, by the events of this boot and of the next; the first is 1
	Stored uint64 `json:"stored"`
	// Rejected events are kept next to the datasets; Missing ones are in neither.
	Rejected uint64 `json:"rejected"`
	// Removed events are part of Stored: their rows were removed by retention, or they
	// were rejected and purged.
	Removed uint64     `json:"removed"`
	Missing uint64     `json:"missing"`
	Gaps    []Interval `json:"gaps"` // of counters, both ends missing
	// Far counts stored events with counters that no sentry reaches, more than MaxJump beyond
	// Last: somebody made them up. What is below them is not missing.
	Far uint64 `json:"far"`
}

// OK reports whether the parts are Sound and there are no foreign files. Missing events and
// rows are apart.
func (h *Health) OK() bool {
	return h.Sound() && !slices.ContainsFunc(h.Tables, func(t TableHealth) bool { return len(t.Foreign) > 0 })
}

// Sound reports whether there are no duplicates and every part that is there is what was
// written.
func (h *Health) Sound() bool {
	return !slices.ContainsFunc(h.Tables, func(t TableHealth) bool {
		return t.DuplicateRows > 0 || t.DuplicateKeys > 0 || len(t.Unreadable)+len(t.SetAside)+len(t.Disagreeing)+len(t.Overlapping) > 0
	})
}

// Missing counts missing events.
func (h *Health) Missing() (n uint64) {
	for _, s := range h.Sentries {
		n += s.Missing
	}
	return n
}

// MissingRows counts the rows in holes. Where nobody has counted them it is as many as
// there can be, and at least one per hole.
func (h *Health) MissingRows() (n uint64) {
	for _, t := range h.Tables {
		for _, hole := range t.Holes {
			if hole.Rows != nil {
				n += uint64(*hole.Rows)
			} else {
				n += max(1, hole.Events)
			}
		}
	}
	return n
}

// Check reads every file of the datasets to its end, also while a consumer writes.
// rejected are the keys of rejected events, which are kept next to the datasets.
func Check(ctx context.Context, dataDir string, rejected Coverage) (*Health, error) {
	next, err := afterAll(dataDir)
	if err != nil {
		return nil, err
	}
	h := &Health{Tables: []TableHealth{}, Sentries: []SentryHealth{}}
	damaged, announced := map[string][]span{}, map[string]uint64{}
	for _, table := range registry() {
		t, bad, err := checkTable(ctx, dataDir, table, next)
		if err != nil {
			return nil, fmt.Errorf("check %s: %w", Dir(dataDir, table.name), err)
		}
		h.Tables = append(h.Tables, t)
		damaged[table.name] = bad
		maps.Copy(announced, t.Announced) // one table has them
	}
	covered, err := h.compareTables(ctx, dataDir, damaged)
	if err != nil {
		return nil, err
	}
	removed, err := readRemoved(dataDir)
	if err != nil {
		return nil, err
	}
	covered.Merge(removed)
	h.Sentries = sentries(covered, rejected, removed, announced)
	return h, nil
}

// retries is how often Check lists the parts again when a consumer that runs at the same
// time has replaced them, retryPause apart.
const (
	retries    = 5
	retryPause = 300 * time.Millisecond
)

// checkTable reads a table again when a consumer has removed parts that were listed, as when
// it starts.
func checkTable(ctx context.Context, dataDir string, table table, next uint64) (t TableHealth, bad []span, err error) {
	for range retries {
		if t, bad, err = table.check(ctx, dataDir, next); !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	if err != nil {
		return t, nil, err
	}
	if t.Foreign, err = foreignFiles(dataDir, table.name); err != nil {
		return t, nil, err
	}
	if t.Foreign == nil {
		t.Foreign = []string{}
	}
	t.SetAside, err = setAsideFiles(dataDir, table.name)
	return t, bad, err
}

// compareTables compares what the tables' parts say about each other, and returns the keys of
// all. A commit or merge between two listings looks like a hole: while somebody writes, only
// what is still wrong in another look is reported.
func (h *Health) compareTables(ctx context.Context, dataDir string, damaged map[string][]span) (covered Coverage, err error) {
	for try := range retries {
		var all *listing
		if all, err = listAll(dataDir); err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			return nil, err
		}
		all.leaveOut(damaged)
		wrong := all.compare()
		if len(wrong) == 0 || try == retries-1 || diskio.CheckLock(filepath.Join(dataDir, LockFile)) == nil {
			for i := range h.Tables {
				found := wrong[h.Tables[i].Table]
				h.Tables[i].Holes, h.Tables[i].Disagreeing, h.Tables[i].Overlapping = found.Holes, found.Disagreeing, found.Overlapping
			}
			return all.covered(), nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(retryPause):
		}
	}
	return nil, err
}

// sentries compares what is known of each boot with its counters, and with what later boots
// announce of its last one.
func sentries(covered, rejected, removed Coverage, announced map[string]uint64) []SentryHealth {
	out := []SentryHealth{}
	known := Coverage{}
	known.Merge(covered)
	known.Merge(rejected)
	first := firstBoots(known)
	for producer := range announced {
		// What a sentry published before this consumer first ran is not missing.
		if boot, sentry := bootOf(producer); known[producer] == nil && first[sentry] > 0 && boot > first[sentry] {
			known[producer] = []Interval{}
		}
	}
	for _, producer := range slices.Sorted(maps.Keys(known)) {
		sentry, counted := sentryOf(producer)
		if !counted {
			continue
		}
		gaps := known.Gaps(producer, nil)
		runs, far := splitFar(known[producer])
		last := uint64(0)
		if len(runs) > 0 {
			last = runs[len(runs)-1][1]
		}
		if end := announced[producer]; end > last && end-last <= MaxJump {
			gaps, last = append(gaps, Interval{last + 1, end}), end
		}
		stored := count(covered[producer]) - count(far)
		if gaps == nil {
			gaps = []Interval{}
		}
		out = append(out, SentryHealth{
			Sentry: sentry, Boot: producer[len(sentry)+1:], Last: last,
			Stored: stored, Rejected: count(runs) - stored, Removed: count(removed[producer]), Missing: count(gaps), Gaps: gaps, Far: count(far),
		})
	}
	return out
}

// firstBoots are the lowest boots of each sentry.
func firstBoots(known Coverage) map[string]uint64 {
	out := map[string]uint64{}
	for producer := range known {
		if boot, sentry := bootOf(producer); boot > 0 && (out[sentry] == 0 || boot < out[sentry]) {
			out[sentry] = boot
		}
	}
	return out
}

// bootOf is the boot of a producer, and its sentry; 0 for one that has none.
func bootOf(producer string) (boot uint64, sentry string) {
	sentry, counted := sentryOf(producer)
	if !counted {
		return 0, sentry
	}
	boot, _ = strconv.ParseUint(producer[len(sentry)+1:], 10, 64)
	return boot, sentry
}
