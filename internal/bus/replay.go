package bus

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/chainbound/valtrack/internal/event"
)

// RawPublisher publishes encoded events under keys they have already.
type RawPublisher interface {
	PublishRaw(ctx context.Context, subject, key string, data []byte) error
}

// ReplayStats counts the lines of replayed files.
type ReplayStats struct {
	Published int `json:"published"`
	Bad       int `json:"bad"`
	// Known counts those published that the broker dropped, as it had them within its
	// window for duplicates. One that a consumer had rejected is to be replayed again
	// when the window, two minutes by default, has passed.
	Known uint64 `json:"known"`
}

// BadLine is a line that is no event.
type BadLine struct {
	File string
	Line int
	Err  error
}

func (b BadLine) Error() string { return fmt.Sprintf("%s:%d: %v", b.File, b.Line, b.Err) }

func (b BadLine) Unwrap() error { return b.Err }

// errTorn marks a last line without its newline that is no whole event: the
// writer was killed in the middle of it.
var errTorn = errors.New("line is cut short")

// Replay publishes the events in log files, each line once under the key it has,
// so that replaying a file twice stores its events once. A line without a key
// gets one from the file's first line and its own number. Files of rejected events
// are taken too. Lines that are no events go to bad and are skipped; an unknown
// file name, a file that cannot be read or a failed publish is an error.
func Replay(ctx context.Context, p RawPublisher, files []string, bad func(BadLine)) (ReplayStats, error) {
	var stats ReplayStats
	subjects := make([]string, len(files))
	for i, file := range files { // all names before the first event is sent
		if subjects[i] = subjectOf(file); subjects[i] == "" {
			return stats, fmt.Errorf("replay %s: the name must begin with discovery_events, metadata_events, visit_events or rejected_events", file)
		}
	}
	for i, file := range files {
		if err := replayFile(ctx, p, file, subjects[i], &stats, bad); err != nil {
			return stats, err
		}
	}
	return stats, nil
}

// ofRejected stands for the subject of a file whose lines have each their own.
const ofRejected = "rejected"

// subjectOf tells the event type from a file's name: metadata_events.log, and
// also metadata_events.log.1 or metadata_events-2026-11-22.log.
func subjectOf(file string) string {
	name := filepath.Base(file)
	if strings.HasPrefix(name, strings.TrimSuffix(RejectedFile, ".ndjson")) {
		return ofRejected
	}
	for _, subject := range event.Subjects() {
		if strings.HasPrefix(name, strings.TrimSuffix(LogFileName(subject), ".log")) {
			return subject
		}
	}
	return ""
}

func replayFile(ctx context.Context, p RawPublisher, file, subject string, stats *ReplayStats, bad func(BadLine)) error {
	f, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("replay: %w", err)
	}
	defer f.Close()
	var fileKey string
	lines := lineReader{r: bufio.NewReaderSize(f, 64<<10), limit: event.MaxSize + 4096} // the key needs some room
	if subject == ofRejected {
		lines.limit = maxRejected
	}
	for lines.next() {
		if fileKey == "" {
			fileKey = keyOfFile(subject, lines.text)
		}
		if lines.bad == nil && len(bytes.TrimSpace(lines.text)) == 0 {
			continue
		}
		subject, key, data, err := lines.message(subject)
		if err != nil {
			stats.Bad++
			bad(BadLine{File: file, Line: lines.number, Err: err})
			continue
		}
		if key == "" {
			key = event.Key{Sentry: fileKey, Counter: uint64(lines.number)}.String()
		}
		if err := p.PublishRaw(ctx, subject, key, data); err != nil {
			return fmt.Errorf("replay %s:%d: %w", file, lines.number, err)
		}
		stats.Published++
	}
	if lines.err != nil {
		return fmt.Errorf("replay %s:%d: %w", file, lines.number, lines.err)
	}
	return nil
}

// keyOfFile stands for the sentry in keys of lines that have none: the same for
// every replay of the file, also after lines were appended.
func keyOfFile(subject string, firstLine []byte) string {
	sum := sha256.Sum256(append([]byte(subject+"\n"), firstLine...))
	return "file-" + hex.EncodeToString(sum[:8])
}

// checkLine validates a line and gives its key, "" when it has none.
func checkLine(subject string, text []byte) (string, error) {
	if _, err := event.Decode(subject, withoutKey(text)); err != nil {
		return "", err
	}
	var line struct {
		Key string `json:"event_key"`
	}
	if err := json.Unmarshal(text, &line); err != nil {
		return "", fmt.Errorf("%w: %s: %w", event.ErrInvalid, keyField, err)
	}
	if line.Key == "" {
		return "", nil
	}
	if _, err := event.ParseKey(line.Key); err != nil {
		return "", fmt.Errorf("%w: %w", event.ErrInvalid, err)
	}
	return line.Key, nil
}

// withoutKey gives a copy of the line without the key that FileLog puts first.
// Elsewhere the key may stay: decoders ignore unknown fields.
func withoutKey(text []byte) []byte {
	rest, ok := bytes.CutPrefix(text, []byte(`{"`+keyField+`":"`))
	if !ok {
		return bytes.Clone(text)
	}
	end := bytes.Index(rest, []byte(`",`))
	if end < 0 || bytes.ContainsRune(rest[:end], '\\') {
		return bytes.Clone(text)
	}
	out := make([]byte, 0, len(rest)-end)
	return append(append(out, '{'), rest[end+2:]...)
}

// lineReader reads lines of bounded length.
type lineReader struct {
	r     *bufio.Reader
	limit int // bytes

	number int    // of the line, from 1
	text   []byte // without its newline; its beginning when it is too long
	bad    error  // bufio.ErrTooLong
	torn   bool   // the file ends without a newline
	err    error  // of reading the file
}

// next reads a line; false at the end of the file or when it cannot be read.
func (l *lineReader) next() bool {
	if l.torn || l.err != nil {
		return false
	}
	l.number++
	l.text, l.bad = l.text[:0], nil
	for {
		part, err := l.r.ReadSlice('\n')
		if len(l.text) <= l.limit {
			l.text = append(l.text, part...)
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		l.torn = errors.Is(err, io.EOF)
		if err != nil && !l.torn {
			l.err = err
			return false
		}
		break
	}
	if len(l.text) > l.limit+1 {
		l.bad = bufio.ErrTooLong
	}
	l.text = bytes.TrimSuffix(l.text, []byte{'\n'})
	return len(l.text) > 0 || !l.torn
}

// message checks the line's event and gives what to publish. The key is "" when
// the line has none.
func (l *lineReader) message(of string) (subject, key string, data []byte, err error) {
	switch {
	case l.bad != nil:
		return "", "", nil, l.bad
	case of == ofRejected:
		subject, key, data, err = parseRejected(l.text)
	default:
		subject, data = of, withoutKey(l.text)
		key, err = checkLine(of, l.text)
	}
	if err != nil && l.torn {
		err = fmt.Errorf("%w: %w", errTorn, err)
	}
	return subject, key, data, err
}
