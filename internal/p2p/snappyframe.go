package p2p

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/klauspost/compress/snappy"
)

// The snappy framing format (google/snappy framing_format.txt). Our messages
// have at most a few hundred bytes, so frames are read and written here without
// the 64 KiB buffers of a stream codec; blocks go through klauspost's decoder.
const (
	streamID         = "\xff\x06\x00\x00sNaPpY"
	chunkCompressed  = 0x00
	chunkRaw         = 0x01
	chunkSkippable   = 0x80 // 0x80 to 0xfe: padding and reserved skippable
	chunkStreamID    = 0xff
	chunkHeaderSize  = 4 // type, then a 24-bit little-endian length
	checksumSize     = 4
	maxBlock         = 65536 // uncompressed bytes in one chunk
	maxChunk         = checksumSize + 76490
	checksumMaskBias = 0xa282ead8
)

// framedSize bounds the length of appendFrames' output for n bytes.
func framedSize(n int) int {
	chunks := n/maxBlock + 1
	return len(streamID) + chunks*(chunkHeaderSize+checksumSize) + n
}

// appendFrames writes ssz as raw chunks: at these sizes compression costs more
// than it saves, and every decoder takes them.
func appendFrames(b, ssz []byte) []byte {
	b = append(b, streamID...)
	for len(ssz) > 0 {
		block := ssz[:min(len(ssz), maxBlock)]
		ssz = ssz[len(block):]
		n := checksumSize + len(block)
		b = append(b, chunkRaw, byte(n), byte(n>>8), byte(n>>16))
		b = binary.LittleEndian.AppendUint32(b, checksum(block))
		b = append(b, block...)
	}
	return b
}

// frames decodes exactly n uncompressed bytes.
func (c *chunkReader) frames(n int) ([]byte, error) {
	if n == 0 {
		c.emptyFrames()
		return []byte{}, nil
	}
	id, err := c.readBytes(len(streamID))
	if err != nil {
		return nil, err
	}
	if string(id) != streamID {
		return nil, fmt.Errorf("%w: not a snappy stream", errMalformed)
	}
	out := make([]byte, 0, n)
	for len(out) < n {
		if out, err = c.frame(out, n); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// emptyFrames takes what encoders write for an empty payload: nothing, or the
// stream identifier alone. Neither is waited for.
func (c *chunkReader) emptyFrames() {
	rest := c.buf[c.pos:]
	if len(rest) >= len(streamID) && string(rest[:len(streamID)]) == streamID {
		c.pos += len(streamID)
	}
}

// frame reads one chunk and appends its data to out, which may not pass n bytes.
func (c *chunkReader) frame(out []byte, n int) ([]byte, error) {
	header, err := c.readBytes(chunkHeaderSize)
	if err != nil {
		return nil, err
	}
	kind, size := header[0], int(header[1])|int(header[2])<<8|int(header[3])<<16
	body, err := c.readBytes(size)
	if err != nil {
		return nil, err
	}
	switch {
	case kind == chunkStreamID && string(body) == streamID[chunkHeaderSize:]:
		return out, nil
	case kind >= chunkSkippable && kind != chunkStreamID:
		return out, nil
	case kind != chunkRaw && kind != chunkCompressed:
		return nil, fmt.Errorf("%w: snappy chunk type %#02x", errMalformed, kind)
	case size < checksumSize:
		return nil, fmt.Errorf("%w: snappy chunk of %d bytes", errMalformed, size)
	}
	want := binary.LittleEndian.Uint32(body)
	block := body[checksumSize:]
	if kind == chunkCompressed {
		if block, err = decodeBlock(block, n-len(out)); err != nil {
			return nil, err
		}
	}
	if len(block) > n-len(out) || len(block) > maxBlock {
		return nil, fmt.Errorf("%w: more data than the length prefix says", errMalformed)
	}
	if checksum(block) != want {
		return nil, fmt.Errorf("%w: snappy checksum", errMalformed)
	}
	return append(out, block...), nil
}

// decodeBlock decompresses one block of at most limit bytes.
func decodeBlock(block []byte, limit int) ([]byte, error) {
	n, err := snappy.DecodedLen(block)
	if err != nil || n > limit || n > maxBlock {
		return nil, fmt.Errorf("%w: snappy block of bad length", errMalformed)
	}
	out, err := snappy.Decode(make([]byte, 0, n), block)
	if err != nil {
		return nil, fmt.Errorf("%w: snappy block", errMalformed)
	}
	return out, nil
}

// checksum is the masked CRC-32C of the framing format.
func checksum(b []byte) uint32 {
	c := crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli))
	return (c>>15 | c<<17) + checksumMaskBias
}
