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
// that mention what it reports, and counts them. No sentry may be running. A crash leaves each file
// as it was or without them. In a segment that loses an event the acknowledged position is lost: its
// other events are sent again, and consumers recognise those that they have.
func Purge(dir string, gone func(data []byte) bool) (removed int, err error) {
	err = eachFile(dir, func(path string, b []byte) error {
		var kept []byte
		n := 0
		eachPiece(b, func(piece []byte, f *frame) {
			data := piece
			if f != nil {
				data = f.Data
			}
			if gone(data) {
				n++
				return
			}
			kept = append(kept, piece...)
		})
		switch {
		case n == 0:
			return nil
		case len(kept) == 0:
			if err := os.Remove(path); err != nil {
				return err
			}
			err = diskio.SyncDir(dir)
		default:
			err = diskio.ReplaceFile(path, kept, 0o644)
		}
		if err == nil {
			removed += n
		}
		return err
	})
	return removed, err
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
