package dataset

import (
	"context"
	"errors"
	"hash/maphash"
	"io/fs"
	"log/slog"
	"os"
	"slices"
)

// A part whose segments are within those of a merged part is stale: the merged part has its
// rows. Two writers that did not know of each other can have used the same numbers for
// different rows, so the names alone prove nothing.

// resolve corrects what split has told by the names: a part with event keys that the merged
// one lacks is live. read gives a part's footer.
func resolve(live, stale []span, read func(span) (footer, error)) (_, still []span) {
	for _, s := range stale {
		if f, err := read(s); err == nil {
			merged, err := read(containerOf(live, s))
			if err == nil && !merged.keys.contains(f.keys) {
				live = append(live, s)
				continue
			}
		}
		still = append(still, s)
	}
	slices.SortStableFunc(live, compareSpans)
	return live, still
}

// containerOf is the longest of the parts that s is within.
func containerOf(live []span, s span) (out span) {
	for _, l := range live {
		if s.within(l) && (out == span{} || out.within(l)) {
			out = l
		}
	}
	return out
}

// removeStale removes the parts of a table whose keys and rows are all in a merged part. The
// caller holds mu.
func (w *Writer) removeStale(name string, all []span) error {
	t, err := lookup(name)
	if err != nil {
		return err
	}
	live, stale := split(all)
	for _, s := range stale {
		path, merged := s.path(w.dir, name), containerOf(live, s).path(w.dir, name)
		within, err := t.within(path, merged)
		switch {
		case err != nil && !errors.Is(err, ErrDamaged) && !errors.Is(err, errNewer):
			return err
		case err != nil:
			w.log.Error("keeping a part whose segments are in a merged one: its rows cannot be compared, because one of the two cannot be read",
				slog.String("part", path), slog.String("merged", merged), slog.Any("error", err))
			continue
		case !within:
			w.log.Error("keeping a part with the number of a merged one but different rows: two consumers have written to this directory",
				slog.String("part", path), slog.String("merged", merged))
			continue
		}
		w.log.Warn("removing a part whose rows are in a merged one", slog.String("part", path))
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// partWithin reports whether a merged part has all keys and all rows of another part.
func partWithin[T Row](path, merged string) (bool, error) {
	t := tableOf[T]()
	small, err := t.readFooter(path)
	if err != nil {
		return false, err
	}
	large, err := t.readFooter(merged)
	if err != nil || !large.keys.contains(small.keys) {
		return false, err
	}
	if small.rows == 0 {
		return true, nil
	}
	seed, rows := maphash.MakeSeed(), map[uint64]bool{}
	for _, of := range []struct {
		path string
		each func(T) error
	}{
		{path, func(row T) error { rows[maphash.Comparable(seed, row.key())] = true; return nil }},
		{merged, func(row T) error { delete(rows, maphash.Comparable(seed, row.key())); return nil }},
	} {
		if err := errors.Join(verifyFile[T](context.Background(), of.path), eachRow(context.Background(), of.path, of.each)); err != nil {
			return false, err
		}
	}
	return len(rows) == 0, nil
}
