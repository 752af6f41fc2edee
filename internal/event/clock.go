package event

import "time"

// MaxClockError is how far a sentry's clock may be off, and how long an event may seem to
// have been stored before it was made. Beyond that nothing that is computed from the
// order or the age of events uses the event.
const MaxClockError = 5 * time.Minute

// ClockError returns by how much the clock behind an event's times is known to be off: ahead
// when above zero, behind when below. It is zero when that is at most MaxClockError or not
// known. stored is when the broker stored the event; zero when that is not known.
//
// An event cannot be stored before it was made, so one of its times that is later than
// stored shows a clock that is ahead. A clock that is behind looks like an event that was
// delivered late, as after an outage, unless the sentry has measured its skew.
func ClockError(e Event, stored time.Time) time.Duration {
	common, newest := times(e)
	var off time.Duration
	if !stored.IsZero() {
		off = time.Duration(newest-stored.UnixMilli()) * time.Millisecond
	}
	if off > MaxClockError {
		return off
	}
	if common.ClockSkewMS != nil {
		off = time.Duration(*common.ClockSkewMS) * time.Millisecond
		if off.Abs() > MaxClockError {
			return off
		}
	}
	return 0
}

// CommonOf returns the fields that every event has.
func CommonOf(e Event) Common {
	c, _ := times(e)
	return c
}

// times returns the newest time that an event states, in Unix milliseconds.
func times(e Event) (c Common, newest int64) {
	switch e := e.(type) {
	case *PeerDiscovered:
		return e.Common, e.Timestamp
	case *MetadataReceived:
		return e.Common, e.Timestamp
	case *VisitEnded:
		newest = max(e.Timestamp, e.Started, e.Ended)
		if e.Watch != nil {
			newest = max(newest, e.Watch.From, e.Watch.To)
			for _, m := range e.Watch.MetaDataChanges {
				newest = max(newest, e.Watch.From+min(m.At, maxTime)) // unbounded on the wire
			}
		}
		return e.Common, newest
	}
	return Common{}, 0
}
