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

// sealAfter is how long after a day's end it is sealed: watches belong to the day in
// which they started, and a sentry's spool may deliver late. Events after that are not
// used for estimates.
const sealAfter = 6 * time.Hour

// maxOpenDays bounds the days of a draft that are not encoded.
const maxOpenDays = Window + maxVersionsADay

// day is one day's statistics with one client version, encoded.
type day struct {
	day int32 // since 1970
	// sealed ones are small, see estimate.Statistics.Seal.
	sealed bool
	client *eth2.Client // shared by many days
	data   []byte
}

// openDay is a day that observations are added to.
type openDay struct {
	day    int32
	client *eth2.Client
	*estimate.Statistics
}

// dayOf counts days since 1970.
func dayOf(ms int64) int32 { return int32(ms / dayMS) }

const dayMS = 24 * 3600 * 1000

func (d day) decode() (*estimate.Statistics, error) {
	return estimate.DecodeStatistics(*d.client, d.data)
}

// decodable is the days without those that cannot be decoded: the same slice when all
// can, else a copy.
func decodable(days []day) []day {
	bad := func(d day) bool { _, err := d.decode(); return err != nil }
	if !slices.ContainsFunc(days, bad) {
		return days
	}
	return slices.DeleteFunc(slices.Clone(days), bad)
}

// day returns the statistics that an observation at a time, Unix milliseconds, goes to;
// nil when there is no room for it. It adds to the encoded day without decoding it.
func (d *draft) day(f *fold, at int64, client *eth2.Client) *estimate.Statistics {
	n := dayOf(at)
	for _, o := range d.openDays {
		if o.day == n && (o.client == client || *o.client == *client) {
			return o.Statistics
		}
	}
	if len(d.openDays) == maxOpenDays { // a rebuild adds all of a peer's days at once
		d.encodeDays(nil)
	}
	if slices.ContainsFunc(d.days, func(x day) bool { return x.day == n && x.sealed }) {
		return nil
	}
	key, s := d.reopen(n, client)
	if s == nil {
		if !d.room(n) {
			return nil
		}
		s = estimate.NewStatistics(*client)
	}
	f.size += daySize
	d.openDays = append(d.openDays, openDay{n, key, s})
	return s
}

// reopen opens an encoded day for more; nil when there is none. One that is damaged is dropped.
// The client is the one that the peer's other days share, if any.
func (d *draft) reopen(n int32, client *eth2.Client) (*eth2.Client, *estimate.Statistics) {
	for i, known := range d.days {
		if *known.client != *client {
			continue
		}
		client = known.client
		if known.day != n {
			continue
		}
		s, err := estimate.OpenStatistics(*client, known.data)
		if err != nil {
			d.days = slices.Delete(slices.Clone(d.days), i, i+1)
			d.LostDays++
			return client, nil
		}
		return client, s
	}
	return client, nil
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
	for _, o := range d.openDays {
		if !slices.ContainsFunc(d.days, func(x day) bool { return x.day == o.day && *x.client == *o.client }) {
			count(o.day)
		}
	}
	return versions < maxVersionsADay && n > newest-Window
}

// encodeDays encodes the open days, seals days that are over, and drops those that are
// out of the window. It uses space as a buffer, and returns it for the next call.
func (d *draft) encodeDays(space []byte) []byte {
	if len(d.openDays) == 0 {
		return space
	}
	days := slices.Clone(d.days)
	for _, o := range d.openDays {
		space, _ = o.AppendBinary(space[:0]) // never fails
		data := bytes.Clone(space)
		i := slices.IndexFunc(days, func(x day) bool { return x.day == o.day && *x.client == *o.client })
		if i < 0 {
			days = append(days, day{day: o.day, client: o.client, data: data})
		} else {
			days[i].data, days[i].sealed = data, false
		}
	}
	d.openDays = nil
	slices.SortStableFunc(days, func(a, b day) int {
		return cmp.Or(cmp.Compare(a.day, b.day), cmp.Compare(a.client.Kind, b.client.Kind), cmp.Compare(a.client.Version, b.client.Version))
	})
	newest := days[len(days)-1].day
	days = slices.DeleteFunc(days, func(x day) bool { return x.day <= newest-Window })
	days, lost := sealDays(days, dayOf(d.LastSeen-sealAfter.Milliseconds()))
	d.LostDays += lost
	d.days = slices.Clip(days)
	return space
}

// sealDays seals the days before one, in the order of the slots that they cover. It
// removes those of them that cannot be decoded, and says how many. It changes days.
func sealDays(days []day, before int32) (kept []day, lost uint32) {
	if !slices.ContainsFunc(days, func(x day) bool { return x.day < before && !x.sealed }) {
		return days, 0
	}
	type unsealed struct {
		*estimate.Statistics
		at         int // in kept
		first, end eth2.Slot
	}
	var list []unsealed
	after := eth2.Slot(0)
	kept = days[:0]
	for _, x := range days {
		if x.day < before {
			s, err := x.decode()
			if err != nil {
				lost++
				continue
			}
			first, last, ok := s.Span()
			if !x.sealed {
				list = append(list, unsealed{s, len(kept), first, last + 1})
			} else if ok {
				after = max(after, last+1)
			}
		}
		kept = append(kept, x)
	}
	slices.SortStableFunc(list, func(a, b unsealed) int { return cmp.Compare(a.first, b.first) })
	for _, x := range list {
		x.Seal(after)
		after = max(after, x.end)
		data, _ := x.AppendBinary(nil) // never fails
		kept[x.at].data, kept[x.at].sealed = slices.Clip(data), true
	}
	return kept, lost
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

// parseDays is the inverse of appendDays. The result shares memory with b, and its clients
// with interned.
func parseDays(b []byte, interned map[eth2.Client]*eth2.Client) (days []day, err error) {
	field := func() []byte {
		n, size := binary.Uvarint(b)
		if size <= 0 || n > uint64(len(b)-size) {
			err = errors.New("statistics are truncated")
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
