package tracker

import (
	"cmp"
	"encoding/binary"
	"maps"
	"math/bits"
	"slices"
	"strings"
	"time"

	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/event"
)

const (
	// maxSentries bounds the sentries that are told apart, since publishers choose their ids. One
	// that was silent for forgetSentry before the newest event of all is forgotten.
	maxSentries  = 64
	forgetSentry = 7 * 24 * time.Hour
	// sentryHours is how many hours of counts are kept of each.
	sentryHours = 24
	// maxViews bounds the sentries that are remembered with a peer.
	maxViews = 16
	// maxSentryKeys bounds the keys that are remembered of a sentry.
	maxSentryKeys = 8
)

// Sentry is what its events tell of a sentry. Times are Unix milliseconds.
type Sentry struct {
	ID       string `json:"id"`       // crawler_id
	Location string `json:"location"` // crawler_location, as in its newest event
	Version  string `json:"version"`  // crawler_version likewise; empty where that was not told
	// Keys are the sentry ids in the keys of its events where they are not ID, in the order in which
	// they came.
	Keys      []string `json:"keys,omitempty"`
	FirstSeen int64    `json:"first_seen"`
	LastSeen  int64    `json:"last_seen"`
	// SkewMS is how many milliseconds its clock was ahead of the broker's at SkewAt; nil when
	// that was never measured.
	SkewMS *int64 `json:"clock_skew_ms"`
	SkewAt int64  `json:"clock_skew_at,omitempty"`
	// Hours are the newest sentryHours with events, oldest first.
	Hours []SentryHour `json:"hours"`
}

// SentryHour counts what a sentry has seen in an hour.
type SentryHour struct {
	Hour       int64 `json:"hour"` // Unix milliseconds
	Handshakes int64 `json:"handshakes"`
	Hellos     int64 `json:"hellos"` // handshakes with the node's subscriptions
	WatchedMS  int64 `json:"watched_ms"`
	Changes    int64 `json:"changes"` // of attestation subnets, in watches
}

// View is what one sentry knows of a peer. Times are Unix milliseconds, 0 for never.
type View struct {
	Sentry    string `json:"s"` // its ID
	Handshake int64  `json:"h,omitempty"`
	// Subnets is the number of attestation subnets that the peer was subscribed to at that
	// handshake; nil when it sent no hello.
	Subnets *int `json:"n,omitempty"`
	// On has a bit for each of these subnets; of views of earlier versions it is 0.
	On uint64 `json:"on,omitempty"`
	// Watched is the end of the newest part of a watch, which may go on.
	Watched int64 `json:"w,omitempty"`
	// Visit is the end of the newest visit, of which the outcome is.
	Visit   int64  `json:"v,omitempty"`
	Outcome string `json:"o,omitempty"`
	// HandshakeMS is how long the newest complete handshake took, from the dial on; nil when
	// that was not told.
	HandshakeMS *int64 `json:"ms,omitempty"`
}

// Seen is when the sentry last was connected to the peer, as far as handshakes and watches tell.
func (v View) Seen() int64 { return max(v.Handshake, v.Watched) }

func (v View) last() int64 { return max(v.Seen(), v.Visit) }

// subnets are those at the handshake; ok is false where they are not known.
func (v View) subnets() (on uint64, ok bool) {
	return v.On, v.Subnets != nil && *v.Subnets == bits.OnesCount64(v.On)
}

// sentryOf is the open segment's copy of a sentry; nil when there are too many.
func (f *fold) sentryOf(c *event.Common) *Sentry {
	if s := f.lastSentry; s != nil && s.ID == c.CrawlerID {
		return s
	}
	s := f.sentryDrafts[c.CrawlerID]
	if s == nil {
		was, known := f.sentries[c.CrawlerID]
		known = known && !f.displaced[c.CrawlerID]
		if !known && (c.CrawlerID == "" || !f.roomForSentry(c.Timestamp)) {
			return nil
		}
		if s = (&Sentry{ID: strings.Clone(c.CrawlerID)}); known {
			s = was.draft()
		}
		f.sentryDrafts[s.ID] = s
	}
	f.lastSentry = s
	return s
}

// draft is a copy that can be changed.
func (s *Sentry) draft() *Sentry {
	next := *s
	next.Hours = slices.Clone(s.Hours)
	return &next
}

// roomForSentry reports whether one more, with an event at a time, can be told apart. Where there
// are maxSentries, that displaces the one that is silent for longest, if it may be forgotten and
// the new one may not: a rebuild folds a long history at once, peer by peer.
func (f *fold) roomForSentry(at int64) bool {
	n, newest, oldest := 0, at, (*Sentry)(nil)
	count := func(s *Sentry) {
		n, newest = n+1, max(newest, s.LastSeen)
		if oldest == nil || cmp.Or(cmp.Compare(s.LastSeen, oldest.LastSeen), strings.Compare(s.ID, oldest.ID)) < 0 {
			oldest = s
		}
	}
	for id, s := range f.sentries {
		if f.sentryDrafts[id] == nil && !f.displaced[id] {
			count(s)
		}
	}
	for _, s := range f.sentryDrafts {
		count(s)
	}
	if n < maxSentries {
		return true
	}
	since := newest - forgetSentry.Milliseconds()
	if at < since || oldest.LastSeen >= since {
		return false
	}
	delete(f.sentryDrafts, oldest.ID)
	if f.sentries[oldest.ID] != nil {
		f.displaced[oldest.ID] = true
	}
	if f.lastSentry == oldest {
		f.lastSentry = nil
	}
	return true
}

// applySentries adds those of the open segment.
func (t *Tracker) applySentries() {
	maps.DeleteFunc(t.sentries, func(id string, _ *Sentry) bool { return t.fold.displaced[id] })
	maps.Copy(t.sentries, t.fold.sentryDrafts)
}

// newestEvent is when any sentry had its newest event, but not later than now, Unix
// milliseconds. It is now without sentries. A rebuild may read data that are long past.
func (t *Tracker) newestEvent() int64 {
	newest, now := int64(0), t.now().UnixMilli()
	for _, list := range []map[string]*Sentry{t.sentries, t.fold.sentryDrafts} {
		for _, s := range list {
			newest = max(newest, s.LastSeen)
		}
	}
	if newest == 0 {
		return now
	}
	return min(newest, now)
}

// countSentry notes what an event tells of its sentry.
func (f *fold) countSentry(e event.Event) {
	c, _ := ofEvent(e)
	s := f.sentryOf(&c)
	if s == nil {
		return
	}
	if s.FirstSeen == 0 || c.Timestamp < s.FirstSeen {
		s.FirstSeen = c.Timestamp
	}
	if c.Timestamp >= s.LastSeen {
		s.LastSeen = c.Timestamp
		f.interner.intern(&s.Location, c.CrawlerLocation)
		if c.CrawlerVersion != "" { // of the tables visit_events alone has it
			f.interner.intern(&s.Version, c.CrawlerVersion)
		}
	}
	if c.ClockSkewMS != nil && c.Timestamp >= s.SkewAt {
		s.SkewMS, s.SkewAt = copied(c.ClockSkewMS), c.Timestamp
	}
	hour := s.hour(c.Timestamp - c.Timestamp%time.Hour.Milliseconds())
	if hour == nil {
		return
	}
	switch e := e.(type) {
	case *event.MetadataReceived:
		hour.Handshakes++
		if e.SubscribedSubnets != nil {
			hour.Hellos++
		}
	case *event.VisitEnded:
		if e.Watch != nil {
			hour.WatchedMS += max(0, e.Watch.To-e.Watch.From)
			hour.Changes += int64(len(e.Watch.Changes))
		}
	}
}

// named notes the sentry id in the keys of a sentry's events: the name by which they are counted
// and numbered, where --crawler-id gives another to the sentry. An id belongs to who used it last.
func (f *fold) named(crawlerID, key string) {
	if key == "" || key == crawlerID {
		return
	}
	s := f.sentryDrafts[crawlerID]
	if s == nil || slices.Contains(s.Keys, key) { // then no other has it
		return
	}
	for id, other := range f.sentries {
		if f.sentryDrafts[id] == nil && !f.displaced[id] && slices.Contains(other.Keys, key) {
			f.sentryDrafts[id] = other.draft()
		}
	}
	for _, other := range f.sentryDrafts {
		if i := slices.Index(other.Keys, key); i >= 0 {
			other.Keys = slices.Delete(slices.Clone(other.Keys), i, i+1)
		}
	}
	s.Keys = append(slices.Clone(s.Keys[max(0, len(s.Keys)+1-maxSentryKeys):]), strings.Clone(key))
}

// hour is that of the counts; nil for one that is too old.
func (s *Sentry) hour(at int64) *SentryHour {
	n := len(s.Hours)
	if n > 0 && s.Hours[n-1].Hour == at { // nearly always
		return &s.Hours[n-1]
	}
	i, known := slices.BinarySearchFunc(s.Hours, at, func(h SentryHour, at int64) int { return cmp.Compare(h.Hour, at) })
	if !known {
		if n >= sentryHours && i == 0 {
			return nil
		}
		s.Hours = slices.Insert(s.Hours, i, SentryHour{Hour: at})
		if n >= sentryHours {
			s.Hours, i = slices.Delete(s.Hours, 0, 1), i-1
		}
	}
	return &s.Hours[i]
}

// several reports whether there is more than one sentry.
func (f *fold) several() bool {
	if len(f.sentries) > 1 {
		return true
	}
	n := len(f.sentries)
	for id := range f.sentryDrafts {
		if f.sentries[id] == nil {
			n++
		}
	}
	return n > 1
}

// maxOpen is how many visits are kept open with a peer.
func (f *fold) maxOpen() int {
	if f.several() {
		return maxOpenShared
	}
	return maxOpenVisits
}

// viewed is what each sentry knows of the peer. only is the id of the only sentry, empty where
// there are several.
func (p *Peer) viewed(only string) []View {
	who := cmp.Or(p.Crawler.CrawlerID, only)
	if len(p.Views) > 0 || who == "" {
		return p.Views
	}
	v := View{Sentry: who, Handshake: p.LastHandshake, Visit: p.LastVisit, Outcome: p.LastOutcome}
	if n := len(p.Watched); n > 0 {
		v.Watched = p.Watched[n-1][1]
	}
	return []View{v}
}

// view is what a sentry knows of the peer, to be changed; nil where it is the only one, since
// writing it with each peer would cost a tenth of a segment's time. Views that others have left
// go on, since viewed prefers them to the peer's own fields.
func (d *draft) view(f *fold, sentry string) *View {
	if len(d.Views) == 0 && !f.several() {
		return nil
	}
	if !d.copiedViews {
		d.Views, d.copiedViews = slices.Clone(d.viewed("")), true
	}
	i, known := slices.BinarySearchFunc(d.Views, sentry, func(v View, id string) int { return strings.Compare(v.Sentry, id) })
	if !known {
		if len(d.Views) == maxViews {
			oldest := slices.IndexFunc(d.Views, func(v View) bool {
				return !slices.ContainsFunc(d.Views, func(o View) bool { return o.last() < v.last() })
			})
			d.Views = slices.Delete(d.Views, oldest, oldest+1)
			if oldest < i {
				i--
			}
		}
		d.Views = slices.Insert(d.Views, i, View{})
		f.interner.intern(&d.Views[i].Sentry, sentry)
	}
	return &d.Views[i]
}

func (d *draft) viewHandshake(f *fold, e *event.MetadataReceived) {
	v := d.view(f, e.CrawlerID)
	if v == nil || e.Timestamp < v.Handshake {
		return
	}
	v.Handshake, v.Subnets, v.On = e.Timestamp, nil, 0
	if e.SubscribedSubnets != nil {
		v.Subnets = new(len(e.SubscribedSubnets))
		on := eth2.NewAttnets(e.SubscribedSubnets)
		v.On = binary.LittleEndian.Uint64(on[:])
	}
}

// viewWatch notes a watch, or a part of one: a long one has no other sign of life.
func (d *draft) viewWatch(f *fold, e *event.VisitEnded) {
	if v := d.view(f, e.CrawlerID); v != nil {
		v.Watched = max(v.Watched, e.Watch.To)
	}
}

func (d *draft) viewVisit(f *fold, e *event.VisitEnded) {
	v := d.view(f, e.CrawlerID)
	if v == nil || e.Ended < v.Visit {
		return
	}
	v.Visit = e.Ended
	f.interner.intern(&v.Outcome, e.Outcome)
	if e.HandshakeMS != nil {
		v.HandshakeMS = copied(e.HandshakeMS)
	}
}
