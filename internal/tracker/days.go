package tracker

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"slices"
	"time"

	"github.com/chainbound/valtrack/internal/estimate"
	"github.com/chainbound/valtrack/internal/eth2"
)

// day is one day's statistics with one client version, encoded.
type day struct {
	day int32 // since 1970
	// sealed ones are small, see estimate.Statistics.Seal.
	sealed bool
	client *eth2.Client // one for many days
	data   []byte
}

// liveDay is a day of a draft, ready for what is observed later.
type liveDay struct {
	day    int32
	client *eth2.Client
	*estimate.Statistics
}

// day gives the statistics that an observation goes to; nil when there is no more room
// for it.
func (d *draft) day(t *Tracker, at int64, client *eth2.Client) *estimate.Statistics {
	n := dayOf(at)
	for _, l := range d.statistics {
		if l.day == n && (l.client == client || *l.client == *client) {
			return l.Statistics
		}
	}
	if len(d.statistics) == maxLiveDays { // a rebuild adds all of a peer's days at once
		d.settle(nil)
	}
	var own *eth2.Client
	var s *estimate.Statistics
	for _, known := range d.days {
		if known.day == n && known.sealed {
			return nil
		}
		if *known.client != *client {
			continue
		}
		own = known.client
		if known.day == n {
			var err error
			if s, err = estimate.OpenStatistics(*client, known.data); err != nil {
				return nil // damaged
			}
		}
	}
	if own == nil {
		own = client
	}
	if s == nil {
		if !d.room(n) {
			return nil
		}
		s = estimate.NewStatistics(*client)
	}
	t.live += liveSize
	d.statistics = append(d.statistics, liveDay{n, own, s})
	return s
}

// room reports whether a day may have statistics with one more client version.
func (d *draft) room(n int32) bool {
	newest, versions := int32(0), 0
	count := func(day int32) {
		newest = max(newest, day)
		if day == n {
			versions++
		}
	}
	for _, known := range d.days {
		count(known.day)
	}
	for _, l := range d.statistics {
		if !slices.ContainsFunc(d.days, func(x day) bool { return x.day == l.day && *x.client == *l.client }) {
			count(l.day)
		}
	}
	return versions < maxVersionsADay && n > newest-Window
}

// sealAfter is how long after a day's end it is sealed: watches are filed under the day
// in which they began, and a sentry's spool may come late. What comes later still is not
// used for estimates.
const sealAfter = 6 * time.Hour

// settle encodes what was observed, seals days that are over, and forgets those that are
// out of the window. space is for its use, and comes back.
func (d *draft) settle(space []byte) []byte {
	if len(d.statistics) == 0 {
		return space
	}
	days := slices.Clone(d.days)
	for _, l := range d.statistics {
		space, _ = l.AppendBinary(space[:0]) // never fails
		data := bytes.Clone(space)
		i := slices.IndexFunc(days, func(x day) bool { return x.day == l.day && *x.client == *l.client })
		if i < 0 {
			days = append(days, day{day: l.day, client: l.client, data: data})
		} else {
			days[i].data, days[i].sealed = data, false
		}
	}
	d.statistics = nil
	slices.SortStableFunc(days, func(a, b day) int {
		return cmp.Or(cmp.Compare(a.day, b.day), cmp.Compare(a.client.Kind, b.client.Kind), cmp.Compare(a.client.Version, b.client.Version))
	})
	newest := days[len(days)-1].day
	days = slices.DeleteFunc(days, func(x day) bool { return x.day <= newest-Window })
	sealDays(days, dayOf(d.LastSeen-sealAfter.Milliseconds()))
	d.days = slices.Clip(days)
	return space
}

// sealDays makes the days before one small, in the order of what they cover.
func sealDays(days []day, before int32) {
	type open struct {
		*day
		*estimate.Statistics
		first, end eth2.Slot
	}
	if !slices.ContainsFunc(days, func(x day) bool { return x.day < before && !x.sealed }) {
		return
	}
	var list []open
	after := eth2.Slot(0)
	for i := range days {
		x := &days[i]
		if x.day >= before {
			continue
		}
		s, err := x.decode()
		if err != nil {
			continue // damaged
		}
		first, last, ok := s.Span()
		if x.sealed {
			if ok {
				after = max(after, last+1)
			}
			continue
		}
		list = append(list, open{x, s, first, last + 1})
	}
	slices.SortStableFunc(list, func(a, b open) int { return cmp.Compare(a.first, b.first) })
	for _, x := range list {
		x.Seal(after)
		after = max(after, x.end)
		data, _ := x.AppendBinary(nil) // never fails
		x.data, x.sealed = slices.Clip(data), true
	}
}

func (d day) decode() (*estimate.Statistics, error) {
	return estimate.DecodeStatistics(*d.client, d.data)
}

// appendDays encodes days for the database.
func appendDays(b []byte, days []day) []byte {
	for _, d := range days {
		n := uint64(d.day) << 1
		if d.sealed {
			n |= 1
		}
		b = binary.AppendUvarint(b, n)
		for _, field := range []string{string(d.client.Kind), d.client.Version} {
			b = append(binary.AppendUvarint(b, uint64(len(field))), field...)
		}
		b = append(binary.AppendUvarint(b, uint64(len(d.data))), d.data...)
	}
	return b
}

// parseDays is the inverse. The result shares memory with b.
func parseDays(b []byte, interned map[eth2.Client]*eth2.Client) (days []day, err error) {
	field := func() []byte {
		n, size := binary.Uvarint(b)
		if size <= 0 || n > uint64(len(b)-size) {
			err = errors.New("statistics are cut short")
			return nil
		}
		out := b[size : size+int(n)]
		b = b[size+int(n):]
		return out
	}
	for len(b) > 0 && err == nil {
		n, size := binary.Uvarint(b)
		if size <= 0 || n > 1<<31 {
			return nil, errors.New("statistics are damaged")
		}
		b = b[size:]
		d := day{day: int32(n >> 1), sealed: n&1 == 1}
		c := eth2.Client{Kind: eth2.ClientKind(field()), Version: string(field())}
		known, ok := interned[c]
		if !ok {
			known = &c
			interned[c] = known
		}
		d.client, d.data = known, field()
		days = append(days, d)
	}
	return days, err
}
