package estimate

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/chainbound/valtrack/internal/eth2"
)

// The first byte of encoded Statistics.
const (
	encodingVersion = 1
	encodingSealed  = 2
)

// ErrEncoding marks bytes that are no Statistics.
var ErrEncoding = errors.New("not encoded statistics")

// AppendBinary appends a compact encoding, for DecodeStatistics: some six bytes a look or
// watch. Who holds many peers keeps them like this. It never fails.
func (s *Statistics) AppendBinary(b []byte) ([]byte, error) {
	version := byte(encodingVersion)
	if s.sealed {
		version = encodingSealed
	}
	b = append(b, version)
	b = binary.AppendUvarint(b, uint64(len(s.readings)))
	for _, r := range s.readings {
		b = binary.AppendUvarint(b, uint64(len(r.runs)))
		end := eth2.Slot(0)
		for _, x := range r.runs {
			kind := uint64(x.cell) << 1
			if x.snapshot {
				kind |= 1
			}
			for _, n := range []uint64{uint64(x.from - end), uint64(x.slots), kind, uint64(x.on), uint64(x.off)} {
				b = binary.AppendUvarint(b, n)
			}
			end = x.end()
		}
	}
	b = binary.AppendUvarint(b, uint64(len(s.sync)))
	for _, r := range s.sync {
		b = binary.AppendUvarint(binary.AppendUvarint(b, uint64(r.period)), uint64(r.syncnets))
	}
	for _, n := range s.numbers() {
		b = binary.AppendUvarint(b, n)
	}
	return b, nil
}

// numbers are the habits and looks, in the order of the encoding.
func (s *Statistics) numbers() []uint64 {
	h, l := s.habits, s.looks
	out := []uint64{
		uint64(l.full), uint64(l.partial), uint64(l.firstFull), uint64(l.lastFull), uint64(l.fullEpochs), uint64(l.otherEpochs), uint64(l.declared),
		uint64(h.Slots), uint64(h.Subscribed), uint64(h.AtEpochStart), uint64(h.Epochs), h.Filled, h.Squares, h.Cells,
	}
	for _, n := range h.Lifetimes {
		out = append(out, uint64(n))
	}
	return out
}

func (s *Statistics) setNumbers(n []uint64) {
	u := func(i int) uint32 { return uint32(n[i]) }
	s.looks = looks{u(0), u(1), eth2.Epoch(n[2]), eth2.Epoch(n[3]), u(4), u(5), u(6)}
	s.habits = Habits{Slots: u(7), Subscribed: u(8), AtEpochStart: u(9), Epochs: u(10), Filled: n[11], Squares: n[12], Cells: n[13]}
	for i := range s.habits.Lifetimes {
		s.habits.Lifetimes[i] = u(14 + i)
	}
}

// DecodeStatistics reads what AppendBinary made for the same client; else the error is
// an ErrEncoding.
func DecodeStatistics(c eth2.Client, b []byte) (*Statistics, error) {
	s := NewStatistics(c)
	d := decoder{b: b}
	v := d.next(math.MaxUint64)
	if s.sealed = v == encodingSealed; !s.sealed && v != encodingVersion {
		return nil, fmt.Errorf("%w: version %d", ErrEncoding, v)
	}
	if n := d.next(math.MaxUint64); n != uint64(len(s.readings)) {
		return nil, fmt.Errorf("%w: %d windows, a %s client has %d", ErrEncoding, n, c.Kind, len(s.readings))
	}
	for i := range s.readings {
		s.readings[i].runs = d.runs()
	}
	for range d.next(8) {
		s.sync = append(s.sync, syncReading{uint32(d.next(math.MaxUint32)), eth2.Syncnets(d.next(math.MaxUint8))})
	}
	numbers := s.numbers()
	for i := range numbers {
		numbers[i] = d.next(math.MaxUint64)
	}
	s.setNumbers(numbers)
	if d.bad || d.at < len(d.b) {
		return nil, fmt.Errorf("%w: cut short, out of range or too long", ErrEncoding)
	}
	return s, nil
}

type decoder struct {
	b   []byte
	at  int // what is read
	bad bool
}

// next is the next number, 0 once there was one above most.
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

func (d *decoder) runs() []run {
	const (
		latest = 1 << 53
		least  = 5 // bytes of a run
	)
	n := d.next(maxRuns)
	if n == 0 || n > uint64(len(d.b)-d.at)/least {
		d.bad = d.bad || n > 0
		return nil
	}
	out := make([]run, 0, n+1) // and the next observation
	end := eth2.Slot(0)
	for range n {
		from := end + eth2.Slot(d.next(latest))
		x := run{from: from, slots: uint32(d.next(math.MaxUint32))}
		kind := d.next(math.MaxUint16)
		x.cell, x.snapshot = cell(kind>>1), kind&1 == 1
		x.on, x.off = uint32(d.next(math.MaxUint32)), uint32(d.next(math.MaxUint32))
		if d.bad || kind>>1 > 2*maxSlotsPerEpoch || from > latest {
			d.bad = true
			return nil
		}
		out, end = append(out, x), x.end()
	}
	return out
}
