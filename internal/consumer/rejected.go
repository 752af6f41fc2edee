package consumer

import (
	"bufio"
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
//
// A publisher that sends nothing else must not fill the disk: the file is renamed to
// olderRejected when it is large, in the place of what had been there.
type rejectedFile struct {
	dir  string
	file *os.File
	max  int64 // maxRejectedFile, but in tests
	keys dataset.Coverage
	log  *slog.Logger
}

const (
	// olderRejected is where the last maxRejectedFile bytes before the file's are.
	olderRejected   = "rejected_events.1.ndjson"
	maxRejectedFile = 256 << 20
	// maxRejectedLine bounds a line that is read; JSON may take six bytes for one.
	maxRejectedLine = 6*event.MaxSize + 64<<10
)

func openRejected(dir string, log *slog.Logger) (*rejectedFile, error) {
	keys, whole, err := readRejected(dir)
	if err != nil {
		return nil, err
	}
	r := &rejectedFile{dir: dir, max: maxRejectedFile, keys: keys, log: log}
	if err := r.open(); err != nil {
		return nil, err
	}
	// A line that was cut short by a crash is of a message that comes again.
	err = r.file.Truncate(whole)
	if err == nil {
		err = r.endLine(whole)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("rejected events: %w", err), r.file.Close())
	}
	return r, nil
}

func (r *rejectedFile) open() error {
	f, err := os.OpenFile(filepath.Join(r.dir, bus.RejectedFile), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err == nil {
		if err = syncDir(r.dir); err != nil {
			err = errors.Join(err, f.Close())
		}
	}
	if err != nil {
		return fmt.Errorf("rejected events: %w", err)
	}
	r.file = f
	return nil
}

// endLine ends the last line of a file of that size.
func (r *rejectedFile) endLine(size int64) error {
	if size == 0 {
		return nil
	}
	f, err := os.Open(r.file.Name())
	if err != nil {
		return err
	}
	defer f.Close()
	var last [1]byte
	if _, err := f.ReadAt(last[:], size-1); err != nil || last[0] == '\n' {
		return err
	}
	_, err = r.file.WriteString("\n")
	return err
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// rotate makes room. The keys of what is dropped stay known until the next start,
// and count as missing then.
func (r *rejectedFile) rotate() error {
	older := filepath.Join(r.dir, olderRejected)
	if info, err := os.Stat(older); err == nil {
		r.log.Warn("dropping the oldest rejected events", slog.String("file", older), slog.Int64("bytes", info.Size()), slog.Time("newest", info.ModTime()))
	}
	// It is away already when a new one could not be opened the last time.
	if err := os.Rename(filepath.Join(r.dir, bus.RejectedFile), older); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("rejected events: %w", err)
	}
	full := r.file
	if err := r.open(); err != nil { // the next line goes to the renamed file
		return err
	}
	return full.Close()
}

// Rejected reads the keys of the events that a data directory keeps as rejected.
func Rejected(dir string) (dataset.Coverage, error) {
	keys, _, err := readRejected(dir)
	return keys, err
}

// readRejected also gives the length of the newest file's whole lines. Lines that
// are none of ours are passed over: the files may have been edited.
func readRejected(dir string) (keys dataset.Coverage, whole int64, err error) {
	keys = dataset.Coverage{}
	if _, err := readRejectedFile(filepath.Join(dir, olderRejected), keys); err != nil {
		return nil, 0, err
	}
	whole, err = readRejectedFile(filepath.Join(dir, bus.RejectedFile), keys)
	return keys, whole, err
}

func readRejectedFile(path string, keys dataset.Coverage) (whole int64, err error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("rejected events: %w", err)
	}
	defer f.Close()
	r := bufio.NewReader(f)
	for {
		line, n, err := readBounded(r)
		// An editor may leave the last line without its end.
		if errors.Is(err, io.EOF) && (n == 0 || !json.Valid(line)) {
			return whole, nil
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return 0, fmt.Errorf("rejected events: %w", err)
		}
		whole += n
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

// readBounded reads a line of n bytes, of which it gives the first maxRejectedLine;
// with io.EOF when its end is the file's.
func readBounded(r *bufio.Reader) (line []byte, n int64, err error) {
	for {
		part, err := r.ReadSlice('\n')
		n += int64(len(part))
		line = append(line, part[:min(len(part), maxRejectedLine-len(line))]...)
		if !errors.Is(err, bufio.ErrBufferFull) {
			return line, n, err
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
	if size > 0 && size+int64(len(b)) > r.max {
		if err := r.rotate(); err != nil {
			return err
		}
		size = 0
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
