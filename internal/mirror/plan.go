package mirror

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/chainbound/valtrack/internal/dataset"
)

// plan is what a round does: the manifest that it begins with, and the parts to copy.
type plan struct {
	next     *Manifest // without the parts of upload
	upload   []dataset.Part
	problems []error
	// replaced are the entries that each part of upload takes the place of.
	replaced map[string][]Entry
	now      time.Time
}

// planRound compares the copy with the datasets.
//
// An entry whose segments are in a part of the datasets is replaced by that part when the
// two are not the same: it was merged, purged, or got columns. An entry of which the datasets
// have no part stays: retention has removed that, or it was damaged. Everything else is a
// problem, and the entry stays: the directory is not the one that the copy was made of.
func planRound(old *Manifest, s *dataset.Snapshot, keepFrom int64, now time.Time) *plan {
	p := &plan{next: &Manifest{Replaced: slices.Clone(old.Replaced)}, replaced: map[string][]Entry{}, now: now}
	for _, table := range dataset.Tables() {
		entries := slices.DeleteFunc(slices.Clone(old.Parts), func(e Entry) bool { return e.Table != table })
		parts := slices.DeleteFunc(slices.Clone(s.Parts), func(q dataset.Part) bool { return q.Table != table })
		p.table(entries, parts, keepFrom)
	}
	return p
}

func (p *plan) table(entries []Entry, parts []dataset.Part, keepFrom int64) {
	newest := uint64(0) // the last segment, whose part stays whatever its age
	for _, e := range entries {
		newest = max(newest, e.Last)
	}
	for _, q := range parts {
		newest = max(newest, q.Last)
	}
	expired := func(q dataset.Part) bool { return q.Last != newest && q.LastTime(p.now) < keepFrom }
	for _, q := range parts {
		first, _ := slices.BinarySearchFunc(entries, q.First, func(e Entry, segment uint64) int {
			if e.Last < segment {
				return -1
			}
			return 1
		})
		last := first
		for last < len(entries) && entries[last].First <= q.Last {
			last++
		}
		had := entries[first:last]
		for _, e := range entries[:first] {
			p.keep(e, expired(e.Part))
		}
		entries = entries[last:]
		switch err := fits(q, had); {
		case expired(q):
			p.drop(had)
		case len(had) == 1 && had[0].Part == q:
			p.next.Parts = append(p.next.Parts, had[0])
		case err != nil:
			p.problems = append(p.problems, err)
			p.next.Parts = append(p.next.Parts, had...)
		default:
			p.upload = append(p.upload, q)
			p.replaced[q.Table+q.File] = had
		}
	}
	for _, e := range entries {
		p.keep(e, expired(e.Part))
	}
}

// fits is an error when a part cannot have come from the entries of its segments.
func fits(q dataset.Part, had []Entry) error {
	var rows int64
	for _, e := range had {
		rows += e.Rows + e.Purged
		if e.First < q.First || e.Last > q.Last || e.First == q.First && e.Last == q.Last && e.Keys != q.Keys {
			return notOurs(q, e, "other events")
		}
	}
	if rows > q.Rows+q.Purged {
		return notOurs(q, had[0], "more rows")
	}
	return nil
}

func notOurs(q dataset.Part, e Entry, what string) error {
	return refusedError{fmt.Errorf("%s %s is not copied: the copy has %s of segments %d to %d in %s; mirror to another prefix, or restore from the copy", q.Table, q.File, what, e.First, e.Last, e.Name)}
}

func (p *plan) keep(e Entry, expired bool) {
	if expired {
		p.drop([]Entry{e})
		return
	}
	p.next.Parts = append(p.next.Parts, e)
}

func (p *plan) drop(entries []Entry) {
	for _, e := range entries {
		p.next.Replaced = append(p.next.Replaced, Replaced{Name: e.Name}) // since when, publish says
	}
}

// keepReplaced leaves in the copy what a part that cannot be copied would replace.
func (p *plan) keepReplaced(q dataset.Part) {
	p.next.Parts = append(p.next.Parts, p.replaced[q.Table+q.File]...)
	delete(p.replaced, q.Table+q.File)
}

// finish is called when all parts of upload are in next.
func (p *plan) finish() {
	for _, entries := range p.replaced {
		p.drop(entries)
	}
	p.next.sort()
}

// sameObjects reports whether two manifests say the same.
func sameObjects(a, b *Manifest) bool {
	return slices.Equal(a.Parts, b.Parts) && a.Known == b.Known && slices.Equal(a.Replaced, b.Replaced)
}

// Refused reports whether an error needs somebody to do something, rather than time.
func Refused(err error) bool {
	var refused refusedError
	return errors.As(err, &refused)
}
