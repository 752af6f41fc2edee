package dataset

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Limits of a merged part.
const (
	// maxPartRows is well above a day of 10 000 peers, 2.25 M handshakes. Parts that are
	// larger already are left alone, so that each row is rewritten at most twice.
	maxPartRows = 4_000_000
	// daySpans is how many spans of the first merge make up one of the second.
	daySpans = 24
)

// partInfo is a part and its footer.
type partInfo struct {
	span
	footer
}

// Merged counts the results of one call of Compact.
type Merged struct{ Parts, Into int }

// Compact merges the parts of each ended span of time (an hour, say) into one part
// sorted by (id, timestamp), and those of 24 such spans again. A part belongs to
// the span in which it was committed, by this machine's clock, whatever its rows'
// timestamps; parts are merged only with those committed right before or after
// them, so a clock jump causes more parts and nothing worse.
//
// It may run while the writer's goroutine commits, which waits only for the swap
// at the end of each merge. After an error nothing is lost: what was merged stays
// merged, the rest is as before, and the next call continues.
func (w *Writer) Compact(ctx context.Context, every time.Duration) (Merged, error) {
	var done Merged
	var failed error
	for _, table := range registry() {
		for _, unit := range []time.Duration{every, daySpans * every} {
			err := w.compactTable(ctx, table, unit, &done)
			if ctx.Err() != nil {
				return done, errors.Join(failed, ctx.Err())
			}
			if err != nil {
				failed = errors.Join(failed, fmt.Errorf("compact %s: %w", Dir(w.dir, table.name), err))
			}
		}
	}
	return done, failed
}

// compactTable merges a table's parts of each ended unit of time. A damaged part is set
// aside, is in the error, and the others are merged.
func (w *Writer) compactTable(ctx context.Context, table table, unit time.Duration, done *Merged) error {
	var damaged error
	for {
		parts, err := w.committedParts(ctx, table)
		again := false
		for _, group := range groups(parts, unit, w.now(), func(s span) bool { return w.keptApart(table.name, s) }) {
			bad, mergeErr := w.verify(ctx, table, group)
			if len(bad) > 0 {
				again, damaged = true, errors.Join(damaged, mergeErr)
				break // without these parts the groups are different
			}
			if mergeErr == nil {
				mergeErr = w.merge(ctx, table, group)
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if mergeErr != nil {
				err = errors.Join(err, mergeErr)
				continue
			}
			done.Parts += len(group)
			done.Into++
		}
		if !again {
			return errors.Join(damaged, err)
		}
	}
}

// verify reads the parts, and sets aside those that are damaged.
func (w *Writer) verify(ctx context.Context, table table, parts []partInfo) (bad []damagedPart, err error) {
	for _, p := range parts {
		partErr := table.verify(ctx, p.path(w.dir, table.name))
		if errors.Is(partErr, ErrDamaged) {
			bad = append(bad, damagedPart{table.name, p.span, partErr})
		}
		err = errors.Join(err, partErr)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if asideErr := w.setAside(bad); asideErr != nil {
		return nil, errors.Join(err, asideErr)
	}
	return bad, err
}

// HoldCompactionFrom makes Compact and Retain leave the segments from first on alone,
// because the holder still has to read them one by one, until it is called again with
// that holder.
func (w *Writer) HoldCompactionFrom(holder string, first uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.holds[holder] = first
}

// committedParts reads the footers of a table's parts that may be merged or removed,
// in the order of segments. Parts that cannot be read are left out and are in the
// error; damaged ones are set aside.
func (w *Writer) committedParts(ctx context.Context, table table) (parts []partInfo, err error) {
	if err := w.lock.Check(); err != nil {
		return nil, err
	}
	w.mu.Lock()
	next := w.next
	for _, first := range w.holds {
		next = min(next, first)
	}
	all, err := spans(w.dir, table.name)
	w.mu.Unlock()
	if err != nil {
		return nil, err
	}
	read := func(s span) (footer, error) { return table.readFooter(s.path(w.dir, table.name)) }
	live, stale := split(all)
	live, _ = resolve(live, stale, read)
	var damaged []damagedPart
	for _, s := range live {
		if s.last >= next {
			continue
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		f, footerErr := read(s)
		if footerErr != nil {
			err = errors.Join(err, footerErr)
			if errors.Is(footerErr, ErrDamaged) {
				damaged = append(damaged, damagedPart{table.name, s, footerErr})
			}
			continue
		}
		parts = append(parts, partInfo{s, f})
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return parts, errors.Join(err, w.setAside(damaged))
}

// groups selects the parts to merge: runs of at least two that follow one another and
// were committed in the same span of time, excluding the current one, and parts with
// columns that the result would not have. No group has segments that apart tells from others.
func groups(parts []partInfo, unit time.Duration, now time.Time, apart func(span) bool) (out [][]partInfo) {
	of := func(ms int64) int64 { return ms / unit.Milliseconds() }
	var group []partInfo
	var rows int64
	flush := func() {
		if len(group) > 1 {
			out = append(out, group)
		}
		group, rows = nil, 0
	}
	for _, p := range parts {
		if len(group) > 0 && (of(p.stored) != of(group[0].stored) || p.first != group[len(group)-1].last+1 || rows+p.rows > maxPartRows || apart(span{group[0].first, p.last})) {
			flush()
		}
		if of(p.stored) == of(now.UnixMilli()) || len(p.unknown) > 0 {
			flush()
			continue
		}
		group = append(group, p)
		rows += p.rows
	}
	flush()
	return out
}

// merge replaces the group's parts with a single one.
func (w *Writer) merge(ctx context.Context, table table, group []partInfo) error {
	if err := w.step("merge " + table.name); err != nil {
		return err
	}
	work := filepath.Join(w.dir, compactingDir, "merge")
	if err := errors.Join(os.RemoveAll(work), os.MkdirAll(work, 0o755)); err != nil {
		return err
	}
	result := footer{keys: Coverage{}, sorted: true, table: table.name, committed: map[string]int64{}}
	in := make([]source, 0, len(group))
	for _, p := range group {
		result.keys.Merge(p.keys)
		result.stored = max(result.stored, p.stored)
		result.purged += p.purged
		result.committed = addCommitted(result.committed, p.committed)
		in = append(in, source{path: p.path(w.dir, table.name), rows: p.rows, sorted: p.sorted})
	}
	whole := span{group[0].first, group[len(group)-1].last}
	result.span = whole.String()
	file, err := table.merge(ctx, work, in, result)
	if err == nil {
		out := make([]span, len(group))
		for i, p := range group {
			out[i] = p.span
		}
		err = w.swap(table.name, out, addedPart{whole, file})
	}
	return errors.Join(err, os.RemoveAll(work)) // a full disk has no room for half a merge
}

// addCommitted sums rows by table; nil when one of the two is not known.
func addCommitted(a, b map[string]int64) map[string]int64 {
	if a == nil || b == nil {
		return nil
	}
	for table, rows := range b {
		a[table] += rows
	}
	return a
}

// Retain removes the parts that are older than the moment: those committed before
// it, by this machine's clock, with rows that are all older or in the future. Their event
// keys stay covered. The newest part stays: it shows which segment was the last. Parts that
// cannot be read stay and are in the error. Retain runs in Compact's goroutine.
func (w *Writer) Retain(ctx context.Context, before time.Time) (removed int, err error) {
	for _, table := range registry() {
		n, tableErr := w.retainTable(ctx, table, before.UnixMilli())
		removed += n
		if tableErr != nil {
			err = errors.Join(err, fmt.Errorf("remove old parts of %s: %w", Dir(w.dir, table.name), tableErr))
		}
	}
	return removed, err
}

func (w *Writer) retainTable(ctx context.Context, table table, before int64) (int, error) {
	parts, unread := w.committedParts(ctx, table)
	if len(parts) == 0 {
		return 0, unread
	}
	now := w.now()
	old := slices.DeleteFunc(parts[:len(parts)-1], func(p partInfo) bool { return p.lastTime(now) >= before })
	if len(old) == 0 {
		return 0, unread
	}
	keys := Coverage{}
	out := make([]span, len(old))
	for i, p := range old {
		keys.Merge(p.keys)
		out[i] = p.span
	}
	if err := w.step("remember " + table.name); err != nil {
		return 0, err
	}
	if table.name == commitTable { // the table whose footers count
		if err := addRemoved(w.dir, keys); err != nil {
			return 0, err
		}
	}
	if err := addRemovedParts(w.dir, table.name, out); err != nil {
		return 0, err
	}
	if err := os.MkdirAll(filepath.Join(w.dir, compactingDir), 0o755); err != nil {
		return 0, err
	}
	if err := w.swap(table.name, out); err != nil {
		return 0, errors.Join(unread, err)
	}
	return len(out), unread
}
