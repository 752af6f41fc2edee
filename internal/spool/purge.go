package spool

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/chainbound/valtrack/internal/diskio"
	"github.com/chainbound/valtrack/internal/event"
)

// maxPurged bounds a file of the spool that is read as a whole, in bytes: more than any segment.
const maxPurged = 2*maxSegment + maxFrame

// Keys lists the keys of the events in a spool's directory whose message gone reports, those that
// are acknowledged and still kept among them. A sentry may be running.
func Keys(dir string, gone func(data []byte) bool) (keys []event.Key, err error) {
	err = eachFile(dir, func(_ string, b []byte) error {
		eachPiece(b, func(_ []byte, f *frame) {
			if f == nil || !gone(f.Data) {
				return
			}
			if key, err := event.ParseKey(f.Key); err == nil {
				keys = append(keys, key)
			}
		})
		return nil
	})
	return keys, err
}

// Purge removes from a spool's directory the events whose message gone reports, and damaged parts
// that mention what it reports, and counts them, and those of them that were not acknowledged. No sentry may be running. A crash leaves each file
// as it was or without them; between a segment and the acknowledged position it leaves events
// of that segment to be sent again, which consumers recognise.
func Purge(dir string, gone func(data []byte) bool) (removed, unsent int, err error) {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return 0, 0, nil
	}
	acks, err := openAckFile(dir)
	if err != nil {
		return 0, 0, err
	}
	defer acks.file.Close()
	err = eachFile(dir, func(path string, b []byte) error {
		acked := acks.saved
		seq, ok := parseSegmentName(filepath.Base(path)) // not that of a damaged file, which is not sent
		later := ok && seq > acked.pos.seq
		if !ok || seq != acked.pos.seq {
			acked.pos.off = 0 // of another file
		}
		kept, n, after, pos := without(b, gone, acked.pos.off)
		if n == 0 {
			return nil
		}
		if err := replaceOrRemove(path, kept); err != nil {
			return err
		}
		removed += n
		if later || ok && seq == acked.pos.seq {
			unsent += after
		}
		if acked.pos.off == 0 {
			return nil
		}
		acked.pos.off, acked.pos.sum = pos.off, pos.sum
		return acks.save(acked)
	})
	return removed, unsent, err
}

// without is b without the frames, and what lies between frames, that gone reports. after counts
// the removed frames behind the offset acked in b, and end is the last of those up to it.
func without(b []byte, gone func(data []byte) bool, acked int64) (kept []byte, removed, after int, end position) {
	off := int64(0)
	eachPiece(b, func(piece []byte, f *frame) {
		off += int64(len(piece))
		data := piece
		if f != nil {
			data = f.Data
		}
		if gone(data) {
			removed++
			if f != nil && off > acked {
				after++
			}
			return
		}
		kept = append(kept, piece...)
		if f != nil && off <= acked {
			end = position{off: int64(len(kept)), sum: f.sum}
		}
	})
	return kept, removed, after, end
}

func replaceOrRemove(path string, content []byte) error {
	if len(content) > 0 {
		return diskio.ReplaceFile(path, content, 0o644)
	}
	if err := os.Remove(path); err != nil {
		return err
	}
	return diskio.SyncDir(filepath.Dir(path))
}

// eachPiece calls piece with each frame in b, and with what lies between frames, which has none.
func eachPiece(b []byte, piece func(b []byte, f *frame)) {
	for len(b) > 0 {
		f, start, end, ok := findFrame(b)
		if !ok {
			piece(b, nil)
			return
		}
		if start > 0 {
			piece(b[:start], nil)
		}
		piece(b[start:end], &f)
		b = b[end:]
	}
}

// eachFile calls each with the content of every segment in a directory, those that were set aside
// among them. A directory that is not there has none.
func eachFile(dir string, each func(path string, b []byte) error) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	for _, entry := range entries {
		if _, ok := parseSegmentName(strings.TrimSuffix(entry.Name(), damagedSuffix)); !ok {
			continue
		}
		path := filepath.Join(dir, entry.Name())
		b, err := readFile(path)
		if errors.Is(err, fs.ErrNotExist) { // removed meanwhile
			continue
		}
		if err == nil {
			err = each(path, b)
		}
		if err != nil {
			return fmt.Errorf("spool: %w", err)
		}
	}
	return nil
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxPurged+1))
	if err == nil && len(b) > maxPurged {
		err = fmt.Errorf("%s has over %d bytes: no segment has so many, remove it", path, maxPurged)
	}
	return b, err
}
