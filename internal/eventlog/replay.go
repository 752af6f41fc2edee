package eventlog

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/chainbound/valtrack/internal/diskio"
	"github.com/chainbound/valtrack/internal/event"
)

// Publisher publishes events under the keys that they have.
type Publisher interface {
	Publish(ctx context.Context, e event.Encoded) error
}

// ReplayStats counts the lines of replayed files.
type ReplayStats struct {
	Published int `json:"published"`
	Bad       int `json:"bad"`
	// Known counts those published that the broker dropped, because it had them within
	// its window for duplicates. The caller sets it. An event that a consumer had
	// rejected has to be replayed again after the window, two minutes by default.
	Known uint64 `json:"known"`
}

// BadLine is a line that is not an event.
type BadLine struct {
	File string
	Line int
	Err  error
}

// errTorn marks a last line without its newline that is no whole event: the writer was
// killed while it wrote it.
var errTorn = errors.New("line is truncated")

// Replay publishes the events in log files, each line once under the key it has, so
// that replaying a file twice stores its events once. A line without a key gets one
// from the file's first line and its own number. Files of rejected events work too.
// Lines that are not events go to bad and are skipped; an unknown file name, a file that
// cannot be read or a failed publish is an error.
func Replay(ctx context.Context, p Publisher, files []string, bad func(BadLine)) (ReplayStats, error) {
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

// rejectedSubject takes the place of the subject of a file whose lines have one each.
const rejectedSubject = "rejected"

// subjectOf derives the event type from a file's name: metadata_events.log, and also
// metadata_events.log.1 or metadata_events-2026-11-22.log.
func subjectOf(file string) string {
	name := filepath.Base(file)
	if strings.HasPrefix(name, strings.TrimSuffix(RejectedName, ".ndjson")) {
		return rejectedSubject
	}
	for _, subject := range event.Subjects() {
		if strings.HasPrefix(name, strings.TrimSuffix(fileName(subject), ".log")) {
			return subject
		}
	}
	return ""
}

func replayFile(ctx context.Context, p Publisher, file, subject string, stats *ReplayStats, bad func(BadLine)) error {
	f, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("replay: %w", err)
	}
	defer f.Close()
	limit := event.MaxSize + 4096 // the key needs some room
	if subject == rejectedSubject {
		limit = maxRejectedLine
	}
	var fileKey string
	lines := diskio.NewLineReader(f, limit)
	for lines.Next() {
		line := lines.Line()
		if fileKey == "" {
			fileKey = keyOfFile(subject, line.Text)
		}
		if !line.TooLong && len(bytes.TrimSpace(line.Text)) == 0 {
			continue
		}
		e, err := parseLine(subject, line)
		if err != nil {
			stats.Bad++
			bad(BadLine{File: file, Line: line.Number, Err: err})
			continue
		}
		if e.Key == "" {
			e.Key = event.Key{Sentry: fileKey, Counter: uint64(line.Number)}.String()
		}
		switch err := p.Publish(ctx, e); {
		case errors.Is(err, event.ErrInvalid): // such as larger than the broker accepts
			stats.Bad++
			bad(BadLine{File: file, Line: line.Number, Err: err})
			continue
		case err != nil:
			return fmt.Errorf("replay %s:%d: %w", file, line.Number, err)
		}
		stats.Published++
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("replay %s:%d: %w", file, lines.Line().Number, err)
	}
	return nil
}

// keyOfFile takes the place of the sentry in keys of lines that have none: the same for
// every replay of the file, also after lines were appended.
func keyOfFile(subject string, firstLine []byte) string {
	sum := sha256.Sum256(append([]byte(subject+"\n"), firstLine...))
	return "file-" + hex.EncodeToString(sum[:8])
}

// parseLine checks the line's event and returns what to publish. The key is empty when
// the line has none.
func parseLine(subject string, line diskio.Line) (e event.Encoded, err error) {
	switch {
	case line.TooLong:
		return e, bufio.ErrTooLong
	case subject == rejectedSubject:
		e, err = parseRejected(line.Text)
	default:
		e = event.Encoded{Subject: subject, Data: withoutKey(line.Text)}
		e.Key, err = checkLine(subject, line.Text)
	}
	if err != nil && line.Torn {
		err = fmt.Errorf("%w: %w", errTorn, err)
	}
	return e, err
}

// checkLine validates a line and returns its key, "" when it has none.
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

// withoutKey returns a copy of the line without the key that Writer puts first.
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
