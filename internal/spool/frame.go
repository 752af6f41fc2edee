package spool

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"time"

	"github.com/chainbound/valtrack/internal/event"
)

// A frame is one event on disk. Numbers are little-endian:
//
//	4  frameMagic
//	4  CRC-32C of everything after it
//	4  length of everything after it
//	8  when the event was encoded, Unix milliseconds
//	1  length of the key
//	1  length of the subject
//	   key, subject, event as JSON
//
// Each frame has the whole key, so that no frame needs another one, a header or a file
// name to be published.
const (
	// frameMagic begins with a byte that is never part of UTF-8, so that no event's
	// text is mistaken for a frame when damage is skipped.
	frameMagic  = "\xf7vf1"
	frameHeader = 12
	framePrefix = frameHeader + 10
	// maxFrame is the maximum size of a frame, in bytes.
	maxFrame = framePrefix + 2*255 + event.MaxSize
)

func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) } // the same table each time

// frame is the content of a frame. Data points into the bytes it was read from.
type frame struct {
	event.Encoded
	sum uint32 // CRC-32C
}

// appendFrame appends the event's frame to dst. Key and subject have at most 255 bytes.
func appendFrame(dst []byte, e event.Encoded) []byte {
	start := len(dst)
	dst = append(dst, frameMagic...)
	dst = append(dst, make([]byte, frameHeader-len(frameMagic))...)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(e.Time.UnixMilli()))
	dst = append(dst, byte(len(e.Key)), byte(len(e.Subject)))
	dst = append(dst, e.Key...)
	dst = append(dst, e.Subject...)
	dst = append(dst, e.Data...)
	b := dst[start:]
	binary.LittleEndian.PutUint32(b[8:], uint32(len(b)-frameHeader))
	binary.LittleEndian.PutUint32(b[4:], crc32.Checksum(b[8:], castagnoli()))
	return dst
}

// findFrame finds the first whole frame in b, at b[start:end]. The bytes before it are
// damaged, or the end of a frame whose beginning b does not have.
func findFrame(b []byte) (f frame, start, end int, ok bool) {
	for {
		i := bytes.Index(b[start:], []byte(frameMagic))
		if i < 0 {
			return frame{}, 0, 0, false
		}
		start += i
		if f, n, ok := parseFrame(b[start:]); ok {
			return f, start, start + n, true
		}
		start++
	}
}

// parseFrame parses the frame at the beginning of b and returns its length.
func parseFrame(b []byte) (frame, int, bool) {
	if len(b) < framePrefix {
		return frame{}, 0, false
	}
	body := int(binary.LittleEndian.Uint32(b[8:]))
	if body < framePrefix-frameHeader || body > maxFrame-frameHeader || body > len(b)-frameHeader {
		return frame{}, 0, false
	}
	b = b[:frameHeader+body]
	key, subject := int(b[20]), int(b[21])
	sum := binary.LittleEndian.Uint32(b[4:])
	if sum != crc32.Checksum(b[8:], castagnoli()) || framePrefix+key+subject > len(b) {
		return frame{}, 0, false
	}
	return frame{
		Encoded: event.Encoded{
			Time:    time.UnixMilli(int64(binary.LittleEndian.Uint64(b[12:]))),
			Key:     string(b[framePrefix : framePrefix+key]),
			Subject: string(b[framePrefix+key : framePrefix+key+subject]),
			Data:    b[framePrefix+key+subject:],
		},
		sum: sum,
	}, len(b), true
}

// countFrames counts the frames in b, including a partial one at the beginning or the
// end.
func countFrames(b []byte) (n int) {
	for len(b) > 0 {
		_, start, end, ok := findFrame(b)
		if n++; !ok {
			return n
		}
		if start > 0 {
			n++
		}
		b = b[end:]
	}
	return n
}
