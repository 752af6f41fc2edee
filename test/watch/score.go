// Package watch holds the sentry's watch visits against a devnet's truth.
package watch

import (
	"fmt"
	"slices"
	"time"

	"github.com/chainbound/valtrack/internal/devnet"
	"github.com/chainbound/valtrack/internal/event"
)

// Promptly is what a change's time may be off in 99 % of them.
const Promptly = 50 * time.Millisecond

// Visit is one watch visit, its parts put together.
type Visit struct {
	Peer     string
	Outcome  string // empty while it goes on
	From, To time.Time
	Initial  []int
	Changes  []devnet.SubscriptionChange
	MetaData []event.WatchMetaData
	parts    int
}

// Log is the watches of a sentry, in the order in which their first parts came. The zero Log is
// empty.
type Log struct {
	Visits []*Visit
	byID   map[string]*Visit
}

// Add puts an event to those of its visit; one without a watch is left out. An error says that a
// part is missing.
func (l *Log) Add(e *event.VisitEnded) (err error) {
	if e.Watch == nil {
		return nil
	}
	from, to := time.UnixMilli(e.Watch.From), time.UnixMilli(e.Watch.To)
	w := l.byID[e.VisitID]
	if w == nil {
		w = &Visit{Peer: e.ID, From: from, To: from, Initial: e.Watch.Initial}
		if l.byID == nil {
			l.byID = make(map[string]*Visit)
		}
		l.byID[e.VisitID] = w
		l.Visits = append(l.Visits, w)
	}
	if e.Part != w.parts || !w.To.Equal(from) {
		err = fmt.Errorf("visit %s: part %d from %v after part %d to %v", e.VisitID, e.Part, from, w.parts-1, w.To)
	}
	w.parts++
	for _, change := range e.Watch.Changes {
		at := from.Add(time.Duration(change.At) * time.Millisecond)
		w.Changes = append(w.Changes, devnet.SubscriptionChange{Time: at, Subnet: change.Subnet, On: change.Subscribed})
	}
	w.MetaData = append(w.MetaData, e.Watch.MetaDataChanges...)
	if w.To = to; !e.More { // else it is going on
		w.Outcome = e.Outcome
	}
	return err
}

// Score compares watches with the truth. An event of the truth is found when the
// log has the same change of the same subnet within near; a change of the log is
// false when the truth has none.
type Score struct {
	Truth, Found, Logged, Falsely int
	Late                          []time.Duration // of those found
	Odd                           []string        // what has no counterpart, and when
}

// Add compares one watch. The truth is what the node changed, from near before the watch, as a
// change made just before may reach us just after, to the watch's last millisecond, which is of
// the watch too: times are in whole milliseconds. near is under half of what any client holds a
// subnet for.
func (s *Score) Add(w *Visit, truth []devnet.SubscriptionChange, near time.Duration) {
	type key struct {
		subnet int
		on     bool
	}
	open := make(map[key][]time.Time) // changes of the log not found in the truth yet
	for _, c := range w.Changes {
		k := key{c.Subnet, c.On}
		open[k] = append(open[k], c.Time)
	}
	s.Logged += len(w.Changes)
	for _, c := range truth {
		k := key{c.Subnet, c.On}
		i := slices.IndexFunc(open[k], func(at time.Time) bool { return at.Sub(c.Time).Abs() <= near })
		edge := c.Time.Sub(w.From) < near || w.To.Sub(c.Time) < near
		if i < 0 {
			if !edge {
				s.Truth++
				s.Odd = append(s.Odd, fmt.Sprintf("only truth has subnet %d %v at %v", c.Subnet, c.On, c.Time.Sub(w.From)))
			}
			continue
		}
		s.Truth++
		s.Found++
		s.Late = append(s.Late, open[k][i].Sub(c.Time))
		open[k] = slices.Delete(open[k], i, i+1)
	}
	for k, rest := range open {
		for _, at := range rest {
			s.Falsely++
			s.Odd = append(s.Odd, fmt.Sprintf("only the log has subnet %d %v at %v", k.subnet, k.on, at.Sub(w.From)))
		}
	}
}

// Within is how many of the changes that were found have a time at most d from the
// truth's.
func (s *Score) Within(d time.Duration) (n int) {
	for _, late := range s.Late {
		if late.Abs() <= d {
			n++
		}
	}
	return n
}

// Good reports whether at least 99 % found and at most 0.5 % false.
func (s *Score) Good() bool {
	return float64(s.Found) >= 0.99*float64(s.Truth) && float64(s.Falsely) <= 0.005*float64(s.Logged)
}

func (s *Score) String() string {
	slices.Sort(s.Late)
	at := func(share float64) time.Duration {
		if len(s.Late) == 0 {
			return 0
		}
		return s.Late[int(share*float64(len(s.Late)-1))]
	}
	return fmt.Sprintf("%d of %d changes found, %d of %d logged are false, late by %v (median), %v (99 %%), %v (most), %d within %v",
		s.Found, s.Truth, s.Falsely, s.Logged, at(.5), at(.99), at(1), s.Within(Promptly), Promptly)
}
