package bus

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
//	4  CRC-32C of all that follows
//	4  length of all that follows
//	8  when it was made, Unix milliseconds
//	1  length of the key
//	1  length of the subject
//	   key, subject, event as JSON
//
// The key stands whole in each frame, so that no frame needs another one, a header
// or a file name to be published.
const (
	// frameMagic begins with a byte that UTF-8 does not know, so that no event's
	// text is taken for a frame when damage is skipped.
	frameMagic  = "\xf7vf1"
	frameHeader = 12
	framePrefix = frameHeader + 10
	// maxFrame bounds a frame in bytes.
	maxFrame = framePrefix + 2*255 + event.MaxSize
)

func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) } // the same table each time

// frame is what a frame holds. data points into the bytes it was read from.
type frame struct {
	at           time.Time
	key, subject string
	data         []byte
	sum          uint32 // its CRC-32C
}

// beginFrame appends a frame up to its event, and endFrame closes the frame that
// began at start once the event has been appended. Key and subject have at most
// 255 bytes.
func beginFrame(dst []byte, at time.Time, subject string, key []byte) []byte {
	dst = append(dst, frameMagic...)
	dst = append(dst, make([]byte, frameHeader-len(frameMagic))...)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(at.UnixMilli()))
	dst = append(dst, byte(len(key)), byte(len(subject)))
	dst = append(dst, key...)
	return append(dst, subject...)
}

func endFrame(b []byte) {
	binary.LittleEndian.PutUint32(b[8:], uint32(len(b)-frameHeader))
	binary.LittleEndian.PutUint32(b[4:], crc32.Checksum(b[8:], castagnoli()))
}

// nextFrame finds the first whole frame in b, which stands at b[start:end]. What
// is before it is damaged, or the end of a frame that b does not hold whole.
func nextFrame(b []byte) (f frame, start, end int, ok bool) {
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

// parseFrame reads the frame at the beginning of b and gives its length.
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
		at:      time.UnixMilli(int64(binary.LittleEndian.Uint64(b[12:]))),
		key:     string(b[framePrefix : framePrefix+key]),
		subject: string(b[framePrefix+key : framePrefix+key+subject]),
		data:    b[framePrefix+key+subject:],
		sum:     sum,
	}, len(b), true
}
