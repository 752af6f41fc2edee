package event

import (
	"encoding/hex"
	"encoding/json"
	"strconv"
)

// Append appends the event's JSON to dst, one line without a newline: byte for
// byte what encoding/json makes of the event. It allocates only when dst is too
// small, or for a string that JSON has to escape.
func Append(dst []byte, e Event) []byte { return e.appendTo(dst) }

// line is JSON under construction. Its methods append one value after a literal,
// which is what stands before the value: punctuation, the field's name, and for
// text what it always begins with. The opt methods append nothing for a nil pointer.
type line []byte

func (b line) str(before, s string) line {
	if !plain(s) {
		quoted, _ := json.Marshal(s) // of a string it cannot fail
		return append(append(b, before[:len(before)-1]...), quoted...)
	}
	b = append(b, before...)
	b = append(b, s...)
	return append(b, '"')
}

// optStr appends nothing for an empty string.
func (b line) optStr(before, s string) line {
	if s == "" {
		return b
	}
	return b.str(before, s)
}

func (b line) num(before string, n uint64) line {
	return strconv.AppendUint(append(b, before...), n, 10)
}

func (b line) signed(before string, n int64) line {
	return strconv.AppendInt(append(b, before...), n, 10)
}

func (b line) optNum(before string, n *uint64) line {
	if n == nil {
		return b
	}
	return b.num(before, *n)
}

func (b line) hex(before string, v []byte) line {
	return append(hex.AppendEncode(append(b, before...), v), '"')
}

func (b line) ints(before string, list []int) line {
	b = append(b, before...)
	if list == nil {
		return append(b, "null"...)
	}
	b = append(b, '[')
	for i, n := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = small(b, int64(n))
	}
	return append(b, ']')
}

func (b line) common(c *Common) line {
	b = b.str(`{"network":"`, c.Network).str(`,"crawler_id":"`, c.CrawlerID)
	return b.str(`,"crawler_location":"`, c.CrawlerLocation).signed(`,"timestamp":`, c.Timestamp)
}

// metaData appends the fields of m and the closing brace.
func (b line) metaData(m *MetaData) line {
	b = b.num(`"seq_number":`, m.SeqNumber).hex(`,"attnets":"0x`, m.Attnets[:])
	if m.Syncnets != nil {
		b = b.hex(`,"syncnets":"0x`, []byte{byte(*m.Syncnets)})
	}
	return append(b.optNum(`,"custody_group_count":`, m.CustodyGroupCount), '}')
}

func (e *PeerDiscovered) appendTo(dst []byte) []byte {
	b := line(dst).common(&e.Common)
	b = b.str(`,"enr":"`, e.ENR).str(`,"id":"`, e.ID).hex(`,"node_id":"0x`, e.NodeID[:]).num(`,"seq":`, e.Seq)
	b = b.optStr(`,"ip":"`, e.IP).optStr(`,"ip6":"`, e.IP6)
	b = b.optPort(`,"port":`, e.Port).optPort(`,"udp":`, e.UDP).optPort(`,"quic":`, e.QUIC)
	if e.ForkDigest != nil {
		b = b.hex(`,"fork_digest":"0x`, e.ForkDigest[:])
	}
	if e.NextForkVersion != nil {
		b = b.hex(`,"next_fork_version":"0x`, e.NextForkVersion[:])
	}
	b = b.optNum(`,"next_fork_epoch":`, (*uint64)(e.NextForkEpoch))
	if e.Attnets != nil {
		b = b.hex(`,"attnets":"0x`, e.Attnets[:])
	}
	if e.Syncnets != nil {
		b = b.hex(`,"syncnets":"0x`, []byte{byte(*e.Syncnets)})
	}
	b = b.optNum(`,"custody_group_count":`, e.CustodyGroupCount)
	if e.NFD != nil {
		b = b.hex(`,"nfd":"0x`, e.NFD[:])
	}
	return append(b, '}')
}

// optPort appends nothing for port 0.
func (b line) optPort(before string, port uint16) line {
	if port == 0 {
		return b
	}
	return b.num(before, uint64(port))
}

func (e *MetadataReceived) appendTo(dst []byte) []byte {
	b := line(dst).common(&e.Common)
	b = b.optStr(`,"enr":"`, e.ENR).str(`,"id":"`, e.ID)
	if e.NodeID != nil {
		b = b.hex(`,"node_id":"0x`, e.NodeID[:])
	}
	b = b.str(`,"multiaddr":"`, e.Multiaddr).num(`,"epoch":`, uint64(e.Epoch))
	if e.MetaData != nil {
		b = append(b, `,"metadata":{`...).metaData(e.MetaData)
	} else {
		b = append(b, `,"metadata":null`...)
	}
	b = b.ints(`,"subscribed_subnets":`, e.SubscribedSubnets).str(`,"client_version":"`, e.ClientVersion)
	b = b.str(`,"visit_id":"`, e.VisitID).str(`,"direction":"`, e.Direction).str(`,"transport":"`, e.Transport)
	b = b.hex(`,"fork_digest":"0x`, e.ForkDigest[:]).num(`,"head_slot":`, uint64(e.HeadSlot)).num(`,"finalized_epoch":`, uint64(e.FinalizedEpoch))
	b = b.optNum(`,"earliest_available_slot":`, (*uint64)(e.EarliestAvailableSlot))
	if e.ColumnSubnets != nil {
		b = b.signed(`,"column_subnets":`, int64(*e.ColumnSubnets))
	}
	return append(b.ints(`,"sync_subnets":`, e.SyncSubnets), '}')
}

func (e *VisitEnded) appendTo(dst []byte) []byte {
	b := line(dst).common(&e.Common).str(`,"visit_id":"`, e.VisitID)
	if e.Part != 0 {
		b = b.signed(`,"part":`, int64(e.Part))
	}
	if e.More {
		b = append(b, `,"more":true`...)
	}
	b = b.str(`,"id":"`, e.ID).optStr(`,"multiaddr":"`, e.Multiaddr)
	b = b.str(`,"direction":"`, e.Direction).optStr(`,"transport":"`, e.Transport)
	b = b.signed(`,"started":`, e.Started).signed(`,"ended":`, e.Ended)
	b = b.str(`,"outcome":"`, e.Outcome).optStr(`,"error":"`, e.Error).optNum(`,"goodbye_code":`, e.GoodbyeCode)
	b = b.optStr(`,"client_version":"`, e.ClientVersion)
	if e.HandshakeMS != nil {
		b = b.signed(`,"handshake_ms":`, *e.HandshakeMS)
	}
	if e.Watch != nil {
		b = b.watch(e.Watch)
	}
	return append(b, '}')
}

func (b line) watch(w *Watch) line {
	b = b.signed(`,"watch":{"from":`, w.From).signed(`,"to":`, w.To).ints(`,"initial":`, w.Initial)
	b = b.changes(w.Changes)
	b = append(b, `,"metadata_changes":`...)
	if w.MetaDataChanges == nil {
		return append(b, "null}"...)
	}
	b = append(b, '[')
	for i := range w.MetaDataChanges {
		if i > 0 {
			b = append(b, ',')
		}
		m := &w.MetaDataChanges[i]
		b = append(b.signed(`{"at":`, m.At), ',').metaData(&m.MetaData)
	}
	return append(b, "]}"...)
}

// small appends a number that most often has one digit or two.
func small(b line, n int64) line {
	switch {
	case 0 <= n && n < 10:
		return append(b, '0'+byte(n))
	case 0 <= n && n < 100:
		return append(b, '0'+byte(n/10), '0'+byte(n%10))
	}
	return strconv.AppendInt(b, n, 10)
}

// changes appends what is the longest list by far.
func (b line) changes(list [][3]int64) line {
	b = append(b, `,"changes":`...)
	if list == nil {
		return append(b, "null"...)
	}
	b = append(b, '[')
	for i := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = b.change(&list[i])
	}
	return append(b, ']')
}

// change appends one change of a valid event from its last byte to its first, which
// is half the work of seven appends.
func (b line) change(c *[3]int64) line {
	at, subnet, joined := c[0], c[1], c[2]
	if at < 0 || uint64(subnet) > 99 || uint64(joined) > 9 {
		b = strconv.AppendInt(append(b, '['), at, 10)
		b = strconv.AppendInt(append(b, ','), subnet, 10)
		return append(strconv.AppendInt(append(b, ','), joined, 10), ']')
	}
	var text [28]byte // an int64 has up to 19 digits
	i := len(text) - 4
	text[i], text[i+1], text[i+2], text[i+3] = '0'+byte(subnet%10), ',', '0'+byte(joined), ']'
	if subnet > 9 {
		i--
		text[i] = '0' + byte(subnet/10)
	}
	i--
	text[i] = ','
	for n := uint64(at); ; n /= 10 {
		i--
		text[i] = '0' + byte(n%10)
		if n < 10 {
			break
		}
	}
	i--
	text[i] = '['
	return append(b, text[i:]...)
}

// plain reports whether JSON takes the string as it is, under the rules of
// encoding/json: printable ASCII without ", \, <, > and &. It looks at eight
// bytes at a time.
func plain(s string) bool {
	if len(s) < 8 {
		x := uint64(' ' * ones)
		for i := range len(s) {
			x = x<<8 | uint64(s[i])
		}
		return !special(x)
	}
	for i := 0; i < len(s)-8; i += 8 {
		if special(word(s[i:])) {
			return false
		}
	}
	return !special(word(s[len(s)-8:]))
}

// word is the first eight bytes of s, which has them.
func word(s string) uint64 {
	_ = s[7]
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
}

const (
	ones  = 0x0101010101010101
	highs = 0x80 * ones // the high bit of every byte
)

// special reports whether any of eight bytes is not plain. In bytes below 0x80
// the subtraction of n sets a high bit just when one of them is below n; " and &
// differ in one bit, < and > in another.
func special(x uint64) bool {
	quoteAmp := x&^(0x04*ones) ^ '"'*ones
	lessMore := x&^(0x02*ones) ^ '<'*ones
	slash := x ^ '\\'*ones
	return (x|(x-' '*ones)|(quoteAmp-ones)|(lessMore-ones)|(slash-ones))&highs != 0
}
