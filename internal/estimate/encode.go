package estimate

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/chainbound/valtrack/internal/eth2"
)

// The first byte of encoded Statistics. Those before encodingVersion have readings without
// the keys of their windows, and the first two begin with them.
const (
	encodingRuns          = 1
	encodingRunsSealed    = 2
	encodingUnkeyed       = 3
	encodingUnkeyedSealed = 4
	encodingVersion       = 5
	encodingSealed        = 6
)

// unkeyedWindows are the windows of a client that is not known, in the order of the
// encodings without keys.
func unkeyedWindows() []window {
	return []window{{slotsAhead, 1, 2}, {policy: epochStart}, {slotsAhead, 3, 4}, {policy: epochAhead}, {slotsAhead, 2, 3}}
}

// ErrEncoding marks bytes that are not encoded Statistics.
var ErrEncoding = errors.New("not encoded statistics")

// AppendBinary appends a compact encoding, for DecodeStatistics: some six bytes per
// snapshot or watch. It never fails.
func (s *Statistics) AppendBinary(b []byte) ([]byte, error) {
	version := byte(encodingVersion)
	if s.sealed {
		version = encodingSealed
	}
	b = append(b, version)
	b = binary.AppendUvarint(b, uint64(len(s.sync)))
	for _, r := range s.sync {
		b = binary.AppendUvarint(binary.AppendUvarint(b, uint64(r.period)), uint64(r.syncnets))
	}
	for _, n := range s.numbers() {
		b = binary.AppendUvarint(b, n)
	}
	b = binary.AppendUvarint(b, uint64(len(s.readings)))
	for i := range s.readings {
		b = binary.AppendUvarint(b, s.readings[i].window.key())
		b = s.readings[i].append(b)
	}
	return b, nil
}

// append appends the number of runs, the end of the last one, and the runs with their
// length in bytes, so that one more can be appended without decoding them.
func (r *reading) append(b []byte) []byte {
	var space [512]byte
	latest, end := space[:0], r.early.end
	for _, x := range r.runs {
		kind := uint64(x.cell) << 1
		if x.snapshot {
			kind |= 1
		}
		for _, n := range [...]uint64{uint64(x.from - end), uint64(x.slots), kind, uint64(x.on), uint64(x.off)} {
			latest = binary.AppendUvarint(latest, n)
		}
		end = x.end()
	}
	for _, n := range [...]uint64{uint64(r.early.n + len(r.runs)), uint64(end), uint64(len(r.early.data) + len(latest))} {
		b = binary.AppendUvarint(b, n)
	}
	return append(append(b, r.early.data...), latest...)
}

// numbers are the behaviour and the fullness, in the order of the encoding.
func (s *Statistics) numbers() (out [14 + LifetimeBins]uint64) {
	h, f := s.behaviour, s.fullness
	copy(out[:], []uint64{
		uint64(f.full), uint64(f.partial), uint64(f.firstFull), uint64(f.lastFull), uint64(f.fullEpochs), uint64(f.otherEpochs), uint64(f.declared),
		uint64(h.Slots), uint64(h.Subscribed), uint64(h.AtEpochStart), uint64(h.Epochs), h.Filled, h.Squares, h.Cells,
	})
	for i, n := range h.Lifetimes {
		out[14+i] = uint64(n)
	}
	return out
}

func (s *Statistics) setNumbers(n [14 + LifetimeBins]uint64) {
	u := func(i int) uint32 { return uint32(n[i]) }
	s.fullness = fullness{u(0), u(1), eth2.Epoch(n[2]), eth2.Epoch(n[3]), u(4), u(5), u(6)}
	s.behaviour = Behaviour{Slots: u(7), Subscribed: u(8), AtEpochStart: u(9), Epochs: u(10), Filled: n[11], Squares: n[12], Cells: n[13]}
	for i := range s.behaviour.Lifetimes {
		s.behaviour.Lifetimes[i] = u(14 + i)
	}
}

// DecodeStatistics reads what AppendBinary wrote for the same client. The error is an
// ErrEncoding.
func DecodeStatistics(c eth2.Client, b []byte) (*Statistics, error) {
	s, err := OpenStatistics(c, b)
	if err == nil && !s.unpack() {
		err = fmt.Errorf("%w: runs truncated, out of range or too long", ErrEncoding)
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

// OpenStatistics is DecodeStatistics for callers that add an observation and encode again:
// it leaves the runs encoded and unchecked until they must be read. They share memory
// with b. The windows stay those that the Statistics began with, whatever is known of
// the client's by now.
func OpenStatistics(c eth2.Client, b []byte) (*Statistics, error) {
	s := newStatistics()
	d := decoder{b: b}
	v := d.next(math.MaxUint64)
	s.sealed = v == encodingSealed || v == encodingUnkeyedSealed || v == encodingRunsSealed
	own, known := windowOf(c)
	switch v {
	case encodingRuns, encodingRunsSealed:
		d.unkeyed(s, own, known, d.old)
		d.head(s)
	case encodingUnkeyed, encodingUnkeyedSealed:
		d.head(s)
		d.unkeyed(s, own, known, d.early)
	case encodingVersion, encodingSealed:
		d.head(s)
		d.keyed(s)
	default:
		return nil, fmt.Errorf("%w: version %d", ErrEncoding, v)
	}
	switch {
	case d.bad || d.at < len(d.b):
		return nil, fmt.Errorf("%w: truncated, out of range or too long", ErrEncoding)
	case len(s.readings) == 1 && !known:
		return nil, fmt.Errorf("%w: statistics of one known client, for an unknown one", ErrEncoding)
	}
	return s, nil
}

// unpack decodes the runs that OpenStatistics left encoded. It reports whether they are
// valid; if not, it leaves them.
func (s *Statistics) unpack() bool {
	good := true
	for i := range s.readings {
		good = s.readings[i].unpack() && good
	}
	return good
}

func (r *reading) unpack() bool {
	if r.early.n == 0 {
		return true
	}
	d := decoder{b: r.early.data}
	runs, end := d.runs(uint64(r.early.n), len(r.runs)+1)
	if d.bad || d.at < len(d.b) || end != r.early.end {
		return false
	}
	r.runs, r.early = append(runs, r.runs...), packed{}
	return true
}

type decoder struct {
	b   []byte
	at  int // offset of the next byte
	bad bool
}

// next is the next number; 0 from the first error on, such as a number above most.
func (d *decoder) next(most uint64) uint64 {
	var n uint64
	size := 1
	if d.at < len(d.b) && d.b[d.at] < 0x80 { // nearly always
		n = uint64(d.b[d.at])
	} else {
		n, size = binary.Uvarint(d.b[d.at:])
	}
	if d.bad || size <= 0 || n > most {
		d.bad = true
		return 0
	}
	d.at += size
	return n
}

// head reads the sync committee periods, behaviour and fullness.
func (d *decoder) head(s *Statistics) {
	for range d.next(8) {
		s.sync = append(s.sync, syncReading{uint32(d.next(math.MaxUint32)), eth2.Syncnets(d.next(math.MaxUint8))})
	}
	numbers := s.numbers()
	for i := range numbers {
		numbers[i] = d.next(math.MaxUint64)
	}
	s.setNumbers(numbers)
}

const (
	latestSlot = 1 << 53
	leastRun   = 5 // bytes
	// maxReadings is far above the windows that all clients together have.
	maxReadings = 32
)

// keyed reads readings with the keys of their windows.
func (d *decoder) keyed(s *Statistics) {
	n := d.next(maxReadings)
	for range n {
		w, ok := windowOfKey(d.next(maxWindowKey))
		if !ok || slices.ContainsFunc(s.readings, func(r reading) bool { return r.window == w }) {
			d.bad = true
			return
		}
		s.readings = append(s.readings, reading{window: w})
		d.early(&s.readings[len(s.readings)-1])
	}
	d.bad = d.bad || n == 0
}

// unkeyed reads a client's only reading, or all those of a client that was not known.
func (d *decoder) unkeyed(s *Statistics, own window, known bool, read func(*reading)) {
	windows := unkeyedWindows()
	if known {
		windows = []window{own}
	}
	if d.next(maxReadings) != uint64(len(windows)) {
		d.bad = true
		return
	}
	for _, w := range windows {
		s.readings = append(s.readings, reading{window: w})
		read(&s.readings[len(s.readings)-1])
	}
}

// early reads a reading and leaves its runs encoded.
func (d *decoder) early(r *reading) {
	n, end, size := d.next(maxRuns), d.next(2*latestSlot), d.next(math.MaxUint64)
	if left := uint64(len(d.b) - d.at); size > left || n > size/leastRun || n == 0 && size+end > 0 {
		d.bad = true
	}
	if !d.bad {
		r.early = packed{n: int(n), end: eth2.Slot(end), data: d.b[d.at:][:size]}
		d.at += int(size)
	}
}

// old reads a reading of encodingRuns.
func (d *decoder) old(r *reading) {
	n := d.next(maxRuns)
	if n > uint64(len(d.b)-d.at)/leastRun {
		d.bad = true
	}
	if n > 0 && !d.bad {
		r.runs, _ = d.runs(n, 1)
	}
}

// runs reads n of them, with capacity for some more, and returns the end of the last.
func (d *decoder) runs(n uint64, more int) (out []run, end eth2.Slot) {
	out = make([]run, 0, int(n)+more)
	for range n {
		from := end + eth2.Slot(d.next(latestSlot))
		x := run{from: from, slots: uint32(d.next(math.MaxUint32))}
		kind := d.next(math.MaxUint16)
		x.cell, x.snapshot = cell(kind>>1), kind&1 == 1
		x.on, x.off = uint32(d.next(math.MaxUint32)), uint32(d.next(math.MaxUint32))
		if d.bad || kind>>1 > 2*maxSlotsPerEpoch || from > latestSlot {
			d.bad = true
			return nil, 0
		}
		out, end = append(out, x), x.end()
	}
	return out, end
}
