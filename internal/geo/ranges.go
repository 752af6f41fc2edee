package geo

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
)

// ranges maps ranges of addresses to ids. It holds the first address of each range, which
// ends where the next one begins, at the granularity of one IPv4 address or an IPv6 /64.
// An address is found by its highest 16 bits in index, and then by binary search.
type ranges[ID uint16 | uint32] struct {
	index []uint32 // of each value of the highest 16 bits: how many ranges begin below it
	hi    []uint32 // the next 32 bits of an IPv6 address; nil for IPv4
	lo    []uint16 // the next 16 bits
	ids   []ID     // 0: no data
}

// blocks are the values of the highest 16 bits.
const blocks = 1 << 16

// position is an address as a number: an IPv4 address, or the first half of an IPv6 one.
func position(ip netip.Addr) uint64 {
	if ip.Is4() {
		b := ip.As4()
		return uint64(binary.BigEndian.Uint32(b[:]))
	}
	b := ip.As16()
	return binary.BigEndian.Uint64(b[:8])
}

// id is the id of the address's range, 0 when there is none. The address must be of the
// family of r.
func (r *ranges[ID]) id(ip netip.Addr) ID {
	pos := position(ip)
	block, hi, lo := pos>>16, uint32(0), uint16(pos)
	if ip.Is6() {
		block, hi = pos>>48, uint32(pos>>16)
	}
	from, to := r.index[block], r.index[block+1]
	for from < to {
		mid := from + (to-from)/2
		if r.after(mid, hi, lo) {
			to = mid
		} else {
			from = mid + 1
		}
	}
	if from == 0 {
		return 0
	}
	return r.ids[from-1]
}

// after reports whether range i begins after the address with these bits, in the same block.
func (r *ranges[ID]) after(i uint32, hi uint32, lo uint16) bool {
	if r.hi != nil && r.hi[i] != hi {
		return r.hi[i] > hi
	}
	return r.lo[i] > lo
}

var errSection = errors.New("damaged section")

// decodeRanges reads the distances between the first addresses of all ranges, and then
// their ids, each as a varint.
func decodeRanges[ID uint16 | uint32](data []byte, rows int, is6 bool) (*ranges[ID], error) {
	if rows > len(data)/2 {
		return nil, fmt.Errorf("%w: %d ranges in %d bytes", errSection, rows, len(data))
	}
	r := &ranges[ID]{index: make([]uint32, blocks+1), lo: make([]uint16, rows), ids: make([]ID, rows)}
	shift := 16
	if is6 {
		r.hi, shift = make([]uint32, rows), 48
	}
	pos, filled := uint64(0), uint64(0)
	for i := range rows {
		step, n := binary.Uvarint(data)
		next := pos + step
		if n <= 0 || next < pos || i > 0 && step == 0 || next>>shift >= blocks {
			return nil, fmt.Errorf("%w: first address of range %d", errSection, i)
		}
		data, pos = data[n:], next
		for ; filled <= pos>>shift; filled++ {
			r.index[filled] = uint32(i)
		}
		if is6 {
			r.hi[i] = uint32(pos >> 16)
		}
		r.lo[i] = uint16(pos)
	}
	for ; filled <= blocks; filled++ {
		r.index[filled] = uint32(rows)
	}
	for i := range rows {
		id, n := binary.Uvarint(data)
		if n <= 0 || id > uint64(^ID(0)) {
			return nil, fmt.Errorf("%w: id of range %d", errSection, i)
		}
		data, r.ids[i] = data[n:], ID(id)
	}
	if len(data) > 0 {
		return nil, fmt.Errorf("%w: %d bytes too many", errSection, len(data))
	}
	return r, nil
}

// check is an error when an id is above the size of its dictionary.
func (r *ranges[ID]) check(size int) error {
	for i, id := range r.ids {
		if int(id) > size {
			return fmt.Errorf("%w: range %d has id %d of %d", errSection, i, id, size)
		}
	}
	return nil
}
