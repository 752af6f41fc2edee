package eventlog

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"
	"unicode/utf8"

	"github.com/chainbound/valtrack/internal/diskio"
	"github.com/chainbound/valtrack/internal/event"
)

const (
	// RejectedName is the file in a consumer's data directory with invalid events, one
	// RejectedEvent per line.
	RejectedName = "rejected_events.ndjson"
	// SentryRejectedName is the file in a sentry's data directory with the events that the
	// broker does not accept, in the same form.
	SentryRejectedName = "rejected_events.sentry.ndjson"
	// OlderSentryRejectedName is what that is renamed to when it is full, as below.
	OlderSentryRejectedName = "rejected_events.sentry.1.ndjson"
	// olderRejectedName is what RejectedName is renamed to when it is full.
	olderRejectedName = "rejected_events.1.ndjson"

	// MaxRejectedFile is the size of a file of rejected events in bytes.
	MaxRejectedFile = 256 << 20
	// maxRejectedLine limits a line that is read, in bytes: JSON may take six bytes for
	// one of the payload.
	maxRejectedLine = 6*event.MaxSize + 64<<10
)

// RejectedEvent is a message that a consumer could not store.
type RejectedEvent struct {
	Time    int64  `json:"time"` // of the rejection, Unix milliseconds
	Reason  string `json:"reason"`
	Subject string `json:"subject"`
	Key     string `json:"key,omitempty"` // empty when the publisher set none
	Seq     uint64 `json:"stream_seq"`
	// Payload is the message as text, PayloadBase64 when it is not UTF-8.
	Payload       string `json:"payload,omitempty"`
	PayloadBase64 []byte `json:"payload_base64,omitempty"`
}

// Data is the message's content.
func (r *RejectedEvent) Data() []byte {
	if r.PayloadBase64 != nil {
		return r.PayloadBase64
	}
	return []byte(r.Payload)
}

// parseRejected returns the message of a line, to be published again: under its key
// if it had one, or else under one that depends only on the line. A message that is still
// invalid is an error.
func parseRejected(line []byte) (event.Encoded, error) {
	var r RejectedEvent
	if err := json.Unmarshal(line, &r); err != nil {
		return event.Encoded{}, fmt.Errorf("%w: %w", event.ErrInvalid, err)
	}
	if _, err := event.Decode(r.Subject, r.Data()); err != nil {
		return event.Encoded{}, fmt.Errorf("still rejected: %w", err)
	}
	if _, err := event.ParseKey(r.Key); err != nil {
		sum := sha256.Sum256(line)
		r.Key = event.Key{Sentry: "file-" + hex.EncodeToString(sum[:8]), Counter: 1}.String()
	}
	return event.Encoded{Subject: r.Subject, Key: r.Key, Data: r.Data()}, nil
}

// RejectedFile appends to the file of rejected events in a data directory. Events are on
// disk once Sync has returned. It is for one goroutine.
//
// A publisher that sends nothing else must not fill the disk: a full file is renamed to
// olderRejectedName, which replaces the one before it.
type RejectedFile struct {
	dir    string
	file   *os.File
	max    int64 // bytes
	synced int64 // size of the file up to where it is fsynced
	failed error // of an fsync, which the next one would not report
	log    *slog.Logger
}

// OpenRejected opens the file in dir, creating it if it is missing, and calls known
// with each event that is kept there and has a key. Close it.
func OpenRejected(dir string, log *slog.Logger, known func(event.Key, RejectedEvent)) (*RejectedFile, error) {
	return openRejected(dir, MaxRejectedFile, log, known)
}

func openRejected(dir string, limit int64, log *slog.Logger, known func(event.Key, RejectedEvent)) (*RejectedFile, error) {
	whole, err := readRejected(dir, known)
	if err != nil {
		return nil, err
	}
	r := &RejectedFile{dir: dir, max: limit, log: log}
	if err := r.open(); err != nil {
		return nil, err
	}
	// A line that was cut short by a crash is of a message that is redelivered.
	err = r.file.Truncate(whole)
	if err == nil {
		_, err = endLine(r.file)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("rejected events: %w", err), r.file.Close())
	}
	r.synced, err = r.Size()
	if err != nil {
		return nil, errors.Join(err, r.file.Close())
	}
	return r, nil
}

func (r *RejectedFile) open() error {
	f, err := os.OpenFile(filepath.Join(r.dir, RejectedName), os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o644)
	if err != nil {
		return fmt.Errorf("rejected events: %w", err)
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err := errors.Join(err, diskio.SyncDir(r.dir)); err != nil {
		return fmt.Errorf("rejected events: %w", errors.Join(err, f.Close()))
	}
	r.file, r.synced = f, size
	return nil
}

// Size is the size of the newest file in bytes.
func (r *RejectedFile) Size() (int64, error) {
	if err := r.follow(); err != nil {
		return 0, err
	}
	size, err := r.file.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, fmt.Errorf("rejected events: %w", err)
	}
	return size, nil
}

// Append keeps a message and why it was rejected, once Sync has returned; seq is its
// sequence number in the stream.
func (r *RejectedFile) Append(e event.Encoded, seq uint64, reason error) error {
	line := RejectedEvent{
		Time: time.Now().UnixMilli(), Reason: reason.Error(),
		Subject: e.Subject, Key: e.Key, Seq: seq,
	}
	if utf8.Valid(e.Data) {
		line.Payload = string(e.Data)
	} else {
		line.PayloadBase64 = e.Data
	}
	b, err := json.Marshal(line)
	if err != nil {
		return fmt.Errorf("rejected event %s: %w", e.Key, err)
	}
	b = append(b, '\n')
	size, err := r.Size()
	if err != nil {
		return err
	}
	if size > 0 && size+int64(len(b)) > r.max {
		if err := r.rotate(); err != nil {
			return err
		}
		size = 0
	}
	if _, err := r.file.Write(b); err != nil {
		// A partial line would corrupt the next one.
		return fmt.Errorf("rejected events: %w", errors.Join(err, r.file.Truncate(size)))
	}
	return nil
}

// Sync fsyncs what was appended since the last Sync. After an error that is lost: another
// fsync of the same descriptor would succeed, whatever was not written.
func (r *RejectedFile) Sync() error {
	err := r.failed
	if err == nil {
		err = r.file.Sync()
	}
	if err == nil {
		r.synced, err = r.file.Seek(0, io.SeekEnd)
		return err
	}
	old := r.file
	err = errors.Join(err, old.Truncate(r.synced))
	if openErr := r.open(); openErr != nil {
		r.failed = errors.Join(err, openErr) // again at the next Sync
		return r.failed
	}
	r.failed = nil
	return fmt.Errorf("rejected events: %w", errors.Join(err, old.Close()))
}

// follow opens the file again when it was moved or removed.
func (r *RejectedFile) follow() error {
	switch same, err := diskio.SameFile(r.file); {
	case same:
		return nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("rejected events: %w", err)
	}
	return r.replace()
}

// replace opens the file at its path and closes the one that was there, whose lines stay.
func (r *RejectedFile) replace() error {
	old := r.file
	if err := old.Sync(); err != nil {
		r.failed = fmt.Errorf("rejected events: %w", err)
		return r.failed
	}
	if err := r.open(); err != nil {
		return err
	}
	return old.Close()
}

// rotate makes room.
func (r *RejectedFile) rotate() error {
	older := filepath.Join(r.dir, olderRejectedName)
	if info, err := os.Stat(older); err == nil {
		r.log.Warn("dropping the oldest rejected events", slog.String("file", older), slog.Int64("bytes", info.Size()), slog.Time("newest", info.ModTime()))
	}
	// It is renamed already when a new one could not be opened the last time.
	if err := os.Rename(filepath.Join(r.dir, RejectedName), older); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("rejected events: %w", err)
	}
	return r.replace() // after an error the next line goes to the renamed file
}

// Close closes the file. Closing it again does nothing.
func (r *RejectedFile) Close() error {
	if err := r.file.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("rejected events: %w", err)
	}
	return nil
}

// ReadRejected calls known with each rejected event that a data directory keeps and that
// has a key.
func ReadRejected(dir string, known func(event.Key, RejectedEvent)) error {
	_, err := readRejected(dir, known)
	return err
}

// readRejected also returns the length of the newest file's whole lines.
func readRejected(dir string, known func(event.Key, RejectedEvent)) (whole int64, err error) {
	if _, err := readRejectedFile(filepath.Join(dir, olderRejectedName), known); err != nil {
		return 0, err
	}
	return readRejectedFile(filepath.Join(dir, RejectedName), known)
}

// readRejectedFile skips lines that are not ours: the file may have been edited.
func readRejectedFile(path string, known func(event.Key, RejectedEvent)) (whole int64, err error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("rejected events: %w", err)
	}
	defer f.Close()
	lines := diskio.NewLineReader(f, maxRejectedLine)
	for lines.Next() {
		line := lines.Line()
		// An editor may leave the last line without its newline; half a line is a crash's.
		if line.Torn && !json.Valid(line.Text) {
			return whole, nil
		}
		whole += line.Size
		var e RejectedEvent
		if json.Unmarshal(line.Text, &e) != nil {
			continue
		}
		if key, err := event.ParseKey(e.Key); err == nil {
			known(key, e)
		}
	}
	if err := lines.Err(); err != nil {
		return 0, fmt.Errorf("rejected events: %s: %w", path, err)
	}
	return whole, nil
}
