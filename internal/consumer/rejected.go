package consumer

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
	"unicode/utf8"

	"github.com/chainbound/valtrack/internal/bus"
	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/event"
)

// rejectedFile is bus.RejectedFile of a data directory. It is appended to, a line a
// rejected event, each on the disk before its message is ended.
//
// Rejected events are not covered by the datasets, so that they can be stored when
// they come again, by way of replay, to a consumer that understands them. Until
// then they are known here, and no gap.
type rejectedFile struct {
	file *os.File
	keys dataset.Coverage
}

func openRejected(dir string) (*rejectedFile, error) {
	path := filepath.Join(dir, bus.RejectedFile)
	keys, whole, err := readRejected(path)
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("rejected events: %w", err)
	}
	// A line that was cut short by a crash is of a message that comes again.
	if err := f.Truncate(whole); err != nil {
		return nil, errors.Join(fmt.Errorf("rejected events: %w", err), f.Close())
	}
	return &rejectedFile{file: f, keys: keys}, nil
}

// Rejected reads the keys of the events that a data directory keeps as rejected.
func Rejected(dir string) (dataset.Coverage, error) {
	keys, _, err := readRejected(filepath.Join(dir, bus.RejectedFile))
	return keys, err
}

// readRejected also gives the length of the file's whole lines. Lines that are
// none of ours are passed over: the file may have been edited.
func readRejected(path string) (keys dataset.Coverage, whole int64, err error) {
	keys = dataset.Coverage{}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return keys, 0, nil
	}
	if err != nil {
		return nil, 0, fmt.Errorf("rejected events: %w", err)
	}
	defer f.Close()
	r := bufio.NewReader(f)
	for {
		line, err := r.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return keys, whole, nil
		}
		if err != nil {
			return nil, 0, fmt.Errorf("rejected events: %w", err)
		}
		whole += int64(len(line))
		var e struct {
			Key string `json:"key"`
		}
		if json.Unmarshal(line, &e) != nil {
			continue
		}
		if key, err := event.ParseKey(e.Key); err == nil {
			keys.Add(key.Producer(), key.Counter)
		}
	}
}

func (r *rejectedFile) append(m bus.Message, reason error) error {
	line := bus.RejectedEvent{
		Time: time.Now().UnixMilli(), Reason: reason.Error(),
		Subject: m.Subject, Key: m.Key, Seq: m.Seq,
	}
	if utf8.Valid(m.Data) {
		line.Payload = string(m.Data)
	} else {
		line.PayloadBase64 = m.Data
	}
	b, err := json.Marshal(line)
	if err != nil {
		return fmt.Errorf("rejected event %s: %w", m.Key, err)
	}
	b = append(b, '\n')
	size, err := r.file.Seek(0, io.SeekEnd)
	if err != nil {
		return fmt.Errorf("rejected events: %w", err)
	}
	if _, err := r.file.Write(b); err != nil {
		// Half a line would spoil the next one.
		return fmt.Errorf("rejected events: %w", errors.Join(err, r.file.Truncate(size)))
	}
	if err := r.file.Sync(); err != nil {
		return fmt.Errorf("rejected events: %w", err)
	}
	r.keys.Add(keyOf(m))
	return nil
}

func (r *rejectedFile) Close() error { return r.file.Close() }
