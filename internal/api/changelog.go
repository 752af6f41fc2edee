package api

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// changesKept is for how long changes are kept, maxChanges how many.
	changesKept = 30 * 24 * time.Hour
	maxChanges  = 50_000
	// changesSlack is how many more, and changesGrace how much older ones there may be until the
	// oldest are dropped, which copies the rest.
	changesSlack = 5_000
	changesGrace = time.Hour
)

// changeLog is what changed between views, and before the first as far as the State tells. The
// changes are numbered in the order in which they were found, which is that of the commits: a
// reader that remembers a number misses none, however late its events came.
type changeLog struct {
	mu      sync.Mutex
	id      string   // of this log: numbers of another one mean nothing
	all     []change // by number; never changed in place, so that readers can hold a part of it
	end     int64    // number of the next change
	updated chan struct{}
	// newest are the last changes as server-sent events, from a number on: most streams are sent
	// nothing else.
	newest struct {
		from         int64
		public, full []byte
	}
}

func newChangeLog() *changeLog {
	return &changeLog{id: newLogID(), end: 1, updated: make(chan struct{})}
}

func newLogID() string {
	var b [4]byte
	rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// find numbers the differences between two views; last is nil for the first one of a log, whose
// State says what changed before. They are not in the log until they are added.
func (l *changeLog) find(last, next *view) []change {
	var found []change
	if last == nil {
		found = next.pastChanges()
	} else {
		found = changesBetween(last, next)
	}
	slices.SortStableFunc(found, func(a, b change) int { return cmp.Or(cmp.Compare(a.At, b.At), strings.Compare(a.ID, b.ID)) })
	now, first := time.Now().UnixMilli(), l.last()+1
	for i := range found {
		found[i].Seq, found[i].FoundAt = first+int64(i), now
		if last == nil {
			found[i].FoundAt = min(now, found[i].At)
		}
	}
	return found
}

// add adds what was found.
func (l *changeLog) add(found []change) {
	now := time.Now().UnixMilli()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.newest.from, l.newest.public, l.newest.full = l.end, nil, nil
	l.all, l.end = append(l.all, found...), l.end+int64(len(found))
	if len(l.all) > maxChanges+changesSlack || len(l.all) > 0 && l.all[0].FoundAt < now-(changesKept+changesGrace).Milliseconds() {
		l.trim(now)
	}
}

// trim drops what is too old or too much.
func (l *changeLog) trim(now int64) {
	old := now - changesKept.Milliseconds()
	drop := max(0, len(l.all)-maxChanges)
	for drop < len(l.all) && l.all[drop].FoundAt < old {
		drop++
	}
	l.all = slices.Clone(l.all[drop:])
}

// publish wakes who waits for a new view.
func (l *changeLog) publish() {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.updated)
	l.updated = make(chan struct{})
}

// next is closed when there is a new view.
func (l *changeLog) next() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.updated
}

// from lists the changes from a number on, and gives the number of the last of all; 0 before the
// first. The list is shared: do not change it.
func (l *changeLog) from(number int64) (list []change, last int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fromLocked(number), l.end - 1
}

func (l *changeLog) fromLocked(number int64) []change {
	first := l.end - int64(len(l.all))
	i := min(max(0, number-first), int64(len(l.all)))
	return l.all[i:len(l.all):len(l.all)]
}

// cursor is that of the changes after a number.
func (l *changeLog) cursor(last int64) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cursorLocked(last)
}

func (l *changeLog) cursorLocked(last int64) string { return l.id + "-" + strconv.FormatInt(last, 10) }

// last is the number of the newest change; 0 before the first.
func (l *changeLog) last() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.end - 1
}

// number reads a cursor. It is kept when no change after it has been dropped.
func (l *changeLog) number(cursor string) (number int64, valid, kept bool) {
	id, text, ok := strings.Cut(cursor, "-")
	number, err := strconv.ParseInt(text, 10, 64)
	if !ok || err != nil || number < 0 || len(id) != len(l.id) {
		return 0, false, false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	first := l.end - int64(len(l.all))
	return number, true, id == l.id && number < l.end && number >= first-1
}

// eventReset says that changes are missing before the next ones.
const eventReset = "event: reset\ndata: {\"detail\":\"changes since the last event are no longer kept: read /api/v1/changes\"}\n\n"

// eventsAfter are the changes after a number as server-sent events, at most so many, and the
// number of the last. Where some of them have been dropped eventReset is the first.
func (l *changeLog) eventsAfter(number int64, limit int, full bool) ([]byte, int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := l.fromLocked(number + 1)
	lost := number+1 < l.end-int64(len(l.all))
	if lost || number+1 != l.newest.from || len(list) > limit {
		var reset []byte
		if lost {
			reset, number = []byte(eventReset), l.end-1
		}
		if list = list[:min(limit, len(list))]; len(list) > 0 {
			number = list[len(list)-1].Seq
		}
		return append(reset, l.events(list, full)...), number
	}
	into := &l.newest.public
	if full {
		into = &l.newest.full
	}
	if *into == nil {
		*into = l.events(list, full)
	}
	return *into, l.end - 1
}

func (l *changeLog) events(list []change, full bool) (out []byte) {
	for _, c := range list {
		out = append(out, "id: "+l.cursorLocked(c.Seq)+"\n"...)
		out = appendEvent(out, "change", marshal(c.forCaller(full)))
	}
	return out
}
