package spool

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
)

// Mark is what a publisher wants to remember with the acknowledged position, in an
// encoding of its own. All zeros means that there is none yet.
type Mark = [32]byte

// position is the end of a frame: everything before it has been acknowledged.
type position struct {
	seq        uint64 // the segment's number
	off        int64  // in the segment
	sum        uint32 // the CRC-32C of that frame
	index      int    // frames of the segment up to it
	generation int    // of the segment
}

// ackedName is the file with the acknowledged position: number of the segment, offset
// in it, and checksum of the frame that ends there, 8 bytes each, then the mark, then
// the CRC-32C of all this. It may be older than the truth: then some events are
// published again.
const ackedName = "acked"

const (
	ackedData = 3*8 + len(Mark{})
	ackedSize = ackedData + 4
	// earlierData is ackedData of versions whose marks had 24 bytes.
	earlierData = 3*8 + 24
)

// ackRecord is the content of the file.
type ackRecord struct {
	pos  position
	mark Mark
}

// ackFile saves the position. It belongs to the sync loop.
type ackFile struct {
	file  *os.File
	saved ackRecord
}

// openAckFile also reads the record. One that cannot be read means the beginning.
func openAckFile(dir string) (*ackFile, error) {
	f, err := os.OpenFile(filepath.Join(dir, ackedName), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	a := &ackFile{file: f}
	b := make([]byte, ackedSize)
	n, _ := f.ReadAt(b, 0)
	for _, data := range []int{ackedData, earlierData} {
		if n < data+4 || binary.LittleEndian.Uint32(b[data:]) != crc32.Checksum(b[:data], castagnoli()) {
			continue
		}
		a.saved.pos = position{
			seq: binary.LittleEndian.Uint64(b),
			off: int64(binary.LittleEndian.Uint64(b[8:])),
			sum: uint32(binary.LittleEndian.Uint64(b[16:])),
		}
		copy(a.saved.mark[:], b[24:data])
		return a, nil
	}
	if err := a.write(); err != nil { // so that later writes need no room on the disk
		f.Close()
		return nil, err
	}
	return a, nil
}

// save writes the record if it has changed.
func (a *ackFile) save(r ackRecord) error {
	if r == a.saved {
		return nil
	}
	before := a.saved
	a.saved = r
	if err := a.write(); err != nil {
		a.saved = before
		return err
	}
	return nil
}

func (a *ackFile) write() error {
	b := make([]byte, 0, ackedSize)
	for _, n := range []uint64{a.saved.pos.seq, uint64(a.saved.pos.off), uint64(a.saved.pos.sum)} {
		b = binary.LittleEndian.AppendUint64(b, n)
	}
	b = append(b, a.saved.mark[:]...)
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli()))
	if _, err := a.file.WriteAt(b, 0); err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	return nil
}
