package dataset

import (
	"encoding/binary"
	"errors"
)

// errThrift marks bytes that are no structure of Thrift's compact protocol.
var errThrift = errors.New("its structure is damaged")

// maxThriftDepth is far above that of a Parquet footer, which is 5.
const maxThriftDepth = 16

// Types of the compact protocol, in a field and in a list.
const (
	thriftTrue   = 1
	thriftFalse  = 2
	thriftByte   = 3
	thriftInt16  = 4
	thriftInt64  = 6
	thriftDouble = 7
	thriftBinary = 8
	thriftList   = 9
	thriftSet    = 10
	thriftStruct = 12
)

// thriftWalk goes through a structure without storing anything. parquet-go allocates each
// list by the length that it claims, before it reads an element: a walk that succeeds shows
// that no list is longer than the input. Its errors are errThrift.
type thriftWalk struct {
	in  []byte
	err error
}

// walkThrift checks that the input begins with a structure, and returns what follows it.
func walkThrift(in []byte) (rest []byte, err error) {
	w := thriftWalk{in: in}
	w.structure(0)
	return w.in, w.err
}

func (w *thriftWalk) fail() { w.in, w.err = nil, errThrift }

func (w *thriftWalk) skip(n uint64) {
	if n > uint64(len(w.in)) {
		w.fail()
		return
	}
	w.in = w.in[n:]
}

func (w *thriftWalk) byte() (b byte) {
	if len(w.in) == 0 {
		w.fail()
		return 0
	}
	b, w.in = w.in[0], w.in[1:]
	return b
}

func (w *thriftWalk) varint() uint64 {
	v, n := binary.Uvarint(w.in)
	if n <= 0 {
		w.fail()
		return 0
	}
	w.in = w.in[n:]
	return v
}

func (w *thriftWalk) structure(depth int) {
	if depth > maxThriftDepth {
		w.fail()
	}
	for w.err == nil {
		field := w.byte()
		if field == 0 {
			return
		}
		if field>>4 == 0 { // the field's number is not the last one plus the upper half
			w.varint()
		}
		if kind := field & 15; kind != thriftTrue && kind != thriftFalse { // a field's type is its value
			w.value(kind, depth)
		}
	}
}

func (w *thriftWalk) value(kind byte, depth int) {
	switch {
	case kind >= thriftTrue && kind <= thriftByte:
		w.byte()
	case kind >= thriftInt16 && kind <= thriftInt64:
		w.varint()
	case kind == thriftDouble:
		w.skip(8)
	case kind == thriftBinary:
		w.skip(w.varint())
	case kind == thriftList || kind == thriftSet:
		w.list(depth)
	case kind == thriftStruct:
		w.structure(depth + 1)
	default: // a map, for one, which Parquet has not
		w.fail()
	}
}

func (w *thriftWalk) list(depth int) {
	head := w.byte()
	size := uint64(head >> 4)
	if size == 15 {
		size = w.varint()
	}
	if depth > maxThriftDepth || size > uint64(len(w.in)) { // an element has at least a byte
		w.fail()
	}
	for i := uint64(0); i < size && w.err == nil; i++ {
		w.value(head&15, depth+1)
	}
}
