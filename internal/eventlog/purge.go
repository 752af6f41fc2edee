package eventlog

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/chainbound/valtrack/internal/diskio"
	"github.com/chainbound/valtrack/internal/event"
)

// PurgeRejected removes from a data directory the rejected events whose message, or a line
// that is not ours, gone reports, and counts them. Before anything is removed remember is
// called with their keys; its error ends the purge. A crash leaves each file as it was or
// without them. No consumer may be running, and no sentry that has a file of its own there.
func PurgeRejected(dir string, gone func(data []byte) bool, remember func([]event.Key) error) (removed int, err error) {
	for _, name := range []string{olderRejectedName, RejectedName, OlderSentryRejectedName, SentryRejectedName} {
		path := filepath.Join(dir, name)
		n, err := purgeFile(path, gone, remember)
		removed += n
		if err != nil {
			return removed, fmt.Errorf("rejected events %s: %w", path, err)
		}
	}
	return removed, nil
}

func purgeFile(path string, gone func(data []byte) bool, remember func([]event.Key) error) (removed int, err error) {
	var keys []event.Key
	err = eachRejected(path, func(_ []byte, r RejectedEvent, data []byte) error {
		if !gone(data) {
			return nil
		}
		removed++
		if key, err := event.ParseKey(r.Key); err == nil {
			keys = append(keys, key)
		}
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil || removed == 0 {
		return 0, err
	}
	if err := remember(keys); err != nil {
		return 0, err
	}
	return removed, diskio.ReplaceFileWith(path, 0o644, func(w io.Writer) error {
		return eachRejected(path, func(line []byte, _ RejectedEvent, data []byte) error {
			if gone(data) {
				return nil
			}
			_, err := w.Write(line)
			return err
		})
	})
}

// eachRejected calls each with every line, its event and the message in it; a line that is
// not ours has an empty event, and is the message itself. A line that was cut short by a
// crash is left out: its message is redelivered.
func eachRejected(path string, each func(line []byte, r RejectedEvent, data []byte) error) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	lines := diskio.NewLineReader(f, maxRejectedLine)
	for lines.Next() {
		line := lines.Line()
		if line.TooLong {
			return fmt.Errorf("line %d has over %d bytes: remove it", line.Number, maxRejectedLine)
		}
		var r RejectedEvent
		data := line.Text
		if json.Unmarshal(line.Text, &r) == nil {
			data = r.Data()
		} else if line.Torn {
			return nil
		}
		if err := each(append(line.Text[:len(line.Text):len(line.Text)], '\n'), r, data); err != nil {
			return err
		}
	}
	return lines.Err()
}
